"""OAuth 2.0 with vendors that bend it: each answer has one class, and no answer's secret shows."""

from __future__ import annotations

import json
import logging
import traceback
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from joinder import AppCredentials, AuthorizeRequest, Callback, Context, Grant, Kept, OAuth2, Secrets, oauth
from joinder.errors import (
    AppCredentialsRejected,
    AuthorizationLost,
    ConsentDenied,
    ConsentIncomplete,
    ConsentInvalid,
    NotSupported,
    OutcomeUnknown,
    RateLimited,
    TransientError,
    UnexpectedPayload,
    Unexplained,
    VendorError,
)
from joinder.http import Answer, HttpFactory
from joinder.oauth import (
    Token,
    authorize_url,
    code_from,
    consented,
    exchange_code,
    granted,
    refresh_token,
    renewed,
    token_error,
)
from joinder.vendors.token_cache import TokenCache
from misbehaving import CUT, HANG, RESET, Serve, Served, http_answer

HOST = "login.vendor.example"
APP = {"clientID": "client-1", "clientSecret": "client-secret-5d1f"}
OLD = Secrets({"access_token": "old-access-77aa", "refresh_token": "old-refresh-88bb"})
NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


def oauth2(**changes: Any) -> OAuth2:
    facts = {"authorize_url": f"https://{HOST}/authorize", "token_url": f"https://{HOST}/token", **changes}
    return OAuth2(**facts)


@asynccontextmanager
async def context(served: Served) -> AsyncIterator[Context]:
    factory = HttpFactory(reroute={HOST: served.origin})
    try:
        yield Context(
            http=factory.vendor((HOST,)),
            device=factory.device,
            app=AppCredentials(type="app", secrets=Secrets(APP)),
            app_token=TokenCache().of("acme", None),
            options={},
            now=lambda: NOW,
            log=logging.getLogger("test"),
        )
    finally:
        await factory.close()


# Error answers, as data ----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Row:
    status: int
    body: bytes | str
    error: type[VendorError]
    retry_after: str = ""


def says(code: object, **more: object) -> str:
    return json.dumps({"error": code, **more})


