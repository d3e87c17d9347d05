"""Lists go a way of their own where nothing is to be refused: what it answers is, to the byte, what the router does."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import httpx
import pytest
from litestar import Litestar, get

from api.conftest import NewTenant
from api.fakes import Tenant, assert_problem, connect_site
from joinder.api import short_way
from joinder.api.auth import require_caller
from joinder.api.client_budgets import ClientBudgets
from joinder.api.intake import Intake
from joinder.api.short_way import lists_of
from joinder.api.virtual import require_virtual
from joinder.runtime.hub import Hub
from joinder.services.readings import sites
from joinder.services.records import accounts
from joinder.trouble import StoreTrouble

LISTS = ("/enrollments", "/sites", "/solar-inverters", "/batteries", "/meters", "/chargers")
LONG_WAY = [("x-twice", "a"), ("x-twice", "b")]  # of a header that comes twice, the router is to think something
PLAIN = ("", "pageSize=1", "pageSize=200", "vendor=sunny", "vendor=sunny&pageSize=1")
OF_ONE = {
    "/sites": (
        "expand=true",
        "expand=false",
        "vendorID=1",
        "vendorID=a%20b%2Bc+d",
        "enrollmentID=enrl-aaaaaaaaaaaaaaaa",
    ),
    "/enrollments": (
        "health=ok",
        "status=enrolled&health=ok",
        "reference=mine",
        "state=s&flowID=flow-aaaaaaaaaaaaaaaa",
    ),
    "/meters": ("siteID=site-aaaaaaaaaaaaaaaa", "vendorSiteID=1&vendor=sunny"),
}
REFUSED = (
    "pageSize=0",
    "pageSize=201",
    "pageSize=1e1",
    "pageSize=999999999999999999",
    "pageSize=1&pageSize=1",
    "pageSize=",
    "vendor=Sunny",
    "nonsense=1",
    "expand=1",
    "health=fine",
    "enrollmentID=1",
    "%FF=1",
    "pageToken=AAAA",
    "pageToken=%00",
)
CHANGES = ("x-request-id", "ratelimit")


class Answered:
    """Counts answers of the short way."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.count, self._send = 0, short_way._send
        monkeypatch.setattr(short_way, "_send", self)

    async def __call__(self, *args: Any) -> None:
        self.count += 1
        await self._send(*args)


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> Answered:
    return Answered(monkeypatch)


async def both(api: httpx.AsyncClient, path: str, **headers: str) -> httpx.Response:
    """Asks both ways, and returns the answer, which is the same."""
    told = [await api.get(path, headers=[*headers.items(), *more]) for more in ([], LONG_WAY)]
    first, second = (_told(answer) for answer in told)
    assert first == second
    return told[0]


def _told(answer: httpx.Response) -> tuple[int, Mapping[str, str], bytes]:
    kept = {name: value for name, value in answer.headers.items() if name not in CHANGES}
    return answer.status_code, kept, answer.content


def test_what_has_guards_of_its_own_cannot_go_it() -> None:
    @get("/secrets", opt={"scope": "read:sites", "list": True}, guards=[require_caller, require_virtual])
    async def secrets() -> list[str]:
        return []

    with pytest.raises(ValueError, match="one guard"):
        lists_of(Litestar([secrets], openapi_config=None))


async def test_every_list_of_many_goes_the_short_way(app: Litestar) -> None:
    assert lists_of(app).keys() == set(LISTS)


@pytest.mark.parametrize("path", LISTS)
async def test_a_page_is_the_same_either_way(
    api: httpx.AsyncClient, browser: httpx.AsyncClient, short: Answered, path: str
) -> None:
    for _ in range(2):
        await connect_site(api, browser)
    for count, query in enumerate([*PLAIN, *OF_ONE.get(path, ())], start=1):
        answer = await both(api, f"{path}?{query}")
        assert answer.status_code == 200
        assert short.count == count, query
        token = answer.json().get("nextPageToken")
        assert token is None or (await both(api, f"{path}?pageSize=1&pageToken={token}")).status_code == 200
        short.count = count
    assert (await both(api, path, accept="application/json;q=0.5")).status_code == 200
    assert (await both(api, path, **{"accept-encoding": "gzip", "api-version": "v2024-09-01"})).status_code == 200
    assert (await both(api, path, **{"if-none-match": answer.headers["etag"]})).status_code in (200, 304)


