"""Sums stored rows up to the periods they fall into: what of a period is known, and how well.

Periods are kept as columns: most of what is read are quarter hours as they are stored, and to make an object of each
costs more than to read them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from zoneinfo import ZoneInfo

from msgspec import Struct

from joinder.energy import ROWS_MISSING, DeviceKind, Quality
from joinder.services.readings.periods import SummaryLevel, floor, following
from joinder.store.readings import METRICS
from joinder.store.types import Row
from joinder.vendors.gate.rules import Rule

# What each kind is asked for; a period without any of it is left out, a battery's also when one direction is unknown:
# the wire format has no interval of half a battery, and 0 would not be true.
ENERGIES = {
    DeviceKind.INVERTER: ("solar_wh",),
    DeviceKind.BATTERY: ("charge_wh", "discharge_wh"),
    DeviceKind.METER: ("import_wh", "export_wh", "load_wh"),
    DeviceKind.CHARGER: ("charger_wh",),
}
METRICS_OF = {
    kind: (*names, "soc_percent") if kind is DeviceKind.BATTERY else names for kind, names in ENERGIES.items()
}
COLUMN = {name: 2 + index for index, name in enumerate(METRICS)}
FETCHED_AT = 2 + len(METRICS)
RULE, SOURCE = FETCHED_AT + 1, FETCHED_AT + 2
# By the rules that say no more than that: what of a meter may be unknown because it was refused.
REFUSED_BY = {
    str(Rule.LOAD): (COLUMN["load_wh"],),
    str(Rule.NUMBER): tuple(COLUMN[name] for name in ENERGIES[DeviceKind.METER]),
    str(Rule.TWICE): (COLUMN["import_wh"], COLUMN["export_wh"]),
}


class Origin(Struct, frozen=True):
    """Where a period's values came from: the oldest fetch, its sources, and the rule that made it what it is."""

    fetched_at: int
    sources: tuple[int, ...]
    rule: str | None


class Total(Struct, frozen=True):
    """Energy of one period (Wh); None where nothing is known. Times are epoch seconds."""

    start: int
    end: int
    values: dict[str, float | None]
    quality: Quality
    origin: Origin | None = None  # where it was asked for


class Totals(Struct, frozen=True):
    """Periods in order, a column for each thing of a `Total`; every column is as long as `starts`."""

    starts: Sequence[int]
    ends: Sequence[int]
    values: Mapping[str, Sequence[float | None]]
    qualities: Sequence[Quality]
    origins: Sequence[Origin] | None = None  # where they were asked for

    @staticmethod
    def of(totals: Sequence[Total], kind: DeviceKind) -> Totals:
        origins = [total.origin for total in totals if total.origin is not None]
        return Totals(
            [total.start for total in totals],
            [total.end for total in totals],
            {name: [total.values[name] for total in totals] for name in METRICS_OF[kind]},
            [total.quality for total in totals],
            origins or None,
        )

    def __len__(self) -> int:
        return len(self.starts)

    def __iter__(self) -> Iterator[Total]:
        names, columns = list(self.values), list(self.values.values())
        for index, (start, end, quality) in enumerate(zip(self.starts, self.ends, self.qualities, strict=True)):
            values = {name: column[index] for name, column in zip(names, columns, strict=True)}
            yield Total(start, end, values, quality, self.origins[index] if self.origins else None)

    def first(self, count: int) -> Totals:
        """Returns the first `count` periods."""
        if len(self) <= count:
            return self
        return Totals(
            self.starts[:count],
            self.ends[:count],
            {name: column[:count] for name, column in self.values.items()},
            self.qualities[:count],
            self.origins[:count] if self.origins else None,
        )

    def __add__(self, later: Totals) -> Totals:
        if not self or not later:
            return self or later
        return Totals(
            [*self.starts, *later.starts],
            [*self.ends, *later.ends],
            {name: [*column, *later.values[name]] for name, column in self.values.items()},
            [*self.qualities, *later.qualities],
            [*self.origins, *later.origins] if self.origins and later.origins else None,
        )


