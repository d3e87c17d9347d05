"""Sites, devices, intervals and live power as docs/api.md shows them."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable
from datetime import UTC, date, datetime, time, timedelta
from itertools import pairwise
from typing import Any
from zoneinfo import ZoneInfo

import httpx
import pytest
from msgspec.structs import replace
from sqlalchemy import text

from api.fakes import BERLIN, HOME, Vendors, assert_problem, begin, connect, connect_site, live, new_flow, pointers
from api.test_join import token_of
from joinder import errors
from joinder.energy import Device, DeviceKind, Live, Reading, Readings, ReadingsQuery, Site
from joinder.runtime.hub import Hub
from joinder.store.readings import intervals as interval_rows

ZONE = ZoneInfo(BERLIN)
NOON = int(datetime(2026, 11, 1, 12, tzinfo=UTC).timestamp())
QUARTER = timedelta(minutes=15)
UTC_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")


class Clock:
    """Epoch seconds for everything but access tokens: stands still at noon, on whatever day the tests run."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.at = NOON
        monkeypatch.setattr("joinder.clock.civil_time", lambda: float(self.at))


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


def quarter_wh(start: datetime) -> float:
    return 10.0 + (start.timestamp() // 900) % 7


def quarters(query: ReadingsQuery) -> list[datetime]:
    first = query.start.timestamp() // 900 * 900
    count = int((query.end.timestamp() - first + 899) // 900)
    return [datetime.fromtimestamp(first, UTC) + n * QUARTER for n in range(count)]


def home_series(query: ReadingsQuery) -> Readings:
    """Every metric of the whole site, the same at both resolutions."""
    rows: dict[datetime, list[float]] = {}
    for start in quarters(query):
        local = start.astimezone(ZONE)
        midnight = datetime.combine(local.date(), time(), ZONE).astimezone(UTC)
        rows.setdefault(midnight if query.resolution == "day" else start, []).append(quarter_wh(start))
    return Readings(intervals=tuple(_reading(start, len(parts), sum(parts)) for start, parts in rows.items()))


def _reading(start: datetime, pieces: int, wh: float, device_id: str | None = None) -> Reading:
    values = dict.fromkeys(("solar_wh", "charge_wh", "discharge_wh", "import_wh", "export_wh", "load_wh"), wh)
    return Reading(start=start, end=start + pieces * QUARTER, device_id=device_id, soc_percent=50.0, **values)


def per_device(*names: str) -> Callable[[ReadingsQuery], Readings]:
    """Quarter hours of devices only; the second of two makes twice as much as the first."""

    def answer(query: ReadingsQuery) -> Readings:
        wanted = [(name, n) for n, name in enumerate(names, 1) if query.device_id in (None, name)]
        return Readings(
            intervals=tuple(
                _reading(start, 1, n * quarter_wh(start), name) for start in quarters(query) for name, n in wanted
            )
        )

    return answer


def day_of(day: date, days: int = 1) -> dict[str, str]:
    """`start` and `end` of a local day in Berlin."""
    start = datetime.combine(day, time(), ZONE)
    return {"start": start.isoformat(), "end": datetime.combine(day + timedelta(days=days), time(), ZONE).isoformat()}


async def ask(api: httpx.AsyncClient, path: str, **query: Any) -> list[dict[str, Any]]:
    answer = await api.get(path, params={"pageSize": 200, **query})
    assert answer.status_code == 200, answer.text
    rows: list[dict[str, Any]] = answer.json()["intervals"]
    return rows


async def sites_of(api: httpx.AsyncClient, enrollment_id: str) -> list[str]:
    return [site["id"] for site in (await api.get(f"/enrollments/{enrollment_id}")).json()["sites"]]


def nulls(value: Any, path: str = "") -> list[str]:
    if isinstance(value, dict):
        return [found for name, entry in value.items() for found in nulls(entry, f"{path}/{name}")]
    if isinstance(value, list):
        return [found for entry in value for found in nulls(entry, f"{path}/-")]
    return [path] if value is None else []


# Shapes


async def test_a_site_as_documented(api: httpx.AsyncClient, browser: httpx.AsyncClient) -> None:
    site_id = await connect_site(api, browser)
    site = (await api.get(f"/sites/{site_id}")).json()
    (enrollment,) = (await api.get("/enrollments")).json()["enrollments"]
    offset = datetime.now(ZONE).utcoffset()
    assert offset is not None
    hours = offset.total_seconds() / 3600
    devices = {name: site.pop(name) for name in ("solarInverters", "batteries", "meters", "chargers")}
    assert site == {
        "id": site_id,
        "enrollmentID": enrollment["id"],
        "vendor": "sunny",
        "vendorID": "site-1",
        "name": "Home",
        "locationUTCOffset": hours,
        "location": {"lat": 52.5, "lon": 13.4, "timezone": BERLIN, "currentUTCOffset": hours},
        "timezoneBy": "vendor",
        "operationalSince": "2020-05-01T00:00:00Z",
        "bess": {"nameplateKwh": 10.0, "mode": "Backup", "stateOfChargePercent": 55.0},
    }
    for name, tag in {"solarInverters": "solr", "batteries": "batt", "meters": "metr", "chargers": "chrg"}.items():
        (reference,) = devices[name]
        assert set(reference) == {"id"}
        assert reference["id"].startswith(f"{tag}-")


async def test_devices_as_documented(api: httpx.AsyncClient, browser: httpx.AsyncClient) -> None:
    site_id = await connect_site(api, browser)
    site = (await api.get(f"/sites/{site_id}")).json()
    inverter = (await api.get(f"/solar-inverters/{site['solarInverters'][0]['id']}")).json()
    reported_at = inverter.pop("reportedAt")
    assert UTC_TIME.fullmatch(reported_at)
    assert inverter == {
        "id": site["solarInverters"][0]["id"],
        "vendor": "sunny",
        "vendorID": "inv-1",
        "model": "Inverter",
        "serialNumber": "S1",
        "siteID": site_id,
        "lifetimeProduction": {"kwh": 1234.567, "start": None},  # the one null: the upstream client needs the member
    }
    battery = (await api.get(f"/batteries/{site['batteries'][0]['id']}")).json()
    assert battery["recentErrors"] == [{"error": "Fan blocked"}, {"start": battery.pop("reportedAt")}]
    assert battery == {
        "id": site["batteries"][0]["id"],
        "vendor": "sunny",
        "vendorID": "bat-1",
        "model": "unknown",
        "serialNumber": "bat-1",
        "siteID": site_id,
        "nameplateKwh": 10.0,
        "mode": "Backup",
        "stateOfChargePercent": 55.0,
        "recentErrors": battery["recentErrors"],
    }
    meter = (await api.get(f"/meters/{site['meters'][0]['id']}")).json()
    assert set(meter) == {"id", "vendor", "vendorID", "reportedAt", "model", "serialNumber", "siteID"}


async def test_what_the_vendor_does_not_say_is_left_out(
    api: httpx.AsyncClient, browser: httpx.AsyncClient, vendors: Vendors
) -> None:
    bare = Device(vendor_id="d", kind=DeviceKind.INVERTER)
    devices = (bare, replace(bare, kind=DeviceKind.BATTERY), replace(bare, kind=DeviceKind.METER))
    vendors.sunny.homes = {"site-1": Site(vendor_id="site-1", name="Bare", devices=devices)}
    site_id = await connect_site(api, browser)
    site = (await api.get(f"/sites/{site_id}")).json()
    assert set(site) == {"id", "vendor", "vendorID", "name", "locationUTCOffset", "solarInverters", "batteries",
                         "meters", "chargers", "enrollmentID", "timezoneBy"}  # fmt: skip
    assert site["locationUTCOffset"] == 0.0
    for path, member in (("solar-inverters", "solarInverters"), ("batteries", "batteries"), ("meters", "meters")):
        device = (await api.get(f"/{path}/{site[member][0]['id']}")).json()
        assert set(device) == {"id", "vendor", "vendorID", "reportedAt", "model", "serialNumber", "siteID"}


async def test_nothing_is_null_and_errors_are_on_lists_of_sites_and_devices_only(
    api: httpx.AsyncClient, browser: httpx.AsyncClient, vendors: Vendors, clock: Clock
) -> None:
    vendors.sunny.readings = home_series
    site_id = await connect_site(api, browser)
    site = (await api.get(f"/sites/{site_id}")).json()
    lists = ["/sites", "/sites?expand=true", "/solar-inverters", "/batteries", "/meters"]
    window = httpx.QueryParams(day_of(date(2026, 6, 1)))
    others = [
        "/enrollments", "/vendor-credentials", "/join/flows", "/vendors", f"/sites/{site_id}",
        *(f"/sites/{site_id}/{kind}-intervals?{window}" for kind in ("solar", "battery", "meter")),
        f"/solar-inverters/{site['solarInverters'][0]['id']}/intervals?{window}",
    ]  # fmt: skip
    for path in lists + others:
        body = (await api.get(path)).json()
        assert nulls(body) == [], path
        assert ("errors" in body) == (path in lists), path
        assert "nextPageToken" not in body, path


async def test_an_enrollment_as_documented(api: httpx.AsyncClient, browser: httpx.AsyncClient) -> None:
    enrollment_id = await connect(api, browser)
    shown = (await api.get(f"/enrollments/{enrollment_id}")).json()
    assert shown.pop("warnings") == []
    assert set(shown) == {"id", "vendor", "flowID", "state", "status", "sites", "sitesRead", "health", "createdAt"}
    assert set(shown["health"]) == {"state", "since", "nextStep", "expiresAt", "lineage"}
    assert (shown["health"]["state"], shown["sitesRead"]) == ("connecting", 0)
    assert set(shown["health"]["lineage"]) == {"obtainedBy", "obtainedAt", "refreshCount"}
    assert (await api.get("/enrollments")).json() == {"enrollments": [shown], "totalSize": 1}


async def test_enrollments_by_what_they_are(api: httpx.AsyncClient, browser: httpx.AsyncClient) -> None:
    await connect(api, browser)
    for query, found in (
        ({"vendor": "sunny"}, 1),
        ({"vendor": "boxy"}, 0),
        ({"status": "enrolled"}, 1),
        ({"status": "rejected"}, 0),
        ({"health": "connecting"}, 1),
        ({"health": "degraded"}, 0),
        ({"programID": "prog-aaaaaaaaaaaaaaaa"}, 0),
        ({"flowID": "flow-aaaaaaaaaaaaaaaa"}, 0),
    ):
        assert len((await api.get("/enrollments", params=query)).json()["enrollments"]) == found, query


async def test_ending_an_enrollment_erases_what_it_opened(
    api: httpx.AsyncClient, browser: httpx.AsyncClient, vendors: Vendors, hub: Hub, clock: Clock
) -> None:
    vendors.sunny.readings = home_series
    site_id = await connect_site(api, browser)
    await ask(api, f"/sites/{site_id}/solar-intervals", **day_of(date(2026, 6, 1)))
    (enrollment,) = (await api.get("/enrollments")).json()["enrollments"]
    deleted = await api.delete(f"/enrollments/{enrollment['id']}")
    assert (deleted.status_code, deleted.content) == (204, b"")
    for table in ("grant", "site", "device", "interval", "coverage", "counter", "live", "due"):
        assert (await hub.store.rows(f'SELECT count(*) FROM "{table}"', {}))[0][0] == 0, table  # noqa: S608
    kinds = await hub.store.rows("SELECT type FROM event ORDER BY at, type", {})
    assert "enrollment.deleted" in {row[0] for row in kinds}


async def test_renewing_a_token_by_hand(api: httpx.AsyncClient, browser: httpx.AsyncClient) -> None:
    enrollment_id = await connect(api, browser)
    answer = await api.post(f"/enrollments/{enrollment_id}/refresh")
    assert answer.status_code == 200
    lineage = answer.json()["health"]["lineage"]
    assert (lineage["obtainedBy"], lineage["refreshCount"]) == ("refresh", 1)


async def test_several_batteries_are_one_store_of_energy(
    api: httpx.AsyncClient, browser: httpx.AsyncClient, vendors: Vendors
) -> None:
    small = Device(vendor_id="b1", kind=DeviceKind.BATTERY, nameplate_wh=5_000.0, soc_percent=100.0)
    large = Device(vendor_id="b2", kind=DeviceKind.BATTERY, nameplate_wh=15_000.0, soc_percent=20.0)
    vendors.sunny.homes = {"site-1": replace(HOME, devices=(small, large))}
    site = (await api.get(f"/sites/{await connect_site(api, browser)}")).json()
    assert site["bess"] == {"nameplateKwh": 20.0, "stateOfChargePercent": 40.0}


async def test_a_device_the_site_lists_no_more_is_gone(
    api: httpx.AsyncClient, browser: httpx.AsyncClient, vendors: Vendors, hub: Hub
) -> None:
    site_id = await connect_site(api, browser)
    (inverter,) = (await api.get("/solar-inverters")).json()["solarInverters"]
    vendors.sunny.homes = {"site-1": replace(HOME, devices=HOME.devices[1:])}
    async with hub.store.write() as session:
        await session.execute(text("UPDATE site SET fetched_at = NULL"))
    assert (await api.get(f"/sites/{site_id}")).json()["solarInverters"] == []
    assert (await api.get("/solar-inverters")).json()["solarInverters"] == []
    assert_problem(await api.get(f"/solar-inverters/{inverter['id']}"), 404, "not-found")


# Pages


@pytest.mark.parametrize("path", ["sites", "solar-inverters"])
async def test_pages_neither_repeat_nor_miss_while_rows_come_and_go(
    api: httpx.AsyncClient, browser: httpx.AsyncClient, vendors: Vendors, hub: Hub, path: str
) -> None:
    vendors.sunny.homes = {f"s{n}": replace(HOME, vendor_id=f"s{n}") for n in range(9)}
    for site_id in await sites_of(api, await connect(api, browser)):
        await api.get(f"/sites/{site_id}")
    member = "sites" if path == "sites" else "solarInverters"
    everything = [entry["id"] for entry in (await api.get(f"/{path}")).json()[member]]
    assert len(everything) == 9
    table = "site" if path == "sites" else "device"
    seen: list[str] = []
    token = None
    while True:
        query = {"pageSize": 2, **({"pageToken": token} if token else {})}
        body = (await api.get(f"/{path}", params=query)).json()
        seen += [entry["id"] for entry in body[member]]
        token = body.get("nextPageToken")
        if token is None:
            break
        async with hub.store.write() as session:  # what was seen last goes; the page token must not need it
            await session.execute(text(f"DELETE FROM {table} WHERE id = :id"), {"id": seen[-1]})  # noqa: S608
    assert seen == everything


async def test_pages_of_the_last_day_go_on_however_late_the_next_one_is_asked_for(
    api: httpx.AsyncClient, browser: httpx.AsyncClient, vendors: Vendors, clock: Clock
) -> None:
    """The range that nobody gave moves on; what a token points at does not."""
    vendors.sunny.readings = home_series
    site_id = await connect_site(api, browser)
    for path in (f"/sites/{site_id}/solar-intervals", "/aggregates/intervals"):
        first = (await api.get(path, params={"pageSize": 2})).json()
        clock.at += 6 * 3600
        rest = await api.get(path, params={"pageSize": 200, "pageToken": first["nextPageToken"]})
        assert rest.status_code == 200, rest.text
        assert rest.json()["intervals"][0]["start"] == first["intervals"][-1]["end"]
        beyond = {"pageToken": first["nextPageToken"], "end": first["intervals"][-1]["end"]}
        assert pointers(await api.get(path, params=beyond)) == ["/pageToken"]


async def test_filters_on_sites_and_devices(
    api: httpx.AsyncClient, browser: httpx.AsyncClient, vendors: Vendors
) -> None:
    vendors.sunny.homes = {"a": replace(HOME, vendor_id="a"), "b": replace(HOME, vendor_id="b")}
    for site_id in await sites_of(api, await connect(api, browser)):
        await api.get(f"/sites/{site_id}")
    for path, member, query, found in [
        ("/sites", "sites", {"vendorID": "a"}, 1),
        ("/sites", "sites", {"vendor": "sunny"}, 2),
        ("/sites", "sites", {"vendor": "boxy"}, 0),
        ("/batteries", "batteries", {"vendorSiteID": "a"}, 1),
        ("/batteries", "batteries", {"vendorID": "bat-1"}, 2),
        ("/batteries", "batteries", {"vendorID": "inv-1"}, 0),
        ("/meters", "meters", {"vendor": "boxy"}, 0),
    ]:
        assert len((await api.get(path, params=query)).json()[member]) == found, (path, query)


# Intervals


@pytest.mark.parametrize(("day", "hours"), [(date(2026, 3, 29), 23), (date(2026, 10, 25), 25), (date(2026, 6, 1), 24)])
async def test_days_have_the_hours_they_have_and_every_level_adds_up(
    api: httpx.AsyncClient, browser: httpx.AsyncClient, vendors: Vendors, clock: Clock, day: date, hours: int
) -> None:
    vendors.sunny.readings = home_series
    path = f"/sites/{await connect_site(api, browser)}/solar-intervals"
    levels = {name: await ask(api, path, summaryLevel=name, **day_of(day)) for name in ("15mins", "hour", "day")}
    assert {name: len(rows) for name, rows in levels.items()} == {"15mins": 4 * hours, "hour": hours, "day": 1}
    sums = [sum(row["kwh"] for row in rows) for rows in levels.values()]
    assert sums == pytest.approx([sums[0]] * 3)
    for rows in levels.values():
        assert rows[0]["start"] == day_of(day)["start"]
        assert rows[-1]["end"] == day_of(day)["end"]
        assert all(a["end"] == b["start"] for a, b in pairwise(rows))
        assert {row["quality"] for row in rows} == {"measured"}
        assert {tuple(row) for row in rows} == {("kwh", "start", "end", "quality")}


async def test_a_month_is_the_sum_of_its_days(
    api: httpx.AsyncClient, browser: httpx.AsyncClient, vendors: Vendors, clock: Clock
) -> None:
    vendors.sunny.readings = home_series
    path = f"/sites/{await connect_site(api, browser)}/meter-intervals"
    month = day_of(date(2026, 3, 1), 31)
    days = await ask(api, path, summaryLevel="day", **month)
    (whole,) = await ask(api, path, summaryLevel="month", **month)
    assert len(days) == 31
    for name in ("importKwh", "exportKwh", "consumptionKwh"):
        assert sum(row[name] for row in days) == pytest.approx(whole[name])


@pytest.mark.parametrize(
    ("level", "start", "end"),
    [
        ("15mins", "2026-06-15T10:15:00+02:00", "2026-06-15T10:30:00+02:00"),
        ("hour", "2026-06-15T10:00:00+02:00", "2026-06-15T11:00:00+02:00"),
        ("day", "2026-06-15T00:00:00+02:00", "2026-06-16T00:00:00+02:00"),
        ("month", "2026-06-01T00:00:00+02:00", "2026-07-01T00:00:00+02:00"),
    ],
)
async def test_a_range_is_widened_to_whole_periods_of_the_site(
    api: httpx.AsyncClient, browser: httpx.AsyncClient, vendors: Vendors, clock: Clock, level: str, start: str, end: str
) -> None:
    vendors.sunny.readings = home_series
    path = f"/sites/{await connect_site(api, browser)}/solar-intervals"
    asked = {"start": "2026-06-15T08:20:00Z", "end": "2026-06-15T08:21:00Z"}
    (row,) = await ask(api, path, summaryLevel=level, **asked)
    assert (row["start"], row["end"]) == (start, end)


async def test_hours_are_the_default(
    api: httpx.AsyncClient, browser: httpx.AsyncClient, vendors: Vendors, clock: Clock
) -> None:
    vendors.sunny.readings = home_series
    site_id = await connect_site(api, browser)
    answer = await api.get(f"/sites/{site_id}/solar-intervals", params=day_of(date(2026, 6, 1)))
    body = answer.json()
    assert (body["id"], body["summaryLevel"], len(body["intervals"])) == (site_id, "hour", 24)


async def test_pages_of_intervals_join_without_a_seam(
    api: httpx.AsyncClient, browser: httpx.AsyncClient, vendors: Vendors, clock: Clock
) -> None:
    vendors.sunny.readings = home_series
    path = f"/sites/{await connect_site(api, browser)}/solar-intervals"
    query: dict[str, Any] = {"summaryLevel": "15mins", **day_of(date(2026, 10, 25))}
    whole = await ask(api, path, **query)
    pages: list[dict[str, Any]] = []
    token: dict[str, str] | None = {}
    while token is not None:
        body = (await api.get(path, params={**query, **token, "pageSize": 33})).json()
        assert len(body["intervals"]) in (33, 1)
        pages += body["intervals"]
        token = {"pageToken": body["nextPageToken"]} if "nextPageToken" in body else None
    assert pages == whole


async def test_a_site_without_rows_of_its_own_is_the_sum_of_its_devices(
    api: httpx.AsyncClient, browser: httpx.AsyncClient, vendors: Vendors, clock: Clock
) -> None:
    second = replace(HOME.devices[0], vendor_id="inv-2", serial="S2")
    vendors.sunny.homes = {"site-1": replace(HOME, devices=(HOME.devices[0], second))}
    vendors.sunny.readings = per_device("inv-1", "inv-2")
    site_id = await connect_site(api, browser)
    day = day_of(date(2026, 6, 1))
    whole = await ask(api, f"/sites/{site_id}/solar-intervals", **day)
    ids = [entry["id"] for entry in (await api.get("/solar-inverters")).json()["solarInverters"]]
    parts = [await ask(api, f"/solar-inverters/{device_id}/intervals", **day) for device_id in ids]
    assert [row["kwh"] for row in whole] == pytest.approx([a["kwh"] + b["kwh"] for a, b in zip(*parts, strict=True)])
    assert sorted({round(a["kwh"] / b["kwh"], 6) for a, b in zip(*parts, strict=True)}) in ([0.5], [2.0])
    assert {row["quality"] for row in whole} == {"measured"}


async def test_site_rows_that_know_nothing_of_batteries_leave_the_batteries_to_speak(
    api: httpx.AsyncClient, browser: httpx.AsyncClient, vendors: Vendors, clock: Clock
) -> None:
    def mixed(query: ReadingsQuery) -> Readings:
        solar = [Reading(start=s, end=s + QUARTER, solar_wh=quarter_wh(s)) for s in quarters(query)]
        return Readings(intervals=(*solar, *per_device("bat-1")(query).intervals))

    vendors.sunny.readings = mixed
    site_id = await connect_site(api, browser)
    (battery,) = (await api.get("/batteries")).json()["batteries"]
    day = day_of(date(2026, 6, 1))
    assert len(await ask(api, f"/sites/{site_id}/battery-intervals", **day)) == 24
    assert len(await ask(api, f"/batteries/{battery['id']}/intervals", **day)) == 24


async def test_the_only_battery_is_the_sites_battery_series(
    api: httpx.AsyncClient, browser: httpx.AsyncClient, vendors: Vendors, clock: Clock
) -> None:
    vendors.sunny.readings = home_series
    site_id = await connect_site(api, browser)
    (battery,) = (await api.get("/batteries")).json()["batteries"]
    day = day_of(date(2026, 6, 1))
    own = await ask(api, f"/batteries/{battery['id']}/intervals", **day)
    assert own == await ask(api, f"/sites/{site_id}/battery-intervals", **day)
    assert set(own[0]) == {"chargeKwh", "dischargeKwh", "start", "end", "stateOfChargePercent", "quality"}
    assert own[0]["stateOfChargePercent"] == 50.0


async def test_a_battery_interval_tells_both_directions_or_is_left_out(
    api: httpx.AsyncClient, browser: httpx.AsyncClient, vendors: Vendors, clock: Clock
) -> None:
    """The upstream client takes the two members as required, and 0 would not be true."""

    def charging(query: ReadingsQuery) -> Readings:
        return Readings(
            intervals=tuple(Reading(start=s, end=s + QUARTER, charge_wh=quarter_wh(s)) for s in quarters(query))
        )

    vendors.sunny.readings = charging
    path = f"/sites/{await connect_site(api, browser)}/battery-intervals"
    assert await ask(api, path, **day_of(date(2026, 6, 1))) == []


async def test_a_piece_that_is_missing_makes_a_period_partial(
    api: httpx.AsyncClient, browser: httpx.AsyncClient, vendors: Vendors, clock: Clock
) -> None:
    def holey(query: ReadingsQuery) -> Readings:
        whole = home_series(query).intervals
        return Readings(
            intervals=tuple(
                replace(row, quality="estimated") if row.start.hour == 12 else row
                for row in whole
                if row.start.hour != 10 or row.start.minute != 15
            )
        )

    vendors.sunny.readings = holey
    path = f"/sites/{await connect_site(api, browser)}/solar-intervals"
    rows = await ask(api, path, start="2026-06-15T09:00:00Z", end="2026-06-15T14:00:00Z")
    assert [row["quality"] for row in rows] == ["measured", "partial", "measured", "estimated", "measured"]
    quarters_of_ten = await ask(
        api, path, start="2026-06-15T10:00:00Z", end="2026-06-15T11:00:00Z", summaryLevel="15mins"
    )
    assert len(quarters_of_ten) == 3


async def test_a_vendor_without_history_answers_from_the_store(
    api: httpx.AsyncClient, browser: httpx.AsyncClient, vendors: Vendors, hub: Hub, clock: Clock
) -> None:
    session = await begin(browser, await new_flow(api, "boxy"))
    form = token_of((await browser.get(f"/join/sessions/{session}")).text)
    await browser.post(f"/join/sessions/{session}", data={"form_token": form, "host": "h", "token": "t"})
    (enrollment,) = (await api.get("/enrollments")).json()["enrollments"]
    (site,) = enrollment["sites"]
    await api.get(f"/sites/{site['id']}")
    vendors.boxy.calls.clear()
    start = datetime(2026, 6, 1, 10, tzinfo=UTC)
    await hub.store.apply(interval_rows("15mins", [(site["id"], _reading(start, 1, 250.0))], NOON))
    (row,) = await ask(api, f"/sites/{site['id']}/solar-intervals", **day_of(date(2026, 6, 1)))
    assert (row["kwh"], row["quality"]) == (0.25, "partial")
    assert vendors.boxy.calls == []


# What is asked of the vendor


async def test_a_settled_span_is_asked_for_once(
    api: httpx.AsyncClient, browser: httpx.AsyncClient, vendors: Vendors, clock: Clock
) -> None:
    vendors.sunny.readings = home_series
    path = f"/sites/{await connect_site(api, browser)}/solar-intervals"
    first = await ask(api, path, **day_of(date(2026, 6, 1)))
    asked = len(vendors.sunny.queries)
    clock.at += 40 * 86400
    assert await ask(api, path, **day_of(date(2026, 6, 1))) == first
    assert len(vendors.sunny.queries) == asked == 1


async def test_only_what_lies_between_known_spans_is_asked_for(
    api: httpx.AsyncClient, browser: httpx.AsyncClient, vendors: Vendors, clock: Clock
) -> None:
    vendors.sunny.readings = home_series
    path = f"/sites/{await connect_site(api, browser)}/solar-intervals"
    for day in (1, 3):
        await ask(api, path, **day_of(date(2026, 6, day)))
    vendors.sunny.queries.clear()
    assert len(await ask(api, path, **day_of(date(2026, 6, 1), 3))) == 72
    gap = day_of(date(2026, 6, 2))
    assert [(query.start.isoformat(), query.end.isoformat()) for query in vendors.sunny.queries] == [
        tuple(datetime.fromisoformat(gap[name]).astimezone(UTC).isoformat() for name in ("start", "end"))
    ]


async def test_what_may_still_change_is_asked_for_again_but_not_at_once(
    api: httpx.AsyncClient, browser: httpx.AsyncClient, vendors: Vendors, clock: Clock
) -> None:
    vendors.sunny.readings = home_series
    path = f"/sites/{await connect_site(api, browser)}/solar-intervals"
    today = day_of(date(2026, 11, 1))
    await ask(api, path, **today)
    await ask(api, path, **today)
    assert len(vendors.sunny.queries) == 1
    clock.at += 901
    await ask(api, path, **today)
    assert len(vendors.sunny.queries) == 2
    assert all(query.end.timestamp() <= clock.at for query in vendors.sunny.queries)  # the future is not asked for


async def test_a_long_span_is_asked_for_in_windows_the_vendor_takes(
    api: httpx.AsyncClient, browser: httpx.AsyncClient, vendors: Vendors, clock: Clock
) -> None:
    vendors.sunny.readings = home_series
    path = f"/sites/{await connect_site(api, browser)}/solar-intervals"
    await ask(api, path, **day_of(date(2026, 6, 1), 20))
    spans = [(query.start, query.end) for query in vendors.sunny.queries]
    assert len(spans) == 3
    assert all(end - start <= timedelta(days=7) for start, end in spans)
    assert all(a[1] == b[0] for a, b in pairwise(spans))


async def test_a_vendor_that_is_away_is_a_problem_and_not_an_empty_day(
    api: httpx.AsyncClient, browser: httpx.AsyncClient, vendors: Vendors, clock: Clock
) -> None:
    vendors.sunny.readings = home_series
    path = f"/sites/{await connect_site(api, browser)}/solar-intervals"
    vendors.sunny.failures["fetch_readings"] = errors.TransientError("away")
    assert_problem(await api.get(path, params=day_of(date(2026, 6, 1))), 502, "vendor-unavailable")
    vendors.sunny.failures.clear()
    assert len(await ask(api, path, **day_of(date(2026, 6, 1)))) == 24


# Live power


def answers_live(value: Live | None) -> Callable[[ReadingsQuery], Readings]:
    return lambda query: Readings(live=value if query.live else None)


async def test_live_power_as_documented(
    api: httpx.AsyncClient, browser: httpx.AsyncClient, vendors: Vendors, clock: Clock
) -> None:
    vendors.sunny.readings = answers_live(live(NOON - 60))
    site_id = await connect_site(api, browser)
    assert (await api.get(f"/sites/{site_id}/live")).json() == {
        "id": site_id,
        "solarKw": 1.5,
        "gridKw": -0.5,
        "loadKw": 1.0,
        "measuredAt": "2026-11-01T11:59:00Z",
        "fetchedAt": "2026-11-01T12:00:00Z",
        "stale": False,
    }


async def test_live_power_is_asked_for_when_it_is_too_old(
    api: httpx.AsyncClient, browser: httpx.AsyncClient, vendors: Vendors, clock: Clock
) -> None:
    vendors.sunny.readings = answers_live(live(NOON))
    path = f"/sites/{await connect_site(api, browser)}/live"
    for _ in range(3):
        await api.get(path)
    assert len(vendors.sunny.queries) == 1
    clock.at += 301
    vendors.sunny.readings = answers_live(live(clock.at, solar_w=2000.0))
    assert (await api.get(path)).json()["solarKw"] == 2.0
    assert len(vendors.sunny.queries) == 2
    assert all(query.start == query.end for query in vendors.sunny.queries)  # no intervals


async def test_live_power_of_before_is_shown_as_stale_while_the_vendor_is_away(
    api: httpx.AsyncClient, browser: httpx.AsyncClient, vendors: Vendors, clock: Clock
) -> None:
    vendors.sunny.readings = answers_live(live(NOON))
    path = f"/sites/{await connect_site(api, browser)}/live"
    fresh = (await api.get(path)).json()
    clock.at += 301
    vendors.sunny.failures["fetch_readings"] = errors.VendorTimeout("slow")
    assert (await api.get(path)).json() == {**fresh, "stale": True}


async def test_power_measured_long_ago_is_stale_however_it_came(
    api: httpx.AsyncClient, browser: httpx.AsyncClient, vendors: Vendors, clock: Clock
) -> None:
    vendors.sunny.readings = answers_live(live(NOON - 1801))
    path = f"/sites/{await connect_site(api, browser)}/live"
    assert (await api.get(path)).json()["stale"] is True


async def test_without_any_live_power_the_reason_is_told(
    api: httpx.AsyncClient, browser: httpx.AsyncClient, vendors: Vendors, clock: Clock
) -> None:
    path = f"/sites/{await connect_site(api, browser)}/live"
    vendors.sunny.failures["fetch_readings"] = errors.TransientError("away")
    assert_problem(await api.get(path), 502, "vendor-unavailable")
    vendors.sunny.failures.clear()
    assert_problem(await api.get(path), 422, "not-supported")


async def test_a_withdrawn_consent_is_not_hidden_behind_old_power(
    api: httpx.AsyncClient, browser: httpx.AsyncClient, vendors: Vendors, clock: Clock
) -> None:
    vendors.sunny.readings = answers_live(live(NOON))
    path = f"/sites/{await connect_site(api, browser)}/live"
    await api.get(path)
    clock.at += 301
    vendors.sunny.failures["fetch_readings"] = errors.AuthorizationLost("gone")
    assert_problem(await api.get(path), 409, "authorization-lost")


async def test_intervals_come_as_csv_and_json_lines_to_who_asks(
    api: httpx.AsyncClient, browser: httpx.AsyncClient, vendors: Vendors, clock: Clock
) -> None:
    vendors.sunny.readings = home_series
    path = f"/sites/{await connect_site(api, browser)}/meter-intervals"
    query: dict[str, Any] = {"summaryLevel": "15mins", **day_of(date(2026, 10, 25))}
    whole = await ask(api, path, **query)
    lines = await api.get(path, params=query, headers={"accept": "application/x-ndjson"})
    assert lines.headers["content-type"].startswith("application/x-ndjson")
    assert [json.loads(line) for line in lines.text.splitlines()] == whole
    table = await api.get(path, params=query, headers={"accept": "text/csv, application/json;q=0.5"})
    assert table.headers["content-type"].startswith("text/csv")
    assert table.headers["joinder-complete"] == "true"
    assert "link" not in table.headers
    read = list(csv.DictReader(table.text.splitlines()))
    assert list(read[0]) == ["start", "end", "importKwh", "exportKwh", "consumptionKwh", "quality"]
    assert [{**row, "importKwh": float(row["importKwh"])} for row in read] == [
        {**row, "exportKwh": str(row["exportKwh"]), "consumptionKwh": str(row["consumptionKwh"])} for row in whole
    ]
    first = await api.get(path, params={**query, "pageSize": 90}, headers={"accept": "text/csv"})
    following = first.headers["link"].removeprefix("<").removesuffix('>; rel="next"')
    rest = await api.get(following, headers={"accept": "text/csv"})
    assert first.text.splitlines() + rest.text.splitlines()[1:] == table.text.splitlines()
    assert "accept" in table.headers["vary"]
    for asked in ("text/csv", "application/x-ndjson"):
        assert_problem(await api.get("/sites", headers={"accept": asked}), 406, "not-acceptable")
