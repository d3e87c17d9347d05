"""Every stored Grid Services answer is read by the plugin's own structs and mapping, or named with the reason why not.

Files: ../shared/payloads/enphase_vpp (see SOURCES.md there); the test skips where the folder is absent.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import pytest

from joinder import Device, DeviceKind, Live, MeterRole, Site
from joinder.errors import (
    AppCredentialsRejected,
    ApprovalRefused,
    ConsentInvalid,
    NotSupported,
    OperatorActionNeeded,
    TransientError,
    UnexpectedPayload,
    VendorError,
)
from joinder.http import Answer
from joinder.token_answers import token_of
from joinder_enphase import intervals as enphase_intervals
from joinder_enphase import mapping as enphase
from joinder_enphase import shapes
from joinder_enphase_vpp import api, enrolment, intervals, mapping, refusals
from payloads.enphase_sums import ALL_DAYS, HOME, INVERTER, checks_days, checks_rows, read
from support import shared

FOLDER = "payloads/enphase_vpp"
NOW = datetime(2026, 1, 1, tzinfo=UTC)
NO_DISPATCH = "dispatch: Joinder reads"
NO_PROGRAMS = "the operator sets the programme's id; its description is not shown"
REGISTERS = "lifetime registers; intervals come from telemetry and cost no more calls"

NOT_READ = {
    "event_detail_v1.json": NO_DISPATCH,
    "events_v2.json": NO_DISPATCH,
    "program.json": NO_PROGRAMS,
    "programs.json": NO_PROGRAMS,
    "storage_meter_readings.json": REGISTERS,
    "vpp_openapi_1.1.0.json": "the document itself; its examples are read from the other files",
    "vpp_request_examples.json": "bodies of dispatch and forecast calls; an application's form is in the document",
}


def examples(content: bytes) -> list[Any]:
    """A file's named examples of one answer."""
    return list(json.loads(content).values())


def applied(content: bytes) -> None:
    found = read(content, api.Application)
    assert (found.application_status, found.application_id, found.program_id, found.application_type) == (
        "Application_Submitted",
        10130,
        "test",
        "unenrollment",
    )


def applications(content: bytes) -> None:
    found = [read(entry, api.Application) for entry in json.loads(content)["applications"]]
    assert [(entry.application_id, entry.application_type) for entry in found] == [
        (10130, "enrollment"),
        (10157, "unenrollment"),
    ]
    assert {entry.application_status for entry in found} < set(enrolment._WAITING)


def sentences(content: bytes) -> None:
    said = json.loads(content)
    created = [name for name, text in said.items() if enrolment._CREATED.search(text)]
    approved = [name for name, text in said.items() if enrolment._APPROVED.search(text)]
    assert (created, approved) == (["ApplicationCreated"], ["ApprovalSuccess"])
    match = enrolment._CREATED.search(said["ApplicationCreated"])
    assert match
    assert match[1] == "12345"


def each(check: Callable[[object], None]) -> Callable[[bytes], None]:
    def check_all(content: bytes) -> None:
        for example in examples(content):
            check(example)

    return check_all


rows = partial(checks_rows, api.Telemetry)
# 1384122700 is 400 s into a quarter hour: its row of 15 minutes lies in two of them; rows of the other
# examples are 40 or 15 s apart, and so long
BATTERY_SUMS = {"quarters": 2, "charge_wh": 40, "discharge_wh": 0, "soc_percent": 50}


def battery(body: object) -> None:
    rows(enphase_intervals.BATTERY, **BATTERY_SUMS)(body)
    so_far = Live(measured_at=datetime.fromtimestamp(1496526300 + 600, UTC))
    assert mapping.with_charge(so_far, read(body, api.Telemetry)).soc_percent == 89.5


encharge = rows(enphase_intervals.BATTERY, quarters=2, charge_wh=0, discharge_wh=0, soc_percent=0)
imported = rows(intervals.IMPORT, quarters=1, import_wh=6)


def device_lists(body: object) -> None:
    site = enphase.site(shapes.System(system_id=1), read(body, shapes.Devices).devices, 3360.0)
    assert [(device.kind, device.serial, device.model, device.role) for device in site.devices] == [
        (DeviceKind.INVERTER, "902167438951", "M250", None),
        (DeviceKind.INVERTER, "902372021616", "M250", None),
        (DeviceKind.METER, "901553005272EIM1", "RGM", MeterRole.PRODUCTION),
        (DeviceKind.METER, "901553005272EIM2", "RGM", MeterRole.PRODUCTION),
        (DeviceKind.BATTERY, "121593621979", "IQ Battery R3 - 5P", None),
        (DeviceKind.BATTERY, "911364446952", "ACB", None),
        (DeviceKind.BATTERY, "911499228280", "ACB", None),
    ]
    assert {device.nameplate_wh for device in site.devices} == {None}  # two models share no capacity
    assert site.devices[0].reported_at == datetime.fromtimestamp(1508174262, UTC)


