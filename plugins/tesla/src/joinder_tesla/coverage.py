"""What an answer does not cover of the time that was asked for, and what to ask again. Pure.

Tesla answers a day from the midnight that begins the start's date on the site's own clock up to the instant of
`end_date` (tesla-solar-download#8, Powerwall-Dashboard#455), and that clock may ignore summer time. A span whose start
and end have different offsets may be answered by its last hour or day alone (PowerwallCompanion#15).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from datetime import UTC, date, datetime, time, timedelta, timezone, tzinfo
from itertools import pairwise
from typing import NamedTuple
from zoneinfo import ZoneInfo

from joinder import DeviceKind, ReadingsQuery
from joinder.series import QUARTER, Span, day_span, days_between, once, row_spans, zone
from joinder_tesla.api import Row

Asked = dict[str, str]  # the parameters of one call
HOUR, SECOND = timedelta(hours=1), timedelta(seconds=1)
LAG = timedelta(hours=2)  # how late rows may come
MOST_AGAIN = 3  # calls a query may cost on top
LONGEST_NIGHT = timedelta(hours=20)
NIGHT_ROWS = 8  # so many zeros in a row of rows are a night that is told
LOW_SHARE = 0.1  # of the highest row: less at a gap's edges is dusk and dawn
ROW_LENGTHS = (timedelta(minutes=5), QUARTER)  # with a battery, and without


class Gap(NamedTuple):
    start: datetime
    end: datetime
    before: Row | None
    after: Row | None


def span_of(first: date, last: date, period: str, where: tzinfo, *, name: str | None = None) -> Asked:
    """Asks from 00:00:00 to 23:59:59, as an end at midnight answers nothing; each with the offset of its moment."""
    start, end = datetime.combine(first, time(), where), datetime.combine(last, time(23, 59, 59), where)
    asked = {"period": period, "start_date": start.isoformat(), "end_date": end.isoformat()}
    return {**asked, "time_zone": name} if name else asked


def with_one_offset(asked: Asked) -> Asked:
    """Gives the start the offset of the end: it is the end whose instant counts, and the start whose date does."""
    start, end = ends_of(asked)
    return {**asked, "start_date": start.replace(tzinfo=end.tzinfo).isoformat()}


def ends_of(asked: Asked) -> Span:
    return datetime.fromisoformat(asked["start_date"]), datetime.fromisoformat(asked["end_date"])


def rows_spans(rows: Sequence[Row], query: ReadingsQuery) -> Iterator[tuple[Row | None, Span]]:
    """Returns rows in order, each instant once, with the time each is of: both lengths may stand in one answer.

    None: it was told twice with different values.
    """
    by_instant = once((row.timestamp, row) for row in rows if row.timestamp.utcoffset() is not None)
    alone = ROW_LENGTHS[0 if _has_battery(query) else 1]
    return ((by_instant[span[0]], span) for span in row_spans(by_instant, alone=alone))


def _has_battery(query: ReadingsQuery) -> bool:
    return query.site.has(DeviceKind.BATTERY)


def _expected(query: ReadingsQuery, now: datetime) -> Span:
    """Returns the time whose rows must be there: of the site's life, and not of the last hours."""
    return max(query.start, query.site.operational_since or query.start), min(query.end, now - LAG)


def _gaps(rows: Sequence[Row], query: ReadingsQuery, now: datetime) -> list[Gap]:
    """Finds quarter hours and longer times without any row."""
    covered_to, until = _expected(query, now)
    found: list[Gap] = []
    before: Row | None = None
    for row, (start, end) in rows_spans(rows, query):
        if min(start, until) - covered_to >= QUARTER:
            found.append(Gap(covered_to, min(start, until), before, row))
        covered_to, before = max(covered_to, end), row
    if until - covered_to >= QUARTER:
        found.append(Gap(covered_to, until, before, None))
    return found


def days_again(rows: Sequence[Row], query: ReadingsQuery, asked: Sequence[Asked], now: datetime) -> list[Asked]:
    """Returns calls for days to ask once more, or of another clock, because they hold what the first answers lack."""
    found: dict[str, Asked] = {}
    for gap in _gaps(rows, query, now):
        again = _changed_day(gap, asked) or _day_of_other_clock(gap, query, asked)
        if again is not None:
            found.setdefault(again["start_date"], again)
    return list(found.values())[:MOST_AGAIN]


def _changed_day(gap: Gap, asked: Sequence[Asked]) -> Asked | None:
    """Returns the day of a clock change, which was asked with two offsets, with one."""
    for span in asked:
        start, end = ends_of(span)
        if start.utcoffset() != end.utcoffset() and gap.start < end and start < gap.end:
            return with_one_offset(span)
    return None


def _day_of_other_clock(gap: Gap, query: ReadingsQuery, asked: Sequence[Asked]) -> Asked | None:
    """Returns the day of the site's own clock that holds an edge of the gap, unless it was answered already."""
    where = zone(query.site.timezone)
    for at, clock in _site_clocks(gap, where or UTC):
        if not any(_answered(at, span, clock) for span in asked):
            day = at.astimezone(clock).date()
            return span_of(day, day, "day", clock, name=query.site.timezone if where else None)
    return None


