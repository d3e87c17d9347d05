"""Fetches what a read needs and nobody asked for yet, once for all who read it now."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import timedelta
from zoneinfo import ZoneInfo

from joinder.errors import VendorTimeout
from joinder.runtime.hub import Hub
from joinder.services.readings import readings
from joinder.services.readings.coverage import ASK_AGAIN_AFTER_S, Gap, gaps, reachable, windows, with_neighbours
from joinder.services.readings.sites import SiteHead, get_site
from joinder.store.readings import read_coverage
from joinder.vendor import History

DEADLINE_S = 20.0  # of all that one read fetches; what comes later is for the next one
_FOR_EVER_S = 100 * 365 * 86400
_NEXT_TRY = timedelta(seconds=5)


@dataclass(frozen=True, kw_only=True)
class Series:
    """What a read asks for: the site's own series, or that of one of its devices."""

    account_id: str
    site: SiteHead
    device_id: str | None
    zone: ZoneInfo
    history: History

    @property
    def subject_id(self) -> str:
        return self.device_id or self.site.id


async def cover(hub: Hub, series: Series, start: int, end: int, moment: int) -> bool:
    """Asks the vendor for what of [start, end) was never asked, or was too young to be settled when it was.

    True where all had settled before: no later read asks for more. Raises the vendor's error, or NotFound.
    """
    since = series.site.operational_since
    span = reachable(series.history, start, end, moment=moment, zone=series.zone, operational_since=since)
    if span is None:
        return False
    limits = hub.registry.vendor(series.site.vendor).limits
    freshness = readings.freshness_of(limits, series.history.resolution)
    known = await read_coverage(hub.store, series.subject_id, series.history.resolution, *span)
    missing = gaps(known, *span, moment, freshness)
    for gap in missing:
        wide = with_neighbours(gap, series.history, moment=moment, zone=series.zone, operational_since=since)
        for window in reversed(windows(wide, series.history, series.zone)):
            until = window[1] // ASK_AGAIN_AFTER_S  # who asks up to now a second later asks the same
            key = (series.subject_id, series.history.resolution, window[0], until)
            await hub.fetches.join(key, lambda window=window: _fetch(hub, series, window))  # type: ignore[misc]
    return not missing and not gaps(known, *span, moment + _FOR_EVER_S, freshness)


async def _fetch(hub: Hub, series: Series, window: Gap) -> None:
    site, devices = await get_site(hub, series.account_id, series.site.id)
    device = next((row for row in devices if row.id == series.device_id), None)
    start, end = window
    resolution = series.history.resolution
    await readings.fetch(hub, site, devices, start=start, end=end, resolution=resolution, device=device)


def deadline() -> asyncio.Timeout:
    """Limits everything one read fetches; raises TimeoutError when the time is over."""
    return asyncio.timeout(DEADLINE_S)


def too_late() -> VendorTimeout:
    return VendorTimeout(
        "The vendor takes too long to answer; the readings are still being fetched", retry_after=_NEXT_TRY
    )