def latest(body: object) -> None:
    """production 3 · 10 W, consumption 2 · 20 W of a Net meter, one battery charging 20 W, one discharging 10 W."""
    devices = (
        Device(vendor_id="1", kind=DeviceKind.METER, role=MeterRole.GRID),
        Device(vendor_id="2", kind=DeviceKind.BATTERY),
        Device(vendor_id="3", kind=DeviceKind.BATTERY),
    )
    live = enphase.live(read(body, shapes.Latest), Site(vendor_id="1", name="x", devices=devices))
    assert live == Live(
        measured_at=datetime.fromtimestamp(1508174262, UTC),
        solar_w=30.0,
        battery_w=-10.0,
        grid_w=10.0,
        load_w=30.0,
    )


def summary(body: object) -> None:
    found = read(body, shapes.Summary)
    assert found.battery_capacity_wh == 3360.0
    live = enphase.solar_from_summary(found, None)
    assert live == Live(measured_at=datetime.fromtimestamp(1699574281, UTC), solar_w=0.0)


def systems(body: object) -> None:
    page = read(body, shapes.SystemPage)
    sites = [enphase.site(system, shapes.DeviceLists(), None) for system in page.systems]
    assert page.total == 28
    assert [(site.vendor_id, site.name, site.timezone) for site in sites] == [
        ("698910067", "Enphase System", "Australia/Sydney"),
        ("698906018", "Enphase Public System", "US/Pacific"),
    ]
    assert sites[0].operational_since == datetime.fromtimestamp(1497445200, UTC)


def machine_token(content: bytes) -> None:
    found = token_of(Answer(200, {}, content, "POST vpp.enphaseenergy.com/auth/oauth2/token"), NOW)
    assert found.access_token
    assert found.expires_at == NOW + timedelta(hours=1)


READ: dict[str, Callable[[bytes], None]] = {
    "application_submitted.json": applied,
    "applications_list.json": applications,
    "battery_telemetry.json": each(battery),
    "create_application_success_strings.json": sentences,
    "devices.json": each(device_lists),
    "encharge_telemetry.json": each(encharge),
    "import_telemetry.json": each(imported),
    "latest_telemetry.json": each(latest),
    "summary.json": each(summary),
    "systems_search_page.json": systems,
    "token_client_credentials.json": machine_token,
}
ELSEWHERE = {"vpp_200_examples.json", "vpp_error_examples.json"}  # read by the tests below, example by example


def test_every_file_is_read_or_named() -> None:
    folder = shared(FOLDER)
    stored = {str(path.relative_to(folder)) for path in folder.rglob("*.json")}
    assert stored == READ.keys() | NOT_READ.keys() | ELSEWHERE
    print(f"\nenphasevpp payload files: {len(stored)}, read {len(READ) + len(ELSEWHERE)}, not read {len(NOT_READ)}")


@pytest.mark.parametrize("name", READ)
def test_stored_answer(name: str) -> None:
    READ[name](shared(f"{FOLDER}/{name}").read_bytes())


PREFIX = "GET /api/v1/systems/{site_id}/"
MICRO = intervals.device_series(HOME, INVERTER.vendor_id)[0]
EXAMPLES: dict[str, Callable[[Any], None]] = {
    "GET /api/v1/applications": lambda body: applications(json.dumps(body).encode()),
    "GET /api/v1/applications/{site_id}": lambda body: applied(json.dumps(body).encode()),
    "GET /api/v1/systems/search/{program_id}": systems,
    "POST /auth/oauth2/token": lambda body: machine_token(json.dumps(body).encode()),
    PREFIX + "summary": summary,
    PREFIX + "devices": device_lists,
    PREFIX + "latest_telemetry": latest,
    PREFIX + "telemetry/production_micro": rows(intervals.SOLAR_MICRO, quarters=1, solar_wh=80),
    PREFIX + "telemetry/production_meter": rows(intervals.SOLAR_METER, quarters=1, solar_wh=80),
    PREFIX + "telemetry/consumption_meter": rows(intervals.LOAD, quarters=1, load_wh=80),
    PREFIX + "telemetry/battery": battery,
    PREFIX + "telemetry/import": imported,
    PREFIX + "telemetry/export": rows(intervals.EXPORT, quarters=1, export_wh=6),
    PREFIX + "devices/encharges/{serial_no}/telemetry": encharge,
    PREFIX + "devices/micros/{serial_no}/telemetry": rows(MICRO, quarters=2, solar_wh=80),
    PREFIX + "production_lifetime": checks_days(intervals.SOLAR_METER, *ALL_DAYS),
    PREFIX + "consumption_lifetime": checks_days(intervals.LOAD, *ALL_DAYS),
    PREFIX + "battery_lifetime": checks_days(enphase_intervals.BATTERY, *(2 * value for value in ALL_DAYS)),
    PREFIX + "import_lifetime": checks_days(intervals.IMPORT, *ALL_DAYS),
    PREFIX + "export_lifetime": checks_days(intervals.EXPORT, *ALL_DAYS),
}
STATED = "POST /api/v1/applications"  # its four sentences
EXAMPLES_NOT_READ = {  # a part of the operation's name → why
    "/vpps": NO_DISPATCH,
    "v1/events": NO_DISPATCH,
    "v2/events": NO_DISPATCH,
    "live_stream": "five-minute streams, registered gateway by gateway",
    "/settings": "settings are not read",
    "_settings": "settings are not read",
    "PUT /api/v1/applications": "an application is made once; corrections and withdrawals are Enphase's forms",
    "local_api_token": "of a gateway in the owner's network: the iq_gateway plugin reads those",
    "evse": "chargers are not devices of ours",
    "hp_": "heat pumps are not devices of ours",
    "/forecast": "forecasts are not readings",
    "_meter_readings": REGISTERS,
    "site_": "events and alarms are not read",
    "event_types": "events and alarms are not read",
    "/programs": NO_PROGRAMS,
}


