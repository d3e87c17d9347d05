"""Readings as they are written and read: statements both databases understand, for Store.apply and Store.rows."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import repeat
from operator import mod, sub
from typing import Any, get_args

from joinder import physics
from joinder.energy import ENERGY_METRICS, Counter, Energies, Live, Quality, Reading
from joinder.store.types import Row, Statement, Store, Upsert, Write
from joinder.vendors.gate.rules import Rule

METRICS = (*ENERGY_METRICS, "soc_percent")
_COLUMN = {name: 2 + index for index, name in enumerate(METRICS)}
_SOC = _COLUMN["soc_percent"]
_QUALITIES = frozenset(get_args(Quality))
_QUARTER_S = 900
_MOST_WH = {"15mins": physics.MOST_W / 4, "day": physics.MOST_W * 26}
_REGISTER_MOST_WH = 1e13
POWERS = ("solar_w", "battery_w", "grid_w", "load_w", "soc_percent")
_SPAN = ("subject_id", "resolution", "start")
_VALUES = ("end", *METRICS, "quality", "fetched_at", "rule", "source")
_RANGE = (
    'SELECT start, "end", {columns}, fetched_at, rule, source, quality FROM interval '
    "WHERE subject_id = :subject AND resolution = :resolution AND start >= :start AND start < :end ORDER BY start"
)

_COUNTERS = (
    f"SELECT at, {', '.join(METRICS)}, source FROM counter "  # noqa: S608 - our own names
    "WHERE subject_id = :subject AND at >= :since ORDER BY at"
)
_COVERAGE = (
    'SELECT start, "end", fetched_at, tries FROM coverage WHERE subject_id = :subject AND resolution = :resolution '
    "ORDER BY start"
)
_FORGET_SPAN = "DELETE FROM coverage WHERE subject_id = :subject AND resolution = :resolution AND start = :start"


@dataclass(frozen=True)
class CoveredSpan:
    """[start, end) in epoch seconds, as asked of the vendor at `fetched_at`.

    `tries` is 0 where it told something, else how often it was asked and told nothing.
    """

    start: int
    end: int
    fetched_at: int
    tries: int = 0


def intervals(
    resolution: str,
    rows: Iterable[tuple[str, Reading]],
    fetched_at: int,
    *,
    source: int | None = None,
    is_replacing: bool = True,
) -> Upsert:
    """Makes the write of (subject, reading) pairs; a later answer replaces an earlier one where it `is_replacing`.

    `fetched_at`: epoch seconds.
    """
    records = [
        (
            subject,
            resolution,
            int(reading.start.timestamp()),
            int(reading.end.timestamp()),
            *_metrics(reading),
            reading.quality,
            fetched_at,
            reading.rule,
            source,
        )
        for subject, reading in rows
    ]
    return Upsert("interval", _SPAN, _VALUES, records, is_replacing)


async def read_intervals(
    store: Store, subject_id: str, resolution: str, start: int, end: int, metrics: Sequence[str] = METRICS
) -> Sequence[Row]:
    """Reads rows (start, end, *METRICS, fetched_at, rule, source, quality) in order, one range scan of the primary key.

    Times are epoch seconds. Other metrics than `metrics` are left out of the rows as if unknown, as each costs its way
    from the server. An earlier version wrote down whatever a vendor said: only what is possible is answered.
    """
    asked = {"subject": subject_id, "resolution": resolution, "start": start, "end": end}
    rows = await store.rows(_range(tuple(metrics)), asked)
    if _are_sound(rows, resolution, [_COLUMN[name] for name in metrics]):
        return rows
    return list(_possible(rows, resolution))


@cache
def _range(metrics: Sequence[str]) -> str:
    return _RANGE.format(columns=", ".join(name if name in metrics else "NULL" for name in METRICS))


def _are_sound(rows: Sequence[Row], resolution: str, metrics: Sequence[int]) -> bool:
    """Tells whether all is possible, as nearly all is; a column at a time, as this is the hottest read."""
    if not rows:
        return True
    columns = tuple(zip(*rows, strict=True))
    try:
        return (
            _QUALITIES.issuperset(columns[-1])
            and _are_whole(columns[0], columns[1], resolution)
            and all(_are_within(columns[at], 100.0 if at == _SOC else _MOST_WH[resolution]) for at in metrics)
        )
    except TypeError:  # SQLite keeps text in any column
        return False


def _are_whole(starts: Sequence[int], ends: Sequence[int], resolution: str) -> bool:
    lengths = set(map(sub, ends, starts))
    if resolution == "15mins":
        return lengths == {_QUARTER_S} and not any(map(mod, starts, repeat(_QUARTER_S)))
    return bool(min(lengths) >= 22 * 3600 and max(lengths) <= 26 * 3600)


def _are_within(column: Sequence[Any], most: float) -> bool:
    told = [value for value in column if value is not None] if None in column else column
    # Beside what is no number the smallest and the largest mean nothing; the sum is none then either.
    return not told or (min(told) >= 0 and max(told) <= most and sum(told) < math.inf)


def _possible(rows: Iterable[Row], resolution: str) -> Iterator[Row]:
    """Yields the rows of whole periods, with what cannot be in them unknown."""
    limits = [100.0 if name == "soc_percent" else _MOST_WH[resolution] for name in METRICS]
    for row in rows:
        if _are_whole(row[:1], row[1:2], resolution):
            start, end, *values, fetched_at, rule, source, quality = row
            kept = [_possible_value(value, most) for value, most in zip(values, limits, strict=True)]
            why = rule if kept == values else str(Rule.NUMBER)
            yield (start, end, *kept, fetched_at, why, source, quality if quality in _QUALITIES else "estimated")


def _possible_value(value: object, most: float) -> float | None:
    return value if isinstance(value, int | float) and 0 <= value <= most else None


def counters(rows: Iterable[tuple[str, Counter]]) -> Upsert:
    records = [(subject, int(counter.at.timestamp()), *_metrics(counter), counter.source) for subject, counter in rows]
    return Upsert("counter", ("subject_id", "at"), (*METRICS, "source"), records)


async def read_counters(store: Store, subject_id: str, since: int) -> list[Row]:
    """Reads rows (at, *METRICS, source) in order, `at` in epoch seconds; a register that no site has is unknown."""
    rows = await store.rows(_COUNTERS, {"subject": subject_id, "since": since})
    return [(at, *(_possible_value(value, _REGISTER_MOST_WH) for value in values), told) for at, *values, told in rows]


def counters_before(subject_id: str, before: int) -> Statement:
    """Makes the statement that forgets the subject's counters before `before` (epoch seconds)."""
    return "DELETE FROM counter WHERE subject_id = :subject AND at < :before", {"subject": subject_id, "before": before}


