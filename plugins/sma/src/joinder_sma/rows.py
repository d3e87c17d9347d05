"""What SMA's rows mean: when each begins and ends, what cannot be true, how much of the time they tell. Pure."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from typing import NamedTuple
from zoneinfo import ZoneInfo

from joinder import physics
from joinder.series import QUARTER, instants, once, plausible, row_spans
from joinder_sma.api import Measurements, Row

METRICS = {
    "solar_wh": "pv_generation",
    "charge_wh": "battery_charging",
    "discharge_wh": "battery_discharging",
    "import_wh": "grid_consumption",
    "export_wh": "grid_feed_in",
    "load_wh": "total_consumption",
}
_NOT_SUN = tuple(metric for metric in METRICS if metric != "solar_wh")
RESOLUTIONS = {
    "OneMinute": timedelta(minutes=1),
    "FiveMinutes": timedelta(minutes=5),
    "FifteenMinutes": timedelta(minutes=15),
    "OneHour": timedelta(hours=1),
    "OneDay": timedelta(days=1),
}
UNSTATED = timedelta(days=1)  # a lone row of unstated length: too coarse for anything
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
LATE = timedelta(hours=2)  # classic plants report this late; a hole no longer than this is not worth a warning
DARK = 0.1  # of what rows reach: where rows end and begin with so little sun, night lies between them
BUSY_HOURS = 12  # more hours at full power than this make a day suspicious
SUSPICIOUS_WH = physics.SPIKE_FROM_W * 5  # so does this, where no nameplate is told
DAYS_AROUND = timedelta(days=10)
DAY_TIMES = 5  # × what three of four days around it stay below: no change of weather brings that


class Timed(NamedTuple):
    """A row with its span; SMA stamps its end. One that was told twice with different values tells nothing."""

    start: datetime
    end: datetime
    row: Row
    is_contradicted: bool = False


def timed(answer: Measurements, where: ZoneInfo) -> list[Timed]:
    """Returns rows in order of time, each instant once: the midnight between two days stands in both answers."""
    walls = [_wall(row.time, where) for row in answer.rows]
    turned = bool(walls) and walls[0] > walls[-1]  # newest first
    rows, walls = (answer.rows[::-1], walls[::-1]) if turned else (answer.rows, walls)
    by_end = once(zip(instants(walls, where), rows, strict=True))
    ends = list(by_end)
    lengths = _lengths(ends, RESOLUTIONS.get(answer.resolution or "", UNSTATED))
    return [_timed(end - length, end, by_end[end]) for end, length in zip(ends, lengths, strict=True)]


def _timed(start: datetime, end: datetime, row: Row | None) -> Timed:
    return Timed(start, end, Row(time=end) if row is None else row, row is None)


def _wall(at: datetime, where: ZoneInfo) -> datetime:
    """Returns the wall time: SMA's times carry no offset, and one that did would be an instant."""
    return at.astimezone(where).replace(tzinfo=None) if at.tzinfo else at


def _lengths(ends: Sequence[datetime], stated: timedelta) -> list[timedelta]:
    """Computes the rows' lengths by their own spacing where it repeats itself, else as stated.

    Rows look back, so time is read mirrored. A spacing above the stated one that SMA has no name for is no length:
    every other row is missing there.
    """
    gaps = [after - before for before, after in pairwise(ends)]
    believed = [gap for gap, following in pairwise(gaps) if gap == following and gap in RESOLUTIONS.values()]
    mirrored = [EPOCH + (EPOCH - end) for end in reversed(ends)]
    spans = list(row_spans(mirrored, alone=stated, longest=max([stated, *believed])))
    return [until - at for at, until in reversed(spans)]


def spacing_problem(entries: Sequence[Timed], resolution: str | None) -> str | None:
    """Says what the operator should know about the rows' lengths, or None."""
    stated, lengths = RESOLUTIONS.get(resolution or ""), [entry.end - entry.start for entry in entries]
    if any(length > QUARTER for length in lengths):
        return f"tells rows of {_named(resolution, stated)}, too coarse for quarter hours"
    if stated and lengths and Counter(lengths).most_common(1)[0][0] != stated:
        return "tells rows that are not as long as it states; their own spacing is believed"
    gaps = [after.start - before.end for before, after in pairwise(entries)]
    if gaps and sum(gap > timedelta() for gap in gaps) * 2 > len(gaps):
        return "leaves out rows between others"
    return None


def _named(resolution: str | None, stated: timedelta | None) -> str:
    if stated is None:
        return "an unstated length"
    return str(resolution) if stated > QUARTER else "a greater length than it states"


