"""Days, hours and months of a home's own clock, on the days it changes too."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from itertools import islice, pairwise
from typing import get_args
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from effort import examples
from joinder.services.readings.periods import SummaryLevel, ceiling, floor, following, zone_of

LEVELS = get_args(SummaryLevel)


def periods(start: int, end: int, level: SummaryLevel, zone: ZoneInfo) -> Iterator[tuple[int, int]]:
    """(start, end) of every period of [start, end), which begins and ends on one."""
    while start < end:
        after = following(start, level, zone)
        yield start, after
        start = after


ZONES = {
    "UTC": "no change",
    "Europe/Berlin": "an hour at 2",
    "America/Los_Angeles": "an hour at 2",
    "Australia/Lord_Howe": "half an hour at 2",
    "America/Sao_Paulo": "an hour at midnight, until 2019",
    "America/Havana": "an hour at midnight",
    "Asia/Kolkata": "half an hour off",
    "Asia/Kathmandu": "three quarters off",
    "Pacific/Apia": "left out the 30th of December 2011",
    "Antarctica/Troll": "two hours",
    "Africa/Casablanca": "changes for Ramadan",
    "Pacific/Chatham": "an hour at a quarter to three",
    "Asia/Gaza": "an hour at a minute past midnight, in 2011",
}
FIRST, LAST = int(datetime(2010, 1, 1, tzinfo=UTC).timestamp()), int(datetime(2037, 1, 1, tzinfo=UTC).timestamp())


def change_of(zone: ZoneInfo, year: int) -> list[int]:
    """The moments of a year at which the zone's offset changes."""
    start = int(datetime(year, 1, 1, tzinfo=UTC).timestamp())
    offsets = [datetime.fromtimestamp(start + 900 * n, zone).utcoffset() for n in range(366 * 96)]
    return [start + 900 * (n + 1) for n, (a, b) in enumerate(pairwise(offsets)) if a != b]


CHANGES = {name: [at for year in (2011, 2018, 2026) for at in change_of(ZoneInfo(name), year)] for name in ZONES}


@st.composite
def moments(draw: st.DrawFn) -> tuple[int, ZoneInfo]:
    """Any moment of any zone, most of them around a clock change."""
    name = draw(st.sampled_from(sorted(ZONES)))
    anywhere = st.integers(FIRST, LAST)
    changes = st.sampled_from(CHANGES[name] or [FIRST])
    near = [st.builds(int.__add__, changes, st.integers(-around, around)) for around in (172800, 7200, 5400)]
    return draw(st.one_of(anywhere, *near)), ZoneInfo(name)


thoroughly = settings(max_examples=examples(400))


@thoroughly
@given(moments(), st.sampled_from(LEVELS))
def test_a_period_holds_its_moments_and_begins_at_its_own_start(moment, level):
    at, zone = moment
    start = floor(at, level, zone)
    assert start <= at < following(start, level, zone)
    assert floor(start, level, zone) == start
    assert ceiling(start, level, zone) == start


@thoroughly
@given(moments(), st.sampled_from(LEVELS))
def test_the_next_period_begins_where_this_one_ends(moment, level):
    at, zone = moment
    after = following(floor(at, level, zone), level, zone)
    assert floor(after, level, zone) == after
    assert floor(after - 1, level, zone) == floor(at, level, zone)
    assert ceiling(at, level, zone) in (at, after)
    assert ceiling(at, level, zone) >= at


@thoroughly
@given(moments(), st.sampled_from(LEVELS), st.integers(1, 60))
def test_periods_tile_their_range(moment, level, count):
    at, zone = moment
    start = end = floor(at, level, zone)
    for _ in range(count):
        end = following(end, level, zone)
    found = list(islice(periods(start, end, level, zone), count + 1))
    assert len(found) == count
    assert found[0][0] == start
    assert found[-1][1] == end
    assert all(a[1] == b[0] for a, b in pairwise(found))
    assert all(a < b for a, b in found)


@thoroughly
@given(moments(), st.sampled_from(["15mins", "hour", "day"]))
def test_small_periods_never_cross_a_larger_one(moment, level):
    at, zone = moment
    larger = {"15mins": "hour", "hour": "day", "day": "month"}[level]
    start = floor(at, level, zone)
    assert floor(start, larger, zone) == floor(following(start, level, zone) - 1, larger, zone)


@thoroughly
@given(moments(), st.sampled_from(["day", "month"]))
def test_days_and_months_begin_on_the_local_date(moment, level):
    at, zone = moment
    start = datetime.fromtimestamp(floor(at, level, zone), zone)
    local = datetime.fromtimestamp(at, zone)
    assert start.date() == (local.date().replace(day=1) if level == "month" else local.date())


def hours_of(day: date, name: str) -> float:
    zone = ZoneInfo(name)
    noon = int(datetime(day.year, day.month, day.day, 12, tzinfo=zone).timestamp())
    start = floor(noon, "day", zone)
    return (following(start, "day", zone) - start) / 3600