def live(site_id: str, power: Live, fetched_at: int, source: int | None = None) -> Upsert:
    values = tuple(getattr(power, name) for name in POWERS)
    record = (site_id, int(power.measured_at.timestamp()), fetched_at, *values, source)
    return Upsert("live", ("site_id",), ("measured_at", "fetched_at", *POWERS, "source"), [record])


async def read_coverage(store: Store, subject_id: str, resolution: str, start: int, end: int) -> list[CoveredSpan]:
    """Reads the spans that touch [start, end), in order."""
    rows = await store.rows(
        'SELECT start, "end", fetched_at, tries FROM coverage WHERE subject_id = :subject AND resolution = :resolution '
        'AND start < :end AND "end" > :start ORDER BY start',
        {"subject": subject_id, "resolution": resolution, "start": start, "end": end},
    )
    return [CoveredSpan(*row) for row in rows]


async def all_coverage(store: Store, subject_id: str, resolution: str) -> list[CoveredSpan]:
    """Reads every span, in order."""
    return [CoveredSpan(*row) for row in await store.rows(_COVERAGE, {"subject": subject_id, "resolution": resolution})]


def coverage(
    subject_id: str, resolution: str, before: Sequence[CoveredSpan], after: Sequence[CoveredSpan]
) -> list[Write]:
    """Makes the writes from `before` to `after`, only of what differs.

    Of two that write at once each keeps its own rows: a span may be forgotten, and is asked for again; none is
    invented.
    """
    kept, known = {span.start for span in after}, set(before)
    writes: list[Write] = [
        (_FORGET_SPAN, {"subject": subject_id, "resolution": resolution, "start": span.start})
        for span in before
        if span.start not in kept
    ]
    new = [
        (subject_id, resolution, span.start, span.end, span.fetched_at, span.tries)
        for span in after
        if span not in known
    ]
    return [*writes, Upsert("coverage", _SPAN, ("end", "fetched_at", "tries"), new)] if new else writes


def _metrics(energies: Energies) -> tuple[float | None, ...]:
    return (
        energies.solar_wh,
        energies.charge_wh,
        energies.discharge_wh,
        energies.import_wh,
        energies.export_wh,
        energies.load_wh,
        energies.charger_wh,
        energies.soc_percent,
    )
