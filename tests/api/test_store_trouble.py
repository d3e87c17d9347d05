"""Every answer while our own database is in trouble: 503, ours, with a time to come back."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from api.conftest import NewTenant
from api.fakes import (
    EVERYTHING,
    Vendors,
    assert_problem,
    begin,
    come_back,
    connect,
    connect_site,
    live,
    new_flow,
    result_of,
)
from joinder.clock import now
from joinder.energy import Readings
from joinder.runtime.hub import Hub
from joinder.trouble import StoreAway, StoreRefused, StoreTrouble

READS = (
    "/sites",
    "/enrollments",
    "/vendor-credentials",
    "/join/flows",
    "/webhooks",
    "/events",
    "/vendors",
    "/.well-known/jwks.json",
)


class Broken:
    """A store of which the named ways raise what they would while the database is away."""

    def __init__(self, hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
        self._store = hub.store
        self._patch = monkeypatch

    def ways(self, *names: str, error: StoreTrouble | None = None) -> None:
        raised = error or StoreAway("ConnectionRefusedError")

        def fails(*_: Any, **__: Any) -> Any:
            raise raised

        for name in names:
            self._patch.setattr(self._store, name, fails)


@pytest.fixture
def broken(hub: Hub) -> Iterator[Broken]:
    with pytest.MonkeyPatch.context() as patch:
        yield Broken(hub, patch)


def assert_ours(answer: httpx.Response) -> None:
    body = assert_problem(answer, 503, "store-unavailable")
    assert body["actor"] == "operator"
    assert body["detail"].startswith("The database cannot be used (")
    assert answer.headers["retry-after"] == "5"
    assert answer.headers["cache-control"] == "no-store"


async def test_reads_writes_and_tokens_say_whose_trouble_it_is(
    new_tenant: NewTenant, browser: httpx.AsyncClient, broken: Broken
) -> None:
    tenant = await new_tenant(EVERYTHING)
    api = tenant.api
    enrollment_id = await connect(api, browser)
    broken.ways("read", "write", "rows", "scan", "apply")
    told = 0
    for path in READS:
        answer = await api.get(path)
        if answer.status_code != 200:  # some need no database once they were asked
            assert_ours(answer)
            told += 1
    assert told >= 5
    assert_ours(await api.post(f"/enrollments/{enrollment_id}/refresh"))
    assert_ours(await api.delete(f"/enrollments/{enrollment_id}"))
    assert_ours(await api.post("/webhooks", json={"url": "https://hook.example/x"}))
    form = {"grant_type": "client_credentials"}
    login = (tenant.client.client_id, tenant.client.client_secret)
    assert_ours(await browser.post("/oauth2/token", data=form, auth=login))
    assert_ours(await browser.get("/health/ready"))
    assert (await browser.get("/health/live")).status_code == 200


async def test_a_renewal_that_the_store_stopped_is_not_the_vendors(
    api: httpx.AsyncClient, browser: httpx.AsyncClient, broken: Broken
) -> None:
    enrollment_id = await connect(api, browser)
    broken.ways("apply")
    assert_ours(await api.post(f"/enrollments/{enrollment_id}/refresh"))


async def test_what_is_stored_is_served_while_nothing_can_be_written(
    api: httpx.AsyncClient, browser: httpx.AsyncClient, hub: Hub, vendors: Vendors, broken: Broken
) -> None:
    vendors.sunny.readings = lambda _: Readings(live=live(now()))
    site_id = await connect_site(api, browser)
    assert (await api.get(f"/sites/{site_id}/live")).status_code == 200
    await hub.store.apply(("UPDATE live SET fetched_at = 0", {}))
    broken.ways("apply")
    answer = await api.get(f"/sites/{site_id}/live")
    assert (answer.status_code, answer.json()["stale"]) == (200, True)


async def test_a_bug_stays_a_bug(api: httpx.AsyncClient, broken: Broken) -> None:
    broken.ways("rows", "read", error=StoreRefused("UndefinedTableError"))
    assert_problem(await api.get("/sites"), 500, "internal-error")


async def test_owners_read_a_page_and_the_same_link_works_afterwards(
    api: httpx.AsyncClient, browser: httpx.AsyncClient, hub: Hub
) -> None:
    flow_id = await new_flow(api)
    with pytest.MonkeyPatch.context() as patch:
        Broken(hub, patch).ways("read", "write", "rows", "apply")
        assert_page(await browser.get(f"/join/flows/{flow_id}/authorize"))
    state = await begin(browser, flow_id)
    with pytest.MonkeyPatch.context() as patch:
        Broken(hub, patch).ways("write", "apply")
        assert_page(await come_back(browser, state))
    assert result_of(await come_back(browser, state))["enrollmentID"]


def assert_page(page: httpx.Response) -> None:
    assert (page.status_code, page.headers["content-type"]) == (503, "text/html; charset=utf-8")
    assert page.headers["retry-after"] == "5"
    assert "neither your fault" in page.text
