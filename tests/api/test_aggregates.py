"""A fleet's figures: how much, of how many sites, and what a sum lacks; never another account's."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import httpx
import pytest

from api.conftest import NewTenant
from api.fakes import BERLIN, Tenant, assert_problem
from api.test_queries import told
from api.test_reads import Clock
from joinder.clock import now
from joinder.energy import Reading
from joinder.ids import new_id
from joinder.runtime.hub import Hub
from joinder.store.readings import intervals
from joinder.store.tables import DeviceRow, Enrollment, SiteRow

pytestmark = pytest.mark.usefixtures("clock")
PATH = "/aggregates/intervals"
QUARTER, HOUR, DAY = timedelta(minutes=15), timedelta(hours=1), timedelta(days=1)
NOON = datetime(2026, 6, 1, 12, tzinfo=UTC)
NIGHT = datetime(2026, 3, 29, tzinfo=ZoneInfo(BERLIN)).astimezone(UTC)  # of a day of 23 hours


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


async def new_site(
    hub: Hub,
    account_id: str,
    *kinds: str,
    vendor: str = "sunny",
    reference: str | None = None,
    timezone: str = BERLIN,
    **more: Any,
) -> str:
    """Adds a home that was read, with a device of each kind."""
    moment, enrollment_id, site_id = now(), new_id("enrl"), new_id("site")
    stamps = {"account_id": account_id, "vendor": vendor}
    enrollment = Enrollment(id=enrollment_id, health_since=moment, created_at=moment, reference=reference, **stamps)
    site = SiteRow(
        id=site_id, enrollment_id=enrollment_id, vendor_id=site_id, name="Home", timezone=timezone,
        **{"fetched_at": moment, **more}, **stamps,
    )  # fmt: skip
    devices = [
        DeviceRow(id=new_id("solr"), site_id=site_id, kind=kind, vendor_id=kind, state={}, fetched_at=moment, **stamps)
        for kind in kinds
    ]
    async with hub.store.write() as session:
        session.add(enrollment)
        await session.flush()
        session.add(site)
        await session.flush()
        session.add_all(devices)
    return site_id


async def tell(
    hub: Hub, site_id: str, start: datetime, length: timedelta = HOUR, step: timedelta = QUARTER, **values: Any
) -> None:
    """Stores rows of `step` over `length`."""
    moments: Iterable[datetime] = (start + n * step for n in range(length // step))
    rows = [(site_id, Reading(start=at, end=at + step, **values)) for at in moments]
    await hub.store.apply(intervals("15mins" if step == QUARTER else "day", rows, 1))


async def ask(api: httpx.AsyncClient, start: datetime, length: timedelta = HOUR, **query: Any) -> dict[str, Any]:
    span = {"start": start.isoformat(), "end": (start + length).isoformat()}
    answer = await api.get(PATH, params=span | query)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def test_a_sum_says_how_many_sites_it_stands_for(hub: Hub, tenant: Tenant) -> None:
    both, solar_only, meter_only = [
        await new_site(hub, tenant.account_id, *kinds) for kinds in (("inverter", "meter"), ("inverter",), ("meter",))
    ]
    await tell(hub, both, NOON, solar_wh=100.0, import_wh=0.0)
    await tell(hub, solar_only, NOON, solar_wh=250.0)
    await tell(hub, meter_only, NOON, import_wh=10.0)
    assert await ask(tenant.api, NOON) == {
        "level": "hour",
        "timezone": "UTC",
        "sites": 3,
        "complete": True,
        "intervals": [
            {
                "start": "2026-06-01T12:00:00+00:00",
                "end": "2026-06-01T13:00:00+00:00",
                "solar": {"kwh": 1.4, "sites": 2},
                "import": {"kwh": 0.04, "sites": 2},
            }
        ],
    }


async def test_a_sum_that_lacks_a_part_says_so(hub: Hub, tenant: Tenant) -> None:
    whole, half, doubtful, silent, late, gone = [
        await new_site(hub, tenant.account_id, "inverter", **more)
        for more in (
            {}, {}, {}, {}, {"operational_since": int(NOON.timestamp()) + 1}, {"gone_at": int(NOON.timestamp())},
        )
    ]  # fmt: skip
    await tell(hub, whole, NOON, solar_wh=100.0)
    await tell(hub, half, NOON, 2 * QUARTER, solar_wh=100.0)
    await tell(hub, doubtful, NOON, solar_wh=100.0, quality="partial")
    answer = await ask(tenant.api, NOON)
    figure = {"kwh": 1.0, "sites": 3, "partialSites": 2, "silentSites": 1}
    assert (answer["intervals"][0]["solar"], answer["complete"], answer["sites"]) == (figure, False, 6)
    for site_id in (silent, late, gone):
        await tell(hub, site_id, NOON, solar_wh=100.0)
    figure = {"kwh": 2.2, "sites": 6, "partialSites": 2}
    assert (await ask(tenant.api, NOON))["intervals"][0]["solar"] == figure


async def test_the_unknown_is_absent_and_never_zero(hub: Hub, tenant: Tenant) -> None:
    site_id = await new_site(hub, tenant.account_id, "battery")
    await tell(hub, site_id, NOON - HOUR, charge_wh=0.0)
    before, after = (await ask(tenant.api, NOON - HOUR, 2 * HOUR))["intervals"]
    assert before == {**before, "charge": {"kwh": 0.0, "sites": 1}}
    assert "discharge" not in before
    assert after["charge"] == after["discharge"] == {"sites": 0, "silentSites": 1}


async def test_what_no_home_can_have_made_is_unknown(hub: Hub, tenant: Tenant) -> None:
    """Earlier versions wrote down whatever a vendor said."""
    site_id = await new_site(hub, tenant.account_id)
    await tell(hub, site_id, NOON, QUARTER, solar_wh=1e15)
    await tell(hub, site_id, NOON + QUARTER, 3 * QUARTER, solar_wh=100.0)
    assert (await ask(tenant.api, NOON))["intervals"][0]["solar"] == {"kwh": 0.3, "sites": 1, "partialSites": 1}


@pytest.mark.parametrize("level", ["day", "month"])
async def test_days_come_from_daily_values_where_there_are_any(hub: Hub, tenant: Tenant, level: str) -> None:
    """Of a site in that zone; of another, and of one without, from quarter hours. Nothing counts twice."""
    hours = 23 if level == "day" else 31 * 24 - 1
    start = NIGHT if level == "day" else datetime(2026, 3, 1, tzinfo=ZoneInfo(BERLIN)).astimezone(UTC)
    length = hours * HOUR
    daily, quarterly, elsewhere = [
        await new_site(hub, tenant.account_id, "inverter", timezone=zone) for zone in (BERLIN, BERLIN, "Asia/Tokyo")
    ]
    for site_id in (daily, quarterly, elsewhere):
        await tell(hub, site_id, start, length, solar_wh=1.0)
    days = [(start, length)] if level == "day" else [(start, 28 * DAY), (NIGHT + 23 * HOUR, 2 * DAY)]
    for begin, lasts in days:
        await tell(hub, daily, begin, lasts, min(lasts, DAY), solar_wh=5000.0)
    if level == "month":
        await tell(hub, daily, NIGHT, 23 * HOUR, 23 * HOUR, solar_wh=5000.0)
    await tell(hub, elsewhere, start + 15 * HOUR, DAY, DAY, solar_wh=5000.0)  # a day of Tokyo's: none of Berlin's
    (found,) = (await ask(tenant.api, start, length, level=level, timezone=BERLIN))["intervals"]
    of_days = 5.0 * (1 if level == "day" else 31)
    assert found["solar"] == {"kwh": pytest.approx(of_days + 2 * hours * 4 / 1000), "sites": 3}


async def test_a_day_without_a_daily_value_comes_from_its_quarter_hours(hub: Hub, tenant: Tenant) -> None:
    """Polls store quarter hours of every day, daily values are there of those that somebody asked for."""
    start = datetime(2026, 3, 1, tzinfo=ZoneInfo(BERLIN)).astimezone(UTC)
    hours = 31 * 24 - 1
    site_id = await new_site(hub, tenant.account_id, "inverter")
    await tell(hub, site_id, start, hours * HOUR, solar_wh=1.0)
    await tell(hub, site_id, start + 3 * DAY, 10 * DAY, DAY, solar_wh=5000.0)
    await tell(hub, site_id, start + 20 * DAY + 9 * HOUR, DAY, DAY, solar_wh=7000.0)  # a day of no zone it lies in
    month = await ask(tenant.api, start, hours * HOUR, level="month", timezone=BERLIN)
    of_quarters = (hours - 10 * 24) * 4 / 1000
    assert month["intervals"][0]["solar"] == {"kwh": pytest.approx(50 + of_quarters), "sites": 1}
    assert month["complete"]
    days = (await ask(tenant.api, start, hours * HOUR, level="day", timezone=BERLIN))["intervals"]
    assert sum(day["solar"]["kwh"] for day in days) == pytest.approx(50 + of_quarters)


async def test_periods_are_those_of_the_zone_asked_for(hub: Hub, tenant: Tenant) -> None:
    site_id = await new_site(hub, tenant.account_id)
    await tell(hub, site_id, NIGHT, 3 * DAY, solar_wh=1.0)
    answer = await ask(tenant.api, NIGHT, 2 * DAY, level="day", timezone=BERLIN)
    assert [(one["start"], one["solar"]["kwh"]) for one in answer["intervals"]] == [
        ("2026-03-29T00:00:00+01:00", 0.092),
        ("2026-03-30T00:00:00+02:00", 0.096),
        ("2026-03-31T00:00:00+02:00", 0.096),
    ]
    (hour,) = (await ask(tenant.api, NOON, QUARTER, timezone="Asia/Kathmandu"))["intervals"]
    assert (hour["start"], hour["end"]) == ("2026-06-01T17:00:00+05:45", "2026-06-01T18:00:00+05:45")


async def test_pages_tell_each_period_once_and_none_that_is_to_come(hub: Hub, tenant: Tenant) -> None:
    site_id = await new_site(hub, tenant.account_id)
    await tell(hub, site_id, NOON, DAY, solar_wh=1.0)
    whole = (await ask(tenant.api, NOON, DAY))["intervals"]
    pages, token = list[Any](), None
    while token is not None or not pages:
        page = await ask(tenant.api, NOON, DAY, pageSize=7, **({"pageToken": token} if token else {}))
        pages += page["intervals"]
        token = page.get("nextPageToken")
    assert pages == whole
    assert len(whole) == 24
    future = datetime.fromtimestamp(now(), UTC) + DAY
    assert (await ask(tenant.api, future))["intervals"] == []


async def test_filters_and_accounts_keep_fleets_apart(hub: Hub, tenant: Tenant, new_tenant: NewTenant) -> None:
    stranger = await new_tenant()
    for account_id, vendor, reference, wh in (
        (tenant.account_id, "sunny", "a", 1000.0),
        (tenant.account_id, "sunny", "b", 2000.0),
        (tenant.account_id, "boxy", "a", 4000.0),
        (stranger.account_id, "sunny", "a", 8000.0),
    ):
        site_id = await new_site(hub, account_id, vendor=vendor, reference=reference)
        await tell(hub, site_id, NOON, QUARTER, solar_wh=wh)
    for query, kwh in (
        ({}, 7.0), ({"vendor": "sunny"}, 3.0), ({"reference": "a"}, 5.0), ({"vendor": "boxy", "reference": "a"}, 4.0),
    ):  # fmt: skip
        found = await ask(tenant.api, NOON, QUARTER, level="15mins", **query)
        assert found["intervals"][0]["solar"]["kwh"] == kwh, query
    assert (await ask(stranger.api, NOON, QUARTER, level="15mins"))["intervals"][0]["solar"]["kwh"] == 8.0
    nobody = await ask(tenant.api, NOON, QUARTER, level="15mins", reference="nobody")
    assert nobody["sites"] == 0
    assert nobody["intervals"][0].keys() == {"start", "end"}
    compatible = await new_tenant(account_id=tenant.account_id, compatible=True)  # knows none of these vendors
    assert (await ask(compatible.api, NOON, QUARTER))["sites"] == 0
    narrow = await new_tenant(("read:flows",))
    assert_problem(await narrow.api.get(PATH), 403, "forbidden")


@pytest.mark.parametrize(
    ("query", "at"),
    [
        ({"timezone": "Berlin"}, "/timezone"),
        ({"level": "week"}, "/level"),
        ({"vendor": "nobody"}, "/vendor"),
        ({"summaryLevel": "day"}, "/summaryLevel"),
        ({"pageToken": "x"}, "/pageToken"),
    ],
)
async def test_a_wrong_question_is_refused(api: httpx.AsyncClient, query: dict[str, str], at: str) -> None:
    assert list(told(await api.get(PATH, params=query))) == [at]


async def test_a_span_is_limited_as_a_sites_is(api: httpx.AsyncClient) -> None:
    wide = {"start": "2025-01-01T00:00:00Z", "end": "2026-01-01T00:00:00Z"}
    assert_problem(await api.get(PATH, params=wide), 422, "unprocessable")
    turned = {"start": wide["end"], "end": wide["start"]}
    assert_problem(await api.get(PATH, params=turned), 422, "unprocessable")
