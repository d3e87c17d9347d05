"""A store's stamps: equal ones tell that nobody committed in between, and so that what was read is what would be."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from typing import Any

import pytest
from sqlalchemy import text

from joinder.settings import Settings
from joinder.store.engine import open_store
from joinder.store.types import Stamp, Store

ACCOUNT = "SELECT id FROM account WHERE id = :id"
ADD = "INSERT INTO account (id, name, mode, created_at) VALUES (:id, 'test', 'production', 0)"
ADA, BOB = {"id": "acct-aaaaaaaaaaaaaaaa"}, {"id": "acct-bbbbbbbbbbbbbbbb"}


@pytest.fixture
async def store(fresh_database: Settings) -> AsyncIterator[Store]:
    opened = await open_store(fresh_database.database_url)
    await opened.apply((ADD, ADA))
    yield opened
    await opened.close()


@pytest.fixture
async def other(store: Store, fresh_database: Settings) -> AsyncIterator[Store]:
    """Another process's, as it were."""
    opened = await open_store(fresh_database.database_url)
    yield opened
    await opened.close()


async def stamp_of(store: Store) -> Stamp:
    found, stamp = await store.finds(ACCOUNT, ADA)
    assert found
    assert stamp is not None
    return stamp


async def test_nothing_committed_is_an_equal_stamp(store: Store) -> None:
    stamp = await stamp_of(store)
    assert await store.finds(ACCOUNT, ADA, stamp) == (True, stamp)
    async with store.read() as session:
        await session.execute(text("SELECT 1"))
    assert await store.finds(ACCOUNT, ADA, stamp) == (True, stamp)


async def test_any_commit_of_anybody_is_another_stamp(store: Store, other: Store) -> None:
    stamps = [await stamp_of(store)]
    await store.apply((ADD, BOB))
    stamps.append(await stamp_of(store))
    await other.apply(("UPDATE account SET name = 'other' WHERE id = :id", BOB))
    stamps.append(await stamp_of(store))
    async with other.write() as session:
        await session.execute(text("DELETE FROM account WHERE id = :id"), BOB)
        before = await stamp_of(store)
    stamps.append(await stamp_of(store))
    assert stamps[-1] != before
    assert len(set(stamps)) == len(stamps)


async def test_what_is_found_no_more_is_not_found(store: Store, other: Store) -> None:
    stamp = await stamp_of(store)
    await other.apply(("DELETE FROM account WHERE id = :id", ADA))
    assert not (await store.finds(ACCOUNT, ADA, stamp))[0]


async def test_rows_are_read_again_after_a_commit_alone(
    store: Store, other: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    read, rows = [], store.rows

    async def counted(sql: str, parameters: Mapping[str, Any]) -> Any:
        read.append(sql)
        return await rows(sql, parameters)

    monkeypatch.setattr(store, "rows", counted)
    stamp = await stamp_of(store)
    read.clear()
    for _ in range(3):
        assert [tuple(row) for row in await store.rows_while(stamp, ACCOUNT, ADA)] == [(ADA["id"],)]
        assert await store.rows_while(stamp, ACCOUNT, BOB) == []
    assert len(read) == 2
    await other.apply((ADD, BOB))
    stamp = await stamp_of(store)
    assert len(await store.rows_while(stamp, ACCOUNT, BOB)) == 1
    read.clear()
    for _ in range(3):
        await store.rows_while(None, ACCOUNT, ADA)
    assert len(read) == 3
