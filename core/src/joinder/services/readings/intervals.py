"""Energy over quarter hours, hours, days and months, of a site or of one device, in the site's own time zone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from zoneinfo import ZoneInfo

from msgspec import Struct, structs

from joinder.clock import now
from joinder.energy import DeviceKind
from joinder.errors import UnknownVendor, VendorError
from joinder.runtime.hub import Hub
from joinder.services.calls.call_refusals import ShareSpent
from joinder.services.readings import days, missing, silence, uncovered
from joinder.services.readings.coverage import Gap
from joinder.services.readings.missing import Missing
from joinder.services.readings.periods import SummaryLevel, ceiling, floor, following, zone_of
from joinder.services.readings.provenance import Source, sources
from joinder.services.readings.silence import Silent
from joinder.services.readings.sites import DeviceHead, SiteHead, device_head, get_site, refuse_gone, site_head
from joinder.services.readings.totals import (
    COLUMN,
    ENERGIES,
    FETCHED_AT,
    METRICS_OF,
    NO_TOTALS,
    REFUSED_BY,
    RULE,
    Totals,
    summed,
)
from joinder.services.refusals import Unprocessable
from joinder.store.readings import read_intervals
from joinder.store.sites import read_devices
from joinder.store.types import Row
from joinder.trouble import StoreTrouble
from joinder.vendor import History, Resolution

CLOCK_CHANGE_S = 7200  # a month in which clocks change is longer than its days
MAX_SPAN_DAYS = {"15mins": 31, "hour": 31, "day": 731, "month": 3660}
LONG = ("day", "month")  # periods that are made of days
MISSING_MOST = 100  # spans named in one answer


class Window(Struct, frozen=True):
    """[start, end) in epoch seconds at a summary level, at most `limit` periods a page."""

    level: SummaryLevel
    start: int
    end: int
    limit: int
    provenance: bool = False


class Page(Struct, frozen=True):
    """`missing` says what of the asked range no interval stands for, and why; `more_missing` is what it left out.

    `silent`: devices that a partial interval may lack, as far as they are known. `is_settled`: whoever asks again gets
    the same, as long as nothing is written.
    """

    totals: Totals
    zone: ZoneInfo
    next_start: int | None  # where the next page begins
    as_of: int | None = None  # the vendor did not answer: when the oldest of what is stored was fetched
    retry_after_s: int | None = None  # the caller's share of the vendor's calls is spent until then
    missing: list[Missing] = []
    more_missing: int = 0
    sources: dict[int, Source] = {}
    silent: list[Silent] = []
    is_settled: bool = False

    @property
    def is_complete(self) -> bool:
        """Tells whether every period asked for is there, and none of them lacks a part."""
        return not self.missing and "partial" not in self.totals.qualities


_SUCH_DEVICE = "SELECT 1 FROM device WHERE site_id = :id AND kind = :kind AND gone_at IS NULL LIMIT 1"


Failure = VendorError | StoreTrouble


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
        """Returns the device where it has a series of its own, else None.

        One that is the only one of its kind, all the time that is asked for, has none: it is what the site's series
        measures.
        """
        device = self.device
        return device if device and (device.siblings > 0 or self.start < (device.sibling_until or 0)) else None


async def of_site(hub: Hub, account_id: str, site_id: str, kind: DeviceKind, window: Window) -> Page:
    """Returns a page of the site's periods, asking the vendor for what is missing.

    Raises NotFound, Unprocessable or the vendor's error.
    """
    site = await site_head(hub, account_id, site_id)
    if site.fetched_at is None:
        await get_site(hub, account_id, site_id)
        site = await site_head(hub, account_id, site_id)
    return await _page(hub, _asked(account_id, site, None, kind, window), window)


async def stored_of_site(hub: Hub, account_id: str, site_id: str, kind: DeviceKind, window: Window) -> Page:
    """Returns what `of_site` does, but asks no vendor for what is missing. Raises NotFound or Unprocessable."""
    asked = _asked(account_id, await site_head(hub, account_id, site_id), None, kind, window)
    if asked.site.fetched_at is None:
        return Page(NO_TOTALS, asked.zone, None, missing=[Missing(asked.start, asked.end, "not_read_yet")])
    return await _stored_page(hub, asked, _parts(hub, asked), window, None)


async def of_device(hub: Hub, account_id: str, device_id: str, kind: DeviceKind, window: Window) -> Page:
    """Returns a page of the device's periods, asking the vendor for what is missing.

    Raises NotFound, Unprocessable or the vendor's error.
    """
    device = await device_head(hub, account_id, device_id, kind)
    site = await site_head(hub, account_id, device.site_id)
    return await _page(hub, _asked(account_id, site, device, kind, window), window)


def refuse_span(window: Window) -> None:
    """Raises Unprocessable for a window that is empty, or too wide for its level."""
    days = MAX_SPAN_DAYS[window.level]
    if window.end <= window.start:
        raise Unprocessable("end must lie after start", errors={"/end": "must lie after start"})
    if window.end - window.start > days * 86400 + CLOCK_CHANGE_S:
        wanted = f"must lie at most {days} days after start at level {window.level}"
        raise Unprocessable(f"At level {window.level} one request spans at most {days} days", errors={"/end": wanted})


def _asked(account_id: str, site: SiteHead, device: DeviceHead | None, kind: DeviceKind, window: Window) -> Asked:
    refuse_span(window)
    level, zone = window.level, zone_of(site.timezone)
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


async def _page(hub: Hub, asked: Asked, window: Window) -> Page:
    """Returns at most `window.limit` periods that have data. Raises the vendor's failure when nothing is stored."""
    parts = _parts(hub, asked)
    covered = await _covered(hub, asked, parts)
    page = await _stored_page(hub, asked, parts, window, None if isinstance(covered, bool) else covered)
    return structs.replace(page, is_settled=True) if covered is True and page.is_complete else page