def false_metrics(entries: Sequence[Timed], *, energies: bool, nameplate: float | None) -> list[frozenset[str]]:
    """Returns, for each row, the metrics that cannot be true. `nameplate`: W.

    Solar beyond the nameplate, or, where that is untold, far above the rows of two hours around it; then the load
    too, which SMA computes with it. The fault is a total told as one row's, after a gap or in a false row: there
    other metrics far above their neighbours are false as well. Elsewhere they may be: a car begins to charge.
    """
    powers = {metric: [_watts(entry, member, energies) for entry in entries] for metric, member in METRICS.items()}
    ends = [entry.end for entry in entries]
    found = []
    for index, entry in enumerate(entries):
        false = {"solar_wh", "load_wh"} if _is_no_sun(ends, powers["solar_wh"], index, nameplate) else set[str]()
        if false or index == 0 or entry.start > ends[index - 1]:
            false |= {metric for metric in _NOT_SUN if _stands_out(ends, powers[metric], index)}
        found.append(frozenset(false))
    return found


def _watts(entry: Timed, member: str, energies: bool) -> float | None:
    value = plausible(getattr(entry.row, member))
    return value / hours(entry) if value is not None and energies else value


def hours(entry: Timed) -> float:
    return (entry.end - entry.start).total_seconds() / 3600


def _is_no_sun(ends: Sequence[datetime], powers: Sequence[float | None], index: int, nameplate: float | None) -> bool:
    watts = powers[index]
    if watts is None or not nameplate:
        return _stands_out(ends, powers, index)
    return physics.is_beyond_nameplate(watts, nameplate)


def _stands_out(ends: Sequence[datetime], powers: Sequence[float | None], index: int) -> bool:
    watts, reach = powers[index], timedelta(seconds=physics.NEIGHBOURS_S)
    if watts is None or watts <= physics.SPIKE_FROM_W:
        return False
    first, last = bisect_left(ends, ends[index] - reach), bisect_right(ends, ends[index] + reach)
    near = [power for power in (*powers[first:index], *powers[index + 1 : last]) if power is not None]
    return physics.is_spike(watts, near)


def false_days(solar_wh: Mapping[date, float | None], nameplate: float | None) -> set[date]:
    """Returns days that told more than the sun brings.

    They are beyond the nameplate (W) all day and night long, or, suspicious by themselves, far above the days around
    them.
    """
    known = {day: wh for day, found in solar_wh.items() if (wh := plausible(found)) is not None}
    floor = nameplate * BUSY_HOURS if nameplate else SUSPICIOUS_WH
    return {
        day
        for day, wh in known.items()
        if physics.is_beyond_nameplate(wh / 24, nameplate or None)
        or (wh > floor and wh > DAY_TIMES * _good_day(known, day))
    }


def sun(watts: float | None, nameplate: float | None) -> float | None:
    """Returns what is generated, in W; what inverters draw at night counts as 0."""
    return plausible(physics.solar_power(watts, nameplate))


def _good_day(known: Mapping[date, float], day: date) -> float:
    """Returns what three of four days around stay below, in Wh. A day of nothing tells of an outage, not of the sun."""
    near = sorted(wh for other, wh in known.items() if other != day and abs(other - day) <= DAYS_AROUND and wh > 0)
    return near[len(near) * 3 // 4] if near else float("inf")


def is_short(entries: Sequence[Timed], start: datetime, until: datetime, *, by_sun: bool) -> bool:
    """Tells whether rows leave a hole of hours inside [start, until). `by_sun`: they come by day only."""
    by_sun = by_sun or (bool(entries) and not any(_tells_more(entry.row) for entry in entries))
    longest = timedelta(days=1) if by_sun else LATE
    bright = _bright(entries)
    for before, after in pairwise([None, *entries, None]):
        hole = min(after.start if after else until, until) - max(before.end if before else start, start)
        lit = any(entry and bright * DARK < (entry.row.pv_generation or 0.0) <= bright for entry in (before, after))
        if hole > (LATE if lit else longest):
            return True
    return False


def _bright(entries: Sequence[Timed]) -> float:
    """Returns the highest power of the rows but for a false one."""
    told = sorted(entry.row.pv_generation or 0.0 for entry in entries)
    return told[len(told) * 99 // 100 - 1] if told else 0.0


def _tells_more(row: Row) -> bool:
    return any(getattr(row, METRICS[metric]) is not None for metric in _NOT_SUN)
