"""Single values of an answer: numbers, texts, instants, each as it is or None with a refusal."""

from __future__ import annotations

import math
from datetime import datetime, timedelta

from joinder.clean import clean_line
from joinder.vendors.gate.rules import Refusals, Rule

AHEAD = timedelta(minutes=5)  # a device's clock may be off by so much
EARLIEST_YEAR = 1990
ID_MOST, NAME_MOST = 256, 200


def number(
    value: object, what: str, refusals: Refusals, *, low: float, high: float, rule: Rule = Rule.NUMBER
) -> float | None:
    """A finite number from `low` to `high`; None for none."""
    if value is None:
        return None
    if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value) and low <= value <= high:
        return float(value)
    refusals.note(rule, what)
    return None


def text(value: object, what: str, refusals: Refusals, *, most: int = NAME_MOST) -> str | None:
    """One clean line of at most `most` letters: longer ones are cut, which is noted; blank ones are none."""
    if value is None:
        return None
    if not isinstance(value, str):
        refusals.note(Rule.TEXT, what)
        return None
    if len(value) > most:
        refusals.note(Rule.TEXT, what)
    return clean_line(value[:most]).strip() or None


def identifier(value: object) -> str | None:
    """A vendor's id: kept to the letter, as it is sent back; None where it is none we could store or send."""
    if not isinstance(value, str) or not 0 < len(value) <= ID_MOST or clean_line(value) != value:
        return None
    return value


def instant(value: object, what: str, refusals: Refusals, *, now: datetime) -> datetime | None:
    """An aware time of the past."""
    if value is None:
        return None
    if not isinstance(value, datetime) or value.tzinfo is None or value.year < EARLIEST_YEAR:
        refusals.note(Rule.TIMES, what)
        return None
    if value > now + AHEAD:
        refusals.note(Rule.FUTURE, what)
        return None
    return value
