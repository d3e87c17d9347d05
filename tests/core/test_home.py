"""The simulated home adds up, at every moment and on every day."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from itertools import pairwise
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from effort import examples
from joinder.simulate.home import SLOT_S, Energy, Home

ZONES = ["UTC", "Europe/Berlin", "America/Los_Angeles", "Australia/Lord_Howe", "Asia/Kathmandu", "America/Havana"]
FIRST, LAST = (int(datetime(year, 1, 2, tzinfo=UTC).timestamp()) for year in (2026, 2027))
HOMES = {zone: Home(seed=7, timezone=zone) for zone in ZONES}
BARE = Home(seed=7, timezone="Europe/Berlin", battery_wh=0)
moments = st.integers(FIRST, LAST)
homes = st.sampled_from([HOMES["Europe/Berlin"], HOMES["Australia/Lord_Howe"], BARE])  # a year of days each
COUNTERS = ("solar_wh", "charge_wh", "discharge_wh", "import_wh", "export_wh", "load_wh")
some = settings(max_examples=examples(80))


def midnight(day: date, zone: str) -> int:
    return int(datetime.combine(day, time(), ZoneInfo(zone)).timestamp())


@some
@given(homes, moments)
def test_power_balances_exactly(home, at):
    power = home.power(at)
    assert power.load_w == power.solar_w + power.battery_w + power.grid_w
    assert power.solar_w >= 0
    assert power.load_w > 0
    assert 0 <= power.soc_percent <= 100


@some
@given(homes, moments, st.integers(1, 90_000))
def test_energy_balances(home, start, seconds):
    energy = home.energy(start, start + seconds)
    came = energy.solar_wh + energy.discharge_wh + energy.import_wh
    assert came == pytest.approx(energy.charge_wh + energy.export_wh + energy.load_wh)
    assert all(getattr(energy, name) >= 0 for name in COUNTERS)


@some
@given(homes, moments, st.integers(0, 40_000), st.integers(0, 40_000))
def test_energy_of_two_spans_is_the_energy_of_both(home, start, first, second):
    a, b = home.energy(start, start + first), home.energy(start + first, start + first + second)
    whole = home.energy(start, start + first + second)
    for name in COUNTERS:
        assert getattr(a, name) + getattr(b, name) == pytest.approx(getattr(whole, name), abs=1e-6)


@some
@given(homes, st.lists(moments, min_size=2, max_size=12))
def test_counters_never_run_backwards(home, found):
    readings = [home.lifetime(at) for at in sorted(found)]
    for a, b in pairwise(readings):
        assert all(getattr(b, name) >= getattr(a, name) - 1e-6 for name in COUNTERS)


@some
@given(homes, moments, st.integers(0, 200_000))
def test_a_counter_grows_by_the_energy_between(home, start, seconds):
    energy = home.energy(start, start + seconds)
    before, after = home.lifetime(start), home.lifetime(start + seconds)
    for name in COUNTERS:
        assert getattr(after, name) - getattr(before, name) == pytest.approx(getattr(energy, name), abs=1e-3)


@pytest.mark.parametrize("days", [1, 2, 30, 400])
def test_before_its_installation_a_home_has_counted_nothing(days):
    home = HOMES["Europe/Berlin"]
    noon = midnight(home.installed - timedelta(days=days), "Europe/Berlin") + 43200
    assert all(getattr(home.lifetime(noon), name) == 0 for name in COUNTERS)


@pytest.mark.parametrize(
    ("zone", "day", "hours"),
    [
        ("Europe/Berlin", date(2026, 3, 29), 23),
        ("Europe/Berlin", date(2026, 10, 25), 25),
        ("Europe/Berlin", date(2026, 6, 1), 24),
        ("America/Los_Angeles", date(2026, 3, 8), 23),
        ("America/Los_Angeles", date(2026, 11, 1), 25),
        ("Australia/Lord_Howe", date(2026, 4, 5), 24.5),
        ("Australia/Lord_Howe", date(2026, 10, 4), 23.5),
        ("America/Havana", date(2026, 3, 8), 23),
    ],
)
def test_a_day_has_the_slots_its_clock_says(zone, day, hours):
    home = HOMES[zone]
    start, end = midnight(day, zone), midnight(day + timedelta(days=1), zone)
    assert (end - start) / 3600 == hours
    assert len(home.slots(day)) == hours * 3600 / SLOT_S
    assert home.power(end - 1) == home.slots(day)[-1]
    assert home.power(start) == home.slots(day)[0]
    steps = [home.energy(at, at + SLOT_S) for at in range(start, end, SLOT_S)]
    whole = home.energy(start, end)
    for name in COUNTERS:
        assert sum(getattr(step, name) for step in steps) == pytest.approx(getattr(whole, name))


def test_the_same_seed_is_the_same_home_and_another_is_not():
    noon = midnight(date(2026, 6, 1), "UTC") + 43200
    again, other = Home(seed=7, timezone="UTC"), Home(seed=8, timezone="UTC")
    assert again.energy(noon, noon + 3600) == HOMES["UTC"].energy(noon, noon + 3600)
    assert other.energy(noon, noon + 3600) != HOMES["UTC"].energy(noon, noon + 3600)


def test_the_sun_shines_by_day_only():
    start = midnight(date(2026, 6, 1), "Europe/Berlin")
    home = HOMES["Europe/Berlin"]
    assert home.energy(start, start + 6 * 3600).solar_wh == 0
    assert home.energy(start + 10 * 3600, start + 15 * 3600).solar_wh > 5000


@some
@given(moments)
def test_a_home_without_a_battery_never_uses_one(at):
    energy = BARE.energy(at, at + 86400)
    assert (energy.charge_wh, energy.discharge_wh, energy.soc_percent) == (0, 0, 0)


@some
@given(st.sampled_from(ZONES), moments)
def test_the_battery_gives_no_more_than_it_took(zone, at):
    home = HOMES[zone]
    start = midnight(datetime.fromtimestamp(at, ZoneInfo(zone)).date(), zone)
    energy: Any = home.energy(start, at) if at > start else Energy()
    assert energy.discharge_wh <= energy.charge_wh + 1e-6


def test_an_empty_span_has_no_energy():
    assert BARE.energy(FIRST, FIRST) == Energy()
