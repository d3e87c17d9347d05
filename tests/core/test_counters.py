"""Quarter hours out of lifetime counters: no energy is lost, made up or called certain when it is not."""

from __future__ import annotations

from datetime import timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from joinder.energy import ENERGY_METRICS, Reading
from joinder.services.readings.counters import MAX_GAP_S, MAX_POWER_W, Sample, jumps, quarter_hours

T0 = 1_790_000_100  # a whole quarter hour
QUARTER = 900


def at(minutes: float, solar_wh: float | None, **others: float | None) -> Sample:
    return Sample(T0 + int(minutes * 60), {"solar_wh": solar_wh, **others})


def described(samples: list[Sample], name: str = "solar_wh") -> list[tuple[float, float | None, str]]:
    """(minutes after T0, Wh, quality) of each quarter hour."""
    return [
        ((reading.start.timestamp() - T0) / 60, getattr(reading, name), reading.quality)
        for reading in quarter_hours(samples)
    ]


@st.composite
def samplings(draw: st.DrawFn) -> list[Sample]:
    """Counters that only grow, at most 5 kW, read at any moments at most two hours apart."""
    gaps = draw(st.lists(st.integers(1, MAX_GAP_S), min_size=1, max_size=30))
    now, values = T0 + draw(st.integers(0, 86400)), dict.fromkeys(ENERGY_METRICS, draw(st.floats(0, 1e7)))
    samples = [Sample(now, dict(values))]
    for gap in gaps:
        now += gap
        values = {name: value + draw(st.floats(0, 5000)) * gap / 3600 for name, value in values.items()}
        samples.append(Sample(now, dict(values)))
    return samples


def total(readings: list[Reading], name: str) -> float:
    return sum(getattr(reading, name) or 0.0 for reading in readings)


@given(samplings())
def test_all_energy_between_the_first_and_last_sample_is_there(samples):
    readings = quarter_hours(samples)
    for name in ENERGY_METRICS:
        grown = (samples[-1].values[name] or 0) - (samples[0].values[name] or 0)
        assert total(readings, name) == pytest.approx(grown, rel=1e-6, abs=1e-3)


@given(samplings(), st.data())
def test_reading_the_counter_more_often_changes_no_total(samples, data):
    kept = [samples[0], *(sample for sample in samples[1:-1] if data.draw(st.booleans())), samples[-1]]
    if max(b.at - a.at for a, b in pairwise(kept)) <= MAX_GAP_S:
        few, many = quarter_hours(kept), quarter_hours(samples)
        assert total(few, "solar_wh") == pytest.approx(total(many, "solar_wh"), rel=1e-6, abs=1e-3)
        assert [reading.start for reading in few] == [reading.start for reading in many]


ANY_VALUE = st.none() | st.floats(0, 1e6)
ANY_SAMPLES = st.lists(st.tuples(st.integers(0, 200_000), ANY_VALUE, ANY_VALUE), max_size=25)


@given(ANY_SAMPLES)
def test_whatever_a_counter_does_no_energy_is_negative_or_absurd(found):
    samples = [at(seconds / 60, solar, load_wh=load) for seconds, solar, load in sorted(found, key=lambda row: row[0])]
    readings = quarter_hours(samples)
    for reading in readings:
        assert reading.end - reading.start == timedelta(seconds=QUARTER)
        assert reading.start.timestamp() % QUARTER == 0
        for value in (reading.solar_wh, reading.load_wh):
            assert value is None or 0 <= value <= MAX_POWER_W / 4 * 1.000001
        assert reading.import_wh is None
        assert (reading.solar_wh, reading.load_wh) != (None, None)
    assert all(a.end <= b.start for a, b in pairwise(readings))
    assert quarter_hours(samples) == readings


@given(samplings())
def test_a_sample_that_says_nothing_new_changes_nothing(samples):
    assert quarter_hours([*samples, samples[-1]]) == quarter_hours(samples)


@pytest.mark.parametrize("samples", [[], [at(0, 100)]])
def test_fewer_than_two_samples_say_nothing(samples):
    assert quarter_hours(samples) == []


