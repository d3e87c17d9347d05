"""One subject's stored rows, a batch at a time, as the gate would have let them pass."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from zoneinfo import ZoneInfo

from msgspec import structs

from joinder.clock import now
from joinder.energy import ENERGY_METRICS, Reading
from joinder.services.readings import day_totals, sums
from joinder.services.readings.coverage import Gap
from joinder.services.readings.periods import QUARTER_S, ceiling, floor, following, zone_of
from joinder.services.recheck.counts import Gone, RecheckFound
from joinder.services.recheck.site import RecheckedSite, told_at, when
from joinder.store import rechecks
from joinder.store.readings import METRICS
from joinder.store.types import Row, Store
from joinder.vendor import Resolution
from joinder.vendors.gate import Judged, Rule, checked_stored
from joinder.vendors.gate.readings import RUNNING
from joinder.vendors.gate.rules import Refusals

ROWS_AT_ONCE = 500
# Twice as far as the gate looks for a row's neighbours, so that those beside a batch are judged as in a whole answer.
BESIDE_S = {"15mins": 4 * 3600, "day": 14 * 86400}
_QUALITY = 2 + len(METRICS)
_RULE, _FETCHED_AT, _SOURCE = _QUALITY + 1, _QUALITY + 2, _QUALITY + 3
Told = tuple[Reading, datetime]


@dataclass
class DaySums:
    """Of the quarter hours that stay, by local day: as day_totals.verdict takes them."""

    zone: ZoneInfo
    found: dict[int, list[float]] = field(default_factory=dict)
    _day: Gap = (0, 0)

    def add(self, row: Reading) -> None:
        at = int(row.start.timestamp())
        if not self._day[0] <= at < self._day[1]:
            start = floor(at, "day", self.zone)
            self._day = (start, following(start, "day", self.zone))
        total = self.found.setdefault(self._day[0], [0.0] * (2 * len(ENERGY_METRICS) + 1))
        for index, name in enumerate(ENERGY_METRICS):
            if (value := getattr(row, name)) is not None:
                total[2 * index] += value
                total[2 * index + 1] += 1
        total[-1] += row.quality == "partial"

    def compared(self, row: Reading) -> Reading:
        """Returns the day, marked where it and its quarter hours disagree, and no longer where they agree."""
        start, end = int(row.start.timestamp()), int(row.end.timestamp())
        sums_of = self.found.get(start)
        if sums_of is None or end > floor(now(), "day", self.zone):
            return row
        totals = [getattr(row, name) for name in ENERGY_METRICS]
        differs = day_totals.verdict(row.quality, row.rule, totals, sums_of, (end - start) // QUARTER_S)
        if differs is None:
            return row
        if differs:
            return structs.replace(row, quality="estimated", rule=str(Rule.DAY_DISAGREES))
        return structs.replace(row, quality="measured", rule=None)


@dataclass(kw_only=True)
class Series:
    """The rows of one subject in one resolution. `device_id` None: the site's own."""

    store: Store
    home: RecheckedSite
    subject_id: str
    device_id: str | None
    resolution: Resolution
    days: DaySums
    _tail: list[Told] = field(default_factory=list)

    async def batches(self, since: int | None) -> AsyncIterator[RecheckFound]:
        after = -(2**62)
        if since is not None:
            after = since - 1
            beside = await self._page(after - BESIDE_S[self.resolution], until=after, most=ROWS_AT_ONCE)
            self._tail = [told for row in beside if (told := self._told(row)) is not None]
        while rows := await self._page(after, most=ROWS_AT_ONCE):
            after = rows[-1][0]
            ahead: Sequence[Row] = ()
            if len(rows) == ROWS_AT_ONCE:
                ahead = await self._page(after, until=after + BESIDE_S[self.resolution], most=ROWS_AT_ONCE)
            found, kept = self._judged(rows, ahead)
            await self._look_for_sums(found, kept)
            yield found

    async def _page(self, after: int, *, until: int = rechecks.END_OF_TIME, most: int) -> Sequence[Row]:
        return await rechecks.page(self.store, self.subject_id, self.resolution, after, until=until, most=most)

    def _judged(self, rows: Sequence[Row], ahead: Sequence[Row]) -> tuple[RecheckFound, list[tuple[Row, Reading]]]:
        """Returns what this batch tells, and its rows that stay."""
        found, kept = RecheckFound(rows=len(rows)), []
        own = [(row, told) for row in rows if (told := self._told(row)) is not None]
        beside = [told for row in ahead if (told := self._told(row)) is not None]
        every = [*self._tail, *(each for _, each in own), *beside]
        judged = checked_stored(every, self.home.query(self.resolution, self.device_id))
        outcomes = dict(zip((row[0] for row, _ in own), judged[len(self._tail) :], strict=False))
        before = {row[0]: reading for row, (reading, _) in own}
        for row in rows:
            after = self._outcome(outcomes.get(row[0], Judged(None)))
            self._note(found, row, before.get(row[0]), after)
            if after.row is not None:
                kept.append((row, after.row))
        since = rows[-1][0] - BESIDE_S[self.resolution]
        self._tail = [(reading, told_at(row[_FETCHED_AT])) for row, reading in kept if row[0] >= since]
        return found, kept

    def _told(self, row: Row) -> Told | None:
        """Makes a reading of the row; None where the times are none."""
        start, end = when(row[0]), when(row[1])
        if start is None or end is None:
            return None
        values = dict(zip(METRICS, row[2:_QUALITY], strict=True))
        reading = Reading(
            start=start, end=end, device_id=self.device_id, quality=row[_QUALITY], rule=row[_RULE], **values
        )
        return reading, told_at(row[_FETCHED_AT])

    def _outcome(self, judged: Judged) -> Judged:
        """Adds what its day says of the row."""
        if judged.row is None:
            return judged
        if self.resolution == "15mins":
            self.days.add(judged.row)
            return judged
        compared = self.days.compared(judged.row)
        refusals = Refusals()
        if compared.rule == Rule.DAY_DISAGREES and judged.row.rule != compared.rule:
            refusals.note(Rule.DAY_DISAGREES)
        return Judged(compared, (*judged.refused, *refusals.listed()))

    def _note(self, found: RecheckFound, row: Row, before: Reading | None, judged: Judged) -> None:
        if before is not None and judged.row == before:
            return
        write = rechecks.mended(self.subject_id, self.resolution, row[0], judged.row, row[_FETCHED_AT])
        rule = judged.row.rule if judged.row is not None else str(Rule.TIMES)
        found.change(write, judged.refused, rule, drops=judged.row is None)
        lost = {one.rule for one in judged.refused} - {str(Rule.DAY_DISAGREES)}
        if before is not None and (lost or judged.row is None or judged.row.rule == RUNNING):
            zone = zone_of(self.home.site.timezone)
            level = self.resolution
            span = floor(row[0], level, zone), ceiling(max(row[1], row[0] + 1), level, zone)
            found.gone.append(Gone(self.subject_id, level, span))

    async def _look_for_sums(self, found: RecheckFound, kept: Sequence[tuple[Row, Reading]]) -> None:
        """Notes what the site has no row for as asked in vain.

        Earlier versions added a site up of its devices at each read. Now its own answer is, when it comes.
        """
        told = [row for stored, row in kept if stored[_SOURCE] is None] if self.device_id is not None else []
        if not told:
            return
        site_id = self.home.site.id
        first, last = int(told[0].start.timestamp()), int(told[-1].start.timestamp())
        have = await rechecks.starts(self.store, site_id, self.resolution, first, last)
        alone = [row for row in told if int(row.start.timestamp()) not in have]
        devices = [part.device for part in self.home.parts if not part.is_gone]
        for row in sums.site_rows([], alone, devices):
            span = int(row.start.timestamp()), int(row.end.timestamp())
            found.gone.append(Gone(site_id, self.resolution, span))
