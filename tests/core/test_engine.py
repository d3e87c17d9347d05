"""What both databases promise: transactions survive cancellation, take turns, and replace rows."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator

import pytest
from sqlalchemy import text

from joinder.settings import Settings
from joinder.store.engine import open_store
from joinder.store.types import Store, Upsert
from joinder.trouble import StoreTrouble
from joinder.turns import on_behalf_of

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


async def test_guests_who_pile_up_keep_neither_another_guest_nor_the_work_of_the_server_behind_them(
    store: Store,
) -> None:
    """S20: their own turns, in front of what everybody else waits in."""
    ended: list[str] = []

    async def write(who: str | None, number: int) -> None:
        with on_behalf_of(who):
            await _write(store, f"{who}-", number)
        ended.append(who or "server")

    async with asyncio.TaskGroup() as group:
        for number in range(120):
            group.create_task(write(f"flood {number % 4}", number))
        while len(ended) < 20:
            await asyncio.sleep(0)
        for number in range(3):
            await write("owner", number)
            await write(None, number)
        last = len(ended)
    assert last < 20 + 60, "an owner's three writes and the server's three went by the hundred that wait"
    assert len(ended) == 126


async def test_a_guest_reads_inside_of_what_it_writes_and_writes_inside_of_what_it_reads(store: Store) -> None:
    """A place is taken once: guests who all hold one and want another would wait for each other."""

    async def nested(number: int) -> None:
        with on_behalf_of(f"guest {number}"):
            async with store.read() as session:
                await session.execute(text("SELECT 1"))
                await _write(store, "nested", number)
                async with store.write(), store.read() as inner:
                    await inner.execute(text("SELECT 1"))

    async with asyncio.timeout(60):
        for number in range(6):
            await asyncio.gather(*(nested(10 * number + one) for one in range(2)))
    assert (await store.rows("SELECT count(*) FROM account", {}))[0][0] == 24


@pytest.mark.parametrize("count", [1, 7, 900])
async def test_an_upsert_replaces_what_is_there_whatever_its_size(store: Store, count: int) -> None:
    async def write(name: str, numbers: range) -> None:
        records = [(f"acct-{number}", name, "production", 0) for number in numbers]
        assert await store.apply(Upsert("account", ("id",), ("name", "mode", "created_at"), records)) == [len(records)]

    await write("first", range(count))
    await write("second", range(count // 2, count + 5))
    found = dict(await store.rows("SELECT name, count(*) FROM account GROUP BY name", {}))
    assert found == {name: n for name, n in (("first", count // 2), ("second", count + 5 - count // 2)) if n}


@pytest.mark.parametrize("count", [1, 900])
async def test_an_upsert_is_part_of_its_transaction(store: Store, count: int) -> None:
    records = [(f"acct-{number}", "never", "production", 0) for number in range(count)]
    sound = Upsert("account", ("id",), ("name", "mode", "created_at"), records)
    broken = ("INSERT INTO account (id) VALUES (:id)", {"id": "acct-x"})
    with pytest.raises(StoreTrouble):
        await store.apply(sound, broken)
    assert await store.rows("SELECT name, id FROM account", {}) == []


async def test_of_writes_committed_together_the_broken_one_takes_no_other_with_it(store: Store) -> None:
    def account(number: int) -> Upsert:
        return Upsert("account", ("id",), ("name", "mode", "created_at"), [(f"acct-{number}", "x", "production", 0)])

    broken = ("INSERT INTO account (id) VALUES (:id)", {"id": "acct-broken"})
    writes = [store.apply(broken if number % 10 == 3 else account(number)) for number in range(100)]
    outcomes = await asyncio.gather(*writes, return_exceptions=True)
    assert [isinstance(outcome, StoreTrouble) for outcome in outcomes] == [number % 10 == 3 for number in range(100)]
    assert await store.rows("SELECT count(*) FROM account", {}) in ([(90,)], [[90]])


async def test_a_conditional_write_tells_whether_it_took(store: Store) -> None:
    await store.apply(Upsert("account", ("id",), ("name", "mode", "created_at"), [("acct-0", "0", "production", 0)]))
    claim = "UPDATE account SET name = :name WHERE id = 'acct-0' AND name = '0'"
    outcomes = await asyncio.gather(*(store.apply((claim, {"name": str(number)})) for number in range(1, 30)))
    assert sorted(outcome[0] for outcome in outcomes) == [0] * 28 + [1]
