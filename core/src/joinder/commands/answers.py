"""What each command prints with --json: the REST API's answers, and those of our own where it has none."""

from __future__ import annotations

from dataclasses import dataclass

from msgspec import Struct

from joinder.api import schemas, webhook_schemas
from joinder.api.schemas import Wire
from joinder.services.admin import audit_proof


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


class FlowLink(Wire, kw_only=True):
    """Where to send owners."""

    url: str


class CredentialsQuota(schemas.Quotas, kw_only=True):
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


class Status(Wire, kw_only=True):
    """`mustAct`: enrollments by who must act."""

    enrollments: int
    paused: int
    must_act: dict[str, int]
    counts: list[FleetCount]
    endings: list[Ending]
    join_faults: list[JoinFault]
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


_INTERVALS = (schemas.SolarIntervals, schemas.BatteryIntervals, schemas.MeterIntervals)
_DEVICES = (schemas.SolarInverter, schemas.Battery, schemas.Meter)
ANSWERS: dict[str, Answer] = {
    "enrollments list": many(schemas.Enrollment),
    "enrollments show": one(schemas.Enrollment),
    "enrollments tokens": many(schemas.TokenInfo),
    "enrollments events": many(webhook_schemas.Event),
    "enrollments sites": many(schemas.Site),
    "enrollments refresh": many(schemas.Enrollment),
    "enrollments poll": many(schemas.Enrollment),
    "enrollments pause": many(schemas.Enrollment),
    "enrollments resume": many(schemas.Enrollment),
    "enrollments release": many(schemas.Enrollment),
    "enrollments reconnect": one(schemas.ReconnectLink),
    "enrollments owner-link": one(schemas.OwnerLink),
    "enrollments revoke": one(Ended),
    "flows create": one(schemas.JoinFlow),
    "flows list": many(schemas.JoinFlow),
    "flows show": one(schemas.JoinFlow),
    "flows link": one(FlowLink),
    "flows attempts": many(Attempt),
    "flows delete": one(Deleted),
    "credentials create": one(schemas.Credentials),
    "credentials list": many(schemas.Credentials),
    "credentials show": one(schemas.Credentials),
    "credentials test": one(schemas.ActionOutcome),
    "credentials rotate": one(schemas.Credentials),
    "credentials rename": one(schemas.Credentials),
    "credentials quota": many(CredentialsQuota),
    "credentials reveal": one(schemas.Credentials),
    "credentials actions": many(schemas.ActionInfo),
    "credentials act": one(schemas.ActionOutcome),
    "credentials delete": one(Deleted),
    "webhooks create": one(webhook_schemas.Webhook),
    "webhooks list": many(webhook_schemas.Webhook),
    "webhooks show": one(webhook_schemas.Webhook),
    "webhooks change": one(webhook_schemas.Webhook),
    "webhooks rotate": one(webhook_schemas.Webhook),
    "webhooks test": one(webhook_schemas.Delivery),
    "webhooks deliveries": many(webhook_schemas.Delivery),
    "webhooks replay": one(webhook_schemas.Delivery, webhook_schemas.Replayed),
    "webhooks delete": one(Deleted),
    "events list": many(webhook_schemas.Event),
    "audit list": many(Audit),
    "audit verify": one(AuditProof),
    "audit export": many(audit_proof.Line),
    "audit prune": one(Pruned),
    "backfills start": one(schemas.Backfill),
    "backfills list": many(schemas.Backfill),
    "backfills show": one(schemas.Backfill),
    "backfills cancel": one(schemas.Backfill),
    "sites list": many(schemas.Site),
    "sites show": one(schemas.Site),
    "sites live": one(schemas.Live),
    "sites intervals": one(*_INTERVALS),
    "sites coverage": one(schemas.Coverage),
    "devices list": many(*_DEVICES),
    "devices show": one(*_DEVICES),
    "devices intervals": one(*_INTERVALS),
    "readings recheck": one(Rechecked),
    "status": one(Status),
}
