"""Single values of an answer: numbers, texts, instants, each as it is or None with a refusal."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from joinder.clean import clean_line
from joinder.vendors.gate.rules import Refusals, Rule

AHEAD = timedelta(minutes=5)  # a device's clock may be off by so much
EARLIEST_YEAR = 1990
ID_MOST, NAME_MOST = 256, 200


def number(
    value: object, what: str, refusals: Refusals, *, low: float, high: float, rule: Rule = Rule.NUMBER
) -> float | None:
    """Returns a finite number from `low` to `high`; None for none."""
    if value is None:
        return None
    told = plain(value)
    if told is not None and low <= told <= high:  # NaN is neither
        return float(told)
    refusals.note(rule, what)
    return None


def plain(value: object) -> float | None:
    """Returns the number itself: of a type of its own, which may compare and convert as it likes, what it was made of.

    None for anything else.
    """
    if isinstance(value, float):
        return float.__float__(value)
    return int.__int__(value) if isinstance(value, int) and not isinstance(value, bool) else None


def text(value: object, what: str, refusals: Refusals, *, most: int = NAME_MOST) -> str | None:
    """Returns one clean line of at most `most` letters: longer ones are cut, which is noted; blank ones are None."""
    if value is None:
        return None
    if not isinstance(value, str):
        refusals.note(Rule.TEXT, what)
        return None
    if len(value) > most:
        refusals.note(Rule.TEXT, what)
    return clean_line(value[:most]).strip() or None


def identifier(value: object) -> str | None:
    """Returns a vendor's id, kept to the letter, as it is sent back; None where we could not store or send it."""
    if not isinstance(value, str) or not 0 < len(value) <= ID_MOST or clean_line(value) != value:
        return None
    return str.__str__(value)  # XML and HTML parsers answer subclasses


def instant(value: object, what: str, refusals: Refusals, *, now: datetime) -> datetime | None:
    """Returns an aware time of the past; None, and a refusal noted, for anything else."""
    if value is None:
        return None
    at = utc(value)
    if at is None or at.year < EARLIEST_YEAR:
        refusals.note(Rule.TIMES, what)
        return None
    if at > now + AHEAD:
        refusals.note(Rule.FUTURE, what)
        return None
    return at


def utc(value: object) -> datetime | None:
    """Returns an aware time in UTC, where the difference of two is the time between them; None for anything else."""
    if not isinstance(value, datetime) or value.utcoffset() is None:
        return None
    if type(value) is datetime and value.tzinfo is UTC:
        return value
    try:
        at = value.astimezone(UTC)
    except OverflowError:  # of the year 1 or 9999, and none in UTC
        return None
    return datetime.combine(at.date(), at.time(), UTC)