HTML = "<!DOCTYPE html><title>Bad Gateway</title>"
ROWS = [
    # the grant is dead
    Row(400, says("invalid_grant"), AuthorizationLost),
    Row(400, says("invalid_grant", error_description="Token expired"), AuthorizationLost),
    Row(401, says("invalid_grant"), AuthorizationLost),
    Row(403, says("invalid_grant"), AuthorizationLost),
    Row(400, says("invalid_grant", error_description="server_error, try again"), AuthorizationLost),
    Row(401, says("invalid_token"), AuthorizationLost),
    Row(400, says("invalid_token", error_description="Invalid refresh token"), AuthorizationLost),
    # the app is refused: no grant is dead
    Row(401, says("invalid_client"), AppCredentialsRejected),
    Row(400, says("invalid_client"), AppCredentialsRejected),
    Row(403, says("invalid_client"), AppCredentialsRejected),
    Row(400, says("unauthorized_client"), AppCredentialsRejected),
    Row(401, says("unauthorized_client"), AppCredentialsRejected),
    Row(401, says("unauthorized"), AppCredentialsRejected),
    Row(401, says("invalid_client", error_description="invalid_grant"), AppCredentialsRejected),
    Row(401, "", Unexplained),
    Row(401, HTML, Unexplained),
    Row(401, "{}", Unexplained),
    # later
    Row(400, says("server_error"), TransientError),
    Row(401, says("server_error"), TransientError),
    Row(400, says("temporarily_unavailable"), TransientError),
    Row(503, says("temporarily_unavailable"), TransientError, "30"),
    Row(500, "", TransientError),
    Row(500, HTML, TransientError),
    Row(502, HTML, TransientError),
    Row(503, HTML, TransientError, "120"),
    Row(504, "", TransientError),
    Row(529, "", TransientError),
    Row(500, says("invalid_grant"), TransientError),
    Row(502, says("invalid_client"), TransientError),
    Row(503, says("invalid_grant"), TransientError, "5"),
    Row(408, "", TransientError),
    Row(425, "", TransientError, "5"),
    # less often
    Row(429, "", RateLimited),
    Row(429, "", RateLimited, "30"),
    Row(429, HTML, RateLimited, "30"),
    Row(429, says("invalid_grant"), RateLimited, "30"),
    Row(429, says("invalid_client"), RateLimited),
    # nobody knows: told to the operator, no grant dies of it
    Row(400, says("invalid_scope"), Unexplained),
    Row(400, says("invalid_request"), Unexplained),
    Row(400, says("unsupported_grant_type"), Unexplained),
    Row(401, says("login_required"), Unexplained),
    Row(400, says("INVALID_GRANT"), AuthorizationLost),
    Row(400, "", Unexplained),
    Row(400, HTML, Unexplained),
    Row(400, "{}", Unexplained),
    Row(400, "[]", Unexplained),
    Row(400, "null", Unexplained),
    Row(400, '"invalid_grant"', Unexplained),
    Row(400, '{"error": "invalid_gr', Unexplained),
    Row(400, says(None), Unexplained),
    Row(400, says({"code": "invalid_grant"}), AuthorizationLost),
    Row(400, says(["invalid_grant"]), Unexplained),
    Row(400, says(42), Unexplained),
    Row(400, says(True), Unexplained),
    Row(400, b'{"error": "\xff\xfe"}', Unexplained),
    Row(400, b"\xff\xfe", Unexplained),
    Row(400, '{"x":' * 50_000, Unexplained),
    Row(400, json.dumps({"error_description": "invalid_grant"}), Unexplained),
    Row(403, HTML, Unexplained),
    Row(403, "", Unexplained),
    Row(404, "", Unexplained),
    Row(302, "", UnexpectedPayload),
    Row(405, HTML, Unexplained),
]


def test_the_table_is_as_long_as_promised():
    assert len(set(ROWS)) >= 40


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row.status} {row.body[:40]!r} {row.retry_after}")
def test_a_refused_token_call_has_one_class(row):
    body = row.body if isinstance(row.body, bytes) else row.body.encode()
    error = token_error(Answer(row.status, {"retry-after": row.retry_after}, body, f"POST {HOST}/token"))
    assert type(error) is row.error
    if isinstance(error, TransientError):
        assert error.retry_after == (timedelta(seconds=int(row.retry_after)) if row.retry_after else None)


@pytest.mark.parametrize("code", ["invalid_grant", "invalid_client", "invalid_scope", "server_error"])
async def test_no_secret_and_no_vendor_text_is_in_an_error(serve, code):
    said = {"error": code, "error_description": "Token old-refresh-88bb of Jane Doe", "error_uri": "https://x.example"}
    served = await serve(http_answer(json.dumps(said).encode(), "400 Bad Request"))
    async with context(served) as ctx:
        with pytest.raises(VendorError) as caught:
            await refresh_token(ctx, oauth2(parameters_in="query"), OLD)
    shown = "".join(traceback.format_exception(caught.value)) + repr(caught.value.__dict__)
    for hidden in ("old-refresh", "Jane", "x.example", APP["clientSecret"]):
        assert hidden not in shown


@pytest.mark.parametrize("script", [b"", RESET, CUT + b"\r\ncontent-length: 9\r\n\r\n{"])
async def test_a_token_call_cut_off_has_an_unknown_outcome(serve, script):
    served = await serve(script)
    async with context(served) as ctx:
        with pytest.raises(OutcomeUnknown):
            await refresh_token(ctx, oauth2(), OLD)
    assert len(served.requests) == 1


async def test_a_token_call_without_an_answer_has_an_unknown_outcome(serve, monkeypatch):
    monkeypatch.setattr(oauth, "EXCHANGE_DEADLINE", 0.3)
    async with context(await serve(HANG)) as ctx:
        with pytest.raises(OutcomeUnknown):
            await refresh_token(ctx, oauth2(), OLD)


