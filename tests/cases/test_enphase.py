"""Oddities of Enphase's answers, one test per kind, read by both plugins: Monitoring v4 and Grid Services.

Shapes follow the vendor's documents (developer-v4.enphase.com, vpp.enphaseenergy.com): rows carry `devices_reporting`,
answers `total_devices`; all values are our own.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from enphase_answers import (
    BATTERIES,
    MICROS,
    NET,
    QUARTER,
    SOLAR,
    SOLAR_2,
    START,
    TOTAL,
    Enphase,
    ends,
    grid_services,
    monitoring,
    power,
    rows,
    stored,
)
from joinder import DeviceKind, Live, MeterRole
from joinder.energy import LOAD_BELOW_ZERO, PARTS_MISSING, ROWS_MISSING
from joinder.physics import NO_LOAD

ENDS_EARLY = "Enphase's answer ends before the time asked for"


@pytest.fixture(params=[monitoring, grid_services], ids=["monitoring", "grid-services"])
def enphase(request: pytest.FixtureRequest) -> Enphase:
    found: Enphase = request.param()
    return found


async def test_a_row_without_one_battery_is_partial(enphase: Enphase) -> None:
    found = [stored(1, (0, 2), (600, 2), (80, 2)), stored(2, (0, 2), (300, 1), (80, 2))]
    enphase.bodies = {"telemetry/battery": {"total_devices": 2, "intervals": found}}
    whole, lacking = (await enphase.read(*BATTERIES)).intervals
    assert (whole.discharge_wh, whole.quality, whole.rule) == (600, "measured", None)
    assert (lacking.discharge_wh, lacking.quality, lacking.rule) == (300, "partial", PARTS_MISSING)


@pytest.mark.parametrize("place", [0, 1, 2])
async def test_a_battery_missing_from_any_metric_makes_its_row_partial(enphase: Enphase, place: int) -> None:
    counts = [3, 3, 3]
    counts[place] = 2
    enphase.bodies = {
        "telemetry/battery": {
            "total_devices": 3,
            "intervals": [stored(1, (10, counts[0]), (20, counts[1]), (50, counts[2]))],
        }
    }
    (found,) = (await enphase.read(*BATTERIES)).intervals
    assert found.rule == PARTS_MISSING
    assert (found.charge_wh, found.discharge_wh, found.soc_percent) == (10, 20, 50)


@pytest.mark.parametrize(
    ("devices", "path", "member", "metric"),
    [
        ((SOLAR,), "telemetry/production_meter", "wh_del", "solar_wh"),
        (MICROS, "telemetry/production_micro", "enwh", "solar_wh"),
        ((TOTAL,), "telemetry/consumption_meter", "enwh", "load_wh"),
    ],
)
async def test_a_sum_that_says_a_device_is_missing_is_partial(
    enphase: Enphase, devices: tuple[Any, ...], path: str, member: str, metric: str
) -> None:
    told = rows(member, 300, 200, 100, reporting=(3, 2, 0))
    enphase.bodies = {path: {"total_devices": 3, "intervals": told}}
    found = (await enphase.read(*devices)).intervals
    assert [getattr(row, metric) for row in found] == [300, 200]  # of no device reporting nothing is known
    assert [row.rule for row in found] == [None, PARTS_MISSING]


async def test_a_row_that_no_device_reported_in_is_unknown_and_not_zero(enphase: Enphase) -> None:
    found = [stored(1, (0, 0), (40, 2), (50, 2)), stored(2, (0, 0), (0, 0), (0, 0))]
    enphase.bodies = {"telemetry/battery": {"total_devices": 2, "intervals": found}}
    (row,) = (await enphase.read(*BATTERIES)).intervals
    assert (row.charge_wh, row.discharge_wh, row.rule) == (None, 40, PARTS_MISSING)


@pytest.mark.parametrize("total", [{}, {"total_devices": None}, {"total_devices": 0}])
async def test_where_the_answer_tells_no_total_the_devices_of_the_site_count(
    enphase: Enphase, total: dict[str, object]
) -> None:
    told = rows("enwh", 10, 10, 10, 10, 10, 10, minutes=5, reporting=(4, 4, 4, 4, 3, 4))
    enphase.bodies = {"telemetry/production_micro": {**total, "intervals": told}}
    found = (await enphase.read(*MICROS)).intervals
    assert [(row.solar_wh, row.rule) for row in found] == [(30, None), (30, PARTS_MISSING)]


async def test_rows_that_count_no_devices_are_taken_as_they_are(enphase: Enphase) -> None:
    enphase.bodies = {
        "telemetry/production_meter": {"total_devices": 2, "intervals": rows("wh_del", 100)},
        **enphase.grid(rows("wh_imported", 5), rows("wh_exported", 25)),
    }
    (found,) = (await enphase.read(SOLAR, NET)).intervals
    assert (found.quality, found.load_wh) == ("measured", 80)


async def test_no_load_is_reckoned_from_a_sum_without_one_of_its_meters(enphase: Enphase) -> None:
    enphase.bodies = {
        "telemetry/production_meter": {
            "total_devices": 3,
            "intervals": rows("wh_del", 100, 60, reporting=(3, 2)),
        },
        "telemetry/consumption_meter": {"total_devices": 1, "intervals": rows("enwh", 80, 80, reporting=(1, 1))},
        **enphase.grid(rows("wh_imported", 0, 0), rows("wh_exported", 20, 20)),
    }
    whole, lacking = (await enphase.read(SOLAR, NET)).intervals
    assert whole.load_wh == 80
    assert (lacking.solar_wh, lacking.load_wh, lacking.rule) == (60, None, PARTS_MISSING)


async def test_energies_that_leave_a_load_below_zero_leave_it_unknown(enphase: Enphase) -> None:
    enphase.bodies = {
        "telemetry/production_meter": {"intervals": rows("wh_del", 100)},
        "telemetry/battery": {"total_devices": 2, "intervals": [stored(1, (900, 2), (0, 2), (50, 2))]},
        **enphase.grid(rows("wh_imported", 100), rows("wh_exported", 0)),
        "telemetry/consumption_meter": {"intervals": rows("enwh", 200)},
    }
    found = await enphase.read(SOLAR, NET, *BATTERIES)
    assert (found.intervals[0].load_wh, found.intervals[0].rule) == (None, LOAD_BELOW_ZERO)
    assert NO_LOAD in found.warnings


async def test_rows_of_fifteen_minutes_are_read_as_such_where_five_are_usual(enphase: Enphase) -> None:
    enphase.bodies = {"telemetry/production_micro": {"intervals": rows("enwh", 30, 33, 36)}}
    found = (await enphase.read(*MICROS)).intervals
    assert [(row.solar_wh, row.quality) for row in found] == [(30, "measured"), (33, "measured"), (36, "measured")]
    assert found[0].start == START


async def test_rows_of_five_minutes_are_read_as_such_where_fifteen_are_usual(enphase: Enphase) -> None:
    enphase.bodies = {"telemetry/production_meter": {"intervals": rows("wh_del", *[7] * 6, 7, minutes=5)}}
    found = (await enphase.read(SOLAR)).intervals
    assert [(row.solar_wh, row.rule) for row in found] == [(21, None), (21, None), (7, ROWS_MISSING)]


async def test_row_length_may_change_inside_one_answer(enphase: Enphase) -> None:
    quarters = [{"end_at": ends(number), "enwh": 30} for number in (1, 2, 3)]
    short = [{"end_at": ends(number, 5), "enwh": 10} for number in (10, 11, 12)]
    enphase.bodies = {"telemetry/production_micro": {"intervals": [*quarters, *short]}}
    found = (await enphase.read(*MICROS)).intervals
    assert [(row.solar_wh, row.quality) for row in found] == [(30, "measured")] * 4


async def test_a_missing_row_makes_the_row_after_it_no_longer(enphase: Enphase) -> None:
    told = [{"end_at": ends(number, 5), "enwh": 10} for number in (1, 2, 3, 5, 6, 7, 8, 9)]
    enphase.bodies = {"telemetry/production_micro": {"intervals": told}}
    found = (await enphase.read(*MICROS)).intervals
    assert [(row.solar_wh, row.rule) for row in found] == [(30, None), (20, ROWS_MISSING), (30, None)]


async def test_every_second_row_missing_is_no_longer_row(enphase: Enphase) -> None:
    told = [{"end_at": ends(number, 5), "enwh": 10} for number in (2, 4, 6, 8)]
    enphase.bodies = {"telemetry/production_micro": {"intervals": told}}
    found = (await enphase.read(*MICROS)).intervals
    assert {row.rule for row in found} == {ROWS_MISSING}
    assert sum(row.solar_wh or 0 for row in found) == 40


async def test_a_row_that_comes_twice_counts_once_and_not_at_all_where_the_two_differ(enphase: Enphase) -> None:
    told = [*rows("wh_del", 10, 20), {"end_at": ends(1), "wh_del": 11}]
    enphase.bodies = {
        "telemetry/production_meter": {"intervals": told},
        **enphase.grid(rows("wh_imported", 5) * 2, rows("wh_exported", 6)),
    }
    found = (await enphase.read(SOLAR, NET)).intervals
    assert [row.solar_wh for row in found] == [None, 20]
    assert (found[0].import_wh, found[0].rule) == (5, "told_twice")


async def test_an_answer_that_ends_early_says_so_where_rows_no_longer_come_in(enphase: Enphase) -> None:
    enphase.bodies = {"telemetry/battery": {"intervals": [stored(1, (1, 2), (1, 2), (50, 2))]}}
    young = await enphase.read(*BATTERIES, hours=2)
    assert young.warnings == ()
    enphase.now = START + timedelta(days=4)
    assert (await enphase.read(*BATTERIES, hours=2)).warnings == (f"Battery: {ENDS_EARLY}",)
    enphase.bodies = {
        "telemetry/battery": {"intervals": [stored(number, (1, 2), (1, 2), (50, 2)) for number in range(1, 9)]}
    }
    assert (await enphase.read(*BATTERIES, hours=2)).warnings == ()


async def test_a_night_without_sun_is_no_early_end(enphase: Enphase) -> None:
    enphase.bodies = {"telemetry/production_micro": {"intervals": rows("enwh", *[10] * 24, minutes=5)}}
    enphase.now = START + timedelta(days=9)
    assert (await enphase.read(*MICROS, hours=18)).warnings == ()
    assert (await enphase.read(*MICROS, hours=96)).warnings == (f"Inverters: {ENDS_EARLY}",)


async def test_days_that_end_early_say_so(enphase: Enphase) -> None:
    start = START - timedelta(hours=12)  # midnight in US/Pacific
    told = {"start_date": "2026-06-10", "charge": [5, 6, 0, 0], "discharge": [1, 2, 0, 0]}
    meta = {"status": "normal", "last_energy_at": int((start + timedelta(hours=36)).timestamp())}
    enphase.bodies = {"battery_lifetime": {**told, "meta": meta}}
    enphase.now = start + timedelta(days=9)
    span = {"start": start, "end": start + timedelta(days=4), "resolution": "day"}
    found = await enphase.read(*BATTERIES, **span)
    assert [row.quality for row in found.intervals] == ["measured", "partial"]
    assert found.warnings == (f"Battery: {ENDS_EARLY}",)
    enphase.now = start + timedelta(days=3)
    assert (await enphase.read(*BATTERIES, **span)).warnings == ()


async def test_rows_without_a_time_are_named_and_not_dropped_in_silence(enphase: Enphase) -> None:
    enphase.bodies = {"telemetry/production_meter": {"intervals": [*rows("wh_del", 10), {"wh_del": 20}]}}
    found = await enphase.read(SOLAR)
    assert [row.solar_wh for row in found.intervals] == [10]
    assert found.warnings == ("Production meter: Enphase sent rows without a time, which are left out",)


async def test_what_an_answer_says_about_the_system_is_a_warning(enphase: Enphase) -> None:
    enphase.bodies = {
        "telemetry/production_micro": {"intervals": rows("enwh", 1, 1, 1, minutes=5), "meta": {"status": "power"}}
    }
    found = await enphase.read(*MICROS)
    assert found.warnings == ("Enphase says about this system: something is wrong with the production",)
    enphase.bodies["telemetry/production_micro"] = {"intervals": [], "meta": {"status": "storage_idle"}}
    assert (await enphase.read(*MICROS)).warnings == ()


async def test_live_power_that_leaves_a_load_below_zero_is_unknown_with_a_warning(enphase: Enphase) -> None:
    charging = [power("b", 1290, device=n, operational_mode="Charging") for n in (8, 9)]
    meters = [power("production", 1714), power("consumption", 1843, device=2)]
    enphase.bodies = {"latest_telemetry": {"devices": {"meters": meters, "encharges": charging}}}
    found = await enphase.live(SOLAR, NET, *BATTERIES)
    assert found.live == Live(measured_at=START, solar_w=1714, battery_w=-2580, grid_w=129)
    assert NO_LOAD in found.warnings
    enphase.bodies = {
        "latest_telemetry": {"devices": {"meters": [power("production", 50), power("consumption", -900)]}}
    }
    found = await enphase.live(SOLAR, TOTAL)
    assert found.live == Live(measured_at=START, solar_w=50)  # what follows from that load is unknown too
    assert NO_LOAD in found.warnings


async def test_a_load_a_little_below_zero_is_noise(enphase: Enphase) -> None:
    meters = [power("production", 3000), power("consumption", 2950, device=2)]
    charging = [power("b", 1500, device=n, operational_mode="Charging") for n in (8, 9)]
    enphase.bodies = {"latest_telemetry": {"devices": {"meters": meters, "encharges": charging}}}
    found = await enphase.live(SOLAR, NET, *BATTERIES)
    assert found.live is not None
    assert (found.live.load_w, found.live.grid_w) == (0, -50)
    assert NO_LOAD not in found.warnings


@pytest.mark.parametrize(
    "second",
    [
        [power("production", None, device=3, age_s=None)],
        [power("production", None, device=3)],
        [power("production", 200, device=3, age_s=7200)],
        [power("production", None, device=1, age_s=600) | {"channel": 2}],
        [],
    ],
)
async def test_live_power_of_several_meters_is_unknown_when_one_is_silent_or_old(
    enphase: Enphase, second: list[Any]
) -> None:
    meters = [power("production", 500), *second, power("consumption", 800, device=2)]
    enphase.bodies = {
        "latest_telemetry": {"devices": {"meters": meters}},
        "summary": {"current_power": 500, "last_interval_end_at": int(START.timestamp())},
    }
    live = (await enphase.live(SOLAR, SOLAR_2, NET)).live
    assert live is not None
    assert (live.solar_w, live.grid_w, live.load_w) == (None, None, None)


async def test_phases_without_a_ct_are_no_silent_part(enphase: Enphase) -> None:
    unused = [power("production", None, age_s=None) | {"channel": n} for n in (2, 3)]
    meters = [
        power("production", 500),
        *unused,
        power("production", 300, device=3),
        power("consumption", 900, device=2),
    ]
    enphase.bodies = {"latest_telemetry": {"devices": {"meters": meters}}}
    live = (await enphase.live(SOLAR, SOLAR_2, NET)).live
    assert live == Live(measured_at=START, solar_w=800, grid_w=100, load_w=900)


async def test_one_of_two_batteries_silent_leaves_their_power_unknown(enphase: Enphase) -> None:
    for silent in (power("b", None, device=9, age_s=None), power("b", 0, device=9, age_s=86400)):
        meters = [power("production", 500), power("consumption", 800, device=2)]
        enphase.bodies = {
            "latest_telemetry": {"devices": {"meters": meters, "encharges": [power("b", 10, device=8), silent]}}
        }
        live = (await enphase.live(SOLAR, NET, *BATTERIES)).live
        assert live == Live(measured_at=START, solar_w=500, grid_w=300)


async def test_a_production_meter_far_below_zero_is_the_wrong_way_round(enphase: Enphase) -> None:
    meters = [power("production", -3000), power("consumption", -2800, device=2)]
    enphase.bodies = {"latest_telemetry": {"devices": {"meters": meters}}}
    found = await enphase.live(SOLAR, NET)
    assert found.live == Live(measured_at=START, grid_w=200)
    assert any("wrong way round" in warning for warning in found.warnings)


DEVICES = {
    "micros": [
        {"serial_number": "m1", "status": "normal"},
        {"serial_number": "m2", "status": "micro"},
        {"serial_number": "m3", "status": "Error"},
    ],
    "meters": [
        {"serial_number": "1EIM1", "name": "production", "state": "enabled", "status": "meter_issue"},
        {"serial_number": "1EIM2", "name": "consumption", "config_type": "Net", "status": "disabled"},
    ],
    "encharges": [{"serial_number": "b1", "status": "encharge"}, {"serial_number": "b2", "status": "muted"}],
    "generators": [{"id": 8, "name": "Generator", "status": "on"}],
}


def told(enphase: Enphase, **system: object) -> dict[str, object]:
    """What fetch_site asks for, of either API."""
    entry = {"system_id": 1, "name": "Home", "timezone": None, "operational_at": 1_700_000_000, **system}
    page = {"systems": [entry], "total": 1}
    return {"": entry, "search/p": page, "devices": {"devices": DEVICES}, "summary": {}}


async def test_states_of_devices_are_kept(enphase: Enphase) -> None:
    enphase.bodies = told(enphase)
    site = await enphase.site()
    states = {device.vendor_id: (device.stale, bool(device.faults)) for device in site.devices}
    assert states == {
        "m1": (False, False),
        "m2": (True, True),
        "m3": (False, True),
        "1EIM1": (False, True),
        "b1": (True, True),
        "b2": (False, False),
    }
    assert [device.role for device in site.devices if device.kind is DeviceKind.METER] == [MeterRole.PRODUCTION]


async def test_state_of_the_system_and_a_running_generator_are_warnings(enphase: Enphase) -> None:
    enphase.bodies = told(enphase, status="comm")
    said, generator = (await enphase.site()).warnings
    assert said == "Enphase says about this system: the gateway does not report"
    assert "generator is running" in generator


async def test_no_zone_is_made_of_anything_but_a_zone(enphase: Enphase) -> None:
    enphase.bodies = told(enphase, start_date="2026-06-10T00:00:00-07:00", timezone="-07:00")
    assert (await enphase.site()).timezone is None


async def test_a_charge_without_one_battery_is_not_that_of_the_site() -> None:
    """Only where Monitoring v4 tells no aggregate are its rows looked at."""
    enphase = monitoring()
    enphase.bodies = {
        "latest_telemetry": {"devices": {"encharges": [power("b", 0, device=8), power("b", 0, device=9)]}},
        "telemetry/battery": {"total_devices": 2, "intervals": [stored(1, (0, 2), (0, 2), (30, 1))]},
    }
    live = (await enphase.live(*BATTERIES)).live
    assert live is not None
    assert live.soc_percent is None


async def test_nested_lists_of_two_meters_are_added_and_one_that_is_silent_is_missed() -> None:
    enphase = monitoring()
    enphase.bodies = {
        **enphase.grid([], rows("wh_exported", 0, 0)),
        "energy_import_telemetry": {"intervals": [rows("wh_imported", 10, 20), rows("wh_imported", 1)]},
    }
    found = (await enphase.read(NET)).intervals
    assert [(row.import_wh, row.rule) for row in found] == [(11, None), (20, PARTS_MISSING)]


async def test_nested_lists_that_follow_each_other_are_one() -> None:
    enphase = monitoring()
    both = rows("wh_imported", 10, 20, 30, 40)
    enphase.bodies = {
        **enphase.grid([], rows("wh_exported", 0, 0, 0, 0)),
        "energy_import_telemetry": {"intervals": [both[:2], both[2:]]},
    }
    found = (await enphase.read(NET)).intervals
    assert [(row.import_wh, row.quality) for row in found] == [(wh, "measured") for wh in (10, 20, 30, 40)]
    assert found[-1].end == START + 4 * QUARTER
