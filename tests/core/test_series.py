"""Rows of any grid as quarter hours and local days: nothing is lost, nothing invented, whatever the clock does."""

from __future__ import annotations

import math
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from joinder.energy import LOAD_BELOW_ZERO, PARTS_MISSING, Reading
from joinder.series import (
    QUARTER,
    Days,
    Number,
    Quarters,
    day_span,
    days_between,
    instant,
    instants,
    merged,
    outwards,
    percent,
    plausible,
    row_spans,
    with_load,
    zone,
)

START = datetime(2026, 6, 1, tzinfo=UTC)
END = START + timedelta(hours=6)
ZONES = ("Europe/Berlin", "America/Los_Angeles", "Australia/Adelaide", "Asia/Kathmandu", "UTC")
CHANGES = [
    date(2026, 3, 8),
    date(2026, 3, 29),
    date(2026, 10, 25),
    date(2026, 11, 1),
    date(2026, 4, 5),
    date(2026, 10, 4),
]


@given(st.lists(st.tuples(st.integers(1, 4000), st.floats(0, 1e6)), max_size=30))
def test_sums_are_kept_whatever_the_rows(rows: list[tuple[int, float]]) -> None:
    """Rows one after another, of any length: what lies inside the window comes out again."""
    at, total = START, 0.0
    found = Quarters(START, START + timedelta(days=2))
    for seconds, wh in rows:
        found.energy("solar_wh", at, at + timedelta(seconds=seconds), wh)
        at, total = at + timedelta(seconds=seconds), total + wh
    readings = found.readings()
    assert sum(row.solar_wh or 0 for row in readings) == pytest.approx(total, rel=1e-6, abs=0.1)
    assert all(before.end <= after.start for before, after in pairwise(readings))
    assert all(row.end - row.start == QUARTER for row in readings)
    assert all(row.quality in ("measured", "estimated") for row in readings[:-1])


def test_a_row_that_straddles_two_quarters_is_shared_out() -> None:
    found = Quarters(START, END)
    found.energy("solar_wh", START + timedelta(minutes=10), START + timedelta(minutes=20), 100)
    assert [(row.solar_wh, row.quality) for row in found.readings()] == [(50, "partial"), (50, "partial")]


@pytest.mark.parametrize(
    ("minutes", "offset", "quality"),
    [
        (60, 0, "estimated"),
        (30, 0, "estimated"),
        (15, 5, "estimated"),
        (10, 0, "estimated"),
        (15, 0, "measured"),
        (5, 2, "measured"),
        (3, 1, "measured"),
    ],
)
def test_what_is_shared_out_of_a_long_row_is_estimated(minutes: int, offset: int, quality: str) -> None:
    found = Quarters(START, END)
    for at in range(offset - minutes, 60, minutes):
        start = START + timedelta(minutes=at)
        found.energy("solar_wh", start, start + timedelta(minutes=minutes), 10.0)
    readings = found.readings()[:3]
    assert {row.quality for row in readings} == {quality}
    assert {row.rule for row in readings} == {"spread" if quality == "estimated" else None}


def test_nothing_shared_out_is_nothing() -> None:
    found = Quarters(START, END)
    found.energy("solar_wh", START, START + timedelta(hours=1), 0.0)
    assert {(row.solar_wh, row.quality) for row in found.readings()} == {(0, "measured")}


def test_what_lies_outside_the_window_is_left_out() -> None:
    found = Quarters(START, START + QUARTER)
    for step in (-1, 0, 1):
        found.energy("solar_wh", START + step * QUARTER, START + (step + 1) * QUARTER, 10)
    assert [row.start for row in found.readings()] == [START]


@pytest.mark.parametrize("value", [None, -1.0, math.nan, math.inf])
def test_unknown_is_left_out(value: float | None) -> None:
    found = Quarters(START, END)
    found.energy("solar_wh", START, START + QUARTER, value)
    found.power("load_wh", START, START + QUARTER, value)
    found.soc(START, START + QUARTER, value)
    assert plausible(value) is None
    assert found.readings() == ()


def test_flow_is_split_by_direction() -> None:
    found = Quarters(START, END)
    found.flow("import_wh", "export_wh", START, START + QUARTER, 400)
    found.flow("import_wh", "export_wh", START + QUARTER, START + 2 * QUARTER, -800)
    found.flow("import_wh", "export_wh", START + 2 * QUARTER, START + 3 * QUARTER, math.nan)
    assert [(row.import_wh, row.export_wh) for row in found.readings()] == [(100, 0), (0, 200)]


@pytest.mark.parametrize("value", [None, -0.1, 100.1, float("nan"), float("inf")])
def test_a_state_of_charge_that_cannot_be_is_unknown(value: float | None) -> None:
    assert percent(value) is None
    assert [percent(0.0), percent(100.0)] == [0.0, 100.0]


