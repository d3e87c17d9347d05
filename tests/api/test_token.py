"""The token endpoint (RFC 6749), access tokens (RFC 9068), their keys and metadata (RFC 7517, RFC 8414)."""

from __future__ import annotations

import base64
import hmac
import json
import time
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from joserfc import jws, jwt
from joserfc.jwk import ECKey, KeySet, RSAKey

from api.conftest import NewTenant
from api.fakes import EVERYTHING, Tenant, assert_problem
from joinder.api import auth
from joinder.runtime.hub import Hub
from joinder.services.calls import buckets
from joinder.services.records import access_tokens, accounts
from joinder.services.records.access_tokens import Tokens
from joinder.services.records.accounts import SCOPES

DATABASES = ("sqlite",)  # nothing here depends on the database

GRANT = {"grant_type": "client_credentials"}
FORM = {"content-type": "application/x-www-form-urlencoded"}


def basic(user: str, password: str) -> dict[str, str]:
    return {"authorization": "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()}


@pytest.fixture
def known(tenant: Tenant) -> tuple[str, str]:
    return tenant.client.client_id, tenant.client.client_secret


async def test_a_token_comes_by_basic_and_by_post(anonymous: httpx.AsyncClient, known: tuple[str, str]) -> None:
    by_basic = await anonymous.post("/oauth2/token", data=GRANT, auth=known)
    by_post = await anonymous.post("/oauth2/token", data={**GRANT, "client_id": known[0], "client_secret": known[1]})
    for answer in (by_basic, by_post):
        body = answer.json()
        assert answer.status_code == 200
        assert (body["token_type"], body["expires_in"]) == ("Bearer", 3600)
        assert isinstance(body["expires_at"], float)
        assert answer.headers["cache-control"] == "no-store"
        assert answer.headers["content-type"].startswith("application/json")
        bearer = {"authorization": f"Bearer {body['access_token']}"}
        assert (await anonymous.get("/sites", headers=bearer)).status_code == 200


REFUSED: dict[str, tuple[str, dict[str, str], bool, int, str]] = {
    # name: body, headers, whether the right client authenticates by Basic, status, error
    "no grant type": ("scope=read:sites", FORM, True, 400, "invalid_request"),
    "no form": ("grant_type=client_credentials", {"content-type": "application/x-www-form-urlencodedx"}, True, 400,
                "invalid_request"),
    "empty body": ("", FORM, True, 400, "invalid_request"),
    "too many fields": ("grant_type=client_credentials" + "&a" * 100_000, FORM, True, 400, "invalid_request"),
    "a field too long": ("grant_type=client_credentials&a=" + "%61" * 60_000, FORM, True, 400, "invalid_request"),
    "another grant": ("grant_type=password&username=a&password=b", FORM, True, 400, "unsupported_grant_type"),
    "authorization code": ("grant_type=authorization_code&code=x", FORM, True, 400, "unsupported_grant_type"),
    "json body": ('{"grant_type":"client_credentials"}', {"content-type": "application/json"}, True, 400,
                  "invalid_request"),
    "no media type": ("grant_type=client_credentials", {}, True, 400, "invalid_request"),
    "grant type twice": ("grant_type=client_credentials&grant_type=client_credentials", FORM, True, 400,
                         "invalid_request"),
    "scope twice": ("grant_type=client_credentials&scope=read:sites&scope=read:flows", FORM, True, 400,
                    "invalid_request"),
    "not utf-8": ("grant_type=client_credentials&x=\udcff", FORM, True, 400, "invalid_request"),
    "unknown scope": ("grant_type=client_credentials&scope=root", FORM, True, 400, "invalid_scope"),
    "a scope it lacks": ("grant_type=client_credentials&scope=read:sites reveal:credentials", FORM, True, 400,
                         "invalid_scope"),
    "only blanks as scope": ("grant_type=client_credentials&scope=%20", FORM, True, 400, "invalid_scope"),
    "basic and post at once": ("grant_type=client_credentials&client_secret=x", FORM, True, 401, "invalid_client"),
    "another client_id beside basic": ("grant_type=client_credentials&client_id=clnt-aaaaaaaaaaaaaaaa", FORM, True,
                                       401, "invalid_client"),
    "no client": ("grant_type=client_credentials", FORM, False, 401, "invalid_client"),
    "client_id alone": ("grant_type=client_credentials&client_id=x", FORM, False, 401, "invalid_client"),
    "empty secret": ("grant_type=client_credentials&client_id=x&client_secret=", FORM, False, 401, "invalid_client"),
    "bearer": ("grant_type=client_credentials", {**FORM, "authorization": "Bearer x"}, False, 401, "invalid_client"),
    "basic without colon": ("grant_type=client_credentials", {**FORM, "authorization": "Basic YWJj"}, False, 401,
                            "invalid_client"),
    "basic that is no base64": ("grant_type=client_credentials", {**FORM, "authorization": "Basic ***"}, False, 401,
                                "invalid_client"),
    "basic that is no utf-8": ("grant_type=client_credentials", {**FORM, "authorization": "Basic //8="}, False, 401,
                               "invalid_client"),
    "empty basic": ("grant_type=client_credentials", {**FORM, "authorization": "Basic "}, False, 401,
                    "invalid_client"),
    "nul in the id": ("grant_type=client_credentials&client_id=%00&client_secret=x", FORM, False, 401,
                      "invalid_client"),
}  # fmt: skip


async def test_errors_are_those_of_rfc_6749(anonymous: httpx.AsyncClient, known: tuple[str, str]) -> None:
    for name, (body, headers, authenticated, status, error) in REFUSED.items():
        own = basic(*known) if authenticated else {}
        content = body.encode("utf-8", "surrogateescape")
        answer = await anonymous.post("/oauth2/token", content=content, headers={**headers, **own})
        assert (answer.status_code, answer.json()["error"]) == (status, error), name
        assert set(answer.json()) == {"error", "error_description"}, name
        assert answer.headers["cache-control"] == "no-store", name
        assert ("www-authenticate" in answer.headers) == (status == 401), name
        assert known[1] not in answer.text, name


@pytest.mark.parametrize(
    "media_type", ["Application/X-WWW-Form-URLencoded", "application/x-www-form-urlencoded ;charset=utf-8"]
)
async def test_a_media_type_and_a_scheme_are_read_as_http_reads_them(
    anonymous: httpx.AsyncClient, known: tuple[str, str], media_type: str
) -> None:
    """RFC 9110: in any case, with parameters, and after any number of blanks."""
    told = basic(*known)["authorization"].removeprefix("Basic ")
    for scheme in ("Basic   ", "bASIC "):
        headers = {"content-type": media_type, "authorization": scheme + told}
        answer = await anonymous.post("/oauth2/token", content="grant_type=client_credentials", headers=headers)
        assert answer.status_code == 200, answer.text


async def test_a_header_outside_ascii_is_an_invalid_client(anonymous: httpx.AsyncClient) -> None:
    headers = [(b"authorization", b"Basic \xe9\xe9\xe9\xe9"), (b"content-type", b"application/x-www-form-urlencoded")]
    answer = await anonymous.post("/oauth2/token", content=b"grant_type=client_credentials", headers=headers)
    assert (answer.status_code, answer.json()["error"]) == (401, "invalid_client")


async def test_unknown_client_wrong_secret_and_revoked_client_look_the_same(
    hub: Hub, anonymous: httpx.AsyncClient, known: tuple[str, str], new_tenant: NewTenant
) -> None:
    revoked = await new_tenant()
    await accounts.revoke_client(hub, revoked.account_id, revoked.client.client_id)
    tried = [
        ("clnt-aaaaaaaaaaaaaaaa", known[1]),
        ("nobody", known[1]),
        (known[0], "wrong"),
        (known[0], known[1] + "x"),
        (revoked.client.client_id, revoked.client.client_secret),
    ]
    same = {"x-request-id": "the-same-for-all"}
    answers = [await anonymous.post("/oauth2/token", data=GRANT, auth=pair, headers=same) for pair in tried]
    shown = {(answer.status_code, answer.content, tuple(sorted(answer.headers.items()))) for answer in answers}
    assert len(shown) == 1
    assert answers[0].json()["error"] == "invalid_client"


async def test_guessing_is_slowed_down_and_holds_up_nobody_who_knows_the_secret(
    anonymous: httpx.AsyncClient, known: tuple[str, str], new_tenant: NewTenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(buckets, "monotonic", lambda: 1e6)
    wrong = [
        await anonymous.post("/oauth2/token", data=GRANT, auth=(known[0], "wrong"))
        for _ in range(auth.FAILURES_PER_MINUTE)
    ]
    assert {answer.status_code for answer in wrong} == {401}
    refused = await anonymous.post("/oauth2/token", data=GRANT, auth=(known[0], "wrong"))
    assert_problem(refused, 429, "rate-limited")
    assert 0 < int(refused.headers["retry-after"]) <= 60
    other = (await new_tenant()).client
    for right in (known, (other.client_id, other.client_secret)):
        assert (await anonymous.post("/oauth2/token", data=GRANT, auth=right)).status_code == 200
    monkeypatch.setattr(buckets, "monotonic", lambda: 1e6 + 60)
    assert (await anonymous.post("/oauth2/token", data=GRANT, auth=(known[0], "wrong"))).status_code == 401


async def test_a_token_carries_the_scopes_asked_for_and_no_more(
    anonymous: httpx.AsyncClient, new_tenant: NewTenant
) -> None:
    client = (await new_tenant(EVERYTHING)).client
    answer = await anonymous.post(
        "/oauth2/token", data={**GRANT, "scope": "read:flows"}, auth=(client.client_id, client.client_secret)
    )
    bearer = {"authorization": f"Bearer {answer.json()['access_token']}"}
    assert answer.json()["scope"] == "read:flows"
    assert (await anonymous.get("/join/flows", headers=bearer)).status_code == 200
    assert_problem(await anonymous.get("/sites", headers=bearer), 403, "forbidden")


SCOPE_OF = {
    "read:sites": ("GET", "/sites"),
    "read:enrollments": ("GET", "/enrollments"),
    "manage:enrollments": ("DELETE", "/enrollments/enrl-aaaaaaaaaaaaaaaa"),
    "read:flows": ("GET", "/join/flows"),
    "manage:flows": ("DELETE", "/join/flows/flow-aaaaaaaaaaaaaaaa"),
    "read:credentials": ("GET", "/vendor-credentials"),
    "manage:credentials": ("DELETE", "/vendor-credentials/cred-aaaaaaaaaaaaaaaa"),
    "read:webhooks": ("GET", "/webhooks"),
    "manage:webhooks": ("DELETE", "/webhooks/whep-aaaaaaaaaaaaaaaa"),
}


async def test_one_scope_opens_its_own_operations_only(new_tenant: NewTenant) -> None:
    assert set(SCOPE_OF) == set(SCOPES)
    for scope in SCOPE_OF:
        api = (await new_tenant((scope,))).api
        for other, (method, path) in SCOPE_OF.items():
            answer = await api.request(method, path)
            if other == scope:
                assert answer.status_code in (200, 404)
            else:
                assert_problem(answer, 403, "forbidden")
                assert f'scope="{other}"' in answer.headers["www-authenticate"]


async def test_a_revoked_clients_token_ends(hub: Hub, tenant: Tenant, monkeypatch: pytest.MonkeyPatch) -> None:
    assert (await tenant.api.get("/sites")).status_code == 200
    await accounts.revoke_client(hub, tenant.account_id, tenant.client.client_id)
    later = time.time() + access_tokens._RECHECK_S + 1
    monkeypatch.setattr(access_tokens.time, "time", lambda: later)
    assert_problem(await tenant.api.get("/sites"), 401, "unauthorized")


async def test_an_issued_token_verifies_by_the_published_keys(anonymous: httpx.AsyncClient, tenant: Tenant) -> None:
    metadata = (await anonymous.get("/.well-known/oauth-authorization-server")).json()
    keys = KeySet.import_key_set((await anonymous.get("/.well-known/jwks.json")).json())
    token = jwt.decode(tenant.api.headers["authorization"].removeprefix("Bearer "), keys, algorithms=["ES256"])
    assert token.header["typ"] == "at+jwt"
    assert set(token.claims) >= {"iss", "aud", "sub", "client_id", "iat", "exp", "jti", "scope"}  # RFC 9068 §2.2
    assert token.claims["iss"] == metadata["issuer"]
    assert token.claims["sub"] == token.claims["client_id"] == tenant.client.client_id
    assert token.claims["exp"] - token.claims["iat"] == 3600


async def test_metadata_says_where_and_how(anonymous: httpx.AsyncClient, public_url: str) -> None:
    metadata = (await anonymous.get("/.well-known/oauth-authorization-server")).json()
    assert metadata["issuer"] == public_url
    assert metadata["token_endpoint"] == f"{public_url}/oauth2/token"
    assert metadata["jwks_uri"] == f"{public_url}/.well-known/jwks.json"
    assert metadata["grant_types_supported"] == ["client_credentials"]
    assert set(metadata["token_endpoint_auth_methods_supported"]) == {"client_secret_basic", "client_secret_post"}


async def test_published_keys_are_public_only(anonymous: httpx.AsyncClient) -> None:
    (key,) = (await anonymous.get("/.well-known/jwks.json")).json()["keys"]
    assert (key["kty"], key["crv"], key["alg"], key["use"]) == ("EC", "P-256", "ES256", "sig")
    assert "d" not in key


async def test_two_tokens_never_share_an_id(tenant: Tenant, anonymous: httpx.AsyncClient) -> None:
    auth_pair = (tenant.client.client_id, tenant.client.client_secret)
    tokens = [(await anonymous.post("/oauth2/token", data=GRANT, auth=auth_pair)).json() for _ in range(2)]
    ids = {json.loads(_unpadded(token["access_token"].split(".")[1]))["jti"] for token in tokens}
    assert len(ids) == 2


# Forged access tokens


def _unpadded(part: str) -> bytes:
    return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))


