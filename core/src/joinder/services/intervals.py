"""Energy over quarter hours, hours, days and months, of a site or of one device, in the site's own time zone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

from msgspec import Struct
from sqlmodel import col, select

from joinder.clock import now
from joinder.energy import ENERGY_METRICS, DeviceKind, Quality
from joinder.services import readings
from joinder.services.hub import Hub, owned
from joinder.services.periods import SummaryLevel, ceiling, floor, following, zone_of
from joinder.services.refusals import Unprocessable
from joinder.services.sites import get_device, get_site
from joinder.store.engine import Row
from joinder.store.readings import METRICS, Span, read_coverage, read_intervals
from joinder.store.tables import DeviceRow, SiteRow
from joinder.vendor import History, Resolution

MAX_SPAN_DAYS = {"15mins": 31, "hour": 31, "day": 731, "month": 3660}
KINDS = {"solar": DeviceKind.INVERTER, "battery": DeviceKind.BATTERY, "meter": DeviceKind.METER}
_ASKED_FOR = {
    DeviceKind.INVERTER: ("solar_wh",),
    DeviceKind.BATTERY: ("charge_wh", "discharge_wh"),
    DeviceKind.METER: ("import_wh", "export_wh", "load_wh"),
}


class Window(Struct, frozen=True):
    """[start, end) in epoch seconds at a summary level, at most `limit` periods a page."""

    level: SummaryLevel
    start: int
    end: int
    limit: int


class Total(Struct, frozen=True):
    """Energy of one period (Wh); None where nothing is known. Times are epoch seconds."""

    start: int
    end: int
    values: dict[str, float | None]
    quality: Quality


class Page(Struct, frozen=True):
    totals: list[Total]
    zone: ZoneInfo
    next_start: int | None  # where the next page begins


@dataclass(frozen=True, kw_only=True)
class Asked:
    """A request, its range widened to whole periods."""

    site: SiteRow
    devices: Sequence[DeviceRow]
    device: DeviceRow | None
    kind: DeviceKind
    level: SummaryLevel
    start: int
    end: int
    zone: ZoneInfo


async def of_site(hub: Hub, account_id: str, site_id: str, kind: DeviceKind, window: Window) -> Page:
    """Raises NotFound, Unprocessable or the vendor's error."""
    site, devices = await get_site(hub, account_id, site_id)
    return await _page(hub, _asked(site, devices, None, kind, window), window.limit)


async def of_device(hub: Hub, account_id: str, device_id: str, kind: DeviceKind, window: Window) -> Page:
    """Raises NotFound, Unprocessable or the vendor's error."""
    device = await get_device(hub, account_id, device_id, kind)
    async with hub.store.read() as session:
        site = await owned(session, SiteRow, device.site_id, account_id)
        siblings = select(DeviceRow).where(col(DeviceRow.site_id) == site.id, col(DeviceRow.gone_at).is_(None))
        devices = list((await session.execute(siblings)).scalars())
    return await _page(hub, _asked(site, devices, device, kind, window), window.limit)


def _asked(
    site: SiteRow, devices: Sequence[DeviceRow], device: DeviceRow | None, kind: DeviceKind, window: Window
) -> Asked:
    level, days = window.level, MAX_SPAN_DAYS[window.level]
    if window.end <= window.start:
        raise Unprocessable("end must lie after start")
    if window.end - window.start > days * 86400:
        raise Unprocessable(f"At level {level} one request spans at most {days} days")
    zone = zone_of(site.timezone)
    return Asked(
        site=site,
        devices=devices,
        device=device,
        kind=kind,
        level=level,
        start=floor(window.start, level, zone),
        end=ceiling(window.end, level, zone),
        zone=zone,
    )


async def _page(hub: Hub, asked: Asked, limit: int) -> Page:
    """At most `limit` periods that have data."""
    rows: list[Row] = []
    for part, resolution in _parts(hub, asked):
        entry = hub.registry.vendor(asked.site.vendor).limits.resolution(resolution)
        if entry is not None:
            await _cover(hub, part, entry)
        rows += await _rows(hub, part, resolution)
    totals = _summed(rows, asked)
    following_page = totals[limit].start if len(totals) > limit else None
    return Page(totals[:limit], asked.zone, following_page)


def _parts(hub: Hub, asked: Asked) -> list[tuple[Asked, Resolution]]:
    """Where the vendor has daily values, those up to today; today, and everything else, out of quarter hours."""
    if asked.level not in ("day", "month") or hub.registry.vendor(asked.site.vendor).limits.resolution("day") is None:
        return [(asked, "15mins")]
    today = floor(now(), "day", asked.zone)
    parts: list[tuple[Asked, Resolution]] = []
    if asked.start < today:
        parts.append((replace(asked, end=min(asked.end, today)), "day"))
    if asked.end > today:
        parts.append((replace(asked, start=max(asked.start, today)), "15mins"))
    return parts


