"""What others named, shown as it is: never as markup, and nothing of it reaches the terminal as an order.

Whatever a widget draws, also one of Textual's own, goes through `Visible` last. What is drawn here is cleaned before
it is measured, so that each letter that nobody would see has its place on the screen.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.cells import cell_len
from rich.segment import Segment
from rich.text import Text
from textual import widgets
from textual.color import Color
from textual.filter import LineFilter

from joinder.clean import MARK, clean_line, clean_text

WIDEST = 300  # letters of a cell; a screen of its own shows the whole


def line(text: str | Text) -> Text:
    """Makes one line for a cell, cut where it is very long: before it is cleaned and measured, which takes long too."""
    if len(text) <= WIDEST:
        return _changed(text, clean_line)
    shown = _changed(text[: WIDEST + 1], clean_line).copy()
    shown.truncate(WIDEST, overflow="ellipsis")
    return shown


def lines(text: str | Text) -> Text:
    return _changed(text, clean_text)


def flowing(parts: Sequence[Text], width: int, gap: str = "   ") -> list[Text]:
    """Puts parts into lines that end between them; a part alone may be wider."""
    found: list[Text] = []
    for part in parts:
        if found and found[-1].cell_len + cell_len(gap) + part.cell_len <= width:
            found[-1].append(gap).append_text(part)
        else:
            found.append(part.copy())
    return found


def _changed(text: str | Text, clean: Any) -> Text:
    """Returns the same `Text` where nothing is to be changed; styles stay, as a letter stands for a letter."""
    if isinstance(text, str):
        return Text(clean(text))
    cleaned = clean(text.plain)
    if cleaned != text.plain:
        text = text.copy()
        text.plain = cleaned
    return text


class Static(widgets.Static):
    """Textual's, without markup; what is neither a `str` nor a `Text` is cleaned by who made it."""

    def __init__(self, content: Any = "", *, markup: bool = False, **options: Any) -> None:
        super().__init__(_cleaned(content), markup=False, **options)

    def update(self, content: Any = "", *, layout: bool = True) -> None:
        super().update(_cleaned(content), layout=layout)


def _cleaned(content: Any) -> Any:
    return lines(content) if isinstance(content, str | Text) else content


class Visible(LineFilter):
    """Leaves out what has no width, marks the rest: a line stays as long as it was."""

    def apply(self, segments: list[Segment], background: Color) -> list[Segment]:
        return [
            segment if segment.control or clean_line(segment.text) is segment.text else _visible(segment)
            for segment in segments
        ]


def _visible(segment: Segment) -> Segment:
    kept = (
        letter if mark == letter else "" if cell_len(letter) == 0 else MARK * cell_len(letter)
        for letter, mark in zip(segment.text, clean_line(segment.text), strict=True)
    )
    return Segment("".join(kept), segment.style)
