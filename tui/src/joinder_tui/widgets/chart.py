"""A day's power and a month's energy of a site: what became of the sun, what the home used, the battery."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, time, timedelta
from typing import TYPE_CHECKING

from rich.text import Text
from textual import events
from textual.widget import Widget

from joinder_tui.widgets import plot as drawing
from joinder_tui.widgets.plain import flowing
from joinder_tui.widgets.plot import Layer, Plot

if TYPE_CHECKING:
    from joinder.services.admin.detail import Chart

QUARTER_S = 900
SOLAR, BATTERY, GRID, LOAD, SHARE = "#f0b400", "#8c6cf0", "#3c8ce0", "", "#a868e8"
READ = {  # metric → its name where a value is read, and how it is coloured
    "solar_wh": ("solar", SOLAR),
    "load_wh": ("home", LOAD),
    "charger_wh": ("of it cars", LOAD),
    "charge_wh": ("battery in", BATTERY),
    "discharge_wh": ("battery out", BATTERY),
    "import_wh": ("grid in", GRID),
    "export_wh": ("grid out", GRID),
}
Values = Mapping[str, Sequence[float | None]]


class EnergyPicture(Widget):
    """`picture` of the slots of a chart, with a cursor that reads values and else tells the sums."""

    def __init__(self, id: str) -> None:
        super().__init__(id=id)
        self._chart: Chart | None = None
        self._plot: Plot | None = None
        self._values: Values = {}
        self._cursor: int | None = None

    @property
    def cursor(self) -> int | None:
        """Returns the slot whose values are told."""
        return self._cursor

    def draw(self, chart: Chart) -> None:
        if self._chart is not None and chart.start != self._chart.start:
            self._cursor = None
        self._chart = chart
        self._values = self.slotted(chart)
        self._plot = self.picture(chart, self._values)
        self.refresh()

    def slotted(self, chart: Chart) -> Values:
        """Returns the values slot by slot, whatever is stored."""
        raise NotImplementedError

    def picture(self, chart: Chart, values: Values) -> Plot:
        raise NotImplementedError

    def title(self, chart: Chart) -> str:
        raise NotImplementedError

    def slot_name(self, chart: Chart, slot: int) -> str:
        raise NotImplementedError

    def sums(self, chart: Chart) -> dict[str, float]:
        """Returns Wh of all that is shown."""
        raise NotImplementedError

    def move(self, step: int) -> bool:
        """Moves the cursor to another slot with anything to read; beyond the last it is gone. False: there is none."""
        known = self._known()
        if not known:
            return False
        if self._cursor is None:
            self._cursor = known[-1] if step < 0 else known[0]
        else:
            further = [slot for slot in known if (slot > self._cursor if step > 0 else slot < self._cursor)]
            self._cursor = (further[0] if step > 0 else further[-1]) if further else None
        self.refresh()
        return True

    def _known(self) -> list[int]:
        count = self._plot.count if self._plot else 0
        return [slot for slot in range(count) if any(values[slot] is not None for values in self._values.values())]

    def on_click(self, event: events.Click) -> None:
        slot = drawing.slot_at(self._plot, self.size.width, event.x) if self._plot else None
        self._cursor = slot if slot in self._known() else None
        self.refresh()

    def render(self) -> Text:
        if self._chart is None or self._plot is None:
            return Text("…")
        has_colours = not self.app.no_color
        width = max(1, self.size.width)
        head = [
            Text(self.title(self._chart), "bold"),
            *flowing(self._reading(self._chart), width),
            *flowing(drawing.legend(self._plot, has_colours=has_colours), width),
        ]
        lines = [part for one in head for part in one.wrap(self.app.console, width)]  # so that what is below has room
        room = (self.size.width, max(3, self.size.height - len(lines)))
        return Text("\n").join([*lines, drawing.drawn(self._plot, *room, cursor=self._cursor, has_colours=has_colours)])

    def _reading(self, chart: Chart) -> list[Text]:
        """Tells what is under the cursor, else the sums."""
        if self._cursor is None or self._plot is None:
            return _told("in all", self.sums(chart), "kWh", None)
        found = {name: values[self._cursor] for name, values in self._values.items()}
        share = found.pop("soc_percent", None)
        known = {name: value for name, value in found.items() if value is not None}
        name = self.slot_name(chart, self._cursor)
        if not known and share is None:
            return [Text(f"{name}  nothing is stored")]
        return _told(name, known, self._plot.unit, share)


class PowerChart(EnergyPicture):
    """kW over the quarter hours of one day of the site's own time."""

    def read_at(self, clock: time) -> bool:
        """Puts the cursor on the quarter hour of that time, the first of two. False: that day has none."""
        if self._chart is None or self._plot is None:
            return False
        wanted = (clock.hour, clock.minute // 15)
        locals_ = [self._local(self._chart, slot) for slot in range(self._plot.count)]
        found = [slot for slot, local in enumerate(locals_) if (local.hour, local.minute // 15) == wanted]
        self._cursor = found[0] if found else None
        self.refresh()
        return bool(found)

    def slotted(self, chart: Chart) -> Values:
        count = (chart.end - chart.start) // QUARTER_S
        places = {(start - chart.start) // QUARTER_S: index for index, start in enumerate(chart.starts)}
        return _slotted(chart, [places.get(slot) for slot in range(count)])

    def picture(self, chart: Chart, values: Values) -> Plot:
        count = (chart.end - chart.start) // QUARTER_S
        share = values.get("soc_percent")
        return Plot(
            count=count,
            unit="kW",
            layers=_layers(values, count),
            line=Layer("home uses", "─", LOAD, values.get("load_wh", [None] * count)),
            share=Layer("battery %", "•", SHARE, share) if share is not None else None,
            labels={slot: f"{self._local(chart, slot):%H}" for slot in range(0, count, 12)} | {count: "24"},
        )

    def title(self, chart: Chart) -> str:
        first = datetime.fromtimestamp(chart.start, chart.zone)
        none = "" if chart.starts else ": no quarter hours are stored of this day"
        return f"{first:%A %d %B %Y}, {chart.zone.key}{none}"

    def slot_name(self, chart: Chart, slot: int) -> str:
        return f"{self._local(chart, slot):%H:%M}"

    def sums(self, chart: Chart) -> dict[str, float]:
        return _sums(chart, 0.25)

    def _local(self, chart: Chart, slot: int) -> datetime:
        return datetime.fromtimestamp(chart.start + slot * QUARTER_S, chart.zone)


class EnergyChart(EnergyPicture):
    """kWh of each of the last thirty days and today; a day of which nothing is stored is hatched."""

    def slotted(self, chart: Chart) -> Values:
        known = {self._date(chart, start): index for index, start in enumerate(chart.starts)}
        return _slotted(chart, [known.get(day) for day in _days(chart)])

    def picture(self, chart: Chart, values: Values) -> Plot:
        days = _days(chart)
        empty = [slot for slot in range(len(days)) if all(row[slot] is None for row in values.values())]
        return Plot(
            count=len(days),
            unit="kWh",
            layers=_layers(values, len(days)),
            line=Layer("home used", "─", LOAD, values.get("load_wh", [None] * len(days))),
            labels={slot: day[8:] for slot, day in enumerate(days)},
            hatched=frozenset(empty),
            is_bars=True,
        )

    def title(self, chart: Chart) -> str:
        days = _days(chart)
        none = "" if chart.starts else ": no day is stored"
        return f"{days[0]} to {days[-1]}, {chart.zone.key}{none}"

    def slot_name(self, chart: Chart, slot: int) -> str:
        return _days(chart)[slot]

    def sums(self, chart: Chart) -> dict[str, float]:
        return _sums(chart, 1.0)

    def _date(self, chart: Chart, start: int) -> str:
        return datetime.fromtimestamp(start, chart.zone).date().isoformat()


def _days(chart: Chart) -> list[str]:
    first = datetime.fromtimestamp(chart.start, chart.zone).date()
    last = datetime.fromtimestamp(chart.end - 1, chart.zone).date()
    return [(first + timedelta(days=index)).isoformat() for index in range((last - first).days + 1)]


def _slotted(chart: Chart, places: Sequence[int | None]) -> Values:
    return {
        name: [values[index] if index is not None else None for index in places]
        for name, values in chart.values.items()
    }


def _layers(values: Values, count: int) -> list[Layer]:
    """Splits what the sun gave: used at home, into the battery, to the grid."""
    nothing: Sequence[float | None] = [None] * count
    solar, charge, export = (values.get(name, nothing) for name in ("solar_wh", "charge_wh", "export_wh"))
    split = [_split(*row) for row in zip(solar, charge, export, strict=True)]
    names = (("used at home", "█", SOLAR), ("to battery", "▒", BATTERY), ("to grid", "░", GRID))
    return [Layer(*name, [row[part] for row in split]) for part, name in enumerate(names)]


def _split(
    solar: float | None, charge: float | None, export: float | None
) -> tuple[float | None, float | None, float | None]:
    """A battery may be charged from the grid, too: what goes on is never more than what the sun gave."""
    if solar is None:
        return None, None, None
    to_grid = min(solar, export or 0.0)
    to_battery = min(solar - to_grid, charge or 0.0)
    return solar - to_grid - to_battery, to_battery, to_grid


def _sums(chart: Chart, hours: float) -> dict[str, float]:
    known = {name: [value for value in values if value is not None] for name, values in chart.values.items()}
    return {name: sum(values) * hours for name, values in known.items() if values and name in READ}


def _told(name: str, values: Mapping[str, float], unit: str, share: float | None) -> list[Text]:
    """Returns amounts, each with its name; the first one says of when they are."""
    told = [
        Text.assemble((f"{label} ", colour), f"{values[metric] / 1000:.1f} {unit}")
        for metric, (label, colour) in READ.items()
        if metric in values
    ]
    if share is not None:
        told.append(Text.assemble(("battery ", SHARE), f"{share:.0f} %"))
    first, *rest = told or [Text()]
    return [Text(f"{name}  ").append_text(first), *rest]
