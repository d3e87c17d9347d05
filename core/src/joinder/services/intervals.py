"""Energy over quarter hours, hours, days and months, of a site or of one device, in the site's own time zone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from zoneinfo import ZoneInfo

from msgspec import Struct

from joinder.clock import now
from joinder.energy import DeviceKind, Quality
from joinder.errors import VendorError
from joinder.services import uncovered
from joinder.services.hub import Hub
from joinder.services.periods import SummaryLevel, ceiling, floor, following, zone_of
from joinder.services.refusals import Unprocessable
from joinder.services.sites import DeviceHead, SiteHead, device_head, get_site, site_head
from joinder.store.engine import Row
from joinder.store.readings import METRICS, read_intervals
from joinder.vendor import Resolution

CLOCK_CHANGE_S = 7200  # a month in which clocks change is longer than its days
MAX_SPAN_DAYS = {"15mins": 31, "hour": 31, "day": 731, "month": 3660}
# What each kind is asked for; a period without any of it is left out, a battery's also when one direction is unknown:
# the wire format has no interval of half a battery, and 0 would not be true.
_ENERGIES = {
    DeviceKind.INVERTER: ("solar_wh",),
    DeviceKind.BATTERY: ("charge_wh", "discharge_wh"),
    DeviceKind.METER: ("import_wh", "export_wh", "load_wh"),
}
_COLUMN = {name: 2 + index for index, name in enumerate(METRICS)}
_FETCHED_AT = 2 + len(METRICS)


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
    as_of: int | None = None  # the vendor did not answer: when the oldest of what is stored was fetched


@dataclass(frozen=True, kw_only=True)
class Asked:
    """A request, its range widened to whole periods."""

    account_id: str
    site: SiteHead
    device: DeviceHead | None
    kind: DeviceKind
    level: SummaryLevel
    start: int
    end: int
    zone: ZoneInfo

    @property
    def own_device(self) -> DeviceHead | None:
        """The device that has a series of its own: the only one of its kind is what the site's series measures."""
        return self.device if self.device is not None and self.device.siblings > 0 else None


async def of_site(hub: Hub, account_id: str, site_id: str, kind: DeviceKind, window: Window) -> Page:
    """Raises NotFound, Unprocessable or the vendor's error."""
    site = await site_head(hub, account_id, site_id)
    if site.fetched_at is None:
        await get_site(hub, account_id, site_id)
        site = await site_head(hub, account_id, site_id)
    return await _page(hub, _asked(account_id, site, None, kind, window), window.limit)


async def stored_of_site(hub: Hub, account_id: str, site_id: str, kind: DeviceKind, window: Window) -> Page:
    """As `of_site`, but no vendor is asked for what is missing. Raises NotFound or Unprocessable."""
    asked = _asked(account_id, await site_head(hub, account_id, site_id), None, kind, window)
    if asked.site.fetched_at is None:
        return Page([], asked.zone, None)
    return await _stored_page(hub, asked, _parts(hub, asked), window.limit, None)


async def of_device(hub: Hub, account_id: str, device_id: str, kind: DeviceKind, window: Window) -> Page:
    """Raises NotFound, Unprocessable or the vendor's error."""
    device = await device_head(hub, account_id, device_id, kind)
    site = await site_head(hub, account_id, device.site_id)
    return await _page(hub, _asked(account_id, site, device, kind, window), window.limit)


def _asked(account_id: str, site: SiteHead, device: DeviceHead | None, kind: DeviceKind, window: Window) -> Asked:
    level, days = window.level, MAX_SPAN_DAYS[window.level]
    if window.end <= window.start:
        raise Unprocessable("end must lie after start")
    if window.end - window.start > days * 86400 + CLOCK_CHANGE_S:
        raise Unprocessable(f"At level {level} one request spans at most {days} days")
    zone = zone_of(site.timezone)
    return Asked(
        account_id=account_id,
        site=site,
        device=device,
        kind=kind,
        level=level,
        start=floor(window.start, level, zone),
        end=ceiling(window.end, level, zone),
        zone=zone,
    )


async def _page(hub: Hub, asked: Asked, limit: int) -> Page:
    """At most `limit` periods that have data. The vendor's failure is raised when nothing is stored."""
    parts = _parts(hub, asked)
    return await _stored_page(hub, asked, parts, limit, await _covered(hub, asked, parts))


