"""One enrollment, whole, for the admin: what is stored of it, and its last day and month. No vendor is asked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, time, timedelta
from zoneinfo import ZoneInfo

from joinder.clock import now
from joinder.energy import DeviceKind
from joinder.errors import UnknownVendor
from joinder.runtime.hub import Hub, account_of
from joinder.services.join import enrollments
from joinder.services.join.enrollments import Overview
from joinder.services.readings import backfill, intervals
from joinder.services.readings.backfill import BackfillProgress
from joinder.services.readings.intervals import Window
from joinder.services.readings.live import LivePower, stored_live
from joinder.services.readings.missing import Missing
from joinder.services.readings.periods import SummaryLevel, floor, zone_of
from joinder.services.readings.silence import Silent
from joinder.services.records import events, notices
from joinder.services.records.events import EventView
from joinder.services.records.notices import Notice
from joinder.store.sites import StoredDevice, StoredSite, read_devices, read_sites
from joinder.store.tables import Enrollment, GrantVersion
from joinder.store.types import Row

EVENTS_SHOWN = 50
DAYS_SHOWN = 30
LIVES_MOST = 8  # sites whose power is read
_MARK = (
    "SELECT e.health, e.health_since, e.health_reason, e.failures, e.last_success_at, e.last_attempt_at, e.paused_at, "
    "e.status, g.version, g.intent_at, (SELECT max(f.updated_at) FROM backfill f WHERE f.enrollment_id = e.id), "
    "(SELECT sum(n.count) FROM notice n WHERE n.enrollment_id = e.id) "
    'FROM enrollment e LEFT JOIN "grant" g ON g.enrollment_id = e.id WHERE e.id = :id'
)
_RUNNING = "SELECT id FROM backfill WHERE enrollment_id = :id AND status = 'running' LIMIT 1"
_NAMES = (
    "SELECT a.name, c.name FROM enrollment e JOIN account a ON a.id = e.account_id "
    "LEFT JOIN vendor_credentials c ON c.id = e.credentials_id WHERE e.id = :id"
)


@dataclass(frozen=True, kw_only=True)
class Chart:
    """Metric → its values over `starts` (epoch seconds), None where unknown: W in a day, Wh in a month.

    It goes from `start` to `end`, whatever is stored. `soc_percent` is among the metrics of a day.

    `missing`: what no value tells, by kind. `partial`: what lacks a part, each with the rule that says why.
    """

    zone: ZoneInfo
    start: int
    end: int
    starts: Sequence[int]
    values: Mapping[str, Sequence[float | None]]
    missing: Mapping[DeviceKind, Sequence[Missing]] = field(default_factory=dict)
    partial: Sequence[Partial] = ()
    silent: Sequence[Silent] = ()


@dataclass(frozen=True)
class Partial:
    """[start, end) in epoch seconds."""

    kind: DeviceKind
    start: int
    end: int
    rule: str | None


@dataclass(frozen=True, kw_only=True)
class Detail:
    account_id: str
    overview: Overview
    lineage: Sequence[GrantVersion]
    sites: Sequence[tuple[StoredSite, Sequence[StoredDevice]]]
    events: Sequence[EventView]
    backfill: BackfillProgress | None
    notices: Sequence[Notice] = ()
    lives: Mapping[str, LivePower] = field(default_factory=dict)  # site id → what is stored
    account_name: str = ""
    credentials_name: str | None = None

    @property
    def name(self) -> str | None:
        """Returns what people call it: the name of its first site."""
        return self.sites[0][0].name if self.sites else None


async def mark(hub: Hub, enrollment_id: str) -> Row | None:
    """Reads a row that differs from the one before when something of the enrollment changed; None once it is gone."""
    rows = await hub.store.rows(_MARK, {"id": enrollment_id})
    return rows[0] if rows else None


async def load(hub: Hub, enrollment_id: str) -> Detail:
    """Reads an enrollment of any account and what belongs to it, for the admin. Raises NotFound."""
    account_id = await account_of(hub, Enrollment, enrollment_id)
    overview = await enrollments.get(hub, account_id, enrollment_id)
    running = await hub.store.rows(_RUNNING, {"id": enrollment_id})
    sites = await read_sites(hub.store, account_id, overview.site_ids)
    lives = {site.id: await stored_live(hub, site) for site, _ in sites[:LIVES_MOST]}
    names = await hub.store.rows(_NAMES, {"id": enrollment_id})
    return Detail(
        account_id=account_id,
        account_name=names[0][0] if names else "",
        credentials_name=names[0][1] if names else None,
        overview=overview,
        lineage=await enrollments.lineage(hub, account_id, enrollment_id),
        sites=sites,
        lives={site_id: live for site_id, live in lives.items() if live is not None},
        events=await events.latest(hub, enrollment_id=enrollment_id, limit=EVENTS_SHOWN),
        backfill=await backfill.get(hub, account_id, str(running[0][0])) if running else None,
        notices=await notices.of_enrollment(hub, enrollment_id),
    )


async def day(hub: Hub, site: StoredSite, *, days_ago: int = 0) -> Chart:
    """Charts the power of one day of the site's own time, out of its quarter hours."""
    zone = zone_of(site.timezone)
    start = _midnight(zone, days_ago)
    end = floor(start + 36 * 3600, "day", zone)  # a day of 23 or 25 hours ends where the next one begins
    return await _chart(hub, site, "15mins", start, end, per_hour=4.0)


