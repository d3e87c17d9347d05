"""A read of settled history that is asked again: 304 without reading it, and the new rows as soon as there are any."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from typing import Any

import httpx
import pytest

from api.conftest import NewTenant
from api.fakes import Tenant, Vendors, assert_problem, connect_site
from api.test_reads import Clock, day_of, home_series
from joinder.energy import Reading
from joinder.runtime.hub import Hub
from joinder.services.records import accounts
from joinder.services.records.access_tokens import Tokens
from joinder.store.readings import intervals

pytestmark = pytest.mark.usefixtures("clock")
LONG_AGO = day_of(date(2026, 10, 25))  # a day of 25 hours, a week before the clock stands still


class Reads:
    """Counts statements that read intervals."""

    def __init__(self, hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
        self.count, self._rows = 0, hub.store.rows
        monkeypatch.setattr(hub.store, "rows", self)

    async def __call__(self, sql: str, parameters: Mapping[str, Any]) -> list[Any]:
        self.count += "FROM interval" in sql
        return await self._rows(sql, parameters)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


@pytest.fixture
async def path(
    hub: Hub, api: httpx.AsyncClient, browser: httpx.AsyncClient, vendors: Vendors, clock: Clock, tenant: Tenant
) -> str:
    """Intervals of a home that the vendor has told all of."""
    vendors.sunny.readings = home_series
    site_id = await connect_site(api, browser)
    return f"/sites/{site_id}/solar-intervals"


async def ask(api: httpx.AsyncClient, path: str, tag: str | None = None, **query: Any) -> httpx.Response:
    headers = {"if-none-match": tag} if tag is not None else {}
    params = {**LONG_AGO, "summaryLevel": "15mins", "pageSize": 200, **query}
    return await api.get(path, params={name: value for name, value in params.items() if value}, headers=headers)


async def asked_twice(api: httpx.AsyncClient, path: str, **query: Any) -> httpx.Response:
    """The first fetches from the vendor and writes; what the second reads has settled."""
    first = await ask(api, path, **query)
    assert first.status_code == 200, first.text
    second = await ask(api, path, **query)
    assert second.status_code == 200, second.text
    return second


async def test_a_settled_day_that_is_asked_again_is_not_read_again(
    hub: Hub, api: httpx.AsyncClient, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = await asked_twice(api, path)
    assert len(first.json()["intervals"]) == 100
    reads = Reads(hub, monkeypatch)
    again = await ask(api, path, first.headers["etag"])
    assert (again.status_code, again.content) == (304, b"")
    assert reads.count == 0
    assert "ratelimit" in again.headers  # the client paid for it, as for any read
    for name in ("etag", "vary", "cache-control"):
        assert again.headers[name] == first.headers[name]
    assert not {"content-type", "content-length"} & again.headers.keys()
    head = await api.head(path, params={**LONG_AGO, "summaryLevel": "15mins"}, headers={"if-none-match": "*"})
    assert head.status_code == 304


async def test_what_was_written_since_is_answered(hub: Hub, api: httpx.AsyncClient, path: str) -> None:
    first = await asked_twice(api, path)
    start = datetime.fromisoformat(LONG_AGO["start"]).astimezone(UTC)
    row = Reading(start=start, end=start + timedelta(minutes=15), solar_wh=777_000.0)
    site_id = path.split("/")[2]
    await hub.store.apply(intervals("15mins", [(site_id, row)], 1))
    second = await ask(api, path, first.headers["etag"])
    assert second.status_code == 200
    assert second.json()["intervals"][0]["kwh"] == 777.0
    assert second.headers["etag"] != first.headers["etag"]
    assert (await ask(api, path, second.headers["etag"])).status_code == 304


@pytest.mark.parametrize(
    "query",
    [
        {"start": "2026-10-31T00:00:00+01:00", "end": "2026-11-01T00:00:00+01:00"},  # may still be corrected
        {"start": "2026-11-01T00:00:00+01:00", "end": "2026-11-02T00:00:00+01:00"},  # not over
        {"start": "2026-10-31T00:00:00+01:00", "end": None},  # ends now
    ],
)
async def test_a_day_that_may_change_by_itself_is_read_each_time(
    hub: Hub, api: httpx.AsyncClient, path: str, monkeypatch: pytest.MonkeyPatch, query: dict[str, Any]
) -> None:
    tag = (await asked_twice(api, path, **query)).headers["etag"]
    reads = Reads(hub, monkeypatch)
    await ask(api, path, tag, **query)
    assert reads.count == 1


async def test_a_tag_opens_nothing(
    hub: Hub, api: httpx.AsyncClient, tenant: Tenant, path: str, new_tenant: NewTenant
) -> None:
    tag = (await asked_twice(api, path)).headers["etag"]
    stranger = await new_tenant()
    assert_problem(await ask(stranger.api, path, tag), 404, "not-found")
    narrow = await new_tenant(("read:flows",), account_id=tenant.account_id)
    assert (await ask(narrow.api, path, tag)).status_code == 403
    own = await Tokens(hub).issue(tenant.client.client_id, tenant.client.client_secret, "read:flows")
    api.headers["authorization"], whole = f"Bearer {own.access_token}", api.headers["authorization"]
    assert (await ask(api, path, tag)).status_code == 403  # the client's, but a token for something else
    api.headers["authorization"] = whole
    assert_problem(await ask(api, path, tag, nonsense=1), 400, "validation-error")
    assert (
        await api.get(path, params=LONG_AGO, headers={"if-none-match": tag, "accept": "text/csv"})
    ).status_code == 200
    refused = await api.get(path, params=LONG_AGO, headers={"if-none-match": tag, "accept": "text/html"})
    assert_problem(refused, 406, "not-acceptable")
    await accounts.revoke_client(hub, tenant.account_id, tenant.client.client_id, "test")
    assert_problem(await ask(api, path, tag), 401, "unauthorized")