# Token answers -------------------------------------------------------------------------------------------------------


async def refreshed(serve: Serve, body: object) -> Token:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    async with context(await serve(http_answer(content))) as ctx:
        return await refresh_token(ctx, oauth2(), OLD)


TEN_YEARS = 10 * 366 * 86400
LIVES = [
    (3600, 3600), ("3600", 3600), (" 3600 ", 3600), (3600.9, 3600), ("3600.0", 3600), (1, 1), (TEN_YEARS, TEN_YEARS),
    (0, None), (0.5, None), ("0", None), (-1, None), ("-3600", None), (TEN_YEARS + 1, None), (10**30, None),
    ("9" * 400, None), (None, None), ("", None), ("soon", None), ("NaN", None), ("Infinity", None), (True, None),
    (False, None), ([3600], None), ({"seconds": 3600}, None),
]  # fmt: skip


@pytest.mark.parametrize(("expires_in", "seconds"), LIVES, ids=lambda value: str(value)[:16])
async def test_expires_in_is_read_or_unknown(serve, expires_in, seconds):
    token = await refreshed(serve, {"access_token": "a-token", "expires_in": expires_in})
    assert token.expires_at == (None if seconds is None else NOW + timedelta(seconds=seconds))


async def test_a_missing_expires_in_is_unknown(serve):
    assert (await refreshed(serve, {"access_token": "a-token"})).expires_at is None


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"access_token": ""},
        {"access_token": None},
        {"access_token": 7},
        {"access_token": ["a"]},
        {"AccessToken": "a"},
        [],
        None,
        "token",
        b"",
        HTML.encode(),
        b'{"access_token": "a',
        b'{"access_token": "a", "expires_in": NaN}',
        b'{"access_token": "\xff"}',
    ],
)
async def test_an_answer_without_an_access_token_is_unexpected(serve, body):
    with pytest.raises(UnexpectedPayload):
        await refreshed(serve, body)


async def test_a_new_refresh_token_replaces_the_old_one(serve):
    token = await refreshed(serve, {"access_token": "a-token", "refresh_token": "new-refresh"})
    assert dict(token.secrets(OLD)) == {"access_token": "a-token", "refresh_token": "new-refresh"}


@pytest.mark.parametrize("more", [{}, {"refresh_token": None}, {"refresh_token": ""}, {"refresh_token": 7}])
async def test_without_a_new_refresh_token_the_old_one_stays(serve, more):
    token = await refreshed(serve, {"access_token": "a-token", **more})
    assert dict(token.secrets(OLD)) == {"access_token": "a-token", "refresh_token": "old-refresh-88bb"}
    assert dict(token.secrets()) == {"access_token": "a-token"}


async def test_further_members_are_kept_and_not_shown(serve):
    token = await refreshed(serve, {"access_token": "a-token", "user_id": 42, "id_token": "x", "deep": {"a": 1}})
    assert dict(token.extra) == {"user_id": "42", "id_token": "x"}
    assert "a-token" not in f"{token} {token!r}"
    assert "42" not in repr(token)


# Grants of tokens -----------------------------------------------------------------------------------------------------

BEFORE = Grant(secrets=OLD, facts={"base": "eu"}, refresh_expires_at=NOW + timedelta(days=2), site_ids=("1",))
MONTH = timedelta(days=30)


