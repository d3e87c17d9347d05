"""The wire format: camelCase with upper-case ID and URI; kWh, kW, percent; the unknown is left out, never null."""

from __future__ import annotations

from typing import Any

from msgspec import UNSET, Struct, UnsetType, field

_UPPER = {"id": "ID", "uri": "URI", "utc": "UTC"}


def wire_name(name: str) -> str:
    """Converts `site_id` to `siteID`, `location_utc_offset` to `locationUTCOffset`, `charge_kwh` to `chargeKwh`."""
    head, *tail = name.split("_")
    return head + "".join(_UPPER.get(part, part.capitalize()) for part in tail)


class Wire(Struct, rename=wire_name, omit_defaults=True, kw_only=True):
    """Base of answers."""


class Body(Struct, rename=wire_name, forbid_unknown_fields=True, kw_only=True):
    """Base of request bodies: an unknown member is refused."""


class Reference(Wire, kw_only=True):
    id: str


# Vendor credentials


class NewCredentials(Body, kw_only=True):
    credentials: dict[str, Any]
    name: str | None = None


class CredentialsPatch(Body, kw_only=True):
    """A member left out stays; `name: null` removes the name."""

    name: str | UnsetType | None = UNSET
    credentials: dict[str, Any] | UnsetType = UNSET

    def given(self) -> dict[str, object]:
        members = {"name": self.name, "credentials": self.credentials}
        return {name: value for name, value in members.items() if value is not UNSET}


class Credentials(Wire, kw_only=True):
    """`credentials` holds vendor and type; the other members only when revealed. `name` is "" when there is none."""

    id: str
    name: str
    credentials: dict[str, str]


class CredentialsPage(Wire, kw_only=True):
    vendor_credentials: list[Credentials]
    next_page_token: str | None = None


class Quota(Wire, kw_only=True):
    """Calls of one window: `minute`, `day` or `month` of UTC. `used` counts what running processes have taken."""

    span: str
    limit: int
    used: int
    resets_at: str


class Quotas(Wire, kw_only=True):
    """`blockedUntil`: the vendor asked for a pause. A vendor without a declared limit has no `quotas`."""

    quotas: list[Quota]
    blocked_until: str | None = None


# Join flows


class FlowVendor(Body, omit_defaults=True, kw_only=True):
    vendor: str
    credentials_id: str | None = None
    options: dict[str, str] | None = None


class NewFlow(Body, kw_only=True):
    vendors: list[FlowVendor]
    redirect_uri: str
    skip_intro: bool = False
    skip_landing: bool = False


class JoinFlow(Wire, kw_only=True):
    """`skip_intro`, `skip_landing`: without our page before the vendor's, and after it; absent where they are shown."""

    id: str
    vendors: list[FlowVendor]
    redirect_uri: str = field(name="redirectURI")
    skip_intro: bool = False
    skip_landing: bool = False


class JoinFlowPage(Wire, kw_only=True):
    join_flows: list[JoinFlow]
    next_page_token: str | None = None


# Enrollments


class Lineage(Wire, kw_only=True):
    """Where the present token came from."""

    obtained_by: str
    obtained_at: str
    refresh_count: int


class TokenInfo(Wire, kw_only=True):
    """One of a grant's tokens, without the token."""

    version: int
    obtained_by: str
    obtained_at: str
    expires_at: str | None = None
    refresh_expires_at: str | None = None


class TokenList(Wire, kw_only=True):
    tokens: list[TokenInfo]


class Health(Wire, kw_only=True):
    state: str
    since: str
    reason: str | None = None
    actor: str | None = None
    next_step: str | None = None
    reconnect_url: str | None = field(name="reconnectURL", default=None)
    last_success_at: str | None = None
    last_attempt_at: str | None = None
    expires_at: str | None = None
    paused_since: str | None = None
    lineage: Lineage | None = None


class EnrollmentWarning(Wire, kw_only=True):
    """A doubt about the vendor's answers: what was refused by `rule`, or the plugin's own word; true `count` times."""

    text: str
    rule: str | None = None
    site_id: str | None = None
    count: int
    since: str
    last_at: str