@pytest.mark.parametrize("text", [None, "", "soon", "2026-03-01T12:00:00", "2026-13-01T12:00:00Z"])
def test_a_moment_without_an_offset_is_none(text: str | None) -> None:
    assert instant(text) is None
    assert instant("2026-03-01T13:00:00+01:00") == datetime(2026, 3, 1, 12, tzinfo=UTC)


def test_state_of_charge_is_a_mean_over_time() -> None:
    found = Quarters(START, END)
    found.soc(START, START + timedelta(minutes=5), 40)
    found.soc(START + timedelta(minutes=5), START + timedelta(minutes=15), 70)
    found.soc(START + QUARTER, START + 2 * QUARTER, 101)
    assert [row.soc_percent for row in found.readings()] == [60]


def test_a_quarter_that_lacks_a_row_of_one_metric_is_partial() -> None:
    found = Quarters(START, END)
    for minute in (0, 5, 10):
        at = START + timedelta(minutes=minute)
        found.energy("solar_wh", at, at + timedelta(minutes=5), 10)
        if minute:
            found.energy("import_wh", at, at + timedelta(minutes=5), 10)
    assert [row.quality for row in found.readings("device")] == ["partial"]
    assert found.readings("device")[0].device_id == "device"


@pytest.mark.parametrize("name", ZONES)
@pytest.mark.parametrize("day", CHANGES)
def test_days_are_as_long_as_the_clock_makes_them(name: str, day: date) -> None:
    where = ZoneInfo(name)
    start, end = day_span(day, where)
    found = Days(where, start, end)
    for each in days_between(start - timedelta(days=1), end + timedelta(days=1), where):
        found.energy("solar_wh", each, 1000, partial=each == day)
    (reading,) = found.readings()
    assert (reading.start, reading.end, reading.quality) == (start, end, "partial")
    assert (end - start).total_seconds() / 3600 in (23, 24, 25)


