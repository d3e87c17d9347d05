"""What a day is made of, and each day of a month: one rule for a site, a device, a fleet and an export.

It is the vendor's daily value, or the sum of its quarter hours; chosen for each kind of device by itself:

1. the daily value where it is whole: not `partial`, and it tells what an interval of that kind needs;
2. else the quarter hours where they are whole: each of them is there, and none is `partial`;
3. else the one that tells more, as both lack something.

A whole daily value that tells nothing of a kind the site has no device of is believed: there was none. A daily value is
one whatever the zone is called, as long as it stands for the day that is asked for, from midnight to midnight.

Once in Python, for the rows of one series, and once in SQL, for all sites of a fleet at once:
`tests/api/test_one_figure.py` holds that both say the same.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence

from joinder import physics
from joinder.energy import ENERGY_METRICS, DeviceKind
from joinder.services.readings.coverage import Gap
from joinder.services.readings.periods import QUARTER_S
from joinder.services.readings.totals import COLUMN, ENERGIES
from joinder.store.types import Row

WEEK_S = 7 * 86400
MOST_QUARTER_WH, MOST_DAY_WH = physics.MOST_W / 4, physics.MOST_W * 26  # as read_intervals has it


def is_whole(day: Row, kind: DeviceKind) -> bool:
    """Tells whether a daily value needs no quarter hours beside it."""
    return day[-1] != "partial" and _is_enough(day, kind)


def all_tell(days: Sequence[Row], kind: DeviceKind) -> bool:
    """Tells whether nothing depends on the site having such a device."""
    return all(is_whole(day, kind) or day[-1] == "partial" for day in days)


def tells(row: Row, kind: DeviceKind) -> bool:
    return any(row[COLUMN[name]] is not None for name in ENERGIES[kind])


def open_spans(days: Sequence[Row], kind: DeviceKind, start: int, end: int) -> list[Gap]:
    """Returns what of [start, end) has no whole daily value, so that quarter hours are to be read for it.

    Spans that lie near each other are read at once. `days` in order.
    """
    found = list[Gap]()
    at = start
    for day in days:
        if is_whole(day, kind):
            _add(found, at, day[0])
            at = day[1]
    _add(found, at, end)
    return found


def _add(spans: list[Gap], start: int, end: int) -> None:
    if start >= end:
        return
    if spans and start - spans[-1][1] < WEEK_S:
        start = spans.pop()[0]
    spans.append((start, end))


def made_of(days: Sequence[Row], quarters: Sequence[Row], kind: DeviceKind, *, is_kind_there: bool) -> list[Row]:
    """Returns for each day its daily value or its quarter hours, in order.

    `is_kind_there`: the site has such a device.
    """
    starts = [row[0] for row in quarters]
    found = list[Row]()
    at = 0
    for day in days:
        begin, end = bisect_left(starts, day[0], at), bisect_left(starts, day[1], at)
        found += quarters[at:begin]
        found += [day] if _stands(day, quarters[begin:end], kind, is_kind_there) else quarters[begin:end]
        at = end
    return [*found, *quarters[at:]]


def _stands(day: Row, quarters: Sequence[Row], kind: DeviceKind, is_kind_there: bool) -> bool:
    if day[-1] != "partial" and (_is_enough(day, kind) or not is_kind_there):
        return True
    told = {name: [value for row in quarters if (value := row[COLUMN[name]]) is not None] for name in ENERGIES[kind]}
    if not any(told.values()):
        return True
    if not tells(day, kind) or _are_whole(quarters, told, kind, day[1] - day[0]):
        return False
    return sum(day[COLUMN[name]] or 0.0 for name in told) >= sum(map(sum, told.values()))


def _are_whole(quarters: Sequence[Row], told: dict[str, list[float]], kind: DeviceKind, length: int) -> bool:
    counts = [len(values) for values in told.values()]
    enough = all(counts) if kind is DeviceKind.BATTERY else any(counts)
    is_told_whole = all(count * QUARTER_S >= length for count in counts if count)
    return enough and is_told_whole and not any(row[-1] == "partial" for row in quarters)


def _is_enough(row: Row, kind: DeviceKind) -> bool:
    known = [row[COLUMN[name]] is not None for name in ENERGIES[kind]]
    return all(known) if kind is DeviceKind.BATTERY else any(known)


# The same in SQL. `fleet` has an id, and a column for each kind of device: 1 where the site has one.

TOLD_QUARTERS = ", ".join(
    f"sum(CASE WHEN {m} BETWEEN 0 AND :most_quarter THEN {m} END) AS {m}, "
    f"sum(CASE WHEN {m} BETWEEN 0 AND :most_quarter THEN {QUARTER_S} ELSE 0 END) AS {m}_s"
    for m in ENERGY_METRICS
)
ANY_PARTIAL = "max(CASE WHEN quality = 'partial' THEN 1 ELSE 0 END)"
_IS_WHOLE = f'"end" - start = {QUARTER_S} AND start % {QUARTER_S} = 0'
# In a CASE, as of two equations PostgreSQL believes that they leave nothing, and reads the whole table for each day.
IS_QUARTER = f"resolution = '15mins' AND CASE WHEN {_IS_WHOLE} THEN TRUE ELSE FALSE END"
_DAILY_VALUES = ", ".join(f"CASE WHEN i.{m} BETWEEN 0 AND :most_day THEN i.{m} END AS {m}" for m in ENERGY_METRICS)
_KINDS = ", ".join(f"f.{kind} AS has_{kind}" for kind in DeviceKind)
# CROSS JOIN keeps SQLite from looking through all readings for those of a day.
_DAILY = (
    f"SELECT f.id AS subject_id, d.day_start, d.day_end, i.start AS is_there, {_DAILY_VALUES}, {_KINDS}, "  # noqa: S608 - our own names
    "CASE WHEN i.quality = 'partial' THEN 1 ELSE 0 END AS is_partial "
    "FROM fleet f CROSS JOIN days d LEFT JOIN interval i ON i.subject_id = f.id AND i.resolution = 'day' "
    'AND i.start = d.day_start AND i."end" = d.day_end'
)
_QUARTERS = (
    f"SELECT o.subject_id, o.day_start, {TOLD_QUARTERS}, {ANY_PARTIAL} AS is_partial "  # noqa: S608 - our own names
    "FROM open_days o CROSS JOIN interval i WHERE i.subject_id = o.subject_id AND i.start >= o.day_start "
    f"AND i.start < o.day_end AND i.start >= :start AND i.start < :end AND {IS_QUARTER} "
    "GROUP BY o.subject_id, o.day_start"
)


def told_sql(days: Sequence[Gap]) -> str:
    """Writes CTEs, of which `told` has a row for each site of `fleet` about whole `days`.

    Of each metric its energy and of how many seconds that is, `m` and `m_s`; of each kind whether a part is partial,
    `partial_kind`. Needs the parameters start, end, most_quarter and most_day.
    """
    spans = ", ".join(str(day) for day in days)  # numbers of our own
    is_open = " OR ".join(f"(has_{kind} = 1 AND NOT {_enough(kind, 'd')})" for kind in DeviceKind)
    sums = ", ".join(_summed_sql(metric, kind) for kind in DeviceKind for metric in ENERGIES[kind])
    partial = ", ".join(
        f"max(CASE WHEN c.by_day_{kind} = 1 THEN c.is_partial ELSE c.q_partial END) AS partial_{kind}"
        for kind in DeviceKind
    )
    quarters = ", ".join(f"q.{m} AS q_{m}, q.{m}_s AS q_{m}_s" for m in ENERGY_METRICS)
    by_day = ", ".join(f"{_by_day_sql(kind)} AS by_day_{kind}" for kind in DeviceKind)
    return (
        f"days (day_start, day_end) AS (VALUES {spans}), daily AS ({_DAILY}), "  # noqa: S608 - our own names
        "open_days AS (SELECT subject_id, day_start, day_end FROM daily d "
        f"WHERE is_there IS NULL OR is_partial = 1 OR {is_open}), quarters AS ({_QUARTERS}), "
        f"chosen AS (SELECT d.*, {quarters}, q.is_partial AS q_partial, {by_day} FROM daily d "
        "LEFT JOIN quarters q ON q.subject_id = d.subject_id AND q.day_start = d.day_start), "
        f"told AS (SELECT c.subject_id, {sums}, {partial} FROM chosen c GROUP BY c.subject_id)"
    )


def _summed_sql(metric: str, kind: DeviceKind) -> str:
    day_s = f"CASE WHEN c.{metric} IS NULL THEN 0 ELSE c.day_end - c.day_start END"
    return (
        f"sum(CASE WHEN c.by_day_{kind} = 1 THEN c.{metric} ELSE c.q_{metric} END) AS {metric}, "
        f"sum(CASE WHEN c.by_day_{kind} = 1 THEN {day_s} ELSE c.q_{metric}_s END) AS {metric}_s"
    )


def _by_day_sql(kind: DeviceKind) -> str:
    """Writes `_stands`."""
    metrics = ENERGIES[kind]
    are_long = " AND ".join(f"(q.{m} IS NULL OR q.{m}_s >= d.day_end - d.day_start)" for m in metrics)
    of_day, of_quarters = (" + ".join(f"coalesce({row}.{m}, 0)" for m in metrics) for row in "dq")
    return (
        "CASE WHEN d.is_there IS NULL THEN 0 "
        f"WHEN d.is_partial = 0 AND ({_enough(kind, 'd')} OR d.has_{kind} = 0) THEN 1 "
        f"WHEN NOT {_any(kind, 'q')} THEN 1 WHEN NOT {_any(kind, 'd')} THEN 0 "
        f"WHEN q.is_partial = 0 AND {_enough(kind, 'q')} AND {are_long} THEN 0 "
        f"WHEN {of_day} >= {of_quarters} THEN 1 ELSE 0 END"
    )


def _enough(kind: DeviceKind, row: str) -> str:
    together = " AND " if kind is DeviceKind.BATTERY else " OR "
    return f"({together.join(f'{row}.{metric} IS NOT NULL' for metric in ENERGIES[kind])})"


def _any(kind: DeviceKind, row: str) -> str:
    return f"({' OR '.join(f'{row}.{metric} IS NOT NULL' for metric in ENERGIES[kind])})"
