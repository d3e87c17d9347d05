"""The database: readers beside one writer, migrated on opening. The same statements run on SQLite and PostgreSQL."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import sqlite3
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import event, text
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, DatabaseError, MissingGreenlet
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, create_async_engine
from sqlalchemy.util import await_only

from joinder.settings import ConfigError

Row = Sequence[Any]


class Store:
    """`read()` sees a consistent snapshot; `write()` is one durable transaction, taken alone on SQLite."""

    def __init__(self, path: Path) -> None:
        logging.getLogger("aiosqlite").addFilter(_no_parameters)
        for pool in ("AsyncAdaptedQueuePool", "QueuePool"):
            logging.getLogger(f"sqlalchemy.pool.impl.{pool}").addFilter(_no_cancellation)
        self._reader = _sqlite_engine(path, begin="BEGIN", size=4)
        # BEGIN IMMEDIATE: a deferred transaction that reads, then writes, fails at once when another process wrote.
        self._writer = _sqlite_engine(path, begin="BEGIN IMMEDIATE", size=1)
        self._hot = sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True, check_same_thread=False)
        self._hot.execute("PRAGMA query_only=ON")

    @asynccontextmanager
    async def read(self) -> AsyncIterator[AsyncSession]:
        async with AsyncSession(self._reader, expire_on_commit=False, autoflush=False) as session:
            yield session

    @asynccontextmanager
    async def write(self) -> AsyncIterator[AsyncSession]:
        """Commits when the block ends, rolls back when it raises."""
        async with AsyncSession(self._writer, expire_on_commit=False) as session, session.begin():
            yield session

    async def rows(self, sql: str, parameters: Mapping[str, Any]) -> list[Row]:
        """For the hottest reads: one indexed SELECT on the driver itself, in the event loop (docs/decisions/0004)."""
        return self._hot.execute(sql, parameters).fetchall()

    async def close(self) -> None:
        self._hot.close()
        await self._reader.dispose()
        await self._writer.dispose()


def open_store(database_url: str) -> Store:
    """Opens, creating and migrating as needed. Raises ConfigError for an unusable URL or a newer schema."""
    from joinder.store.migrate import migrate

    path = sqlite_path(database_url)
    if not path.parent.is_dir():
        raise ConfigError(f"JOINDER_DATABASE_URL: the folder {path.parent} does not exist")
    if not path.exists():
        os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
    try:
        migrate(path)
        return Store(path)
    except (DatabaseError, sqlite3.Error) as error:
        cause = getattr(error, "orig", error)
        raise ConfigError(f"{path} cannot be used as Joinder's SQLite database: {cause}") from None


def sqlite_path(database_url: str) -> Path:
    try:
        url = make_url(database_url)
    except ArgumentError:
        url = None
    if url is None or url.get_backend_name() != "sqlite" or url.database in (None, "", ":memory:"):
        raise ConfigError("JOINDER_DATABASE_URL must be sqlite:///FILE; PostgreSQL is not supported yet")
    return Path(str(url.database)).absolute()


def _sqlite_engine(path: Path, *, begin: str, size: int) -> AsyncEngine:
    engine = create_async_engine(
        URL.create("sqlite+aiosqlite", database=str(path)),
        hide_parameters=True,
        pool_size=size,
        max_overflow=0,
        pool_timeout=60,
    )

    @event.listens_for(engine.sync_engine, "connect")
    def configure(connection: Any, _: object) -> None:
        connection.isolation_level = None  # SQLAlchemy, not the driver, says BEGIN
        cursor = connection.cursor()
        for pragma in ("journal_mode=WAL", "synchronous=FULL", "busy_timeout=30000", "foreign_keys=ON"):
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()

    @event.listens_for(engine.sync_engine, "begin")
    def start(connection: Any) -> None:
        connection.exec_driver_sql(begin)

    @event.listens_for(engine.sync_engine, "invalidate")
    def end(connection: Any, _: object, __: object) -> None:
        """A cancelled statement keeps a closed connection, and with it the one write lock, until it is collected."""
        if connection is not None:
            with contextlib.suppress(MissingGreenlet, ValueError):
                await_only(asyncio.shield(connection.driver_connection.rollback()))

    return engine


def _no_parameters(record: logging.LogRecord) -> bool:
    """aiosqlite logs statements with their values at DEBUG."""
    return record.levelno > logging.DEBUG


def _no_cancellation(record: logging.LogRecord) -> bool:
    """Work that is cancelled is no error of the pool."""
    return not (record.exc_info and isinstance(record.exc_info[1], asyncio.CancelledError))


async def write_many(session: AsyncSession, sql: str, rows: Sequence[Mapping[str, Any]]) -> None:
    """One statement for many rows (`executemany`)."""
    if rows:
        await session.execute(text(sql), list(rows))


def upsert(table: str, key: Sequence[str], columns: Sequence[str]) -> str:
    """INSERT … ON CONFLICT DO UPDATE, in the form both databases understand. Names are quoted: `end` is a keyword."""
    names = ", ".join(f'"{name}"' for name in (*key, *columns))
    values = ", ".join(f":{name}" for name in (*key, *columns))
    target = ", ".join(f'"{name}"' for name in key)
    changes = ", ".join(f'"{name}" = excluded."{name}"' for name in columns)
    return f'INSERT INTO "{table}" ({names}) VALUES ({values}) ON CONFLICT ({target}) DO UPDATE SET {changes}'  # noqa: S608
