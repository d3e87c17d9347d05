"""S21, S22: how access tokens end: revoked, asked about, with their client, with their key; and what asking costs."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from api.conftest import NewTenant
from api.fakes import EVERYTHING, Tenant, assert_problem, count
from joinder.api import auth
from joinder.api.auth import FailedLogins
from joinder.runtime.hub import Hub
from joinder.services.records import accounts, signing_keys
from joinder.services.records.access_tokens import InvalidToken, Tokens
from joinder.services.records.signing_keys import PUBLISHED_S, TOKEN_LIFE_S
from joinder.settings import Settings

GRANT = {"grant_type": "client_credentials"}


def login(tenant: Tenant) -> tuple[str, str]:
    return tenant.client.client_id, tenant.client.client_secret


def token_of(tenant: Tenant) -> str:
    return tenant.api.headers["authorization"].removeprefix("Bearer ")


async def ask(browser: httpx.AsyncClient, what: str, tenant: Tenant, token: str, **more: str) -> httpx.Response:
    return await browser.post(f"/oauth2/{what}", data={"token": token, **more}, auth=login(tenant))


async def introspected(browser: httpx.AsyncClient, tenant: Tenant, token: str) -> dict[str, Any]:
    answer = await ask(browser, "introspect", tenant, token)
    assert (answer.status_code, answer.headers["cache-control"]) == (200, "no-store")
    told: dict[str, Any] = answer.json()
    return told


async def test_a_revoked_token_has_ended_at_once_and_twice_is_harmless(
    anonymous: httpx.AsyncClient, tenant: Tenant, hub: Hub
) -> None:
    assert (await tenant.api.get("/sites")).status_code == 200
    for _ in range(2):
        assert (await ask(anonymous, "revoke", tenant, token_of(tenant))).status_code == 200
        assert_problem(await tenant.api.get("/sites"), 401, "unauthorized")
    assert await count(hub, "audit", "action = 'token.revoke'") == 1
    fresh = await anonymous.post("/oauth2/token", data=GRANT, auth=login(tenant))
    assert (
        await anonymous.get("/sites", headers={"authorization": f"Bearer {fresh.json()['access_token']}"})
    ).is_success


async def test_it_has_ended_in_other_processes_too(
    anonymous: httpx.AsyncClient, tenant: Tenant, hub: Hub, fresh_database: Settings, public_url: str
) -> None:
    other = Tokens(hub)
    assert (await other.verify(token_of(tenant)))[0].account_id == tenant.account_id
    await ask(anonymous, "revoke", tenant, token_of(tenant))
    with pytest.raises(InvalidToken):
        await other.verify(token_of(tenant))


async def test_a_revoked_client_is_dead_at_once_everywhere(tenant: Tenant, hub: Hub) -> None:
    other = Tokens(hub)
    await other.verify(token_of(tenant))
    assert (await tenant.api.get("/sites")).status_code == 200
    await accounts.revoke_client(hub, tenant.account_id, tenant.client.client_id)
    assert_problem(await tenant.api.get("/sites"), 401, "unauthorized")
    with pytest.raises(InvalidToken):
        await other.verify(token_of(tenant))


async def test_what_is_no_token_is_revoked_without_a_word(anonymous: httpx.AsyncClient, tenant: Tenant) -> None:
    for token in ("x", "a.b.c", token_of(tenant)[:-2], "é", "x" * 10_000):
        assert (await ask(anonymous, "revoke", tenant, token, token_type_hint="access_token")).status_code == 200
    assert (await tenant.api.get("/sites")).status_code == 200


async def test_nobody_revokes_another_client_s_token(
    anonymous: httpx.AsyncClient, tenant: Tenant, new_tenant: NewTenant
) -> None:
    answer = await ask(anonymous, "revoke", await new_tenant(), token_of(tenant))
    assert (answer.status_code, answer.json()["error"]) == (400, "unauthorized_client")
    assert (await tenant.api.get("/sites")).status_code == 200


async def test_introspection_tells_of_the_own_account_alone(
    anonymous: httpx.AsyncClient, tenant: Tenant, new_tenant: NewTenant
) -> None:
    told = await introspected(anonymous, tenant, token_of(tenant))
    assert (told["active"], told["client_id"], told["sub"]) == (True, *[tenant.client.client_id] * 2)
    assert told["token_type"] == "Bearer"
    assert told["exp"] - told["iat"] == TOKEN_LIFE_S
    assert "read:sites" in told["scope"].split()
    inactive = {"active": False}
    assert await introspected(anonymous, await new_tenant(EVERYTHING), token_of(tenant)) == inactive
    for token in ("x", f"{token_of(tenant)}x"):
        assert await introspected(anonymous, tenant, token) == inactive
    await ask(anonymous, "revoke", tenant, token_of(tenant))
    assert await introspected(anonymous, tenant, token_of(tenant)) == inactive


@pytest.mark.parametrize("what", ["revoke", "introspect"])
async def test_both_want_the_client_and_the_token(anonymous: httpx.AsyncClient, tenant: Tenant, what: str) -> None:
    bad = await anonymous.post(f"/oauth2/{what}", data={"token": "x"}, auth=(tenant.client.client_id, "wrong"))
    assert (bad.status_code, bad.json()["error"]) == (401, "invalid_client")
    assert bad.headers["www-authenticate"].startswith("Basic")
    nobody = await anonymous.post(f"/oauth2/{what}", data={"token": "x"})
    assert (nobody.status_code, nobody.json()["error"]) == (401, "invalid_client")
    nothing = await anonymous.post(f"/oauth2/{what}", data={}, auth=login(tenant))
    assert (nothing.status_code, nothing.json()["error"]) == (400, "invalid_request")
    assert (await anonymous.post(f"/oauth2/{what}", json={"token": "x"}, auth=login(tenant))).status_code == 400


async def test_both_stand_in_the_metadata(anonymous: httpx.AsyncClient, public_url: str) -> None:
    told = (await anonymous.get("/.well-known/oauth-authorization-server")).json()
    assert told["revocation_endpoint"] == f"{public_url}/oauth2/revoke"
    assert told["introspection_endpoint"] == f"{public_url}/oauth2/introspect"


async def test_a_client_s_budget_is_told_and_is_its_own(
    anonymous: httpx.AsyncClient, tenant: Tenant, new_tenant: NewTenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(auth, "ASKED_PER_MINUTE", 3)
    anonymous._transport.app.state.failures = FailedLogins()  # type: ignore[attr-defined]
    left = []
    for _ in range(3):
        answer = await anonymous.post("/oauth2/token", data=GRANT, auth=login(tenant))
        assert answer.headers["ratelimit-policy"] == '"client";q=3;w=60'
        left.append(answer.headers["ratelimit"])
    assert left == ['"client";r=2;t=20', '"client";r=1;t=40', '"client";r=0;t=60']
    refused = await anonymous.post("/oauth2/token", data=GRANT, auth=login(tenant))
    assert_problem(refused, 429, "rate-limited")
    assert int(refused.headers["retry-after"]) > 0
    assert refused.headers["ratelimit"].startswith('"client";r=0;t=')
    other = await new_tenant()
    assert (await anonymous.post("/oauth2/token", data=GRANT, auth=login(other))).status_code == 200


# Signing keys


async def kids(browser: httpx.AsyncClient) -> list[str]:
    return [key["kid"] for key in (await browser.get("/.well-known/jwks.json")).json()["keys"]]


async def test_a_new_key_is_published_before_it_signs_and_tokens_of_the_old_one_work_on(
    anonymous: httpx.AsyncClient, tenant: Tenant, hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    (old,) = await kids(anonymous)
    new = await signing_keys.rotate(hub, "test")
    tokens, real = Tokens(hub), signing_keys.now
    assert [key["kid"] for key in (await tokens.jwks())["keys"]] == [old, new]
    assert (await tokens.keys.signing()).kid == old
    monkeypatch.setattr(
        signing_keys, "now", lambda: real() + PUBLISHED_S + 1
    )  # two keys of one second are a second apart
    assert (await tokens.keys.signing()).kid == new
    await tokens.verify(token_of(tenant))
    monkeypatch.setattr(signing_keys, "now", lambda: real() + PUBLISHED_S + TOKEN_LIFE_S + 62)
    assert [key["kid"] for key in (await tokens.jwks())["keys"]] == [new]


async def test_a_running_server_learns_of_a_key_it_does_not_know(
    tenant: Tenant, hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    running = Tokens(hub)
    await running.verify(token_of(tenant))
    await signing_keys.rotate(hub, "test", at_once=True)
    fresh = await Tokens(hub).issue(*login(tenant), None)
    monkeypatch.setattr(signing_keys, "UNKNOWN_S", 0.0)
    assert (await running.verify(fresh.access_token))[0].client_id == tenant.client.client_id


async def test_at_once_ends_every_token_of_before(tenant: Tenant, hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    new = await signing_keys.rotate(hub, "test", at_once=True)
    tokens = Tokens(hub)
    assert [key["kid"] for key in (await tokens.jwks())["keys"]] == [new]
    with pytest.raises(InvalidToken):
        await tokens.verify(token_of(tenant))
    assert await count(hub, "audit", "action = 'signing-key.rotate'") == 1
