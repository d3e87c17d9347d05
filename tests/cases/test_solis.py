"""Kinds of SolisCloud answers that are right in form and wrong, or only half right, in meaning.

What is public about each is named in plugins/solis/README.md; the inputs are made up.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from joinder import Device, DeviceKind, Live, MeterRole, Reading, ReadingsQuery, Site
from joinder.energy import LOAD_BELOW_ZERO, PARTS_MISSING, ROWS_MISSING
from joinder.physics import NO_LOAD
from joinder_solis import doubt, mapping, place
from joinder_solis.api import Record
from joinder_solis.simulator import ALARMED, CHANGING, NAMELESS, ODD, ODDITIES, PAIR, UNSEEN, Plant
from solis_stand import Stand, open_stand

NOON = datetime(2026, 6, 15, 12, tzinfo=UTC)
NOON_MS = int(NOON.timestamp() * 1000)
HYBRID = (
    Device(vendor_id="A1", kind=DeviceKind.INVERTER),
    Device(vendor_id="A1:battery", kind=DeviceKind.BATTERY),
    Device(vendor_id="A1:meter", kind=DeviceKind.METER, role=MeterRole.GRID),
)
SECOND = Device(vendor_id="B2", kind=DeviceKind.INVERTER, stale=True, reported_at=NOON - timedelta(hours=2))
MANAGER = Device(vendor_id="E9", kind=DeviceKind.METER, role=MeterRole.GRID)


def plant(*devices: Device) -> Site:
    return Site(vendor_id="7", name="x", timezone="Europe/Madrid", devices=devices)


def station(**members: Any) -> Record:
    base = {"id": "7", "dataTimestamp": str(NOON_MS), "state": 1, "power": 2.4, "powerStr": "kW", "psum": 0.9}
    battery = {"psumStr": "kW", "batteryPower": 0.6, "batteryPowerStr": "kW", "batteryPercent": 55}
    return Record({**base, **battery, **members})


def live(of: Site, **members: Any) -> tuple[Live | None, list[str]]:
    said: list[str] = []
    return mapping.live(station(**members), of, said.append), said


def known(**members: Any) -> tuple[Live, list[str]]:
    found, said = live(plant(*HYBRID), **members)
    assert found is not None
    return found, said


def row(minutes: float, **members: Any) -> Record:
    at_ms = NOON_MS + int(minutes * 60_000)
    return Record({"time": at_ms, "power": 1200.0, "powerStr": "kW", "powerPec": "0.001", "psum": 0.0, **members})


def quarters(
    rows: list[Record], *devices: Device, minutes: int = 60, **options: Any
) -> tuple[list[Reading], list[str]]:
    said: list[str] = []
    of = plant(*(devices or HYBRID[:1]))
    query = ReadingsQuery(site=of, start=NOON, end=NOON + timedelta(minutes=minutes))
    return list(mapping.quarters(rows, query, said.append, **options)), said


def site(inverters: list[dict[str, Any]], meters: list[dict[str, Any]] | None = None, **members: Any) -> Site:
    stamp = {"dataTimestamp": str(NOON_MS)}
    lists = [[Record({**stamp, **told}) for told in records] for records in (inverters, meters or [])]
    named = {"id": "7", "timeZoneStandardId": "Europe/Madrid"}
    return mapping.site(Record({**named, **members}), *lists, NOON)


# --- a load below zero


@pytest.mark.parametrize(
    ("members", "load_w", "said"),
    [
        ({}, 900, []),  # 2400 - 900 - 600
        ({"psum": 2.9}, None, [NO_LOAD]),
        ({"power": 0.02, "batteryPower": 3.1}, None, [NO_LOAD]),  # charges from what no meter sees
        ({"psum": 1.82}, 0, []),  # 20 W of 2400 are noise
        ({"psum": 1.86}, None, [NO_LOAD]),  # 60 W are not
    ],
)
def test_a_live_load_below_zero_is_unknown_and_noise_is_zero(
    members: dict[str, Any], load_w: float | None, said: list[str]
) -> None:
    found, warnings = known(**members)
    assert (found.load_w, warnings) == (load_w if load_w is None else pytest.approx(load_w), said)
    assert found.solar_w is not None
    assert found.grid_w is not None


def test_a_quarter_hour_whose_load_is_below_zero_has_none_and_is_said_once() -> None:
    rows = [row(minute, psum=2000.0, batteryPower=0.0) for minute in range(0, 65, 5)]
    found, said = quarters(rows, *HYBRID)
    assert {(reading.load_wh, reading.rule, reading.solar_wh) for reading in found} == {(None, LOAD_BELOW_ZERO, 300)}
    assert said.count(NO_LOAD) == 1


@pytest.mark.parametrize(
    ("energies", "load_wh", "said"),
    [
        ({"homeLoadEnergy": 9.0}, 9000, []),
        ({}, 9000, []),  # 10 + 3 - 4
        ({"homeLoadEnergy": -2.0}, 9000, []),  # a negative one was seen, and is none
        ({"homeLoadEnergy": 9.0, "gridSellEnergy": 40.0}, None, [NO_LOAD]),  # ten times the export was seen
        ({"homeLoadEnergy": 20.0}, None, [doubt.LOADS_DIFFER]),
    ],
)
def test_a_day_whose_parts_contradict_its_load_has_no_load(
    energies: dict[str, Any], load_wh: float | None, said: list[str]
) -> None:
    base = {"dateStr": "2026-06-02", "energy": 10.0, "energyStr": "kWh", "gridPurchasedEnergy": 3, "gridSellEnergy": 4}
    heard: list[str] = []
    start = datetime(2026, 6, 1, 22, tzinfo=UTC)
    query = ReadingsQuery(
        site=plant(HYBRID[0], HYBRID[2]), start=start, end=start + timedelta(days=1), resolution="day"
    )
    (reading,) = mapping.days([Record({**base, **energies})], query, heard.append)
    assert (reading.load_wh, heard) == (load_wh, said)


def test_a_day_told_twice_and_differently_is_left_out() -> None:
    start = datetime(2026, 6, 1, 22, tzinfo=UTC)
    query = ReadingsQuery(site=plant(HYBRID[0]), start=start, end=start + timedelta(days=3), resolution="day")
    told = [("2026-06-02", 10.0), ("2026-06-02", 10.0), ("2026-06-03", 8.0), ("2026-06-03", 80.0), (None, 5.0)]
    told += [("9999-12-31", 5.0), ("0001-01-01", 5.0)]
    rows = [Record({"dateStr": day, "energy": energy, "energyStr": "kWh"}) for day, energy in told]
    said: list[str] = []
    assert [reading.solar_wh for reading in mapping.days(rows, query, said.append)] == [10_000]
    assert set(said) == {doubt.CONTRADICTION, doubt.UNTIMED_ROWS}


# --- faults and states


@pytest.mark.parametrize(
    ("members", "faults"),
    [
        ({"state": 1}, ()),
        ({"state": 3}, ("The inverter reports an alarm",)),
        ({"state": "3"}, ("The inverter reports an alarm",)),
        ({"state": 2}, ()),  # every night
        ({"state": 2, "stateExceptionFlag": 0}, ()),
        ({"state": 2, "stateExceptionFlag": 1}, ("The inverter is offline unexpectedly",)),
        ({"state": 4}, ()),
        ({}, ()),
    ],
)
def test_the_state_of_an_inverter_is_a_fault_in_plain_words(members: dict[str, Any], faults: tuple[str, ...]) -> None:
    (inverter,) = site([{"sn": "A1", **members}]).devices
    assert inverter.faults == faults


def test_an_alarm_does_not_hide_the_power() -> None:
    (inverter,) = site([{"sn": "A1", "state": 3, "pac": 1.5, "pacStr": "kW", "faultCodeDesc": "电网过压"}]).devices
    assert (inverter.power_w, inverter.stale) == (1500, False)
    assert all(fault.isascii() for fault in inverter.faults)


def test_a_manager_of_exports_has_faults_too() -> None:
    _, manager = site([{"sn": "A1", "state": 1}], [{"sn": "E9", "state": 2, "stateExceptionFlag": 1}]).devices
    assert manager.faults == ("The export power manager is offline unexpectedly",)


@pytest.mark.parametrize(
    ("members", "warned"),
    [
        ({"state": 3}, True),
        ({"state": 3, "alarmCount": 0}, False),  # seen at a plant that worked
        ({"state": 1, "alarmCount": 2}, True),
        ({"state": 1, "alarmCount": 0}, False),
    ],
)
def test_an_alarm_of_the_plant_that_no_device_explains_is_a_warning(members: dict[str, Any], warned: bool) -> None:
    found = site([{"sn": "A1", "state": 1}], **members)
    assert (doubt.PLANT_ALARM in found.warnings) is warned
    assert doubt.PLANT_ALARM not in site([{"sn": "A1", "state": 3}], **members).warnings


# --- time zones


@pytest.mark.parametrize(
    ("members", "zone", "warnings"),
    [
        ({"timeZone": 4.0, "timeZoneName": "(UTC+04:00) ", "daylightSwitch": 0}, None, (place.NO_ZONE,)),
        ({"timeZone": 0, "daylightSwitch": 0}, None, (place.NO_ZONE,)),
        ({"timeZoneStandardId": "Etc/GMT-4"}, None, (place.NO_ZONE,)),  # an offset with a name
        ({"timeZoneName": "(UTC+04:00)Etc/GMT-4"}, None, (place.NO_ZONE,)),
        ({"timeZoneStandardId": "UTC"}, None, (place.NO_ZONE,)),
        ({"timeZone": 1.0, "timeZoneName": "(UTC+01:00)Europe/Oslo"}, "Europe/Oslo", ()),
        ({"timeZone": 0, "timeZoneStandardId": "Europe/Dublin"}, "Europe/Dublin", ()),
        ({"timeZone": 9.5, "timeZoneStandardId": "Australia/Darwin"}, "Australia/Darwin", ()),
        ({"timeZone": 8.0, "timeZoneStandardId": "Europe/Oslo"}, None, (place.ZONES_DIFFER,)),
        ({"timeZone": 1e12, "timeZoneStandardId": "Europe/Oslo"}, None, (place.ZONES_DIFFER,)),
        (
            {"timeZoneStandardId": "Europe/Oslo", "timeZoneName": "(UTC+08:00)Asia/Shanghai"},
            *(None, (place.ZONES_DIFFER,)),
        ),
        ({"timeZoneStandardId": "Europe/Oslo", "timeZoneName": "(UTC+01:00)Europe/Berlin"}, "Europe/Oslo", ()),
    ],
)
def test_an_offset_makes_no_zone_and_two_zones_make_none(
    members: dict[str, Any], zone: str | None, warnings: tuple[str, ...]
) -> None:
    found = mapping.site(Record({"id": "7", **members}), [], [], NOON)
    assert (found.timezone, found.warnings) == (zone, warnings)


@pytest.mark.parametrize(
    ("members", "where"),
    [
        ({"latitude": 25.2, "longitude": 55.3}, (25.2, 55.3)),
        ({"latitude": "25.2", "longitude": "55.3"}, (25.2, 55.3)),
        ({"latitude": 0, "longitude": 0}, (None, None)),
        ({"latitude": 25.2}, (None, None)),
        ({"latitude": 125.2, "longitude": 55.3}, (None, None)),
    ],
)
def test_coordinates_are_told_so_that_core_finds_the_zone(
    members: dict[str, Any], where: tuple[float | None, float | None]
) -> None:
    found = mapping.site(Record({"id": "7", "timeZone": 4.0, **members}), [], [], NOON)
    assert ((found.lat, found.lon), found.timezone) == (where, None)
    assert (place.NO_ZONE in found.warnings) is (where == (None, None))


# --- sums that know their parts


def test_a_live_sum_without_one_inverter_is_unknown() -> None:
    of = plant(*HYBRID, Device(vendor_id="B2", kind=DeviceKind.INVERTER))
    found, said = live(of, inverterCount=2, inverterOnlineCount=1)
    assert found is not None  # nobody says which: battery and meter hang on one of them
    assert (found.solar_w, found.battery_w, found.grid_w, found.load_w, found.soc_percent) == (None,) * 5
    assert said == [doubt.NOT_ALL_REPORT]


def test_what_does_not_hang_on_the_silent_inverter_is_still_told() -> None:
    found, _ = live(plant(*HYBRID, SECOND), inverterCount=2, inverterOnlineCount=1)
    assert found is not None
    assert (found.solar_w, found.battery_w, found.grid_w, found.load_w) == (None, -600, -900, None)
    found, _ = live(plant(HYBRID[0], SECOND, MANAGER), inverterCount=3, inverterOnlineCount=1)
    assert found is not None
    assert (found.solar_w, found.grid_w, found.load_w) == (None, -900, None)


@pytest.mark.parametrize(
    ("counts", "whole"),
    [
        ({"inverterCount": 2, "inverterOnlineCount": 2}, True),  # it is back since the site was read
        ({"inverterCount": 2, "inverterOnlineCount": 0}, False),
        ({"inverterCount": 1, "inverterOnlineCount": 0}, True),  # recorded beside state 1 and power
        ({"inverterCount": 2}, False),  # no count: what fetch_site saw
        ({}, False),
    ],
)
def test_the_count_of_the_same_answer_is_believed_before_what_was_seen_earlier(
    counts: dict[str, Any], whole: bool
) -> None:
    found, said = live(plant(*HYBRID, SECOND), **counts)
    assert found is not None
    assert ((found.solar_w is not None), (said == [])) == (whole, whole)


def test_a_plant_that_is_offline_has_no_live_power() -> None:
    assert live(plant(*HYBRID), state=2) == (None, [doubt.NO_CONTACT])


def test_a_sum_of_rows_without_one_inverter_is_partial_and_has_no_load() -> None:
    since = NOON + timedelta(minutes=30)
    rows = [row(minute, batteryPower=0.0) for minute in range(0, 65, 5)]
    found, said = quarters(rows, *HYBRID, lacking=(since, since + timedelta(days=1)))
    assert [(reading.quality, reading.rule, reading.load_wh) for reading in found] == [
        *[("measured", None, 300)] * 2,
        *[("partial", PARTS_MISSING, None)] * 2,
    ]
    assert doubt.NOT_ALL_REPORT in said


def test_a_row_that_knows_less_than_its_neighbours_makes_no_load_of_unlike_times() -> None:
    strange = {"psumStr": "?"}
    rows = [
        row(minute, psum=-600.0, batteryPower=0.0, **(strange if minute == 5 else {})) for minute in range(0, 35, 5)
    ]
    found, _ = quarters(rows, *HYBRID, minutes=30)
    assert [(reading.import_wh, reading.load_wh, reading.quality) for reading in found] == [
        (100, None, "partial"),
        (150, 450, "measured"),
    ]


def test_a_day_that_lacks_an_inverter_is_partial_and_has_no_load() -> None:
    start = datetime(2026, 6, 13, 22, tzinfo=UTC)
    of = plant(HYBRID[0], MANAGER, SECOND)
    query = ReadingsQuery(site=of, start=start, end=start + timedelta(days=2), resolution="day")
    told = {"energy": 10.0, "energyStr": "kWh", "gridPurchasedEnergy": 3, "gridSellEnergy": 4, "homeLoadEnergy": 9}
    rows = [Record({"dateStr": f"2026-06-{day}", **told}) for day in (14, 15)]
    found = mapping.days(rows, query, lacking=doubt.lacking(None, of, None))
    assert [(reading.load_wh, reading.quality) for reading in found] == [(9000, "measured"), (None, "partial")]


def test_since_when_a_sum_lacks_an_inverter() -> None:
    of, hour = plant(*HYBRID, SECOND), timedelta(hours=1)
    one_missing = Record({"inverterCount": 2, "inverterOnlineCount": 1})
    assert doubt.lacking(one_missing, of, NOON) == (NOON - 2 * hour, NOON + hour)
    assert doubt.lacking(None, of, None) == (NOON - 2 * hour, NOON + 22 * hour)
    assert doubt.lacking(one_missing, plant(*HYBRID), NOON) == (NOON - hour, NOON + hour)  # nobody says which
    assert doubt.lacking(Record({"inverterCount": 2, "inverterOnlineCount": 2}), of, NOON) is None
    assert doubt.lacking(None, plant(SECOND), None) is None  # all are silent: night


def test_a_list_shorter_than_the_count_and_a_sum_that_differs_are_warnings() -> None:
    told = {"sn": "A1", "state": 1, "pac": 0.34, "pacStr": "kW"}
    assert doubt.FEWER_LISTED in site([told], inverterCount=2).warnings
    assert doubt.SUMS_DIFFER in site([told], inverterCount=1, power=5.5, powerStr="kW").warnings
    assert site([told], inverterCount=1, power=350, powerStr="W").warnings == ()


# --- rows


def test_a_row_missing_among_rows_of_five_minutes_is_no_row_of_ten() -> None:
    found, _ = quarters([row(minute) for minute in (0, 5, 15, 20, 25, 30)], minutes=30)
    assert [(reading.solar_wh, reading.quality, reading.rule) for reading in found] == [
        (200, "partial", ROWS_MISSING),
        (300, "measured", None),
    ]


@pytest.mark.parametrize("step", [1, 3, 5, 10, 15])
def test_rows_are_as_long_as_their_spacing(step: int) -> None:
    """Those of ten minutes lie across every second edge: what is shared out of them is estimated."""
    found, _ = quarters([row(minute) for minute in range(0, 60 + step, step)])
    assert [reading.solar_wh for reading in found] == [300] * 4
    assert {reading.quality for reading in found} == {"estimated" if step == 10 else "measured"}


def test_spacing_may_change_inside_one_answer() -> None:
    found, _ = quarters([row(minute) for minute in (*range(0, 30, 10), *range(30, 65, 5))])
    qualities = ["estimated", "estimated", "measured", "measured"]
    assert [(reading.solar_wh, reading.quality) for reading in found] == [(300, quality) for quality in qualities]


def test_rows_whose_clock_wanders_by_seconds_leave_no_gaps() -> None:
    minutes, at = [], -5.0
    for index in range(15):
        minutes.append(at)
        at += 5 + (3 + index * 7 % 11) / 60
    found, _ = quarters([row(minute) for minute in minutes])
    assert [(reading.solar_wh, reading.quality) for reading in found] == [(300, "measured")] * 4


def test_rows_without_an_instant_are_refused_by_name() -> None:
    wall = [row(0, time="14:00:00", timeStr="14:00:00"), row(0, time=None)]
    found, said = quarters([*wall, *(row(minute) for minute in range(0, 20, 5))], minutes=15)
    assert ([reading.solar_wh for reading in found], set(said)) == ([300], {doubt.UNTIMED_ROWS})


def test_an_answer_for_a_part_of_the_time_says_so() -> None:
    rows = [row(minute, batteryPower=0.0) for minute in range(0, 65, 5)]
    assert doubt.PART_OF_THE_TIME in quarters(rows, *HYBRID, minutes=240)[1]
    assert quarters(rows, *HYBRID, minutes=120)[1] == []  # the newest hour may be on its way
    assert quarters(rows, HYBRID[0], minutes=20 * 60)[1] == []  # without a battery it sleeps at night
    assert doubt.PART_OF_THE_TIME in quarters(rows, HYBRID[0], minutes=48 * 60)[1]
    assert doubt.PART_OF_THE_TIME in quarters([], HYBRID[0], minutes=48 * 60)[1]
    late = [row(minute, batteryPower=0.0) for minute in range(120, 185, 5)]
    assert doubt.PART_OF_THE_TIME in quarters(late, *HYBRID, minutes=180)[1]


# --- units, placeholders, contradictions


@pytest.mark.parametrize(
    ("members", "solar_w"),
    [
        ({"power": 2400, "powerStr": "W"}, 2400),
        ({"power": 0.0024, "powerStr": "MW"}, 2400),
        ({"power": 2400, "powerStr": "kW", "powerPec": "0.001"}, 2400),
        ({"power": 2400, "powerStr": "?"}, None),
        ({"power": 2400, "powerStr": ""}, None),
        ({"power": 2400, "powerStr": None}, None),
        ({"power": 2400, "powerStr": "kWh"}, None),
    ],
)
def test_every_answer_is_read_in_the_unit_it_tells(members: dict[str, Any], solar_w: float | None) -> None:
    found, said = known(**members)
    assert found.solar_w == (None if solar_w is None else pytest.approx(solar_w))
    assert (doubt.STRANGE_UNIT in said) is (solar_w is None)
    assert (found.load_w is None) is (solar_w is None)


def test_units_may_change_from_row_to_row_and_a_blank_one_is_no_watt() -> None:
    turns: list[dict[str, Any]] = [{"powerStr": "W", "powerPec": "1"}, {"power": 1.2, "powerPec": "1"}, {}]
    rows = [row(5 * index, **turns[index % 3]) for index in range(13)]
    assert [reading.solar_wh for reading in quarters(rows)[0]] == [pytest.approx(300)] * 4
    blank, said = quarters([row(minute, psum=3.0, psumStr=" ") for minute in range(0, 20, 5)], *HYBRID, minutes=15)
    assert (blank[0].export_wh, doubt.STRANGE_UNIT in said) == (None, True)


@pytest.mark.parametrize(
    "members",
    [
        {"powerOriginV2": 24.0},  # the raw twin tells a hundredth
        {"powerOriginV2": 240_000.0},
    ],
)
def test_power_that_its_raw_twin_contradicts_is_unknown(members: dict[str, Any]) -> None:
    found, said = known(**members)
    assert (found.solar_w, found.load_w, said) == (None, None, [doubt.CONTRADICTION])


@pytest.mark.parametrize("members", [{"powerOriginV2": 2400.0}, {"powerOriginV2": 0}, {"power1": 0, "psumOrgin": 0}])
def test_a_twin_that_agrees_or_is_never_filled_in_changes_nothing(members: dict[str, Any]) -> None:
    assert known(**members) == known()


def test_a_direction_that_the_halves_contradict_is_unknown() -> None:
    found, said = known(psumZheng=0, psumFu=900.0)
    assert (found.grid_w, found.load_w, said) == (None, None, [doubt.CONTRADICTION])
    assert known(psumZheng=900.0, psumFu=0) == known()
    rows = [row(minute, psum=500.0, psumZheng=0, psumFu=500.0, batteryPower=0.0) for minute in range(0, 20, 5)]
    (reading,), heard = quarters(rows, *HYBRID, minutes=15)
    assert (reading.import_wh, reading.export_wh, reading.load_wh, reading.solar_wh) == (None, None, None, 300)
    assert set(heard) == {doubt.CONTRADICTION}


def test_zeros_of_a_battery_that_does_not_answer_are_unknown() -> None:
    found, said = known(batteryPercent=0, batteryPower=0)
    assert (found.battery_w, found.soc_percent, found.load_w, said) == (None, None, None, [doubt.SILENT_BATTERY])
    assert known(batteryPercent=55, batteryPower=0)[0].battery_w == 0
    assert known(batteryPercent=0)[0].battery_w == -600  # it charges: only the percentage is no answer


def test_a_hybrid_without_a_battery_has_none() -> None:
    told: dict[str, Any] = {
        "sn": "A1",
        "type": 2,
        "batteryCapacitySoc": 0,
        "batteryPower": 0.0,
        "batteryPowerStr": "kW",
    }
    told["batteryTotalChargeEnergy"] = 0.0
    assert [device.kind for device in site([{**told, "batteryTotalDischargeEnergy": 0.0}]).devices] == ["inverter"]
    used = site([{**told, "batteryTotalChargeEnergy": 133.0, "batteryTotalDischargeEnergy": 120.0}])
    assert [(device.kind, device.power_w) for device in used.devices] == [("inverter", None), ("battery", None)]
    assert doubt.SILENT_BATTERY in used.warnings


@pytest.mark.parametrize(
    ("members", "lifetime_wh"),
    [
        ({"etotal": 36.4, "etotalStr": "MWh", "etotal1": 36_397.0}, 36_397_000),
        ({"etotal": 36.4, "etotalStr": "MWh", "etotal1": 0}, 36_400_000),
        ({"etotal": 36.4, "etotalStr": "GWh", "etotal1": 36_397.0}, None),
        ({"etotal": 36.4, "etotalStr": "MWh", "etotal1": 363_970.0}, None),
        ({"etotal": 36.4, "etotalStr": "?", "etotal1": 36_397.0}, 36_397_000),
    ],
)
def test_a_lifetime_that_two_members_contradict_is_unknown(members: dict[str, Any], lifetime_wh: float | None) -> None:
    found = site([{"sn": "A1", "state": 1, **members}])
    assert found.devices[0].lifetime_wh == (None if lifetime_wh is None else pytest.approx(lifetime_wh))
    assert (doubt.CONTRADICTION in found.warnings) is (lifetime_wh is None)


@pytest.mark.parametrize(
    ("members", "load_w", "said"),
    [
        ({"familyLoadPower": 0.9, "familyLoadPowerStr": "kW"}, 900, []),
        (
            {"familyLoadPower": 0.3, "familyLoadPowerStr": "kW", "bypassLoadPower": 600, "bypassLoadPowerStr": "W"},
            900,
            [],
        ),
        ({"familyLoadPower": 0.0, "familyLoadPowerStr": "kW"}, 900, []),  # never filled in
        ({"totalLoadPower": 4.2, "totalLoadPowerStr": "kW"}, None, [doubt.LOADS_DIFFER]),
        ({"familyLoadPower": 4.2, "familyLoadPowerStr": "?"}, 900, []),
        ({"generatorPower": 1.1, "generatorPowerStr": "kW"}, None, [doubt.GENERATOR]),
        ({"generatorPower": 0, "generatorPowerStr": "kW"}, 900, []),
    ],
)
def test_the_load_is_told_only_where_the_vendors_own_load_and_no_generator_contradict_it(
    members: dict[str, Any], load_w: float | None, said: list[str]
) -> None:
    found, heard = known(**members)
    assert (found.load_w, heard) == (None if load_w is None else pytest.approx(load_w), said)
    assert found.solar_w == 2400


@pytest.mark.parametrize(
    ("total", "solar_w"), [({"pvAndAcCoupledPower": 3.1, "pvAndAcCoupledPowerStr": "kW"}, 3100), ({}, None)]
)
def test_solar_power_coupled_beside_the_inverters_counts_or_makes_the_sum_unknown(
    total: dict[str, Any], solar_w: float | None
) -> None:
    found, said = known(acCoupledPower=0.7, acCoupledPowerStr="kW", **total)
    assert found.solar_w == (None if solar_w is None else pytest.approx(solar_w))
    assert said == ([] if total else [doubt.AC_COUPLED])


@pytest.mark.parametrize(("watts", "solar_w"), [(-20, 0), (-49.0, 0), (-400, None)])
def test_a_standby_draw_is_no_production_and_no_warning(watts: float, solar_w: float | None) -> None:
    found, said = known(power=watts, powerStr="W", psum=-1.0)
    assert (found.solar_w, said) == (solar_w, [])


# --- the simulator is as odd


@pytest.fixture
async def stand() -> AsyncIterator[Stand]:
    async with open_stand() as opened:
        opened.cloud.clock.freeze(NOON.timestamp())
        yield opened


async def seen(stand: Stand, odd: Plant, hours: int = 6) -> tuple[Site, Any]:
    grant = (await stand.consent(ODD)).grant
    found = await stand.site(grant, ODDITIES.index(odd))
    return found, await stand.readings(grant, found, NOON - timedelta(hours=hours), NOON, live=True)


async def test_an_alarm_at_the_vendor_becomes_a_fault(stand: Stand) -> None:
    found, _ = await seen(stand, ALARMED)
    assert found.devices[0].faults == ("The inverter reports an alarm",)


async def test_quarter_hours_are_read_where_the_zone_is_unknown(stand: Stand) -> None:
    found, readings = await seen(stand, NAMELESS, hours=24)
    assert (found.timezone, found.warnings) == (None, (place.NO_ZONE,))
    assert len(readings.intervals) == 96
    for reading in readings.intervals:
        energy = NAMELESS.home.energy(reading.start.timestamp(), reading.end.timestamp())
        assert reading.solar_wh == pytest.approx(energy.solar_wh, abs=0.01)


async def test_an_inverter_that_falls_silent_makes_its_hours_partial(stand: Stand) -> None:
    found, readings = await seen(stand, PAIR)
    assert [device.stale for device in found.devices if device.kind is DeviceKind.INVERTER] == [False, True]
    assert found.devices[-1].faults == ("The inverter is offline unexpectedly",)
    assert readings.live is not None
    assert (readings.live.solar_w, readings.live.load_w, readings.live.grid_w is None) == (None, None, False)
    assert doubt.NOT_ALL_REPORT in readings.warnings
    silent_from = datetime(2026, 6, 15, 8, tzinfo=UTC)  # 10 o'clock in Madrid
    for reading in readings.intervals:
        assert (reading.quality == "partial") is (reading.start >= silent_from), reading.start
        assert (reading.load_wh is None) is (reading.start >= silent_from)


async def test_exports_that_nothing_explains_leave_the_load_unknown(stand: Stand) -> None:
    _, readings = await seen(stand, UNSEEN)
    power = UNSEEN.home.power(NOON.timestamp())
    assert readings.live is not None
    assert (readings.live.load_w, readings.live.solar_w) == (None, pytest.approx(power.solar_w))
    assert readings.warnings.count(NO_LOAD) == 1


@pytest.mark.parametrize("minutes", [0, 5, 10, 15])
async def test_units_that_change_between_answers_change_no_value(stand: Stand, minutes: int) -> None:
    at = NOON + timedelta(minutes=minutes)
    stand.cloud.clock.freeze(at.timestamp())
    _, readings = await seen(stand, CHANGING)
    power = CHANGING.home.power(at.timestamp())
    assert readings.live is not None
    assert (readings.live.solar_w, readings.live.load_w) == (pytest.approx(power.solar_w), pytest.approx(power.load_w))
    for reading in readings.intervals:
        energy = CHANGING.home.energy(reading.start.timestamp(), reading.end.timestamp())
        assert reading.load_wh == pytest.approx(energy.load_wh, abs=0.01)
