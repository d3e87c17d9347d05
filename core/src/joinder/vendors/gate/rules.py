"""The rules of the gate, each with the sentence an operator reads, and the collector of what they refused."""

from __future__ import annotations

import enum
from datetime import datetime

from joinder import physics
from joinder.clean import clean_line
from joinder.energy import Refusal

SPANS_MOST = 500  # of one rule in one answer; the count goes on
TEXT_MOST = 500


class Rule(enum.StrEnum):
    """Why something was refused. The values are labels of a metric, and what `provenance` shows."""

    SHAPE = "shape"
    TIMES = "times"
    UNALIGNED = "unaligned"
    OUTSIDE = "outside"
    FUTURE = "future"
    SUBJECT = "subject"
    TWICE = "told_twice"
    NUMBER = "number"
    CHARGE = "charge"
    TEXT = "text"
    TOO_MANY = "too_many"
    DEVICE = "device"
    ZONE = "zone"
    NAMEPLATE = "nameplate"
    SPIKE = "spike"
    CAPACITY = "capacity"
    CHARGER = "charger"
    CARS_BEYOND_LOAD = "cars_beyond_load"
    REGISTER_JUMP = "register_jump"
    LOAD = "load_below_zero"
    DAY_DISAGREES = "day_disagrees"


SENTENCES: dict[Rule, str] = {
    Rule.SHAPE: "Something of the wrong type was left out",
    Rule.TIMES: "Times without an offset, or that end before they begin, were left out",
    Rule.UNALIGNED: "Rows that are no whole quarter hour, or no whole local day, were left out",
    Rule.OUTSIDE: "Rows outside of the span that was asked for were left out",
    Rule.FUTURE: "What lies in the future was left out: a clock is wrong at the vendor or here",
    Rule.SUBJECT: "Rows of another site or device than was asked for were left out",
    Rule.TWICE: "A period was told twice with different values: neither counts",
    Rule.NUMBER: "A value that is no possible number was left out",
    Rule.CHARGE: "A state of charge outside of 0 to 100 % was left out",
    Rule.TEXT: "A text that is none, or far too long, was left out or cut",
    Rule.TOO_MANY: "More was answered than there can be: the rest was left out",
    Rule.DEVICE: "A device without an id or a known kind, or told twice, was left out",
    Rule.ZONE: "The time zone is none that anybody knows: it was left out",
    Rule.NAMEPLATE: "More solar power than the inverters can take was left out",
    Rule.SPIKE: "Solar power far above what the rows around it tell was left out",
    Rule.CAPACITY: "More energy in a quarter hour than the batteries can hold was left out",
    Rule.CHARGER: "More energy than a charger of cars can draw was left out",
    Rule.CARS_BEYOND_LOAD: "Cars took more than the whole home: either may be wrong, so neither counts",
    Rule.REGISTER_JUMP: "A register ran further than the site can: what lies between is unknown",
    Rule.LOAD: physics.NO_LOAD,
    Rule.DAY_DISAGREES: "A day's own total and the sum of its quarter hours differ by more than 2 %",
}


class Refusals:
    """Collects what one answer lost, by rule and what it was about."""

    def __init__(self) -> None:
        self._found: dict[tuple[Rule, str], Refusal] = {}

    def note(
        self, rule: Rule, what: str = "", span: tuple[str | None, datetime, datetime] | None = None, *, count: int = 1
    ) -> None:
        """Notes a refusal.

        `what` names the member (solar_wh, name), never its value: a vendor's text stays out of sentences.
        """
        key = (rule, what)
        before = self._found.get(key)
        text = f"{SENTENCES[rule]} ({what})" if what else SENTENCES[rule]
        spans = before.spans if before else ()
        if span is not None and len(spans) < SPANS_MOST:
            spans = (*spans, span)
        total = (before.count if before else 0) + count
        self._found[key] = Refusal(rule=str(rule), text=text, count=total, spans=spans)

    def has(self, rule: Rule) -> bool:
        return any(found is rule for found, _ in self._found)

    def listed(self) -> tuple[Refusal, ...]:
        return tuple(self._found.values())

    def taken(self) -> tuple[Refusal, ...]:
        """Returns what was noted since this was asked last."""
        found = self.listed()
        self._found.clear()
        return found


def checked_warnings(told: object, refusals: Refusals, *, most: int = 50) -> tuple[str, ...]:
    """Returns a plugin's sentences, each cleaned and cut, each once."""
    if not isinstance(told, tuple | list):
        refusals.note(Rule.SHAPE, "warnings")
        return ()
    texts = [text for text in told[: 4 * most] if isinstance(text, str)]
    if len(texts) < len(told[: 4 * most]):
        refusals.note(Rule.SHAPE, "warnings")
    clean = dict.fromkeys(text for told_text in texts if (text := clean_line(told_text[:TEXT_MOST]).strip()))
    if len(told) > 4 * most or len(clean) > most:
        refusals.note(Rule.TOO_MANY, "warnings")
    return tuple(clean)[:most]
