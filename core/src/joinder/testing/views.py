"""One site as the plugin sees it beside what it really is, and which sites the checks look at."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta

from msgspec import structs

from joinder.energy import DeviceKind, Reading, Readings, ReadingsQuery, Site
from joinder.grants import Grant
from joinder.series import day_span
from joinder.simulate.truth import TrueSite
from joinder.testing.expectations import expect_rows
from joinder.testing.flow import DAY
from joinder.testing.subject import Failed, Stand, Subject, standing
from joinder.testing.truth import expect_true_rows, promised
from joinder.vendor import Resolution, Vendor

SITES = 3  # of an owner that are looked at


@dataclass(frozen=True, kw_only=True)
class View:
    """One site as the plugin sees it, and as it is."""

    stand: Stand
    owner: str
    grant: Grant
    site: Site
    truth: TrueSite

    async def at(self, moment: datetime) -> View:
        """The same site then, with a grant of then."""
        self.stand.clock.freeze(moment.timestamp())
        grant = await self.stand.granted(self.owner)
        self.stand.clock.freeze(moment.timestamp())
        return replace(self, grant=grant)

    async def fetch(self, query: ReadingsQuery) -> Readings:
        stand = self.stand
        return await stand.registry.fetch_readings(stand.vendor.name, stand.context(), self.grant, query)

    async def rows(
        self, start: datetime, end: datetime, resolution: Resolution = "15mins", device_id: str | None = None
    ) -> tuple[ReadingsQuery, list[Reading]]:
        """The span in pieces that the vendor's window allows, as core asks."""
        history = self.stand.vendor.limits.resolution(resolution)
        step, found, at = history.window if history else DAY, list[Reading](), start
        whole = ReadingsQuery(site=self.site, start=start, end=end, resolution=resolution, device_id=device_id)
        while at < end:
            until = min(at + step, end)
            found += (await self.fetch(structs.replace(whole, start=at, end=until))).intervals
            at = until
        return whole, found

    async def day_is_true(self, day: date) -> None:
        """A local day's quarter hours and its total, as far as the vendor keeps them."""
        start, end = day_span(day, self.truth.home.zone)
        for resolution in kept(self.stand.vendor):
            query, rows = await self.rows(start, end, resolution)
            expect_rows(rows, query)
            self._all_there(rows, query)
            expect_true_rows(rows, query, self.truth, needed=promised(self.stand.vendor, self.truth))

    def _all_there(self, rows: list[Reading], query: ReadingsQuery) -> None:
        count = 1 if query.resolution == "day" else int((query.end - query.start) / timedelta(minutes=15))
        starts = [query.start + timedelta(minutes=15) * index for index in range(count)]
        told = sum(not self.truth.missing(at.timestamp()) for at in starts) if query.resolution == "15mins" else count
        if len(rows) < told:
            where = f"{len(rows)} of {told} rows of {query.resolution} on {query.start:%d %b}"
            raise Failed(
                f"{where}; ask for the whole day, every page of it, by the site's own clock; rows the vendor"
                " has not are TrueSite.missing"
            )


def kept(vendor: Vendor) -> list[Resolution]:
    return [entry.resolution for entry in vendor.limits.history]


async def views(stand: Stand, owner: str | None = None) -> AsyncIterator[View]:
    """The sites of that scenario owner, or of the one who has the most; three at most.

    Without an owner named also those of others that have devices of other kinds.
    """
    grant = await stand.granted(stand.widest if owner is None else owner)
    for site_id in grant.site_ids[:SITES]:
        yield await _view(stand, stand.widest if owner is None else owner, grant, site_id)
    for other, site_id in _of_other_kinds(stand, grant.site_ids[:SITES]) if owner is None else ():
        yield await _view(stand, other, await stand.granted(other), site_id)


async def _view(stand: Stand, owner: str, grant: Grant, site_id: str) -> View:
    site = await stand.site(grant, site_id)
    return View(stand=stand, owner=owner, grant=grant, site=site, truth=stand.truth(site_id))


def _of_other_kinds(stand: Stand, seen: tuple[str, ...]) -> list[tuple[str, str]]:
    """Returns owners with a site whose devices are of kinds that no site before has, such as one without a battery."""
    kinds = {_kinds(stand, site_id) for site_id in seen}
    found = []
    for name, owner in stand.simulator.owners.items():
        for site_id in owner.site_ids:
            if _kinds(stand, site_id) not in kinds:
                kinds.add(_kinds(stand, site_id))
                found.append((name, site_id))
    return found


def _kinds(stand: Stand, site_id: str) -> frozenset[DeviceKind]:
    return frozenset(device.kind for device in stand.truth(site_id).devices)


@asynccontextmanager
async def first_view(subject: Subject, at: datetime | None = None) -> AsyncIterator[View]:
    async with standing(subject, **({"at": at} if at else {})) as stand:
        yield await anext(views(stand, ""))
