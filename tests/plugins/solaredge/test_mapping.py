"""SolarEdge's series: units, nulls, chunks that overlap, clock changes, nonsense."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
import pytest

from joinder import ReadingsQuery, Site
from joinder.errors import UnexpectedPayload
from joinder.http import Answer
from joinder.series import day_span
from joinder_solaredge import mapping, v1
from joinder_solaredge.api import DeviceEntry, Series, SiteDetails, Storage

ROME = ZoneInfo("Europe/Rome")


def series(rows: list[tuple[datetime, float | None]], unit: str | None = "WH") -> Series:
    values = [{"timestamp": at.astimezone(ROME).isoformat(), "value": value} for at, value in rows]
    return msgspec.convert({"unit": unit, "values": values}, Series)


def buckets(day: date, wh: float | None = 25.0) -> list[tuple[datetime, float | None]]:
    start, end = day_span(day, ROME)
    count = int((end - start).total_seconds() // 900)
    return [(start + timedelta(seconds=900 * step), wh) for step in range(count)]


def quarters(day: date, metrics: dict[str, Series], wanted: mapping.Energies = mapping.SOLAR) -> list[Any]:
    return whole(day, mapping.energies([metrics], wanted, hours=0.25))


def whole(day: date, metrics: dict[str, mapping.Rows]) -> list[Any]:
    return list(mapping.quarters(metrics, *day_span(day, ROME), None))


@pytest.mark.parametrize(("day", "count"), [(date(2026, 3, 29), 92), (date(2026, 6, 1), 96), (date(2026, 10, 25), 100)])
def test_a_day_is_whole_whatever_its_clock_does(day: date, count: int) -> None:
    assert [row.solar_wh for row in quarters(day, {"energy": series(buckets(day))})] == [25.0] * count


@pytest.mark.parametrize(
    ("unit", "wh"), [("WH", 2.0), ("KWH", 2000.0), ("MWH", 2e6), ("wh", 2.0), ("VOLT", None), (None, None), ("", None)]
)
def test_the_unit_counts(unit: str | None, wh: float | None) -> None:
    day = date(2026, 6, 1)
    found = quarters(day, {"energy": series(buckets(day, 2.0)[:1], unit)})
    assert [row.solar_wh for row in found] == ([wh] if wh else [])


@pytest.mark.parametrize(("unit", "wh"), [("W", 100.0), ("KW", 100_000.0), ("WH", None)])
def test_power_stands_in_for_energy(unit: str, wh: float | None) -> None:
    day = date(2026, 6, 1)
    found = quarters(day, {"chargePower": series(buckets(day, 400.0)[:1], unit)}, mapping.STORAGE)
    assert [row.charge_wh for row in found] == ([wh] if wh else [])


@pytest.mark.parametrize("value", [None, -4.0])
def test_unknown_energy_is_no_reading(value: float | None) -> None:
    day = date(2026, 6, 1)
    assert quarters(day, {"energy": series(buckets(day, value))}) == []


def test_the_edge_of_two_chunks_counts_once() -> None:
    day = date(2026, 6, 1)
    rows = buckets(day)
    chunks = [{"energy": series(rows[:49])}, {"energy": series(rows[48:])}]
    assert sum(row.solar_wh for row in whole(day, mapping.energies(chunks, mapping.SOLAR))) == 25.0 * 96


@pytest.mark.parametrize(("unit", "total"), [("KWH", 25_025.0), ("VOLT", 25.0), (None, 25.0)])
def test_each_chunk_has_a_unit_of_its_own(unit: str | None, total: float) -> None:
    day = date(2026, 6, 1)
    rows = buckets(day)
    chunks = [{"energy": series(rows[:1])}, {"energy": series(rows[1:2], unit)}]
    assert sum(row.solar_wh for row in whole(day, mapping.energies(chunks, mapping.SOLAR))) == total


def test_batteries_add_up_only_where_all_are_known() -> None:
    day = date(2026, 6, 1)
    (one, _), (two, _) = buckets(day)[:2]
    first = {"charge_wh": {one: 100.0, two: 100.0}, "soc_percent": {one: 40.0, two: 40.0}}
    second = {"charge_wh": {one: 50.0}, "soc_percent": {one: 60.0}}
    (row,) = whole(day, mapping.over_all([first, second]))
    assert (row.start, row.charge_wh, row.soc_percent) == (one, 150.0, 50.0)


def test_days_by_their_local_date() -> None:
    start, end = day_span(date(2026, 6, 1), ROME)[0], day_span(date(2026, 6, 2), ROME)[1]
    rows = [(day_span(date(2026, 6, day), ROME)[0], 1000.0 * day) for day in (1, 2, 3)]
    metrics = mapping.energies([{"energy": series(rows)}], mapping.SOLAR)
    assert [row.solar_wh for row in mapping.days(metrics, start, end, ROME, None)] == [1000.0, 2000.0]


@pytest.mark.parametrize(("percent", "unit"), [(67.8, "PERCENTAGE"), (67.8, "PERCENTAGE_100"), (101.0, "PERCENTAGE")])
def test_state_of_charge_in_percent_only(percent: float, unit: str) -> None:
    day = date(2026, 6, 1)
    found = mapping.charge_states([{"stateOfEnergy": series(buckets(day, percent)[:1], unit)}])
    told = [row.soc_percent for row in whole(day, {"soc_percent": found})]
    assert told == ([67.8] if percent <= 100 else [])


def test_live_power_is_the_newest_quarter_hour_that_is_known() -> None:
    day = date(2026, 6, 1)
    rows = buckets(day)[:4]
    read = quarters(day, {"energy": series([*rows[:3], (rows[3][0], None)])})
    live = mapping.live(tuple(read), Site(vendor_id="1", name="x"), rows[3][0] + timedelta(minutes=20))
    assert live is not None
    assert (live.solar_w, live.measured_at, live.grid_w) == (100.0, rows[3][0], None)
    assert mapping.live((), Site(vendor_id="1", name="x"), datetime.now(UTC)) is None


@pytest.mark.parametrize(
    ("meter_type", "role"),
    [("PRODUCTION", "production"), ("CONSUMPTION", "load"), ("EXPORT_IMPORT", "grid"), (None, "grid")],
)
def test_roles_of_meters(meter_type: str | None, role: str) -> None:
    entry = DeviceEntry(type="METER", serial_number="M", meter_type=meter_type)
    (device,) = mapping.site(SiteDetails(site_id=1), [entry]).devices
    assert device.role == role


def test_devices_that_are_gone_or_unknown_are_left_out() -> None:
    entries = [
        DeviceEntry(type="INVERTER", serial_number="A", active=False),
        DeviceEntry(type="OPTIMIZER", serial_number="B"),
        DeviceEntry(type="BATTERY", serial_number="C", model=None, part_number="P"),
    ]
    (device,) = mapping.site(SiteDetails(site_id=1, installation_date="REDACTED"), entries).devices
    assert (device.vendor_id, device.model) == ("C", "P")


@pytest.mark.parametrize(
    "body",
    [
        b'{"storage": []}',
        b'{"storage": {"B": {"chargeEnergy": {"unit": "WH", "values": [{"value": 1}]}}}}',
        b'{"storage": {"B": {"chargeEnergy": {"unit": "WH", "values": [{"timestamp": "x", "value": 1}]}}}}',
        b'{"storage": {"B": {"chargeEnergy": {"values": [{"timestamp": "2026-06-01T00:00:00Z", "value": "NaN"}]}}}}',
        b"{}",
    ],
)
def test_other_types_are_unexpected(body: bytes) -> None:
    with pytest.raises(UnexpectedPayload):
        Answer(200, {}, body, "GET x").json(Storage)


def test_v1_values_that_are_left_out_are_unknown() -> None:
    start = datetime(2026, 6, 1, tzinfo=UTC)
    site = Site(vendor_id="1", name="x", timezone="Europe/Rome")
    query = ReadingsQuery(site=site, start=start, end=start + timedelta(hours=1))
    rows = [{"date": "2026-06-01 02:00:00"}, {"date": "2026-06-01 02:15:00", "value": 5}, {"date": "soon", "value": 9}]
    details = msgspec.convert({"unit": "Wh", "meters": [{"type": "Production", "values": rows}]}, v1._Energies)
    assert [(row.start.minute, row.solar_wh) for row in v1.quarters(details, query, ROME)] == [(15, 5)]
