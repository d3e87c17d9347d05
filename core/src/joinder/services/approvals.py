"""Enrollments a vendor approves later: asked about from time to time, until it says yes or no.

The question is the plugin's `refresh` with a pending grant (grants.GrantState). Nothing is rotated by asking, so a
lost answer costs nothing: the question is asked again.
"""

from __future__ import annotations

import random
from datetime import datetime, timedelta

from sqlalchemy.ext.asyncio import AsyncSession

from joinder.clock import now, to_epoch, utc_now
from joinder.errors import AppCredentialsRejected, ApprovalPending, ApprovalRefused, TransientError, VendorError
from joinder.grants import Grant, GrantState
from joinder.services import expiry, health, leases, site_rights, vendor_credentials
from joinder.services.held import open_held
from joinder.services.hub import Hub
from joinder.services.refusals import NotFound
from joinder.services.schedule import after_failure, next_refresh
from joinder.services.sealed_grants import seal_grant
from joinder.store.tables import Enrollment, GrantRow

KIND = "approval"
LEASE_S = 120.0
SOONEST = timedelta(minutes=15)
LATEST = timedelta(hours=6)


async def ask(hub: Hub, enrollment_id: str) -> bool:
    """Asks the vendor now, unless another process does: False then. Raises NotFound, or the vendor's error."""
    async with hub.store.write(enrollment_id) as session:
        lease = await leases.take(session, KIND, enrollment_id, LEASE_S)
        if await session.get(Enrollment, enrollment_id) is None:
            raise NotFound
    if lease is None:
        return False
    due_at: int | None = None
    try:
        due_at = await _ask(hub, enrollment_id)
    except VendorError as error:
        due_at = await _failed(hub, enrollment_id, error)
        raise
    finally:
        async with hub.store.write(enrollment_id) as session:
            await leases.release(session, KIND, enrollment_id, lease, due_at)
    return True


async def _ask(hub: Hub, enrollment_id: str) -> int:
    held = await open_held(hub, enrollment_id)
    if held.grant.state is not GrantState.PENDING_APPROVAL:
        return leases.NEVER
    if held.row.app_rejected_at is not None:
        raise AppCredentialsRejected("The vendor refuses this app's credentials; they must be corrected first")
    try:
        answered = await hub.registry.refresh(held.row.vendor, held.ctx, held.grant)
    except ApprovalPending:
        answered = held.grant
    async with hub.store.write(enrollment_id) as session:
        due_at = await _save(hub, session, enrollment_id, held.row.version, answered)
    await site_rights.listed_by_renewal(hub, enrollment_id, answered.site_ids)
    return due_at


async def _save(hub: Hub, session: AsyncSession, enrollment_id: str, version: int, answered: Grant) -> int:
    """The vendor's answer, unless a newer consent has replaced the grant meanwhile. When to ask again."""
    enrollment, row = await _held(session, enrollment_id)
    if row.version != version:
        return now()
    approved = answered.state is GrantState.ACTIVE
    row.sealed = seal_grant(hub, enrollment.account_id, enrollment_id, answered)
    row.state = str(answered.state)
    row.expires_at, row.refresh_expires_at = to_epoch(answered.expires_at), to_epoch(answered.refresh_expires_at)
    row.version += 1
    enrollment.last_success_at = enrollment.last_attempt_at = now()
    enrollment.failures = 0
    if not approved:
        health.change(session, enrollment, "pending_approval", "The vendor has not approved this enrollment yet.")
        return next_question(enrollment.created_at, utc_now())
    enrollment.status = "enrolled"
    health.change(session, enrollment, await health.begun(session, enrollment.id))
    health.write_event(session, enrollment, "enrollment.approved", {"vendor": enrollment.vendor})
    vendor = hub.registry.vendor(enrollment.vendor)
    await leases.schedule(session, "refresh", enrollment_id, next_refresh(vendor, answered, utc_now()))
    await leases.schedule(session, "poll", enrollment_id, now())
    await leases.schedule(session, expiry.KIND, enrollment_id, expiry.first_look(vendor, answered, utc_now()))
    return leases.NEVER


async def _failed(hub: Hub, enrollment_id: str, error: VendorError) -> int:
    async with hub.store.write(enrollment_id) as session:
        enrollment = await session.get(Enrollment, enrollment_id)
        if enrollment is None:
            return leases.NEVER
        health.failed(session, enrollment, error)
        if isinstance(error, ApprovalRefused):
            enrollment.status = "rejected"
            health.write_event(session, enrollment, "enrollment.rejected", {"reason": str(error)})
            return leases.NEVER
        if isinstance(error, AppCredentialsRejected) and enrollment.credentials_id:
            await vendor_credentials.reject(session, enrollment.credentials_id, error)
        if error.health in ("needs_consent", "operator_action"):
            return leases.NEVER
        retry_after = error.retry_after if isinstance(error, TransientError) else None
        return after_failure(enrollment.failures, utc_now(), retry_after)


def next_question(pending_since: int, moment: datetime) -> int:
    """Epoch seconds: a quarter of the time it has been pending, between 15 minutes and 6 hours. Never given up."""
    age = moment - datetime.fromtimestamp(pending_since, moment.tzinfo)
    wait = min(max(age / 4, SOONEST), LATEST) * random.uniform(0.9, 1.1)  # noqa: S311 - spreading load
    return int((moment + wait).timestamp())


async def _held(session: AsyncSession, enrollment_id: str) -> tuple[Enrollment, GrantRow]:
    enrollment, row = await session.get(Enrollment, enrollment_id), await session.get(GrantRow, enrollment_id)
    if enrollment is None or row is None:
        raise NotFound
    return enrollment, row
