"""A SELECT that walks whole tables: the event loop goes on, and a walk that nobody waits for is ended."""

from __future__ import annotations

import asyncio
import time

import pytest

from joinder.runtime.hub import open_hub
from joinder.settings import Settings
from joinder.store.sqlite import SqliteStore
from joinder.vendors.registry import Registry

LONG = (
    "WITH RECURSIVE walk(step) AS (SELECT 1 UNION ALL SELECT step + 1 FROM walk WHERE step < :steps) "
    "SELECT count(*) FROM walk"
)
FOREVER = 2**31 - 1


async def test_a_scan_answers_as_rows_does(fresh_database: Settings) -> None:
    async with open_hub(fresh_database, Registry()) as hub:
        assert [tuple(row) for row in await hub.store.scan(LONG, {"steps": 1000})] == [(1000,)]


async def test_other_work_goes_on_and_a_walk_that_nobody_waits_for_is_ended(fresh_database: Settings) -> None:
    async with open_hub(fresh_database, Registry()) as hub:
        scan = asyncio.create_task(hub.store.scan(LONG, {"steps": FOREVER}))
        for _ in range(10):
            await asyncio.sleep(0.01)
        assert not scan.done()
        scan.cancel()
        with pytest.raises(asyncio.CancelledError):
            await scan
        assert [tuple(row) for row in await hub.store.rows("SELECT 1", {})] == [(1,)]
        if isinstance(hub.store, SqliteStore):
            await nothing_works()


async def nothing_works() -> None:
    """The threads of the loop are free again: a walk that went on would use its processor for hours."""
    for _ in range(200):
        before = time.process_time()
        await asyncio.sleep(0.05)
        if time.process_time() - before < 0.02:
            return
    raise AssertionError("the walk goes on")


async def test_a_scan_writes_nothing(fresh_database: Settings) -> None:
    async with open_hub(fresh_database, Registry()) as hub:
        if not isinstance(hub.store, SqliteStore):
            pytest.skip("SQLite's connections for reading")
        with pytest.raises(Exception, match="READONLY"):
            await hub.store.scan("DELETE FROM account", {})