async def _stored_page(
    hub: Hub,
    asked: Asked,
    parts: Sequence[tuple[Asked, Resolution]],
    window: Window,
    failure: Failure | None,
) -> Page:
    subject_id, rows = await _rows(hub, asked)
    totals = summed(rows, asked.kind, asked.level, asked.zone, window.provenance)
    if failure is not None and not totals and not isinstance(failure, ShareSpent):
        raise failure
    as_of = min((row[FETCHED_AT] for row in rows), default=None) if failure is not None else None
    following_page = totals.starts[window.limit] if len(totals) > window.limit else None
    shown = totals.first(window.limit)
    missing = await _missing(hub, parts, subject_id, rows, following_page)
    return Page(
        shown,
        asked.zone,
        following_page,
        as_of,
        _wait_s(failure),
        missing[:MISSING_MOST],
        max(0, len(missing) - MISSING_MOST),
        await sources(hub, (source for origin in shown.origins or () for source in origin.sources)),
        await _silent(hub, asked, shown),
    )


def _wait_s(failure: Failure | None) -> int | None:
    if isinstance(failure, ShareSpent) and failure.retry_after is not None:
        return int(failure.retry_after.total_seconds())
    return None


async def _silent(hub: Hub, asked: Asked, shown: Totals) -> list[Silent]:
    """Returns devices of this kind that fell silent before the last partial period ended.

    They are looked for only where something is partial.
    """
    if "partial" not in shown.qualities:
        return []
    until = max(end for end, quality in zip(shown.ends, shown.qualities, strict=True) if quality == "partial")
    found = silence.silent_of(await read_devices(hub.store, asked.site.id), asked.kind)
    own = asked.device.id if asked.device is not None else None
    return [one for one in found if one.since < until and own in (None, one.device.id)]


async def _missing(
    hub: Hub, parts: Sequence[tuple[Asked, Resolution]], subject_id: str, rows: Sequence[Row], until: int | None
) -> list[Missing]:
    """Returns what no row tells of the range this page stands for, with the reason of each."""
    found: list[Missing] = []
    for asked, resolution in parts:
        end = asked.end if until is None else min(asked.end, until)
        told = [row for row in rows if asked.start <= row[0] < asked.end] if len(parts) > 1 else rows
        series = missing.Series(
            subject_id=subject_id,
            resolution=resolution,
            history=_history(hub, asked.site.vendor, resolution),
            operational_since=asked.site.operational_since,
            zone=asked.zone,
        )
        found += await missing.of_rows(hub, series, told, _columns_told(told, asked.kind), asked.start, end)
    return missing.joined(found)


def _columns_told(rows: Sequence[Row], kind: DeviceKind) -> list[int]:
    """Returns what a row must tell to stand for its period: a battery both directions, a meter all it tells anywhere.

    What was refused of it counts too, or the shortest range would be complete without it.
    """
    columns = [COLUMN[name] for name in ENERGIES[kind]]
    if kind is not DeviceKind.METER:
        return columns
    refused = {column for row in rows for column in REFUSED_BY.get(row[RULE], ()) if row[column] is None}
    return [one for one in columns if one in refused or any(row[one] is not None for row in rows)] or columns


