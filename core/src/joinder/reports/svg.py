"""Charts as SVG, out of numbers: what a home's energy came from above the line, what became of it below."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from zoneinfo import ZoneInfo

from markupsafe import Markup

SOURCES = {"solar_wh": "solar", "discharge_wh": "battery discharged", "import_wh": "from the grid"}
USES = {"load_wh": "used at home", "charge_wh": "battery charged", "export_wh": "to the grid"}
WIDTH, HEIGHT, LEFT, TOP, BOTTOM = 720, 240, 56, 8, 22
Values = Mapping[str, Sequence[float | None]]


@dataclass(frozen=True, kw_only=True)
class Frame:
    """[start, end) in epoch seconds; a column is `step` seconds wide. Values are in W or Wh."""

    zone: ZoneInfo
    start: int
    end: int
    step: int
    unit: str
    is_day: bool

    def x(self, at: float) -> float:
        return LEFT + (at - self.start) / (self.end - self.start) * (WIDTH - LEFT)


def stacked(frame: Frame, starts: Sequence[int], values: Values) -> Markup:
    """Draws the stacks, with round ticks and the values of each column in its tooltip."""
    above, below = _highest(SOURCES, values), _highest(USES, values)
    tick = round_tick(max(above, below, 100.0))
    top, bottom = math.ceil(above / tick) * tick or tick, math.ceil(below / tick) * tick
    scale = (HEIGHT - TOP - BOTTOM) / (top + bottom)
    zero = TOP + top * scale
    parts = [
        *(_tick(level * tick, zero - level * tick * scale, frame.unit) for level in _levels(top, bottom, tick)),
        *_moments(frame),
    ]
    for index, at in enumerate(starts):
        parts.append(_column(frame, at, {name: known[index] for name, known in values.items()}, zero, scale))
    axis = f'<line class="zero" x1="{LEFT}" x2="{WIDTH}" y1="{zero:.1f}" y2="{zero:.1f}"/>'
    drawn = "".join(parts) + axis
    return Markup(f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img">{drawn}</svg>')  # noqa: S704 - numbers and own words


def round_tick(highest: float) -> float:
    """Returns a step of 1, 2 or 5 times a power of ten, of which at most four reach `highest`."""
    power = 10.0 ** math.floor(math.log10(highest / 4))
    return next(power * step for step in (1, 2, 5, 10) if highest / (power * step) <= 4)


def token_life(obtained_at: int, ends: Sequence[tuple[str, int]], moment: int) -> Markup:
    """Draws the life of a token: from when it was obtained to each of its ends, and now."""
    last = max([end for _, end in ends] + [moment])
    span = max(last - obtained_at, 1)

    def x(at: int) -> float:
        return max(0.0, min(1.0, (at - obtained_at) / span)) * WIDTH

    bars = "".join(_life(index, name, x(end)) for index, (name, end) in enumerate(ends))
    height = 8 + 12 * len(ends)
    line = f'<line class="now" x1="{x(moment):.1f}" x2="{x(moment):.1f}" y1="0" y2="{height}"/>'
    return Markup(f'<svg viewBox="0 0 {WIDTH} {height}" role="img">{bars}{line}</svg>')  # noqa: S704 - as above


def _life(index: int, name: str, width: float) -> str:
    place = f'x="0" y="{4 + 12 * index}" width="{width:.1f}" height="9"'
    return f'<rect class="life{index}" {place}><title>{name}</title></rect>'


def bars(counts: Sequence[int], *, css: str) -> Markup:
    """Draws a small row of bars, one for each count."""
    highest = max([*counts, 1])
    width = 120 / max(len(counts), 1)
    drawn = "".join(
        f'<rect class="{css}" x="{index * width:.1f}" y="{24 - 24 * count / highest:.1f}" width="{width - 1:.1f}" '
        f'height="{24 * count / highest:.1f}"><title>{count}</title></rect>'
        for index, count in enumerate(counts)
    )
    return Markup(f'<svg class="small" viewBox="0 0 120 24" role="img">{drawn}</svg>')  # noqa: S704 - as above


def shares(parts: Sequence[tuple[str, int]]) -> Markup:
    """Draws what a whole is made of; whatever there is can be seen."""
    whole = max(sum(count for _, count in parts), 1)
    least = 3.0
    room = 160 - least * sum(1 for _, count in parts if count)
    drawn, x = [], 0.0
    for css, count in parts:
        width = least + room * count / whole if count else 0.0
        drawn.append(f'<rect class="{css}" x="{x:.1f}" y="0" width="{width:.1f}" height="12"/>')
        x += width
    return Markup(f'<svg class="share" viewBox="0 0 160 12" role="presentation">{"".join(drawn)}</svg>')  # noqa: S704 - as above


def _highest(names: Mapping[str, str], values: Values) -> float:
    columns = [values[name] for name in names if name in values]
    return max((sum(value or 0 for value in column) for column in zip(*columns, strict=True)), default=0.0)


def _levels(top: float, bottom: float, tick: float) -> range:
    return range(-round(bottom / tick), round(top / tick) + 1)


def _tick(value: float, y: float, unit: str) -> str:
    text = f"{abs(value) / 1000:g} {unit}"
    line = f'<line class="grid" x1="{LEFT}" x2="{WIDTH}" y1="{y:.1f}" y2="{y:.1f}"/>'
    return f'{line}<text x="{LEFT - 6}" y="{y + 3:.1f}" class="left">{text}</text>'


def _moments(frame: Frame) -> list[str]:
    """Names every third hour of a day, or every fifth day."""
    found = []
    for index, at in enumerate(range(frame.start, frame.end, 3 * 3600 if frame.is_day else 5 * 86400)):
        if index:
            text = datetime.fromtimestamp(at, frame.zone).strftime("%H:%M" if frame.is_day else "%d.%m.")
            found.append(f'<text x="{frame.x(at):.1f}" y="{HEIGHT - 6}" class="middle">{text}</text>')
    return found


def _column(frame: Frame, at: int, values: Mapping[str, float | None], zero: float, scale: float) -> str:
    x, width = frame.x(at), frame.x(at + frame.step) - frame.x(at)
    parts = []
    for names, direction in ((SOURCES, -1), (USES, 1)):
        y = zero
        for name in names:
            height = (values.get(name) or 0) * scale
            if height > 0.05:
                upper = y - height if direction < 0 else y
                parts.append(
                    f'<rect class="{name}" x="{x:.1f}" y="{upper:.1f}" width="{width:.2f}" height="{height:.1f}"/>'
                )
            y += direction * height
    said = [
        f"{text} {values[name] or 0:.0f}" for name, text in {**SOURCES, **USES}.items() if values.get(name) is not None
    ]
    when = datetime.fromtimestamp(at, frame.zone).strftime("%H:%M" if frame.is_day else "%d.%m.")
    return f"<g><title>{when}: {', '.join(said)} {frame.unit[1:]}</title>{''.join(parts)}</g>" if parts else ""
