"""From hand-written answers to figures: sources, signs, faults of known firmwares, and bodies that are no answers."""

from __future__ import annotations

import pytest

from joinder import Counter, DeviceKind, MeterRole
from joinder_iq_gateway.info import version
from plugins.iqgateway.pages import AT, NET, NOW, PRODUCTION, STORAGE, TOTAL, ct, cts, info, meter, powers, read, site


async def test_production_and_net_make_the_load() -> None:
    found, asked = await read(cts(ct(PRODUCTION, 3000, 500, 7), ct(NET, -1800, 90, 40)))
    assert powers(found) == (3000, None, -1800, 1200)
    assert site(found) == Counter(at=NOW, solar_wh=500, import_wh=90, export_wh=40, load_wh=550)
    assert "/production.json" not in asked
    assert "/api/v1/production" not in asked
    assert found.warnings == ()


async def test_storage_ct_takes_charging_out_of_the_load() -> None:
    found, _ = await read(cts(ct(PRODUCTION, 8000, 500, 0), ct(NET, 900, 90, 40), ct(STORAGE, -7000, 10, 30)))
    assert powers(found) == (8000, -7000, 900, 1900)
    assert site(found).load_wh == 500 + 90 - 40 + 10 - 30
    assert (site(found).charge_wh, site(found).discharge_wh) == (30, 10)


async def test_battery_without_ct_leaves_consumed_energy_unknown() -> None:
    battery = {"serial_num": "b1", "encharge_capacity": 3500, "percentFull": 10, "communicating": True}
    pages = cts(ct(PRODUCTION, 300, 500, 0), ct(NET, 20, 90, 40)) | {
        "/ivp/ensemble/inventory": [{"grid_profile_name": "no type"}, {"type": "ENCHARGE", "devices": [battery]}],
        "/ivp/ensemble/power": {"devices:": [{"serial_num": "b1", "real_power_mw": 105000, "soc": 54}]},
    }
    found, _ = await read(pages)
    assert powers(found) == (300, 105, 20, 425)
    assert site(found).load_wh is None
    (unit,) = [device for device in found.devices if device.kind is DeviceKind.BATTERY]
    assert (unit.soc_percent, unit.nameplate_wh, unit.power_w) == (54, 3500, 105)
    assert found.live is not None
    assert found.live.soc_percent == 54
    del pages["/ivp/ensemble/power"]
    found, _ = await read(pages)
    assert powers(found) == (300, None, 20, None)


async def test_charge_is_weighed_by_capacity_and_unknown_with_any_part() -> None:
    units = [{"serial_num": "a", "encharge_capacity": 5000, "percentFull": 40}]
    for more, soc in (({"encharge_capacity": 10000, "percentFull": 70}, 60), ({"percentFull": 70}, None), ({}, None)):
        group = {"type": "ENCHARGE", "devices": [*units, {"serial_num": "b", **more}]}
        found, _ = await read({"/ivp/ensemble/inventory": [group]})
        assert (found.live and found.live.soc_percent) == soc


async def test_total_consumption_meter_alone_gives_power_but_no_import() -> None:
    found, _ = await read(cts(ct(PRODUCTION, 1000, 500, 0), ct(TOTAL, 1400, 800, 0)))
    assert powers(found) == (1000, None, 400, 1400)
    assert site(found) == Counter(at=NOW, solar_wh=500, load_wh=800)


@pytest.mark.parametrize(("power_w", "solar_w", "warned"), [(-8.8, 0, False), (-50, 0, False), (-800, None, True)])
async def test_small_negative_production_is_night_large_is_a_fault(
    power_w: float, solar_w: float | None, warned: bool
) -> None:
    found, _ = await read(cts(ct(PRODUCTION, power_w, 500, 1), ct(NET, 300, 90, 40)))
    assert powers(found)[0] == solar_w
    assert bool(found.warnings) == warned
    assert powers(found)[3] == (None if solar_w is None else 300)


async def test_meters_keep_their_sign_role_and_flags() -> None:
    pages = cts(ct(PRODUCTION, -4, 500, 1), ct(NET, -20, 90, 40))
    pages["/ivp/meters"] = [
        meter(PRODUCTION, flags=("negative-production",)) | {"meteringStatus": "check-wiring"},
        meter(NET),
        meter(5),
        meter(STORAGE, state="disabled"),
    ]
    found, _ = await read(pages)
    meters = {device.role: device for device in found.devices if device.kind is DeviceKind.METER}
    assert set(meters) == {MeterRole.PRODUCTION, MeterRole.GRID, MeterRole.OTHER}
    assert meters[MeterRole.PRODUCTION].power_w == -4
    assert meters[MeterRole.PRODUCTION].faults == ("check wiring", "negative production")
    assert meters[MeterRole.OTHER].power_w is None


