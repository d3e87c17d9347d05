"""Rows that contradict each other, as the vendor told them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from joinder.energy import Reading, Readings, ReadingsQuery, Site
from joinder.vendors.gate import checked_readings

START = datetime(2026, 6, 1, 10, tzinfo=UTC)
QUERY = ReadingsQuery(site=Site(vendor_id="s", name="S", timezone="UTC"), start=START, end=START + timedelta(hours=2))


def row(wh: float) -> Reading:
    return Reading(start=START, end=START + timedelta(minutes=15), solar_wh=wh)


@pytest.mark.parametrize("other", [200.0, -9_000.0, float("nan"), 1e15])
@pytest.mark.parametrize("is_first", [True, False])
def test_of_two_rows_of_one_period_none_counts_whatever_is_wrong_with_the_other(other: float, is_first: bool) -> None:
    rows = (row(other), row(100.0)) if is_first else (row(100.0), row(other))
    checked = checked_readings(Readings(intervals=rows), QUERY, now=START + timedelta(days=1))
    assert checked.intervals == ()
    assert "told_twice" in {refusal.rule for refusal in checked.refused}


def test_a_row_told_twice_the_same_counts_once() -> None:
    checked = checked_readings(Readings(intervals=(row(100.0), row(100.0))), QUERY, now=START + timedelta(days=1))
    assert [one.solar_wh for one in checked.intervals] == [100.0]
    assert checked.refused == ()
