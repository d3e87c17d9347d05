"""POSTs that are sent again: done once, answered alike; never the answer of another request or client."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable

import httpx
import pytest
from sqlmodel import col, select
from sqlmodel.sql.expression import SelectOfScalar

from api.conftest import NewBrowser, NewTenant
from api.fakes import Tenant, Vendors, assert_problem, connect, count
from joinder.grants import Grant
from joinder.runtime.hub import Hub
from joinder.services.records import idempotency
from joinder.store.tables import Idempotency

HOOK = {"url": "https://integrator.example/hook"}
KEY = {"idempotency-key": "key-1"}


async def test_sent_again_it_is_done_once_and_answered_alike(api: httpx.AsyncClient, hub: Hub) -> None:
    first = await api.post("/webhooks", json=HOOK, headers=KEY)
    again = await api.post("/webhooks", json=HOOK, headers={"idempotency-key": '"key-1"'})
    assert (first.status_code, again.status_code, again.json()) == (201, 201, first.json())
    assert "idempotency-replayed" not in first.headers
    assert again.headers["idempotency-replayed"] == "true"
    assert await count(hub, "webhook_endpoint") == 1
    other = await api.post("/webhooks", json=HOOK, headers={"idempotency-key": "key-2"})
    assert other.json()["id"] != first.json()["id"]


async def test_the_answer_is_sealed(api: httpx.AsyncClient, hub: Hub) -> None:
    secret = (await api.post("/webhooks", json=HOOK, headers=KEY)).json()["secret"]
    (row,) = await hub.store.rows("SELECT answer_sealed FROM idempotency", {})
    assert secret.encode() not in bytes(row[0])
    assert (await api.post("/webhooks", json=HOOK, headers=KEY)).json()["secret"] == secret


async def test_another_request_under_the_key_is_refused(api: httpx.AsyncClient, hub: Hub) -> None:
    await api.post("/webhooks", json=HOOK, headers=KEY)
    others = [
        api.post("/webhooks", json={"url": "https://integrator.example/other"}, headers=KEY),
        api.post("/webhooks?x=1", json=HOOK, headers=KEY),
        api.post("/join/flows", json=HOOK, headers=KEY),
    ]
    for other in others:
        assert_problem(await other, 422, "idempotency-key-reused")
    assert await count(hub, "webhook_endpoint") == 1


async def test_another_client_has_keys_of_its_own(api: httpx.AsyncClient, new_tenant: NewTenant, hub: Hub) -> None:
    first = await api.post("/webhooks", json=HOOK, headers=KEY)
    theirs = await (await new_tenant()).api.post("/webhooks", json=HOOK, headers=KEY)
    assert (theirs.status_code, theirs.json()["id"] == first.json()["id"]) == (201, False)


async def test_after_a_refusal_the_key_may_be_used_again(api: httpx.AsyncClient, hub: Hub) -> None:
    assert_problem(await api.post("/webhooks", json={"url": "x"}, headers=KEY), 400, "validation-error")
    assert (await api.post("/webhooks", json=HOOK, headers=KEY)).status_code == 201
    assert await count(hub, "idempotency") == 1


async def test_while_the_first_has_no_answer_the_second_waits(
    api: httpx.AsyncClient,
    browser: httpx.AsyncClient,
    vendors: Vendors,
    hub: Hub,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    enrollment_id = await connect(api, browser)
    arrived, go = asyncio.Event(), asyncio.Event()
    original, path = hub.registry.refresh, f"/enrollments/{enrollment_id}/refresh"
    monkeypatch.setattr(hub.registry, "refresh", lambda *asked: _after(arrived, go, original(*asked)))
    first = asyncio.create_task(api.post(path, headers=KEY))
    await arrived.wait()
    waiting = await api.post(path, headers=KEY)
    assert_problem(waiting, 409, "idempotency-in-flight")
    assert waiting.headers["retry-after"] == "1"
    go.set()
    assert (await first).status_code == 200
    assert (await api.post(path, headers=KEY)).headers["idempotency-replayed"] == "true"
    assert vendors.sunny.calls.count("refresh") == 1


async def _after(arrived: asyncio.Event, go: asyncio.Event, call: Awaitable[Grant]) -> Grant:
    arrived.set()
    await go.wait()
    return await call


def _select(tenant: Tenant) -> SelectOfScalar[Idempotency]:
    return select(Idempotency).where(col(Idempotency.client_id) == tenant.client.client_id)


async def _cut(hub: Hub, tenant: Tenant) -> None:
    """As a kill between effect and answer leaves it, two minutes later."""
    async with hub.store.write() as session:
        row = (await session.execute(_select(tenant))).scalar_one()
        row.status = row.answer_sealed = None
        row.created_at -= idempotency.CUT_AFTER_S + 1


async def test_an_effect_without_an_answer_is_told_and_not_repeated(
    api: httpx.AsyncClient, tenant: Tenant, hub: Hub
) -> None:
    made = (await api.post("/webhooks", json=HOOK, headers=KEY)).json()
    await _cut(hub, tenant)
    told = assert_problem(await api.post("/webhooks", json=HOOK, headers=KEY), 409, "idempotency-answer-lost")
    assert made["id"] in told["detail"]
    assert await count(hub, "webhook_endpoint") == 1


async def test_what_was_cut_before_its_effect_runs(api: httpx.AsyncClient, tenant: Tenant, hub: Hub) -> None:
    await api.post("/webhooks", json=HOOK, headers=KEY)
    await _cut(hub, tenant)
    async with hub.store.write() as session:
        (await session.execute(_select(tenant))).scalar_one().request_id = "of-a-request-that-did-nothing"
    assert (await api.post("/webhooks", json=HOOK, headers=KEY)).status_code == 201
    assert await count(hub, "webhook_endpoint") == 2


async def test_after_a_day_a_key_is_new(api: httpx.AsyncClient, tenant: Tenant, hub: Hub) -> None:
    await api.post("/webhooks", json=HOOK, headers=KEY)
    async with hub.store.write() as session:
        (await session.execute(_select(tenant))).scalar_one().expires_at = 1
    assert "idempotency-replayed" not in (await api.post("/webhooks", json=HOOK, headers=KEY)).headers
    assert await count(hub, "webhook_endpoint") == 2


@pytest.mark.parametrize("key", ["", "x" * 256, "a b", 'a"b', "é"])
async def test_a_key_that_is_none_is_refused(api: httpx.AsyncClient, hub: Hub, key: str) -> None:
    answer = await api.post("/webhooks", json=HOOK, headers=[("idempotency-key", key.encode("latin-1"))])
    assert_problem(answer, 400, "bad-request")
    assert await count(hub, "webhook_endpoint") == 0


async def test_two_keys_are_none(api: httpx.AsyncClient, hub: Hub) -> None:
    twice = [("idempotency-key", "key-1"), ("idempotency-key", "key-2")]
    for path in ("/webhooks", "/enrollments/submit"):
        refused = assert_problem(await api.post(path, json=HOOK, headers=twice), 400, "bad-request")
        assert "once" in refused["detail"]
    assert await count(hub, "webhook_endpoint") == 0


async def test_without_a_token_nothing_is_noted(anonymous: httpx.AsyncClient, hub: Hub) -> None:
    assert_problem(await anonymous.post("/webhooks", json=HOOK, headers=KEY), 401, "unauthorized")
    assert await count(hub, "idempotency") == 0


async def test_a_token_that_may_not_ask_is_not_told_what_another_of_the_client_was_answered(
    tenant: Tenant, new_browser: NewBrowser, api: httpx.AsyncClient, hub: Hub
) -> None:
    """S22: the answer holds a secret, and a narrower token of the same client has its key and its body."""
    made = await api.post("/webhooks", json=HOOK, headers=KEY)
    narrow = await new_browser()
    asked = {"grant_type": "client_credentials", "scope": "read:webhooks"}
    answer = await narrow.post("/oauth2/token", data=asked, auth=(tenant.client.client_id, tenant.client.client_secret))
    narrow.headers["authorization"] = f"Bearer {answer.json()['access_token']}"
    for headers in (KEY, {"idempotency-key": "key-2"}):
        refused = await narrow.post("/webhooks", json=HOOK, headers=headers)
        assert_problem(refused, 403, "forbidden")
        assert made.json()["secret"] not in refused.text
    assert (await api.post("/webhooks", json=HOOK, headers=KEY)).json() == made.json()
    assert len(await hub.store.rows("SELECT * FROM idempotency", {})) == 1
