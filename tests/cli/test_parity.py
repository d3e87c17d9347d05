"""Every operation of the REST API has a command that does it, or a written reason why not."""

from __future__ import annotations

from pathlib import Path

import pytest

from cli.test_json import group, leaves
from joinder.api.app import create_app
from joinder.runtime.hub import open_hub
from joinder.settings import Settings
from joinder.vendors.registry import Registry

DATABASES = ("sqlite",)  # nothing here depends on the database

COMMANDS = {
    "BackfillsBackfillIdCancel": "backfills cancel",
    "BackfillsBackfillIdShow": "backfills show",
    "BackfillsListAll": "backfills list",
    "BatteriesDeviceIdIntervalsEnergy": "devices intervals",
    "BatteriesDeviceIdShow": "devices show",
    "BatteriesListAll": "devices list",
    "EnrollmentsEnrollmentIdBackfillStart": "backfills start",
    "EnrollmentsEnrollmentIdPausePause": "enrollments pause",
    "EnrollmentsEnrollmentIdReconnectReconnect": "enrollments reconnect",
    "EnrollmentsEnrollmentIdRefreshRenew": "enrollments refresh",
    "EnrollmentsEnrollmentIdReleaseRelease": "enrollments release",
    "EnrollmentsEnrollmentIdRemove": "enrollments revoke",
    "EnrollmentsEnrollmentIdResumeResume": "enrollments resume",
    "EnrollmentsEnrollmentIdShow": "enrollments show",
    "EnrollmentsEnrollmentIdTokensTokens": "enrollments tokens",
    "EnrollmentsListAll": "enrollments list",
    "EventsListAll": "events list",
    "JoinFlowsCreate": "flows create",
    "JoinFlowsFlowIdRemove": "flows delete",
    "JoinFlowsFlowIdShow": "flows show",
    "JoinFlowsListAll": "flows list",
    "MetersDeviceIdIntervalsEnergy": "devices intervals",
    "MetersDeviceIdShow": "devices show",
    "MetersListAll": "devices list",
    "SitesListAll": "sites list",
    "SitesSiteIdBatteryIntervalsBattery": "sites intervals",
    "SitesSiteIdCoverageCoverage": "sites coverage",
    "SitesSiteIdLiveLive": "sites live",
    "SitesSiteIdMeterIntervalsMeter": "sites intervals",
    "SitesSiteIdShow": "sites show",
    "SitesSiteIdSolarIntervalsSolar": "sites intervals",
    "SolarInvertersDeviceIdIntervalsProduction": "devices intervals",
    "SolarInvertersDeviceIdShow": "devices show",
    "SolarInvertersListAll": "devices list",
    "VendorCredentialsCreate": "credentials create",
    "VendorCredentialsCredentialsIdActionsActions": "credentials actions",
    "VendorCredentialsCredentialsIdActionsNameAct": "credentials act",
    "VendorCredentialsCredentialsIdChange": "credentials rotate",
    "VendorCredentialsCredentialsIdQuotaQuota": "credentials quota",
    "VendorCredentialsCredentialsIdRemove": "credentials delete",
    "VendorCredentialsCredentialsIdShow": "credentials show",
    "VendorCredentialsListAll": "credentials list",
    "VendorsListAll": "vendors",
    "WebhooksCreate": "webhooks create",
    "WebhooksListAll": "webhooks list",
    "WebhooksWebhookIdChange": "webhooks change",
    "WebhooksWebhookIdDeliveriesDeliveries": "webhooks deliveries",
    "WebhooksWebhookIdDeliveriesDeliveryIdReplayReplay": "webhooks replay",
    "WebhooksWebhookIdRemove": "webhooks delete",
    "WebhooksWebhookIdReplayReplaySince": "webhooks replay",
    "WebhooksWebhookIdRotateRotate": "webhooks rotate",
    "WebhooksWebhookIdShow": "webhooks show",
    "WebhooksWebhookIdTestSendTest": "webhooks test",
}
_OWNERS = "a page of the owner's way to consent; `flows link` and `enrollments reconnect` make the links to it"
_TOKENS = "a command opens the database itself and needs no access token"
_PROBES = "for load balancers; `doctor` looks deeper"
NONE = {
    "HealthLiveLive": _PROBES,
    "HealthReadyReady": _PROBES,
    "JoinFlowsFlowIdAuthorizeAuthorize": _OWNERS,
    "JoinReconnectReconnect": _OWNERS,
    "JoinSessionsTokenForm": _OWNERS,
    "JoinSessionsTokenSubmit": _OWNERS,
    "JoinVendorAuthGrantedGranted": _OWNERS,
    "Oauth2TokenToken": _TOKENS,
    "WellKnownJwksJsonJwks": _TOKENS,
    "WellKnownOauthAuthorizationServerMetadata": _TOKENS,
}


@pytest.fixture
async def operations(fresh_database: Settings) -> set[str]:
    async with open_hub(fresh_database, Registry()) as hub:
        paths = create_app(hub).openapi_schema.to_schema()["paths"]
    return {operation["operationId"] for path in paths.values() for operation in path.values()}


async def test_every_operation_has_a_command_or_a_reason(operations: set[str]) -> None:
    assert operations == set(COMMANDS) | set(NONE)
    assert set(COMMANDS).isdisjoint(NONE)


def test_every_command_named_is_there() -> None:
    assert set(COMMANDS.values()) <= {path for path, _ in leaves(group)}


def test_documentation_names_no_command_that_is_gone() -> None:
    """`joinder poll` and its like went into groups."""
    root = Path(__file__).parents[2]
    pages = [root / "README.md", *root.glob("docs/**/*.md"), *root.glob("plugins/*/README.md")]
    gone = ("joinder poll", "joinder backfill ", "joinder act ", "joinder quota")
    assert [(page.name, name) for page in pages for name in gone if name in page.read_text()] == []
