"""A chart is read at a time that somebody types, in the site's own days."""

from __future__ import annotations

from datetime import date, datetime, time
from zoneinfo import ZoneInfo

import pytest
from joinder_tui import when
from joinder_tui.screens.one_line import OneLine
from joinder_tui.when import When
from joinder_tui.widgets.chart import PowerChart

from joinder import clock
from joinder.runtime.hub import Hub
from joinder.services.admin import detail
from joinder.services.admin.detail import Chart
from services.conftest import Enroll
from tui.pictured import still
from tui.test_snapshots import FIRST, opened, pictured

__all__ = ["pictured", "still"]

TODAY = date(2026, 3, 1)
BERLIN = ZoneInfo("Europe/Berlin")
ASKED = {
    "13:15": When(None, time(13, 15)),
    " 9:05 ": When(None, time(9, 5)),
    "yesterday 13:15": When(date(2026, 2, 28), time(13, 15)),
    "13:15 Yesterday": When(date(2026, 2, 28), time(13, 15)),
    "today": When(TODAY, None),
    "2026-02-03 00:00": When(date(2026, 2, 3), time(0)),
    "2026-02-03T23:59": When(date(2026, 2, 3), time(23, 59)),
}


@pytest.mark.parametrize("text", ASKED)
def test_days_and_times_are_read_as_people_type_them(text: str) -> None:
    assert when.read(text, TODAY) == ASKED[text]


@pytest.mark.parametrize(
    "text", ["", "24:00", "12:60", "1315", "noon", "13:15 14:15", "2026-02-30", "2026-03-02", "١٢:٠٠:٠٠"]
)
def test_what_is_no_time_is_told_so_with_an_example(text: str) -> None:
    with pytest.raises(ValueError, match=r"such as 13:15|lies ahead"):
        when.read(text, TODAY)


def day_of(year: int, month: int, number: int, hours: int) -> Chart:
    start = int(datetime(year, month, number, tzinfo=BERLIN).timestamp())
    return Chart(zone=BERLIN, start=start, end=start + hours * 3600, starts=[], values={})


@pytest.mark.parametrize(
    ("chart", "asked", "slot"),
    [
        (day_of(2026, 6, 17, 24), time(13, 29), 53),
        (day_of(2026, 3, 29, 23), time(2, 15), None),
        (day_of(2026, 3, 29, 23), time(3, 0), 8),
        (day_of(2026, 10, 25, 25), time(2, 15), 9),
        (day_of(2026, 10, 25, 25), time(3, 0), 16),
    ],
)
def test_hours_that_are_not_or_are_twice_are_read_as_they_were(chart: Chart, asked: time, slot: int | None) -> None:
    drawn = PowerChart("power")
    drawn.draw(chart)
    assert drawn.read_at(asked) is (slot is not None)
    assert drawn.cursor == slot


@pytest.mark.parametrize(
    ("moment", "days"),
    [
        (datetime(2020, 10, 25, 23, 30, tzinfo=BERLIN), ("2020-10-25", "2020-10-24", "2020-10-23")),
        (datetime(2020, 3, 30, 0, 30, tzinfo=BERLIN), ("2020-03-30", "2020-03-29", "2020-03-28")),
    ],
)
async def test_the_day_before_is_that_of_the_calendar(
    hub: Hub, enroll: Enroll, monkeypatch: pytest.MonkeyPatch, moment: datetime, days: tuple[str, ...]
) -> None:
    found = await detail.load(hub, await enroll("ada"))
    site = found.sites[0][0]._replace(timezone=BERLIN.key)
    monkeypatch.setattr(clock, "civil_time", moment.timestamp)
    charts = [await detail.day(hub, site, days_ago=back) for back in range(3)]
    assert tuple(f"{datetime.fromtimestamp(one.start, BERLIN):%Y-%m-%d}" for one in charts) == days
    assert charts[1].end == charts[0].start


async def test_yesterday_is_read_at_a_quarter_past_one_by_typing_it(pictured: Hub) -> None:
    async with opened(pictured, (120, 40)) as terminal:
        await terminal.press(*FIRST, "slash")
        await terminal.until(lambda: isinstance(terminal.app.screen, OneLine))
        await terminal.enter("yesterday 13:15")
        await terminal.press("enter")
        await terminal.sees("Tuesday 16 June 2026")
        await terminal.sees("13:15  solar")
        await terminal.press("slash")
        await terminal.enter("2026-06-18")
        await terminal.press("enter")
        await terminal.until(lambda: "2026-06-18 lies ahead." in terminal.text())
        await terminal.press("slash")
        await terminal.enter("2026-06-10 12:00")
        await terminal.press("enter")
        await terminal.sees("12:00  nothing is stored")
        await terminal.press("slash")
        await terminal.enter("today 9:00")
        await terminal.press("enter")
        await terminal.sees("09:00  solar")
        await terminal.press("right")
        await terminal.sees("09:15  solar")
