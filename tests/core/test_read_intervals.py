"""Rows of intervals as they come off a store: what was not asked for does not travel, and is as if unknown."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest

from joinder.energy import Reading
from joinder.settings import Settings
from joinder.store.engine import open_store
from joinder.store.readings import METRICS, intervals, read_intervals
from joinder.store.types import Store

START = datetime(2026, 6, 1, tzinfo=UTC)
SITE = "site-aaaaaaaaaaaaaaaa"


@pytest.fixture
async def store(fresh_database: Settings) -> AsyncIterator[Store]:
    opened = await open_store(fresh_database.database_url)
    row = Reading(start=START, end=START + timedelta(minutes=15), solar_wh=1.0, import_wh=2.0, load_wh=3.0)
    await opened.apply(intervals("15mins", [(SITE, row)], 7))
    yield opened
    await opened.close()


@pytest.mark.parametrize("asked", [METRICS, ("solar_wh",), ("import_wh", "load_wh"), ()])
async def test_a_row_has_what_was_asked_for_in_its_place(store: Store, asked: tuple[str, ...]) -> None:
    start = int(START.timestamp())
    (row,) = await read_intervals(store, SITE, "15mins", start, start + 900, asked)
    told = {"solar_wh": 1.0, "import_wh": 2.0, "load_wh": 3.0}
    values = [told.get(name) if name in asked else None for name in METRICS]
    assert list(row) == [start, start + 900, *values, 7, None, None, "measured"]