async def _stored_page(
    hub: Hub, asked: Asked, parts: Sequence[tuple[Asked, Resolution]], limit: int, failure: VendorError | None
) -> Page:
    rows: list[Row] = []
    for part, resolution in parts:
        rows += await _rows(hub, part, resolution)
    totals = _summed(rows, asked)
    if failure is not None and not totals:
        raise failure
    as_of = min(row[_FETCHED_AT] for row in rows) if failure is not None else None
    following_page = totals[limit].start if len(totals) > limit else None
    return Page(totals[:limit], asked.zone, following_page, as_of)


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


async def _covered(hub: Hub, asked: Asked, parts: Sequence[tuple[Asked, Resolution]]) -> VendorError | None:
    """Asks the vendor for what is missing. The reason when it did not answer: what is stored may do."""
    limits = hub.registry.vendor(asked.site.vendor).limits
    own_device = asked.own_device.id if asked.own_device else None
    moment = now()
    try:
        async with uncovered.deadline():
            for part, resolution in parts:
                history = limits.resolution(resolution)
                if history is not None:
                    series = uncovered.Series(
                        account_id=asked.account_id,
                        site=asked.site,
                        device_id=own_device,
                        zone=asked.zone,
                        history=history,
                    )
                    await uncovered.cover(hub, series, part.start, part.end, moment)
    except TimeoutError:
        return uncovered.too_late()
    except VendorError as error:
        return error
    return None


async def _rows(hub: Hub, asked: Asked, resolution: Resolution) -> list[Row]:
    """Rows of the subject; of a site whose own rows tell nothing of the kind, those of its devices added up."""
    span = (resolution, asked.start, asked.end)
    if asked.device is not None:
        rows = await read_intervals(hub.store, asked.device.id, *span)
        if _tell(rows, asked.kind) or asked.own_device is not None:
            return list(rows)
    rows = await read_intervals(hub.store, asked.site.id, *span)
    if _tell(rows, asked.kind) or asked.device is not None:
        return list(rows)
    _, devices = await get_site(hub, asked.account_id, asked.site.id)
    of_kind = [device.id for device in devices if device.kind == asked.kind]
    parts = [row for device_id in of_kind for row in await read_intervals(hub.store, device_id, *span)]
    return sorted(parts, key=lambda row: int(row[0]))


def _tell(rows: Sequence[Row], kind: DeviceKind) -> bool:
    columns = [_COLUMN[name] for name in _ENERGIES[kind]]
    return any(row[column] is not None for row in rows for column in columns)


def _summed(rows: Sequence[Row], asked: Asked) -> list[Total]:
    """Rows, in order, by the periods they fall into."""
    totals: list[Total] = []
    part: list[Row] = []
    start = end = 0
    for row in rows:
        if row[0] >= end:
            totals.extend(_total(part, start, end, asked.kind))
            part = []
            start = row[0] if asked.level == "15mins" else floor(row[0], asked.level, asked.zone)
            end = following(start, asked.level, asked.zone)
        part.append(row)
    totals.extend(_total(part, start, end, asked.kind))
    return totals


def _total(part: Sequence[Row], start: int, end: int, kind: DeviceKind) -> list[Total]:
    """One period, or nothing when it holds none of the asked energies."""
    values = {name: _sum(part, _COLUMN[name]) for name in _ENERGIES[kind]}
    known = [value is not None for value in values.values()]
    if not (all(known) if kind is DeviceKind.BATTERY else any(known)):
        return []
    if kind is DeviceKind.BATTERY:
        soc = [row[_COLUMN["soc_percent"]] for row in part if row[_COLUMN["soc_percent"]] is not None]
        values["soc_percent"] = sum(soc) / len(soc) if soc else None
    return [Total(start, end, values, _quality(part, start, end))]


def _sum(part: Sequence[Row], column: int) -> float | None:
    if len(part) == 1:
        value: float | None = part[0][column]
        return value
    known = [row[column] for row in part if row[column] is not None]
    return sum(known) if known else None


def _quality(part: Sequence[Row], start: int, end: int) -> Quality:
    """`partial` when a piece of the period is missing, `estimated` when a piece is."""
    if len(part) == 1 and (part[0][0], part[0][1]) == (start, end):
        whole: Quality = part[0][-1]
        return whole
    covered = {(row[0], row[1]) for row in part}
    if sum(stop - begin for begin, stop in covered) < end - start or any(row[-1] == "partial" for row in part):
        return "partial"
    return "estimated" if any(row[-1] == "estimated" for row in part) else "measured"
