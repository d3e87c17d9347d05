"""Hand-written answers, as they arrive in bytes, to sites, readings and live power."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from enphase_answers import NET, SOLAR, TOTAL
from joinder import Device, DeviceKind, Live, MeterRole, Reading, Site
from joinder.energy import LOAD_BELOW_ZERO
from joinder.errors import UnexpectedPayload
from joinder.series import QUARTER, Days, Quarters
from joinder_enphase import intervals, mapping, shapes
from mangled import mangled
from payloads.enphase_sums import read

T0 = datetime(2026, 6, 1, 12, 0, tzinfo=UTC)
EPOCH = int(T0.timestamp())
STORE = Device(vendor_id="b", kind=DeviceKind.BATTERY)
MICRO = Device(vendor_id="m", kind=DeviceKind.INVERTER)


def home(*devices: Device) -> Site:
    return Site(vendor_id="1", name="Home", timezone="US/Pacific", devices=devices)


def rows(*found: object) -> shapes.Telemetry:
    return read({"intervals": list(found)}, shapes.Telemetry)


def quarters(series: intervals.Series, *found: object, hours: int = 1) -> tuple[Reading, ...]:
    into = Quarters(T0, T0 + timedelta(hours=hours))
    intervals.add_rows(into, series, rows(*found), home())
    return into.readings()


def test_site_names_its_devices_and_leaves_the_rest_out() -> None:
    lists = read(
        {
            "devices": {
                "micros": [{"id": 7, "serial_number": "m1", "model": "IQ7+", "product_name": None}, {"id": 8}, {}],
                "meters": [
                    {"id": 9, "serial_number": "gEIM1", "name": "production", "state": "enabled"},
                    {"id": 9, "serial_number": "gEIM2", "name": "consumption", "config_type": "Net"},
                    {"serial_number": "gEIM4", "name": "storage", "state": "disabled"},
                ],
                "encharges": [
                    {"serial_number": "e1", "part_number": "p", "last_report_at": 1, "active": "true"},
                    {"serial_number": "e1", "part_number": "p", "last_report_at": 2},
                ],
                "gateways": [{"serial_number": "g"}],
                "ev_chargers": [{"id": "", "serial_number": "ev"}],
                "iq_collars": [{"serial_number": "c"}],
            }
        },
        shapes.Devices,
    ).devices
    system = read({"system_id": 5, "name": "Casa", "timezone": "US/Pacific", "operational_at": 1e9}, shapes.System)
    site = mapping.site(system, lists, 10000.0)
    assert [device.vendor_id for device in site.devices] == ["m1", "8", "gEIM1", "gEIM2", "e1"]
    assert [device.role for device in site.devices if device.role] == [MeterRole.PRODUCTION, MeterRole.GRID]
    assert site.devices[-1].nameplate_wh == 10000.0
    assert site.operational_since == datetime(2001, 9, 9, 1, 46, 40, tzinfo=UTC)
    assert (site.vendor_id, site.name, site.timezone) == ("5", "Casa", "US/Pacific")


@pytest.mark.parametrize("name", [None, "", "Mars/Olympus", "../../etc/passwd", "US", "a\0b", "x" * 300])
def test_a_time_zone_that_is_none_stays_unknown(name: str | None) -> None:
    site = mapping.site(read({"system_id": "9", "timezone": name}, shapes.System), shapes.DeviceLists(), None)
    assert site.timezone is None
    assert (site.name, site.operational_since, site.devices) == ("Enphase system 9", None, ())


def test_batteries_of_one_model_share_the_capacity_and_others_do_not() -> None:
    for parts, each in ((("1", "1"), 5000.0), (("1", "2"), None)):
        first, second = (shapes.DeviceEntry(serial_number=f"s{n}", part_number=part) for n, part in enumerate(parts))
        lists = shapes.DeviceLists(encharges=[first], acbs=[second])
        site = mapping.site(shapes.System(system_id=1), lists, 10000.0)
        assert [device.nameplate_wh for device in site.devices] == [each, each]


def test_three_micro_rows_make_a_quarter_hour_and_fewer_a_partial_one() -> None:
    found = [{"end_at": EPOCH + 300 * n, "enwh": n, "powr": 12 * n} for n in (1, 2, 3, 4)]
    assert quarters(intervals.SOLAR_MICRO, *found) == (
        Reading(start=T0, end=T0 + QUARTER, solar_wh=6.0),
        Reading(start=T0 + QUARTER, end=T0 + 2 * QUARTER, solar_wh=4.0, quality="partial", rule="rows_missing"),
    )


def test_a_row_belongs_to_the_quarter_hour_that_it_ends() -> None:
    found = quarters(intervals.SOLAR_METER, {"end_at": EPOCH, "wh_del": 1}, {"end_at": EPOCH + 900, "wh_del": 2})
    assert found == (Reading(start=T0, end=T0 + QUARTER, solar_wh=2.0),)


def test_a_row_that_comes_twice_counts_once() -> None:
    row = {"end_at": EPOCH + 900, "wh_exported": 7}
    assert [one.export_wh for one in quarters(intervals.EXPORT, row, row)] == [7.0]


@pytest.mark.parametrize(("hours", "count"), [(23, 92), (25, 100)])
def test_days_of_92_and_100_quarter_hours(hours: int, count: int) -> None:
    found = [{"end_at": EPOCH + 900 * n, "wh_imported": n} for n in range(1, hours * 4 + 1)]
    readings = quarters(intervals.IMPORT, *found, hours=hours)
    assert len(readings) == count
    assert sum(reading.import_wh or 0 for reading in readings) == count * (count + 1) / 2


def test_nested_import_rows_and_battery_rows() -> None:
    assert quarters(intervals.IMPORT, [{"end_at": EPOCH + 900, "wh_imported": 40}])[0].import_wh == 40.0
    row = {"end_at": EPOCH + 900, "charge": {"enwh": 40}, "discharge": {"enwh": 0}, "soc": {"percent": 25.5}}
    (found,) = quarters(intervals.BATTERY, row)
    assert (found.charge_wh, found.discharge_wh, found.soc_percent) == (40.0, 0.0, 25.5)


@pytest.mark.parametrize(
    "row",
    [
        {},
        {"end_at": None, "wh_del": 3},
        {"end_at": EPOCH + 900},
        {"end_at": EPOCH + 900, "wh_del": None},
        {"end_at": EPOCH + 900, "wh_del": -1},
        {"end_at": EPOCH + 9000, "wh_del": 3},
        {"end_at": -EPOCH, "wh_del": 3},
        {"end_at": 1e11, "wh_del": 3},
        {"end_at": 0, "wh_del": 3},
        [],
    ],
)
def test_rows_that_say_nothing_make_nothing(row: object) -> None:
    assert quarters(intervals.SOLAR_METER, row) == ()


@pytest.mark.parametrize(
    "row",
    [
        {"charge": None, "discharge": None, "soc": None},
        {"charge": {}, "discharge": {"enwh": None}, "soc": {"percent": 140}},
        {"charge": {"enwh": -5}, "soc": {"percent": -1}},
    ],
)
def test_battery_rows_with_nulls_make_nothing(row: dict[str, object]) -> None:
    assert quarters(intervals.BATTERY, {"end_at": EPOCH + 900, **row}) == ()


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b"[]",
        b"{}",
        b'{"intervals": null}',
        b'{"intervals": [7]}',
        b'{"intervals": [{"end_at": "noon"}]}',
        b'{"intervals": [{"end_at": 900, "wh_del": []}]}',
        b'{"intervals": [{"end_at": 900, "wh_del": "inf"}]}',
        b'{"intervals": [{"end_at": "nan", "wh_del": 1}]}',
        b'{"intervals": [{"end_at": 900, "wh_del": 1e300}]}',
        b'{"intervals": [{"end_at": 900',
        b"<html>",
    ],
)
def test_other_shapes_are_unexpected_never_a_traceback(body: bytes) -> None:
    with pytest.raises(UnexpectedPayload):
        read(body, shapes.Telemetry)


def test_numbers_in_strings_are_read() -> None:
    (found,) = quarters(intervals.SOLAR_METER, {"end_at": str(EPOCH + 900), "wh_del": "12"})
    assert found.solar_wh == 12.0
    summary = read({"last_interval_end_at": str(EPOCH), "current_power": "12"}, shapes.Summary)
    assert mapping.solar_from_summary(summary, None) == Live(measured_at=T0, solar_w=12.0)


@pytest.mark.parametrize(
    ("devices", "battery", "load"),
    [
        ((NET,), {}, 100.0),
        ((NET, STORE), {"charge_wh": 30.0, "discharge_wh": 10.0}, 80.0),
        ((NET, STORE), {"charge_wh": 102.0, "discharge_wh": 0.0}, 0.0),
        ((NET, STORE), {"charge_wh": 130.0, "discharge_wh": 0.0}, None),
        ((NET, STORE), {"charge_wh": 30.0}, None),
        ((TOTAL, STORE), {}, 100.0),
    ],
)
def test_load_from_consumption(devices: tuple[Device, ...], battery: dict[str, float], load: float | None) -> None:
    reading = Reading(start=T0, end=T0 + QUARTER, **{"load_wh": 100.0, **battery})
    (found,) = intervals.loaded((reading,), home(*devices), None)
    assert found.load_wh == load
    assert (found.rule == LOAD_BELOW_ZERO) == (load is None and "discharge_wh" in battery)
    assert intervals.loaded((reading,), home(*devices), "1EIM2") == (reading,)


@pytest.mark.parametrize(
    ("devices", "expected"),
    [
        ((MICRO,), [intervals.SOLAR_MICRO]),
        ((MICRO, SOLAR), [intervals.SOLAR_METER]),
        ((MICRO, STORE), [intervals.SOLAR_MICRO, intervals.BATTERY]),
        ((SOLAR, NET), [intervals.SOLAR_METER, intervals.IMPORT, intervals.EXPORT, intervals.CONSUMPTION]),
        ((), []),
    ],
)
def test_only_what_the_site_has_is_asked_for(devices: tuple[Device, ...], expected: list[intervals.Series]) -> None:
    assert list(intervals.site_series(home(*devices))) == expected


def test_two_meters_of_a_role_have_no_series_of_their_own() -> None:
    other = Device(vendor_id="2EIM1", kind=DeviceKind.METER, role=MeterRole.PRODUCTION)
    assert intervals.device_series(home(SOLAR), SOLAR) == (intervals.SOLAR_METER,)
    assert intervals.device_series(home(SOLAR, other), SOLAR) == ()


def days(body: Mapping[str, object], zone: str = "US/Pacific") -> dict[date, tuple[float | None, str]]:
    where = ZoneInfo(zone)
    into = Days(where, datetime(2026, 3, 1, tzinfo=UTC), datetime(2026, 4, 1, tzinfo=UTC))
    lifetime = read({"start_date": "2026-03-06", **body}, shapes.Lifetime)
    intervals.add_days(into, intervals.EXPORT, lifetime, where)
    return {found.start.astimezone(where).date(): (found.export_wh, found.quality) for found in into.readings()}


def test_trailing_zeros_count_only_up_to_the_last_report() -> None:
    reported = datetime(2026, 3, 8, 20, tzinfo=UTC).timestamp()
    found = days({"export": [5, 0, 0, 0, 0], "meta": {"last_energy_at": reported}})
    assert found == {
        date(2026, 3, 6): (5.0, "measured"),
        date(2026, 3, 7): (0.0, "measured"),
        date(2026, 3, 8): (0.0, "partial"),
    }


def test_without_a_report_time_trailing_zeros_are_unknown() -> None:
    assert list(days({"export": [0, 5, 0, 0]})) == [date(2026, 3, 6), date(2026, 3, 7)]
    assert days({"export": [0, 0]}) == {}


@pytest.mark.parametrize(
    "body",
    [
        {"start_date": None},
        {"start_date": "soon"},
        {"start_date": "9999-12-31"},
        {"start_date": "0001-01-01"},
        {"export": None},
        {"export": [None]},
        {"export": [-1, 0]},
    ],
)
def test_days_without_a_start_or_values_are_none(body: dict[str, object]) -> None:
    assert days({"export": [1], **body}) == {}


def test_the_day_the_clock_changes_has_23_hours() -> None:
    lifetime = read({"start_date": "2026-03-08", "export": [7]}, shapes.Lifetime)
    start, where = datetime(2026, 3, 8, 8, tzinfo=UTC), ZoneInfo("US/Pacific")
    into = Days(where, start, start + timedelta(hours=23))
    intervals.add_days(into, intervals.EXPORT, lifetime, where)
    assert [found.end - found.start for found in into.readings()] == [timedelta(hours=23)]


def latest(meters: list[object], encharges: list[object] | None = None) -> shapes.Latest:
    return read({"devices": {"meters": meters, "encharges": encharges, "heat-pump": [], "evse": [{}]}}, shapes.Latest)


def at(name: str, power: float | None, age_s: int = 0, **members: object) -> dict[str, object]:
    stamp = EPOCH - age_s if power is not None else None
    return {"name": name, "power": power, "last_report_at": stamp, **members}


@pytest.mark.parametrize(
    ("mode", "power", "battery_w"),
    [
        ("Charging", 700, -700.0),
        ("Charging", -700, -700.0),
        ("Discharging", 700, 700.0),
        ("Discharging", -700, 700.0),
        ("Idle", -15, 15.0),
        ("Idle", 0, 0.0),
        (None, 700, -700.0),
    ],
)
@pytest.mark.parametrize("config", [NET, TOTAL])
def test_live_signs_and_balance(mode: str | None, power: float, battery_w: float, config: Device) -> None:
    site = home(SOLAR, config, STORE)
    meters = [at("production", 3000), at("production", None), at("consumption", 1200), at("consumption", None)]
    live = mapping.live(latest(meters, [at("battery", power, 60, operational_mode=mode)]), site)
    assert live is not None
    assert live.measured_at == T0
    assert (live.solar_w, live.battery_w) == (3000.0, battery_w)
    assert live.grid_w is not None
    assert live.load_w == live.solar_w + live.battery_w + live.grid_w
    assert live.grid_w == (-1800.0 if config is NET else 1200.0 - 3000.0 - battery_w)


def test_live_without_a_battery_balances_as_well() -> None:
    live = mapping.live(latest([at("production", 500), at("consumption", 800)]), home(SOLAR, NET))
    assert live == Live(measured_at=T0, solar_w=500.0, grid_w=300.0, load_w=800.0)


@pytest.mark.parametrize(
    "encharges",
    [
        [],
        [at("silent", None)],
        [at("one", 10), at("silent", None)],
        [at("old", 10, 3 * 86400, operational_mode="Charging")],
    ],
)
def test_an_unknown_battery_leaves_the_load_unknown(encharges: list[object]) -> None:
    live = mapping.live(latest([at("production", 500), at("consumption", 800)], encharges), home(SOLAR, NET, STORE))
    assert live == Live(measured_at=T0, solar_w=500.0, grid_w=300.0)


@pytest.mark.parametrize(("config", "grid_w", "load_w"), [(NET, 105.0, 105.0), (TOTAL, 100.0, 100.0)])
def test_what_inverters_draw_at_night_is_load(config: Device, grid_w: float, load_w: float) -> None:
    live = mapping.live(latest([at("production", -5), at("consumption", 100)]), home(SOLAR, config))
    assert live == Live(measured_at=T0, solar_w=0.0, grid_w=grid_w, load_w=load_w)


def test_a_battery_that_is_not_listed_leaves_the_sum_unknown() -> None:
    site = home(SOLAR, NET, STORE, Device(vendor_id="c", kind=DeviceKind.BATTERY))
    live = mapping.live(latest([at("production", 500), at("consumption", 800)], [at("one", 10)]), site)
    assert live is not None
    assert (live.battery_w, live.load_w) == (None, None)


def test_a_silent_site_has_no_live_power() -> None:
    assert mapping.live(latest([at("production", None)]), home(SOLAR)) is None
    assert mapping.live(read({"devices": {}}, shapes.Latest), home(SOLAR)) is None


def test_summary_fills_in_production_of_the_same_half_hour_only() -> None:
    fresh = shapes.Summary(current_power=900.0, last_interval_end_at=EPOCH - 300)
    old = shapes.Summary(current_power=900.0, last_interval_end_at=EPOCH - 9000)
    partly = Live(measured_at=T0, load_w=400.0)
    assert mapping.solar_from_summary(fresh, None) == Live(measured_at=T0 - timedelta(minutes=5), solar_w=900.0)
    assert mapping.solar_from_summary(fresh, partly) == Live(measured_at=T0, load_w=400.0, solar_w=900.0)
    assert mapping.solar_from_summary(old, partly) == partly
    assert mapping.solar_from_summary(shapes.Summary(current_power=900.0), None) is None
    assert mapping.solar_from_summary(shapes.Summary(current_power=-1.0, last_interval_end_at=EPOCH), None) is None


@pytest.mark.parametrize(
    ("body", "percent"),
    [
        ({"intervals": [], "last_reported_aggregate_soc": "97%"}, 97.0),
        ({"intervals": [], "last_reported_aggregate_soc": " 0 % "}, 0.0),
        ({"intervals": [], "last_reported_aggregate_soc": "N/A"}, None),
        ({"intervals": [], "last_reported_aggregate_soc": "150%"}, None),
        ({"intervals": []}, None),
        ({"intervals": [{"end_at": 2, "soc": {"percent": 40}}, {"end_at": 1, "soc": {"percent": 30}}]}, 40.0),
        ({"intervals": [{"end_at": 2, "soc": {"percent": None}}, {"end_at": 1, "soc": {"percent": 30}}]}, 30.0),
    ],
)
def test_state_of_charge(body: object, percent: float | None) -> None:
    assert mapping.state_of_charge(read(body, shapes.Telemetry)) == percent


BODIES: dict[type, dict[str, object]] = {
    shapes.SystemPage: {"total": 1, "systems": [{"system_id": 1, "name": "x", "timezone": "UTC", "operational_at": 9}]},
    shapes.Devices: {
        "devices": {
            "micros": [{"id": 1, "serial_number": "m", "product_name": "p", "last_report_at": 5}],
            "meters": [{"serial_number": "e", "name": "consumption", "state": "enabled", "config_type": "Net"}],
            "encharges": [{"serial_number": "b", "part_number": "p"}],
        }
    },
    shapes.Telemetry: {
        "intervals": [
            {"end_at": EPOCH + 900, "charge": {"enwh": 1}, "discharge": {"enwh": 2}, "soc": {"percent": 3}},
            [{"end_at": EPOCH + 1800, "charge": {"enwh": 1}}],
        ],
        "last_reported_aggregate_soc": "5%",
    },
    shapes.Lifetime: {
        "start_date": "2026-06-01",
        "charge": [1, 2],
        "discharge": [3],
        "meta": {"last_energy_at": EPOCH},
    },
    shapes.Latest: {
        "devices": {
            "meters": [{"name": "production", "power": 5, "last_report_at": EPOCH}],
            "encharges": [{"power": 5, "last_report_at": EPOCH, "operational_mode": "Idle"}],
        }
    },
    shapes.Summary: {"current_power": 5, "last_interval_end_at": EPOCH, "battery_capacity_wh": 5},
}


def use(body: object, into: type) -> None:
    decoded = read(body, into)
    site = home(NET, STORE)
    start, end = T0 - timedelta(days=9), T0 + timedelta(days=9)
    if isinstance(decoded, shapes.SystemPage):
        sites = [mapping.site(system, shapes.DeviceLists(), None) for system in decoded.systems]
        assert all(isinstance(site.name, str) and site.name for site in sites)
    elif isinstance(decoded, shapes.Devices):
        site = mapping.site(shapes.System(system_id=1), decoded.devices, 1.0)
        assert all(device.vendor_id for device in site.devices)
    elif isinstance(decoded, shapes.Telemetry):
        quarter_hours = Quarters(start, end)
        intervals.add_rows(quarter_hours, intervals.BATTERY, decoded, site)
        found = intervals.loaded(quarter_hours.readings(), site, None)
        assert not [reading for reading in found if 0 in (reading.charge_wh, reading.discharge_wh)]
        mapping.state_of_charge(decoded)
    elif isinstance(decoded, shapes.Lifetime):
        where = ZoneInfo("US/Pacific")
        whole_days = Days(where, start, end)
        intervals.add_days(whole_days, intervals.BATTERY, decoded, where)
        found = intervals.loaded(whole_days.readings(), site, None)
        assert not [reading for reading in found if 0 in (reading.charge_wh, reading.discharge_wh)]
    elif isinstance(decoded, shapes.Latest):
        live = mapping.live(decoded, site)
        assert live is None or 0 not in (live.battery_w, live.grid_w, live.load_w)  # -1 W of solar is 0
    else:
        assert isinstance(decoded, shapes.Summary)
        mapping.solar_from_summary(decoded, None)


@pytest.mark.parametrize("into", BODIES)
def test_one_wrong_place_is_never_a_traceback_nor_a_zero(into: type) -> None:
    unexpected = 0
    tried = mangled(BODIES[into])
    for body in tried:
        try:
            use(body, into)
        except UnexpectedPayload:
            unexpected += 1
    assert 0 < unexpected < len(tried)
