"""A day's power and a month's energy, drawn in characters."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING

from textual_plotext import PlotextPlot

if TYPE_CHECKING:
    from joinder.services.admin.detail import Chart

LINES = {  # metric → its name and colour; a theme's own sixteen colours may be two of one kind
    "solar_wh": ("solar", (240, 180, 0)),
    "load_wh": ("load", (0, 170, 220)),
    "import_wh": ("import", (220, 60, 60)),
    "export_wh": ("export", (60, 180, 80)),
    "charge_wh": ("charge", (120, 110, 240)),
    "discharge_wh": ("discharge", (220, 100, 190)),
}


class PowerChart(PlotextPlot):
    """kW over the hours of one day."""

    def draw(self, chart: Chart) -> None:
        plot = self.plt
        plot.clear_figure()
        plot.title(_day(chart) if chart.starts else "no quarter hours are stored of this day")
        for name, values in _drawn(chart):
            known = [(start, value) for start, value in zip(chart.starts, values, strict=True) if value is not None]
            hours = [_hour(chart, start) for start, _ in known]
            label, colour = LINES[name]
            plot.plot(hours, [value / 1000 for _, value in known], label=f"{label} kW", color=colour, marker="braille")
        plot.xlim(0, 24)
        plot.xticks(list(range(0, 25, 3)))
        self.refresh()


class EnergyChart(PlotextPlot):
    """kWh of each of the last thirty days."""

    def draw(self, chart: Chart) -> None:
        plot = self.plt
        plot.clear_figure()
        plot.title("last 30 days, kWh" if chart.starts else "no day is stored")
        days = [datetime.fromtimestamp(start, chart.zone).strftime("%d") for start in chart.starts]
        drawn = _drawn(chart)
        if days and drawn:
            series = [[(value or 0.0) / 1000 for value in values] for _, values in drawn]
            labels, colours = ([LINES[name][part] for name, _ in drawn] for part in (0, 1))
            plot.multiple_bar(days, series, labels=labels, color=colours)  # type: ignore[call-arg,arg-type]  # typed for an older plotext
        self.refresh()


def _drawn(chart: Chart) -> list[tuple[str, Sequence[float | None]]]:
    return [(name, chart.values[name]) for name in LINES if name in chart.values]


def _hour(chart: Chart, start: int) -> float:
    local = datetime.fromtimestamp(start, chart.zone)
    return local.hour + local.minute / 60


def _day(chart: Chart) -> str:
    first = datetime.fromtimestamp(chart.starts[0], chart.zone)
    return f"{first:%A %d %B %Y}, {chart.zone.key}   (, day before   . day after)"
