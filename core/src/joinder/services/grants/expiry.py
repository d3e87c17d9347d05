"""Warns before a grant ends: one that nobody can renew (a gateway's token of a year), or whose renewals keep failing.

A row of `due` per enrollment says when to look next. A renewal does not move it: who looks reads the grant, and finds
that it is early.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from sqlalchemy.ext.asyncio import AsyncSession

from joinder.clock import now, to_epoch
from joinder.errors import Actor, UnknownVendor
from joinder.grants import Grant
from joinder.runtime.hub import Hub
from joinder.services.records import health
from joinder.services.work import leases
from joinder.store.enrollments import StoredEnrollment, StoredGrant
from joinder.store.tables import Due, Enrollment, GrantRow
from joinder.vendor import Refresh, Vendor

KIND = "expiry"
LEAD_S = int(timedelta(days=30).total_seconds())
AGAIN_S = 86400  # for a plugin that is not there now


@dataclass(frozen=True)
class HealthView:
    """What an enrollment's health says about a grant that ends."""

    reason: str | None
    actor: Actor
    next_step: str


def first_look(vendor: Vendor, grant: Grant, moment: datetime) -> int:
    """Returns when to look at a new grant's end first, in epoch seconds.

    That is 30 days before its end, or halfway when it lives shorter than 60 days or rotates; `leases.NEVER` without
    end.
    """
    ends = to_epoch(grant.refresh_expires_at if vendor.is_renewable else grant.expires_at)
    if ends is None:
        return leases.NEVER
    start = int(moment.timestamp())
    half_s = max(0, ends - start) // 2
    return start + half_s if vendor.refresh is Refresh.ROTATING else ends - min(LEAD_S, half_s)


async def look(hub: Hub, enrollment_id: str) -> None:
    """Warns if it is time, once for one grant, and says when to look next. One transaction: looking twice is harmless,
    so it needs no lease."""
    async with hub.store.write(enrollment_id) as session:
        due = await session.get(Due, (KIND, enrollment_id))
        enrollment = await session.get(Enrollment, enrollment_id)
        row = await session.get(GrantRow, enrollment_id)
        if due is None or enrollment is None or row is None or due.due_at > now():
            return
        try:
            due.due_at = _looked(session, hub.registry.vendor(enrollment.vendor), enrollment, row)
        except UnknownVendor:
            due.due_at = now() + AGAIN_S


def _looked(session: AsyncSession, vendor: Vendor, enrollment: Enrollment, row: GrantRow) -> int:
    ends = row.refresh_expires_at if vendor.is_renewable else row.expires_at
    if row.warned_at is not None and row.obtained_at > row.warned_at:
        row.warned_at = None  # renewed since
    if ends is None or ends <= now():
        return leases.NEVER
    early_until = row.obtained_at + (ends - row.obtained_at) // 2 if _rotates(vendor) else ends - LEAD_S
    if early_until > now():
        return early_until
    if row.warned_at is None:
        row.warned_at = now()
        health.write_event(
            session,
            enrollment,
            "enrollment.expiring",
            {"vendor": vendor.name, "expiresAt": _utc(ends), "reason": _reason(ends)},
        )
    return ends if _rotates(vendor) else leases.NEVER


def shown(enrollment: Enrollment | StoredEnrollment, row: GrantRow | StoredGrant) -> HealthView | None:
    """Returns what is shown in place of `ok` and `degraded` while the grant in hand has been warned of, else None."""
    ends = row.refresh_expires_at or row.expires_at
    if row.warned_at is None or ends is None or row.obtained_at > row.warned_at:
        return None
    kept = "the enrollment, its ids and history are kept."
    if enrollment.health in health.WELL:
        step = f"Send the owner through the join flow again before then; {kept}"
        return HealthView(_reason(ends), "owner", step)
    if enrollment.health == "degraded":
        step = f"Joinder keeps trying; from {_utc(ends)} on only the owner's new consent helps, and {kept}"
        return HealthView(enrollment.health_reason, "operator", step)
    return None


def _rotates(vendor: Vendor) -> bool:
    """Tells whether each renewal brings a new refresh token, with a life of its own."""
    return vendor.refresh is Refresh.ROTATING


def _reason(ends: int) -> str:
    return f"The owner's consent ends at {_utc(ends)}."


def _utc(at: int) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