async def test_zeros_after_a_start_are_no_figures() -> None:
    found, _ = await read(cts(ct(PRODUCTION, 0, 0, 0), ct(NET, 0, 0, 0), ct(STORAGE, 0, 0, 0)))
    assert found.live is None
    assert found.counters == ()


async def test_registers_at_zero_beside_power_are_unknown() -> None:
    found, _ = await read(cts(ct(PRODUCTION, 900, 0, 0), ct(NET, 300, 50, 0)))
    assert powers(found)[0] == 900
    assert site(found) == Counter(at=NOW, import_wh=50, export_wh=0)


async def test_storage_reading_that_lost_a_phase_is_dropped() -> None:
    dead, alive = {"actEnergyDlvd": 0, "actEnergyRcvd": 0}, {"actEnergyDlvd": 10, "actEnergyRcvd": 30}
    pages = cts(ct(PRODUCTION, 8000, 500, 0), ct(NET, 900, 90, 40))
    pages["/ivp/meters"] = [meter(PRODUCTION), meter(NET), meter(STORAGE, phases=2)]
    whole = pages["/ivp/meters/readings"]
    assert isinstance(whole, list)
    for channels, battery_w in (((dead, alive), None), ((alive, alive), -7000), ((alive, dead), None)):
        pages["/ivp/meters/readings"] = [*whole, ct(STORAGE, -7000, 10, 30, channels)]
        found, _ = await read(pages)
        assert powers(found)[1] == battery_w
        assert (powers(found)[3] is None) == (battery_w is None)


async def test_reading_without_a_meter_is_ignored() -> None:
    pages = cts(ct(PRODUCTION, 900, 500, 0))
    pages["/ivp/meters"] = [meter(PRODUCTION)]
    pages["/ivp/meters/readings"] = [ct(1023410688, 0, 0, 0), ct(PRODUCTION, 900, 500, 0)]
    found, _ = await read(pages)
    assert powers(found)[0] == 900
    assert len(found.devices) == 1


V1 = {"wattHoursToday": 10, "wattHoursSevenDays": 70, "wattHoursLifetime": 1583, "wattsNow": 4}
ZEROS = {"wattHoursToday": 0, "wattHoursSevenDays": 0, "wattHoursLifetime": 0, "wattsNow": 689}
SEGMENTS = {"production": [{"type": "inverters", "activeCount": 3, "readingTime": 0, "wNow": 750, "whLifetime": 9000}]}


async def test_box_without_meters_uses_v1() -> None:
    found, asked = await read({"/ivp/meters": [], "/api/v1/production": V1})
    assert (powers(found)[0], site(found).solar_wh) == (4, 1583)
    assert not {"/production.json", "/info", "/ivp/meters/readings"} & set(asked)


@pytest.mark.parametrize("meters", [[], [meter(PRODUCTION, state="disabled")]])
async def test_v1_of_zeros_falls_to_the_inverters_sum(meters: object) -> None:
    found, _ = await read({"/ivp/meters": meters, "/api/v1/production": ZEROS, "/production.json": SEGMENTS})
    assert (powers(found)[0], site(found).solar_wh) == (750, 9000)


@pytest.mark.parametrize(("software", "solar_wh"), [("D8.2.4264", 9000), ("D8.2.127", 1583)])
async def test_v1_stalls_on_metered_boxes_without_ct(software: str, solar_wh: float) -> None:
    disabled = [meter(PRODUCTION, state="disabled")]
    pages = {"/ivp/meters": disabled, "/api/v1/production": V1, "/production.json": SEGMENTS, "/info": info(software)}
    found, _ = await read(pages, firmware="8.2.127")  # of the day the owner joined
    assert site(found).solar_wh == solar_wh
    found, asked = await read(pages, firmware="8.2.4264")  # no firmware goes back
    assert (site(found).solar_wh, "/info" in asked) == (9000, False)


async def test_old_sum_over_inverters_is_no_power_now() -> None:
    for age, solar_w in ((900, 750), (4 * 3600, None)):
        old = {**SEGMENTS["production"][0], "readingTime": AT - age}
        found, _ = await read(
            {"/ivp/meters": [], "/api/v1/production": ZEROS, "/production.json": {"production": [old]}}
        )
        assert powers(found)[0] == solar_w
        assert site(found) == Counter(at=NOW, solar_wh=9000)
        assert found.warnings == ()


