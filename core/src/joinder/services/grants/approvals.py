"""Enrollments a vendor approves later: asked about from time to time, until it says yes or no.

The question is the plugin's `refresh` with a pending grant (grants.GrantState). Nothing is rotated by asking, so a
lost answer costs nothing: the question is asked again.
"""

from __future__ import annotations

import random
from datetime import datetime, timedelta

from sqlalchemy.ext.asyncio import AsyncSession

from joinder.clock import now, to_epoch, utc_now
from joinder.errors import ApprovalPending, HealthState, VendorError
from joinder.grants import Grant, GrantState
from joinder.runtime.hub import Hub
from joinder.services.grants import apps, expiry, judging, site_rights, standing
from joinder.services.grants.case import VendorAnswer
from joinder.services.grants.verdict import Door
from joinder.services.records import health
from joinder.services.records.opened_grant import OpenedGrant, open_for_call, seal_grant
from joinder.services.refusals import NotFound
from joinder.services.work import leases
from joinder.services.work.schedule import next_refresh
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
    try:
        await _ask(hub, enrollment_id)
    finally:
        async with hub.store.write(enrollment_id) as session:
            await leases.release(session, KIND, enrollment_id, lease, None)
    return True


async def _ask(hub: Hub, enrollment_id: str) -> None:
    held = await open_for_call(hub, enrollment_id)
    if held.grant.state is not GrantState.PENDING_APPROVAL:
        await _asked_for_nothing(hub, enrollment_id)
        return
    await apps.enter(hub, held.row, "token")
    try:
        answered = await hub.registry.refresh(held.row.vendor, held.ctx, held.grant)
    except ApprovalPending:
        answered = held.grant
    except VendorError as error:
        await judging.failed(hub, VendorAnswer(row=held.row, door=Door.QUESTION, error=error))
        raise
    await apps.has_worked(hub, held.row, "token")
    async with hub.store.write(enrollment_id) as session:
        await _save(hub, session, held, answered)
    await site_rights.listed_by_renewal(hub, enrollment_id, answered.site_ids)


async def _asked_for_nothing(hub: Hub, enrollment_id: str) -> None:
    async with hub.store.write(enrollment_id) as session:
        enrollment, _ = await _held(session, enrollment_id)
        await standing.settle(hub, session, enrollment, due={KIND: leases.NEVER})


async def _save(hub: Hub, session: AsyncSession, held: OpenedGrant, answered: Grant) -> None:
    """Stores the vendor's answer and plans what is due, unless a newer consent has replaced the grant meanwhile."""
    enrollment, row = await _held(session, held.row.id)
    if row.version != held.row.version:
        return
    row.sealed = seal_grant(hub, enrollment.account_id, enrollment.id, answered)
    row.state = str(answered.state)
    row.expires_at, row.refresh_expires_at = to_epoch(answered.expires_at), to_epoch(answered.refresh_expires_at)
    row.version += 1
    row.refused_at = row.suspected_at = None
    enrollment.last_success_at = enrollment.last_attempt_at = now()
    enrollment.failures = 0
    if answered.state is not GrantState.ACTIVE:
        due = {KIND: next_question(enrollment.created_at, utc_now())}
        waits_for_operator = (enrollment.health, enrollment.health_actor) == ("pending_approval", "operator")
        reason = None if waits_for_operator else "The vendor has not approved this enrollment yet."
        state: HealthState | None = None if waits_for_operator else "pending_approval"
        await standing.settle(hub, session, enrollment, state, reason=reason, due=due)
        return
    enrollment.status = "enrolled"
    health.write_event(session, enrollment, "enrollment.approved", {"vendor": enrollment.vendor})
    vendor = hub.registry.vendor(enrollment.vendor)
    due = {KIND: leases.NEVER, "refresh": next_refresh(vendor, answered, utc_now()), "poll": now()}
    await standing.settle(hub, session, enrollment, await health.begun(session, enrollment.id), due=due)
    await leases.schedule(session, expiry.KIND, enrollment.id, expiry.first_look(vendor, answered, utc_now()))


def next_question(pending_since: int, moment: datetime) -> int:
    """Returns when to ask again, in epoch seconds: after a quarter of the time it has been pending.

    The wait is between 15 minutes and 6 hours. Joinder never gives up asking.
    """
    age = moment - datetime.fromtimestamp(pending_since, moment.tzinfo)
    wait = min(max(age / 4, SOONEST), LATEST) * random.uniform(0.9, 1.1)  # noqa: S311 - spreading load
    return int((moment + wait).timestamp())


async def _held(session: AsyncSession, enrollment_id: str) -> tuple[Enrollment, GrantRow]:
    enrollment, row = await session.get(Enrollment, enrollment_id), await session.get(GrantRow, enrollment_id)
    if enrollment is None or row is None:
        raise NotFound
    return enrollment, row
