"""S20, API4: what one client may ask of a server, told on every answer, and that others beside it are served."""

from __future__ import annotations

from types import SimpleNamespace

import httpx
import pytest
from litestar import Litestar

from api.conftest import NewBrowser, NewTenant
from api.fakes import Tenant, assert_problem
from api.test_browser_keys import joined
from joinder.api.client_budgets import ClientBudgets
from joinder.services.calls import buckets
from joinder.services.calls.buckets import Balance, Buckets
from joinder.settings import ConfigError, settings_from_env

QUOTA = 5
HOOK = {"url": "https://integrator.example/hook"}


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    held = SimpleNamespace(now=1e6)
    monkeypatch.setattr(buckets, "monotonic", lambda: held.now)
    return held


@pytest.fixture
def narrow(app: Litestar) -> None:
    app.state.budgets = ClientBudgets(QUOTA)


def told(answer: httpx.Response) -> tuple[str | None, str | None]:
    return answer.headers.get("ratelimit-policy"), answer.headers.get("ratelimit")


async def used_up(api: httpx.AsyncClient) -> httpx.Response:
    for _ in range(QUOTA):
        assert (await api.get("/sites")).status_code == 200
    return await api.get("/sites")


@pytest.mark.usefixtures("narrow")
async def test_every_answer_tells_what_is_left(new_tenant: NewTenant) -> None:
    api = (await new_tenant(("read:sites",))).api
    answers = [
        await api.get("/sites"),
        await api.get("/sites/site-aaaaaaaaaaaaaaaa"),
        await api.get("/webhooks"),
        await api.get("/sites", params={"nothing": "x"}),
        await api.request("HEAD", "/sites"),
    ]
    assert [answer.status_code for answer in answers] == [200, 404, 403, 400, 200]
    assert {told(answer)[0] for answer in answers} == {'"requests";q=5;w=60'}
    assert [told(answer)[1] for answer in answers] == [f'"requests";r={4 - n};t={12 * (n + 1)}' for n in range(5)]


@pytest.mark.usefixtures("narrow")
async def test_who_asks_too_much_is_told_when_to_come_back(tenant: Tenant, clock: SimpleNamespace) -> None:
    refused = await used_up(tenant.api)
    assert_problem(refused, 429, "rate-limited")
    assert (refused.headers["retry-after"], told(refused)[1]) == ("12", '"requests";r=0;t=60')
    assert len(refused.headers.get_list("ratelimit")) == 1
    clock.now += 12
    assert (await tenant.api.get("/sites")).status_code == 200
    assert (await tenant.api.get("/sites")).status_code == 429


@pytest.mark.usefixtures("narrow")
async def test_an_honest_client_beside_a_flood_is_served(
    tenant: Tenant, new_tenant: NewTenant, new_browser: NewBrowser
) -> None:
    beside = await new_tenant(account_id=tenant.account_id)
    assert (await used_up(tenant.api)).status_code == 429
    assert (await beside.api.get("/sites")).status_code == 200
    again = await new_browser()  # another token of the same client pays from the same budget
    who = (tenant.client.client_id, tenant.client.client_secret)
    answer = await again.post("/oauth2/token", data={"grant_type": "client_credentials"}, auth=who)
    again.headers["authorization"] = f"Bearer {answer.json()['access_token']}"
    assert (await again.get("/sites")).status_code == 429


@pytest.mark.usefixtures("narrow")
async def test_a_refused_request_does_nothing(tenant: Tenant, app: Litestar) -> None:
    assert (await used_up(tenant.api)).status_code == 429
    for headers in ({}, {"idempotency-key": "once"}):
        assert (await tenant.api.post("/webhooks", json=HOOK, headers=headers)).status_code == 429
    app.state.budgets = ClientBudgets(QUOTA)
    assert (await tenant.api.get("/webhooks")).json()["webhooks"] == []


@pytest.mark.usefixtures("narrow")
async def test_what_is_sent_again_pays_once_each_time(tenant: Tenant) -> None:
    key = {"idempotency-key": "once"}
    first, again = [await tenant.api.post("/webhooks", json=HOOK, headers=key) for _ in range(2)]
    assert (first.status_code, first.content) == (again.status_code, again.content)
    assert again.headers["idempotency-replayed"] == "true"
    assert [told(answer)[1] for answer in (first, again)] == ['"requests";r=4;t=12', '"requests";r=3;t=24']


async def test_a_browser_s_key_leaves_its_client_s_budget_alone(
    tenant: Tenant, new_browser: NewBrowser, app: Litestar
) -> None:
    enrollment_id, _ = await joined(tenant.api, await new_browser(), "sunny")
    made = await tenant.api.post(f"/enrollments/{enrollment_id}/browser-keys")
    app.state.budgets = ClientBudgets(20)
    page = await new_browser()
    page.headers["authorization"] = f"Bearer {made.json()['accessToken']}"
    statuses = [(await page.get("/sites")).status_code for _ in range(3)]
    assert statuses == [200, 200, 429]
    assert told(await page.get("/sites"))[0] == '"browser-key";q=2;w=60'
    assert told(await tenant.api.get("/sites"))[1] == '"requests";r=19;t=3'


async def test_strangers_are_told_of_no_budget(anonymous: httpx.AsyncClient) -> None:
    for headers in ({}, {"authorization": "Bearer nonsense"}):
        answer = await anonymous.get("/sites", headers=headers)
        assert (answer.status_code, told(answer)) == (401, (None, None))


def test_a_bucket_is_spent_by_one_look(clock: SimpleNamespace) -> None:
    held = Buckets(3, keys_most=2)
    assert [held.spend("a") for _ in range(4)] == [
        Balance(0, 2, 20),
        Balance(0, 1, 40),
        Balance(0, 0, 60),
        Balance(20, 0, 60),
    ]
    clock.now += 20
    assert held.spend("a") == Balance(0, 0, 60)
    held.spend("b"), held.spend("a"), held.spend("c")  # "b" was not used for longest
    assert (len(held), held.is_full("b"), held.left("a")) == (2, True, 0)


@pytest.mark.parametrize("wrong", ["0", "-1", "1000001", "many", "1.5"])
def test_a_budget_that_cannot_work_is_refused_at_start(wrong: str) -> None:
    with pytest.raises(ConfigError, match="JOINDER_REQUESTS_PER_MINUTE"):
        settings_from_env({"JOINDER_REQUESTS_PER_MINUTE": wrong})
