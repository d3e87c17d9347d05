"""How times, states and counts are written. A state has a sign of its own, as colour may be missing."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime

from rich.text import Text

from joinder import moments
from joinder.clock import now
from joinder.plurals import several

SIGNS: dict[str, tuple[str, str]] = {
    "ok": ("●", "green"),
    "connecting": ("◌", "blue"),
    "degraded": ("◐", "yellow"),
    "suspected": ("◐", "yellow"),
    "pending_approval": ("○", "blue"),
    "needs_consent": ("▲", "magenta"),
    "lost_in_flight": ("▲", "magenta"),
    "operator_action": ("■", "red"),
    "quarantined": ("■", "red"),
    "paused": ("‖", "cyan"),
    "ended": ("□", "dim"),
}
BLOCKS = "▁▂▃▄▅▆▇█"
_UNITS = ((86400, "d"), (3600, "h"), (60, "min"), (1, "s"))
UNITS = {unit: size for size, unit in _UNITS}  # in seconds


def health(state: str, *, paused: bool = False, actor: str | None = None) -> Text:
    """Writes a state with its sign. `actor`: who is known to be the one to act; an ended one waits for nobody."""
    from joinder.services.records import health as words

    if words.is_ended(state, actor):
        return Text.assemble(SIGNS["ended"], " ended")
    is_well = state in ("ok", "connecting")
    shown = "paused" if paused and is_well else state
    sign, colour = SIGNS.get(shown, ("?", "red"))
    text = Text.assemble((sign, colour), " ", shown.replace("_", " "))
    return text.append(" ‖", "cyan") if paused and not is_well else text


def span(seconds: float) -> str:
    """Writes two days and a half as 2 d 12 h."""
    left, parts = max(0, int(seconds)), []
    for size, unit in _UNITS:
        if left >= size:
            parts.append(f"{left // size} {unit}")
            left %= size
    return " ".join(parts[:2]) or "0 s"


def ago(at: int | None) -> str:
    """Writes epoch seconds as a distance from now."""
    if at is None:
        return "never"
    return f"{span(now() - at)} ago" if at <= now() else f"in {span(at - now())}"


def short_ago(at: int | None) -> str:
    """Says how long ago in one unit, for columns."""
    if at is None:
        return "–"
    distance = abs(now() - at)
    size, unit = next(((size, unit) for size, unit in _UNITS if distance >= size), (1, "s"))
    return f"{distance // size} {unit}"


def moment(at: int | None) -> str:
    """Writes epoch seconds in UTC, to the second."""
    return "–" if at is None else datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M:%S")


def day(at: int) -> str:
    """Writes the day of epoch seconds in UTC."""
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d")


def minute(at: int) -> str:
    """Writes epoch seconds in UTC, to the minute; without the day while it is today."""
    when = datetime.fromtimestamp(at, UTC)
    today = datetime.fromtimestamp(now(), UTC).date()
    return when.strftime("%H:%M UTC" if when.date() == today else "%Y-%m-%d %H:%M UTC")


def iso(at: int) -> str:
    """Writes epoch seconds as the API writes them."""
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def count(number: int) -> str:
    return f"{number:,}".replace(",", " ")


def counted(number: int, noun: str) -> str:
    """Writes the number as `count` does, with its noun."""
    return f"{count(number)} {noun if number == 1 else several(noun)}"


def bar(part: int, whole: int, width: int = 6) -> Text:
    """Draws how much of something is used; anything used shows."""
    share = min(1.0, part / whole) if whole else 1.0
    full = min(width, max(round(share * width), 1 if part else 0))
    colour = "red" if share >= 0.9 else "yellow" if share >= 0.7 else "green"
    return Text.assemble(("▰" * full, colour), ("▱" * (width - full), "dim"), f" {share:.0%}")


def sparkline(values: Sequence[float | None]) -> str:
    """Draws a value a letter, the highest one full; a gap where nothing is known."""
    highest = max((value for value in values if value is not None), default=0.0)
    return "".join(" " if value is None else _spark(value, highest) for value in values)


def _spark(value: float, highest: float) -> str:
    return BLOCKS[min(7, round(value / highest * 7))] if highest else BLOCKS[0]


def power(watts: float | None) -> str:
    return "–" if watts is None else f"{watts / 1000:.1f} kW"


def energy(watt_hours: float | None) -> str:
    return "–" if watt_hours is None else f"{watt_hours / 1000:.1f} kWh"


def since(text: str) -> int:
    """Reads epoch seconds of a distance back such as 90 min, 3 h, 2 d, or of a day or time, of UTC unless it says more.

    Raises ValueError.
    """
    text = text.strip()
    distance = re.fullmatch(r"([0-9]{1,9})\s*(d|h|min|s)", text)
    if distance:
        return max(0, now() - int(distance[1]) * UNITS[distance[2]])
    forms = (f"{text}T00:00Z",) if len(text) == len("2026-06-01") else (text, f"{text}Z")
    for form in forms:
        with suppress(ValueError):
            return moments.read(form).epoch
    raise ValueError(moments.WANTED)


def details(data: Mapping[str, object]) -> str:
    """Returns what an event says beside whom it is about; what only the integrator can read comes last."""
    told = dict(sorted(data.items(), key=lambda pair: pair[0] in ("state", "reference")))
    changed = [f"{_plain(told.pop('from', 'nothing'))} → {_plain(told.pop('to'))}"] if "to" in told else []
    reason = [str(told.pop("reason"))] if "reason" in told else []
    rest = [f"{name} {_plain(value)}" for name, value in told.items() if name not in ("enrollmentID", "vendor")]
    return "  ".join([*changed, *reason, *rest])


def _plain(value: object) -> str:
    """Writes a state or code as words, and what is none as it is."""
    text = str(value)
    return text.replace("_", " ") if re.fullmatch(r"[a-z]+(_[a-z]+)+", text) else text
