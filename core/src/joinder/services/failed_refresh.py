"""What a failed exchange means for its grant, and when it is tried again."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from sqlalchemy.ext.asyncio import AsyncSession

from joinder.clock import now, utc_now
from joinder.errors import (
    AppCredentialsRejected,
    AuthorizationLost,
    OutcomeUnknown,
    TransientError,
    UnexpectedPayload,
    VendorError,
)
from joinder.services import burst_brake, health, leases, site_rights, vendor_credentials
from joinder.services.hub import Hub
from joinder.services.schedule import DEATH_PROOF_AFTER, after_failure
from joinder.store.tables import Enrollment, GrantRow

if TYPE_CHECKING:
    from joinder.services.refresh import Attempt

LATE_ANSWER_S = 5.0  # beyond the deadline, a late answer can no longer come


async def end(hub: Hub, attempt: Attempt, error: VendorError) -> None:
    """Writes it down, and gives the lease back, in one transaction."""
    async with hub.store.write(attempt.enrollment_id) as session:
        enrollment = await session.get(Enrollment, attempt.enrollment_id)
        grant = await session.get(GrantRow, attempt.enrollment_id)
        if enrollment is None or grant is None or grant.version != attempt.version:
            await leases.release(session, "refresh", attempt.enrollment_id, attempt.lease, None)
            return  # a newer consent has replaced this grant
        before = enrollment.health
        due_at = await _noted(hub, session, enrollment, grant, attempt, error)
        await leases.release(session, "refresh", attempt.enrollment_id, attempt.lease, due_at)
    if enrollment.health == "lost_in_flight" != before:
        hub.metrics.lost_in_flight(enrollment.vendor)
    await site_rights.hand_over(hub, enrollment.id)
    if enrollment.health == "suspected":
        await burst_brake.recall(hub, enrollment.vendor)


async def _noted(
    hub: Hub, session: AsyncSession, enrollment: Enrollment, grant: GrantRow, attempt: Attempt, error: VendorError
) -> int:
    """When it is due next."""
    if isinstance(error, OutcomeUnknown | UnexpectedPayload):  # the intent stays: this token may be spent
        health.failed(session, enrollment, error)
        late = timedelta(seconds=hub.settings.refresh_deadline_s + LATE_ANSWER_S)
        return after_failure(enrollment.failures, utc_now(), late, ends_at=grant.refresh_expires_at)
    grant.intent_id = grant.intent_at = None
    grant.intent_count = attempt.held.row.intent_count
    if isinstance(error, AuthorizationLost):
        return await _refused(session, enrollment, grant, attempt, error)
    health.failed(session, enrollment, error)
    if isinstance(error, AppCredentialsRejected) and enrollment.credentials_id:
        await vendor_credentials.reject(session, enrollment.credentials_id, error)
        return leases.NEVER
    retry_after = error.retry_after if isinstance(error, TransientError) else None
    return after_failure(enrollment.failures, utc_now(), retry_after, ends_at=grant.refresh_expires_at)


async def _refused(
    session: AsyncSession, enrollment: Enrollment, grant: GrantRow, attempt: Attempt, error: AuthorizationLost
) -> int:
    """Death needs proof (R8): a second refusal minutes after the first, and not one of many at once."""
    if attempt.follows_unknown:
        health.change(session, enrollment, "lost_in_flight", "The connection was cut while the token was renewed.")
        return leases.NEVER
    proof_at = (grant.refused_at or now()) + int(DEATH_PROOF_AFTER.total_seconds())
    if grant.refused_at is None:
        grant.refused_at = now()
        reason = "The vendor refused the token once; Joinder checks again in five minutes."
        health.change(session, enrollment, "degraded", reason)
    if now() < proof_at:
        return proof_at
    await session.flush()
    if await burst_brake.holds(session, enrollment.vendor, grant.suspected_at):
        grant.suspected_at = grant.suspected_at or now()
        health.change(session, enrollment, "suspected", burst_brake.REASON)
        return burst_brake.next_test()
    health.change(session, enrollment, "needs_consent", str(error))
    return leases.NEVER