class Enrollment(Wire, kw_only=True):
    """`sites_read`: how many of its sites were read at least once; the others are known by id only. `warnings`, of the
    last week and the newest first, are shown with one enrollment, not in lists."""

    id: str
    vendor: str
    flow_id: str | None = None
    program_id: str | None = None
    status: str
    sites: list[Reference]
    sites_read: int
    health: Health
    created_at: str
    warnings: list[EnrollmentWarning] | None = None


class Reconnect(Body, kw_only=True):
    redirect_uri: str | None = None


class ReconnectLink(Wire, kw_only=True):
    """Where to send the owner; it works for 30 days."""

    url: str


class OwnerLink(Wire, kw_only=True):
    """The owner's own page of a connection; it works for 400 days, and whoever has it is taken for the owner."""

    url: str


class EnrollmentPage(Wire, kw_only=True):
    enrollments: list[Enrollment]
    next_page_token: str | None = None


# Backfills


class NewBackfill(Body, kw_only=True):
    """ISO 8601 with offset. Without `start` everything the vendor keeps, without `end` up to now."""

    start: str | None = None
    end: str | None = None


class Backfill(Wire, kw_only=True):
    """`reason` says why it waits, or failed; `oldest_day`, not on lists, is the UTC day from which on all is there."""

    id: str
    enrollment_id: str
    status: str
    start: str | None = None
    end: str
    windows_total: int
    windows_done: int
    percent: float
    reason: str | None = None
    oldest_day: str | None = None
    created_at: str
    updated_at: str


class BackfillPage(Wire, kw_only=True):
    backfills: list[Backfill]
    next_page_token: str | None = None


# Sites and devices


class Location(Wire, kw_only=True):
    lat: float | None = None
    lon: float | None = None
    timezone: str | None = None
    current_utc_offset: float


class Bess(Wire, kw_only=True):
    nameplate_kwh: float | None = None
    mode: str | None = None
    state_of_charge_percent: float | None = None


class Site(Wire, kw_only=True):
    id: str
    vendor: str
    vendor_id: str
    name: str
    location_utc_offset: float
    location: Location | None = None
    timezone_by: str
    operational_since: str | None = None
    gone_since: str | None = None
    solar_inverters: list[Reference]
    batteries: list[Reference]
    meters: list[Reference]
    chargers: list[Reference]
    bess: Bess | None = None


class SitePage(Wire, kw_only=True):
    """`errors` names vendors some of whose enrollments have a problem."""

    sites: list[Reference]
    errors: dict[str, str]
    next_page_token: str | None = None


class ExpandedSitePage(Wire, kw_only=True):
    """With `expand=true`: whole sites, as stored."""

    sites: list[Site]
    errors: dict[str, str]
    next_page_token: str | None = None


class Production(Wire, kw_only=True):
    kwh: float
    start: str | None


class Device(Wire, kw_only=True):
    """`silentSince`: it tells nothing since then, though its site is read and others of its kind tell."""

    id: str
    vendor: str
    vendor_id: str
    reported_at: str
    silent_since: str | None = None
    model: str
    serial_number: str
    site_id: str
    name: str | None = None
    recent_errors: list[dict[str, str]] | None = None
    provenance: Provenance | None = None


class SolarInverter(Device, kw_only=True):
    lifetime_production: Production | None = None


class Battery(Device, kw_only=True):
    nameplate_kwh: float | None = None
    mode: str | None = None
    state_of_charge_percent: float | None = None


class Meter(Device, kw_only=True):
    role: str | None = None


class SolarInverterPage(Wire, kw_only=True):
    solar_inverters: list[Reference]
    errors: dict[str, str]
    next_page_token: str | None = None


class BatteryPage(Wire, kw_only=True):
    batteries: list[Reference]
    errors: dict[str, str]
    next_page_token: str | None = None


class MeterPage(Wire, kw_only=True):
    meters: list[Reference]
    errors: dict[str, str]
    next_page_token: str | None = None


# Readings


class Provenance(Wire, kw_only=True):
    """With `provenance=true`: what was called, what read it, when, and the rule that made it partial or estimated."""

    endpoints: list[str]
    plugin: str | None = None
    version: str | None = None
    fetched_at: str
    rule: str | None = None


class Missing(Wire, kw_only=True):
    """A span without an interval: not_read_yet, vendor_has_none, before_site, beyond_history, refused or future."""

    start: str
    end: str
    why: str


