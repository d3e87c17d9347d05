"""Times as callers write them: one set of forms, and one sentence of refusal, whichever way a time comes in.

RFC 3339 is taken whole. Besides it what ISO 8601 writes shorter, where that means one thing: no seconds (`T00:00Z`), an
offset without its colon or its minutes (`+0200`, `+02`). An offset is obligatory.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

YEARS = range(2000, 2200)
WANTED = "must be ISO 8601 with an offset, e.g. 2026-06-01T00:00:00Z"
OUT_OF_RANGE = f"must be of the years {YEARS[0]} to {YEARS[-1]}"
# Spelled out, for Python reads weeks, any letter for the T, and more from one version to the next.
_FORM = re.compile(
    r"(?P<day>[0-9]{4}-[0-9]{2}-[0-9]{2})[Tt ](?P<minute>(?:[01][0-9]|2[0-3]):[0-5][0-9])"
    r"(?::(?P<second>[0-5][0-9]|60)(?P<fraction>\.[0-9]+)?)?"
    r"(?:[Zz]|(?P<hours>[+-](?:[01][0-9]|2[0-3]))(?::?(?P<minutes>[0-5][0-9]))?)"
)
_LEAP = "60"


class Instant:
    """A moment that a caller gave: in UTC, and in whole epoch seconds."""

    __slots__ = ("at",)

    def __init__(self, at: datetime) -> None:
        self.at = at

    @property
    def epoch(self) -> int:
        return int(self.at.timestamp())


def read(text: object) -> Instant:
    """Reads a time. Raises ValueError with what would be right."""
    found = _FORM.fullmatch(text) if isinstance(text, str) else None
    if found is None:
        raise ValueError(WANTED)
    written = f"{found['day']}T{found['minute']}:{_second(found)}{found['hours'] or '+00'}:{found['minutes'] or '00'}"
    try:
        local = datetime.fromisoformat(written)
    except ValueError:  # no such day
        raise ValueError(WANTED) from None
    if local.year not in YEARS:
        raise ValueError(OUT_OF_RANGE)
    at = local.astimezone(UTC)
    return Instant(_after_leap(at) if found["second"] == _LEAP else at)


def _second(found: re.Match[str]) -> str:
    """Returns seconds as Python reads them, cut to microseconds."""
    if found["second"] in (None, _LEAP):
        return "00" if found["second"] is None else "59"
    return found["second"] + (found["fraction"] or "")[:7]


def _after_leap(last: datetime) -> datetime:
    """Returns the second behind the last of a month of UTC: a leap second counts as that. Raises ValueError."""
    after = last + timedelta(seconds=1)
    if after != after.replace(day=1, hour=0, minute=0, second=0):
        raise ValueError(WANTED)
    return after
