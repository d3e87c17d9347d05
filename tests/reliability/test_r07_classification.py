"""What each answer of a token endpoint means for the grant, its health and its next try: one row, one test (R7)."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from email.utils import format_datetime
from typing import Literal

import msgspec
import pytest

from joinder.clock import now, utc_now
from joinder.errors import (
    AppCredentialsRejected,
    AuthorizationLost,
    OutcomeUnknown,
    RateLimited,
    TransientError,
    UnexpectedPayload,
    Unexplained,
    VendorError,
)
from joinder.grants import Context, Grant
from joinder.services.grants.refresh import refresh
from joinder.services.readings.vendor_calls import with_grant
from joinder.services.records.opened_grant import open_grant
from joinder.settings import Settings
from joinder.store.tables import VendorCredentials
from joinder.token_answers import NoAccessToken
from misbehaving import CUT, HANG, RESET, Served, http_answer
from reliability.over_http import AtVendor, at_vendor
from reliability.simulated import Clock, due_of, healths, rows_of, told

DATABASES = ("sqlite",)
Answer = bytes | str | Callable[[], bytes]
Meaning = Literal["renewed", "try again", "maybe spent", "refused once", "app suspected"]
GRANTS = ("ada", "ben", "cy")
DEADLINE_S = 2.0  # of the row that waits for it
LATE_S = DEADLINE_S + 5  # beyond it no late answer can come
DAY_S = 86400


def error(code: str, status: str = "400 Bad Request", **headers: str) -> bytes:
    return http_answer(msgspec.json.encode({"error": code, "error_description": "words"}), status, **headers)


def token(**members: object) -> bytes:
    return http_answer(msgspec.json.encode({"access_token": "new", "refresh_token": "newer", **members}))


def without(name: str) -> bytes:
    body = {"access_token": "new", "refresh_token": "newer", "expires_in": 600}
    return http_answer(msgspec.json.encode({key: value for key, value in body.items() if key != name}))


def until(**away: int) -> Callable[[], bytes]:
    """A date is made when it is answered: this table is as old as the run."""
    return lambda: http_answer(status="429 Too Many", retry_after=format_datetime(utc_now() + timedelta(**away), True))


@dataclass(frozen=True)
class Row:
    name: str
    answer: Answer
    meaning: Meaning
    error: type[VendorError] | None = None
    vendor: str = "strict"
    waits_s: tuple[float, float] = (14, 31)  # until the next try, as after any first failure
    life_s: float | None = None  # of the new access token
    kept: bool = False  # the old refresh token


def _try(name: str, answer: Answer, kind: type[VendorError] = TransientError, **more: object) -> Row:
    return Row(name, answer, "try again", kind, **more)  # type: ignore[arg-type]


def _spent(name: str, answer: bytes | str, kind: type[VendorError] = UnexpectedPayload, **more: object) -> Row:
    return Row(name, answer, "maybe spent", kind, waits_s=(LATE_S, 31), **more)  # type: ignore[arg-type]


def _odd(name: str, answer: bytes, **more: object) -> Row:
    """A 4xx that tells no reason: nothing was renewed, and it proves nothing."""
    return Row(name, answer, "try again", Unexplained, **more)  # type: ignore[arg-type]


def _lost(name: str, answer: bytes, **more: object) -> Row:
    return Row(name, answer, "refused once", AuthorizationLost, waits_s=(299, 301), **more)  # type: ignore[arg-type]


def _app(name: str, answer: bytes, **more: object) -> Row:
    return Row(name, answer, "app suspected", AppCredentialsRejected, **more)  # type: ignore[arg-type]


def _new(name: str, answer: bytes, life_s: float | None = 600, **more: object) -> Row:
    return Row(name, answer, "renewed", life_s=life_s, **more)  # type: ignore[arg-type]


REFUSE, PLAIN_TLS = "refuse", "tls"
TABLE = (
    _try("connection refused", REFUSE),
    _try("no TLS behind the port", PLAIN_TLS),
    _spent("reset after it was sent", RESET, OutcomeUnknown),
    _spent("silence", HANG, OutcomeUnknown),
    _spent("cut in the head", b"HTTP/1.1 200", OutcomeUnknown),
    _spent("cut in the body", http_answer(b"{" * 50).replace(b"200 OK", CUT[9:])[:-20], OutcomeUnknown),
    _try("408", http_answer(status="408 Request Timeout")),
    _try("425", http_answer(status="425 Too Early")),
    _try("429", http_answer(status="429 Too Many"), RateLimited),
    _try("429 with invalid_grant", error("invalid_grant", "429 Too Many"), RateLimited),
    _try("429 for seconds", http_answer(status="429 Too Many", retry_after="1200"), RateLimited, waits_s=(1199, 1321)),
    _try("429 until a date", until(minutes=20), RateLimited, waits_s=(1100, 1321)),
    _try("429 until the past", until(minutes=-20), RateLimited),
    _try("429 for ever", http_answer(status="429 Too Many", retry_after="99999999999"), RateLimited,
         waits_s=(DAY_S - 1, DAY_S * 1.1 + 1)),
    _try("429 for nonsense", http_answer(status="429 Too Many", retry_after="soon"), RateLimited),
    _try("429 for less than nothing", http_answer(status="429 Too Many", retry_after="-5"), RateLimited),
    _try("500", http_answer(b"", "500 Oops")),
    _try("502 in HTML", http_answer(b"<html>bad gateway</html>", "502 Bad Gateway")),
    _try("503 for seconds", http_answer(status="503 Away", retry_after="600"), waits_s=(599, 661)),
    _try("504", http_answer(b"", "504 Gateway Timeout")),
    _try("500 with invalid_grant", error("invalid_grant", "500 Oops")),
    _try("503 with invalid_client", error("invalid_client", "503 Away")),
    _try("500 with server_error", error("server_error", "500 Oops")),
    _try("400 server_error", error("server_error")),
    _try("400 temporarily_unavailable", error("temporarily_unavailable")),
    _spent("HTML with 200", http_answer(b"<html>maintenance</html>")),
    _spent("nothing with 200", http_answer(b"")),
    _spent("null with 200", http_answer(b"null")),
    _spent("a list with 200", http_answer(b"[]")),
    _spent("cut JSON", http_answer(b'{"access_token": "ne')),
    _spent("no access_token", without("access_token"), NoAccessToken),
    _spent("access_token null", token(access_token=None), NoAccessToken),
    _spent("access_token empty", token(access_token=""), NoAccessToken),
    _spent("access_token a number", token(access_token=5), NoAccessToken),
    _spent("302", http_answer(b"", "302 Found", location="https://strict.example/login")),
    _odd("404", http_answer(b"", "404 Not Found")),
    _odd("403 without a code", http_answer(b"<html>blocked</html>", "403 Forbidden")),
    _odd("400 without a code", http_answer(b"bad", "400 Bad Request")),
    _odd("invalid_request", error("invalid_request")),
    _odd("invalid_scope", error("invalid_scope")),
    _odd("unsupported_grant_type", error("unsupported_grant_type")),
    _lost("invalid_grant", error("invalid_grant")),
    _lost("401 invalid_grant", error("invalid_grant", "401 Unauthorized")),
    _lost("403 invalid_grant", error("invalid_grant", "403 Forbidden")),
    _lost("invalid_token, Spring's word", error("invalid_token", "401 Unauthorized")),
    _app("invalid_client", error("invalid_client", "401 Unauthorized")),
    _app("400 invalid_client", error("invalid_client")),
    _app("unauthorized_client", error("unauthorized_client")),
    _app("unauthorized, Spring's word", error("unauthorized", "401 Unauthorized")),
    _odd("401 without a code", http_answer(b"", "401 Unauthorized")),
    _new("a whole answer", token(expires_in=600)),
    _new("no refresh_token", without("refresh_token"), kept=True),
    _new("refresh_token null", token(expires_in=600, refresh_token=None), kept=True),
    _new("refresh_token empty", token(expires_in=600, refresh_token=""), kept=True),
    _new("expires_in as text", token(expires_in="600")),
    _new("expires_in as a fraction", token(expires_in="600.9")),
    _new("expires_in 0", token(expires_in=0), None),
    _new("expires_in negative", token(expires_in=-600), None),
    _new("expires_in huge", token(expires_in=10**30), None),
    _new("expires_in true", token(expires_in=True), None),
    _new("expires_in words", token(expires_in="an hour"), None),
    _new("expires_in missing", without("expires_in"), None),
    _lost("Tesla: login_required", error("login_required", "401 Unauthorized"), vendor="tesla"),
    _lost("Tesla: invalid_auth_code", error("invalid_auth_code"), vendor="tesla"),
    _try("Tesla: 400 server_error", error("server_error"), vendor="tesla"),
    _odd("elsewhere login_required says nothing", error("login_required"), vendor="enphase"),
    _lost("Enphase: invalid_grant", error("invalid_grant"), vendor="enphase"),
    _app("Enphase: 401 unauthorized", error("unauthorized", "401 Unauthorized"), vendor="enphase"),
    _lost("SMA: invalid_grant", error("invalid_grant"), vendor="sma"),
    _app("SMA: unauthorized_client", error("unauthorized_client"), vendor="sma"),
    _lost("SolarEdge: invalid_grant", error("invalid_grant"), vendor="solaredge"),
    _app("SolarEdge: invalid_client", error("invalid_client", "401 Unauthorized"), vendor="solaredge"),
)  # fmt: skip


@asynccontextmanager
async def answering(answer: bytes | str) -> AsyncIterator[Served]:
    """On a port of its own; nobody listens there for REFUSE."""
    served = Served([answer])
    if answer == REFUSE:
        with socket.create_server(("127.0.0.1", 0)) as probe:
            served.port = probe.getsockname()[1]
        yield served
        return
    server = await asyncio.start_server(_no_tls if answer == PLAIN_TLS else served.handle, "127.0.0.1", 0)
    served.port = server.sockets[0].getsockname()[1]
    try:
        yield served
    finally:
        served.release.set()
        server.close()
        await asyncio.sleep(0.01)


async def _no_tls(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"220 a mail server\r\n")
    writer.close()


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stands still, or what is left of a wait depends on how fast this machine is."""
    monkeypatch.setattr("joinder.clock.civil_time", Clock().time)


