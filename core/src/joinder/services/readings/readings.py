"""Fetches readings from vendors and stores them: one path for polls, live power and uncovered spans."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from joinder import physics
from joinder.clock import now
from joinder.energy import Counter, Device, Reading, Readings, ReadingsQuery, Site
from joinder.runtime.hub import Hub
from joinder.services.calls.budgets import at_fault
from joinder.services.calls.failure_observer import Watch
from joinder.services.readings import day_totals, gone_parts, provenance, silence, site_events, sums
from joinder.services.readings.counters import MAX_GAP_S, Register, Sample, jumps, quarter_hours
from joinder.services.readings.coverage import ASK_AGAIN_AFTER_S, Freshness, Gap, answered, merged
from joinder.services.readings.periods import QUARTER_S
from joinder.services.readings.sites import device_of, device_update, refuse_gone, site_of, store_devices
from joinder.services.readings.vendor_calls import with_grant
from joinder.services.records import notices
from joinder.store.readings import METRICS, all_coverage, counters_before, coverage, intervals, read_counters
from joinder.store.readings import counters as counter_rows
from joinder.store.readings import live as live_row
from joinder.store.sites import StoredDevice, StoredSite, read_devices
from joinder.store.types import Write
from joinder.vendor import Limits, Resolution
from joinder.vendors.gate.rules import Refusals, Rule

DAY_S = 86400
KEEP_COUNTERS_S = 2 * DAY_S
LOOK_BACK_S = MAX_GAP_S + physics.NEIGHBOURS_S + 1800  # steps by which a new one is judged
_SETTLES_AFTER = timedelta(hours=48)
_NEWEST = "SELECT max(at) FROM counter WHERE subject_id = :subject"
_HAVE_COVERAGE = "SELECT DISTINCT subject_id FROM coverage WHERE resolution = :resolution AND subject_id IN ({places})"


@dataclass(frozen=True, kw_only=True)
class _Answer:
    """What one call brought, and what it was asked."""

    site: StoredSite
    devices: Sequence[StoredDevice]
    query: ReadingsQuery
    readings: Readings
    source: int


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
    refuse_gone(site)
    device_id = device.vendor_id if device else None
    since, until = datetime.fromtimestamp(start, UTC), datetime.fromtimestamp(end, UTC)
    query = ReadingsQuery(
        site=site_of(site, devices), start=since, end=until, resolution=resolution, device_id=device_id, live=live
    )
    watch = Watch()
    readings = await with_grant(
        hub,
        site.enrollment_id,
        lambda ctx, grant: hub.registry.fetch_readings(site.vendor, watch.over(ctx), grant, query),
        site=site,
    )
    trouble = watch.trouble if readings.warnings else None
    source, source_rows = provenance.stored(hub, site.vendor, _endpoints(watch, query.site))
    answer = _Answer(site=site, devices=devices, query=query, readings=readings, source=source)
    writes = [*source_rows, *await _writes(hub, answer)]
    writes += site_events.readings_updated(site, writes, hub.store.dialect)
    writes += notices.writes(site.enrollment_id, site.id, readings.warnings, readings.refused)
    subject = device.id if device else site.id
    if start < end and trouble is None:
        writes += await asked(hub, site.vendor, subject, resolution, start, end, told=_told(answer))
    await _apply(hub, site.enrollment_id, writes)
    hub.sources_stored.add(source)
    if start < end:
        await day_totals.compare(hub, site, subject, start, end)
    if trouble is not None and not live:
        raise at_fault(trouble)
    return readings


def _endpoints(watch: Watch, site: Site) -> set[str]:
    ids = {site.vendor_id, *(device.vendor_id for device in site.devices)}
    return {provenance.endpoint(method, url, ids) for method, url in watch.calls}


def _told(answer: _Answer) -> list[Gap]:
    """Returns the periods an answer tells anything of, of whatever part of the site."""
    rows = [row for row in answer.readings.intervals if any(getattr(row, name) is not None for name in METRICS)]
    return [(int(row.start.timestamp()), int(row.end.timestamp())) for row in rows]


async def asked(
    hub: Hub,
    vendor: str,
    subject: str,
    resolution: Resolution,
    start: int,
    end: int,
    *,
    told: Sequence[Gap],
) -> list[Write]:
    """Makes the ledger's writes: the vendor was asked for [start, end) just now.

    What it told nothing of is not covered by that, but asked again some other day.
    """
    freshness = freshness_of(hub.registry.vendor(vendor).limits, resolution)
    before = await all_coverage(hub.store, subject, resolution)
    spans = answered(before, start, end, told, now())
    return coverage(subject, resolution, before, merged([*before, *spans], now(), freshness))


def freshness_of(limits: Limits, resolution: Resolution) -> Freshness:
    """Returns how fresh answers are kept.

    A vendor polled more often than every 15 minutes may be asked again as soon.
    """
    entry = limits.resolution(resolution)
    settles_after = entry.settles_after if entry is not None else _SETTLES_AFTER
    ask_again_after_s = int(min(limits.poll_every.total_seconds(), ASK_AGAIN_AFTER_S))
    return Freshness(int(settles_after.total_seconds()), ask_again_after_s)


async def _writes(hub: Hub, answer: _Answer) -> list[Write]:
    """Makes the writes of everything an answer changes."""
    site, readings = answer.site, answer.readings
    known = await _known(hub, site, answer.devices, readings.devices)
    subjects: dict[str | None, str] = {None: site.id} | {device.vendor_id: device.id for device in known.values()}
    writes: list[Write] = [
        device_update(known[str(device.kind), device.vendor_id], device, answer.source) for device in readings.devices
    ]
    site_rows = await _site_rows(hub, answer, [device_of(row) for row in known.values()])
    writes += await _interval_writes(hub, answer, subjects, site_rows)
    writes += _silence(answer, list(known.values()), site_rows)
    writes += _refused_writes(answer, subjects)
    bound = physics.nameplate_w(device_of(row) for row in known.values())
    for device_id, counted in _by_device(readings.counters).items():
        nameplate = bound if device_id is None else _own_nameplate(known.values(), device_id)
        writes += await _counted(hub, answer, subjects[device_id], counted, nameplate)
    if readings.live is not None:
        writes.append(live_row(site.id, readings.live, now(), answer.source))
    return writes


async def _site_rows(hub: Hub, answer: _Answer, devices: Sequence[Device]) -> list[Reading]:
    """Returns the site's rows, summed where the answer tells its devices alone; nothing of what a device was asked."""
    if answer.query.device_id is not None:
        return []
    parts = [row for row in answer.readings.intervals if row.device_id is not None]
    own = [row for row in answer.readings.intervals if row.device_id is None]
    if not parts:
        return own
    span = (int(min(row.start for row in parts).timestamp()), int(max(row.end for row in parts).timestamp()))
    former = await gone_parts.formers(hub, answer.site, answer.query.resolution, *span)
    return sums.site_rows(own, parts, devices, is_told_by_others=_others(answer), former=former)


