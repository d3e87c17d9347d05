"""Judges what earlier versions stored by the rules of today's gate: what cannot be right is marked or goes.

Each rule is the gate's own (vendors/gate), each row judged as of the moment it was told. What lost a value counts as
never asked, so that reads and backfills fetch it within the vendor's quota. Works beside servers and workers, in short
transactions: a row that was told anew meanwhile is left alone. A run that is cut off goes on where it was; a second one
finds nothing to change.

What stored rows cannot tell stays: which device's row an answer of its site replaced, and of how many parts a vendor's
own sum was made.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import msgspec
from sqlalchemy import delete
from sqlmodel import col

from joinder.clock import now
from joinder.errors import UnknownVendor
from joinder.runtime.hub import Hub, audit
from joinder.services.readings import backfill
from joinder.services.readings.coverage import Gap, near, reachable, without
from joinder.services.readings.periods import zone_of
from joinder.services.recheck.counts import Gone, RecheckFound, RecheckProgress, told_once
from joinder.services.recheck.series import DaySums, Series
from joinder.services.recheck.site import RecheckedSite, head, live, part_of, registers
from joinder.services.records import notices
from joinder.services.refusals import NotFound, Unprocessable
from joinder.store import rechecks
from joinder.store.readings import CoveredSpan, all_coverage, coverage
from joinder.store.sites import StoredSite
from joinder.store.tables import StoreState
from joinder.store.types import Upsert, Write
from joinder.vendor import Limits, Resolution

DONE = "rechecked"  # in store_state: everything that is stored was judged once; a new database has it from the start
RESOLUTIONS: tuple[Resolution, ...] = ("15mins", "day")
SITES_AT_ONCE = 100
SAVE_EVERY_S = 2.0
_SITE_PART = "0"  # before every device's id
Watcher = Callable[[RecheckProgress], None]


@dataclass(frozen=True, kw_only=True)
class RecheckRequest:
    """`since`: only rows that begin then or later (epoch seconds)."""

    vendor: str | None = None
    since: int | None = None
    is_dry: bool = False
    is_fetching: bool = False

    @property
    def name(self) -> str:
        """Names the run's place in store_state: the same question goes on with the same run."""
        return f"recheck {self.vendor or '*'} {self.since if self.since is not None else '*'}"


async def is_due(hub: Hub) -> bool:
    """Tells whether there are readings that no run has judged to the end."""
    return await rechecks.state(hub.store, DONE) is None


async def run(hub: Hub, actor: str, asked: RecheckRequest, watcher: Watcher = lambda _: None) -> RecheckProgress:
    """Judges to the end. Raises NotFound for a vendor nobody knows, Unprocessable for a `since` of the future."""
    await _refuse_nonsense(hub, asked)
    progress = await _begun(hub, asked)
    work = _Run(hub=hub, actor=actor, asked=asked, progress=progress, watcher=watcher)
    while found := await rechecks.sites(hub.store, asked.vendor, progress.after, SITES_AT_ONCE):
        for site in found:
            await work.site(site)
    if not asked.is_dry:
        await _end(hub, actor, asked, progress)
    return progress


async def _refuse_nonsense(hub: Hub, asked: RecheckRequest) -> None:
    if asked.since is not None and asked.since > now():
        raise Unprocessable("--since lies in the future: nothing is stored from then on")
    stored = {str(row[0]) for row in await hub.store.rows("SELECT DISTINCT vendor FROM enrollment", {})}
    known = sorted(stored | {entry.name for entry in hub.registry.installed})
    if asked.vendor is not None and asked.vendor not in known:
        raise NotFound(f"There is no vendor of that name; give one of: {', '.join(known) or 'none is installed'}.")


async def _begun(hub: Hub, asked: RecheckRequest) -> RecheckProgress:
    """Returns where a run of the same question was cut off, else the beginning."""
    told = None if asked.is_dry else await rechecks.state(hub.store, asked.name)
    if told is not None:
        with contextlib.suppress(msgspec.MsgspecError):  # of another version: from the beginning
            return msgspec.json.decode(told, type=RecheckProgress)
    return RecheckProgress(total=await rechecks.count_sites(hub.store, asked.vendor))


async def _end(hub: Hub, actor: str, asked: RecheckRequest, progress: RecheckProgress) -> None:
    async with hub.store.write() as session:
        for account_id in progress.accounts:
            audit(session, account_id, actor, "readings.recheck", asked.vendor or "readings")
        await session.execute(delete(StoreState).where(col(StoreState.name) == asked.name))
        if asked.vendor is None and asked.since is None:
            await session.merge(StoreState(name=DONE, value={"at": now()}))


