"""Jobs that fetch the history of an enrollment, a few windows at a time (docs/decisions/0012).

What is missing is found anew from the coverage ledger at every step, so a job remembers nothing that a crash could
lose: at most the window under way is asked for again, and its rows replace themselves.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col, select

from joinder.clock import now
from joinder.errors import UnknownVendor
from joinder.ids import new_id
from joinder.runtime.hub import Hub, audit, owned
from joinder.services.readings import history
from joinder.services.records import health
from joinder.services.records.told import EVERYTHING, Told, of_enrollments
from joinder.services.refusals import Conflict, Unprocessable
from joinder.services.work import leases
from joinder.store.tables import Backfill, Due, Enrollment

KIND = "backfill"
Ending = Literal["done", "failed"]


@dataclass(frozen=True, kw_only=True)
class BackfillProgress:
    """A job as shown. `reached`: epoch seconds from which on all it asks for is there; None where not known."""

    job: Backfill
    reached: int | None = None

    @property
    def percent(self) -> float:
        if self.job.status == "done":
            return 100.0
        return round(100 * self.job.windows_done / self.job.windows_total, 1) if self.job.windows_total else 0.0


async def start(
    hub: Hub, account_id: str, actor: str, enrollment_id: str, *, start: int | None = None, end: int | None = None
) -> tuple[Backfill, bool]:
    """Starts the enrollment's job, and tells whether it is new: one that runs is widened to the range asked for.

    Epoch seconds; without `start` everything the vendor keeps, without `end` up to now. Raises NotFound, Unprocessable,
    UnknownVendor, or EnrollmentStatus.
    """
    moment = now()
    since, until = history.EVERYTHING if start is None else start, min(end or moment, moment)
    if since >= until:
        wanted = "must lie in the past and before end"
        raise Unprocessable(f"start {wanted}", errors={"/start": wanted})
    async with hub.store.write(enrollment_id) as session:
        enrollment = await owned(session, Enrollment, enrollment_id, account_id)
        health.refuse_unenrolled(enrollment)
        vendor = hub.registry.vendor(enrollment.vendor)
        if not vendor.limits.history:
            raise Unprocessable(f"{vendor.label} keeps no history that could be fetched")
        job = await running(session, enrollment_id)
        is_new = job is None
        if job is None:
            job = Backfill(
                id=new_id("fill"),
                account_id=account_id,
                enrollment_id=enrollment_id,
                start=since,
                end=until,
                created_at=moment,
                updated_at=moment,
            )
            session.add(job)
            audit(session, account_id, actor, "backfill.start", job.id)
        elif (since, until) != (max(since, job.start), min(until, job.end)):
            job.start, job.end = min(since, job.start), max(until, job.end)
            audit(session, account_id, actor, "backfill.widen", job.id)
        await leases.schedule(session, KIND, enrollment_id, moment, app=enrollment.app)
        return job, is_new


async def get(hub: Hub, account_id: str, backfill_id: str) -> BackfillProgress:
    """Returns the job, and how far back it has reached. Raises NotFound."""
    async with hub.store.read() as session:
        job = await owned(session, Backfill, backfill_id, account_id)
        enrollment = await owned(session, Enrollment, job.enrollment_id, account_id)
    try:
        limits = hub.registry.vendor(enrollment.vendor).limits
    except UnknownVendor:
        return BackfillProgress(job=job)
    sites = await history.sites_of(hub, enrollment, ask=False)
    left = [] if job.status == "done" else await history.missing(hub, job, limits, sites)
    return BackfillProgress(job=job, reached=history.reached(job, limits, sites, left))


async def list_page(
    hub: Hub, account_id: str, filters: dict[str, str], *, after: str, limit: int, told: Told = EVERYTHING
) -> list[BackfillProgress]:
    """Reads a keyset page by id; `filters` are columns of backfill."""
    query = select(Backfill).where(col(Backfill.account_id) == account_id, col(Backfill.id) > after)
    query = query.where(*of_enrollments(told, Backfill.enrollment_id))
    for column, value in filters.items():
        query = query.where(getattr(Backfill, column) == value)
    async with hub.store.read() as session:
        rows = (await session.execute(query.order_by(col(Backfill.id)).limit(limit))).scalars()
        return [BackfillProgress(job=job) for job in rows]


async def cancel(hub: Hub, account_id: str, actor: str, backfill_id: str) -> None:
    """Cancels a job; what it fetched stays.

    Twice is harmless. Raises NotFound, or Conflict when it has ended by itself.
    """
    async with hub.store.read() as session:
        enrollment_id = (await owned(session, Backfill, backfill_id, account_id)).enrollment_id
    async with hub.store.write(enrollment_id) as session:
        job = await owned(session, Backfill, backfill_id, account_id)
        if job.status == "cancelled":
            return
        if job.status != "running":
            raise Conflict(f"This backfill has ended: {job.status}")
        job.status, job.reason, job.updated_at = "cancelled", None, now()
        await leases.schedule(session, KIND, enrollment_id, leases.NEVER)
        audit(session, account_id, actor, "backfill.cancel", job.id)


async def running(session: AsyncSession, enrollment_id: str) -> Backfill | None:
    query = select(Backfill).where(col(Backfill.enrollment_id) == enrollment_id, col(Backfill.status) == "running")
    return (await session.execute(query.limit(1))).scalar_one_or_none()


async def due_at(hub: Hub, enrollment_id: str) -> int:
    """Tells when the job goes on, in epoch seconds; leases.NEVER where there is none."""
    async with hub.store.read() as session:
        row = await session.get(Due, (KIND, enrollment_id))
    return row.due_at if row else leases.NEVER


def end(session: AsyncSession, enrollment: Enrollment, job: Backfill, status: Ending, reason: str | None) -> None:
    """Ends the job as part of the transaction that found out."""
    job.status, job.reason, job.updated_at = status, reason, now()
    if status == "done":
        job.windows_total = job.windows_done
        health.write_event(session, enrollment, "backfill.done", {"backfillID": job.id, "windows": job.windows_done})
    elif status == "failed":
        health.write_event(session, enrollment, "backfill.failed", {"backfillID": job.id, "reason": reason})
