"""Spans that begin and end beside a vendor's own rows, as core may ask for them, and what has to come of each."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime, timedelta

from joinder.energy import Reading, ReadingsQuery
from joinder.errors import VendorError
from joinder.series import day_span
from joinder.testing.expectations import expect_rows
from joinder.testing.flow import DAY
from joinder.testing.subject import Failed, told
from joinder.testing.truth import METRICS, PERCENT, WH, near
from joinder.testing.views import View
from joinder.vendor import Resolution

HOUR = timedelta(hours=1)
LONGEST: dict[Resolution, timedelta] = {"15mins": 31 * DAY, "day": 400 * DAY}  # that is asked at once
LONG = 3 * HOUR  # a span that is asked for
AROUND = 2 * HOUR  # of it, in the answer it is compared with
MARGINS = tuple(  # how far behind a full hour it begins, and how far behind one it ends
    (timedelta(minutes=begin[0], seconds=begin[1]), timedelta(minutes=end[0], seconds=end[1]))
    for begin, end in (((15, 0), (45, 0)), ((30, 0), (15, 0)), ((45, 0), (30, 0)), ((7, 13), (52, 41)))
)
BESIDE = timedelta(minutes=7, seconds=13)
ODD = timedelta(hours=7, minutes=7, seconds=13)  # into a day
OUTWARDS = "ask from the vendor's row that holds the start to the one that holds the end, and leave out what is outside"


def whole_hours(view: View, last: ReadingsQuery) -> Iterator[datetime]:
    """Yields beginnings of spans of the last day: when the sun is up, and before midnight at the site."""
    first = last.start + timedelta(seconds=-last.start.timestamp() % HOUR.total_seconds()) + AROUND
    hours = [first + HOUR * index for index in range(int((last.end - LONG - AROUND - first) / HOUR) + 1)]
    if hours:
        midnight, _ = day_span(last.end.astimezone(view.truth.home.zone).date(), view.truth.home.zone)
        yield max(hours, key=lambda at: view.truth.energy(at.timestamp(), (at + LONG).timestamp()).solar_wh)
        yield min(hours, key=lambda at: abs(at + LONG / 2 - midnight))


async def spans_agree(view: View, hour: datetime) -> None:
    """Each span around that hour answers what a longer one tells of it. Raises Failed."""
    _, whole = await view.rows(hour - AROUND, hour + LONG + AROUND)
    for begin, end in MARGINS:
        query = ReadingsQuery(site=view.site, start=hour + begin, end=hour + LONG - HOUR + end)
        expect_same(await _rows(view, query), whole, query)


async def longest_is_answered(view: View) -> None:
    """A span as long as Limits.history allows is answered where it begins and ends on any second, as polls ask."""
    end = view.stand.clock.now() - BESIDE
    for entry in view.stand.vendor.limits.history:
        start = end - min(entry.window, LONGEST[entry.resolution])
        query = ReadingsQuery(site=view.site, start=start, end=end, resolution=entry.resolution)
        try:
            await view.fetch(query)
        except VendorError as error:
            raise Failed(
                f"{_asked(query)}, all that History.window allows: {told(error)}; keep the window a row on each"
                " side below what the vendor answers at once"
            ) from error


async def days_agree(view: View, days: ReadingsQuery) -> None:
    """Days that lie whole inside of a span are told, where it begins and ends in the middle of others."""
    whole = await _rows(view, days)
    cut = ReadingsQuery(site=view.site, start=days.start + ODD, end=days.end - ODD, resolution="day")
    expect_same(await _rows(view, cut), whole, cut)


async def _rows(view: View, query: ReadingsQuery) -> Sequence[Reading]:
    return (await view.fetch(query)).intervals


def expect_same(rows: Sequence[Reading], whole: Iterable[Reading], query: ReadingsQuery) -> None:
    """Expects `rows` to be those of `whole` that lie inside the span, as they are there, and no other."""
    place = _asked(query)
    try:
        expect_rows(rows, query)
    except Failed as error:
        raise Failed(f"{place}: {error}; {OUTWARDS}") from None
    inside = {row.start: row for row in whole if query.start <= row.start and row.end <= query.end}
    found = {row.start: row for row in rows}
    if inside.keys() - found.keys():
        raise Failed(f"{place}: the row of {min(inside.keys() - found.keys()):%d %b %H:%M} is lost; {OUTWARDS}")
    if found.keys() - inside.keys():
        at = min(found.keys() - inside.keys())
        raise Failed(f"{place}: a row of {at:%d %b %H:%M}, which a longer span does not have; {OUTWARDS}")
    for start, row in found.items():
        if other := _difference(row, inside[start]):
            raise Failed(f"{place}: {other} at {start:%d %b %H:%M}; {OUTWARDS}")


def _asked(query: ReadingsQuery) -> str:
    return f"asked for {query.resolution} of {query.start:%d %b %H:%M:%S} to {query.end:%d %b %H:%M:%S}"


def _difference(row: Reading, other: Reading) -> str:
    """Says in what the two differ; empty where they are the same."""
    for metric in METRICS:
        value, known = getattr(row, metric), getattr(other, metric)
        room = PERCENT if metric == "soc_percent" else WH
        if (value is None) is not (known is None) or (value is not None and not near(value, known, room)):
            return f"{metric} is {_number(value)}, of a longer span {_number(known)}"
    return "" if row.quality == other.quality else f"it is {row.quality}, of a longer span {other.quality}"


def _number(value: float | None) -> str:
    return "unknown" if value is None else f"{value:g}"