@pytest.mark.parametrize("path", LISTS)
async def test_what_is_to_be_refused_is_left_to_the_router(
    api: httpx.AsyncClient, anonymous: httpx.AsyncClient, new_tenant: NewTenant, tenant: Tenant, path: str
) -> None:
    for query in REFUSED:
        assert_problem(await both(api, f"{path}?{query}"), 400, "validation-error")
    assert (await both(api, path, accept="text/html")).status_code == 406
    assert (await both(api, path, **{"api-version": "v1"})).status_code == 400
    assert (await both(anonymous, path)).status_code == 401
    assert (await both(anonymous, path, authorization="Bearer a.b.c")).status_code == 401
    narrow = await new_tenant(("read:flows",), account_id=tenant.account_id)
    assert (await both(narrow.api, path)).status_code == 403


async def test_a_revoked_client_is_refused_by_the_next_request(
    hub: Hub, tenant: Tenant, api: httpx.AsyncClient, short: Answered
) -> None:
    for _ in range(3):
        assert (await api.get("/sites")).status_code == 200
    await accounts.revoke_client(hub, tenant.account_id, tenant.client.client_id, "test")
    assert_problem(await api.get("/sites"), 401, "unauthorized")
    assert short.count == 3


async def test_what_is_wrong_with_a_vendor_is_told_as_soon_as_it_is(
    hub: Hub, tenant: Tenant, api: httpx.AsyncClient, browser: httpx.AsyncClient, short: Answered
) -> None:
    await connect_site(api, browser)
    assert (await api.get("/sites")).json()["errors"] == {}
    trouble = "UPDATE enrollment SET health = 'needs_consent', health_reason = 'It ended' WHERE account_id = :account"
    await hub.store.apply((trouble, {"account": tenant.account_id}))
    for path in LISTS[1:]:
        assert "needs a new consent" in (await api.get(path)).json()["errors"]["sunny"]


async def test_a_store_in_trouble_is_asked_once_and_told_as_ever(
    api: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    async def trouble(*_: Any, **__: Any) -> list[str]:
        asked.append(1)
        raise StoreTrouble("disk I/O error")

    monkeypatch.setattr(sites, "site_ids", trouble)
    answer = await both(api, "/sites")
    assert answer.status_code == 503
    assert len(asked) == 2


async def test_a_store_that_tells_of_no_token_is_noted_by_the_list_it_was_asked_for(
    hub: Hub, api: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def trouble(*_: Any, **__: Any) -> Any:
        raise StoreTrouble("disk I/O error")

    monkeypatch.setattr(hub.store, "finds", trouble)
    caplog.set_level("INFO", "joinder.access")
    assert (await both(api, "/sites")).status_code == 503
    assert [record.getMessage() for record in caplog.records if record.name == "joinder.access"] == [
        "GET /sites: 503"
    ] * 2


async def test_a_full_room_and_an_empty_budget_are_the_routers(
    app: Litestar, api: httpx.AsyncClient, short: Answered, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(app.state, "intake", Intake(at_once=0, queue_most=0), raising=False)
    assert_problem(await both(api, "/sites"), 503, "not-ready")
    monkeypatch.undo()
    app.state.budgets = ClientBudgets(1)
    assert (await api.get("/sites")).status_code == 200
    refused = await both(api, "/sites")
    assert_problem(refused, 429, "rate-limited")
    assert refused.headers["retry-after"]


async def test_a_place_is_given_back(app: Litestar, api: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(app.state, "intake", Intake(at_once=1, queue_most=0), raising=False)
    for path in ("/sites", "/sites?nonsense=1", "/sites", "/sites?pageToken=AAAA", "/sites"):
        assert (await api.get(path)).status_code in (200, 400)