def _site_clocks(gap: Gap, where: tzinfo) -> Iterator[tuple[datetime, timezone]]:
    """Yields instants at the edges of the gap, with the site's clock there, where it is another than the zone's.

    The rows' own offset tells. Where it is the zone's, an hour missing at a midnight means that the site's days begin
    an hour late, or an hour early.
    """
    first, last, row = gap.start, gap.end - SECOND, gap.after or gap.before
    told, usual = row.timestamp.utcoffset() if row else None, last.astimezone(where).utcoffset()
    if told is None or usual is None:
        return
    if told != usual:
        yield from ((at, timezone(told)) for at in (last, first))
    elif gap.end - gap.start <= HOUR + QUARTER and gap.after is not None and _is_midnight(first, where):
        yield last, timezone(told - HOUR)
    elif gap.end - gap.start <= HOUR + QUARTER and gap.before is not None and _is_midnight(gap.end, where):
        yield first, timezone(told + HOUR)


def _is_midnight(at: datetime, where: tzinfo) -> bool:
    return at.astimezone(where).time() == time()


def _answered(at: datetime, asked: Asked, clock: tzinfo) -> bool:
    """Tells whether this call covers `at` on a site of this clock."""
    start, end = ends_of(asked)
    first = datetime.combine(start.date(), time(), clock)
    return first <= at < min(end + SECOND, first + timedelta(days=1))


def lacks_hours(rows: Sequence[Row], query: ReadingsQuery, now: datetime) -> bool:
    """Tells whether a part of the time has no row. A roof without battery may keep silent at night: that is no lack."""
    gaps = _gaps(rows, query, now)
    if _has_battery(query) or _tells_nights(rows):
        return bool(gaps)
    low = LOW_SHARE * max((row.solar_power or 0.0 for row in rows), default=0.0)
    return any(not _may_be_night(gap, low) for gap in gaps)


def _tells_nights(rows: Sequence[Row]) -> bool:
    return sum(row.solar_power == other.solar_power == 0 for row, other in pairwise(rows)) >= NIGHT_ROWS


def _may_be_night(gap: Gap, low: float) -> bool:
    edges = [row.solar_power or 0.0 for row in (gap.before, gap.after) if row is not None]
    return gap.end - gap.start <= LONGEST_NIGHT and all(watts <= low for watts in edges)


def inside(rows: Iterable[Row], asked: Asked) -> list[Row]:
    """Keeps rows of the days that were asked for: a day beside them may be told in part."""
    start, end = ends_of(asked)
    return [row for row in rows if start.date() <= row.timestamp.date() <= end.date()]


def of_other_days(rows: Iterable[Row], known: Iterable[Row]) -> list[Row]:
    """Keeps rows of days that are not known yet: the same day under another stamp would count twice."""
    days = {row.timestamp.date() for row in known}
    return [row for row in rows if row.timestamp.date() not in days]


def days_missing(rows: Iterable[Row], query: ReadingsQuery, month: Asked, now: datetime) -> list[date]:
    """Returns the days of this month that were asked for, are over, and have no row."""
    where = zone(query.site.timezone)
    start, end = _expected(query, now)
    if where is None or start >= end:
        return []
    (first, last), told = ends_of(month), {row.timestamp.date() for row in rows}
    return [
        day
        for day in days_between(start, end, where)
        if first.date() <= day <= last.date() and day not in told and _whole(day, where, start, end)
    ]


def _whole(day: date, where: ZoneInfo, start: datetime, end: datetime) -> bool:
    first, last = day_span(day, where)
    return start <= first and last <= end


def month_again(rows: Sequence[Row], query: ReadingsQuery, month: Asked, now: datetime) -> list[Asked]:
    """Returns calls for the days that are missing, one for each run of them; runs end where the clock changes.

    A month that answered nothing and has no clock change is not asked twice: there is nothing.
    """
    where = zone(query.site.timezone)
    if where is None or not (rows or _has_change(month, where)):
        return []
    runs = _runs(days_missing(rows, query, month, now), where)
    return [with_one_offset(span_of(first, last, "month", where, name=query.site.timezone)) for first, last in runs]


def _has_change(month: Asked, where: tzinfo) -> bool:
    first, last = (at.date() for at in ends_of(month))
    return _offset(first - timedelta(days=1), where) != _offset(last, where)


def _offset(day: date, where: tzinfo) -> timedelta | None:
    """Returns the offset at the end of the day."""
    return datetime.combine(day, time(23, 59, 59), where).utcoffset()


def _runs(days: Collection[date], where: tzinfo) -> list[tuple[date, date]]:
    """Groups days that follow each other under one offset, as first and last."""
    found: list[tuple[date, date]] = []
    for day in days:
        before = found[-1] if found else None
        if before and day - before[1] == timedelta(days=1) and _offset(day, where) == _offset(before[1], where):
            found[-1] = (before[0], day)
        else:
            found.append((day, day))
    return found
