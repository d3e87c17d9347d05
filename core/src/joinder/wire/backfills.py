"""Backfills: history fetched in the background."""

from __future__ import annotations

from typing import Annotated, Literal, get_args

from joinder.services.readings.backfill import BackfillProgress
from joinder.services.readings.history import EVERYTHING
from joinder.wire.base import Body, Day, Given, ListPage, Moment, Wire, one_of, utc_text

BackfillStatus = Literal["running", "done", "cancelled", "failed"]


class NewBackfill(Body, kw_only=True):
    """Without `start` everything the vendor keeps, without `end` up to now."""

    start: Given | None = None
    end: Given | None = None


class Backfill(Wire, kw_only=True):
    """`reason` says why it waits, or failed; `oldest_day`, not on lists, is the UTC day from which on all is there."""

    id: str
    enrollment_id: str
    status: Annotated[str, one_of(get_args(BackfillStatus))]
    start: Moment | None = None
    end: Moment
    windows_total: int
    windows_done: int
    percent: float
    reason: str | None = None
    oldest_day: Day | None = None
    created_at: Moment
    updated_at: Moment

    @staticmethod
    def of(progress: BackfillProgress) -> Backfill:
        job = progress.job
        return Backfill(
            id=job.id,
            enrollment_id=job.enrollment_id,
            status=job.status,
            start=utc_text(job.start) if job.start != EVERYTHING else None,
            end=utc_text(job.end),
            windows_total=job.windows_total,
            windows_done=job.windows_done,
            percent=progress.percent,
            reason=job.reason,
            oldest_day=utc_text(progress.reached)[:10] if progress.reached is not None else None,
            created_at=utc_text(job.created_at),
            updated_at=utc_text(job.updated_at),
        )


class BackfillPage(ListPage, kw_only=True):
    backfills: list[Backfill]