@pytest.mark.parametrize(
    ("new", "said", "life", "ends_at"),
    [
        (True, {"refresh_expires_in": "3600"}, MONTH, NOW + timedelta(hours=1)),  # its own word goes first
        (True, {"refresh_token_expires_in": "7200"}, None, NOW + timedelta(hours=2)),
        (True, {"refresh_expires_in": "0"}, None, None),  # no end, or nobody knows
        (True, {"refresh_expires_in": "soon"}, MONTH, NOW + MONTH),
        (True, {}, MONTH, NOW + MONTH),
        (True, {}, None, None),
        (False, {}, MONTH, BEFORE.refresh_expires_at),  # the old token goes on, and so does its clock
    ],
)
def test_a_refresh_token_ends_as_the_vendor_says_or_documents(new, said, life, ends_at):
    token = Token("a-token", NOW + timedelta(hours=1), "new-refresh" if new else None, said)
    after = granted(oauth2(refresh_token_life=life), token, NOW, BEFORE)
    assert (after.refresh_expires_at, after.expires_at) == (ends_at, NOW + timedelta(hours=1))
    assert after.secrets["refresh_token"] == ("new-refresh" if new else OLD["refresh_token"])
    assert (dict(after.facts), after.site_ids) == ({"base": "eu"}, ("1",))


async def test_what_the_description_says_makes_grants_of_codes_and_renewals(serve):
    served = await serve(http_answer(b'{"access_token": "a-token", "expires_in": 60, "refresh_token": "r-token"}'))
    async with context(served) as ctx:
        callback = Callback(values=Secrets({"code": "abc"}))
        first = await consented(ctx, oauth2(refresh_token_life=MONTH), callback, facts={"base": "na"})
        after = await renewed(ctx, oauth2(), first)
    assert dict(first.secrets) == {"access_token": "a-token", "refresh_token": "r-token"}
    assert (first.expires_at, first.refresh_expires_at) == (NOW + timedelta(seconds=60), NOW + MONTH)
    assert dict(first.facts) == dict(after.facts) == {"base": "na"}


# What is sent --------------------------------------------------------------------------------------------------------


async def sent(serve: Serve, **facts: Any) -> tuple[dict[str, list[str]], dict[str, list[str]], str]:
    """Query, form and head of a refresh."""
    served = await serve(http_answer(b'{"access_token": "a-token"}'))
    async with context(served) as ctx:
        await refresh_token(ctx, oauth2(**facts), OLD)
    head, _, body = served.requests[0].decode().partition("\r\n\r\n")
    return parse_qs(urlsplit(head.split()[1]).query), parse_qs(body), head.lower()


REFRESH = {"grant_type": ["refresh_token"], "refresh_token": ["old-refresh-88bb"]}
CLIENT = {"client_id": ["client-1"], "client_secret": ["client-secret-5d1f"]}


async def test_parameters_go_into_the_form_and_the_app_into_basic(serve):
    query, form, head = await sent(serve)
    assert (query, form) == ({}, REFRESH)
    assert "authorization: basic " in head


async def test_the_app_goes_into_the_form_where_the_vendor_wants_it(serve):
    query, form, head = await sent(serve, token_endpoint_auth_method="client_secret_post")
    assert (query, form) == ({}, REFRESH | CLIENT)
    assert "authorization" not in head


async def test_parameters_go_into_the_query_where_the_vendor_wants_them(serve):
    query, form, head = await sent(serve, parameters_in="query")
    assert (query, form) == (REFRESH, {})
    assert "authorization: basic " in head


async def test_a_code_is_exchanged_with_the_verifier_and_the_redirect_uri(serve):
    served = await serve(http_answer(b'{"access_token": "a-token"}'))
    callback = Callback(
        values=Secrets({"code": "code-1"}), redirect_uri="https://hub.example/cb", code_verifier="verifier-1"
    )
    async with context(served) as ctx:
        await exchange_code(ctx, oauth2(), callback, audience="fleet")
    assert parse_qs(served.requests[0].decode().partition("\r\n\r\n")[2]) == {
        "grant_type": ["authorization_code"],
        "code": ["code-1"],
        "redirect_uri": ["https://hub.example/cb"],
        "code_verifier": ["verifier-1"],
        "audience": ["fleet"],
    }


