"""Charts as characters: what is stacked, what is read, what is not known."""

from __future__ import annotations

from zoneinfo import ZoneInfo

from joinder_tui.widgets.chart import EnergyChart, PowerChart
from joinder_tui.widgets.plot import LEFT, Layer, Plot, drawn, legend, slot_at
from textual.app import App, ComposeResult

from joinder.services.admin.detail import Chart

OWN, GRID = Layer("own", "█", "#f0b400", [1000.0, 2000.0, None]), Layer("grid", "░", "#3c8ce0", [1000.0, None, None])
BERLIN = ZoneInfo("Europe/Berlin")
DAY_S = 86400
MIDNIGHT = 1_764_370_800  # 29 November 2025 in Berlin


def lines(
    plot: Plot, width: int = 40, height: int = 9, *, cursor: int | None = None, has_colours: bool = False
) -> list[str]:
    return drawn(plot, width, height, cursor=cursor, has_colours=has_colours).plain.split("\n")


def test_layers_stand_on_each_other_between_round_ticks() -> None:
    plot = Plot(count=3, unit="kW", layers=[OWN, GRID], labels={0: "00", 1: "08", 2: "16"})
    shown = lines(plot)
    assert [line[:LEFT] for line in shown if line[LEFT - 1] == "┤"] == ["   2┤", " 1.5┤", "   1┤", " 0.5┤"]
    assert shown[0].count("░") == 10
    assert shown[0].count("█") == 10
    assert shown[7].count("█") == 20
    assert shown[-1].split() == ["0└00", "08", "16"]
    assert all(len(line) <= 40 for line in shown)


def test_a_layer_ends_an_eighth_of_a_row_exact_on_the_ground_of_the_next() -> None:
    plot = Plot(
        count=1, unit="kW", layers=[Layer("own", "█", "#f0b400", [1250.0]), Layer("grid", "░", "#3c8ce0", [750.0])]
    )
    text = drawn(plot, 20, 3)
    assert any("on #3c8ce0" in str(span.style) for span in text.spans)


def test_every_layer_is_told_by_a_sign_of_its_own_without_colours() -> None:
    line, share = Layer("load", "─", "", [500.0] * 3), Layer("soc", "•", "#ff00ff", [50.0, None, None])
    plot = Plot(count=3, unit="kW", layers=[OWN, GRID], line=line, share=share)
    assert [one.plain for one in legend(plot, has_colours=False)] == ["█ own", "░ grid", "─ load", "• soc"]
    shown = "\n".join(lines(plot))
    assert all(sign in shown for sign in "█░•")
    assert "100" in shown
    assert shown.count("•") == 10


def test_bars_leave_gaps_where_there_is_room_and_hatch_what_is_not_stored() -> None:
    plot = Plot(count=3, unit="kWh", layers=[OWN, GRID], is_bars=True, hatched=frozenset({2}))
    shown = lines(plot, width=22)
    assert shown[7][LEFT : LEFT + 12] == "███ ███ ╱╱╱ "
    assert lines(plot, width=13)[7][LEFT : LEFT + 3] == "██╱"


def test_a_column_tells_which_slot_it_is_of() -> None:
    plot = Plot(count=3, unit="kW", layers=[OWN])
    assert [slot_at(plot, 40, column) for column in (0, LEFT, LEFT + 29, LEFT + 30)] == [None, 0, 2, None]


class Shown(App[None]):
    def compose(self) -> ComposeResult:
        yield PowerChart(id="power")
        yield EnergyChart(id="energy")


def chart(starts: list[int], end: int, **values: list[float | None]) -> Chart:
    return Chart(zone=BERLIN, start=MIDNIGHT, end=end, starts=starts, values=values)


async def test_a_day_is_read_by_a_cursor_and_tells_its_sums() -> None:
    app = Shown()
    async with app.run_test(size=(120, 40)) as pilot:
        power = app.query_one(PowerChart)
        starts = [MIDNIGHT + hour * 3600 for hour in (9, 12)]
        solar: list[float | None] = [2000.0, 4000.0]
        power.draw(chart(starts, MIDNIGHT + DAY_S, solar_wh=solar, export_wh=[None, 1000.0], soc_percent=[40.0, 80.0]))
        await pilot.pause()
        told = power.render().plain
        assert "Saturday 29 November 2025, Europe/Berlin" in told
        assert "in all  solar 1.5 kWh   grid out 0.2 kWh" in told
        assert "• battery %" in told
        power.move(1)
        assert "09:00  solar 2.0 kW   battery 40 %" in power.render().plain
        power.move(1)
        assert "12:00  solar 4.0 kW   grid out 1.0 kW   battery 80 %" in power.render().plain
        power.move(1)
        assert "in all" in power.render().plain


async def test_a_month_has_a_place_for_every_day_and_an_empty_one_is_said() -> None:
    app = Shown()
    async with app.run_test(size=(120, 40)) as pilot:
        energy = app.query_one(EnergyChart)
        energy.draw(chart([MIDNIGHT + 3 * DAY_S], MIDNIGHT + 30 * DAY_S, solar_wh=[9000.0]))
        await pilot.pause()
        told = energy.render().plain
        assert "2025-11-29 to 2025-12-28" in told
        assert told.count("╱") >= 29
        energy.move(-1)
        assert "2025-12-02  solar 9.0 kWh" in energy.render().plain
        energy.draw(chart([], MIDNIGHT + 30 * DAY_S))
        await pilot.pause()
        assert "no day is stored" in energy.render().plain


async def test_a_day_on_which_the_clocks_change_is_as_long_as_it_is() -> None:
    app = Shown()
    async with app.run_test(size=(120, 40)) as pilot:
        power = app.query_one(PowerChart)
        begins = 1_761_429_600  # 26 October 2025 in Berlin, a day of 25 hours
        starts = [begins + 24 * 3600]
        power.draw(
            Chart(zone=BERLIN, start=begins, end=begins + 25 * 3600, starts=starts, values={"solar_wh": [1000.0]})
        )
        await pilot.pause()
        power.move(1)
        assert "23:00  solar 1.0 kW" in power.render().plain
