"""Quarter hours, hours, days and months of a site's own time zone. Times are epoch seconds.

On the days the clocks change a day has 23 or 25 hours, and in a few zones half an hour more or less.
"""

from __future__ import annotations

from datetime import UTC, datetime, time, timedelta
from typing import Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

SummaryLevel = Literal["15mins", "hour", "day", "month"]
QUARTER_S = 900


def zone_of(name: str | None) -> ZoneInfo:
    """Returns the zone of an IANA name; UTC when the vendor named none, or one nobody knows."""
    try:
        return ZoneInfo(name or "UTC")
    except (ZoneInfoNotFoundError, ValueError, OSError):  # OSError: "Europe" is a folder
        return ZoneInfo("UTC")


def floor(at: int, level: SummaryLevel, zone: ZoneInfo) -> int:
    """Returns the start of the period that holds `at`, both in epoch seconds."""
    if level == "15mins":
        return at - at % QUARTER_S
    if level == "hour":
        return _hour(at, zone)
    day = datetime.fromtimestamp(at, zone).date()
    start = _moment(datetime.combine(day.replace(day=1) if level == "month" else day, time()), zone)
    after = following(start, level, zone)
    return after if after <= at else start  # begun, and left again for a while: a clock set back past midnight


def _hour(at: int, zone: ZoneInfo) -> int:
    """Returns when the clock last struck. Where it moved by whole hours since, it strikes at the same moments."""
    local = datetime.fromtimestamp(at, zone)
    struck = at - local.minute * 60 - local.second
    if datetime.fromtimestamp(struck, zone).minute == 0:
        return struck
    return _moment(local.replace(minute=0, second=0), zone)


def following(start: int, level: SummaryLevel, zone: ZoneInfo) -> int:
    """Returns the start of the period after the one that begins at `start`, both in epoch seconds."""
    if level == "15mins":
        return start + QUARTER_S
    if level == "hour":
        next_hour = floor(start + 3600, "hour", zone)
        if next_hour == start:  # set back by half an hour: this one lasts 90 minutes
            next_hour = floor(start + 5400, "hour", zone)
        return next_hour
    day = datetime.fromtimestamp(start, zone).date()
    after = (day.replace(day=1) + timedelta(days=32)).replace(day=1) if level == "month" else day + timedelta(days=1)
    return _moment(datetime.combine(after, time()), zone)


def ceiling(at: int, level: SummaryLevel, zone: ZoneInfo) -> int:
    start = floor(at, level, zone)
    return at if start == at else following(start, level, zone)


def _moment(local: datetime, zone: ZoneInfo) -> int:
    """Returns a local time in epoch seconds, the earlier one unless `fold` is set.

    Where it is skipped, that is the moment after the gap.
    """
    return int(local.replace(tzinfo=zone).astimezone(UTC).timestamp())
