"""An answer that lacks a part which may come the next time leaves its span to be asked for again."""

from __future__ import annotations

from datetime import timedelta

import pytest

from joinder import Context, Readings, ReadingsQuery, hookimpl
from joinder.clock import now
from joinder.errors import RateLimited, TransientError
from joinder.http import Answer
from joinder.runtime.hub import Hub
from joinder.services.join import vendor_credentials
from joinder.services.readings import readings
from joinder.services.readings.sites import get_site
from joinder.store.readings import read_coverage
from joinder.store.tables import SiteRow
from services.conftest import Enroll
from services.strict_vendor import StrictVendor
from services.test_backfill import rows

DAY = 86400


class Partial(StrictVendor):
    """Makes one call that ends as the test says, and answers what it has with a warning."""

    ending: int | Exception

    @hookimpl
    async def fetch_readings(self, ctx: Context, query: ReadingsQuery) -> Readings:
        try:
            await ctx.http.request("GET", "https://strict.example/battery")
        except TransientError:
            pass
        return Readings(intervals=rows(query).intervals, warnings=("Battery: failed",))


@pytest.fixture
def vendor(monkeypatch: pytest.MonkeyPatch) -> Partial:
    made = Partial()

    async def request(*_: object, **__: object) -> Answer:
        if isinstance(made.ending, Exception):
            raise made.ending
        return Answer(made.ending, {"retry-after": "60"}, b"", "GET strict.example/battery")

    monkeypatch.setattr("joinder.http.Http.request", request)
    return made


@pytest.mark.parametrize(
    ("ending", "raised"),
    [(429, RateLimited), (503, TransientError), (TransientError("cut off"), TransientError), (401, None), (200, None)],
)
async def test_only_what_may_pass_leaves_the_span_missing(
    hub: Hub, vendor: Partial, enroll: Enroll, account_id: str, ending: int | Exception, raised: type[Exception] | None
) -> None:
    vendor.ending = ending
    await enroll("ada")
    (found,) = await hub.store.rows("SELECT id FROM site", {})
    site, devices = await get_site(hub, account_id, found[0])
    end = now() // 900 * 900

    async def fetch(site: SiteRow, *, live: bool = False) -> None:
        await readings.fetch(hub, site, devices, start=end - DAY, end=end, live=live)

    if raised is None:
        await fetch(site)
    else:
        with pytest.raises(raised) as failure:
            await fetch(site)
        if ending == 429:
            assert failure.value.retry_after == timedelta(seconds=60)  # type: ignore[attr-defined]
        await fetch(site, live=True)  # a poll: what came is what it is for
    spans = await read_coverage(hub.store, site.id, "15mins", end - DAY, end)
    assert bool(spans) is (raised is None)
    (stored,) = await hub.store.rows("SELECT count(*) FROM interval", {})
    assert stored[0] == 96


class Refused(StrictVendor):
    """The vendor allows no more calls, and the plugin says so."""

    @hookimpl
    async def fetch_readings(self) -> Readings:
        raise RateLimited("slow down", retry_after=timedelta(seconds=60))


@pytest.mark.parametrize("vendor", [Refused()])
async def test_the_vendors_refusal_of_a_read_pauses_the_app(
    hub: Hub, vendor: Refused, enroll: Enroll, account_id: str, credentials_id: str
) -> None:
    await _refused_read(hub, enroll, account_id)
    assert (await vendor_credentials.quotas(hub, account_id, credentials_id)).blocked_until is not None


async def test_a_refusal_that_the_plugin_keeps_to_itself_pauses_the_app(
    hub: Hub, vendor: Partial, enroll: Enroll, account_id: str, credentials_id: str
) -> None:
    vendor.ending = 429
    await _refused_read(hub, enroll, account_id)
    assert (await vendor_credentials.quotas(hub, account_id, credentials_id)).blocked_until is not None


async def _refused_read(hub: Hub, enroll: Enroll, account_id: str) -> None:
    await enroll("ada")
    (found,) = await hub.store.rows("SELECT id FROM site", {})
    site, devices = await get_site(hub, account_id, found[0])
    end = now() // 900 * 900
    with pytest.raises(RateLimited):
        await readings.fetch(hub, site, devices, start=end - DAY, end=end)
