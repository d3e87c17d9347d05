"""The demo's outcome as tables."""

from __future__ import annotations

from collections.abc import Sequence

from joinder.demo.cluster import Summary
from joinder.demo.sequence import Connected

_HEAD = ("vendor", "site", "inverters", "batteries", "meters", "today kWh", "24 h kWh", "now kW", "health")
_WIDTHS = (10, 23, 9, 9, 6, 9, 8, 6, 6)


def head() -> str:
    """Formats the head of the table, whose rows follow as they come."""
    return f"{_line(_HEAD)}\n{_line(['─' * width for width in _WIDTHS])}"


def row(seen: Connected) -> str:
    """Formats one vendor's row."""
    return _line(
        (
            seen.vendor,
            seen.site_name,
            str(seen.solar_inverters),
            str(seen.batteries),
            str(seen.meters),
            f"{seen.today_kwh:.2f}",
            f"{seen.day_kwh:.2f}",
            f"{seen.live.get('solarKw', 0):.2f}",
            seen.health,
        )
    )


def _line(cells: Sequence[str]) -> str:
    return "  ".join(cell.ljust(width) for cell, width in zip(cells, _WIDTHS, strict=True)).rstrip()


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