def _part(value: object) -> str:
    raw = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


class Forge:
    """Everything an attacker could know, and our own signing key for the tokens only a bug could issue."""

    def __init__(self, own: ECKey, genuine: str) -> None:
        self.own = own
        self.genuine = genuine
        self.header, self.payload, self.signature = genuine.split(".")
        self.claims: dict[str, Any] = json.loads(_unpadded(self.payload))
        self.stranger = ECKey.generate_key("P-256", parameters={"kid": str(own.kid)})

    def header_of(self, **members: Any) -> dict[str, Any]:
        header = {"alg": "ES256", "typ": "at+jwt", "kid": self.own.kid, **members}
        return {name: value for name, value in header.items() if value is not None}

    def signed(self, header: dict[str, Any] | None = None, key: Any = None, **claims: Any) -> str:
        """By our own key unless another is given."""
        body = {name: value for name, value in {**self.claims, **claims}.items() if value is not None}
        return self.raw(json.dumps(body).encode(), header, key)

    def raw(self, payload: bytes, header: dict[str, Any] | None = None, key: Any = None) -> str:
        registry = jws.JWSRegistry(algorithms=["ES256", "HS256", "RS256"], strict_check_header=False)
        members = header or self.header_of()
        return jws.serialize_compact(members, payload, key or self.own, registry=registry)

    def pasted(self, header: dict[str, Any], signature: str | None = None) -> str:
        """A changed header before the genuine payload."""
        return f"{_part(header)}.{self.payload}.{self.signature if signature is None else signature}"


