"""Fetches readings from vendors and stores them: one path for polls, live power and uncovered spans."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta

from joinder.clock import now
from joinder.energy import Counter, Device, Readings, ReadingsQuery
from joinder.errors import TransientError
from joinder.services.counters import MAX_GAP_S, Sample, quarter_hours
from joinder.services.coverage import ASK_AGAIN_AFTER_S, Freshness, merged
from joinder.services.hub import Hub
from joinder.services.periods import QUARTER_S
from joinder.services.sites import device_update, site_of, store_devices
from joinder.services.vendor_calls import with_grant
from joinder.services.watching import Watch
from joinder.store.engine import StoreTrouble, Write
from joinder.store.readings import METRICS, Span, all_coverage, counters_before, coverage, intervals, read_counters
from joinder.store.readings import counters as counter_rows
from joinder.store.readings import live as live_row
from joinder.store.sites import StoredDevice, StoredSite, read_devices
from joinder.vendor import Limits, Resolution

KEEP_COUNTERS_S = 2 * 86400
MAX_AHEAD_S = 300
_SETTLES_AFTER = timedelta(hours=48)
_NEWEST = "SELECT max(at) FROM counter WHERE subject_id = :subject"
log = logging.getLogger("joinder.readings")


async def fetch(
    hub: Hub,
    site: StoredSite,
    devices: Sequence[StoredDevice],
    *,
    start: int,
    end: int,
    resolution: Resolution = "15mins",
    device: StoredDevice | None = None,
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
    writes = await _writes(hub, site, devices, readings, query)
    if start < end and trouble is None:
        writes += await asked(hub, site.vendor, device.id if device else site.id, resolution, start, end)
    await _apply(hub, site.enrollment_id, writes)
    if trouble is not None and not live:
        raise trouble
    return readings


async def asked(hub: Hub, vendor: str, subject: str, resolution: Resolution, start: int, end: int) -> list[Write]:
    """For the ledger: the vendor was asked for [start, end) just now."""
    freshness = freshness_of(hub.registry.vendor(vendor).limits, resolution)
    before = await all_coverage(hub.store, subject, resolution)
    after = merged([*before, Span(start, end, now())], now(), freshness)
    return coverage(subject, resolution, before, after)


def freshness_of(limits: Limits, resolution: Resolution) -> Freshness:
    """A vendor polled more often than every quarter of an hour may be asked again as soon."""
    entry = limits.resolution(resolution)
    settles_after = entry.settles_after if entry is not None else _SETTLES_AFTER
    ask_again_after_s = int(min(limits.poll_every.total_seconds(), ASK_AGAIN_AFTER_S))
    return Freshness(int(settles_after.total_seconds()), ask_again_after_s)


async def _writes(
    hub: Hub, site: StoredSite, devices: Sequence[StoredDevice], readings: Readings, query: ReadingsQuery
) -> list[Write]:
    """Everything an answer changes."""
    known = await _known(hub, site, devices, readings.devices)
    subjects: dict[str | None, str] = {None: site.id} | {device.vendor_id: device.id for device in known.values()}
    writes: list[Write] = [
        device_update(known[str(device.kind), device.vendor_id], device) for device in readings.devices
    ]
    inside = [
        (subjects[reading.device_id], reading)
        for reading in readings.intervals
        if query.start <= reading.start < query.end and reading.device_id in subjects
    ]
    if inside:
        writes.append(intervals(query.resolution, inside, now()))
    for subject, counted in _by_subject(subjects, readings.counters).items():
        writes += await _counted(hub, subject, counted)
    if readings.live is not None:
        writes.append(live_row(site.id, readings.live, now()))
    return writes


async def _known(
    hub: Hub, site: StoredSite, devices: Sequence[StoredDevice], told: Sequence[Device]
) -> dict[tuple[str, str], StoredDevice]:
    """By kind and the vendor's id. A device nobody knew is stored first, so that its readings have a subject."""
    known = {(device.kind, device.vendor_id): device for device in devices}
    if any((str(device.kind), device.vendor_id) not in known for device in told):
        async with hub.store.write(site.enrollment_id) as session:
            await store_devices(session, site, told)
        known = {(device.kind, device.vendor_id): device for device in await read_devices(hub.store, site.id)}
    return known


def _by_subject(subjects: Mapping[str | None, str], counters: Sequence[Counter]) -> dict[str, list[Counter]]:
    """A device's clock may be wrong: a register of the future would invent energy."""
    found: dict[str, list[Counter]] = {}
    for counter in counters:
        subject = subjects.get(counter.device_id)
        if subject is not None and int(counter.at.timestamp()) <= now() + MAX_AHEAD_S:
            found.setdefault(subject, []).append(counter)
    return found


async def _counted(hub: Hub, subject: str, counted: Sequence[Counter]) -> list[Write]:
    """Registers, and the quarter hours they change. A register of before the last one would invent energy."""
    ((newest,),) = await hub.store.rows(_NEWEST, {"subject": subject})
    fresh = [counter for counter in counted if newest is None or int(counter.at.timestamp()) >= newest]
    if not fresh:
        return []
    at = int(fresh[-1].at.timestamp())
    rows = await read_counters(hub.store, subject, int(fresh[0].at.timestamp()) - MAX_GAP_S - 1800)
    samples = {row[0]: Sample(row[0], dict(zip(METRICS, row[1:], strict=True))) for row in rows}
    previous = max((sample.at for sample in samples.values() if sample.at < fresh[0].at.timestamp()), default=at)
    for counter in fresh:
        moment = int(counter.at.timestamp())
        samples[moment] = Sample(moment, {name: getattr(counter, name) for name in METRICS})
    changed = [
        (subject, reading)
        for reading in quarter_hours([samples[moment] for moment in sorted(samples) if moment <= at])
        if reading.start.timestamp() >= previous - previous % QUARTER_S
    ]
    writes: list[Write] = [counter_rows([(subject, counter) for counter in fresh])]
    if changed:
        writes.append(intervals("15mins", changed, now()))
    return [*writes, counters_before(subject, at - KEEP_COUNTERS_S)]


async def _apply(hub: Hub, enrollment_id: str, writes: Sequence[Write]) -> None:
    """In one transaction."""
    if not writes:
        return
    try:
        await hub.store.apply(*writes, about=enrollment_id)
    except StoreTrouble as trouble:
        raise TransientError("The readings could not be stored now", detail=str(trouble)) from None
