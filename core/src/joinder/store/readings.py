"""Bulk writes and hot reads of readings, as statements both databases understand."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from joinder.clock import to_epoch
from joinder.energy import ENERGY_METRICS, Counter, Live, Reading
from joinder.store.engine import Row, Store
from joinder.store.statements import upsert_many

METRICS = (*ENERGY_METRICS, "soc_percent")
_POWERS = ("solar_w", "battery_w", "grid_w", "load_w", "soc_percent")
_SPAN = ("subject_id", "resolution", "start")
_RANGE = (
    f'SELECT start, "end", {", ".join(METRICS)}, fetched_at, quality FROM interval '  # noqa: S608 - our own names
    "WHERE subject_id = :subject AND resolution = :resolution AND start >= :start AND start < :end ORDER BY start"
)


@dataclass(frozen=True)
class Span:
    """[start, end) in epoch seconds, as asked of the vendor at `fetched_at`."""

    start: int
    end: int
    fetched_at: int


async def save_intervals(
    session: AsyncSession, resolution: str, rows: Iterable[tuple[str, Reading]], fetched_at: int
) -> None:
    """Pairs of subject and reading; a later answer replaces an earlier one."""
    values = [
        {
            "subject_id": subject,
            "resolution": resolution,
            "start": to_epoch(reading.start),
            "end": to_epoch(reading.end),
            **{metric: getattr(reading, metric) for metric in METRICS},
            "quality": reading.quality,
            "fetched_at": fetched_at,
        }
        for subject, reading in rows
    ]
    await upsert_many(session, "interval", _SPAN, ("end", *METRICS, "quality", "fetched_at"), values)


async def read_intervals(store: Store, subject_id: str, resolution: str, start: int, end: int) -> Sequence[Row]:
    """Rows (start, end, *METRICS, fetched_at, quality) in order, one range scan of the primary key."""
    return await store.rows(_RANGE, {"subject": subject_id, "resolution": resolution, "start": start, "end": end})


async def save_counters(session: AsyncSession, rows: Iterable[tuple[str, Counter]]) -> None:
    values = [
        {"subject_id": subject, "at": to_epoch(counter.at), **{name: getattr(counter, name) for name in METRICS}}
        for subject, counter in rows
    ]
    await upsert_many(session, "counter", ("subject_id", "at"), METRICS, values)


async def read_counters(session: AsyncSession, subject_id: str, since: int) -> Sequence[Row]:
    """Rows (at, *METRICS) in order."""
    query = text(
        f"SELECT at, {', '.join(METRICS)} FROM counter "  # noqa: S608 - our own names
        "WHERE subject_id = :subject AND at >= :since ORDER BY at"
    )
    return (await session.execute(query, {"subject": subject_id, "since": since})).all()


async def forget_counters(session: AsyncSession, subject_id: str, before: int) -> None:
    query = text("DELETE FROM counter WHERE subject_id = :subject AND at < :before")
    await session.execute(query, {"subject": subject_id, "before": before})


async def save_live(session: AsyncSession, site_id: str, live: Live, fetched_at: int) -> None:
    values = {name: getattr(live, name) for name in _POWERS}
    row = {"site_id": site_id, "measured_at": to_epoch(live.measured_at), "fetched_at": fetched_at, **values}
    await upsert_many(session, "live", ("site_id",), ("measured_at", "fetched_at", *_POWERS), [row])


async def read_coverage(store: Store, subject_id: str, resolution: str, start: int, end: int) -> list[Span]:
    """Spans that touch [start, end), in order."""
    rows = await store.rows(
        'SELECT start, "end", fetched_at FROM coverage WHERE subject_id = :subject AND resolution = :resolution '
        'AND start < :end AND "end" > :start ORDER BY start',
        {"subject": subject_id, "resolution": resolution, "start": start, "end": end},
    )
    return [Span(*row) for row in rows]


async def all_coverage(session: AsyncSession, subject_id: str, resolution: str) -> list[Span]:
    """Every span, in order."""
    query = text(
        'SELECT start, "end", fetched_at FROM coverage WHERE subject_id = :subject AND resolution = :resolution '
        "ORDER BY start"
    )
    found = await session.execute(query, {"subject": subject_id, "resolution": resolution})
    return [Span(*row) for row in found.all()]


async def replace_coverage(
    session: AsyncSession, subject_id: str, resolution: str, before: Sequence[Span], after: Sequence[Span]
) -> None:
    """Writes only what differs. `before` is what `all_coverage` answered in this transaction."""
    key = {"subject_id": subject_id, "resolution": resolution}
    delete = text("DELETE FROM coverage WHERE subject_id = :subject_id AND resolution = :resolution AND start = :start")
    kept = {span.start for span in after}
    gone = [{**key, "start": span.start} for span in before if span.start not in kept]
    if gone:
        await session.execute(delete, gone)
    known = set(before)
    new = [
        {**key, "start": span.start, "end": span.end, "fetched_at": span.fetched_at}
        for span in after
        if span not in known
    ]
    await upsert_many(session, "coverage", _SPAN, ("end", "fetched_at"), new)
