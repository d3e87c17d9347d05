"""Time where a site is: its zone, its days, and times that vendors write without an offset. Pure, as series.py."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

Span = tuple[datetime, datetime]
# Files beside the zones: this machine's own zone, a placeholder, a rule, and zones that count leap seconds.
_NO_PLACES = ("localtime", "Factory", "posixrules", "posix/", "right/")


def instant(text: str | None) -> datetime | None:
    """Returns the moment of an ISO 8601 text with an offset; None for anything else."""
    try:
        at = datetime.fromisoformat(text or "")
    except ValueError:
        return None
    return at if at.tzinfo is not None else None


def zone(name: str | None) -> ZoneInfo | None:
    """Returns the time zone of an IANA name; None for one that is missing, unknown, or the name of no place's time."""
    if name is not None and name.startswith(_NO_PLACES):
        return None
    try:
        return ZoneInfo(name) if name else None
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return None


def day_span(day: date, where: ZoneInfo) -> Span:
    """Returns the span from local midnight to the next, in UTC."""
    return midnight(day, where), midnight(day + timedelta(days=1), where)


def midnight(day: date, where: ZoneInfo) -> datetime:
    return datetime.combine(day, time(), where).astimezone(UTC)


def is_datable(day: date) -> bool:
    """Tells whether a row of that day may be one: a zone cannot tell every time of the years 1 and 9999."""
    return 1990 <= day.year <= 2200


def days_between(start: datetime, end: datetime, where: ZoneInfo) -> Iterator[date]:
    """Yields the local days that [start, end) touches."""
    day, last = start.astimezone(where).date(), (end - timedelta(microseconds=1)).astimezone(where).date()
    while day <= last:
        yield day
        day += timedelta(days=1)


def instants(wall_times: Iterable[datetime], where: ZoneInfo) -> Iterator[datetime]:
    """Yields rows' wall times without offset, in the order they happened, as UTC.

    In the hour that autumn repeats, the second pass is told by time not going on; times that spring skips are read with
    the offset before the change (PEP 495).
    """
    before: datetime | None = None
    for wall in wall_times:
        at = wall.replace(tzinfo=where, fold=0).astimezone(UTC)
        if before is not None and at <= before:
            later = wall.replace(tzinfo=where, fold=1).astimezone(UTC)
            at = later if later > before else at
        before = at
        yield at
