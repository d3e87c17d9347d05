"""One owner's whole way through a plugin: consent, approval, refresh, site, a day of quarter hours, three of days."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

from joinder.energy import Readings, ReadingsQuery, Site
from joinder.grants import Callback, Consent, Grant
from joinder.series import QUARTER, midnight, zone
from joinder.testing.subject import NOON, Stand, Subject, standing

DAY = timedelta(days=1)
Ask = Callable[[], Awaitable[object]]


@dataclass(frozen=True, kw_only=True)
class Seen:
    """What the hooks answered. `refreshed` None: nothing to refresh; `days` None: the vendor keeps no days."""

    callback: Callback
    consent: Consent
    refreshed: Grant | None
    site: Site
    quarters: Readings
    quarters_of: ReadingsQuery
    days: Readings | None
    days_of: ReadingsQuery | None

    @property
    def grants(self) -> tuple[Grant, ...]:
        return (self.consent.grant, *((self.refreshed,) if self.refreshed else ()))


async def whole_flow(stand: Stand, callback: Callback | None = None) -> Seen:
    """Every hook once, in the order core calls them. Raises what they raise."""
    name, registry = stand.vendor.name, stand.registry
    callback = callback or await stand.callback()
    consent = await stand.consent(callback)
    refreshed = None
    if stand.vendor.is_renewable:
        refreshed = await registry.refresh(name, stand.context(), consent.grant)
    grant = refreshed or consent.grant
    site = await stand.site(grant, grant.site_ids[0])
    quarters_of = last_day(stand, site)
    days_of = last_days(stand, site)
    quarters = await registry.fetch_readings(name, stand.context(), grant, quarters_of)
    days = await registry.fetch_readings(name, stand.context(), grant, days_of) if days_of else None
    return Seen(
        callback=callback,
        consent=consent,
        refreshed=refreshed,
        site=site,
        quarters=quarters,
        quarters_of=quarters_of,
        days=days,
        days_of=days_of,
    )


@asynccontextmanager
async def asking(subject: Subject, *, at: datetime = NOON) -> AsyncIterator[tuple[Stand, dict[str, Ask]]]:
    """The calls core makes with a good grant; contexts are made when called, so that a fault set later counts."""
    async with standing(subject, at=at) as stand:
        grant: Grant = await stand.granted()
        name, registry, site = stand.vendor.name, stand.registry, await stand.site(grant, grant.site_ids[0])
        query = last_day(stand, site)
        asks: dict[str, Ask] = {
            "fetch_site": lambda: registry.fetch_site(name, stand.context(), grant, site.vendor_id),
            "fetch_readings": lambda: registry.fetch_readings(name, stand.context(), grant, query),
        }
        if stand.vendor.is_renewable:
            asks["refresh"] = lambda: registry.refresh(name, stand.context(), grant)
        yield stand, asks


def last_day(stand: Stand, site: Site) -> ReadingsQuery:
    """The 24 hours before now (less where the vendor's window is shorter), and live power."""
    history = stand.vendor.limits.resolution("15mins")
    end = quarter_before(stand.clock.now())
    span = min(DAY, history.window) if history else timedelta(0)
    return ReadingsQuery(site=site, start=end - span, end=end, live=True)


def last_days(stand: Stand, site: Site) -> ReadingsQuery | None:
    """The three local days before today."""
    where = zone(site.timezone)
    if where is None or stand.vendor.limits.resolution("day") is None:
        return None
    today = stand.clock.now().astimezone(where).date()
    start, end = midnight(today - 3 * DAY, where), midnight(today, where)
    return ReadingsQuery(site=site, start=start, end=end, resolution="day")


def clock_changes(where: ZoneInfo, year: int) -> list[date]:
    """Returns the days of that year which are no 24 hours long."""
    days = [date(year, 1, 1) + DAY * number for number in range(365)]
    return [day for day in days if midnight(day + DAY, where) - midnight(day, where) != DAY]


def quarter_before(at: datetime) -> datetime:
    return at - timedelta(seconds=at.timestamp() % QUARTER.total_seconds())
