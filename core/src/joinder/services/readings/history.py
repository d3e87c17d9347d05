"""What of an enrollment's history is missing, window by window."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from sqlmodel import col, select

from joinder.clock import now
from joinder.errors import NotSupported
from joinder.runtime.hub import Hub
from joinder.services.readings import readings
from joinder.services.readings.coverage import Gap, gaps, reachable, windows
from joinder.services.readings.periods import ceiling, floor, zone_of
from joinder.services.readings.sites import get_site, get_sites
from joinder.store.readings import read_coverage
from joinder.store.sites import StoredDevice, StoredSite
from joinder.store.tables import Backfill, Enrollment, SiteRow
from joinder.vendor import History, Limits

EVERYTHING = 0  # a job's start: as far back as the vendor keeps
BEGINNING_UNKNOWN_S = 2 * 365 * 86400  # as far back where neither the vendor nor the site says where it begins


@dataclass(frozen=True, kw_only=True)
class FetchWindow:
    """One call to be made: [start, end) of a site's series, or of that of one of its devices."""

    site: StoredSite
    devices: Sequence[StoredDevice]
    device: StoredDevice | None
    history: History
    start: int
    end: int

    @property
    def subject_id(self) -> str:
        return self.device.id if self.device else self.site.id


Known = list[tuple[StoredSite, list[StoredDevice]]]


async def sites_of(hub: Hub, enrollment: Enrollment, *, ask: bool) -> Known:
    """Returns the enrollment's sites with their devices.

    `ask`: asks the vendor about those known by id only, and raises its error.
    """
    async with hub.store.read() as session:
        query = select(SiteRow.id).where(col(SiteRow.enrollment_id) == enrollment.id, col(SiteRow.gone_at).is_(None))
        ids = list((await session.execute(query.order_by(col(SiteRow.id)))).scalars())
    known = await get_sites(hub, enrollment.account_id, ids)
    if not ask:
        return known
    found: Known = []
    for site, devices in known:
        with contextlib.suppress(NotSupported):  # no longer shared: the others' history is wanted all the same
            is_known = site.fetched_at is not None
            found.append((site, devices) if is_known else await get_site(hub, site.account_id, site.id))
    return found


async def missing(hub: Hub, job: Backfill, limits: Limits, sites: Known) -> list[FetchWindow]:
    """Returns the windows to fetch, in order: quarter hours before days, a site's series before those of its devices.

    Of each the newest come first over all sites. What was asked since the job began is good enough for it.
    """
    found: list[FetchWindow] = []
    for site, devices in sites:
        for device in (None, *_with_own_series(devices)):
            for history in limits.history:
                window = FetchWindow(site=site, devices=devices, device=device, history=history, start=0, end=0)
                found += [
                    replace(window, start=start, end=end)
                    for gap in await _gaps(hub, job, limits, window)
                    for start, end in windows(gap, history, zone_of(site.timezone))
                ]
    return sorted(found, key=lambda one: (one.history.resolution == "day", one.device is not None, -one.end))


def reached(job: Backfill, limits: Limits, sites: Known, left: Sequence[FetchWindow]) -> int | None:
    """Returns the moment (epoch seconds) from which on everything the job asks for is there.

    It is there in the finest resolution of the sites' own series. None: no history, no sites, or nothing can exist.
    """
    if not limits.history or not sites:
        return None
    finest = limits.history[0].resolution
    ends = [one.end for one in left if one.device is None and one.history.resolution == finest]
    if ends:
        return max(ends)
    spans = [_span(job, limits.history[0], site) for site, _ in sites]
    return min((span[0] for span in spans if span), default=None)


async def _gaps(hub: Hub, job: Backfill, limits: Limits, window: FetchWindow) -> list[Gap]:
    span = _span(job, window.history, window.site)
    if span is None:
        return []
    resolution = window.history.resolution
    freshness = replace(readings.freshness_of(limits, resolution), enough_since=job.created_at)
    known = await read_coverage(hub.store, window.subject_id, resolution, *span)
    return gaps(known, *span, now(), freshness)


def _span(job: Backfill, history: History, site: StoredSite) -> Gap | None:
    """Returns the whole periods of the job's range that are over, as far as they can exist; None when none can."""
    zone = zone_of(site.timezone)
    start, end = job.start, job.end
    if start == EVERYTHING and history.reach is None and site.operational_since is None:
        start = end - BEGINNING_UNKNOWN_S
    level = history.resolution
    end = min(ceiling(end, level, zone), floor(now(), level, zone))
    return reachable(
        history,
        floor(start, level, zone),
        end,
        moment=now(),
        zone=zone,
        operational_since=site.operational_since,
    )


def _with_own_series(devices: Sequence[StoredDevice]) -> Iterator[StoredDevice]:
    """Yields the devices that have a series of their own.

    The only device of its kind is what the site's series measures (docs/decisions/0005).
    """
    kinds = Counter(device.kind for device in devices)
    return (device for device in devices if kinds[device.kind] > 1)
