"""PostgreSQL 15 or newer, through asyncpg (docs/decisions/0010): for several servers and workers on one store."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import cache
from typing import Any

import asyncpg
from sqlalchemy import text
from sqlalchemy.engine import URL
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, create_async_engine

from joinder.settings import ConfigError
from joinder.store.driver_errors import telling, trouble_from, unusable
from joinder.store.engine import NotText, Row, Store, StoreTrouble, Upsert, Write
from joinder.store.migrate import migrate_postgres
from joinder.store.statements import upsert_on_postgres

OLDEST = 150000
CONNECTIONS = 8
CONNECT_S = 10
# A connection that waits this long for a lock, or sits in a transaction this long, belongs to a stuck process.
_SESSION = {"application_name": "joinder", "lock_timeout": "30s", "idle_in_transaction_session_timeout": "120s"}
_SERIALISE = "SELECT pg_advisory_xact_lock(hashtextextended($1, 0))"
# InternalClientError: what asyncpg raises when a connection is cut while the answer to another question is read.
_GONE = (
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    asyncpg.PostgresConnectionError,
    asyncpg.AdminShutdownError,
    OSError,
)


class PostgresStore(Store):
    dialect = "postgresql"

    def __init__(self, url: URL, hot: asyncpg.Pool[asyncpg.Record]) -> None:
        self._url = url
        super().__init__(
            reader=_engine(url, size=CONNECTIONS, isolation_level="REPEATABLE READ"),
            writer=_engine(url, size=CONNECTIONS, isolation_level="READ COMMITTED"),
        )
        self.place = f"{url.host or 'localhost'}/{url.database}"
        self._hot = hot

    async def serialise(self, session: AsyncSession, *about: str) -> None:
        if about:
            names = {f"about{index}": name for index, name in enumerate(sorted(about))}
            locks = ", ".join(f"pg_advisory_xact_lock(hashtextextended(:{name}, 0))" for name in names)
            await session.execute(text(f"SELECT {locks}"), names)

    @telling
    async def rows(self, sql: str, parameters: Mapping[str, Any]) -> list[Row]:
        statement, names = numbered(sql)
        values = [parameters[name] for name in names]
        try:
            return await self._fetch(statement, values)
        except _GONE:  # the server restarted; the pool makes new connections
            await self._hot.expire_connections()
            return await self._fetch(statement, values)

    async def _fetch(self, statement: str, values: Sequence[object]) -> list[Row]:
        try:
            found: list[Any] = await self._hot.fetch(statement, *values)
        except asyncpg.CharacterNotInRepertoireError:
            raise NotText from None
        return found

    @telling
    async def apply(self, *writes: Write, about: str = "") -> list[int]:
        try:
            async with self._hot.acquire() as connection, connection.transaction():
                if about:
                    await connection.execute(_SERIALISE, about)
                return [await _changed(connection, write) for write in writes]
        except (asyncpg.PostgresError, TimeoutError, *_GONE) as error:
            raise trouble_from(error) or StoreTrouble(type(error).__name__) from None

    @asynccontextmanager
    async def pool(self, connections: int) -> AsyncIterator[asyncpg.Pool[asyncpg.Record]]:
        """Connections of one's own, such as one that listens."""
        async with asyncpg.create_pool(
            _dsn(self._url), min_size=1, max_size=connections, timeout=CONNECT_S, server_settings=_SESSION
        ) as pool:
            yield pool

    async def close(self) -> None:
        await self._hot.close()
        await super().close()


async def _changed(connection: Any, write: Write) -> int:
    if isinstance(write, Upsert):
        return await upsert_on_postgres(connection, write)
    sql, parameters = write
    numbered_sql, names = numbered(sql)
    told: str = await connection.execute(numbered_sql, *(parameters[name] for name in names))
    return int(told.rpartition(" ")[2])


async def open_postgres(url: URL) -> PostgresStore:
    """Raises StoreAway when it cannot be reached, ConfigError when it lets nobody in, is too old, forgets commits, or
    has a newer schema."""
    try:
        hot = await asyncpg.create_pool(
            _dsn(url),
            min_size=1,
            max_size=CONNECTIONS,
            timeout=CONNECT_S,
            command_timeout=60,
            server_settings=_SESSION,
            reset=_as_it_is,
        )
    except (OSError, asyncpg.PostgresError, asyncpg.ClientConfigurationError, TimeoutError) as error:
        raise unusable(error, f"{url.host}/{url.database}") from None
    store = PostgresStore(url, hot)
    try:
        await _check_server(hot)
        async with store._writer.connect() as connection:
            await migrate_postgres(connection, store.place)
    except BaseException:
        await store.close()
        raise
    return store


async def _as_it_is(connection: Any) -> None:
    """What runs here ends with its transaction; to reset the session as well would double the way to the server."""


async def _check_server(pool: asyncpg.Pool[asyncpg.Record]) -> None:
    version = int(await pool.fetchval("SHOW server_version_num"))
    if version < OLDEST:
        raise ConfigError(f"PostgreSQL {OLDEST // 10000} or newer is needed; this server is {version // 10000}")
    if await pool.fetchval("SHOW synchronous_commit") == "off":
        raise ConfigError("PostgreSQL's synchronous_commit is off: a crash would lose single-use tokens; set it to on")


def _engine(url: URL, *, size: int, isolation_level: str) -> AsyncEngine:
    async def connect() -> asyncpg.Connection[asyncpg.Record]:
        return await asyncpg.connect(_dsn(url), timeout=CONNECT_S, command_timeout=60, server_settings=_SESSION)

    return create_async_engine(
        "postgresql+asyncpg://",
        async_creator=connect,  # so that asyncpg alone reads the URL, sslmode and all
        hide_parameters=True,
        pool_size=size,
        max_overflow=0,
        pool_timeout=60,
        pool_pre_ping=True,  # a restarted server leaves dead connections in the pool
        isolation_level=isolation_level,
    )


def _dsn(url: URL) -> str:
    return url.render_as_string(hide_password=False)


@cache
def numbered(sql: str) -> tuple[str, tuple[str, ...]]:
    """`:name` parameters as asyncpg's `$1`, and the names in that order."""
    names: dict[str, int] = {}

    def number(match: re.Match[str]) -> str:
        return f"${names.setdefault(match[1], len(names) + 1)}"

    return re.sub(r"(?<!:):([a-z_]\w*)", number, sql), tuple(names)
