"""An enrollment as a picture: what its site does now, the life of its token, and what became of it day by day."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from rich.text import Text

from joinder.clock import now
from joinder_tui import texts
from joinder_tui.widgets.chart import BATTERY, GRID, LOAD, SOLAR
from joinder_tui.widgets.plain import flowing

if TYPE_CHECKING:
    from joinder.services.admin.detail import Chart, Detail
    from joinder.services.readings.live import LivePower
    from joinder.store.enrollments import StoredGrant

DAY_S = 86400
DAYS = 90  # of the timeline
SIGNS: Mapping[str, tuple[str, str, str]] = {  # by urgency: what is drawn of several in one column
    "failed": ("▲", "red", "failed"),
    "consent": ("●", "green", "consent"),
    "refresh": ("·", "blue", "refreshed"),
}
NAME = 8  # columns for what a line is of


def picture(detail: Detail, day: Chart | None, width: int) -> Text:
    """Draws what is known, a line each where there is room; none is cut between a number and its unit."""
    width = max(30, width)
    drawn = (_now(detail, width), _last_day(day, width), _token(detail.overview.grant, width), _timeline(detail, width))
    return Text("\n").join(line for line in drawn if line is not None)


def _line(name: str) -> Text:
    return Text(no_wrap=True, overflow="ellipsis").append(f"{name:<{NAME}}", "bold")


def _flowed(name: str, parts: Sequence[Text], width: int, gap: str) -> Text:
    """Puts parts beside a name, and what has no room below them."""
    first, *rest = flowing(parts, width - NAME, gap)
    return Text("\n").join([_line(name).append_text(first), *(_line("").append_text(one) for one in rest)])


def _now(detail: Detail, width: int) -> Text | None:
    live = next(iter(detail.lives.values()), None)
    if live is None:
        return None
    measured = Text(f"{'old: ' if live.stale else ''}measured {texts.ago(live.measured_at)}", "dim")
    return _flowed("now", [*_powers(live), measured], width, "   ")


def _powers(live: LivePower) -> Iterator[Text]:
    """Tells where power flows: ⇣ into the battery or from the grid, ⇡ out of it or to the grid."""
    if live.solar_w is not None:
        yield Text.assemble(("solar ", SOLAR), texts.power(live.solar_w))
    if live.load_w is not None:
        yield Text.assemble(("home ", LOAD), texts.power(live.load_w))
    if live.battery_w is not None or live.soc_percent is not None:
        share = f" {live.soc_percent:.0f} %" if live.soc_percent is not None else ""
        yield Text.assemble(("battery ", BATTERY), _flow(live.battery_w, "⇡", "⇣"), share)
    if live.grid_w is not None:
        yield Text.assemble(("grid ", GRID), _flow(live.grid_w, "⇣", "⇡"))


def _flow(watts: float | None, more: str, less: str) -> str:
    if watts is None:
        return ""
    return f"{more if watts > 0 else less if watts < 0 else ''}{texts.power(abs(watts))}"


def _last_day(day: Chart | None, width: int) -> Text | None:
    """Draws the sun of the day that is shown, and what it came to."""
    solar = list(day.values.get("solar_wh", ())) if day is not None else []
    known = [value for value in solar if value is not None]
    if day is None or not known:
        return None
    hours = (day.end - day.start) // 3600
    by_hour: list[list[float]] = [[] for _ in range(hours)]
    for start, value in zip(day.starts, solar, strict=True):
        if value is not None:
            by_hour[(start - day.start) // 3600].append(value)
    means = [sum(values) / len(values) if values else None for values in by_hour]
    sums = Text(f"{texts.energy(sum(known) / 4)}, at most {texts.power(max(known))}")
    return _flowed("sun", [Text(texts.sparkline(means), SOLAR), sums], width, "  ")


def _token(grant: StoredGrant | None, width: int) -> Text | None:
    """Draws how much of the token's life is over: of what ends the consent, else of what ends the access."""
    if grant is None:
        return None
    end = grant.refresh_expires_at or grant.expires_at
    renewed = f"renewed {texts.counted(grant.refresh_count, 'time')}, last {texts.ago(grant.obtained_at)}"
    if not grant.refresh_count:
        renewed = f"not renewed yet, obtained {texts.ago(grant.obtained_at)}"
    if end is None:
        return _flowed("token", [Text(f"{renewed};"), Text("the vendor tells no end")], width, " ")
    what = "refresh token" if grant.refresh_expires_at else "access"
    left = max(0.0, min(1.0, (end - now()) / max(1, end - grant.obtained_at)))
    room = max(8, width - NAME - len(renewed) - 36)
    full = round(left * room)
    colour = "red" if left < 0.1 else "yellow" if left < 0.3 else "green"
    ends = f"ends {texts.ago(end)}" if end > now() else f"ended {texts.ago(end)}"
    bar = Text.assemble(("━" * full, colour), ("┄" * (room - full), "dim"), f" {what} {ends};")
    return _flowed("token", [bar, Text(renewed)], width, " ")


def _timeline(detail: Detail, width: int) -> Text | None:
    """Draws a column for some days each; the most urgent of what happened in them."""
    began = max(detail.overview.row.created_at, now() - DAYS * DAY_S)
    span = max(DAY_S, now() - began)
    room = max(10, width - NAME - 48)
    columns: list[str] = [""] * room
    ranks = list(SIGNS)
    for at, what in _happened(detail):
        column = (at - began) * room // (span + 1)
        if 0 <= column < room and (not columns[column] or ranks.index(what) < ranks.index(columns[column])):
            columns[column] = what
    text = _line("life")
    for found in columns:
        sign, colour, _ = SIGNS.get(found, ("┄", "dim", ""))
        text.append(sign, colour)
    text.append(f" {texts.span(now() - began)}: ", "dim")
    for sign, colour, name in SIGNS.values():
        text.append(sign, colour).append(f" {name} ", "dim")
    return text


def _happened(detail: Detail) -> Iterator[tuple[int, str]]:
    for version in detail.lineage:
        yield version.obtained_at, "refresh" if version.obtained_by == "refresh" else "consent"
    for told in detail.events:
        if told.row.type == "enrollment.health" and told.data.get("to") not in ("ok", "connecting"):
            yield told.row.at, "failed"