@pytest.mark.parametrize("row", TABLE, ids=lambda row: row.name)
async def test_row(row: Row, fresh_database: Settings) -> None:
    async with answering(row.answer() if callable(row.answer) else row.answer) as served:
        scheme = "https" if row.answer == PLAIN_TLS else "http"
        deadline_s = DEADLINE_S if row.answer == HANG else 20.0
        async with at_vendor(row.vendor, served.port, fresh_database, scheme, deadline_s=deadline_s) as here:
            ids = [await here.enroll(owner) for owner in GRANTS]
            raised = await outcome(here, ids[0])
            assert type(raised) is (row.error or type(None))
            assert len(served.requests) == (row.answer not in (REFUSE, PLAIN_TLS))
            await MEANS[row.meaning](here, ids, row)
            assert (await due_of(here.hub, ids[0])).lease is None
            assert await told(here.hub, "needs_consent", "lost_in_flight") == []
            expected = "new" if row.meaning == "renewed" else "access-ada"
            assert await with_grant(here.hub, ids[0], access_token) == expected  # polls go on


async def outcome(here: AtVendor, enrollment_id: str) -> VendorError | None:
    try:
        await refresh(here.hub, enrollment_id)
    except VendorError as raised:
        return raised
    return None


async def access_token(ctx: Context, grant: Grant) -> str:
    return grant.secrets["access_token"]


