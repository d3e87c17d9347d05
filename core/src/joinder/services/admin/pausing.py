"""What the operator does to one enrollment by hand: pause and resume its reading, let it out of quarantine.

A paused enrollment is read by nobody, and what is stored is served as stale; its token is kept alive, or the pause
would end in a lost customer.
"""

from __future__ import annotations

from sqlalchemy.ext.asyncio import AsyncSession

from joinder.clock import now
from joinder.runtime.hub import Hub, audit, owned
from joinder.services.grants import expiry, standing
from joinder.services.join import placed_consents
from joinder.services.readings import backfill
from joinder.services.records import health
from joinder.services.refusals import Conflict
from joinder.services.work import leases
from joinder.store.tables import Due, Enrollment


async def pause(hub: Hub, account_id: str, enrollment_id: str, actor: str) -> Enrollment:
    """Pauses the enrollment. Twice is harmless. A read under way ends. Raises NotFound."""
    async with hub.store.write(enrollment_id) as session:
        row = await owned(session, Enrollment, enrollment_id, account_id)
        if row.paused_at is None:
            row.paused_at = now()
            await standing.settle(hub, session, row)
            health.write_event(session, row, "enrollment.paused", {})
            audit(session, account_id, actor, "enrollment.pause", enrollment_id)
        return row


async def resume(hub: Hub, account_id: str, enrollment_id: str, actor: str) -> Enrollment:
    """Reads it now, and goes on with its backfill. Twice is harmless. Raises NotFound, EnrollmentStatus."""
    async with hub.store.write(enrollment_id) as session:
        row = await owned(session, Enrollment, enrollment_id, account_id)
        health.refuse_unenrolled(row)
        if row.paused_at is not None:
            row.paused_at = None
            await _read_now(hub, session, row)
            health.write_event(session, row, "enrollment.resumed", {})
            audit(session, account_id, actor, "enrollment.resume", enrollment_id)
        return row


async def release(hub: Hub, account_id: str, enrollment_id: str, actor: str) -> Enrollment:
    """Lets it out of quarantine: everything that stood still is tried again now.

    Raises NotFound, Conflict, UnknownVendor.
    """
    async with hub.store.write(enrollment_id) as session:
        row = await owned(session, Enrollment, enrollment_id, account_id)
        if row.health != "quarantined":
            raise Conflict(f"This enrollment is not in quarantine; its health is {row.health}.")
        row.failures = 0
        is_pending = row.status in health.AWAITING
        hub.registry.vendor(row.vendor)
        state = "pending_approval" if is_pending else await health.begun(session, row.id)
        await standing.settle(hub, session, row, state, due=dict.fromkeys(standing.KINDS, now()))
        await leases.schedule(session, expiry.KIND, row.id, now())
        if await session.get(Due, (placed_consents.KIND, row.id)) is not None:
            await leases.schedule(session, placed_consents.KIND, row.id, now())
        await _read_now(hub, session, row)
        audit(session, account_id, actor, "enrollment.release", enrollment_id)
        return row


async def _read_now(hub: Hub, session: AsyncSession, row: Enrollment) -> None:
    await standing.settle(hub, session, row, due={"poll": now()})
    if await backfill.running(session, row.id) is not None:
        await leases.schedule(session, backfill.KIND, row.id, now())
