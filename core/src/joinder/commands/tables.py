"""Rows as aligned columns that fit the terminal: text is wrapped, ids are never cut.

Where not even the ids fit beside each other, each row becomes a few lines. Into a pipe or a file goes everything on one
line, as `grep` and `awk` want it.
"""

from __future__ import annotations

import os
import shutil
import sys
import textwrap
from collections.abc import Mapping, Sequence

GAP = "  "
NARROWEST = 12  # letters of a column that is wrapped


def width_of_output() -> int | None:
    """Returns the terminal's width, or what COLUMNS says; None where nobody looks."""
    if os.environ.get("COLUMNS", "").isdecimal() or sys.stdout.isatty():
        return shutil.get_terminal_size().columns
    return None


def table(rows: Sequence[Mapping[str, str]], width: int | None) -> list[str]:
    """Returns the lines of a table whose head is the names of the first row."""
    names = list(rows[0])
    cells = [names, *([row[name] for name in names] for row in rows)]
    widths = [max(len(line[index]) for line in cells) for index in range(len(names))]
    if width is None or _sum(widths) <= width:
        return [_line(line, widths) for line in cells]
    fitted = _fitted(cells, widths, width)
    if fitted is None:
        return _blocks(cells)
    return [line for row in cells for line in _wrapped(row, fitted)]


def _sum(widths: Sequence[int]) -> int:
    return sum(widths) + len(GAP) * (len(widths) - 1)


def _fitted(cells: Sequence[Sequence[str]], widths: list[int], width: int) -> list[int] | None:
    """Takes from the widest columns what is too much; None where words would have to be cut."""
    least = [max(min(widths[index], NARROWEST), _longest_word(cells, index)) for index in range(len(widths))]
    if _sum(least) > width:
        return None
    fitted = list(widths)
    while _sum(fitted) > width:
        fitted[max(range(len(fitted)), key=lambda index: fitted[index] - least[index])] -= 1
    return fitted


def _longest_word(cells: Sequence[Sequence[str]], index: int) -> int:
    return max(len(word) for row in cells for word in (row[index].split() or [""]))


def _wrapped(row: Sequence[str], widths: Sequence[int]) -> list[str]:
    columns = [
        textwrap.wrap(cell, width, break_on_hyphens=False) or [""] for cell, width in zip(row, widths, strict=True)
    ]
    height = max(map(len, columns))
    return [_line([column[at] if at < len(column) else "" for column in columns], widths) for at in range(height)]


def _blocks(cells: Sequence[Sequence[str]]) -> list[str]:
    """Formats each row as lines of name and value, with an empty line between rows."""
    names, *rows = cells
    widest = max(map(len, names))
    lines = [
        [f"{name.ljust(widest)}{GAP}{cell}".rstrip() for name, cell in zip(names, row, strict=True)] for row in rows
    ]
    return [line for index, block in enumerate(lines) for line in ([""] if index else []) + block]


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    return GAP.join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)).rstrip()