async def waited_s(here: AtVendor, enrollment_id: str) -> float:
    return (await due_of(here.hub, enrollment_id)).due_at - now()


async def _renewed(here: AtVendor, ids: list[str], row: Row) -> None:
    enrollment, grant = await rows_of(here.hub, ids[0])
    secrets = open_grant(here.hub, here.account_id, grant).secrets
    assert secrets["refresh_token"] == ("refresh-ada" if row.kept else "newer")
    assert (enrollment.health, grant.version, grant.intent_count, grant.refused_at) == ("connecting", 2, 0, None)
    left_s = None if grant.expires_at is None else grant.expires_at - grant.obtained_at
    assert left_s == (None if row.life_s is None else pytest.approx(row.life_s, abs=2))
    assert 0 < await waited_s(here, ids[0]) <= DAY_S


async def _try_again(here: AtVendor, ids: list[str], row: Row) -> None:
    enrollment, grant = await rows_of(here.hub, ids[0])
    assert (enrollment.health, enrollment.failures) == ("connecting", 1)
    assert (grant.version, grant.intent_id, grant.intent_count, grant.refused_at) == (1, None, 0, None)
    assert row.waits_s[0] - 2 <= await waited_s(here, ids[0]) <= row.waits_s[1] * 2


async def _maybe_spent(here: AtVendor, ids: list[str], row: Row) -> None:
    enrollment, grant = await rows_of(here.hub, ids[0])
    assert (enrollment.health, enrollment.failures) == ("connecting", 1)
    assert (grant.version, grant.intent_at is None, grant.intent_count) == (1, False, 1)
    assert row.waits_s[0] - 2 <= await waited_s(here, ids[0]) <= row.waits_s[1] * 2