@pytest.mark.parametrize("name", ZONES)
@pytest.mark.parametrize("day", CHANGES)
@pytest.mark.parametrize("step_s", [300, 900])
def test_wall_times_are_told_apart_over_every_clock_change(name: str, day: date, step_s: int) -> None:
    """Instants → wall times without offset → the same instants."""
    where = ZoneInfo(name)
    start, end = day_span(day, where)
    stamps = [start + timedelta(seconds=step_s * n) for n in range(int((end - start).total_seconds() // step_s))]
    walls = [at.astimezone(where).replace(tzinfo=None) for at in stamps]
    assert list(instants(walls, where)) == stamps


def test_load_is_what_is_left_of_the_balance() -> None:
    row = Reading(start=START, end=END, solar_wh=500, import_wh=20, export_wh=100, charge_wh=200, discharge_wh=30)
    assert with_load(row, battery=True).load_wh == 250
    assert with_load(row, battery=False).load_wh == 420
    assert with_load(msgspec.structs.replace(row, charge_wh=None), battery=True).load_wh is None
    assert with_load(msgspec.structs.replace(row, load_wh=7), battery=True).load_wh == 7


def test_a_load_below_zero_is_noise_or_impossible() -> None:
    row = Reading(start=START, end=END, solar_wh=500, import_wh=0, export_wh=505)
    assert with_load(row, battery=False).load_wh == 0
    beyond = with_load(msgspec.structs.replace(row, export_wh=5000), battery=False)
    assert (beyond.load_wh, beyond.rule) == (None, LOAD_BELOW_ZERO)


def test_a_sum_over_devices_counts_its_parts() -> None:
    """Two rows of one device in a quarter hour are as long as one row of each of two: no reason to count them whole."""
    found = Quarters(START, END)
    found.expect("solar_wh", ["a", "b"])
    for minute in (0, 5, 10):
        at = START + timedelta(minutes=minute)
        found.energy("solar_wh", at, at + timedelta(minutes=5), 10, part="a")
        found.energy("solar_wh", at + QUARTER, at + QUARTER + timedelta(minutes=5), 10, part="a")
        found.energy("solar_wh", at + QUARTER, at + QUARTER + timedelta(minutes=5), 10, part="b")
    rows = found.readings()
    assert [(row.solar_wh, row.quality, row.rule) for row in rows] == [
        (30, "partial", PARTS_MISSING),
        (60, "measured", None),
    ]


def test_what_the_vendor_calls_incomplete_is_partial() -> None:
    found = Quarters(START, END)
    found.energy("discharge_wh", START, START + QUARTER, 300)
    found.lacks(START, START + QUARTER)
    assert [(row.quality, row.rule) for row in found.readings()] == [("partial", PARTS_MISSING)]


def test_a_day_that_lacks_one_of_its_devices_is_partial() -> None:
    where, day = ZoneInfo("Europe/Berlin"), date(2026, 6, 1)
    found = Days(where, *day_span(day, where))
    found.expect("solar_wh", ["a", "b"])
    found.energy("solar_wh", day, 9000, part="a")
    assert [(row.solar_wh, row.quality, row.rule) for row in found.readings()] == [(9000, "partial", PARTS_MISSING)]


def test_what_inverters_draw_at_night_is_no_production() -> None:
    found = Quarters(START, END)
    found.power("solar_wh", START, START + QUARTER, -8)
    found.power("solar_wh", START + QUARTER, START + 2 * QUARTER, -800)
    found.power("load_wh", START + QUARTER, START + 2 * QUARTER, -8)
    assert [(row.solar_wh, row.load_wh) for row in found.readings()] == [(0, None)]


@pytest.mark.parametrize(
    ("minutes", "lengths"),
    [
        ([0, 15, 30, 35, 40], [15, 15, 5, 5, 5]),  # a battery joined
        ([0, 5, 10, 25, 40], [5, 5, 15, 15, 15]),
        ([0, 5, 10, 60, 65], [5, 5, 5, 5, 5]),  # a gap
        ([0, 5, 15, 20], [5, 5, 5, 5]),  # one row lost
        ([0, 60], [5, 5]),
        ([0], [5]),
        ([], []),
    ],
)
def test_the_rows_tell_how_long_they_are(minutes: list[int], lengths: list[int]) -> None:
    starts = [START + timedelta(minutes=minute) for minute in minutes]
    spans = row_spans(starts, alone=timedelta(minutes=5))
    assert [int((end - start).total_seconds() / 60) for start, end in spans] == lengths


@given(st.lists(st.integers(1, 90), min_size=1, max_size=60))
def test_rows_never_overlap(steps: list[int]) -> None:
    starts = [START + timedelta(minutes=sum(steps[:n])) for n in range(len(steps))]
    spans = list(row_spans(starts, alone=timedelta(minutes=5)))
    assert [start for start, _ in spans] == starts
    assert all(before[1] <= after[0] for before, after in pairwise(spans))


FAR = ["9999-12-31T23:59:59+00:00", "9999-12-31T23:59:59-12:00", "0001-01-01T00:00:00+14:00"]


@pytest.mark.parametrize("far", FAR)
def test_a_row_of_no_year_of_ours_takes_nothing_from_those_beside_it(far: str) -> None:
    start = datetime(2026, 6, 1, 10, tzinfo=UTC)
    found = Quarters(start, start + QUARTER)
    for begin, end in row_spans(sorted([start, datetime.fromisoformat(far)]), alone=QUARTER):
        found.energy("solar_wh", begin, end, 100.0)
    assert [(row.solar_wh, row.quality) for row in found.readings()] == [(100.0, "measured")]


def test_a_day_of_no_year_of_ours_takes_nothing_from_those_beside_it() -> None:
    where = ZoneInfo("Asia/Kathmandu")
    found = Days(where, *day_span(date(2026, 6, 1), where))
    for day in (date.min, date(2026, 6, 1), date.max):
        found.energy("solar_wh", day, 100.0)
    assert [(row.solar_wh, row.quality) for row in found.readings()] == [(100.0, "measured")]


@pytest.mark.parametrize(
    ("row", "first", "last"),
    [(QUARTER, (11, 0), (13, 0)), (timedelta(hours=1), (11, 0), (13, 0)), (QUARTER / 3, (11, 5), (12, 55))],
)
def test_a_span_is_asked_outwards_to_the_vendors_own_rows(
    row: timedelta, first: tuple[int, int], last: tuple[int, int]
) -> None:
    asked = datetime(2026, 6, 1, 11, 7, 13, tzinfo=UTC), datetime(2026, 6, 1, 12, 52, 41, tzinfo=UTC)
    span = datetime(2026, 6, 1, *first, tzinfo=UTC), datetime(2026, 6, 1, *last, tzinfo=UTC)
    assert outwards(*asked, row) == span
    assert outwards(*span, row) == span


def test_the_first_source_that_knows_a_metric_counts() -> None:
    first = (Reading(start=START, end=END, solar_wh=1),)
    second = (Reading(start=START, end=END, solar_wh=2, import_wh=3, quality="partial"),)
    (row,) = merged([first, second])
    assert (row.solar_wh, row.import_wh, row.quality) == (1, 3, "partial")


NO_PLACES = ["localtime", "Factory", "posixrules", "right/Europe/Berlin"]


@pytest.mark.parametrize("name", [None, "", "Mars/Base", "../etc/passwd", "Europe/Berlin\0", *NO_PLACES])
def test_a_zone_that_is_none(name: str | None) -> None:
    assert zone(name) is None


@pytest.mark.parametrize("text", [b'"NaN"', b'"inf"', b"1e13", b'"-1e13"', b'"x"', b"[]", b"{}"])
def test_a_number_that_is_none(text: bytes) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.json.decode(text, type=Number, strict=False)
