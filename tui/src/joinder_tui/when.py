"""A day and a time of day as somebody types them: `13:15`, `yesterday 13:15`, `2026-11-30`."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import date, time, timedelta

EXAMPLES = "13:15, yesterday 13:15, or 2026-11-30 13:15"
DAYS = {"today": 0, "yesterday": 1}


@dataclass(frozen=True)
class When:
    """None: nothing was said of it."""

    day: date | None
    clock: time | None


def read(text: str, today: date) -> When:
    """Raises ValueError with a sentence."""
    words = re.sub(r"(?<=\d)t(?=\d)", " ", text.lower()).split()
    day: date | None = None
    clock: time | None = None
    for word in words:
        if day is None and (found := _day(word, today)) is not None:
            day = found
        elif clock is None and (told := _clock(word)) is not None:
            clock = told
        else:
            raise ValueError(f"{text} is no time such as {EXAMPLES}.")
    if not words:
        raise ValueError(f"Type a time such as {EXAMPLES}.")
    if day is not None and day > today:
        raise ValueError(f"{day} lies ahead.")
    return When(day, clock)


def _day(word: str, today: date) -> date | None:
    if word in DAYS:
        return today - timedelta(days=DAYS[word])
    try:
        return date.fromisoformat(word)
    except ValueError:
        return None


def _clock(word: str) -> time | None:
    hours, colon, minutes = word.partition(":")
    if not (colon and hours.isdecimal() and minutes.isdecimal() and len(hours) <= 2 and len(minutes) == 2):
        return None
    return time(int(hours), int(minutes)) if int(hours) < 24 and int(minutes) < 60 else None