def test_samples_every_five_minutes_are_measured():
    assert described([at(5 * n, 10.0 * n) for n in range(7)]) == [(0, 30.0, "measured"), (15, 30.0, "measured")]


def test_samples_a_quarter_hour_apart_are_measured():
    assert described([at(0, 0), at(15, 30), at(30, 90)]) == [(0, 30.0, "measured"), (15, 60.0, "measured")]


def test_a_step_across_an_edge_is_shared_out_and_estimated():
    """How much of it came before the edge nobody knows, unless it is short or nothing."""
    assert [quality for _, _, quality in described([at(7 + 15 * n, 30.0 * n) for n in range(4)])][1:3] == [
        "estimated"
    ] * 2
    assert [quality for _, _, quality in described([at(2 + 5 * n, 30.0 * n) for n in range(12)])][1:3] == [
        "measured"
    ] * 2
    assert [quality for _, _, quality in described([at(7 + 15 * n, 30.0) for n in range(4)])][1:3] == ["measured"] * 2
    rules = [reading.rule for reading in quarter_hours([at(7 + 15 * n, 30.0 * n) for n in range(4)])]
    assert rules == ["rows_missing", "spread", "spread", "rows_missing"]


def test_a_longer_gap_is_spread_evenly_and_estimated():
    assert described([at(0, 0), at(60, 100)]) == [(start, 25.0, "estimated") for start in (0, 15, 30, 45)]


def test_a_gap_of_two_hours_is_estimated_and_a_longer_one_empty():
    assert len(described([at(0, 0), at(120, 80)])) == 8
    assert described([at(0, 0), at(120 + 1 / 60, 80)]) == []


def test_around_a_long_gap_only_what_is_known_counts():
    samples = [at(0, 0), at(10, 10), at(200, 999), at(210, 1009)]
    assert described(samples) == [(0, 10.0, "partial"), (195, pytest.approx(10.0), "partial")]


def test_the_ends_are_partial():
    found = described([at(5, 0), at(20, 15)])
    assert found == [(0, pytest.approx(10.0), "partial"), (15, pytest.approx(5.0), "partial")]


def test_a_reset_is_unknown_and_not_zero():
    assert described([at(0, 500), at(15, 530), at(30, 2), at(45, 32)]) == [
        (0, 30.0, "measured"),
        (30, 30.0, "measured"),
    ]


def test_a_quarter_hour_with_a_reset_inside_is_partial():
    samples = [at(0, 500), at(5, 510), at(10, 0), at(15, 10), at(30, 40)]
    assert described(samples) == [(0, 20.0, "partial"), (15, 30.0, "measured")]


def test_a_step_by_which_a_register_comes_back_is_unknown():
    """It told 900 Wh too little for once, at the edge of two quarter hours, or nothing but a few of them."""
    for low in (99_400.0, 0.0):
        samples = [at(5 * n, low if n == 6 else 100_000.0 + 50 * n) for n in range(10)]
        assert described(samples) == [(0, 150.0, "measured"), (15, 100.0, "partial"), (30, 100.0, "partial")]
    samples = [at(5 * n, 1_000.0 + 50 * n - (900 if n in (3, 4, 5) else 0)) for n in range(10)]
    assert described(samples) == [(0, 100.0, "partial"), (15, 100.0, "partial"), (30, 150.0, "measured")]


def test_a_reset_that_runs_on_below_what_it_was_is_none_of_a_return():
    samples = [at(0, 500), at(15, 530), at(30, 2), *(at(45 + 15 * n, 32 + 30.0 * n) for n in range(10))]
    assert [wh for _, wh, _ in described(samples)] == [30.0] * 11


def leaping(*extra: float) -> list[Sample]:
    """Every five minutes, 50 Wh a step, with something on top."""
    return [at(5 * index, 1e5 + 50 * index + more) for index, more in enumerate(extra)]


def test_a_step_up_that_the_register_takes_back_is_not_measured() -> None:
    """At the edge of a quarter hour: the fall lies in the next one."""
    found = described(leaping(*[0] * 6, 900, *[0] * 6))
    assert [(start, quality) for start, _, quality in found] == [
        (0, "measured"),
        (15, "partial"),
        (30, "partial"),
        (45, "measured"),
    ]