async def _cover(hub: Hub, asked: Asked, history: History) -> None:
    """Asks the vendor for what was never asked, or was too young to be settled when it was."""
    subject = asked.device.id if _has_own_series(asked) and asked.device else asked.site.id
    device = asked.device if _has_own_series(asked) else None
    moment = now()
    start, end = asked.start, min(asked.end, moment)
    if history.reach is not None:
        start = max(start, floor(int(moment - history.reach.total_seconds()), "day", asked.zone) + 86400)
    if asked.site.operational_since is not None:
        start = max(start, floor(asked.site.operational_since, "day", asked.zone))
    if start >= end:
        return
    poll_every = hub.registry.vendor(asked.site.vendor).limits.poll_every.total_seconds()
    known = await read_coverage(hub.store, subject, history.resolution, start, end)
    for gap_start, gap_end in gaps(
        known, start, end, moment, history.settles_after.total_seconds(), min(poll_every, 900)
    ):
        first = floor(gap_start, "day", asked.zone) if history.resolution == "day" else gap_start
        await _fetch_windows(hub, asked, history, first, gap_end, device)


async def _fetch_windows(
    hub: Hub, asked: Asked, history: History, start: int, end: int, device: DeviceRow | None
) -> None:
    while start < end:
        stop = min(end, start + int(history.window.total_seconds()))
        if history.resolution == "day" and stop < end:
            stop = floor(stop, "day", asked.zone)
        await readings.fetch(
            hub, asked.site, asked.devices, start=start, end=stop, resolution=history.resolution, device=device
        )
        start = stop


def gaps(
    known: Sequence[Span], start: int, end: int, moment: int, settles_after_s: float, ask_again_after_s: float
) -> list[tuple[int, int]]:
    """What of [start, end) must be asked: never asked, or asked before it had settled and not just now."""
    missing, at = [], start
    for span in known:
        young = moment - span.fetched_at < ask_again_after_s
        settled_until = span.end if young else min(span.end, int(span.fetched_at - settles_after_s))
        if settled_until <= max(at, span.start):
            continue
        if span.start > at:
            missing.append((at, span.start))
        at = max(at, settled_until)
    if at < end:
        missing.append((at, end))
    return missing


def _has_own_series(asked: Asked) -> bool:
    """A device that is the only one of its kind is what the site's series measures."""
    if asked.device is None:
        return False
    return sum(device.kind == asked.device.kind for device in asked.devices) > 1


async def _rows(hub: Hub, asked: Asked, resolution: Resolution) -> list[Row]:
    """Rows of the subject; of a site without rows of its own, those of its devices added up."""
    span = (resolution, asked.start, asked.end)
    if asked.device is not None:
        rows = await read_intervals(hub.store, asked.device.id, *span)
        if rows or _has_own_series(asked):
            return list(rows)
    rows = await read_intervals(hub.store, asked.site.id, *span)
    if rows or asked.device is not None:
        return list(rows)
    parts = [
        row
        for device in asked.devices
        if device.kind == asked.kind
        for row in await read_intervals(hub.store, device.id, *span)
    ]
    return sorted(parts, key=lambda row: int(row[0]))


def _summed(rows: Sequence[Row], asked: Asked) -> list[Total]:
    totals: list[Total] = []
    part: list[Row] = []
    start = end = 0
    for row in rows:
        if row[0] >= end and part:
            totals.extend(_total(part, start, end, asked))
            part = []
        if row[0] >= end:
            start = floor(row[0], asked.level, asked.zone)
            end = following(start, asked.level, asked.zone)
        part.append(row)
    if part:
        totals.extend(_total(part, start, end, asked))
    return totals


def _total(part: Sequence[Row], start: int, end: int, asked: Asked) -> list[Total]:
    """One period, or nothing when it holds none of the asked metrics."""
    columns = dict(zip(METRICS, zip(*(row[2:-1] for row in part), strict=True), strict=True))
    values: dict[str, float | None] = {name: _sum(columns[name]) for name in ENERGY_METRICS}
    if all(values[name] is None for name in _ASKED_FOR[asked.kind]):
        return []
    soc = [value for value in columns["soc_percent"] if value is not None]
    values["soc_percent"] = sum(soc) / len(soc) if soc else None
    return [Total(start, end, values, _quality(part, start, end))]


def _sum(column: Sequence[float | None]) -> float | None:
    known = [value for value in column if value is not None]
    return sum(known) if known else None


def _quality(part: Sequence[Row], start: int, end: int) -> Quality:
    """`partial` when a piece of the period is missing, `estimated` when a piece is."""
    covered = {(row[0], row[1]) for row in part}
    if sum(stop - begin for begin, stop in covered) < end - start or any(row[-1] == "partial" for row in part):
        return "partial"
    return "estimated" if any(row[-1] == "estimated" for row in part) else "measured"


def iso(at: int, zone: ZoneInfo) -> str:
    """ISO 8601 with the zone's numeric offset."""
    return datetime.fromtimestamp(at, UTC).astimezone(zone).isoformat()