class SilentDevice(Wire, kw_only=True):
    """A device that partial intervals may lack, and since when; `name` is its own, with its serial number."""

    id: str
    name: str
    since: str


class CoverageSpan(Wire, kw_only=True):
    """`state`: told; told_nothing, asked `tries` times; or not_asked, between spans that were."""

    start: str
    end: str
    state: str
    fetched_at: str | None = None
    tries: int | None = None


class CoverageSeries(Wire, kw_only=True):
    """What was asked of one series, the newest span first. `kind`: site, solar, battery or meter; `id` is its id.
    `moreSpans`: how many older ones are left out."""

    id: str
    kind: str
    resolution: str
    spans: list[CoverageSpan]
    more_spans: int = 0


class Coverage(Wire, kw_only=True):
    """The ledger of a site: its own series at each resolution, and those of devices that were asked by themselves."""

    id: str
    series: list[CoverageSeries]


class SolarInterval(Wire, kw_only=True):
    kwh: float
    start: str
    end: str
    quality: str
    provenance: Provenance | None = None


class BatteryInterval(Wire, kw_only=True):
    charge_kwh: float
    discharge_kwh: float
    start: str
    end: str
    state_of_charge_percent: float | None = None
    quality: str
    provenance: Provenance | None = None


class MeterInterval(Wire, kw_only=True):
    import_kwh: float | None = None
    export_kwh: float | None = None
    consumption_kwh: float | None = None
    start: str
    end: str
    quality: str
    provenance: Provenance | None = None


class IntervalPage(Wire, kw_only=True):
    """`stale`: the vendor did not answer for all of it, so this is what was stored; `as_of` is when the oldest part of
    it was fetched. `complete`: every period of this page is there, and none lacks a part; `missing` says what is not
    there, at most a hundred spans, `more_missing` how many more there are. `silent_devices`: which devices a partial
    interval may lack, where that is known."""

    id: str
    summary_level: str
    complete: bool
    missing: list[Missing] = []
    more_missing: int = 0
    silent_devices: list[SilentDevice] = []
    stale: bool = False
    as_of: str | None = None
    next_page_token: str | None = None


class SolarIntervals(IntervalPage, kw_only=True):
    intervals: list[SolarInterval]


class BatteryIntervals(IntervalPage, kw_only=True):
    intervals: list[BatteryInterval]


class MeterIntervals(IntervalPage, kw_only=True):
    intervals: list[MeterInterval]


class Live(Wire, kw_only=True):
    """Power in kW, signs as in docs/api.md: into the home is positive; load = solar + battery + grid."""

    id: str
    solar_kw: float | None = None
    battery_kw: float | None = None
    grid_kw: float | None = None
    load_kw: float | None = None
    state_of_charge_percent: float | None = None
    measured_at: str
    fetched_at: str
    stale: bool
    provenance: Provenance | None = None


# Vendors


class FieldInfo(Wire, kw_only=True):
    name: str
    label: str
    secret: bool
    required: bool
    help: str | None = None


class ActionInfo(Wire, kw_only=True):
    """A step the operator takes at the vendor with this credential."""

    name: str
    label: str
    help: str | None = None
    fields: list[FieldInfo]


class ActionList(Wire, kw_only=True):
    actions: list[ActionInfo]


class ActionOutcome(Wire, kw_only=True):
    message: str


class CredentialTypeInfo(Wire, kw_only=True):
    type: str
    label: str
    flow: str
    fields: list[FieldInfo]


class VendorInfo(Wire, kw_only=True):
    name: str
    label: str
    docs_url: str = field(name="docsURL")
    flow: str
    distribution: str
    version: str
    credential_types: list[CredentialTypeInfo]
    consent_fields: list[FieldInfo]
    flow_fields: list[FieldInfo]
    capabilities: dict[str, str]
    limits: dict[str, int]
    breakers: dict[str, str] = field(default_factory=dict)
    callback_url: str | None = field(name="callbackURL", default=None)


class BrokenPlugin(Wire, kw_only=True):
    name: str
    distribution: str
    problem: str


class VendorList(Wire, kw_only=True):
    vendors: list[VendorInfo]
    broken: list[BrokenPlugin]
