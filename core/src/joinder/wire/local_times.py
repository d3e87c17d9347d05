"""Writes moments in a zone's own time, ISO 8601 with its offset; the quarter hours of a day once for all who ask."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from functools import lru_cache
from zoneinfo import ZoneInfo

from joinder.services.readings.periods import QUARTER_S

DAY_S = 86_400
_DAYS_KEPT = 512  # 8 kB each
_QUARTERS = [f"T{hour:02}:{minute:02}:00" for hour in range(24) for minute in range(0, 60, 15)]


def local_times(zone: ZoneInfo) -> Callable[[int], str]:
    """Returns a formatter of epoch seconds to ISO 8601 with the zone's numeric offset.

    An interval's end is the next one's start: each is written once.
    """
    written: dict[int, str] = {}

    def when(at: int) -> str:
        if at not in written:
            written[at] = datetime.fromtimestamp(at, zone).isoformat()
        return written[at]

    return when


def spans(
    level: str, zone: ZoneInfo, starts: Sequence[int], ends: Sequence[int]
) -> tuple[Sequence[str], Sequence[str]]:
    """Writes the begins and ends of periods. Where one begins as the last ends, that is written once."""
    if level not in ("15mins", "hour"):
        when = local_times(zone)
        return [when(at) for at in starts], [when(at) for at in ends]
    if starts[1:] == ends[:-1]:
        texts = _quarters(zone, [*starts, *ends[-1:]])
        return texts[:-1], texts[1:]
    return _quarters(zone, starts), _quarters(zone, ends)


def _quarters(zone: ZoneInfo, moments: Sequence[int]) -> list[str]:
    days = {day: quarters_of_day(zone, day) for day in {at // DAY_S for at in moments}}
    return [days[at // DAY_S][at % DAY_S // QUARTER_S] for at in moments]


@lru_cache(_DAYS_KEPT)
def quarters_of_day(zone: ZoneInfo, day: int) -> Sequence[str]:
    """Writes the quarter hours of a day of UTC (counted from 1970) in the zone's time, with its offset.

    The offset is asked for once, unless the day ends with another.
    """
    moments = range(day * DAY_S, (day + 1) * DAY_S, QUARTER_S)
    first, last = (datetime.fromtimestamp(at, zone) for at in (moments[0], moments[-1]))
    if first.utcoffset() != last.utcoffset() or first.minute % 15 or first.second:
        return [datetime.fromtimestamp(at, zone).isoformat() for at in moments]
    offset = first.isoformat()[19:]
    begun = first.hour * 4 + first.minute // 15
    dates = (first.date().isoformat(), last.date().isoformat())
    return [dates[at // 96] + _QUARTERS[at % 96] + offset for at in range(begun, begun + 96)]