@pytest.mark.parametrize(
    ("name", "day", "hours"),
    [
        ("Europe/Berlin", date(2026, 3, 29), 23),
        ("Europe/Berlin", date(2026, 10, 25), 25),
        ("Europe/Berlin", date(2026, 7, 1), 24),
        ("America/Los_Angeles", date(2026, 3, 8), 23),
        ("America/Los_Angeles", date(2026, 11, 1), 25),
        ("Australia/Lord_Howe", date(2026, 4, 5), 24.5),
        ("Australia/Lord_Howe", date(2026, 10, 4), 23.5),
        ("America/Sao_Paulo", date(2018, 11, 4), 23),
        ("America/Sao_Paulo", date(2018, 2, 17), 25),
        ("America/Havana", date(2026, 3, 8), 23),
        ("America/Havana", date(2026, 11, 1), 25),
        ("Asia/Kolkata", date(2026, 3, 29), 24),
        ("Antarctica/Troll", date(2026, 3, 29), 22),
    ],
)
def test_a_day_has_the_hours_its_clock_says(name, day, hours):
    assert hours_of(day, name) == hours
    zone = ZoneInfo(name)
    start = floor(int(datetime(day.year, day.month, day.day, 12, tzinfo=zone).timestamp()), "day", zone)
    quarters = list(periods(start, following(start, "day", zone), "15mins", zone))
    assert len(quarters) == hours * 4


def test_a_day_that_was_left_out_has_no_period():
    zone = ZoneInfo("Pacific/Apia")
    start = floor(int(datetime(2011, 12, 29, 12, tzinfo=zone).timestamp()), "day", zone)
    days = [datetime.fromtimestamp(at, zone).date() for at, _ in periods(start, start + 3 * 86400, "day", zone)]
    assert days == [date(2011, 12, 29), date(2011, 12, 31), date(2012, 1, 1)]


def test_the_repeated_hour_is_two_periods():
    zone = ZoneInfo("Europe/Berlin")
    start = int(datetime(2026, 10, 25, tzinfo=zone).timestamp())
    hours = list(periods(start, following(start, "day", zone), "hour", zone))
    local = [datetime.fromtimestamp(at, zone).hour for at, _ in hours]
    assert local == [0, 1, 2, 2, *range(3, 24)]


def test_months_follow_each_other_over_a_year():
    zone = ZoneInfo("Europe/Berlin")
    start = int(datetime(2026, 1, 1, tzinfo=zone).timestamp())
    end = int(datetime(2027, 1, 1, tzinfo=zone).timestamp())
    months = [datetime.fromtimestamp(at, zone) for at, _ in periods(start, end, "month", zone)]
    assert [(moment.month, moment.day, moment.hour) for moment in months] == [(month, 1, 0) for month in range(1, 13)]


@pytest.mark.parametrize("level", LEVELS)
def test_an_empty_range_has_no_period(level):
    assert list(periods(FIRST, FIRST, level, ZoneInfo("UTC"))) == []


def test_half_a_period_does_not_end_the_range_early():
    zone = ZoneInfo("UTC")
    end = FIRST + int(timedelta(hours=1, minutes=20).total_seconds())
    assert list(periods(FIRST, end, "hour", zone))[-1] == (FIRST + 3600, FIRST + 7200)


@pytest.mark.parametrize("name", [None, "", "Mars/Olympus", "../../etc/passwd", "/etc/passwd", "Europe/Berlin\x00", "Europe", "x" * 5000])  # fmt: skip  # noqa: E501
def test_an_unknown_zone_is_utc(name):
    assert zone_of(name).key == "UTC"


def test_a_known_zone_is_used():
    assert zone_of("Asia/Kolkata").key == "Asia/Kolkata"


def test_an_hour_in_which_the_clock_moves_by_an_hour_lasts_one():
    """In Chatham from 2:45 to 3:45: no local time from 2:45 on exists, so no hour begins at three."""
    zone = ZoneInfo("Pacific/Chatham")
    at = int(datetime(2026, 9, 27, 3, 50, tzinfo=zone).timestamp())
    start = floor(at, "hour", zone)
    assert datetime.fromtimestamp(start, zone).isoformat() == "2026-09-27T02:00:00+12:45"
    assert following(start, "hour", zone) - start == 3600


def test_a_day_that_was_begun_and_left_again_begins_once():
    """In Newfoundland the clock went back from a minute past midnight, until 2011."""
    zone = ZoneInfo("America/St_Johns")
    first, again = (datetime(2010, 11, 7, tzinfo=zone, fold=fold).timestamp() for fold in (0, 1))
    for level in ("hour", "day"):
        assert [floor(int(at), level, zone) for at in (first, first + 59, first + 60, again - 1)] == [int(first)] * 4
    assert following(int(first), "hour", zone) == int(again)
    assert following(int(first) - 86400, "day", zone) == int(first)