def test_every_documented_example_is_read_or_named() -> None:
    found = json.loads(shared(f"{FOLDER}/vpp_200_examples.json").read_bytes())
    left = found.keys() - EXAMPLES.keys() - {STATED}
    rest = {name.replace("{site_id}", "").replace("{serial_no}", ""): name for name in left}
    unnamed = [name for name in rest if not any(part in name for part in EXAMPLES_NOT_READ)]
    assert unnamed == []
    count = 0
    for name, check in EXAMPLES.items():
        for example in found[name].values():
            check(example["body"])
            count += 1
    sentences(json.dumps({name: example["body"] for name, example in found[STATED].items()}).encode())
    print(
        f"\nenphasevpp documented calls: {len(found)}, read {len(EXAMPLES) + 1} ({count + 4} examples), not {len(left)}"
    )


ERRORS: tuple[tuple[int, str, type[VendorError]], ...] = (  # of the calls we make, and of every call
    (401, "Authorization is not provided or invalid", refusals.MachineTokenRefused),
    (401, "grant_type is not provided or invalid", refusals.MachineTokenRefused),
    (401, "You are not authorized for this access", OperatorActionNeeded),
    (401, "Home Owner access token", ConsentInvalid),
    (403, "Home Owner Access Token", ConsentInvalid),
    (403, '"message": "Forbidden"', AppCredentialsRejected),
    (403, "x-api-key is not", AppCredentialsRejected),
    (403, "No account found for specified Authorization", AppCredentialsRejected),
    (403, "Site is not enrolled in any program", refusals.NotEnrolled),
    (403, "There already exists an application", refusals.AlreadySubmitted),
    (400, "Site is already enrolled in program", refusals.AlreadyEnrolled),
    (400, "should match. Program", ApprovalRefused),
    (400, "Home owner or address details", ApprovalRefused),
    (400, "Site object not found", ApprovalRefused),
    (404, "No site found for", ApprovalRefused),
    (409, "Enrollment creation rejected", ApprovalRefused),
    (400, "Program feature flags not set", OperatorActionNeeded),
    (400, "not part of account", OperatorActionNeeded),
    (404, "salesforce", OperatorActionNeeded),
    (404, "Please provide valid Program ID", OperatorActionNeeded),
    (404, "There is no application found", refusals.NoApplication),
    (404, "Application not found with site_id", refusals.NoApplication),
    (404, "No Application available", refusals.NoApplication),
    (404, "No sites were found to be enrolled", refusals.NobodyEnrolled),
    (422, "before 2 years of current date", refusals.NoData),
    (422, "Server side error", TransientError),
    (422, "downstream server", TransientError),
)
OTHERWISE: dict[int, type[VendorError]] = {
    400: UnexpectedPayload,  # our request is wrong
    403: OperatorActionNeeded,  # the account or the programme lacks something
    404: NotSupported,
    422: UnexpectedPayload,
}


def test_every_documented_error_has_its_class() -> None:
    """Texts of calls we never make fall to their status; `errorRefNo` is kept for support, the text is not."""
    found = json.loads(shared(f"{FOLDER}/vpp_error_examples.json").read_bytes())
    used, classes = set(), Counter[str]()
    for example in found:
        body = example["body"]
        text = body if isinstance(body, str) else json.dumps(body, ensure_ascii=False)
        matching = [row for row in ERRORS if row[0] == example["status"] and row[1] in text]
        assert len(matching) <= 1, text
        expected = matching[0][2] if matching else OTHERWISE[example["status"]]
        for written in (text, re.sub(r"}$", ",}", text.strip())):  # the vendor prints a comma too many
            with pytest.raises(VendorError) as caught:
                refusals.check(Answer(example["status"], {}, written.encode(), "GET vpp.enphaseenergy.com/x"))
            assert type(caught.value) is expected, text
            reference = re.search(r"errorRefNo\W+(\w+)", text)
            assert caught.value.detail == str(example["status"]) + (f", errorRefNo {reference[1]}" if reference else "")
            said = "" if isinstance(body, str) else body.get("displayMessage") or body.get("message")
            assert not said or said not in str(caught.value)
        used |= set(matching)
        classes[expected.__name__] += 1
    assert used == set(ERRORS)
    assert sum(classes.values()) == 196
    print(f"\nenphasevpp documented errors: {len(found)}, by class {dict(classes)}")
