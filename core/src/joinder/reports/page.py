"""Fills the templates. Everything from vendors and owners is escaped there, and cleaned here."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from joinder.clean import clean_line
from joinder.clock import now

HERE = Path(__file__).parent / "templates"


def render(template: str, **values: Any) -> str:
    """Returns one whole HTML file."""
    return _templates().get_template(template).render(made_at=moment(now()), **values)


def moment(at: int | None, zone: ZoneInfo | None = None) -> str:
    """Formats a time for people, with its zone; "-" where unknown."""
    if at is None:
        return "-"
    return datetime.fromtimestamp(at, zone or UTC).strftime("%Y-%m-%d %H:%M") + ("" if zone else " UTC")


@cache
def _templates() -> Environment:
    found = Environment(
        loader=FileSystemLoader(HERE), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    found.filters["plain"] = lambda value: clean_line(str(value)) if value not in (None, "") else "-"
    found.filters["count"] = lambda number: f"{number:,}".replace(",", "\N{NARROW NO-BREAK SPACE}")
    found.filters["when"] = lambda iso: "never" if iso is None else f"{iso[:10]} {iso[11:16]} UTC"
    found.filters["words"] = lambda value: clean_line(str(value)).replace("_", " ")
    return found