@dataclass(kw_only=True)
class _Run:
    """One run, site by site."""

    hub: Hub
    actor: str
    asked: RecheckRequest
    progress: RecheckProgress
    watcher: Watcher
    ledgers: dict[tuple[str, Resolution], list[CoveredSpan]] = field(
        default_factory=dict
    )  # as a dry run would leave them
    saved_at: float = field(default_factory=time.monotonic)

    async def site(self, row: StoredSite) -> None:
        """Judges a site: its head, its own series, then those of its devices."""
        progress = self.progress
        if progress.site != row.id:
            progress.site, progress.part, progress.to_fetch = row.id, "", None
        self.ledgers.clear()
        of_head = RecheckFound()
        site = head(row, of_head)
        parts = [part_of(device, of_head) for device in await rechecks.devices(self.hub.store, row.id)]
        home = RecheckedSite(site=site, parts=parts, limits=self._limits(row.vendor))
        if progress.part < _SITE_PART:
            await live(self.hub.store, home, of_head)
            await self._part(home, _SITE_PART, row.id, None, of_head)
        for part in parts:
            if part.row_id > progress.part:
                await self._part(home, part.row_id, part.row_id, part.device.vendor_id, RecheckFound())
        await self._site_done(home)

    async def _part(
        self, home: RecheckedSite, name: str, subject_id: str, device_id: str | None, first: RecheckFound
    ) -> None:
        """Judges a subject's registers and rows.

        Those that stay count when all of them are done: a run cut off before looks at them once more.
        """
        rows = first.staying
        await self._take(home, first)
        async for found in registers(self.hub.store, home, subject_id, device_id):
            await self._take(home, found)
            rows += found.staying
        days = DaySums(zone_of(home.site.timezone))
        for resolution in RESOLUTIONS:
            series = Series(
                store=self.hub.store,
                home=home,
                subject_id=subject_id,
                device_id=device_id,
                resolution=resolution,
                days=days,
            )
            async for found in series.batches(self.asked.since):
                await self._take(home, found)
                rows += found.staying
        counts = self.progress.vendor(home.site.vendor)
        counts.rows += rows
        counts.offset_zones += first.has_offset_zone
        self.progress.part = name

    async def _take(self, home: RecheckedSite, found: RecheckFound) -> None:
        """Counts what was found, and writes it with the run's place in one transaction."""
        site, progress = home.site, self.progress
        counts = progress.vendor(site.vendor)
        for one in found.changed:
            counts.count(one)
            counts.rows += one.is_dropped
        writes = [*found.writes, *await self._forgotten(home, found.gone)]
        if writes:
            if site.account_id not in progress.accounts:
                progress.accounts.append(site.account_id)
            refused = told_once(refusal for one in found.changed for refusal in one.refused)
            writes += notices.writes(site.enrollment_id, site.id, (), refused)
        await self._save(writes, serialize_on=site.enrollment_id)
        self.watcher(progress)

    async def _forgotten(self, home: RecheckedSite, gone: Sequence[Gone]) -> list[Write]:
        """Makes the writes that take spans out of the ledger."""
        by_series: dict[tuple[str, Resolution], list[Gap]] = {}
        for one in gone:
            by_series.setdefault((one.subject_id, one.resolution), []).append(one.span)
        writes: list[Write] = []
        for (subject_id, resolution), gaps in by_series.items():
            possible = [gap for found in near(gaps) if (gap := _possible(home, resolution, found)) is not None]
            before = await self._ledger(subject_id, resolution)
            asked = [gap for gap in possible if any(span.start < gap[1] and span.end > gap[0] for span in before)]
            after = without(before, asked)
            self.ledgers[subject_id, resolution] = after
            self._count_spans(home, asked)
            writes += coverage(subject_id, resolution, before, after)
        return writes

    async def _ledger(self, subject_id: str, resolution: Resolution) -> list[CoveredSpan]:
        known = self.ledgers.get((subject_id, resolution)) if self.asked.is_dry else None
        return await all_coverage(self.hub.store, subject_id, resolution) if known is None else known

    def _count_spans(self, home: RecheckedSite, asked: Sequence[Gap]) -> None:
        self.progress.vendor(home.site.vendor).spans += len(asked)
        if self.asked.is_fetching:
            edges = [*(self.progress.to_fetch or ()), *(at for gap in asked for at in gap)]
            self.progress.to_fetch = (min(edges), max(edges)) if edges else None

    async def _site_done(self, home: RecheckedSite) -> None:
        progress, site = self.progress, home.site
        if progress.to_fetch is not None and not self.asked.is_dry:
            start, end = progress.to_fetch
            with contextlib.suppress(Unprocessable, UnknownVendor, NotFound):
                await backfill.start(
                    self.hub, site.account_id, self.actor, site.enrollment_id, start=start, end=min(end, now())
                )
                progress.backfills += 1
        progress.vendor(site.vendor).sites += 1
        progress.done += 1
        progress.after, progress.part, progress.to_fetch = site.id, "", None
        await self._save([])
        self.watcher(progress)

    async def _save(self, writes: Sequence[Write], *, serialize_on: str = "") -> None:
        """Saves the run's place, alone only now and then: a site that was sound may be looked at twice."""
        moment = time.monotonic()
        if self.asked.is_dry or not (writes or moment - self.saved_at > SAVE_EVERY_S):
            return
        self.saved_at = moment
        record = (self.asked.name, msgspec.json.encode(self.progress).decode())
        await self.hub.store.apply(
            *writes, Upsert("store_state", ("name",), ("value",), [record]), serialize_on=serialize_on
        )

    def _limits(self, vendor: str) -> Limits | None:
        try:
            return self.hub.registry.vendor(vendor).limits
        except UnknownVendor:
            return None


def _possible(home: RecheckedSite, resolution: Resolution, gap: Gap) -> Gap | None:
    """Returns what of the gap the vendor may still have."""
    if home.limits is None:
        return gap
    history = home.limits.resolution(resolution)
    if history is None:
        return None
    site = home.site
    since = site.operational_since
    zone = zone_of(site.timezone)
    return reachable(history, *gap, moment=now(), zone=zone, operational_since=since)
