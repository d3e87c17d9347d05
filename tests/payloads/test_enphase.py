"""Every stored Enphase answer is read by the plugin's own structs and mapping, or named here with the reason why not.

Files: ../shared/payloads/enphase (see SOURCES.md there); the test skips where the folder is absent.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import pytest

from joinder import Device, DeviceKind, Live, MeterRole, Site
from joinder.energy import PARTS_MISSING
from joinder.errors import (
    AuthorizationLost,
    NotSupported,
    RateLimited,
    TransientError,
    UnexpectedPayload,
    VendorError,
)
from joinder.http import Answer
from joinder.token_answers import token_of
from joinder_enphase import api, intervals, mapping, shapes
from payloads.enphase_sums import ALL_DAYS, HOME, INVERTER, checks_days, checks_rows, read, readings, total
from support import shared

FOLDER = "payloads/enphase"
NOW = datetime.fromtimestamp(1623825680, UTC)

NOT_READ = {
    "production_meter_readings_real.json": "lifetime registers; intervals come from telemetry and cost no more calls",
    "token_jwt_claims_shape.json": "claim names only; the plugin reads no token",
    "spec_examples/monitoring_v4_swagger.json": "the document itself; its examples are read from the two other files",
}


def two_systems(content: bytes) -> None:
    page = read(content, shapes.SystemPage)
    sites = [mapping.site(system, shapes.DeviceLists(), None) for system in page.systems]
    assert page.total == 2
    assert [(site.vendor_id, site.name, site.timezone) for site in sites] == [
        ("2875", "Site 1", "US/Eastern"),
        ("5254", "Site 2", "US/Eastern"),
    ]
    assert sites[0].operational_since == datetime.fromtimestamp(1657080000, UTC)


def device_list(content: bytes) -> None:
    site = mapping.site(shapes.System(system_id=2875), read(content, shapes.Devices).devices, None)
    assert [(device.kind, device.model, device.role) for device in site.devices] == [
        (DeviceKind.INVERTER, "IQ7+", None),
        (DeviceKind.INVERTER, "IQ7+", None),
        (DeviceKind.METER, "IQ Gateway", MeterRole.PRODUCTION),
        (DeviceKind.BATTERY, "IQ Battery R3 - 5P", None),
        (DeviceKind.BATTERY, "ACB", None),
        (DeviceKind.BATTERY, "ACB", None),
    ]
    assert [series.title for series in intervals.site_series(site)] == ["Production meter", "Battery"]


def summary(content: bytes) -> None:
    live = mapping.solar_from_summary(read(content, shapes.Summary), None)
    assert live == Live(measured_at=datetime.fromtimestamp(1750073601, UTC), solar_w=1953.0)


def meter_rows(content: bytes) -> None:
    assert total(intervals.SOLAR_METER, read(content, shapes.Telemetry)) == {"quarters": 3, "solar_wh": 784.0}


def micro_rows(content: bytes) -> None:
    found = readings(intervals.SOLAR_MICRO, read(content, shapes.Telemetry))
    assert [(row.solar_wh, row.quality) for row in found] == [(147.0, "partial"), (139.0, "partial")]


def revenue_meter_rows(content: bytes) -> None:
    """rgm_stats is not asked for, and its rows are those of production_meter: three meters, then two, then one."""
    found = readings(intervals.SOLAR_METER, read(content, shapes.Telemetry))
    assert [(row.solar_wh, row.rule) for row in found] == [
        (0.0, None),
        (5.0, None),
        (21.0, PARTS_MISSING),
        (44.0, PARTS_MISSING),
        (97.0, PARTS_MISSING),
    ]


def revenue_meter_day(content: bytes) -> None:
    found = readings(intervals.SOLAR_METER, read(content, shapes.Telemetry))
    assert len(found) == 34
    assert {row.quality for row in found} == {"measured"}


def no_rows(content: bytes) -> None:
    assert readings(intervals.SOLAR_MICRO, read(content, shapes.Telemetry)) == ()


def token(content: bytes) -> None:
    """core reads it; enl_uid is what the plugin takes from the rest."""
    found = token_of(Answer(200, {}, content, "POST api.enphaseenergy.com/oauth/token"), NOW)
    assert found.extra["enl_uid"]
    assert found.expires_at is not None
    assert timedelta(hours=23) < found.expires_at - NOW <= timedelta(days=1)
    assert set(found.secrets()) == {"access_token", "refresh_token"}


READ: dict[str, Callable[[bytes], None]] = {
    "systems_list_two_us_cellular.json": two_systems,
    "devices_micros_meters_disabled_consumption.json": device_list,
    "rgm_stats_one_day_3_channels.json": revenue_meter_day,
    "rgm_stats_partial_reporting.json": revenue_meter_rows,
    "summary_pv_only_2025.json": summary,
    "telemetry_production_meter_3rows_no_meta.json": meter_rows,
    "telemetry_production_micro_3rows.json": micro_rows,
    "telemetry_production_micro_empty_before_sunrise_excerpt.json": no_rows,
    "token_response_docs_sample.json": token,
    "token_response_real_2025_redacted.json": token,
}
ELSEWHERE = {  # read by the two tests below, example by example
    "spec_examples/monitoring_v4_200_examples.json",
    "spec_examples/monitoring_v4_error_examples.json",
}


def test_every_file_is_read_or_named() -> None:
    folder = shared(FOLDER)
    stored = {str(path.relative_to(folder)) for path in folder.rglob("*.json")}
    assert stored == READ.keys() | NOT_READ.keys() | ELSEWHERE
    print(f"\nenphase payload files: {len(stored)}, read {len(READ) + len(ELSEWHERE)}, not read {len(NOT_READ)}")


@pytest.mark.parametrize("name", READ)
def test_stored_answer(name: str) -> None:
    READ[name](shared(f"{FOLDER}/{name}").read_bytes())


def example_site(body: object) -> None:
    site = mapping.site(read(body, shapes.System), shapes.DeviceLists(), None)
    assert (site.vendor_id, site.name, site.timezone) == ("72", "Enphase System", "America/Los_Angeles")


def example_page(body: object) -> None:
    page = read(body, shapes.SystemPage)
    assert page.total == 28
    assert [system.timezone for system in page.systems] == ["Australia/Sydney", "US/Pacific"]


def example_devices(body: object) -> None:
    site = mapping.site(shapes.System(system_id=1), read(body, shapes.Devices).devices, 3360.0)
    roles = [device.role for device in site.devices if device.role]
    kinds = [device.kind for device in site.devices]
    assert roles == [MeterRole.PRODUCTION, MeterRole.GRID]
    assert (kinds.count(DeviceKind.INVERTER), kinds.count(DeviceKind.BATTERY)) == (2, 3)
    assert {device.nameplate_wh for device in site.devices} == {None}


def example_latest(body: object) -> None:
    """One of its two batteries was last heard four days before the meters: its power does not count."""
    devices = (
        Device(vendor_id="1", kind=DeviceKind.METER, role=MeterRole.GRID),
        Device(vendor_id="2", kind=DeviceKind.BATTERY),
    )
    live = mapping.live(read(body, shapes.Latest), Site(vendor_id="1", name="x", devices=devices))
    assert live == Live(measured_at=datetime.fromtimestamp(1701418500, UTC), solar_w=755.0, grid_w=12.0 - 755.0)


def example_summary(body: object) -> None:
    found = read(body, shapes.Summary)
    assert found.battery_capacity_wh == 3360.0
    live = mapping.solar_from_summary(found, None)
    assert live == Live(measured_at=datetime.fromtimestamp(1557400231, UTC), solar_w=0.0)


rows = partial(checks_rows, shapes.Telemetry)
PREFIX = "GET /api/v4/systems/{system_id}/"
# 1384122700 is 400 s into a quarter hour: its row lies in two of them, and two rows of 15 minutes in three
STORAGE_SUMS = {"quarters": 2, "charge_wh": 40, "discharge_wh": 0, "soc_percent": 50}
EXAMPLES: dict[str, Callable[[object], None]] = {
    "GET /api/v4/systems": example_page,
    "GET /api/v4/systems/{system_id}": example_site,
    PREFIX + "summary": example_summary,
    PREFIX + "devices": example_devices,
    PREFIX + "latest_telemetry": example_latest,
    PREFIX + "telemetry/production_micro": rows(intervals.SOLAR_MICRO, quarters=3, solar_wh=80),
    PREFIX + "telemetry/production_meter": rows(intervals.SOLAR_METER, quarters=3, solar_wh=80),
    PREFIX + "telemetry/consumption_meter": rows(intervals.CONSUMPTION, quarters=3, load_wh=80),
    PREFIX + "telemetry/battery": rows(intervals.BATTERY, **STORAGE_SUMS),
    PREFIX + "devices/encharges/{serial_no}/telemetry": rows(intervals.BATTERY, **STORAGE_SUMS),
    PREFIX + "devices/micros/{serial_no}/telemetry": rows(
        intervals.device_series(HOME, INVERTER)[0], quarters=2, solar_wh=80
    ),
    PREFIX + "energy_import_telemetry": rows(intervals.IMPORT, quarters=3, import_wh=80),
    PREFIX + "energy_export_telemetry": rows(intervals.EXPORT, quarters=3, export_wh=80),
    PREFIX + "energy_lifetime": checks_days(intervals.SOLAR_METER, *ALL_DAYS),
    PREFIX + "consumption_lifetime": checks_days(intervals.CONSUMPTION, *ALL_DAYS),
    PREFIX + "battery_lifetime": checks_days(intervals.BATTERY, *(2 * value for value in ALL_DAYS)),
    PREFIX + "energy_import_lifetime": checks_days(intervals.IMPORT, *ALL_DAYS),
    PREFIX + "energy_export_lifetime": checks_days(intervals.EXPORT, *ALL_DAYS),
}
EXAMPLES_NOT_READ = {
    "GET /api/v4/systems/retrieve_system_id": "the grant lists its systems",
    "GET /api/v4/systems/event_types": "faults are not read: no call is left for them on the free plan",
    "GET /api/v4/systems/inverters_summary_by_envoy_or_site": "one inverter's power; not in the plan of calls",
    PREFIX + "events": "faults are not read",
    PREFIX + "alarms": "faults are not read",
    PREFIX + "open_events": "faults are not read",
    PREFIX + "open_alarms": "faults are not read",
    PREFIX + "production_meter_readings": "lifetime registers",
    PREFIX + "consumption_meter_readings": "lifetime registers",
    PREFIX + "storage_meter_readings": "lifetime registers",
    PREFIX + "rgm_stats": "repeats production_meter, per channel",
    PREFIX + "devices/micros/telemetry": "inverters are read one by one, when somebody asks",
    PREFIX + "{serial_no}/evse_lifetime": "chargers are not devices of ours",
    PREFIX + "{serial_no}/evse_telemetry": "chargers are not devices of ours",
    PREFIX + "hp_lifetime": "heat pumps are not devices of ours",
    PREFIX + "hp_telemetry": "heat pumps are not devices of ours",
    "GET /api/v4/systems/config/{system_id}/battery_settings": "needs the Megawatt plan",
    "GET /api/v4/systems/config/{system_id}/storm_guard": "needs the Megawatt plan",
    "GET /api/v4/systems/config/{system_id}/grid_status": "needs the Megawatt plan",
    "GET /api/v4/systems/config/{system_id}/load_control": "needs the Megawatt plan",
}


def test_every_documented_example_is_read_or_named() -> None:
    examples = json.loads(shared(f"{FOLDER}/spec_examples/monitoring_v4_200_examples.json").read_bytes())
    assert examples.keys() == EXAMPLES.keys() | EXAMPLES_NOT_READ.keys()
    for name, check in EXAMPLES.items():
        check(examples[name]["body"])
    print(f"\nenphase documented answers: {len(examples)}, read {len(EXAMPLES)}, not read {len(EXAMPLES_NOT_READ)}")


ERRORS: dict[tuple[int, str], type[VendorError]] = {
    (401, "User is not authorized"): AuthorizationLost,
    (403, "Not authorized to access this resource"): NotSupported,
    (404, "System not found"): NotSupported,
    (404, "Envoy not found"): NotSupported,
    (404, "Event type not found"): NotSupported,
    (404, "Micro not found"): NotSupported,
    (404, "Encharge not found"): NotSupported,
    (405, "Method not allowed"): NotSupported,
    (501, "Not Implemented"): NotSupported,
    (422, "sorting parameter"): UnexpectedPayload,
    (422, "Provide envoy serial number"): UnexpectedPayload,
    (422, "start_time is required"): UnexpectedPayload,
    (422, "Failed to parse date"): UnexpectedPayload,
    (422, "Envoy serial number or Site id mandatory"): UnexpectedPayload,
    (422, "date range is invalid"): api.NoData,
    (422, "date is in the future"): api.NoData,
    (422, "Invalid date/time range"): api.NoData,
    (422, "has not reported yet"): api.NoData,
    (422, "System doesn't have encharges"): NotSupported,
    (429, "Usage limit exceeded"): RateLimited,
    (500, "unable to fetch data"): TransientError,
    (500, "Data is temporarily unavailable"): TransientError,
}


def test_every_documented_error_has_its_class() -> None:
    examples: list[dict[str, Any]] = json.loads(
        shared(f"{FOLDER}/spec_examples/monitoring_v4_error_examples.json").read_bytes()
    )
    used = set()
    for example in examples:
        text = json.dumps(example["body"])
        rows = [row for row in ERRORS if row[0] == example["status"] and row[1] in text]
        assert len(rows) == 1, text
        with pytest.raises(VendorError) as caught:
            api.check(Answer(example["status"], {}, text.encode(), "GET api.enphaseenergy.com/x"), NOW)
        assert type(caught.value) is ERRORS[rows[0]], text
        if isinstance(caught.value, RateLimited):
            stated = "period_end" in example["body"]
            assert caught.value.retry_after == timedelta(seconds=40 if stated else 60)
        used.add(rows[0])
    assert used == ERRORS.keys()
    print(f"\nenphase documented errors: {len(examples)}, rows of the table {len(ERRORS)}")