def _history(hub: Hub, vendor: str, resolution: Resolution) -> History | None:
    """Returns what the vendor keeps of the resolution; None also while its plugin is not there."""
    try:
        return hub.registry.vendor(vendor).limits.resolution(resolution)
    except UnknownVendor:
        return None


def _parts(hub: Hub, asked: Asked) -> list[tuple[Asked, Resolution]]:
    """Splits what the vendor is asked by resolution: daily values up to today, where it has them, and quarter hours."""
    if asked.level not in LONG or _history(hub, asked.site.vendor, "day") is None:
        return [(asked, "15mins")]
    today = floor(now(), "day", asked.zone)
    parts: list[tuple[Asked, Resolution]] = []
    if asked.start < today:
        parts.append((replace(asked, end=min(asked.end, today)), "day"))
    if asked.end > today:
        parts.append((replace(asked, start=max(asked.start, today)), "15mins"))
    return parts


async def _covered(hub: Hub, asked: Asked, parts: Sequence[tuple[Asked, Resolution]]) -> Failure | bool:
    """Asks the vendor for what is missing. The reason when it did not answer: what is stored may do.

    Else whether all had settled, which what the vendor keeps no history of never does.
    """
    own_device = asked.own_device.id if asked.own_device else None
    moment, settled = now(), []
    try:
        refuse_gone(asked.site)
        limits = hub.registry.vendor(asked.site.vendor).limits
        async with uncovered.deadline():
            for part, resolution in parts:
                history = limits.resolution(resolution)
                if history is None:
                    settled.append(False)
                else:
                    series = uncovered.Series(
                        account_id=asked.account_id,
                        site=asked.site,
                        device_id=own_device,
                        zone=asked.zone,
                        history=history,
                    )
                    settled.append(await uncovered.cover(hub, series, part.start, part.end, moment))
    except TimeoutError:
        return uncovered.too_late()
    except (VendorError, StoreTrouble) as error:
        return error
    return all(settled)


async def _rows(hub: Hub, asked: Asked) -> tuple[str, Sequence[Row]]:
    """Returns the subject whose series it is, and its rows: of a day its daily value or its quarter hours."""
    subject_id = asked.own_device.id if asked.own_device is not None else asked.site.id
    span = asked.start, asked.end
    if asked.level not in LONG:
        return subject_id, await _of_resolution(hub, asked, "15mins", span)
    daily = await _of_resolution(hub, asked, "day", span)
    quarters = list[Row]()
    for open_span in days.open_spans(daily, asked.kind, asked.start, min(asked.end, now())):
        quarters += await _of_resolution(hub, asked, "15mins", open_span)
    is_there = not quarters or days.all_tell(daily, asked.kind) or await _has_such_device(hub, asked)
    return subject_id, days.made_of(daily, quarters, asked.kind, is_kind_there=is_there)


async def _has_such_device(hub: Hub, asked: Asked) -> bool:
    values = {"id": asked.site.id, "kind": str(asked.kind)}
    return asked.device is not None or bool(await hub.store.rows(_SUCH_DEVICE, values))


async def _of_resolution(hub: Hub, asked: Asked, resolution: Resolution, span: Gap) -> list[Row]:
    """Reads the rows of a series.

    The only device of its kind is what the site's series measures: where the device's own rows, of whatever was asked
    before, tell nothing, the site's do.
    """
    own = await _whole_rows(hub, asked, asked.device.id, resolution, span) if asked.device is not None else []
    if asked.own_device is not None:
        return own
    told = {row[0]: row for row in own if days.tells(row, asked.kind)}
    rows = await _whole_rows(hub, asked, asked.site.id, resolution, span)
    if told:
        found = {row[0]: row for row in rows} | told
        rows = [found[start] for start in sorted(found)]
    return rows


async def _whole_rows(hub: Hub, asked: Asked, subject_id: str, resolution: Resolution, span: Gap) -> list[Row]:
    rows = await read_intervals(hub.store, subject_id, resolution, *span, METRICS_OF[asked.kind])
    return list(rows) if resolution == "15mins" else _of_zone(rows, asked.zone)


def _of_zone(rows: Sequence[Row], zone: ZoneInfo) -> list[Row]:
    """Keeps day rows of the site's own midnights: one made in another zone is no day of it, nor of its devices."""
    return [row for row in rows if floor(row[0], "day", zone) == row[0] and following(row[0], "day", zone) == row[1]]