async def test_a_token_is_kept_before_it_is_answered_and_answered_again_without_a_call(serve):
    body = {"access_token": "a-token", "refresh_token": "r-token", "expires_in": 60, "owner": 7}
    served = await serve(http_answer(json.dumps(body).encode()))
    kept: list[Kept] = []

    async def keep(given: Kept) -> None:
        kept.append(given)

    async with context(served) as ctx:
        token = await exchange_code(ctx, oauth2(), Callback(values=Secrets({"code": "code-1"}), keep=keep))
        again = await exchange_code(ctx, oauth2(), Callback(values=Secrets({}), kept=kept[0]))
    assert (dict(kept[0].secrets), kept[0].expires_at) == (dict(token.secrets()), NOW + timedelta(seconds=60))
    assert again == token
    assert again.extra == {"owner": "7"}
    assert len(served.requests) == 1
    assert "token" not in repr(kept[0]).replace("_token", "")


async def test_a_keeper_that_refuses_ends_the_exchange(serve):
    served = await serve(http_answer(b'{"access_token": "a-token"}'))

    async def refuse(_: Kept) -> None:
        raise ConsentIncomplete("no refresh token")

    async with context(served) as ctx:
        with pytest.raises(ConsentIncomplete):
            await exchange_code(ctx, oauth2(), Callback(values=Secrets({"code": "code-1"}), keep=refuse))


async def test_a_code_without_an_access_token_is_the_apps_fault_by_name(serve):
    served = await serve(http_answer(b'{"refresh_token": "r-token"}'))
    async with context(served) as ctx:
        with pytest.raises(ConsentIncomplete, match="access_token"):
            await exchange_code(ctx, oauth2(), Callback(values=Secrets({"code": "code-1"})))


async def test_a_refused_code_asks_the_owner_again_and_kills_no_grant(serve):
    served = await serve(http_answer(says("invalid_grant").encode(), "400 Bad Request"))
    async with context(served) as ctx:
        with pytest.raises(ConsentInvalid):
            await exchange_code(ctx, oauth2(), Callback(values=Secrets({"code": "code-1"})))


async def test_without_a_code_nothing_is_sent(serve):
    served = await serve(http_answer())
    async with context(served) as ctx:
        with pytest.raises(ConsentInvalid):
            await exchange_code(ctx, oauth2(), Callback(values=Secrets({})))
    assert served.connections == 0


# The owner's way -----------------------------------------------------------------------------------------------------

REQUEST = AuthorizeRequest(state="state&1", redirect_uri="https://hub.example/cb?a=b", code_challenge="challenge-1")
ID = AppCredentials(type="app", secrets=Secrets(APP))


def url_parameters(facts: OAuth2, request: AuthorizeRequest) -> dict[str, list[str]]:
    return parse_qs(urlsplit(authorize_url(facts, ID, request)).query)


def test_the_consent_url_carries_everything_once():
    facts = oauth2(scopes=("read", "offline access"), extra_authorize_params={"prompt": "login"})
    assert url_parameters(facts, REQUEST) == {
        "response_type": ["code"],
        "client_id": ["client-1"],
        "redirect_uri": ["https://hub.example/cb?a=b"],
        "state": ["state&1"],
        "scope": ["read offline access"],
        "code_challenge": ["challenge-1"],
        "code_challenge_method": ["S256"],
        "prompt": ["login"],
    }


def test_without_pkce_and_scopes_the_consent_url_has_none():
    plain = AuthorizeRequest(state="s", redirect_uri="https://hub.example/cb")
    assert set(url_parameters(oauth2(), plain)) == {"response_type", "client_id", "redirect_uri", "state"}


def test_a_query_of_the_vendors_own_url_stays():
    parameters = url_parameters(oauth2(authorize_url=f"https://{HOST}/authorize?tenant=eu"), REQUEST)
    assert parameters["tenant"] == ["eu"]
    assert parameters["state"] == ["state&1"]


def test_the_client_secret_is_not_in_the_consent_url():
    assert APP["clientSecret"] not in authorize_url(oauth2(), ID, REQUEST)


