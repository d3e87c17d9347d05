"""Every operation of the REST API has a command that does it, or a written reason why not."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from cli.test_json import group, leaves
from joinder.api.app import openapi_document
from joinder.services.admin.enrollment_operations import OPERATIONS

DATABASES = ("sqlite",)  # nothing here depends on the database

UNNAMED = {"pollEnrollment"}  # a caller of the API reads; nobody has to ask for a poll there
COMMANDS = {
    **{each.id: each.command for each in OPERATIONS if each.id not in UNNAMED},
    "cancelBackfill": "backfills cancel",
    "getBackfill": "backfills show",
    "listBackfills": "backfills list",
    "getBatteryIntervals": "devices intervals",
    "getBattery": "devices show",
    "listBatteries": "devices list",
    "createReconnectLink": "enrollments reconnect",
    "createOwnerLink": "enrollments owner-link",
    "updateEnrollment": "enrollments label",
    "getEnrollment": "enrollments show",
    "listEnrollmentTokens": "enrollments tokens",
    "listEnrollments": "enrollments list",
    "listEvents": "events list",
    "createProgram": "programs create",
    "listPrograms": "programs list",
    "getProgram": "programs show",
    "deleteProgram": "programs delete",
    "createEnrollmentEvent": "enrollments decide",
    "createJoinFlow": "flows create",
    "deleteJoinFlow": "flows delete",
    "getJoinFlow": "flows show",
    "listJoinFlows": "flows list",
    "getMeterIntervals": "devices intervals",
    "getMeter": "devices show",
    "listMeters": "devices list",
    "getChargerIntervals": "devices intervals",
    "getCharger": "devices show",
    "listChargers": "devices list",
    "listSites": "sites list",
    "getSiteBatteryIntervals": "sites intervals",
    "getSiteCoverage": "sites coverage",
    "getSiteLivePower": "sites live",
    "getSiteMeterIntervals": "sites intervals",
    "getSiteChargerIntervals": "sites intervals",
    "getAggregateIntervals": "sites totals",
    "getSite": "sites show",
    "getSiteSolarIntervals": "sites intervals",
    "getSolarInverterIntervals": "devices intervals",
    "getSolarInverter": "devices show",
    "listSolarInverters": "devices list",
    "createVendorCredentials": "credentials create",
    "listOperatorActions": "credentials actions",
    "runOperatorAction": "credentials act",
    "updateVendorCredentials": "credentials rotate",
    "getVendorCredentialsQuota": "credentials quota",
    "deleteVendorCredentials": "credentials delete",
    "getVendorCredentials": "credentials show",
    "listVendorCredentials": "credentials list",
    "listVendors": "vendors list",
    "createWebhook": "webhooks create",
    "listWebhooks": "webhooks list",
    "updateWebhook": "webhooks change",
    "listDeliveries": "webhooks deliveries",
    "replayDelivery": "webhooks replay",
    "deleteWebhook": "webhooks delete",
    "replayDeliveries": "webhooks replay",
    "rotateWebhookSecret": "webhooks rotate",
    "getWebhook": "webhooks show",
    "sendTestEvent": "webhooks test",
}
_VIRTUAL = ("Site", "SolarInverter", "Battery")
_OWNERS = "a page of the owner's; `flows link`, `enrollments reconnect` and `enrollments owner-link` lead to it"
_TOKENS = "a command opens the database itself and needs no access token"
_PROBES = "for load balancers; `doctor` looks deeper"
_HOMES = "a program under test makes its own homes; `sites`, `devices` and `enrollments` show and end them"
_ELSEWHERE = "refused for everybody: an operation of Derapi's client that Joinder does not do"
_CUSTOMERS = "an application comes from the customer, through the caller's own program"
NONE = {
    "submitEnrollment": _CUSTOMERS,
    "createEnrollmentApplication": _CUSTOMERS,
    "createVirtualEnrollment": _HOMES,
    "getSiteBatteryControl": _ELSEWHERE,
    "putSiteBatteryControl": _ELSEWHERE,
    "createJoinSession": _ELSEWHERE,
    "getJoinSessionToken": _ELSEWHERE,
    **{f"{act}Virtual{what}": _HOMES for act in ("create", "get", "delete") for what in _VIRTUAL},
    **{f"list{name}": _HOMES for name in ("VirtualSites", "VirtualSolarInverters", "VirtualBatteries")},
    "getLiveness": _PROBES,
    "getReadiness": _PROBES,
    "startJoin": _OWNERS,
    "startReconnect": _OWNERS,
    "showJoinForm": _OWNERS,
    "submitJoinForm": _OWNERS,
    "finishConsent": _OWNERS,
    "showConnection": _OWNERS,
    "askToEndConnection": _OWNERS,
    "endConnection": _OWNERS,
    "showReceipt": _OWNERS,
    "createBrowserKey": _TOKENS,
    "createAccessToken": _TOKENS,
    "revokeAccessToken": _TOKENS,
    "introspectAccessToken": _TOKENS,
    "getJwks": _TOKENS,
    "getAuthorizationServer": _TOKENS,
}


@pytest.fixture
def operations() -> set[str]:
    paths = openapi_document()["paths"]
    return {operation["operationId"] for path in paths.values() for operation in path.values()}


async def test_every_operation_has_a_command_or_a_reason(operations: set[str]) -> None:
    assert operations == set(COMMANDS) | set(NONE), "a line in COMMANDS, or the reason in NONE"
    assert set(COMMANDS).isdisjoint(NONE)


def test_every_command_named_is_there() -> None:
    assert set(COMMANDS.values()) <= {path for path, _ in leaves(group)}


def test_documentation_names_no_command_that_is_gone() -> None:
    """`joinder poll` and its like went into groups."""
    root = Path(__file__).parents[2]
    pages = [root / "README.md", *root.glob("docs/**/*.md"), *root.glob("plugins/*/README.md")]
    gone = ("joinder poll", "joinder backfill ", "joinder act ", "joinder quota")
    assert [(page.name, name) for page in pages for name in gone if name in page.read_text()] == []


def test_the_page_for_operators_names_every_command_of_the_groups_it_shows() -> None:
    page = (Path(__file__).parents[2] / "docs/operate.md").read_text()
    rows = page.partition("| group | what it does |")[2].partition("\n\n")[0].splitlines()[2:]
    lacking = []
    for names, told in (row.strip("| ").split(" | ", 1) for row in rows):
        words = set(re.findall(r"[\w-]+", " ".join(re.findall(r"`([^`]+)`", told))))
        for name in re.findall(r"`([^`]+)`", names):
            lacking += [path for path, _ in leaves(group) if path.split()[0] == name and path.split()[1] not in words]
    assert len(rows) > 5
    assert lacking == [], "name them in the table of docs/operate.md, By hand"


def test_what_is_done_to_an_enrollment_is_called_the_same_everywhere(operations: set[str]) -> None:
    assert {each.id for each in OPERATIONS} - UNNAMED <= operations, "give it a method in api/enrollments.py"
    assert len({each.key for each in OPERATIONS}) == len(OPERATIONS)
