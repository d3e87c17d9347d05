"""What "try again now" means for an enrollment, by its state and vendor."""

from __future__ import annotations

from joinder.runtime.hub import Hub, account_of, audited
from joinder.services.grants import approvals, refresh
from joinder.services.join import late_consents, placed_consents
from joinder.services.readings import poll
from joinder.services.records import health
from joinder.services.refusals import Conflict, NotFound
from joinder.store.tables import Enrollment


async def renew(hub: Hub, enrollment_id: str, actor: str | None = None) -> None:
    """Renews now, or asks again for what the vendor has not approved or listed yet; `actor`: who asked for it.

    Raises NotFound, EnrollmentStatus, Conflict where there is nothing to renew, or the vendor's error.
    """
    if actor is not None:
        account_id = await account_of(hub, Enrollment, enrollment_id)
        await audited(hub, account_id, actor, "enrollment.refresh", enrollment_id)
    async with hub.store.read() as session:
        enrollment = await session.get(Enrollment, enrollment_id)
        is_kept = enrollment is not None and await placed_consents.is_empty(session, enrollment)
    if enrollment is None:
        raise NotFound
    health.refuse_unenrolled(enrollment)
    if is_kept:
        await late_consents.work(hub, enrollment_id)
        return
    if enrollment.status in (*health.AWAITING, "rejected"):
        await approvals.ask(hub, enrollment_id)
        return
    vendor = hub.registry.vendor(enrollment.vendor)
    if vendor.is_renewable:
        await refresh.refresh(hub, enrollment_id)
    elif enrollment.health in health.WELL:
        raise Conflict(f"{vendor.label} grants are not renewed, and this one works.")
    else:
        await poll.poll(hub, enrollment_id)
