"""Days belong to the time zone they were read in: when a site's zone changes, they end with it and are read again."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import httpx
import pytest
from msgspec.structs import replace
from sqlalchemy import text

from api.fakes import HOME, Vendors, connect_site
from joinder.energy import Device, DeviceKind, Reading, Readings, ReadingsQuery, Site
from joinder.runtime.hub import Hub
from joinder.series import day_span, days_between
from joinder.services.readings import zones
from joinder.services.records import notices
from services.days import NOON

DAY_WH = 9600.0
QUARTER = timedelta(minutes=15)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Epoch seconds, which stand still until a test moves them."""
    moment = [NOON.timestamp()]
    monkeypatch.setattr("joinder.clock.civil_time", lambda: moment[0])
    return moment


def even_days(query: ReadingsQuery) -> Readings:
    """The same sun in every quarter hour; whole days of the zone the query names."""
    if query.resolution == "day":
        where = ZoneInfo(query.site.timezone or "UTC")
        spans = [day_span(day, where) for day in days_between(query.start, query.end, where)]
    else:
        first = datetime.fromtimestamp(query.start.timestamp() // 900 * 900, UTC)
        spans = [(first + n * QUARTER, first + (n + 1) * QUARTER) for n in range((query.end - first) // QUARTER)]
    rows = [
        Reading(start=start, end=end, solar_wh=DAY_WH * (end - start).total_seconds() / 86400)
        for start, end in spans
        if query.start <= start < query.end
    ]
    return Readings(intervals=tuple(rows))


async def days_of(api: httpx.AsyncClient, site_id: str, level: str = "day") -> list[float]:
    span = {"start": (NOON - timedelta(days=8)).isoformat(), "end": (NOON - timedelta(days=1)).isoformat()}
    answer = await api.get(f"/sites/{site_id}/solar-intervals", params={**span, "summaryLevel": level})
    assert answer.status_code == 200, answer.text
    return [round(row["kwh"], 3) for row in answer.json()["intervals"]]


async def read_anew(api: httpx.AsyncClient, hub: Hub, site_id: str) -> dict[str, object]:
    """As the daily poll does, whose question to the vendor this is."""
    async with hub.store.write() as session:
        await session.execute(text("UPDATE site SET fetched_at = 1"))
    from joinder.services.readings.sites import refresh_site
    from joinder.store.sites import read_site

    (account,) = {row[0] for row in await hub.store.rows("SELECT account_id FROM site", {})}
    stored = await read_site(hub.store, account, site_id)
    assert stored is not None
    await refresh_site(hub, stored)
    found: dict[str, object] = (await api.get(f"/sites/{site_id}")).json()
    return found


@pytest.mark.parametrize("zone", ["Etc/GMT+4", "Pacific/Auckland", "Europe/Berlin"])
async def test_days_are_read_again_in_the_new_zone(
    api: httpx.AsyncClient, browser: httpx.AsyncClient, vendors: Vendors, hub: Hub, clock: list[float], zone: str
) -> None:
    vendors.sunny.readings = even_days
    vendors.sunny.homes = {"site-1": replace(HOME, timezone="Etc/GMT+5", operational_since=None)}
    site_id = await connect_site(api, browser)
    before = await days_of(api, site_id)
    assert set(before) == {9.6}
    vendors.sunny.homes = {"site-1": replace(vendors.sunny.homes["site-1"], timezone=zone)}
    clock[0] += 3 * 86400
    await read_anew(api, hub, site_id)
    after = await days_of(api, site_id)
    assert set(after) <= {9.6, 10.0, 9.2}  # 25 and 23 hours where the clock changes
    assert len(after) in (7, 8, 9)
    (month,) = await days_of(api, site_id, "month") if NOON.day > 9 else [sum(after)]
    assert month >= sum(after) - 0.01


async def test_a_day_row_of_another_zone_is_no_day_whoever_wrote_it(
    api: httpx.AsyncClient, browser: httpx.AsyncClient, vendors: Vendors, hub: Hub, clock: list[float]
) -> None:
    """A fetch that was under way when the zone changed writes afterwards."""
    vendors.sunny.readings = even_days
    vendors.sunny.homes = {"site-1": replace(HOME, timezone="Etc/GMT+5", operational_since=None)}
    site_id = await connect_site(api, browser)
    await days_of(api, site_id)
    async with hub.store.write() as session:
        await session.execute(text("UPDATE site SET timezone = 'Etc/GMT+4'"))
    assert set(await days_of(api, site_id)) <= {9.6}


async def test_a_devices_own_day_row_of_another_zone_is_no_day_either(
    api: httpx.AsyncClient, browser: httpx.AsyncClient, vendors: Vendors, hub: Hub
) -> None:
    """One of two inverters, which has a series of its own; the zone changes after it was read."""
    inverters = tuple(Device(vendor_id=f"inv-{n}", kind=DeviceKind.INVERTER) for n in (1, 2))
    home = replace(HOME, timezone="America/Panama", operational_since=None, devices=inverters)
    vendors.sunny.homes = {"site-1": home}
    vendors.sunny.readings = lambda query: replace(
        even_days(query),
        intervals=tuple(replace(row, device_id=query.device_id) for row in even_days(query).intervals),
    )
    await connect_site(api, browser)
    device_id = (await api.get("/solar-inverters")).json()["solarInverters"][0]["id"]
    path = f"/solar-inverters/{device_id}/intervals"
    span = {"start": (NOON - timedelta(days=8)).isoformat(), "end": (NOON - timedelta(days=1)).isoformat()}
    before = (await api.get(path, params={**span, "summaryLevel": "day"})).json()["intervals"]
    assert len(before) in (7, 8)
    async with hub.store.write() as session:
        await session.execute(text("UPDATE site SET timezone = 'America/Puerto_Rico'"))
    vendors.sunny.readings = lambda query: Readings()  # nobody tells the new zone's days yet
    after = (await api.get(path, params={**span, "summaryLevel": "day"})).json()
    assert (after["intervals"], after["complete"]) == ([], False)


async def test_a_site_without_a_zone_lies_where_its_coordinates_are(
    api: httpx.AsyncClient, browser: httpx.AsyncClient, vendors: Vendors
) -> None:
    vendors.sunny.homes = {"site-1": replace(HOME, timezone=None, lat=39.74, lon=-104.98)}
    site = (await api.get(f"/sites/{await connect_site(api, browser)}")).json()
    assert (site["location"]["timezone"], site["timezoneBy"]) == ("America/Denver", "coordinates")


async def test_where_nothing_tells_the_zone_it_is_unknown_and_said_so(
    api: httpx.AsyncClient, browser: httpx.AsyncClient, vendors: Vendors, hub: Hub
) -> None:
    vendors.sunny.homes = {"site-1": replace(HOME, timezone=None, lat=None, lon=None)}
    site = (await api.get(f"/sites/{await connect_site(api, browser)}")).json()
    assert (site["timezoneBy"], "location" in site) == ("unknown", False)
    (enrollment,) = (await api.get("/enrollments")).json()["enrollments"]
    told = await notices.of_enrollment(hub, enrollment["id"])
    assert [notice.text for notice in told] == [zones.UNKNOWN]


@pytest.mark.parametrize(
    ("site", "before", "known"),
    [
        (Site(vendor_id="1", name="x", timezone="Asia/Tokyo", lat=52.5, lon=13.4), None, ("Asia/Tokyo", "vendor")),
        (Site(vendor_id="1", name="x", lat=52.5, lon=13.4), "Asia/Tokyo", ("Europe/Berlin", "coordinates")),
        (Site(vendor_id="1", name="x"), "Asia/Tokyo", ("Asia/Tokyo", "vendor")),
        (Site(vendor_id="1", name="x"), "Etc/GMT+5", (None, None)),
        (Site(vendor_id="1", name="x", lat=0.0, lon=0.0), None, (None, None)),
        (Site(vendor_id="1", name="x", lat=40.0, lon=-30.0), None, (None, None)),  # in the sea
        (Site(vendor_id="1", name="x", lat=90.0, lon=0.0), None, (None, None)),
        (Site(vendor_id="1", name="x", lat=52.5), None, (None, None)),
    ],
)
def test_the_vendors_word_then_the_place_then_what_was_known(
    site: Site, before: str | None, known: tuple[str | None, str | None]
) -> None:
    assert zones.of_site(site, before) == known