async def test_unknown_firmware_picks_no_source() -> None:
    disabled = [meter(PRODUCTION, state="disabled")]
    pages = {"/ivp/meters": disabled, "/api/v1/production": V1, "/production.json": SEGMENTS, "/info": b"<html>"}
    found, _ = await read(pages, firmware="7.6.175")
    assert found.counters == ()
    assert len(found.warnings) == 1


def eim(kind: str, watts: float, wh: float, active: int = 1) -> dict[str, object]:
    entry = {"type": "eim", "measurementType": kind, "activeCount": active}
    return {**entry, "readingTime": AT, "wNow": watts, "whLifetime": wh}


async def test_cts_without_the_meters_page() -> None:
    consumption = [eim("total-consumption", 1393, 800), eim("net-consumption", 1215, 300)]
    segments = {"production": [*SEGMENTS["production"], eim("production", 178, 500)], "consumption": consumption}
    found, _ = await read({"/production.json": segments, "/api/v1/production": V1})
    assert powers(found) == (178, None, 1215, 1393)
    assert site(found) == Counter(at=NOW, solar_wh=500, load_wh=800)


async def test_inactive_eim_is_noise() -> None:
    segments = {
        "production": [eim("production", 3.7, 1586, active=0)],
        "consumption": [eim("net-consumption", 9, 9, 0)],
    }
    found, _ = await read({"/production.json": segments, "/api/v1/production": V1})
    assert (powers(found)[0], site(found).solar_wh) == (4, 1583)
    assert powers(found)[2] is None


def pcu(serial: str, *, now: float | None = 16, end: int = AT - 300, **changes: object) -> dict[str, object]:
    last = {"endDate": end, "duration": 903, "joulesProduced": 14088}
    channel = {"watts": {"now": now, "max": 242}, "lastReading": last, "lifetime": {"joulesProduced": 7_200_000}}
    return {"devName": "pcu", "sn": serial, "active": True, "modGone": False, "channels": [channel], **changes}


async def test_inverters_of_device_data() -> None:
    retired = {"watts": {"now": 0, "max": 0}, "lastReading": {}, "lifetime": {}}
    table = {
        "1": pcu("a"),
        "2": pcu("b", end=AT - 3700, modGone=True),
        "3": pcu("c", active=False, channels=[retired]),
        "4": {"devName": "eim", "sn": "x", "active": True, "channels": [{"watts": {"now": 4294967292}}]},
        "5": pcu("d", channels=[]),
        "deviceCount": 5,
        "deviceDataLimit": 50,
        "note": ["anything"],
    }
    found, asked = await read({"/ivp/pdm/device_data": table})
    by_serial = {device.serial: device for device in found.devices}
    assert set(by_serial) == {"a", "b", "d"}
    assert (by_serial["a"].power_w, by_serial["a"].lifetime_wh, by_serial["a"].stale) == (16, 2000, False)
    assert by_serial["b"].stale
    assert by_serial["b"].faults
    assert (by_serial["d"].power_w, by_serial["d"].lifetime_wh, by_serial["d"].stale) == (None, None, True)
    assert {counter.device_id: counter.solar_wh for counter in found.counters} == {"a": 2000, "b": 2000}
    assert "/api/v1/production/inverters" not in asked


async def test_table_at_its_limit_is_not_used() -> None:
    table = {"1": pcu("a"), "deviceCount": 50, "deviceDataLimit": 50}
    reports = [
        {"serialNumber": "a", "lastReportDate": AT - 1700, "devType": 1, "lastReportWatts": 5, "maxReportWatts": 9},
        {"serialNumber": "b", "lastReportDate": AT - 1900, "devType": 1, "lastReportWatts": 5, "maxReportWatts": 9},
        {"serialNumber": "relay", "lastReportDate": AT, "devType": 12, "lastReportWatts": 0},
    ]
    pages: dict[str, object] = {"/ivp/pdm/device_data": table, "/api/v1/production/inverters": reports}
    found, _ = await read(pages, firmware="7.6.175")
    assert [(device.serial, device.stale) for device in found.devices] == [("a", False), ("b", True)]
    found, _ = await read(pages, firmware="8.3.5167")
    assert [(device.serial, device.stale) for device in found.devices] == [("a", False), ("b", False)]


