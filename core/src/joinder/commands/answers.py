"""What each command prints with --json: the REST API's answers, and those of our own where it has none."""

from __future__ import annotations

from dataclasses import dataclass

from msgspec import Struct

from joinder.services.admin import audit_proof
from joinder.services.admin.enrollment_operations import SEVERAL
from joinder.wire.aggregates import Aggregates
from joinder.wire.backfills import Backfill
from joinder.wire.base import Wire
from joinder.wire.coverage import Coverage
from joinder.wire.credentials import ActionInfo, ActionOutcome, Credentials, Quotas
from joinder.wire.devices import Battery, Charger, Meter, SolarInverter
from joinder.wire.enrollments import Enrollment, OwnerLink, ReconnectLink, TokenInfo
from joinder.wire.events import Event
from joinder.wire.flows import JoinFlow
from joinder.wire.intervals import BatteryIntervals, ChargerIntervals, MeterIntervals, SolarIntervals
from joinder.wire.live import Live
from joinder.wire.programs import Program
from joinder.wire.sites import Site
from joinder.wire.webhooks import Delivery, Replayed, Webhook


class Attempt(Wire, kw_only=True):
    """An owner's way through a join flow, or through a reconnect link; `outcome`: joined, under way, unfinished.

    `code` and `text` say how it ended (docs/errors.md).
    """

    account_id: str
    flow_id: str
    vendor: str
    began_at: str
    expires_at: str
    tries: int
    outcome: str
    enrollment_id: str | None = None
    reconnects_id: str | None = None
    code: str | None = None
    text: str | None = None


class FlowFunnel(Wire, kw_only=True):
    """How far the owners of a flow came in the last 30 days; `refused`: code → how many (docs/errors.md)."""

    account_id: str
    flow_id: str
    started: int
    under_way: int
    consented: int
    connected: int
    left: int
    refused: dict[str, int]


class SetUp(Wire, kw_only=True):
    """What `init` made. The secret is shown once."""

    config: str
    account_id: str
    client_id: str
    client_secret: str
    flow_id: str | None = None


class FlowLink(Wire, kw_only=True):
    """Where to send owners."""

    url: str


class CredentialsQuota(Quotas, kw_only=True):
    """What one app may still call."""

    credentials_id: str
    vendor: str


class Audit(Wire, kw_only=True):
    """Who changed what. `reason` as the person gave it."""

    id: str
    account_id: str
    at: str
    actor: str
    action: str
    target: str
    reason: str | None = None
    result: str | None = None
    request_id: str | None = None


class AuditFinding(Wire, kw_only=True):
    """What does not hold of an account's chain, at entry `seq` where that is known."""

    account_id: str
    problem: str
    seq: int | None = None


class AuditProof(Wire, kw_only=True):
    """`older`: entries from before the chain, for which nobody vouches."""

    entries: int
    chains: int
    older: int
    findings: list[AuditFinding]


class Pruned(Wire, kw_only=True):
    account_id: str
    erased: int


class Deleted(Wire, kw_only=True):
    """What a deletion took away; REST answers 204 without a body."""

    deleted: str


class Ended(Deleted, kw_only=True):
    """`consent`: what becomes of it at the vendor, as the event `enrollment.revoked` says, or `requested`."""

    consent: str | None = None


class FleetCount(Wire, kw_only=True):
    """Enrollments of one vendor in one state of health; `paused` of them are paused."""

    vendor: str
    health: str
    actor: str
    count: int
    paused: int


class Ending(Wire, kw_only=True):
    enrollment_id: str
    vendor: str
    ends_at: str
    site: str | None = None


class Hours(Wire, kw_only=True):
    """24 counts each, the running hour last."""

    refreshed: list[int]
    polled: list[int]
    failed: list[int]


class JoinFault(Wire, kw_only=True):
    """Owners of the last day who could not join for a reason the operator can end."""

    vendor: str
    code: str
    text: str
    count: int
    last_at: str


class OpenBreaker(Wire, kw_only=True):
    """A hook that is not called now, or by one probe at a time; `state`: opened, half-opened."""

    vendor: str
    hook: str
    state: str
    since: str


