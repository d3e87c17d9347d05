"""Enrollments, their health and tokens."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Literal, get_args

from msgspec import UNSET, UnsetType, field

from joinder.clean import clean_line
from joinder.errors import Actor, HealthState
from joinder.services.grants import expiry
from joinder.services.join.enrollments import Overview
from joinder.services.records.health import next_step
from joinder.services.records.notices import Notice
from joinder.store.enrollments import StoredGrant
from joinder.store.tables import GrantVersion
from joinder.wire.base import Body, Link, ListPage, Moment, Reference, Wire, one_of, references, utc, utc_text

EnrollmentStatus = Literal["applied", "pendingvendor", "enrolled", "rejected", "resubmitrequested", "unenrolled"]


class Lineage(Wire, kw_only=True):
    """Where the present token came from."""

    obtained_by: str
    obtained_at: Moment
    refresh_count: int

    @staticmethod
    def of(grant: StoredGrant) -> Lineage:
        return Lineage(
            obtained_by=grant.obtained_by, obtained_at=utc_text(grant.obtained_at), refresh_count=grant.refresh_count
        )


class TokenInfo(Wire, kw_only=True):
    """One of a grant's tokens, without the token."""

    version: int
    obtained_by: str
    obtained_at: Moment
    expires_at: Moment | None = None
    refresh_expires_at: Moment | None = None


class TokenList(Wire, kw_only=True):
    tokens: list[TokenInfo]

    @staticmethod
    def of(rows: Sequence[GrantVersion]) -> TokenList:
        return TokenList(
            tokens=[
                TokenInfo(
                    version=row.version,
                    obtained_by=row.obtained_by,
                    obtained_at=utc_text(row.obtained_at),
                    expires_at=utc(row.expires_at),
                    refresh_expires_at=utc(row.refresh_expires_at),
                )
                for row in rows
            ]
        )


class Health(Wire, kw_only=True):
    state: Annotated[str, one_of(get_args(HealthState))]
    since: Moment
    reason: str | None = None
    actor: Annotated[str, one_of(get_args(Actor))] | None = None
    next_step: str | None = None
    reconnect_url: Link | None = field(name="reconnectURL", default=None)
    last_success_at: Moment | None = None
    last_attempt_at: Moment | None = None
    expires_at: Moment | None = None
    paused_since: Moment | None = None
    lineage: Lineage | None = None


class EnrollmentWarning(Wire, kw_only=True):
    """A doubt about the vendor's answers: what was refused by `rule`, or the plugin's own word; true `count` times."""

    text: str
    rule: str | None = None
    site_id: str | None = None
    count: int
    since: Moment
    last_at: Moment

    @staticmethod
    def of(notice: Notice) -> EnrollmentWarning:
        return EnrollmentWarning(
            text=clean_line(notice.text),
            rule=notice.rule,
            site_id=notice.site_id,
            count=notice.count,
            since=utc_text(notice.since),
            last_at=utc_text(notice.last_at),
        )


class Enrollment(Wire, kw_only=True):
    """`reference` is the caller's own word for it, `state` that of its last join with one. `sitesRead`: how
    many of its sites were read at least once; the others are known by id only. `warnings`, of the last week and the
    newest first, are shown with one enrollment, not in lists."""

    id: str
    vendor: str
    flow_id: str | None = None
    program_id: str | None = None
    reference: str | None = None
    state: str | None = None
    status: Annotated[str, one_of(get_args(EnrollmentStatus))]
    status_reason: str | None = None
    additional_info: dict[str, str] | None = None
    sites: list[Reference]
    sites_read: int
    health: Health
    created_at: Moment
    warnings: list[EnrollmentWarning] | None = None

    @staticmethod
    def of(
        overview: Overview, warnings: Sequence[Notice] | None = None, info: Mapping[str, str] | None = None
    ) -> Enrollment:
        row, grant = overview.row, overview.grant
        shown = expiry.shown(row, grant) if grant else None
        return Enrollment(
            id=row.id,
            vendor=row.vendor,
            flow_id=row.flow_id,
            program_id=row.program_id,
            reference=row.reference,
            state=row.client_state,
            status=row.status,
            status_reason=row.status_reason,
            additional_info=dict(info) if info is not None else None,
            sites=references(overview.site_ids),
            sites_read=overview.sites_read,
            health=Health(
                state=row.health,
                since=utc_text(row.health_since),
                reason=shown.reason if shown else row.health_reason,
                actor=shown.actor if shown else row.health_actor,
                next_step=shown.next_step if shown else next_step(row.health, row.status, row.health_actor),
                reconnect_url=overview.reconnect_url,
                last_success_at=utc(row.last_success_at),
                last_attempt_at=utc(row.last_attempt_at),
                expires_at=utc(grant.expires_at) if grant else None,
                paused_since=utc(row.paused_at),
                lineage=Lineage.of(grant) if grant else None,
            ),
            created_at=utc_text(row.created_at),
            warnings=None if warnings is None else [EnrollmentWarning.of(one) for one in warnings],
        )


class EnrollmentPatch(Body, kw_only=True):
    """A member left out stays; `reference: null` removes it."""

    reference: str | UnsetType | None = UNSET


class Reconnect(Body, kw_only=True):
    redirect_uri: str | None = None


class ReconnectLink(Wire, kw_only=True):
    """Where to send the owner; it works for 30 days."""

    url: Link


class OwnerLink(Wire, kw_only=True):
    """The owner's own page of a connection; it works for 400 days, and whoever has it is taken for the owner."""

    url: Link


class EnrollmentPage(ListPage, kw_only=True):
    enrollments: list[Enrollment]
