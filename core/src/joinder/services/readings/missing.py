"""What of a range no row tells, and why: not read yet, not there, not possible, refused, or still to come."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal
from zoneinfo import ZoneInfo

from msgspec import Struct

from joinder.clock import now
from joinder.runtime.hub import Hub
from joinder.services.readings.coverage import TRIES_MOST, Gap, reachable
from joinder.services.readings.periods import QUARTER_S
from joinder.store.readings import METRICS, CoveredSpan, read_coverage
from joinder.store.types import Row
from joinder.vendor import History, Resolution
from joinder.vendors.gate.rules import Rule

Why = Literal["not_read_yet", "vendor_has_none", "before_site", "beyond_history", "refused", "future"]
SAID: dict[Why, str] = {
    "not_read_yet": "not read yet",
    "vendor_has_none": "the vendor has none",
    "before_site": "the site was not there yet",
    "beyond_history": "further back than the vendor keeps",
    "refused": "refused, as it cannot be right",
    "future": "still to come",
}
_RULE = 3 + len(METRICS)
_REFUSED = frozenset(str(rule) for rule in Rule) - {str(Rule.DAY_DISAGREES)}


class Missing(Struct, frozen=True):
    """[start, end) in epoch seconds."""

    start: int
    end: int
    why: Why


@dataclass(frozen=True, kw_only=True)
class Series:
    """Whose rows they are. `history` None: the vendor keeps none, rows are made of what is polled."""

    subject_id: str
    resolution: Resolution
    history: History | None
    operational_since: int | None
    zone: ZoneInfo


async def of_rows(
    hub: Hub, series: Series, rows: Sequence[Row], columns: Sequence[int], start: int, end: int
) -> list[Missing]:
    """Returns the holes between rows that tell all of `columns`, in order. `rows` as store.readings.read_intervals."""
    holes = list(_holes(rows, columns, start, end))
    if not holes:
        return []
    refused = [(row[0], row[1]) for row in rows if row[_RULE] in _REFUSED and any(row[at] is None for at in columns)]
    known = await read_coverage(hub.store, series.subject_id, series.resolution, start, end) if series.history else []
    first_row = rows[0][0] if rows else None
    return [one for hole in holes for one in _explained(hole, series, refused, known, first_row, now())]


def joined(found: Sequence[Missing]) -> list[Missing]:
    """Joins spans that adjoin and have the same reason."""
    whole: list[Missing] = []
    for one in found:
        if whole and whole[-1].end == one.start and whole[-1].why == one.why:
            one = Missing(whole.pop().start, one.end, one.why)
        whole.append(one)
    return whole


def _holes(rows: Sequence[Row], columns: Sequence[int], start: int, end: int) -> Iterator[Gap]:
    if _are_seamless(rows, columns, start, end):
        return
    at = start
    for row in rows:
        if row[0] >= end:
            break
        if None in [row[column] for column in columns]:
            continue
        if row[0] > at:
            yield at, row[0]
        at = max(at, row[1])
    if at < end:
        yield at, end


def _are_seamless(rows: Sequence[Row], columns: Sequence[int], start: int, end: int) -> bool:
    """Tells whether every row tells all and the next begins where it ends, as on most days."""
    if not rows or rows[0][0] != start or rows[-1][1] != end:
        return False
    starts, ends, *_ = told = tuple(zip(*rows, strict=True))
    return starts[1:] == ends[:-1] and not any(None in told[column] for column in columns)


def _explained(
    hole: Gap, series: Series, refused: Sequence[Gap], known: Sequence[CoveredSpan], first_row: int | None, moment: int
) -> Iterator[Missing]:
    """Yields the hole in pieces, each with the first reason that holds."""
    possible = _possible(series, hole, first_row, moment)
    edges = {hole[0], hole[1], moment - moment % QUARTER_S, *(possible or ())}
    edges |= {at for span in (*refused, *((span.start, span.end) for span in known)) for at in span}
    for start, end in pairwise(sorted(at for at in edges if hole[0] <= at <= hole[1])):
        yield Missing(start, end, _why(series, start, end, possible, refused, known, moment))


def _possible(series: Series, hole: Gap, first_row: int | None, moment: int) -> Gap | None:
    """Returns what of the hole can exist at the vendor, or here, where rows are made of what was polled."""
    if series.history is None:
        begin = hole[1] if first_row is None else max(hole[0], first_row)
        return (begin, hole[1]) if begin < hole[1] else None
    since = series.operational_since
    return reachable(series.history, *hole, moment=moment, zone=series.zone, operational_since=since)


def _why(
    series: Series,
    start: int,
    end: int,
    possible: Gap | None,
    refused: Sequence[Gap],
    known: Sequence[CoveredSpan],
    moment: int,
) -> Why:
    if start >= moment - moment % QUARTER_S:
        return "future"
    if series.operational_since is not None and end <= series.operational_since:
        return "before_site"
    if any(span[0] <= start and end <= span[1] for span in refused):
        return "refused"
    if possible is None or end <= possible[0]:
        is_before = series.operational_since is not None and start < series.operational_since
        return "before_site" if is_before else "beyond_history"
    if series.history is None:
        return "vendor_has_none"
    return "vendor_has_none" if any(_has_none(span, series.history, start, end) for span in known) else "not_read_yet"


def _has_none(span: CoveredSpan, history: History, start: int, end: int) -> bool:
    """Tells whether the vendor was asked and has none.

    It told of the time around this, or nothing though it had settled, or nothing for the last time.
    """
    if not (span.start <= start and end <= span.end):
        return False
    is_settled = span.fetched_at - end >= history.settles_after.total_seconds()
    return is_settled or span.tries == 0 or span.tries >= TRIES_MOST