async def month(hub: Hub, site: StoredSite) -> Chart:
    """Charts the energy of the last 30 days, a value a day."""
    start = _midnight(zone_of(site.timezone), DAYS_SHOWN)
    return await _chart(hub, site, "day", start, now(), per_hour=1.0)


def _midnight(zone: ZoneInfo, days_ago: int) -> int:
    """Returns when a day of the calendar begins there: one day back is not 24 hours where the clock is changed."""
    day = datetime.fromtimestamp(now(), zone).date() - timedelta(days=days_ago)
    return floor(int(datetime.combine(day, time(12), zone).timestamp()), "day", zone)


async def _chart(hub: Hub, site: StoredSite, level: SummaryLevel, start: int, end: int, *, per_hour: float) -> Chart:
    found: dict[str, dict[int, float]] = {}
    missing: dict[DeviceKind, list[Missing]] = {}
    partial: list[Partial] = []
    silent: dict[str, Silent] = {}
    window = Window(level, start, end, 200, provenance=True)
    listed = {device.kind for device in await read_devices(hub.store, site.id)}
    for kind in DeviceKind:
        try:
            page = await intervals.stored_of_site(hub, site.account_id, site.id, kind, window)
        except UnknownVendor:  # its plugin is gone; what it brought is still there, but nobody knows how it comes
            continue
        if page.totals or kind in listed:
            missing[kind] = page.missing
        silent |= {one.device.id: one for one in page.silent}
        for total in page.totals:
            if total.quality == "partial":
                _note(partial, Partial(kind, total.start, total.end, total.origin.rule if total.origin else None))
            for name, value in total.values.items():
                if value is not None and name.endswith("_wh"):
                    found.setdefault(name, {})[total.start] = value * per_hour
                elif value is not None and name == "soc_percent" and level == "15mins":
                    found.setdefault(name, {})[total.start] = value
    starts = sorted({at for values in found.values() for at in values})
    values = {name: [known.get(at) for at in starts] for name, known in found.items()}
    zone = zone_of(site.timezone)
    return Chart(
        zone=zone,
        start=start,
        end=end,
        starts=starts,
        values=values,
        missing=missing,
        partial=partial,
        silent=list(silent.values()),
    )


def _note(partial: list[Partial], one: Partial) -> None:
    """Adds a partial period; those that adjoin, of one kind and for one reason, are one."""
    last = partial[-1] if partial else None
    if last is not None and (last.kind, last.end, last.rule) == (one.kind, one.start, one.rule):
        partial[-1] = replace(last, end=one.end)
    else:
        partial.append(one)
