"""What a day's chart lacks, and why, in a few lines: who is silent, what is partial, what is missing."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from joinder.services.admin.detail import Chart

MOST = 5
NAMES = {"inverter": "solar", "battery": "battery", "meter": "grid", "charger": "charger"}
RULES = {  # what is not here is the gate's: a value was refused
    "parts_missing": "not every device told",
    "rows_missing": "not all of the time was told",
    "running": "still running",
    "load_below_zero": "the parts contradict each other",
    None: "not all of it was told",
}


def lines(chart: Chart) -> list[str]:
    """Returns a handful at most; the text is plain, what vendors named is cleaned."""
    found = [*_silent(chart), *_partial(chart), *_missing(chart)]
    if len(found) > MOST:
        found = [*found[: MOST - 1], f"and {len(found) - MOST + 1} more: joinder sites intervals tells all"]
    return found


def _silent(chart: Chart) -> Iterator[str]:
    from joinder.services.readings import silence

    for one in chart.silent:
        yield f"partial: {one.device.kind} {silence.named(one.device)} tells nothing since {_at(chart, one.since)}"


def _partial(chart: Chart) -> Iterator[str]:
    for one in chart.partial:
        why = RULES.get(one.rule, "a value was refused, as it cannot be right")
        yield f"partial: {NAMES[one.kind]} {_span(chart, one.start, one.end)}: {why}"


def _missing(chart: Chart) -> Iterator[str]:
    """Names what is missing of what the site tells at all, but for what is still to come."""
    from joinder.services.readings.missing import SAID

    for kind, spans in chart.missing.items():
        for one in spans:
            if one.why != "future":
                yield f"missing: {NAMES[kind]} {_span(chart, one.start, one.end)}: {SAID[one.why]}"


def _span(chart: Chart, start: int, end: int) -> str:
    return f"{_at(chart, start)}–{_at(chart, end)}"


def _at(chart: Chart, at: int) -> str:
    """Formats local time, with the day where it is not the chart's."""
    when = datetime.fromtimestamp(at, chart.zone)
    day = datetime.fromtimestamp(chart.start, chart.zone).date()
    if when.date() == day:
        return f"{when:%H:%M}"
    return "24:00" if (when.hour, when.minute) == (0, 0) and (when.date() - day).days == 1 else f"{when:%d %b %H:%M}"