def _hs256(forge: Forge, secret: bytes) -> str:
    """By hand: joserfc will not take a public key for a shared secret."""
    signed = f"{_part(forge.header_of(alg='HS256'))}.{forge.payload}"
    return f"{signed}.{_part(hmac.digest(secret, signed.encode(), 'sha256'))}"


_now = time.time
FORGED: dict[str, Callable[[Forge], str]] = {
    "alg none": lambda f: f.pasted(f.header_of(alg="none"), ""),
    "alg None": lambda f: f.pasted(f.header_of(alg="None"), ""),
    "alg none with the genuine signature": lambda f: f.pasted(f.header_of(alg="none")),
    "alg absent": lambda f: f.pasted(f.header_of(alg=None)),
    "alg a number": lambda f: f.pasted(f.header_of(alg=256)),
    "hs256 with the public key as pem": lambda f: _hs256(f, f.own.as_pem(private=False)),
    "hs256 with the public key as jwk": lambda f: _hs256(f, json.dumps(f.own.as_dict(private=False)).encode()),
    "hs256 with the key id": lambda f: _hs256(f, str(f.own.kid).encode()),
    "rs256 by a stranger": lambda f: f.signed(f.header_of(alg="RS256"), RSAKey.generate_key(2048)),
    "a stranger's key under our key id": lambda f: f.signed(key=f.stranger),
    "a stranger's key in jwk": lambda f: f.signed(f.header_of(jwk=f.stranger.as_dict(private=False)), f.stranger),
    "our signature with jwk": lambda f: f.signed(f.header_of(jwk=f.own.as_dict(private=False))),
    "jku": lambda f: f.signed(f.header_of(jku="https://evil.example/jwks.json")),
    "x5u": lambda f: f.signed(f.header_of(x5u="https://evil.example/cert.pem")),
    "x5c": lambda f: f.pasted(f.header_of(x5c=["MIIB"])),
    "crit": lambda f: f.pasted(f.header_of(crit=["exp"])),
    "crit b64": lambda f: f.pasted(f.header_of(crit=["b64"], b64=False)),
    "unknown kid": lambda f: f.signed(f.header_of(kid="jkey-aaaaaaaaaaaaaaaa")),
    "no kid": lambda f: f.signed(f.header_of(kid=None)),
    "kid a path": lambda f: f.pasted(f.header_of(kid="../../dev/null")),
    "kid a number": lambda f: f.pasted(f.header_of(kid=7)),
    "kid an object": lambda f: f.pasted(f.header_of(kid={"a": 1})),
    "typ JWT": lambda f: f.signed(f.header_of(typ="JWT")),
    "no typ": lambda f: f.signed(f.header_of(typ=None)),
    "another issuer": lambda f: f.signed(iss="https://evil.example"),
    "another audience": lambda f: f.signed(aud="https://evil.example"),
    "audience a list": lambda f: f.signed(aud=[f.claims["aud"]]),
    "no audience": lambda f: f.signed(aud=None),
    "no issuer": lambda f: f.signed(iss=None),
    "expired": lambda f: f.signed(iat=int(_now()) - 7200, exp=int(_now()) - 1),
    "no expiry": lambda f: f.signed(exp=None),
    "expiry a text": lambda f: f.signed(exp=str(f.claims["exp"])),
    "expiry with a fraction": lambda f: f.signed(exp=f.claims["exp"] + 0.5),
    "expiry in a year": lambda f: f.signed(exp=f.claims["exp"] + 365 * 86400),
    "expiry beyond every float": lambda f: f.signed(exp=10**400),
    "expiry infinite": lambda f: f.raw(json.dumps({**f.claims, "exp": float("inf")}).encode()),
    "expiry not a number": lambda f: f.raw(json.dumps({**f.claims, "exp": float("nan")}).encode()),
    "expiry before issue": lambda f: f.signed(exp=f.claims["iat"] - 10),
    "issued in the future": lambda f: f.signed(iat=int(_now()) + 3600, exp=int(_now()) + 7200),
    "no issue time": lambda f: f.signed(iat=None),
    "a claim twice": lambda f: f.pasted(f.header_of(), "") + f.signature[:-4] + "AAAA",
    "payload is a list": lambda f: f.raw(b"[]"),
    "payload is text": lambda f: f.raw(b'"hello"'),
    "payload is no json": lambda f: f.raw(b"\xff\xfe"),
    "unknown client": lambda f: f.signed(client_id="clnt-aaaaaaaaaaaaaaaa"),
    "client a number": lambda f: f.signed(client_id=7),
    "no account": lambda f: f.signed(account=None),
    "scope a list": lambda f: f.signed(scope=["read:sites"]),
    "another account pasted in": lambda f: f"{f.header}.{_part({**f.claims, 'account': 'acct-x'})}.{f.signature}",
    "header of 8 kB": lambda f: f.signed(f.header_of(pad="x" * 8192)),
    "signature cut": lambda f: f.genuine[:-10],
    "signature empty": lambda f: f"{f.header}.{f.payload}.",
    "signature of zeros": lambda f: f"{f.header}.{f.payload}.{_part(bytes(64))}",
    "signature of another token": lambda f: f"{f.header}.{f.payload}.{f.signed(iat=1).rsplit('.', 1)[1]}",
    "no signature part": lambda f: f"{f.header}.{f.payload}",
    "four parts": lambda f: f"{f.genuine}.x",
    "jwe of five parts": lambda f: "a.b.c.d.e",
    "dots only": lambda f: "..",
    "not base64": lambda f: "***.***.***",
    "one megabyte": lambda f: "a" * 1_000_000,
    "not ascii": lambda f: f.genuine + "é",
    "two tokens": lambda f: f"{f.genuine} {f.genuine}",
}


