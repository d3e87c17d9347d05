"""Sums stored rows up to the periods they fall into: what of a period is known, and how well."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import repeat
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


def tell(rows: Sequence[Row], kind: DeviceKind) -> bool:
    columns = [COLUMN[name] for name in ENERGIES[kind]]
    return any(row[column] is not None for row in rows for column in columns)


def summed(
    rows: Sequence[Row], kind: DeviceKind, level: SummaryLevel, zone: ZoneInfo, with_origin: bool
) -> list[Total]:
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
    return totals


def _each(rows: Sequence[Row], kind: DeviceKind, with_origin: bool) -> list[Total]:
    """Makes totals of rows that are periods of their own, by the rules of `_total`; most of what is read is."""
    pairs = [(name, COLUMN[name]) for name in METRICS_OF[kind]]
    first, *others = (COLUMN[name] for name in ENERGIES[kind])
    enough = all if kind is DeviceKind.BATTERY else any
    if others:
        told = [row for row in rows if enough([row[column] is not None for column in (first, *others)])]
    else:
        told = [row for row in rows if row[first] is not None]
    values = ({name: row[column] for name, column in pairs} for row in told)
    origins = (_origin([row], row[-1]) for row in told) if with_origin else repeat(None)
    return [
        Total(row[0], row[1], known, row[-1], origin) for row, known, origin in zip(told, values, origins, strict=False)
    ]


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
