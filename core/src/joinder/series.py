"""What vendors' rows become: quarter hours and local days of one site or device, from values of any finer grid.

Pure: no clock, no network. Unknown stays None: a value that is missing, negative or not finite is left out, and an
interval that lacks a part of itself is marked partial.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from typing import Annotated, Any, TypeVar
from zoneinfo import ZoneInfo

import msgspec

from joinder import physics
from joinder.energy import (
    ENERGY_METRICS,
    LOAD_BELOW_ZERO,
    PARTS_MISSING,
    ROWS_MISSING,
    SPREAD,
    TOLD_TWICE,
    Quality,
    Reading,
)
from joinder.local_time import Span, day_span, days_between, instant, instants, is_datable, midnight, zone

__all__ = [
    "QUARTER",
    "Days",
    "Number",
    "Quarters",
    "Span",
    "day_span",
    "days_between",
    "instant",
    "instants",
    "is_datable",
    "merged",
    "midnight",
    "once",
    "outwards",
    "percent",
    "plausible",
    "row_spans",
    "with_load",
    "zone",
]
QUARTER = timedelta(minutes=15)
Number = Annotated[float, msgspec.Meta(ge=-1e12, le=1e12)]  # lax decoding would take "nan" and "inf" from a string
Moment = TypeVar("Moment", bound=date)  # a day, or an instant
Row = TypeVar("Row")


@dataclass
class _Sum:
    """One metric inside one interval: Wh, or % · s for the state of charge, and the seconds each part covers."""

    value: float = 0.0
    seconds: dict[str, float] = field(default_factory=dict)  # by part; "" where the whole is told as one


@dataclass
class _Slots:
    """Values by interval, as they come together from several rows, endpoints and devices."""

    start: datetime
    end: datetime
    sums: dict[Span, dict[str, _Sum]] = field(default_factory=dict)
    expected: dict[str, frozenset[str]] = field(default_factory=dict)  # metric → every part its sum must have
    incomplete: dict[Span, str] = field(default_factory=dict)  # by the rule that says so
    named: dict[Span, set[str]] = field(default_factory=dict)  # the devices that are silent in it, by the vendor's word
    spread: set[Span] = field(default_factory=set)  # a part of the value is an even share of a longer row
    contradicted: set[Span] = field(default_factory=set)  # a row of it was told twice with different values

    def add(self, span: Span, metric: str, value: float, seconds: float, part: str) -> None:
        if self.start <= span[0] and span[1] <= self.end:
            total = self.sums.setdefault(span, {}).setdefault(metric, _Sum())
            total.value += value
            total.seconds[part] = total.seconds.get(part, 0.0) + seconds

    def contradict(self, span: Span) -> None:
        if self.start <= span[0] and span[1] <= self.end:
            self.contradicted.add(span)

    def readings(self, device_id: str | None) -> tuple[Reading, ...]:
        return tuple(self._reading(span, device_id) for span in sorted(self.sums.keys() | self.contradicted))

    def _reading(self, span: Span, device_id: str | None) -> Reading:
        sums, length_s = self.sums.get(span, {}), (span[1] - span[0]).total_seconds()
        rule = next((rule for name, total in sums.items() if (rule := self._lacks(name, total, length_s))), None)
        rule = rule or self.incomplete.get(span)
        values: dict[str, Any] = {
            metric: round(total.value / sum(total.seconds.values()) if metric == "soc_percent" else total.value, 3)
            for metric, total in sums.items()
        }
        quality: Quality = "partial" if rule or not sums else "measured"
        if quality == "measured" and span in self.spread:
            quality, rule = "estimated", SPREAD
        rule = TOLD_TWICE if span in self.contradicted else rule
        lacks = (
            tuple(sorted(self.named.get(span, set()).union(*map(self._silent, sums, sums.values()))))
            if quality == "partial"
            else ()
        )
        return Reading(
            start=span[0], end=span[1], device_id=device_id, quality=quality, rule=rule, lacks=lacks, **values
        )

    def _silent(self, metric: str, total: _Sum) -> frozenset[str]:
        return self.expected.get(metric, frozenset()) - total.seconds.keys()

    def _lacks(self, metric: str, total: _Sum, length_s: float) -> str | None:
        """Says why the sum is not whole: a part told nothing, or did not tell all the time. None: it is whole."""
        if metric == "soc_percent":
            return None
        parts = self.expected.get(metric) or total.seconds.keys()
        if any(part not in total.seconds for part in parts):
            return PARTS_MISSING
        return ROWS_MISSING if any(total.seconds[part] < length_s - 1 for part in parts) else None


class Quarters:
    """Quarter hours inside [start, end), aware. Rows that straddle quarters are shared out by time: what is shared out
    of a row longer than half a quarter hour is estimated, unless it is nothing.

    Where a metric is a sum over devices, `expect` names them all and each value says whose it is (`part`): a quarter
    hour in which one of them is silent is partial, however many seconds the others cover. Parts that are devices are
    named by their `vendor_id`, or core cannot tell the operator which one is silent.
    """

    def __init__(self, start: datetime, end: datetime) -> None:
        self._slots = _Slots(start.astimezone(UTC), end.astimezone(UTC))
        self._row: Span | None = None
        self._parts: list[tuple[Span, float]] = []

    def expect(self, metric: str, parts: Iterable[str]) -> None:
        """Expects every one of these parts in a sum of this metric."""
        self._slots.expected[metric] = frozenset(parts)

    def lacks(self, start: datetime, end: datetime, rule: str = PARTS_MISSING, *, devices: Iterable[str] = ()) -> None:
        """Marks what the row [start, end) touches as partial: the vendor itself says that a part is missing.

        `devices`: the `vendor_id` of those that are silent, where it can be told.
        """
        silent = set(devices)
        for span, _ in self._cut(start, end):
            self._slots.incomplete.setdefault(span, rule)
            if silent:
                self._slots.named.setdefault(span, set()).update(silent)

    def told_twice(self, start: datetime, end: datetime) -> None:
        """Marks what the row [start, end) touches: it was told twice with different values (`once`), of which none is
        handed over. Core counts it, and says that it was refused."""
        for span, _ in self._cut(start, end):
            self._slots.contradict(span)

    def energy(self, metric: str, start: datetime, end: datetime, wh: float | None, *, part: str = "") -> None:
        """Adds `wh` over the row [start, end); nothing when unknown.

        A second row of the same time adds to the first.
        """
        length_s = (end - start).total_seconds()
        if length_s <= 0 or (known := plausible(wh)) is None:
            return
        parts = self._cut(start, end)
        for span, seconds in parts:
            self._slots.add(span, metric, known * seconds / length_s, seconds, part)
        if known > 0 and len(parts) > 1 and length_s > physics.SHARED_S:
            self._slots.spread.update(span for span, _ in parts)

    def power(self, metric: str, start: datetime, end: datetime, watts: float | None, *, part: str = "") -> None:
        """Adds mean power of the row [start, end), in W, as energy.

        What inverters draw at night is a production of 0.
        """
        watts = physics.solar_power(watts) if metric == "solar_wh" else watts
        hours = (end - start).total_seconds() / 3600
        self.energy(metric, start, end, None if watts is None else watts * hours, part=part)

    def flow(
        self, positive: str, negative: str, start: datetime, end: datetime, watts: float | None, *, part: str = ""
    ) -> None:
        """Adds mean power with a sign, in W, split by direction: (import_wh, export_wh), (discharge_wh, charge_wh)."""
        if watts is not None and math.isfinite(watts):
            self.power(positive, start, end, max(watts, 0.0), part=part)
            self.power(negative, start, end, max(-watts, 0.0), part=part)

    def soc(self, start: datetime, end: datetime, percent: float | None) -> None:
        """Adds the state of charge over the row, in percent; outside 0 to 100 it is unknown."""
        if (known := plausible(percent)) is not None and known <= 100:
            for span, seconds in self._cut(start, end):
                self._slots.add(span, "soc_percent", known * seconds, seconds, "")

    def _cut(self, start: datetime, end: datetime) -> list[tuple[Span, float]]:
        """Cuts a row once for its several values. One outside of what is asked may be of any year."""
        if self._row != (start, end):
            is_inside = start < self._slots.end and end > self._slots.start
            self._row, self._parts = (start, end), list(_quarters(start, end)) if is_inside else []
        return self._parts

    def readings(self, device_id: str | None = None) -> tuple[Reading, ...]:
        """Returns the readings merged, sorted by start, one per quarter hour that has any value."""
        return self._slots.readings(device_id)


class Days:
    """Local days inside [start, end): 23 or 25 hours long where the clock changes. `expect` and `part`: as Quarters."""

    def __init__(self, zone: ZoneInfo, start: datetime, end: datetime) -> None:
        self._zone = zone
        self._slots = _Slots(start.astimezone(UTC), end.astimezone(UTC))
        self._days = frozenset(days_between(start, end, zone))

    def expect(self, metric: str, parts: Iterable[str]) -> None:
        """Expects every one of these parts in a sum of this metric."""
        self._slots.expected[metric] = frozenset(parts)

    def told_twice(self, day: date) -> None:
        """Notes a contradiction, as Quarters.told_twice does."""
        if day in self._days:
            self._slots.contradict(day_span(day, self._zone))

    def energy(self, metric: str, day: date, wh: float | None, *, partial: bool = False, part: str = "") -> None:
        """Adds `wh` of one local day; `partial`: the vendor says, or it is clear, that some of the day is missing."""
        if day not in self._days:
            return
        span = day_span(day, self._zone)
        length_s = (span[1] - span[0]).total_seconds()
        if (known := plausible(wh)) is not None:
            self._slots.add(span, metric, known, length_s, part)
            if partial:
                self._slots.incomplete.setdefault(span, ROWS_MISSING)

    def readings(self, device_id: str | None = None) -> tuple[Reading, ...]:
        return self._slots.readings(device_id)


def outwards(start: datetime, end: datetime, row: timedelta = QUARTER) -> Span:
    """Returns the span from the beginning of the row that holds `start` to the end of the one that holds `end`.

    What a vendor is asked for, whose rows begin at whole multiples of `row` from midnight UTC: core's spans begin and
    end on any second, and what lies outside of them Quarters leaves out.
    """
    before, after = start.timestamp() % row.total_seconds(), -end.timestamp() % row.total_seconds()
    return start - timedelta(seconds=before), end + timedelta(seconds=after)


def plausible(value: float | None) -> float | None:
    """Returns a finite value of at least 0; None, which is unknown, for anything else."""
    return value if value is not None and math.isfinite(value) and value >= 0 else None


def percent(value: float | None) -> float | None:
    """Returns a state of charge between 0 and 100; None, which is unknown, for anything else."""
    return value if value is not None and 0 <= value <= 100 else None


def once(
    rows: Iterable[tuple[Moment, Row]], *, told: Callable[[Row], object] = lambda row: row
) -> dict[Moment, Row | None]:
    """Returns rows by their moment, in order, each once; None where one moment was told with different values.

    Nobody knows which of two is right, so neither counts: Quarters.told_twice and Days.told_twice. `told`: what of a
    row is compared, if not all of it.
    """
    found: dict[Moment, Row] = {}
    differing = set[Moment]()
    for at, row in rows:
        first = found.setdefault(at, row)
        if first is not row and told(first) != told(row):
            differing.add(at)
    return {at: None if at in differing else found[at] for at in sorted(found)}


def with_load(reading: Reading, *, battery: bool) -> Reading:
    """Returns `reading` with the load it lacks: solar + import + discharge - export - charge, where all are known.

    `battery` False: the site has none, and its two terms count as 0. A load below zero is noise, and 0, or it is
    impossible, and unknown with the rule that says so (physics.home_load).
    """
    if reading.load_wh is not None:
        return reading
    solar, grid, stored = reading.solar_wh, _net(reading.import_wh, reading.export_wh), 0.0 if not battery else None
    if battery:
        stored = _net(reading.discharge_wh, reading.charge_wh)
    load = physics.home_load((solar, grid, stored))
    if load.is_impossible:
        return msgspec.structs.replace(reading, rule=reading.rule or LOAD_BELOW_ZERO)
    return reading if load.watts is None else msgspec.structs.replace(reading, load_wh=round(load.watts, 3))


def _net(into_home: float | None, out_of_it: float | None) -> float | None:
    return None if into_home is None or out_of_it is None else into_home - out_of_it


def row_spans(starts: Iterable[datetime], *, alone: timedelta, longest: timedelta = QUARTER) -> Iterator[Span]:
    """Yields each row's span [start, end), from the spacing of the rows around it, which may change inside one answer.

    `starts` in order, each once. A row lasts until the next one where that distance stands beside another like it; a
    distance that stands alone, or is above `longest`, is a gap, and the row before it as long as its neighbour. Where
    no neighbour tells, a row lasts `alone`.
    """
    stamps = list(starts)
    gaps = [after - before for before, after in pairwise(stamps)]
    for index, at in enumerate(stamps):
        following = gaps[index] if index < len(gaps) else None
        beside = [gaps[near] for near in (index - 1, index + 1) if 0 <= near < len(gaps) and gaps[near] <= longest]
        if following is not None and following <= longest and (following in beside or not beside):
            yield at, at + following
        else:
            length = beside[0] if beside else alone
            yield at, _later(at, length if following is None else min(length, following))


def _later(at: datetime, length: timedelta) -> datetime:
    """Adds the length, as far as the calendar goes.

    What a vendor dates 9999 is no reason to lose the rows beside it.
    """
    try:
        return at + length
    except OverflowError:
        return datetime.max.replace(tzinfo=at.tzinfo)


def merged(parts: Iterable[Sequence[Reading]]) -> tuple[Reading, ...]:
    """Merges readings of several sources, one per interval and device: each metric from the first that knows it."""
    found: dict[tuple[datetime, datetime, str], Reading] = {}
    for reading in (reading for part in parts for reading in part):
        key = (reading.start, reading.end, reading.device_id or "")
        known = found.setdefault(key, reading)
        if known is not reading:
            found[key] = _filled(known, reading)
    return tuple(found[key] for key in sorted(found))


def _filled(known: Reading, other: Reading) -> Reading:
    gaps = {
        metric: getattr(other, metric) for metric in (*ENERGY_METRICS, "soc_percent") if getattr(known, metric) is None
    }
    quality = known.quality if known.quality != "measured" else other.quality
    lacks = known.lacks or other.lacks
    return msgspec.structs.replace(known, quality=quality, rule=known.rule or other.rule, lacks=lacks, **gaps)


def _quarters(start: datetime, end: datetime) -> Iterator[tuple[Span, float]]:
    """Yields the quarter hours a row touches, with the seconds of it inside each."""
    at, end = start.astimezone(UTC), end.astimezone(UTC)
    while at < end:
        begin = at - timedelta(seconds=at.timestamp() % QUARTER.total_seconds())
        until = min(begin + QUARTER, end)
        yield (begin, begin + QUARTER), (until - at).total_seconds()
        at = until
