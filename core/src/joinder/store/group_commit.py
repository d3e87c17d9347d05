"""Small writes of one process, committed together: SQLite waits for the disk once, not once for each of them.

What is asked for while a commit runs goes into the next one. Each keeps its own savepoint, so one that fails takes
nothing else with it.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from joinder.store.driver_errors import trouble_from
from joinder.store.file_watch import FileWatch
from joinder.store.pragmas import connect, prepare
from joinder.store.statements import upsert_on_sqlite
from joinder.store.types import Upsert, Write
from joinder.trouble import StoreOrphaned, StoreRefused, StoreTrouble

AT_ONCE = 200
_ITS_OWN = (sqlite3.IntegrityError, sqlite3.ProgrammingError, sqlite3.InterfaceError, OverflowError, ValueError)
Outcome = list[int] | StoreTrouble
_Asked = tuple[Sequence[Write], "asyncio.Future[Outcome]"]


class GroupCommit:
    """`writing` keeps the other writers of this process out while a group is committed."""

    def __init__(self, path: Path, writing: asyncio.Lock, file: FileWatch) -> None:
        self._path = path
        self._file = file
        self._writing = writing
        self._thread = ThreadPoolExecutor(1, "joinder-commit")
        self._connection: sqlite3.Connection | None = None
        self._asked: list[_Asked] = []
        self._flushing: asyncio.Task[None] | None = None

    async def apply(self, writes: Sequence[Write]) -> list[int]:
        """Writes, and returns the count of rows each write changed, once they are on disk.

        Raises StoreTrouble; cancelling undoes nothing.
        """
        done: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        self._asked.append((writes, done))
        if self._flushing is None or self._flushing.done():
            self._flushing = asyncio.create_task(self._flush())
        outcome = await asyncio.shield(done)
        if isinstance(outcome, StoreTrouble):
            raise outcome
        return outcome

    async def flushed(self) -> None:
        while self._flushing is not None and not self._flushing.done():
            await self._flushing

    async def close(self) -> None:
        await self.flushed()
        if self._connection is not None:
            await asyncio.get_running_loop().run_in_executor(self._thread, self._connection.close)
            self._connection = None
        self._thread.shutdown()

    async def _flush(self) -> None:
        while self._asked:
            async with self._writing:
                group, self._asked = self._asked[:AT_ONCE], self._asked[AT_ONCE:]
                outcomes = await self._committed([writes for writes, _ in group])
            for (_, done), outcome in zip(group, outcomes, strict=True):
                if not done.done():
                    done.set_result(outcome)

    async def _committed(self, group: Sequence[Sequence[Write]]) -> Sequence[Outcome]:
        """Commits a group, and tells those who wait also when the thread is gone or the file cannot be opened."""
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, self._commit, group)
        except Exception as error:  # noqa: BLE001 - whatever it was, nothing of the group is on disk
            return [StoreTrouble(type(error).__name__)] * len(group)

    def _commit(self, group: Sequence[Sequence[Write]]) -> Sequence[Outcome]:
        """Commits, in the thread. What was committed counts only if the file was in its place before and after."""
        try:
            self._file.check()
            connection = self._opened()
            connection.execute("BEGIN IMMEDIATE")
            try:
                outcomes = [_one(connection, writes) for writes in group]
                connection.execute("COMMIT")
            finally:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
            self._file.check()
        except StoreOrphaned as orphaned:  # which the watch tells for as long as it lasts
            return [orphaned] * len(group)
        except sqlite3.Error as error:
            return [_trouble(error)] * len(group)
        return outcomes

    def _opened(self) -> sqlite3.Connection:
        if self._connection is None:
            connection = connect(self._path, "rw")
            try:
                prepare(connection.cursor(), self._path)
                self._file.opened()
            except Exception:
                connection.close()
                raise
            self._connection = connection
        return self._connection


def _one(connection: sqlite3.Connection, writes: Sequence[Write]) -> Outcome:
    """Runs the writes of one caller inside the group's transaction, undone alone where they fail.

    Anything worse than a broken constraint, or a value SQLite cannot hold, may have ended the whole transaction, and is
    the group's.
    """
    connection.execute("SAVEPOINT one")
    try:
        outcome: Outcome = [_changed(connection, write) for write in writes]
    except _ITS_OWN as error:
        connection.execute("ROLLBACK TO one")
        outcome = _trouble(error)
    connection.execute("RELEASE one")
    return outcome


def _changed(connection: sqlite3.Connection, write: Write) -> int:
    if isinstance(write, Upsert):
        return upsert_on_sqlite(connection, write)
    sql, parameters = write
    return connection.execute(sql, parameters).rowcount


def _trouble(error: Exception) -> StoreTrouble:
    return trouble_from(error) or StoreRefused(type(error).__name__)
