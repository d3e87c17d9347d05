"""Energy adds up over the days clocks change: day = hours = quarter hours, month = days, of every kind."""

from __future__ import annotations

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from effort import examples
from joinder.energy import ENERGY_METRICS, DeviceKind
from joinder.services.readings.periods import SummaryLevel, ceiling, floor, following
from joinder.services.readings.totals import Total, summed
from joinder.store.types import Row

# A month of each in which clocks change, where they do.
MONTHS = {
    "Europe/Berlin": ((2026, 3), (2026, 10)),
    "America/New_York": ((2026, 3), (2026, 11)),
    "Australia/Lord_Howe": ((2026, 4), (2026, 10)),
    "Asia/Kolkata": ((2026, 3),),
}
ENERGIES = {
    DeviceKind.INVERTER: ("solar_wh",),
    DeviceKind.BATTERY: ("charge_wh", "discharge_wh"),
    DeviceKind.METER: ("import_wh", "export_wh", "load_wh"),
    DeviceKind.CHARGER: ("charger_wh",),
}


@st.composite
def months(draw: st.DrawFn) -> tuple[ZoneInfo, int, int]:
    name = draw(st.sampled_from(sorted(MONTHS)))
    year, month = draw(st.sampled_from(MONTHS[name]))
    zone = ZoneInfo(name)
    start = floor(int(datetime(year, month, 15, tzinfo=UTC).timestamp()), "month", zone)
    return zone, start, following(start, "month", zone)


def rows(start: int, end: int, level: SummaryLevel, zone: ZoneInfo, seed: int) -> list[Row]:
    """A row of every period, with whole Wh that differ from row to row and from metric to metric."""
    found: list[Row] = []
    at = start
    while at < end:
        after = following(at, level, zone)
        found.append(
            (
                at,
                after,
                *((at // 900 * 31 + seed * 7 + n * 13) % 1000 for n in range(len(ENERGY_METRICS))),
                50.0,
                1,
                None,
                None,
                "measured",
            )
        )
        at = after
    return found


def by_period(parts: list[Total], level: SummaryLevel, zone: ZoneInfo, name: str) -> dict[int, float]:
    sums: dict[int, float] = {}
    for part in parts:
        start = floor(part.start, level, zone)
        assert part.end <= ceiling(part.start + 1, level, zone)
        sums[start] = sums.get(start, 0.0) + (part.values[name] or 0.0)
    return sums


@pytest.mark.parametrize("kind", list(DeviceKind))
@settings(max_examples=examples(50), deadline=None)
@given(months(), st.integers(0, 1000))
def test_quarter_hours_hours_days_and_the_month_hold_the_same_energy(kind, month, seed):
    zone, start, end = month
    quarters = rows(start, end, "15mins", zone, seed)
    levels: tuple[SummaryLevel, ...] = ("15mins", "hour", "day", "month")
    of = {level: summed(quarters, kind, level, zone, False) for level in levels}
    for smaller, larger in (("15mins", "hour"), ("hour", "day"), ("15mins", "day"), ("day", "month")):
        for name in ENERGIES[kind]:
            whole = {total.start: total.values[name] for total in of[larger]}
            assert by_period(of[smaller], larger, zone, name) == whole
    assert {total.quality for totals in of.values() for total in totals} == {"measured"}
    assert [(total.start, total.end) for total in of["month"]] == [(start, end)]


@pytest.mark.parametrize("kind", list(DeviceKind))
@settings(max_examples=examples(50), deadline=None)
@given(months(), st.integers(0, 1000))
def test_a_month_out_of_daily_values_is_their_sum(kind, month, seed):
    zone, start, end = month
    days = rows(start, end, "day", zone, seed)
    (whole,) = summed(days, kind, "month", zone, False)
    for name in ENERGIES[kind]:
        assert whole.values[name] == sum(total.values[name] for total in summed(days, kind, "day", zone, False))
    assert whole.quality == "measured"
