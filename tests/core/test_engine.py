"""What both databases promise: transactions survive cancellation, take turns, and replace rows."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator

import pytest
from sqlalchemy import text

from joinder.settings import Settings
from joinder.store.engine import Store, open_store
from joinder.store.statements import upsert_many

INSERT = text("INSERT INTO account (id, name, mode, created_at) VALUES (:id, :kind, 'production', 0)")
ROUNDS = 150


async def _write(store: Store, kind: str, round_: int) -> None:
    """Two rows, or none."""
    async with store.write() as session:
        await session.execute(INSERT, {"kind": kind, "id": f"{kind}-{round_}-a"})
        await session.execute(INSERT, {"kind": kind, "id": f"{kind}-{round_}-b"})


@pytest.fixture
async def store(fresh_database: Settings) -> AsyncIterator[Store]:
    opened = await open_store(fresh_database.database_url)
    yield opened
    await opened.close()


async def test_cancelled_transactions_leave_nothing_behind_and_the_next_one_works(
    store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    chance, endings = random.Random(5), []  # noqa: S311
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


async def test_blocks_about_one_thing_run_one_after_the_other(store: Store) -> None:
    """Each reads, decides and writes: without a turn each, some of the 40 would be lost."""
    async with store.write() as session:
        await session.execute(INSERT, {"id": "acct-count", "kind": "0"})

    async def count() -> None:
        async with store.write("acct-count") as session:
            read = (await session.execute(text("SELECT name FROM account WHERE id = 'acct-count'"))).scalar_one()
            await asyncio.sleep(0.002)
            await session.execute(
                text("UPDATE account SET name = :name WHERE id = 'acct-count'"), {"name": str(int(read) + 1)}
            )

    await asyncio.gather(*(count() for _ in range(40)))
    assert [row[0] for row in await store.rows("SELECT name FROM account", {})] == ["40"]


@pytest.mark.parametrize("count", [1, 7, 900])
async def test_an_upsert_replaces_what_is_there_whatever_its_size(store: Store, count: int) -> None:
    async def write(name: str, numbers: range) -> None:
        rows = [{"id": f"acct-{number}", "name": name, "mode": "production", "created_at": 0} for number in numbers]
        async with store.write() as session:
            await upsert_many(session, "account", ("id",), ("name", "mode", "created_at"), rows)

    await write("first", range(count))
    await write("second", range(count // 2, count + 5))
    found = dict(await store.rows("SELECT name, count(*) FROM account GROUP BY name", {}))
    assert found == {name: n for name, n in (("first", count // 2), ("second", count + 5 - count // 2)) if n}


@pytest.mark.parametrize("count", [1, 900])
async def test_an_upsert_is_part_of_its_transaction(store: Store, count: int) -> None:
    rows = [{"id": f"acct-{number}", "name": "never", "mode": "production", "created_at": 0} for number in range(count)]

    async def write_and_fail() -> None:
        async with store.write() as session:
            await upsert_many(session, "account", ("id",), ("name", "mode", "created_at"), rows)
            raise RuntimeError

    with pytest.raises(RuntimeError):
        await write_and_fail()
    assert await store.rows("SELECT name, id FROM account", {}) == []
