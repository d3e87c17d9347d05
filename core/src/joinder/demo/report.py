"""The demo's outcome as a table and a small chart."""

from __future__ import annotations

from collections.abc import Sequence

from joinder.demo.cluster import Summary
from joinder.demo.sequence import Connected

_BARS = " ▁▂▃▄▅▆▇█"


def table(seen: Sequence[Connected]) -> str:
    """Formats one line for each vendor."""
    head = ("vendor", "site", "inverters", "batteries", "meters", "today kWh", "24 h kWh", "now kW", "health")
    rows = [
        (
            one.vendor,
            one.site_name,
            str(one.solar_inverters),
            str(one.batteries),
            str(one.meters),
            f"{one.today_kwh:.2f}",
            f"{one.day_kwh:.2f}",
            f"{one.live.get('solarKw', 0):.2f}",
            one.health,
        )
        for one in seen
    ]
    return _columns([head, *rows])


def cluster(seen: Summary) -> str:
    """Formats what each process did, and what happened after one was killed."""
    rows = [(one.process, str(one.requests), str(one.vendor_calls)) for one in seen.work]
    return (
        _columns([("process", "requests answered", "reads of vendors"), *rows])
        + f"\n\nBegun at server-2, finished at server-1: consents of {', '.join(seen.consents_across_servers)}"
        + f"\n{seen.killed} was killed; {seen.goes_on} read from vendors {seen.calls_after_kill} times since"
    )


def _columns(rows: Sequence[Sequence[str]]) -> str:
    """Aligns rows in columns; the first row is the head."""
    widths = [max(len(row[index]) for row in rows) for index in range(len(rows[0]))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows]
    return "\n".join([lines[0], "  ".join("─" * width for width in widths), *lines[1:]])


def chart(seen: Connected) -> str:
    """Draws the last 24 hours of solar energy, one column per half hour."""
    halves = [sum(seen.curve[index : index + 2]) for index in range(0, len(seen.curve), 2)]
    top = max(halves, default=0.0) or 1.0
    bars = "".join(_BARS[round(half / top * (len(_BARS) - 1))] for half in halves)
    return f"{seen.vendor:>12} │{bars}│ peak {top * 2:.2f} kW, last 24 h"