def _others(answer: _Answer) -> Callable[[sums.Span], bool]:
    """Tells of a period whether devices told of it that the site does not list; of any, where not all are named."""
    refused = [one for one in answer.readings.refused if one.rule == Rule.SUBJECT and one.spans]
    spans = {(start, end) for one in refused for _, start, end in one.spans}
    is_cut = any(one.count > len(one.spans) for one in refused)
    return lambda span: is_cut or span in spans


def _silence(answer: _Answer, devices: Sequence[StoredDevice], site_rows: Sequence[Reading]) -> list[Write]:
    """Makes the writes about silent devices. Days are too long to tell since when."""
    query = answer.query
    if query.resolution != "15mins":
        return []
    rows = site_rows if query.device_id is None else answer.readings.intervals
    end = int(query.end.timestamp())
    return silence.writes(answer.site, devices, rows, device_id=query.device_id, end=end, moment=now())


async def _interval_writes(
    hub: Hub, answer: _Answer, subjects: Mapping[str | None, str], site_rows: Sequence[Reading]
) -> list[Write]:
    """Makes the rows of what was asked: a device's, or the site's with what its answer tells of devices."""
    query, told = answer.query, answer.readings.intervals
    if query.device_id is not None:
        return _upsert(answer, [(subjects[query.device_id], row) for row in told])
    parts = [row for row in told if row.device_id is not None]
    rows = [(subjects[None], row) for row in site_rows]
    if parts:
        by_itself = await _asked_by_itself(hub, answer, subjects)
        rows += [(subjects[row.device_id], row) for row in parts if subjects[row.device_id] not in by_itself]
    return _upsert(answer, rows)


async def _asked_by_itself(hub: Hub, answer: _Answer, subjects: Mapping[str | None, str]) -> set[str]:
    """Returns the devices with a series that was asked for: what the site's answer says of them does not replace it."""
    names = {f"id{index}": row_id for index, row_id in enumerate(subjects.values())}
    sql = _HAVE_COVERAGE.format(places=", ".join(f":{name}" for name in names))
    rows = await hub.store.rows(sql, {"resolution": answer.query.resolution, **names})
    return {str(row[0]) for row in rows}


def _upsert(answer: _Answer, rows: Sequence[tuple[str, Reading]], *, is_replacing: bool = True) -> list[Write]:
    if not rows:
        return []
    resolution = answer.query.resolution
    return [intervals(resolution, rows, now(), source=answer.source, is_replacing=is_replacing)]


