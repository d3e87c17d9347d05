"""What SolisCloud's records mean: signs, batteries nobody lists, zones, rows with gaps, and nonsense."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from msgspec.structs import asdict

from joinder import Device, DeviceKind, MeterRole, ReadingsQuery, Site
from joinder_solis import mapping
from joinder_solis.api import Record

NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)
NOW_MS = int(NOW.timestamp() * 1000)
BATTERY = Device(vendor_id="S1:battery", kind=DeviceKind.BATTERY)
METER = Device(vendor_id="S1:meter", kind=DeviceKind.METER, role=MeterRole.GRID)
INVERTER = Device(vendor_id="S1", kind=DeviceKind.INVERTER)
WHOLE = Site(vendor_id="1", name="x", timezone="Europe/Amsterdam", devices=(INVERTER, BATTERY, METER))
BARE = Site(vendor_id="1", name="x", timezone="Europe/Amsterdam", devices=(INVERTER,))


def inverter(**members: Any) -> Record:
    base = {
        "sn": "S1",
        "state": 1,
        "dataTimestamp": str(NOW_MS),
        "pac": 2.0,
        "pacStr": "kW",
        "power": 5,
        "powerStr": "kW",
    }
    return Record({**base, **members})


def devices(*records: Record, station: dict[str, Any] | None = None) -> list[Device]:
    return list(mapping.site(Record({"id": "1", **(station or {})}), records, [], NOW).devices)


def test_an_inverter_alone() -> None:
    (only,) = devices(inverter(etotal=36.397, etotalStr="MWh", etotal1=36397))
    assert (only.power_w, only.max_power_w, only.lifetime_wh, only.stale) == (2000, 5000, 36_397_000, False)


@pytest.mark.parametrize("station", [{"stationTypeNew": 1}, {"stationTypeNew": 11}])
def test_a_storage_station_has_a_battery_behind_each_inverter(station: dict[str, Any]) -> None:
    _, battery = devices(inverter(batteryPower=-0.888, batteryPowerStr="kW", batteryCapacitySoc=79), station=station)
    assert (battery.vendor_id, battery.power_w, battery.soc_percent) == ("S1:battery", 888, 79)


@pytest.mark.parametrize(
    ("members", "watts"),
    [
        ({"batteryPower": 0.5}, -500),  # + charges
        ({"batteryPower": -0.888, "batteryPowerZheng": 0, "batteryPowerFu": 888.0, "storageBatteryCurrent": -3.0}, 888),
        ({"batteryPower": 0.888, "storageBatteryCurrent": -3.0}, 888),  # older firmware: no sign
        ({"batteryPower": 0.888, "storageBatteryCurrent": 3.0}, -888),
        ({"batteryPower": 0.888, "batteryPowerZheng": 888, "batteryPowerFu": 0}, -888),
        ({"batteryPower": 0.888, "batteryPowerZheng": 0, "batteryPowerFu": 888}, 888),
        ({"batteryPower": 0.888, "storageBatteryCurrent": 0, "batteryPowerFu": 888}, 888),
        ({"batteryPower": 0.9, "storageBatteryCurrent": -3, "batteryPowerZheng": 900, "batteryPowerFu": 0}, 900),
        ({"batteryPower": -0.9, "storageBatteryCurrent": 3}, 900),  # a sign that is sent counts
        ({"batteryPower": 0}, 0),
        ({"batteryPower": "NaN"}, None),
        ({}, None),
    ],
)
def test_the_sign_of_a_battery(members: dict[str, Any], watts: float | None) -> None:
    _, battery = devices(inverter(type=2, batteryPowerStr="kW", **members))
    assert battery.power_w == (None if watts is None else pytest.approx(watts))


def test_a_meter_is_seen_by_its_model() -> None:
    assert [device.kind for device in devices(inverter(inverterMeterModel=5))] == ["inverter", "meter"]
    assert [device.kind for device in devices(inverter(inverterMeterModel=1))] == ["inverter"]


@pytest.mark.parametrize(
    ("members", "watts"),
    [
        ({"pow1": 900.0, "pow2": 700}, 1600),
        ({"pow1": 0, "pow2": 0}, None),  # 2 kW of the battery, or strings nobody fills in
        ({"pow1": 0, "pac": 0}, 0),
        ({}, 2000),
    ],
)
def test_a_hybrid_generates_what_its_strings_give(members: dict[str, Any], watts: float | None) -> None:
    assert devices(inverter(type=2, **members))[0].power_w == watts
    assert devices(inverter(**{**members, "pac": 2.0}))[0].power_w == 2000


@pytest.mark.parametrize("members", [{"etotal1": -5}, {"etotal": -1, "etotalStr": "kWh"}, {"etotal": 7}, {}])
def test_a_lifetime_that_cannot_be_is_unknown(members: dict[str, Any]) -> None:
    assert devices(inverter(**members))[0].lifetime_wh is None


@pytest.mark.parametrize("members", [{"state": 2}, {"dataTimestamp": str(NOW_MS - 7_200_000)}, {"dataTimestamp": None}])
def test_an_inverter_that_is_silent_has_no_power(members: dict[str, Any]) -> None:
    (only,) = devices(inverter(**members))
    assert (only.power_w, only.stale) == (None, True)


@pytest.mark.parametrize(
    ("members", "name"),
    [
        ({"timeZoneStandardId": "Europe/Amsterdam"}, "Europe/Amsterdam"),
        ({"timeZoneName": "(UTC+01:00)Europe/Amsterdam"}, "Europe/Amsterdam"),
        ({"timeZone": 10.0, "timeZoneName": "(UTC+10:00)", "daylightSwitch": 0}, None),  # an offset is no zone
        ({"timeZone": -3.0, "daylightSwitch": 0}, None),
        ({"timeZone": 0, "daylightSwitch": 0, "daylight": "0"}, None),
        ({"timeZone": 1.0, "daylightSwitch": 1}, None),
        ({"timeZoneStandardId": "../etc/passwd"}, None),
        ({}, None),
    ],
)
def test_the_zone_of_a_plant(members: dict[str, Any], name: str | None) -> None:
    assert mapping.site(Record({"id": "1", **members}), [], [], NOW).timezone == name


def live(of: Site, **members: Any) -> dict[str, Any]:
    base = {"dataTimestamp": str(NOW_MS), "power": 3.0, "powerStr": "kW", "psum": 1.0, "psumStr": "kW"}
    found = mapping.live(Record({**base, "batteryPower": 0.5, "batteryPowerStr": "kW", **members}), of)
    return asdict(found) if found else {}


def test_live_power_in_our_signs() -> None:
    seen = live(WHOLE, batteryPercent=80)
    assert (seen["solar_w"], seen["grid_w"], seen["battery_w"], seen["load_w"]) == (3000, -1000, -500, 1500)
    assert seen["soc_percent"] == 80


def test_zeros_of_a_plant_without_meter_and_battery_are_unknown() -> None:
    seen = live(BARE, psum=0, batteryPower=0, batteryPercent=0)
    assert (seen["solar_w"], seen["grid_w"], seen["battery_w"], seen["load_w"], seen["soc_percent"]) == (
        *(3000, None, None, None, None),
    )


@pytest.mark.parametrize("members", [{"dataTimestamp": None}, {"dataTimestamp": "soon"}, {"dataTimestamp": 12}])
def test_live_power_without_a_time_is_none(members: dict[str, Any]) -> None:
    assert live(WHOLE, **members) == {}


def row(minute: int, watts: float | None = 1200.0, **members: Any) -> Record:
    at = NOW_MS + minute * 60_000
    return Record({"time": at, "power": watts, "powerStr": "kW", "powerPec": "0.001", "psum": 0.0, **members})


def read(rows: list[Record], minutes: int = 60, site: Site = BARE) -> list[tuple[float | None, str]]:
    query = ReadingsQuery(site=site, start=NOW, end=NOW + timedelta(minutes=minutes))
    return [(reading.solar_wh, reading.quality) for reading in mapping.quarters(rows, query)]


def test_rows_of_five_minutes_are_quarter_hours() -> None:
    assert read([row(minute) for minute in range(0, 60, 5)]) == [(300, "measured")] * 4


def test_a_slower_logger_counts_in_full() -> None:
    """Every row across an edge is shared out."""
    assert read([row(minute) for minute in range(0, 65, 10)]) == [(300, "estimated")] * 4


def test_a_gap_is_no_energy() -> None:
    assert read([row(0), row(45), row(50), row(55), row(60)]) == [(100, "partial"), (300, "measured")]


def test_a_member_of_a_day_row_with_a_unit_of_its_own() -> None:
    own = {"batteryPower": 0.2, "batteryPowerStr": "kW", "psum": -400.0, "psumStr": "kW", "psumPec": "0.001"}
    query = ReadingsQuery(site=WHOLE, start=NOW, end=NOW + timedelta(minutes=15))
    (reading,) = mapping.quarters([row(minute, 0.0, **own) for minute in range(0, 20, 5)], query)
    assert (reading.import_wh, reading.charge_wh) == (100, 50)
    strange = {"batteryPowerStr": "A", "psumStr": "?"}
    (reading,) = mapping.quarters([row(minute, **own | strange) for minute in range(0, 20, 5)], query)
    assert (reading.solar_wh, reading.import_wh, reading.charge_wh, reading.load_wh) == (300, None, None, None)


@pytest.mark.parametrize("length", [23, 25])
def test_a_day_of_a_clock_change_has_its_own_length(length: int) -> None:
    start = datetime(2026, 3, 28, 23, tzinfo=UTC) if length == 23 else datetime(2026, 10, 24, 22, tzinfo=UTC)
    first_ms = int(start.timestamp() * 1000)
    rows = [row(0, time=first_ms + slot * 300_000) for slot in range(-12, length * 12 + 12)]
    found = mapping.quarters(rows, ReadingsQuery(site=BARE, start=start, end=start + timedelta(hours=length)))
    assert [len(found), {(reading.solar_wh, reading.quality) for reading in found}] == [length * 4, {(300, "measured")}]


def test_a_row_asked_twice_counts_once() -> None:
    assert read([row(0), row(5), row(10), row(0), row(5), row(10), row(15)], 15) == [(300, "measured")]


@pytest.mark.parametrize("watts", [None, -5000.0, float("nan")])
def test_unknown_power_is_no_reading(watts: float | None) -> None:
    assert read([row(minute, watts) for minute in range(0, 15, 5)], 15) == []


def test_grid_and_battery_by_direction() -> None:
    rows = [row(minute, 0.0, psum=-400.0, batteryPower=200.0) for minute in range(0, 20, 5)]
    query = ReadingsQuery(site=WHOLE, start=NOW, end=NOW + timedelta(minutes=15))
    (reading,) = mapping.quarters(rows, query)
    assert (reading.import_wh, reading.export_wh, reading.charge_wh, reading.discharge_wh) == (100, 0, 50, 0)
    assert reading.load_wh == 50


def test_days_follow_their_date_text() -> None:
    start = datetime(2026, 5, 31, 22, tzinfo=UTC)  # midnight in Amsterdam
    query = ReadingsQuery(site=WHOLE, start=start, end=start + timedelta(days=2), resolution="day")
    rows = [
        Record({"dateStr": f"2026-06-0{day}", "date": 0, "energy": 10.0, "energyStr": "kWh", "gridSellEnergy": 4.0})
        for day in (1, 1, 2, 3)
    ]
    found = mapping.days([*rows, Record({"dateStr": "never"}), Record({})], query)
    assert [(reading.start, reading.solar_wh, reading.export_wh, reading.import_wh) for reading in found] == [
        (start, 10_000, 4_000, None),
        (start + timedelta(days=1), 10_000, 4_000, None),
    ]


def test_the_days_around_a_clock_change_are_asked_for() -> None:
    start = datetime(2026, 10, 24, 22, tzinfo=UTC)  # Amsterdam, a day of 25 hours
    query = ReadingsQuery(site=BARE, start=start, end=start + timedelta(hours=25))
    asked = [(body["time"], body["timeZone"]) for _, body in mapping.days_to_ask(query)]
    assert asked == [("2026-10-24", 1.0), ("2026-10-25", 1.0), ("2026-10-26", 1.0)]
