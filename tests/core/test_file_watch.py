"""A database file, its log or its index that is not in its place any more: noticed, not written to, never mixed."""

from __future__ import annotations

import asyncio
import logging
import os
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from joinder.settings import ConfigError, Settings
from joinder.store import copies, group_commit
from joinder.store.engine import open_store
from joinder.store.sqlite import SqliteStore
from joinder.store.types import Statement
from joinder.trouble import StoreOrphaned

DATABASES = ("sqlite",)
COUNT = "SELECT count(*) FROM quota"
NEWCOMER = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("INSERT INTO quota (app, span, \\"window\\", used) VALUES ('newcomer', 'day', 0, 1)")
for sql in ("SELECT count(*) FROM quota", "PRAGMA integrity_check"):
    print(connection.execute(sql).fetchone()[0])
"""


@pytest.fixture
def path(fresh_database: Settings) -> Path:
    return Path(fresh_database.database_url.removeprefix("sqlite:///"))


@pytest.fixture
async def store(fresh_database: Settings) -> AsyncIterator[SqliteStore]:
    """Armed, and something is in its log only."""
    opened = await open_store(fresh_database.database_url)
    assert isinstance(opened, SqliteStore)
    await opened.apply(used("first"))
    opened.file.arm()
    yield opened
    await opened.close()


def used(app: str) -> Statement:
    sql = 'INSERT INTO quota (app, span, "window", used) VALUES (:app, :span, 0, 1)'
    return sql, {"app": app, "span": "day"}


def beside(path: Path, suffix: str) -> Path:
    return path.with_name(path.name + suffix)


def names(path: Path) -> set[str]:
    return {file.name for file in path.parent.iterdir()} - {"key"}


def stored(path: Path) -> tuple[int, str]:
    """By a connection of nobody's, when all others are closed."""
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute(COUNT).fetchone()[0], connection.execute("PRAGMA integrity_check").fetchone()[0]


def written_by_a_newcomer(path: Path) -> list[str]:
    """Another process, which has opened nothing yet."""
    newcomer = [sys.executable, "-c", NEWCOMER, str(path)]
    return subprocess.run(newcomer, capture_output=True, text=True, check=True).stdout.split()


async def refused(store: SqliteStore, word: str) -> None:
    """By each way to write, and by each way to open another connection."""
    with pytest.raises(StoreOrphaned, match=word):
        await store.apply(used("refused"))
    with pytest.raises(StoreOrphaned, match=word):
        async with store.write() as session:
            await session.execute(text("SELECT 1"))
    with pytest.raises(StoreOrphaned, match=word):
        await store.scan(COUNT, {})
    with pytest.raises(StoreOrphaned, match=word):
        async with store.read() as session:
            await session.execute(text("SELECT 1"))
    assert word in str(store.file.problem())