def _refused_writes(answer: _Answer, subjects: Mapping[str | None, str]) -> list[Write]:
    """Makes an empty row that says why, for each refused as a whole, unless something good is stored there."""
    rows = [
        (subjects[device_id], Reading(start=start, end=end, quality="partial", rule=refusal.rule))
        for refusal in answer.readings.refused
        for device_id, start, end in refusal.spans
        if device_id in subjects
    ]
    return _upsert(answer, rows, is_replacing=False)


async def _known(
    hub: Hub, site: StoredSite, devices: Sequence[StoredDevice], told: Sequence[Device]
) -> dict[tuple[str, str], StoredDevice]:
    """Returns devices by kind and the vendor's id.

    One nobody knew is stored first, so that its readings have a subject.
    """
    known = {(device.kind, device.vendor_id): device for device in devices}
    if any((str(device.kind), device.vendor_id) not in known for device in told):
        async with hub.store.write(site.enrollment_id) as session:
            await store_devices(session, site, told)
        known = {(device.kind, device.vendor_id): device for device in await read_devices(hub.store, site.id)}
    return known


def _by_device(counters: Sequence[Counter]) -> dict[str | None, list[Counter]]:
    found: dict[str | None, list[Counter]] = {}
    for counter in counters:
        found.setdefault(counter.device_id, []).append(counter)
    return found


def _own_nameplate(devices: Iterable[StoredDevice], device_id: str) -> float | None:
    """Returns the nameplate of an inverter, in W; other devices' registers are judged by the steps around."""
    own = (device_of(row) for row in devices if row.vendor_id == device_id)
    return physics.nameplate_w(own)


async def _counted(
    hub: Hub, answer: _Answer, subject: str, counted: Sequence[Counter], nameplate_w: float | None
) -> list[Write]:
    """Registers, and the quarter hours they change, also those before, of which they take something back. A register
    of before the last one would invent energy."""
    ((newest,),) = await hub.store.rows(_NEWEST, {"subject": subject})
    fresh = sorted((one for one in counted if newest is None or _at(one) >= newest), key=_at)
    if not fresh:
        return []
    at = _at(fresh[-1])
    rows = await read_counters(hub.store, subject, _at(fresh[0]) - LOOK_BACK_S)
    samples = {row[0]: Sample(row[0], dict(zip(METRICS, row[1:-1], strict=True)), row[-1]) for row in rows}
    previous = max((sample.at for sample in samples.values() if sample.at < _at(fresh[0])), default=at)
    for counter in fresh:
        values = {name: getattr(counter, name) for name in METRICS}
        samples[_at(counter)] = Sample(_at(counter), values, counter.source)
    ordered = [samples[moment] for moment in sorted(samples) if moment <= at]
    before = quarter_hours([one for one in ordered if one.at <= previous], nameplate_w=nameplate_w)
    after = quarter_hours(ordered, nameplate_w=nameplate_w)
    changed = [
        (subject, reading)
        for reading in [*after, *_emptied(before, after)]
        if reading.start.timestamp() >= previous - previous % QUARTER_S or reading not in before
    ]
    writes: list[Write] = [counter_rows([(subject, counter) for counter in fresh])]
    if changed:
        writes.append(intervals("15mins", changed, now(), source=answer.source))
    writes += _jumped(hub, answer, [jump for jump in jumps(ordered, nameplate_w=nameplate_w) if jump.end > previous])
    return [*writes, counters_before(subject, at - KEEP_COUNTERS_S)]


def _emptied(before: Sequence[Reading], after: Sequence[Reading]) -> list[Reading]:
    """Returns quarter hours of which nothing is left, each as a row that says why."""
    known = {reading.start for reading in after}
    rule = str(Rule.REGISTER_JUMP)
    gone = [reading for reading in before if reading.start not in known]
    return [Reading(start=one.start, end=one.end, quality="partial", rule=rule) for one in gone]


def _jumped(hub: Hub, answer: _Answer, found: Sequence[Register]) -> list[Write]:
    """Tells the operator, and the metric, about registers that ran further than they can."""
    refusals = Refusals()
    for jump in found:
        refusals.note(Rule.REGISTER_JUMP, jump.metric)
        hub.metrics.refused(answer.site.vendor, str(Rule.REGISTER_JUMP), 1)
    return notices.writes(answer.site.enrollment_id, answer.site.id, (), refusals.listed())


def _at(counter: Counter) -> int:
    return int(counter.at.timestamp())


async def _apply(hub: Hub, enrollment_id: str, writes: Sequence[Write]) -> None:
    if writes:
        await hub.store.apply(*writes, serialize_on=enrollment_id)