def test_steps_up_that_the_register_takes_back_later_are_not_measured() -> None:
    found = described(leaping(*[0] * 4, 400, 900, 900, 900, *[0] * 20))
    assert 15 not in [start for start, _, _ in found]  # of its three steps none is believed
    assert {wh for _, wh, quality in found if quality == "measured"} == {150.0}


def test_a_register_that_comes_back_at_once_and_stays_took_nothing_back() -> None:
    """Its dip reaches down to where it was an hour before."""
    found = described(leaping(*[0] * 18, -600, *[0] * 9))
    assert [start for start, _, quality in found if quality == "partial"] == [75, 90]


def test_a_register_that_leaps_to_and_fro_is_not_measured_while_it_does() -> None:
    found = described(leaping(*[0] * 4, 900, 0, 900, *[0] * 9))
    assert {wh for _, wh, quality in found if quality == "measured"} == {150.0}


def test_a_quarter_hour_in_which_a_counter_was_silent_is_partial():
    samples = [at(0, 0), at(5, 10), at(10, None), at(15, 30)]
    assert described(samples) == [(0, 10.0, "partial")]


def test_a_reset_of_one_counter_leaves_the_others():
    samples = [at(0, 500, load_wh=0.0), at(15, 0, load_wh=20.0), at(30, 10, load_wh=40.0)]
    assert described(samples, "load_wh") == [(0, 20.0, "measured"), (15, 20.0, "measured")]
    assert [value for _, value, _ in described(samples)] == [None, 10.0]


def test_a_counter_that_never_speaks_spoils_no_label():
    assert described([at(0, 0, import_wh=None), at(15, 5, import_wh=None)]) == [(0, 5.0, "measured")]


def test_a_lone_step_that_nothing_vouches_for_is_unknown() -> None:
    """A box that came back with another register: 15 kWh within a minute, 1.8 MWh within two hours."""
    assert described([at(0, 0), at(1, 15_000)]) == []
    assert described([at(0, 18_000_000), at(110, 19_800_000)]) == []
    assert described([at(0, 0), at(15, 4_900)]) == [(0, 4_900.0, "measured")]


def test_steps_of_a_large_roof_vouch_for_each_other() -> None:
    samples = [at(15 * n, 15_000.0 * n) for n in range(5)]
    assert [wh for _, wh, _ in described(samples)] == [15_000.0] * 4


def test_a_step_far_above_those_around_it_is_unknown() -> None:
    samples = [at(0, 0), at(15, 500), at(30, 900), at(45, 30_900), at(60, 31_400)]
    assert [wh for _, wh, _ in described(samples)] == [500, 400, 500]
    assert [(jump.metric, jump.end - jump.start) for jump in jumps(samples)] == [("solar_wh", QUARTER)]


def test_what_the_inverters_can_take_bounds_their_register() -> None:
    samples = [at(0, 0), at(15, 3000)]
    assert [wh for _, wh, _ in described(samples)] == [3000]
    assert quarter_hours(samples, nameplate_w=5000) == []
    assert quarter_hours(samples, nameplate_w=10_000)[0].solar_wh == 3000


def test_a_register_of_another_source_continues_nothing() -> None:
    samples = [at(0, 100), at(15, 200), at(30, 5100), at(45, 5200)]
    told = [Sample(one.at, one.values, "meter" if one.values["solar_wh"] < 1000 else "inverters") for one in samples]
    assert described(told) == [(0, 100.0, "measured"), (30, 100.0, "measured")]


def test_a_counter_that_stands_still_is_zero_and_known():
    assert described([at(0, 7), at(15, 7)]) == [(0, 0.0, "measured")]


def test_the_charge_is_the_mean_of_what_was_said_inside():
    samples = [at(0, 0, soc_percent=40.0), at(5, 1, soc_percent=None), at(10, 2, soc_percent=50.0), at(15, 3)]
    assert [reading.soc_percent for reading in quarter_hours(samples)] == [45.0]


def test_two_samples_of_one_moment_break_nothing():
    assert described([at(0, 0), at(0, 0), at(15, 30), at(15, 30)]) == [(0, 30.0, "measured")]
