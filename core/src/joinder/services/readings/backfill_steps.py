"""One step of a backfill, under the lease of its due row."""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass, field

from sqlalchemy.ext.asyncio import AsyncSession

from joinder.clock import now, utc_now
from joinder.errors import NotSupported, RateLimited, TransientError, UnknownVendor, VendorError
from joinder.runtime.hub import Hub
from joinder.services.calls.budgets import spending
from joinder.services.readings import backfill, history, readings
from joinder.services.readings.backfill import KIND
from joinder.services.readings.history import FetchWindow
from joinder.services.work import leases
from joinder.services.work.schedule import after_failure
from joinder.store.tables import Backfill, Enrollment
from joinder.vendor import Limits

LEASE_S = 300.0  # renewed after every window
STEP_WINDOWS = 16  # then the lease is given back: others of the same app come to their turn
BROKEN_MOST = 3  # windows a step may fail on before it waits
LOOK_AGAIN_S = 900  # while somebody must act on the enrollment
GIVE_UP_S = 86400  # without one window read
_SOMEBODY_MUST_ACT = ("needs_consent", "operator_action", "lost_in_flight", "pending_approval")
log = logging.getLogger("joinder.backfill")


@dataclass(kw_only=True)
class Step:
    """What one step works on, and how it goes."""

    job: Backfill
    enrollment: Enrollment
    limits: Limits
    lease: str
    done: int = 0
    broken: list[VendorError] = field(default_factory=list)


async def work_one(hub: Hub, enrollment_id: str) -> bool:
    """Fetches a few windows and plans when it goes on. False: another process does, or there never was a job."""
    async with hub.store.write(enrollment_id) as session:
        lease = await leases.take(session, KIND, enrollment_id, LEASE_S)
    if lease is None:
        return False
    due_at = now() + LOOK_AGAIN_S
    try:
        due_at = await _step(hub, enrollment_id, lease)
    finally:
        async with hub.store.write(enrollment_id) as session:
            await leases.release(session, KIND, enrollment_id, lease, await _goes_on(session, enrollment_id, due_at))
    return True


async def _goes_on(session: AsyncSession, enrollment_id: str, due_at: int) -> int:
    """Says when the job goes on, as things are at the end of the step.

    A job may just have begun or been ended, its enrollment resumed.
    """
    job, enrollment = await backfill.running(session, enrollment_id), await session.get(Enrollment, enrollment_id)
    if job is None or enrollment is None:
        return leases.NEVER
    return now() if due_at == leases.NEVER and enrollment.paused_at is None else due_at


async def _step(hub: Hub, enrollment_id: str, lease: str) -> int:
    """Takes one step, and says when the job goes on, in epoch seconds."""
    async with hub.store.read() as session:
        job, enrollment = await backfill.running(session, enrollment_id), await session.get(Enrollment, enrollment_id)
    if job is None or enrollment is None:
        return leases.NEVER
    if enrollment.paused_at is not None:
        await _note(hub, job, "The operator paused this enrollment")
        return leases.NEVER
    if enrollment.health in _SOMEBODY_MUST_ACT:
        await _note(hub, job, enrollment.health_reason or f"The enrollment's health is {enrollment.health}")
        return now() + LOOK_AGAIN_S
    try:
        limits = hub.registry.vendor(enrollment.vendor).limits
        step = Step(job=job, enrollment=enrollment, limits=limits, lease=lease)
        with spending("backfill"):
            return await _work(hub, step)
    except VendorError as error:
        log.info("backfill of %s waits: %s", enrollment_id, error)
        await _note(hub, job, str(error))
        return _next_try(enrollment, error)


async def _work(hub: Hub, step: Step) -> int:
    """Raises what stops every window; what breaks one is noted, and the next one tried."""
    sites = await history.sites_of(hub, step.enrollment, ask=True)
    left = await history.missing(hub, step.job, step.limits, sites)
    tried = left[: STEP_WINDOWS + BROKEN_MOST]
    for window in tried:
        if step.done == STEP_WINDOWS or len(step.broken) == BROKEN_MOST:
            break
        try:
            await _fetch(hub, window)
        except VendorError as error:
            if _stops_all(error):
                raise
            step.broken.append(error)
            continue
        step.done += 1
        if not await _note_window(hub, step, len(left) - step.done):
            return leases.NEVER
    return await _after(hub, step, is_finished=step.done == len(left))


async def _fetch(hub: Hub, window: FetchWindow) -> None:
    """Fetches a window. What the vendor says it does not have is asked for and not there."""
    resolution = window.history.resolution
    try:
        await readings.fetch(
            hub,
            window.site,
            window.devices,
            start=window.start,
            end=window.end,
            resolution=resolution,
            device=window.device,
        )
    except NotSupported:
        start, end = window.start, window.end
        subject = (window.site.vendor, window.subject_id)
        await hub.store.apply(*await readings.asked(hub, *subject, resolution, start, end, told=[(start, end)]))


def _stops_all(error: VendorError) -> bool:
    """Tells whether no other window would fare better: quota spent, a pause asked for, or somebody must act."""
    if isinstance(error, TransientError):
        return isinstance(error, RateLimited) or error.retry_after is not None
    return isinstance(error, UnknownVendor) or error.health != "degraded"


async def _note_window(hub: Hub, step: Step, left: int) -> bool:
    """Notes that a window was read; False when the job was cancelled, or another process holds it now."""
    async with hub.store.write(step.enrollment.id) as session:
        job = await session.get(Backfill, step.job.id)
        if job is None or job.status != "running":
            return False
        job.windows_done += 1
        job.windows_total, job.reason, job.updated_at = job.windows_done + left, None, now()
        return await leases.renew(session, KIND, step.enrollment.id, step.lease, LEASE_S)


async def _after(hub: Hub, step: Step, *, is_finished: bool) -> int:
    async with hub.store.write(step.enrollment.id) as session:
        job, enrollment = await session.get(Backfill, step.job.id), await session.get(Enrollment, step.enrollment.id)
        if job is None or enrollment is None or job.status != "running":
            return leases.NEVER
        if is_finished and (job.start, job.end) == (step.job.start, step.job.end):  # not widened meanwhile
            backfill.end(session, enrollment, job, "done", None)
            return leases.NEVER
        if step.done or not step.broken:
            return now()
        job.reason = str(step.broken[0])
        if now() - job.updated_at > GIVE_UP_S:
            backfill.end(session, enrollment, job, "failed", job.reason)
            return leases.NEVER
        return after_failure(enrollment.failures, utc_now())


async def _note(hub: Hub, job: Backfill, reason: str) -> None:
    """Notes why the job waits. `updated_at` stays: it tells when the last window was read."""
    async with hub.store.write(job.enrollment_id) as session:
        row = await session.get(Backfill, job.id)
        if row is not None and row.status == "running":
            row.reason = reason


def _next_try(enrollment: Enrollment, error: VendorError) -> int:
    if not isinstance(error, TransientError):
        return now() + LOOK_AGAIN_S
    if error.retry_after is not None:
        return now() + math.ceil(error.retry_after.total_seconds()) + 1  # a second early is one refused call more
    return after_failure(enrollment.failures, utc_now())