@pytest.mark.parametrize(
    ("values", "error"),
    [
        ({"error": "access_denied"}, ConsentDenied),
        ({"error": "access_denied", "code": "stray"}, ConsentDenied),
        ({"error": "user_cancelled"}, ConsentDenied),
        ({"error": "consent_required"}, ConsentDenied),
        ({"error": "login_required"}, ConsentDenied),
        ({"error": "interaction_required"}, ConsentDenied),
        ({"error": "server_error"}, TransientError),
        ({"error": "temporarily_unavailable"}, TransientError),
        ({"error": "invalid_scope"}, AppCredentialsRejected),
        ({"error": "unauthorized_client", "code": "stray"}, AppCredentialsRejected),
        ({"error": "invalid_request"}, AppCredentialsRejected),
        ({"error": "unsupported_response_type"}, AppCredentialsRejected),
        ({"error": "<script>"}, UnexpectedPayload),
        ({"error": "Access_Denied"}, UnexpectedPayload),
        ({}, ConsentInvalid),
        ({"code": ""}, ConsentInvalid),
    ],
)
def test_a_callback_without_a_usable_code_has_one_class(values, error):
    with pytest.raises(error) as caught:
        code_from(Callback(values=Secrets(values)))
    assert type(caught.value) is error
    assert "<script>" not in str(caught.value)


def test_the_vendors_word_is_kept_for_the_operator():
    for word, known in (("login_required", True), ("server_error", True), ("invalid_scope", True), ("<b>", False)):
        with pytest.raises(VendorError) as caught:
            code_from(Callback(values=Secrets({"error": word})))
        assert caught.value.code == (word if known else None)


def test_a_callback_with_a_code_is_used():
    assert code_from(Callback(values=Secrets({"code": "code-1"}))) == "code-1"


@pytest.mark.parametrize(
    ("facts", "content_type", "body"),
    [
        ({}, "x-www-form-urlencoded", {"token": OLD["refresh_token"], "token_type_hint": "refresh_token"}),
        (
            {"token_endpoint_auth_method": "client_secret_post", "parameters_in": "json"},
            "json",
            {
                "token": OLD["refresh_token"],
                "token_type_hint": "refresh_token",
                "client_id": APP["clientID"],
                "client_secret": APP["clientSecret"],
            },
        ),
        (
            {"token_endpoint_auth_method": "client_secret_post", "revocation_parameter": "refresh_token"},
            "x-www-form-urlencoded",
            {
                "refresh_token": OLD["refresh_token"],
                "client_id": APP["clientID"],
                "client_secret": APP["clientSecret"],
            },
        ),
    ],
)
async def test_a_grant_is_taken_back_as_token_calls_are_sent(
    serve: Serve, facts: dict[str, str], content_type: str, body: dict[str, str]
) -> None:
    served = await serve(http_answer(b""))
    async with context(served) as ctx:
        await oauth.revoke(ctx, oauth2(revocation_url=f"https://{HOST}/revoke", **facts), OLD)
    (request,) = served.requests
    head, _, sent = request.partition(b"\r\n\r\n")
    assert head.startswith(b"POST /revoke ")
    assert content_type in head.decode().lower()
    assert ("authorization: basic" in head.decode().lower()) == ("token_endpoint_auth_method" not in facts)
    found = json.loads(sent) if content_type == "json" else {k: v[0] for k, v in parse_qs(sent.decode()).items()}
    assert found == body


async def test_what_cannot_be_taken_back_says_so(serve: Serve) -> None:
    served = await serve(http_answer(b'{"error":"unsupported_token_type"}', "400 Bad Request"))
    async with context(served) as ctx:
        for facts in ({}, {"revocation_parameter": "refresh_token"}):
            with pytest.raises(NotSupported):
                await oauth.revoke(ctx, oauth2(revocation_url=f"https://{HOST}/revoke", **facts), OLD)
        assert len(served.requests) == 3
        for described, secrets in (
            (oauth2(), OLD),
            (oauth2(revocation_url=f"https://{HOST}/r"), Secrets({"key": "k"})),
        ):
            with pytest.raises(NotSupported):
                await oauth.revoke(ctx, described, secrets)
    assert len(served.requests) == 3