async def test_ac_batteries_count_only_with_a_fresh_direction() -> None:
    report = {"serialNumber": "acb", "lastReportDate": AT, "devType": 11, "lastReportWatts": 4, "maxReportWatts": 9}
    pages = cts(ct(PRODUCTION, 300, 500, 0), ct(NET, 20, 90, 40)) | {"/api/v1/production/inverters": [report]}
    for age, battery_w in ((60, 260.0), (7200, None)):
        storage = {"type": "acb", "wNow": 260, "readingTime": AT - age, "percentFull": 25}
        found, _ = await read(pages | {"/production.json": {"storage": [storage]}})
        assert powers(found)[1] == battery_w
        assert (powers(found)[3] is None) == (battery_w is None)
        (unit,) = [device for device in found.devices if device.kind is DeviceKind.BATTERY]
        assert unit.power_w is None


async def test_ac_batteries_of_device_data_have_a_direction() -> None:
    last = {"endDate": AT, "duration": 900, "joulesProduced": 0, "joulesUsed": 9000, "SOC": 2}
    acb = {"devName": "acb", "sn": "acb", "active": True, "channels": [{"watts": {"now": 10}, "lastReading": last}]}
    table = {"1": pcu("a"), "2": acb, "deviceCount": 2}
    found, asked = await read({"/ivp/meters": [], "/api/v1/production": V1, "/ivp/pdm/device_data": table})
    assert powers(found)[1] == -10
    assert found.live is not None
    assert found.live.soc_percent == 2
    assert "/production.json" not in asked


PATHS = [
    "/ivp/meters",
    "/ivp/meters/readings",
    "/api/v1/production",
    "/api/v1/production/inverters",
    "/ivp/pdm/device_data",
    "/ivp/ensemble/inventory",
    "/ivp/ensemble/power",
    "/production.json",
]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b"[]",
        b"{}",
        b"[\n\n]",
        b"0",
        b'"x"',
        b"[null]",
        b'[{"eid":',
        b"<html>",
        b'{"error":"x"}',
        b"\xff\xfe",
    ],
)
async def test_bodies_without_figures_never_become_zeros(body: bytes) -> None:
    found, _ = await read(dict.fromkeys(PATHS, body))
    assert found.live is None
    assert found.counters == ()
    assert found.devices == ()


@pytest.mark.parametrize("body", [b"null", b'[{"eid":', b"<html>"])
@pytest.mark.parametrize("path", PATHS)
async def test_one_bad_body_never_takes_the_others(path: str, body: bytes) -> None:
    report = {"serialNumber": "a", "lastReportDate": AT, "devType": 1, "lastReportWatts": 5}
    battery = {"serial_num": "b1", "percentFull": 10}
    pages = cts(ct(PRODUCTION, 300, 500, 0), ct(NET, 20, 90, 40)) | {
        "/api/v1/production": V1,
        "/api/v1/production/inverters": [report],
        "/ivp/ensemble/inventory": [{"type": "ENCHARGE", "devices": [battery]}],
        "/ivp/ensemble/power": {"devices:": []},
    }
    whole, _ = await read(pages)
    found, asked = await read(pages | {path: body})
    assert len(found.warnings) == (path in asked)
    assert found.devices
    assert all(value in (None, was) for value, was in zip(powers(found), powers(whole), strict=True))


async def test_fields_that_are_missing_or_null_are_unknown() -> None:
    pages = {
        "/ivp/meters": [{"eid": PRODUCTION, "state": "enabled", "measurementType": "production"}, {"eid": 9}],
        "/ivp/meters/readings": [{"eid": PRODUCTION, "activePower": None, "actEnergyDlvd": 5, "actEnergyRcvd": None}],
        "/api/v1/production/inverters": [{"serialNumber": "a"}],
        "/ivp/ensemble/inventory": [{"type": "ENCHARGE", "devices": [{"serial_num": "b"}]}],
        "/ivp/ensemble/power": {"devices:": [{"serial_num": "b"}]},
    }
    found, _ = await read(pages)
    assert found.live is None
    assert site(found) == Counter(at=NOW, solar_wh=5)
    assert {device.power_w for device in found.devices} == {None}


async def test_impossible_times_are_unknown() -> None:
    pages = {"/api/v1/production/inverters": [{"serialNumber": "a", "lastReportDate": 10**17, "lastReportWatts": 5}]}
    found, _ = await read(pages)
    assert (found.devices[0].reported_at, found.devices[0].stale) == (None, True)


def test_versions_order_by_number() -> None:
    assert version("8.2.127") < version("8.2.4264") < version("8.3.5") < version("10.0")
    assert version("?") == (0,)
