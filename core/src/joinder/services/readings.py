"""Fetches readings from vendors and stores them: one path for polls, live power and uncovered spans."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col, select

from joinder.clock import now
from joinder.energy import Counter, Readings, ReadingsQuery
from joinder.services.counters import MAX_GAP_S, Sample, quarter_hours
from joinder.services.coverage import ASK_AGAIN_AFTER_S, Freshness, merged
from joinder.services.hub import Hub
from joinder.services.sites import site_of, store_devices
from joinder.services.vendor_calls import with_grant
from joinder.services.watching import Watch
from joinder.store.readings import (
    METRICS,
    Span,
    all_coverage,
    forget_counters,
    read_counters,
    replace_coverage,
    save_counters,
    save_intervals,
    save_live,
)
from joinder.store.tables import DeviceRow, SiteRow
from joinder.vendor import Limits, Resolution

KEEP_COUNTERS_S = 2 * 86400
MAX_AHEAD_S = 300
_SETTLES_AFTER = timedelta(hours=48)
_NEWEST = text("SELECT max(at) FROM counter WHERE subject_id = :subject")
log = logging.getLogger("joinder.readings")


async def fetch(
    hub: Hub,
    site: SiteRow,
    devices: Sequence[DeviceRow],
    *,
    start: int,
    end: int,
    resolution: Resolution = "15mins",
    device: DeviceRow | None = None,
    live: bool = False,
) -> Readings:
    """Asks the vendor for [start, end) (nothing when equal) and stores the answer in one transaction.

    A part that failed and may work the next time leaves the span uncovered; without `live` its error is raised, after
    what came is stored.
    """
    query = ReadingsQuery(
        site=site_of(site, devices),
        start=datetime.fromtimestamp(start, UTC),
        end=datetime.fromtimestamp(end, UTC),
        resolution=resolution,
        device_id=device.vendor_id if device else None,
        live=live,
    )
    watch = Watch()
    readings = await with_grant(
        hub,
        site.enrollment_id,
        lambda ctx, grant: hub.registry.fetch_readings(site.vendor, watch.over(ctx), grant, query),
    )
    trouble = watch.trouble if readings.warnings else None
    for warning in readings.warnings:
        log.warning("%s of %s: %s", site.vendor, site.enrollment_id, warning)
    async with hub.store.write(site.enrollment_id) as session:
        await _store(session, site, readings, query)
        if start < end and trouble is None:
            subject = device.id if device else site.id
            await note_asked(hub, session, site.vendor, subject, resolution, start, end)
    if trouble is not None and not live:
        raise trouble
    return readings


async def note_asked(
    hub: Hub, session: AsyncSession, vendor: str, subject: str, resolution: Resolution, start: int, end: int
) -> None:
    """Writes into the ledger that the vendor was asked for [start, end) just now."""
    freshness = freshness_of(hub.registry.vendor(vendor).limits, resolution)
    before = await all_coverage(session, subject, resolution)
    after = merged([*before, Span(start, end, now())], now(), freshness)
    await replace_coverage(session, subject, resolution, before, after)


def freshness_of(limits: Limits, resolution: Resolution) -> Freshness:
    """A vendor polled more often than every quarter of an hour may be asked again as soon."""
    entry = limits.resolution(resolution)
    settles_after = entry.settles_after if entry is not None else _SETTLES_AFTER
    ask_again_after_s = int(min(limits.poll_every.total_seconds(), ASK_AGAIN_AFTER_S))
    return Freshness(int(settles_after.total_seconds()), ask_again_after_s)


async def _store(session: AsyncSession, site: SiteRow, readings: Readings, query: ReadingsQuery) -> None:
    await store_devices(session, site, readings.devices)
    subjects = await _subjects(session, site)
    inside = [
        (subjects[reading.device_id], reading)
        for reading in readings.intervals
        if query.start <= reading.start < query.end and reading.device_id in subjects
    ]
    await save_intervals(session, query.resolution, inside, now())
    if readings.counters:
        await _store_counters(session, subjects, readings.counters)
    if readings.live is not None:
        await save_live(session, site.id, readings.live, now())


async def _store_counters(
    session: AsyncSession, subjects: Mapping[str | None, str], counters: Sequence[Counter]
) -> None:
    """A device's clock may be wrong: a register of the future, or of before the last one, would invent energy."""
    for counter in counters:
        at, subject = int(counter.at.timestamp()), subjects.get(counter.device_id)
        if subject is None or at > now() + MAX_AHEAD_S:
            continue
        newest = (await session.execute(_NEWEST, {"subject": subject})).scalar()
        if newest is None or at >= newest:
            await save_counters(session, [(subject, counter)])
            await _derive_intervals(session, subject, at)


async def _subjects(session: AsyncSession, site: SiteRow) -> dict[str | None, str]:
    """vendor's device id → our id; None → the site itself."""
    await session.flush()
    query = select(DeviceRow.vendor_id, DeviceRow.id).where(col(DeviceRow.site_id) == site.id)
    found: dict[str | None, str] = {None: site.id}
    found.update((row.vendor_id, row.id) for row in (await session.execute(query)).all())
    return found


async def _derive_intervals(session: AsyncSession, subject: str, at: int) -> None:
    """The quarter hours a new sample changes: from the quarter of the sample before it on."""
    rows = await read_counters(session, subject, at - MAX_GAP_S - 1800)
    samples = [Sample(row[0], dict(zip(METRICS, row[1:], strict=True))) for row in rows if row[0] <= at]
    previous = samples[-2].at if len(samples) > 1 else at
    changed = [r for r in quarter_hours(samples) if r.start.timestamp() >= previous - previous % 900]
    await save_intervals(session, "15mins", [(subject, reading) for reading in changed], now())
    await forget_counters(session, subject, at - KEEP_COUNTERS_S)
