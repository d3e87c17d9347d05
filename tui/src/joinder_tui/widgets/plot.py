"""Stacked areas and bars in characters, an eighth of a row exact; a line and a share of 100 % over them.

Where there are no colours, each layer is told by its texture.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from rich.style import Style
from rich.text import Text

from joinder.reports.svg import round_tick

EIGHTHS = " ▁▂▃▄▅▆▇█"
LEFT, RIGHT = 5, 5  # columns of the two axes
HIGHEST_AT_LEAST = 100.0  # so that a night has no ticks of milliwatts
Values = Sequence[float | None]


@dataclass(frozen=True)
class Layer:
    """`values`: one a slot, in W or Wh."""

    name: str
    texture: str
    colour: str
    values: Values


@dataclass(frozen=True, kw_only=True)
class Plot:
    """`count` slots from left to right, whatever is known of them; `labels`: slot → what stands below it.

    `line` is drawn over the layers, `share` (0 to 100) on the axis at the right. `hatched`: slots of which nothing is
    stored. `is_bars`: a gap between slots where there is room.
    """

    count: int
    unit: str
    layers: Sequence[Layer]
    line: Layer | None = None
    share: Layer | None = None
    labels: Mapping[int, str] = field(default_factory=dict)
    hatched: frozenset[int] = frozenset()
    is_bars: bool = False


@dataclass(frozen=True)
class _Frame:
    width: int
    rows: int
    slots: Sequence[int | None]  # of each column
    top: float
    tick: float
    has_colours: bool


def drawn(plot: Plot, width: int, height: int, *, cursor: int | None = None, has_colours: bool = True) -> Text:
    """Draws it in so many characters: ticks, the plot, and what is below it."""
    frame = _frame(plot, width, height, has_colours=has_colours)
    cells = [_column(plot, frame, slot, is_read=slot is not None and slot == cursor) for slot in frame.slots]
    text = Text(no_wrap=True)
    for row in reversed(range(frame.rows)):
        text.append(_tick(row, frame), "dim")
        for column in cells:
            sign, style = column[row]
            text.append(sign, style)
        text.append(_percent(row, frame) if plot.share is not None else "", plot.share.colour if plot.share else "")
        text.append("\n")
    return text.append(_below(plot, frame), "dim")


def slot_at(plot: Plot, width: int, column: int) -> int | None:
    """Returns which slot is drawn in a column of a picture that is so wide."""
    slots = _slots(plot, max(1, width - LEFT - RIGHT))
    return slots[column - LEFT] if 0 <= column - LEFT < len(slots) else None


def legend(plot: Plot, *, has_colours: bool = True) -> list[Text]:
    """Returns what each sign stands for."""
    layers = [
        Text.assemble(("█" if has_colours else layer.texture, layer.colour), f" {layer.name}") for layer in plot.layers
    ]
    marks = [mark for mark in (plot.line, plot.share) if mark is not None]
    return [*layers, *(Text.assemble((mark.texture, mark.colour), f" {mark.name}") for mark in marks)]


def _frame(plot: Plot, width: int, height: int, *, has_colours: bool) -> _Frame:
    room = max(1, width - LEFT - RIGHT)
    sums = [sum(layer.values[slot] or 0.0 for layer in plot.layers) for slot in range(plot.count)]
    line = [value for value in plot.line.values if value is not None] if plot.line else []
    highest = max([*sums, *line, HIGHEST_AT_LEAST])
    tick = round_tick(highest)
    return _Frame(room, max(1, height - 1), _slots(plot, room), math.ceil(highest / tick) * tick, tick, has_colours)


def _slots(plot: Plot, room: int) -> list[int | None]:
    """Returns the slot of each column; None in gaps. Bars are all as wide as each other."""
    if not plot.is_bars or room < plot.count:
        return [column * plot.count // room for column in range(room)]
    width = room // plot.count
    bar = max(1, width - 1)
    return [slot if part < bar else None for slot in range(plot.count) for part in range(width)]


def _column(plot: Plot, frame: _Frame, slot: int | None, *, is_read: bool) -> list[tuple[str, Style]]:
    """Draws one column, from below."""
    if slot is None:
        return [(" ", Style())] * frame.rows
    if slot in plot.hatched:
        return [("╱" if row == 0 else " ", Style(dim=True)) for row in range(frame.rows)]
    levels = list(_levels(plot, frame, slot))
    cells = [_cell(plot, frame, levels, row) for row in range(frame.rows)]
    if is_read:
        cells = [("│", Style()) if sign == " " else (sign, style + Style(bold=True)) for sign, style in cells]
        cells[-1] = ("▼", Style(bold=True))
    _mark(cells, plot.share, frame, slot, 100.0, "•")
    _mark(cells, plot.line, frame, slot, frame.top, "")
    return cells


def _levels(plot: Plot, frame: _Frame, slot: int) -> Iterator[tuple[int, Layer]]:
    """Yields where each layer ends, in eighths of a row from the bottom."""
    total = 0.0
    for layer in plot.layers:
        value = layer.values[slot]
        if value:
            total += value
            yield round(total / frame.top * frame.rows * 8), layer


def _cell(plot: Plot, frame: _Frame, levels: Sequence[tuple[int, Layer]], row: int) -> tuple[str, Style]:
    """Draws at most two layers, the lower one as a block on the ground of the upper one."""
    bottom = row * 8
    above = [(end, layer) for end, layer in levels if end > bottom]
    if not above:
        return " ", Style()
    end, layer = above[0]
    filled = min(8, end - bottom)
    if not frame.has_colours:
        return (layer.texture if filled >= 4 else " "), Style()
    ground = above[1][1].colour if filled < 8 and len(above) > 1 else None
    return EIGHTHS[filled], Style(color=layer.colour, bgcolor=ground)


def _mark(
    cells: list[tuple[str, Style]], mark: Layer | None, frame: _Frame, slot: int, whole: float, sign: str
) -> None:
    value = mark.values[slot] if mark is not None else None
    if mark is None or value is None:
        return
    eighth = min(frame.rows * 8 - 1, max(0, round(value / whole * frame.rows * 8)))
    row, part = divmod(eighth, 8)
    was, style = cells[row]
    ground = style.color if was == "█" else style.bgcolor
    line = "▁" if part < 3 else "─" if part < 6 else "▔"
    cells[row] = (sign or line, Style(color=mark.colour or None, bgcolor=getattr(ground, "name", None)))


def _tick(row: int, frame: _Frame) -> str:
    """Writes a tick into the row that ends at its height."""
    for step in range(1, round(frame.top / frame.tick) + 1):
        if math.ceil(step * frame.tick / frame.top * frame.rows) - 1 == row:
            return f"{step * frame.tick / 1000:>{LEFT - 1}g}┤"
    return " " * (LEFT - 1) + "│"


def _percent(row: int, frame: _Frame) -> str:
    marks = {frame.rows - 1: "100", (frame.rows - 1) // 2: "50", 0: "0 %"}
    return f"│{marks.get(row, '')}"


def _below(plot: Plot, frame: _Frame) -> str:
    """Writes the labels where their slots begin, those that have room."""
    line = [" "] * (frame.width + RIGHT)
    free = 0
    for slot, label in sorted(plot.labels.items()):
        at = next((column for column, there in enumerate(frame.slots) if there is not None and there >= slot), None)
        at = len(frame.slots) if at is None else at
        if at >= free and at + len(label) <= len(line):
            line[at : at + len(label)] = label
            free = at + len(label) + 1
    return f"{'0':>{LEFT - 1}}└" + "".join(line)
