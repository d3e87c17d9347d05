"""The one writer outlives work that is cancelled in the middle of a transaction."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path

import pytest
from sqlalchemy import text

from joinder.store.engine import Store, open_store

INSERT = text("INSERT INTO account (id, name, mode, created_at) VALUES (:id, :kind, 'production', 0)")
ROUNDS = 150


async def _write(store: Store, kind: str, round_: int) -> None:
    """Two rows, or none."""
    async with store.write() as session:
        await session.execute(INSERT, {"kind": kind, "id": f"{kind}-{round_}-a"})
        await session.execute(INSERT, {"kind": kind, "id": f"{kind}-{round_}-b"})


async def test_cancelled_transactions_leave_nothing_behind_and_the_next_one_works(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store, chance, endings = open_store(f"sqlite:///{tmp_path}/joinder.sqlite3"), random.Random(5), []  # noqa: S311
    for round_ in range(ROUNDS):
        cancelled = [asyncio.create_task(_write(store, kind, round_)) for kind in ("one", "two")]
        await asyncio.sleep(chance.random() * 0.006)
        for task in cancelled:
            task.cancel()
        # kept: what an exception holds on to is not collected
        endings += await asyncio.gather(*cancelled, return_exceptions=True)
        await _write(store, "after", round_)  # waits for a lock that is stuck, and fails
    assert any(isinstance(ending, asyncio.CancelledError) for ending in endings)
    sql = "SELECT name, substr(id, 1, length(id) - 2) AS written, count(*) FROM account GROUP BY name, written"
    rows = await store.rows(sql, {})
    assert {row[2] for row in rows} == {2}
    assert sum(1 for row in rows if row[0] == "after") == ROUNDS
    assert [record for record in caplog.records if record.levelname == "ERROR"] == []
    await store.close()