NO_TOTALS = Totals((), (), {}, ())


def tell(rows: Sequence[Row], kind: DeviceKind) -> bool:
    columns = [COLUMN[name] for name in ENERGIES[kind]]
    return any(row[column] is not None for row in rows for column in columns)


def summed(rows: Sequence[Row], kind: DeviceKind, level: SummaryLevel, zone: ZoneInfo, with_origin: bool) -> Totals:
    """Sums rows, in order, by the periods they fall into."""
    if level == "15mins":  # each row is one
        return _each(rows, kind, with_origin)
    totals: list[Total] = []
    part: list[Row] = []
    start = end = 0
    for row in rows:
        if row[0] >= end:
            totals.extend(_total(part, start, end, kind, with_origin))
            part = []
            start = floor(row[0], level, zone)
            end = following(start, level, zone)
        part.append(row)
    totals.extend(_total(part, start, end, kind, with_origin))
    return Totals.of(totals, kind)


def _each(rows: Sequence[Row], kind: DeviceKind, with_origin: bool) -> Totals:
    """Takes rows that are periods of their own, by the rules of `_total`."""
    columns = tuple(zip(*rows, strict=True))
    if not columns:
        return NO_TOTALS
    enough = all if kind is DeviceKind.BATTERY else any
    energies = [COLUMN[name] for name in ENERGIES[kind]]
    if not enough([None not in columns[at] for at in energies]):  # else every row tells enough
        told = [row for row in rows if enough([row[at] is not None for at in energies])]
        if len(told) < len(rows):
            return _each(told, kind, with_origin)
    return Totals(
        columns[0],
        columns[1],
        {name: columns[COLUMN[name]] for name in METRICS_OF[kind]},
        columns[-1],
        [_origin([row], row[-1]) for row in rows] if with_origin else None,
    )


def _total(part: Sequence[Row], start: int, end: int, kind: DeviceKind, with_origin: bool) -> list[Total]:
    """Makes one period, or nothing when it holds none of the asked energies."""
    values = {name: _sum(part, COLUMN[name]) for name in ENERGIES[kind]}
    known = [value is not None for value in values.values()]
    if not (all(known) if kind is DeviceKind.BATTERY else any(known)):
        return []
    quality = _quality(part, start, end, [COLUMN[name] for name, value in values.items() if value is not None])
    if kind is DeviceKind.BATTERY:
        soc = [row[COLUMN["soc_percent"]] for row in part if row[COLUMN["soc_percent"]] is not None]
        values["soc_percent"] = sum(soc) / len(soc) if soc else None
    return [Total(start, end, values, quality, _origin(part, quality) if with_origin else None)]


def _origin(part: Sequence[Row], quality: Quality) -> Origin:
    told = tuple(dict.fromkeys(row[SOURCE] for row in part if row[SOURCE] is not None))
    rule = next((row[RULE] for row in part if row[RULE] is not None), None)
    if rule is None and quality == "partial":
        rule = ROWS_MISSING
    return Origin(min(row[FETCHED_AT] for row in part), told, rule)


def _sum(part: Sequence[Row], column: int) -> float | None:
    if len(part) == 1:
        value: float | None = part[0][column]
        return value
    known = [row[column] for row in part if row[column] is not None]
    return sum(known) if known else None


def _quality(part: Sequence[Row], start: int, end: int, columns: Sequence[int]) -> Quality:
    """Says `partial` when a piece of the period is missing in one of the values, `estimated` when a piece is."""
    if len(part) == 1 and (part[0][0], part[0][1]) == (start, end):
        whole: Quality = part[0][-1]
        return whole
    length_s = end - start
    for column in columns:
        if sum(row[1] - row[0] for row in part if row[column] is not None) < length_s:
            return "partial"
    if any(row[-1] == "partial" for row in part):
        return "partial"
    return "estimated" if any(row[-1] == "estimated" for row in part) else "measured"