class Status(Wire, kw_only=True):
    """`mustAct`: enrollments by who must act."""

    enrollments: int
    paused: int
    must_act: dict[str, int]
    counts: list[FleetCount]
    endings: list[Ending]
    join_faults: list[JoinFault]
    open_breakers: list[OpenBreaker]
    last_day: Hours


class RuleFound(Wire, kw_only=True):
    """What one rule of the gate found: values made unknown or doubted, and rows that went."""

    rule: str
    marked: int
    dropped: int


class VendorRechecked(Wire, kw_only=True):
    """`offsetZones`: sites whose days follow an offset, as nobody knows where they stand."""

    vendor: str
    sites: int
    rows: int
    marked: int
    dropped: int
    spans_to_fetch: int
    offset_zones: int
    rules: list[RuleFound]


class Rechecked(Wire, kw_only=True):
    """What is stored, judged by the rules of today; with `dryRun` nothing was written."""

    dry_run: bool
    backfills_started: int
    vendors: list[VendorRechecked]


@dataclass(frozen=True)
class Answer:
    """One of `types`, or with `many` an array of them."""

    types: tuple[type[Struct], ...]
    many: bool = False


def one(*types: type[Struct]) -> Answer:
    return Answer(types)


def many(*types: type[Struct]) -> Answer:
    return Answer(types, many=True)


_INTERVALS = (SolarIntervals, BatteryIntervals, MeterIntervals, ChargerIntervals)
_DEVICES = (SolarInverter, Battery, Meter, Charger)
ANSWERS: dict[str, Answer] = {
    "enrollments list": many(Enrollment),
    "enrollments show": one(Enrollment),
    "enrollments tokens": many(TokenInfo),
    "enrollments events": many(Event),
    "enrollments sites": many(Site),
    **{each.command: many(Enrollment) for each in SEVERAL},
    "enrollments label": one(Enrollment),
    "enrollments reconnect": one(ReconnectLink),
    "enrollments owner-link": one(OwnerLink),
    "enrollments revoke": one(Ended),
    "programs create": one(Program),
    "programs list": many(Program),
    "programs show": one(Program),
    "programs delete": one(Deleted),
    "enrollments decide": one(Enrollment),
    "flows create": one(JoinFlow),
    "flows list": many(JoinFlow),
    "flows show": one(JoinFlow),
    "flows link": one(FlowLink),
    "flows attempts": many(Attempt),
    "flows funnel": many(FlowFunnel),
    "flows delete": one(Deleted),
    "open": one(FlowLink),
    "credentials create": one(Credentials),
    "credentials list": many(Credentials),
    "credentials show": one(Credentials),
    "credentials test": one(ActionOutcome),
    "credentials rotate": one(Credentials),
    "credentials rename": one(Credentials),
    "credentials quota": many(CredentialsQuota),
    "credentials reveal": one(Credentials),
    "credentials actions": many(ActionInfo),
    "credentials act": one(ActionOutcome),
    "credentials delete": one(Deleted),
    "webhooks create": one(Webhook),
    "webhooks list": many(Webhook),
    "webhooks show": one(Webhook),
    "webhooks change": one(Webhook),
    "webhooks rotate": one(Webhook),
    "webhooks test": one(Delivery),
    "webhooks deliveries": many(Delivery),
    "webhooks replay": one(Delivery, Replayed),
    "webhooks delete": one(Deleted),
    "events list": many(Event),
    "audit list": many(Audit),
    "audit verify": one(AuditProof),
    "audit export": many(audit_proof.Line),
    "audit prune": one(Pruned),
    "backfills start": one(Backfill),
    "backfills list": many(Backfill),
    "backfills show": one(Backfill),
    "backfills cancel": one(Backfill),
    "sites list": many(Site),
    "sites show": one(Site),
    "sites live": one(Live),
    "sites intervals": one(*_INTERVALS),
    "sites coverage": one(Coverage),
    "sites totals": one(Aggregates),
    "devices list": many(*_DEVICES),
    "devices show": one(*_DEVICES),
    "devices intervals": one(*_INTERVALS),
    "readings recheck": one(Rechecked),
    "status": one(Status),
}
