"""SQLite: one file, readers beside one writer at a time."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import sqlite3
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import event
from sqlalchemy.engine import URL
from sqlalchemy.exc import DatabaseError, MissingGreenlet
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, create_async_engine
from sqlalchemy.util import await_only

from joinder.store import place
from joinder.store.ballast import Ballast
from joinder.store.driver_errors import telling, unusable
from joinder.store.file_watch import FileWatch, refuse_strays
from joinder.store.group_commit import GroupCommit
from joinder.store.migrate import migrate_sqlite
from joinder.store.pragmas import connect, prepare
from joinder.store.types import Row, Stamp, Store, Write
from joinder.trouble import StoreOrphaned, StoreRefused, StoreTrouble

READERS = 4


class SqliteStore(Store):
    dialect = "sqlite"
    file: FileWatch

    def __init__(self, path: Path) -> None:
        logging.getLogger("aiosqlite").addFilter(_no_parameters)
        for pool in ("AsyncAdaptedQueuePool", "QueuePool"):
            logging.getLogger(f"sqlalchemy.pool.impl.{pool}").addFilter(_no_cancellation)
        # BEGIN IMMEDIATE: a deferred transaction that reads, then writes, fails at once when another process wrote.
        file = FileWatch(path)
        super().__init__(
            reader=_engine(file, begin="BEGIN", size=READERS),
            writer=_engine(file, begin="BEGIN IMMEDIATE", size=1),
            guests_read=READERS // 2,
            guests_write=1,
        )
        self.file = file
        self.place = str(path)
        self.ballast = Ballast(path)
        self._hot = _read_only(file)
        self._writing = asyncio.Lock()  # one writer of this process at a time: waiting here costs no polling
        self._commits = GroupCommit(path, self._writing, file)

    @asynccontextmanager
    async def write(self, *serialize_on: str) -> AsyncIterator[AsyncSession]:
        async with self._guests_write.place(), self._writing:
            self.file.check()
            async with super().write(*serialize_on) as session:
                yield session
            self.file.check()

    async def serialise(self, session: AsyncSession, *serialize_on: str) -> None:
        """Does nothing: there is one writer."""

    @telling
    async def rows(self, sql: str, parameters: Mapping[str, Any]) -> list[Row]:
        """Reads in the event loop: a thread hop costs more than the read."""
        return self._hot.execute(sql, parameters).fetchall()

    async def ids(self, sql: str, parameters: Mapping[str, Any]) -> list[str]:
        """Sorts them again, which is nothing where they are in order: SQLite does not promise to join them so."""
        ((joined,),) = await self.rows(f"SELECT group_concat(id) FROM ({sql})", parameters)  # noqa: S608
        return sorted(joined.split(",")) if joined else []

    @telling
    async def scan(self, sql: str, parameters: Mapping[str, Any]) -> list[Row]:
        """Reads in a thread, on a connection of its own; ends when nobody waits for it any more."""
        connection = _read_only(self.file)

        def walk() -> list[Row]:
            with contextlib.closing(connection):
                return connection.execute(sql, parameters).fetchall()

        try:
            return await asyncio.to_thread(walk)
        except asyncio.CancelledError:
            with contextlib.suppress(sqlite3.ProgrammingError):  # it has just ended
                connection.interrupt()
            raise

    async def finds(
        self, sql: str, parameters: Mapping[str, Any], since: Stamp | None = None
    ) -> tuple[bool, Stamp | None]:
        stamp = self._stamp()
        is_unchanged = stamp is not None and stamp == since
        return is_unchanged or bool(await self.rows(sql, parameters)), stamp

    def _stamp(self) -> Stamp | None:
        """Asks the connection that reads, which itself commits nothing."""
        try:
            return self._hot.execute("PRAGMA data_version").fetchone()  # type: ignore[no-any-return]
        except sqlite3.Error:  # whoever reads next is told what is wrong
            return None

    @telling
    async def apply(self, *writes: Write, serialize_on: str = "") -> list[int]:
        try:
            changed = await self._commits.apply(writes)
        except StoreRefused:
            raise
        except StoreTrouble as trouble:
            self.pulse.failed(trouble)
            raise
        self.pulse.answered()
        return changed

    async def close(self) -> None:
        await self._commits.flushed()
        self._hot.close()
        await super().close()
        await self._commits.close()  # last: who closes last folds the log into the file, and a reader cannot
        self.file.close()


def _read_only(file: FileWatch) -> sqlite3.Connection:
    """Raises StoreOrphaned."""
    file.check()
    connection = connect(file.path, "ro")
    try:
        connection.execute("PRAGMA query_only=ON")
        connection.execute("SELECT 1 FROM sqlite_schema").fetchone()  # opens the log, too, and keeps it open
        file.opened()
    except Exception:
        connection.close()
        raise
    return connection


def open_sqlite(url: URL) -> SqliteStore:
    """Opens the file, created where there is none, and migrated.

    Raises ConfigError, or StoreTrouble for what passes by itself.
    """
    path = sqlite_path(url)
    try:
        place.check(path)
        refuse_strays(path)
        if not path.exists():
            os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
    except OSError as error:
        raise place.unmade(error, path) from None
    try:
        migrate_sqlite(path)
        return SqliteStore(path)
    except (DatabaseError, sqlite3.Error) as error:
        raise unusable(getattr(error, "orig", error), str(path), place.forbidden(path)) from None


def sqlite_path(url: URL) -> Path:
    return Path(str(url.database)).absolute()


def _engine(file: FileWatch, *, begin: str, size: int) -> AsyncEngine:
    engine = create_async_engine(
        URL.create("sqlite+aiosqlite", database=file.path.as_uri(), query={"mode": "rw", "uri": "true"}),
        hide_parameters=True,
        pool_size=size,
        max_overflow=0,
        pool_timeout=60,
    )

    @event.listens_for(engine.sync_engine, "do_connect")
    def look(*_: object) -> None:
        file.check()

    @event.listens_for(engine.sync_engine, "connect")
    def configure(connection: Any, _: object) -> None:
        connection.isolation_level = None  # SQLAlchemy, not the driver, says BEGIN
        cursor = connection.cursor()
        prepare(cursor, file.path)
        cursor.close()
        try:
            file.opened()
        except StoreOrphaned:
            connection.close()
            raise

    @event.listens_for(engine.sync_engine, "begin")
    def start(connection: Any) -> None:
        connection.exec_driver_sql(begin)

    @event.listens_for(engine.sync_engine, "invalidate")
    def end(connection: Any, _: object, __: object) -> None:
        """Rolls a cancelled statement back, which keeps the one write lock until its closed connection is collected."""
        if connection is not None:
            with contextlib.suppress(MissingGreenlet, ValueError):
                await_only(asyncio.shield(connection.driver_connection.rollback()))

    return engine


def _no_parameters(record: logging.LogRecord) -> bool:
    """Drops what aiosqlite logs at DEBUG: statements with their values."""
    return record.levelno > logging.DEBUG


def _no_cancellation(record: logging.LogRecord) -> bool:
    """Drops records of work that is cancelled, which is no error of the pool."""
    return not (record.exc_info and isinstance(record.exc_info[1], asyncio.CancelledError))
