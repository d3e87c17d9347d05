"""A screen as text: its characters as they stand, then how each row is coloured, in runs of named styles."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby

from rich.segment import Segment
from textual.app import App

from tui.drawing import strips

Row = list[tuple[str, str]]  # a character and its style


def rows(app: App[object]) -> list[Row]:
    """What is on the screen now, character by character."""
    width, height = app.size
    return [list(_characters(strip.crop(0, width))) for strip in strips(app)[:height]]


def _characters(segments: Sequence[Segment]) -> Iterator[tuple[str, str]]:
    for text, style, _ in segments:
        for character in text:
            yield character, str(style) if style else "none"


def characters(screen: Sequence[Row]) -> str:
    return "\n".join("".join(character for character, _ in row).rstrip() for row in screen)


def styles(screen: Sequence[Row], names: dict[str, str]) -> str:
    """Each row's runs as a number and a style's name; equal rows that follow each other are one line.

    `names`: style → name, which grows by those that were not seen before.
    """
    lines = []
    for line, same in groupby(_runs(row, names) for row in screen):
        times = len(list(same))
        lines.append(f"{times} x {line}" if times > 1 else line)
    return "\n".join(lines)


def _runs(row: Row, names: dict[str, str]) -> str:
    runs = groupby(names.setdefault(style, _name(len(names))) for _, style in row)
    return " ".join(f"{len(list(same))}{name}" for name, same in runs)


def _name(number: int) -> str:
    """a … z, then aa, ab …"""
    letters = ""
    number += 1
    while number:
        number, rest = divmod(number - 1, 26)
        letters = chr(ord("a") + rest) + letters
    return letters