@pytest.mark.parametrize("what", ["file", "folder"])
async def test_moved_away_nothing_is_written_and_moved_back_work_goes_on(
    store: SqliteStore, path: Path, what: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    place = path if what == "file" else path.parent
    place.rename(tmp_path / "elsewhere")
    with caplog.at_level(logging.WARNING, "joinder.store"):
        await refused(store, "is gone")
        assert not path.exists()
        assert await store.rows(COUNT, {}) == [(1,)]  # what is open is read on, whole
        (tmp_path / "elsewhere").rename(place)
        await store.apply(used("second"))
    assert [record.levelname for record in caplog.records] == ["CRITICAL", "WARNING"]  # the first, and the end
    assert (await store.scan(COUNT, {}), store.file.problem()) == ([(2,)], None)


@pytest.mark.parametrize("how", ["before the commit", "during the commit"])
async def test_what_an_orphan_took_does_not_count(
    store: SqliteStore, path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    one = group_commit._one

    def moved(connection: sqlite3.Connection, writes: Any) -> Any:
        outcome = one(connection, writes)
        path.rename(tmp_path / "elsewhere")
        return outcome

    if how == "before the commit":
        path.rename(tmp_path / "elsewhere")
    else:
        monkeypatch.setattr(group_commit, "_one", moved)
    with pytest.raises(StoreOrphaned):
        await store.apply(used("second"))
    (tmp_path / "elsewhere").rename(path)
    assert await store.rows(COUNT, {}) == [(1 if how == "before the commit" else 2,)]


async def test_a_block_whose_commit_an_orphan_took_raises(store: SqliteStore, path: Path, tmp_path: Path) -> None:
    async def write() -> None:
        async with store.write() as session:
            await session.execute(text("DELETE FROM quota"))
            path.rename(tmp_path / "elsewhere")

    with pytest.raises(StoreOrphaned):
        await write()
    (tmp_path / "elsewhere").rename(path)


@pytest.mark.parametrize("suffixes", [("-wal",), ("-shm",), ("-wal", "-shm")])
async def test_a_deleted_log_and_index_are_put_back_under_every_connection(
    store: SqliteStore, path: Path, suffixes: tuple[str, ...]
) -> None:
    held = {suffix: beside(path, suffix).stat().st_ino for suffix in suffixes}
    for suffix in suffixes:
        beside(path, suffix).unlink()
    await store.apply(used("second"))
    assert {suffix: beside(path, suffix).stat().st_ino for suffix in suffixes} == held
    assert await asyncio.to_thread(written_by_a_newcomer, path) == ["3", "ok"]
    assert await store.rows(COUNT, {}) == [(3,)]
    await store.close()
    assert (stored(path), names(path)) == ((3, "ok"), {path.name})


async def test_a_log_deleted_during_a_commit_holds_it(
    store: SqliteStore, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = group_commit._one

    def deleted(connection: sqlite3.Connection, writes: Any) -> Any:
        beside(path, "-wal").unlink()
        return one(connection, writes)

    monkeypatch.setattr(group_commit, "_one", deleted)
    await store.apply(used("second"))
    with closing(sqlite3.connect(path)) as newcomer:
        assert newcomer.execute(COUNT).fetchone() == (2,)


async def test_an_empty_log_that_a_newcomer_made_gives_way(store: SqliteStore, path: Path) -> None:
    wal = beside(path, "-wal")
    held = wal.stat().st_ino
    wal.unlink()
    wal.touch()
    await store.apply(used("second"))
    assert wal.stat().st_ino == held


async def test_a_log_that_somebody_wrote_to_is_left_alone_and_stops_everything(store: SqliteStore, path: Path) -> None:
    wal = beside(path, "-wal")
    wal.rename(beside(path, ".ours"))
    wal.write_bytes(b"somebody's")
    await refused(store, "was deleted or replaced")
    assert wal.read_bytes() == b"somebody's"
    beside(path, ".ours").rename(wal)
    await store.apply(used("second"))


async def test_without_hard_links_a_deleted_log_stops_everything_and_closing_saves_it(
    fresh_database: Settings, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def impossible(*_: object, **__: object) -> None:
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(os, "link", impossible)
    store = await open_store(fresh_database.database_url)
    assert isinstance(store, SqliteStore)
    await store.apply(used("first"))
    store.file.arm()
    beside(path, "-wal").unlink()
    await refused(store, "was deleted or replaced")
    await store.close()
    assert stored(path) == (1, "ok")


@pytest.fixture
def backup(store: SqliteStore, path: Path, tmp_path: Path) -> Path:
    """Of another time: the first row is not in it."""
    copy = tmp_path / "backup"
    copies.copy(path, copy)
    with closing(sqlite3.connect(copy)) as connection, connection:
        connection.execute("DELETE FROM quota")
    return copy


async def test_replaced_the_new_file_is_never_mixed_with_the_old_one_s_log(
    store: SqliteStore, path: Path, backup: Path, tmp_path: Path, fresh_database: Settings
) -> None:
    path.rename(tmp_path / "former")
    backup.rename(path)
    await refused(store, "was replaced")
    assert not beside(path, "-wal").exists()
    assert stored(path) == (0, "ok")
    with pytest.raises(ConfigError, match=r"-wal\.aside"):
        await open_store(fresh_database.database_url)
    path.unlink()
    (tmp_path / "former").rename(path)
    await store.apply(used("second"))
    assert not beside(path, "-wal.aside").exists()
    await store.close()
    assert (stored(path), names(path)) == ((2, "ok"), {path.name})


async def test_replaced_and_stopped_both_files_can_be_had_whole(
    store: SqliteStore, path: Path, backup: Path, tmp_path: Path, fresh_database: Settings
) -> None:
    path.rename(tmp_path / "former")
    backup.rename(path)
    await refused(store, "was replaced")
    await store.close()
    beside(path, "-wal.aside").rename(tmp_path / "former-wal")
    assert (stored(tmp_path / "former"), stored(path)) == ((1, "ok"), (0, "ok"))
    await (await open_store(fresh_database.database_url)).close()


async def test_closed_while_it_is_away_its_log_stays_and_is_not_opened_without_it(
    store: SqliteStore, path: Path, tmp_path: Path, fresh_database: Settings
) -> None:
    path.rename(tmp_path / "elsewhere")
    await store.close()
    with pytest.raises(ConfigError, match="is gone"):
        await open_store(fresh_database.database_url)
    assert not path.exists()
    (tmp_path / "elsewhere").rename(path)
    assert stored(path) == (1, "ok")


async def test_a_copy_put_in_a_lost_database_s_place_does_not_get_its_log(
    store: SqliteStore, path: Path, backup: Path
) -> None:
    path.unlink()
    kept = beside(path, ".before")
    copies.put_in_place(backup, path, keep_as=kept)
    assert (stored(path), beside(kept, "-wal").exists()) == ((0, "ok"), True)


async def test_a_passing_command_keeps_nothing_beside(fresh_database: Settings, path: Path) -> None:
    store = await open_store(fresh_database.database_url)
    await store.apply(used("first"))
    assert names(path) == {path.name, f"{path.name}-wal", f"{path.name}-shm"}
    await store.close()


async def test_a_file_that_cannot_be_written_is_a_problem_and_no_reason_to_drop_a_commit(
    store: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    access: Callable[..., bool] = os.access
    monkeypatch.setattr(os, "access", lambda *_: False)
    assert "cannot be written" in str(store.file.problem())
    await store.apply(used("second"))
    monkeypatch.setattr(os, "access", access)
    assert store.file.problem() is None


async def test_two_processes_that_keep_a_log_at_the_same_time_leave_no_name_behind(
    store: SqliteStore, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = names(path)
    monkeypatch.setattr(store.file, "_is_kept", lambda _: False)  # as it looks to the second, a moment before
    store.file.arm()
    assert names(path) == before
