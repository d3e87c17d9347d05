"""Tesla's sites and rows: parts that are not there, rows of any length, clock changes, nonsense."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
import pytest

from joinder import Device, DeviceKind, MeterRole, Reading, ReadingsQuery, Site
from joinder.errors import UnexpectedPayload
from joinder.http import Answer
from joinder.series import day_span
from joinder_tesla import mapping
from joinder_tesla.api import History, LiveStatus, Product, Row, SiteInfo, Wrapped

OSLO = ZoneInfo("Europe/Oslo")
SUN = Device(vendor_id="solar", kind=DeviceKind.INVERTER)
BATTERY = Device(vendor_id="battery", kind=DeviceKind.BATTERY)
GRID = Device(vendor_id="grid", kind=DeviceKind.METER, role=MeterRole.GRID)
WHOLE = Site(vendor_id="1", name="x", timezone="Europe/Oslo", devices=(SUN, BATTERY, GRID))
ROOF = Site(vendor_id="1", name="x", timezone="Europe/Oslo", devices=(SUN,))


def info(**members: Any) -> SiteInfo:
    return msgspec.convert(members, SiteInfo)


def kinds(**components: Any) -> list[str]:
    return [device.vendor_id for device in mapping.site("1", info(components=components)).devices]


@pytest.mark.parametrize(
    ("components", "ids"),
    [
        ({"solar": True, "battery": True, "grid": True, "load_meter": True}, ["solar", "battery", "grid"]),
        ({"solar": True, "battery": False, "grid": True, "load_meter": False}, ["solar"]),
        ({"solar": True, "battery": False, "grid": True, "load_meter": True}, ["solar", "grid"]),
        ({"battery": True, "grid": True}, ["battery", "grid"]),
        ({}, []),
        ({"batteries": [{"serial_number": "A"}, {"serial_number": "A"}, {"din": "B"}, {}]}, ["A", "A:2", "B"]),
        ({"inverters": [{"din": "I", "is_active": False}, {"din": "J", "is_active": True}], "solar": True}, ["J"]),
    ],
)
def test_devices_by_what_is_installed(components: dict[str, Any], ids: list[str]) -> None:
    assert kinds(**components) == ids


@pytest.mark.parametrize(
    ("members", "name"),
    [
        ({"installation_time_zone": "Europe/Oslo"}, "Europe/Oslo"),
        ({"installation_time_zone": "", "time_zone_offset": -420}, None),
        ({"time_zone_offset": 0}, None),
        ({"installation_time_zone": "Mars/Base"}, None),
        ({}, None),
    ],
)
def test_the_zone_of_a_site(members: dict[str, Any], name: str | None) -> None:
    assert mapping.site("1", info(**members)).timezone == name


def test_cars_and_bare_sites_are_no_sites() -> None:
    products = [
        Product(),
        Product(energy_site_id=1, components={"solar": True}),
        Product(energy_site_id=2, components={"solar": False, "battery": False, "grid": False}),
        Product(energy_site_id="3"),
        Product(energy_site_id=1, components={"solar": True}),
    ]
    assert mapping.site_ids(products) == ("1", "3")


def live(of: Site, **members: Any) -> tuple[float | None, ...]:
    base = {"timestamp": "2026-06-01T12:00:00+02:00", "solar_power": 3000, "battery_power": -500, "grid_power": -1000}
    status = msgspec.convert({**base, "load_power": 1500, "percentage_charged": 57.7, **members}, LiveStatus)
    found = mapping.live(status, of)
    return (found.solar_w, found.battery_w, found.grid_w, found.load_w, found.soc_percent) if found else ()


def test_live_power_keeps_teslas_signs() -> None:
    assert live(WHOLE) == (3000, -500, -1000, 1500, 57.7)


def test_what_a_roof_alone_answers_for_the_rest_is_unknown() -> None:
    assert live(ROOF, battery_power=0, grid_power=-3000, load_power=0, percentage_charged=0) == (
        *(3000, None, None, None, None),
    )


@pytest.mark.parametrize("at", [None, "2026-06-01T12:00:00"])
def test_live_power_without_a_time_is_none(at: str | None) -> None:
    assert live(WHOLE, timestamp=at) == ()


def rows(start: datetime, end: datetime, step_s: int, **members: Any) -> list[Row]:
    count = int((end - start).total_seconds() // step_s)
    stamps = [(start + timedelta(seconds=step_s * n)).astimezone(OSLO) for n in range(count)]
    return [msgspec.convert({"timestamp": at.isoformat(), **members}, Row) for at in stamps]


def quarters(given: list[Row], day: date, site: Site = ROOF) -> tuple[Reading, ...]:
    start, end = day_span(day, OSLO)
    return mapping.quarters(given, ReadingsQuery(site=site, start=start, end=end))


@pytest.mark.parametrize(("day", "count"), [(date(2026, 3, 29), 92), (date(2026, 6, 1), 96), (date(2026, 10, 25), 100)])
@pytest.mark.parametrize("step_s", [300, 900])
def test_a_day_is_whole_whatever_its_clock_and_rows_do(day: date, count: int, step_s: int) -> None:
    found = quarters(rows(*day_span(day, OSLO), step_s, solar_power=1200), day)
    assert [(reading.solar_wh, reading.quality) for reading in found] == [(300, "measured")] * count


def test_a_row_of_two_answers_counts_once() -> None:
    day = date(2026, 6, 1)
    given = rows(*day_span(day, OSLO), 300, solar_power=1200)
    assert sum(reading.solar_wh or 0 for reading in quarters([*given, *given], day)) == 28_800


def test_missing_night_rows_stay_missing() -> None:
    day = date(2026, 6, 1)
    given = [
        row for row in rows(*day_span(day, OSLO), 900, solar_power=1200) if row.timestamp.astimezone(OSLO).hour >= 6
    ]
    assert len(quarters(given, day)) == 72


@pytest.mark.parametrize(
    ("members", "wh"),
    [
        ({"solar_power": 0, "battery_power": 400, "grid_power": 200}, (0, 100, 0, 50, 0, 150)),
        ({"solar_power": 1000, "battery_power": -400, "grid_power": -200}, (250, 0, 100, 0, 50, 100)),
        ({"solar_power": 0, "battery_power": 0, "grid_power": 0, "generator_power": 400}, (0, 0, 0, 0, 0, 100)),
        ({"solar_power": 1000, "battery_power": None, "grid_power": 0}, (250, None, None, 0, 0, None)),
        ({"solar_power": -20, "battery_power": 0, "grid_power": 100}, (0, 0, 0, 25, 0, 20)),
    ],
)
def test_power_by_direction(members: dict[str, Any], wh: tuple[float | None, ...]) -> None:
    start = datetime(2026, 6, 1, tzinfo=UTC)
    given = rows(start, start + timedelta(minutes=15), 300, **members)
    (found,) = mapping.quarters(given, ReadingsQuery(site=WHOLE, start=start, end=start + timedelta(minutes=15)))
    assert (
        *(found.solar_wh, found.discharge_wh, found.charge_wh, found.import_wh, found.export_wh, found.load_wh),
    ) == wh


def days(given: list[dict[str, Any]], site: Site = WHOLE) -> list[tuple[float | None, ...]]:
    start, end = day_span(date(2026, 6, 1), OSLO)[0], day_span(date(2026, 6, 2), OSLO)[1]
    query = ReadingsQuery(site=site, start=start, end=end, resolution="day")
    found = mapping.days([msgspec.convert(row, Row) for row in given], query)
    return [(reading.solar_wh, reading.charge_wh, reading.export_wh, reading.load_wh) for reading in found]


def test_days_are_sums_of_however_many_rows() -> None:
    row = {
        "solar_energy_exported": 10.0,
        "battery_energy_imported_from_solar": 4.0,
        "grid_energy_exported_from_solar": 2.0,
    }
    one = {"timestamp": "2026-06-01T01:00:00+02:00", **row}
    two = {"timestamp": "2026-06-01T01:05:00+02:00", **row, "grid_energy_exported_from_battery": 1.0}
    assert days([one, two, one]) == [(20, 8, 5, None)]
    assert days([one], ROOF) == [(10, None, None, None)]


def test_the_days_that_are_asked_for() -> None:
    start, end = day_span(date(2026, 10, 25), OSLO)
    first, second = mapping.days_to_ask(ReadingsQuery(site=ROOF, start=start, end=end + timedelta(hours=1)))
    assert (first["start_date"], first["end_date"]) == ("2026-10-25T00:00:00+02:00", "2026-10-25T23:59:59+01:00")
    assert second["start_date"] == "2026-10-26T00:00:00+01:00"
    assert first["time_zone"] == "Europe/Oslo"


def test_the_months_that_are_asked_for() -> None:
    query = ReadingsQuery(site=ROOF, start=datetime(2026, 1, 15, tzinfo=UTC), end=datetime(2026, 3, 1, tzinfo=UTC))
    spans = [(span["start_date"][:10], span["end_date"][:10]) for span in mapping.months_to_ask(query)]
    assert spans == [("2026-01-01", "2026-01-31"), ("2026-02-01", "2026-02-28"), ("2026-03-01", "2026-03-31")]


@pytest.mark.parametrize("body", [b'{"response": {}}', b'{"response": {"time_series": null}}'])
def test_an_empty_day_has_no_rows(body: bytes) -> None:
    assert not Answer(200, {}, body, "GET x").json(Wrapped[History]).response.time_series


@pytest.mark.parametrize(
    "body",
    [
        b'{"response": null}',
        b'{"response": []}',
        b'{"response": {"time_series": [{"solar_power": 1}]}}',
        b'{"response": {"time_series": [{"timestamp": "2026-06-01T00:00:00Z", "solar_power": "NaN"}]}}',
        b'{"response": {"time_series": [{"timestamp": "now"}]}}',
        b'{"response": {"time_series": 3}}',
    ],
)
def test_other_types_are_unexpected(body: bytes) -> None:
    with pytest.raises(UnexpectedPayload):
        Answer(200, {}, body, "GET x").json(Wrapped[History])