async def _refused_once(here: AtVendor, ids: list[str], row: Row) -> None:
    _, grant = await rows_of(here.hub, ids[0])
    assert (grant.version, grant.intent_id, grant.intent_count, grant.refused_at is None) == (1, None, 0, False)
    assert row.waits_s[0] - 2 <= await waited_s(here, ids[0]) <= row.waits_s[1]
    assert await healths(here.hub) == {"degraded": 1, "connecting": 2}


async def _app_suspected(here: AtVendor, ids: list[str], row: Row) -> None:
    """Nobody is told before it is proved; one grant tests it, and the others wait for that."""
    assert await healths(here.hub) == {"connecting": 3}
    async with here.hub.store.read() as session:
        credentials = await session.get(VendorCredentials, here.credentials_id)
    assert credentials is not None
    assert (credentials.suspected_at is None, credentials.rejected_at) == (False, None)
    assert await waited_s(here, ids[0]) >= 29
    assert type(await outcome(here, ids[1])) is TransientError  # refused here, before any call
    assert min([await waited_s(here, one) for one in ids[1:]]) == 30
    assert await told(here.hub, "operator_action") == []


MEANS = {
    "renewed": _renewed,
    "try again": _try_again,
    "maybe spent": _maybe_spent,
    "refused once": _refused_once,
    "app suspected": _app_suspected,
}


def test_the_table_has_forty_rows_and_more() -> None:
    assert len({row.name for row in TABLE}) == len(TABLE) >= 40


async def test_a_suspected_app_is_asked_about_once(fresh_database: Settings) -> None:
    refused = error("invalid_client", "401 Unauthorized")
    async with answering(refused) as served, at_vendor("strict", served.port, fresh_database) as here:
        ids = [await here.enroll(owner) for owner in GRANTS]
        for enrollment_id in ids * 2:
            assert isinstance(await outcome(here, enrollment_id), AppCredentialsRejected | TransientError)
        assert len(served.requests) == 1