async def test_a_forged_token_opens_nothing(hub: Hub, anonymous: httpx.AsyncClient, tenant: Tenant) -> None:
    forge = Forge(await Tokens(hub).keys.signing(), tenant.api.headers["authorization"].removeprefix("Bearer "))
    statuses = {}
    for name, forged in FORGED.items():
        bearer = b"Bearer " + forged(forge).encode()
        answer = await anonymous.get("/sites", headers=[(b"authorization", bearer)])
        statuses[name] = answer.status_code
        if answer.status_code == 401:
            assert_problem(answer, 401, "unauthorized")
            assert answer.headers["www-authenticate"].startswith("Bearer ")
    assert len(statuses) >= 50
    assert {name: status for name, status in statuses.items() if status != 401} == {}


async def test_the_forge_itself_makes_tokens_that_open(hub: Hub, anonymous: httpx.AsyncClient, tenant: Tenant) -> None:
    """Or the table above would prove nothing."""
    own = await Tokens(hub).keys.signing()
    forge = Forge(own, tenant.api.headers["authorization"].removeprefix("Bearer "))
    token = forge.signed(jti="another")
    assert (await anonymous.get("/sites", headers={"authorization": f"Bearer {token}"})).status_code == 200


async def test_another_servers_token_opens_nothing(anonymous: httpx.AsyncClient, tenant: Tenant) -> None:
    other = ECKey.generate_key("P-256", parameters={"kid": "jkey-bbbbbbbbbbbbbbbb"})
    claims = json.loads(_unpadded(tenant.api.headers["authorization"].split(".")[1]))
    token = jwt.encode({"alg": "ES256", "typ": "at+jwt", "kid": other.kid}, claims, other, algorithms=["ES256"])
    answer = await anonymous.get("/sites", headers={"authorization": f"Bearer {token}"})
    assert_problem(answer, 401, "unauthorized")


async def test_a_header_without_a_bearer_token_is_refused(anonymous: httpx.AsyncClient) -> None:
    for header in ("", "Bearer", "Bearer ", "Basic x", "Token x", "bearer\tx"):
        assert_problem(await anonymous.get("/sites", headers={"authorization": header}), 401, "unauthorized")


async def test_a_token_in_the_query_is_not_looked_at(anonymous: httpx.AsyncClient, tenant: Tenant) -> None:
    token = tenant.api.headers["authorization"].removeprefix("Bearer ")
    assert_problem(await anonymous.get(f"/sites?access_token={token}"), 401, "unauthorized")
