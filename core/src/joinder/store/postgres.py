"""PostgreSQL 15 or newer, through asyncpg (docs/decisions/0010): for several servers and workers on one store."""

from __future__ import annotations

import re
import socket
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
from joinder.store.epoch import SERVER_SQL
from joinder.store.migrate import migrate_postgres
from joinder.store.statements import upsert_on_postgres
from joinder.store.types import NotText, Row, Stamp, Store, Upsert, Write
from joinder.trouble import StoreAway, StoreRefused, StoreTrouble

OLDEST = 150000
CONNECTIONS = 8
CONNECT_S = 5
# A statement ends well within half a lease, its cancellation (which may take as long again) included; what walks a
# whole table on a connection of its own may take longer.
STATEMENT_S = 8
LONG_STATEMENT_S = 60
# A connection that waits this long for a lock, or sits in a transaction this long, belongs to a stuck process. The
# server, too, drops one whose other end is silent.
_SESSION = {
    "application_name": "joinder",
    "lock_timeout": "6s",
    "idle_in_transaction_session_timeout": "120s",
    "tcp_keepalives_idle": "10",
    "tcp_keepalives_interval": "5",
    "tcp_keepalives_count": "3",
    "tcp_user_timeout": "20000",
}
_KEEPALIVE = {"TCP_KEEPIDLE": 10, "TCP_KEEPINTVL": 5, "TCP_KEEPCNT": 3, "TCP_USER_TIMEOUT": 20_000}
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

    can_fail_over = True

    def __init__(self, url: URL, hot: asyncpg.Pool[asyncpg.Record], met: Met) -> None:
        self._url = url
        self._met = met
        super().__init__(
            reader=_engine(url, met, size=CONNECTIONS, isolation_level="REPEATABLE READ"),
            writer=_engine(url, met, size=CONNECTIONS, isolation_level="READ COMMITTED"),
            guests_read=CONNECTIONS // 2,
            guests_write=CONNECTIONS // 2,
        )
        self.place = _place(url)
        self._hot = hot

    @property
    def server(self) -> str | None:  # type: ignore[override]
        return self._met.server

    async def serialise(self, session: AsyncSession, *serialize_on: str) -> None:
        if serialize_on:
            names = {f"lock{index}": name for index, name in enumerate(sorted(serialize_on))}
            locks = ", ".join(f"pg_advisory_xact_lock(hashtextextended(:{name}, 0))" for name in names)
            await session.execute(text(f"SELECT {locks}"), names)

    @telling
    async def rows(self, sql: str, parameters: Mapping[str, Any]) -> list[Row]:
        return await self._rows(sql, parameters, STATEMENT_S)

    async def ids(self, sql: str, parameters: Mapping[str, Any]) -> list[str]:
        ((found,),) = await self.rows(f"SELECT ARRAY({sql})", parameters)
        return list(found)

    @telling
    async def scan(self, sql: str, parameters: Mapping[str, Any]) -> list[Row]:
        return await self._rows(sql, parameters, LONG_STATEMENT_S)

    async def finds(
        self, sql: str, parameters: Mapping[str, Any], since: Stamp | None = None
    ) -> tuple[bool, Stamp | None]:
        """Asks in one way to the server; who runs then, and who is through, is another set after each commit."""
        found = await self.rows(f"SELECT pg_current_snapshot()::text WHERE EXISTS ({sql})", parameters)
        is_known = bool(found) and self.server is not None  # another server may lack commits, and tell the same
        return bool(found), (self.server, found[0][0]) if is_known else None

    async def _rows(self, sql: str, parameters: Mapping[str, Any], seconds: float) -> list[Row]:
        statement, names = numbered(sql)
        values = [parameters[name] for name in names]
        try:
            return await self._fetch(statement, values, seconds)
        except _GONE:  # the server restarted; the pool makes new connections
            await self._hot.expire_connections()
            return await self._fetch(statement, values, seconds)

    async def _fetch(self, statement: str, values: Sequence[object], seconds: float) -> list[Row]:
        try:
            found: list[Any] = await self._hot.fetch(statement, *values, timeout=seconds)
        except asyncpg.CharacterNotInRepertoireError:
            raise NotText from None
        return found

    @telling
    async def apply(self, *writes: Write, serialize_on: str = "") -> list[int]:
        try:
            async with self._hot.acquire(timeout=2 * STATEMENT_S) as connection:
                changed = await _applied(connection, writes, serialize_on)
        except asyncpg.CharacterNotInRepertoireError:
            raise NotText from None
        except (asyncpg.PostgresError, StoreTrouble, TimeoutError, *_GONE) as error:
            trouble = trouble_from(error) or StoreTrouble(type(error).__name__)
            if not isinstance(trouble, StoreRefused):
                self.pulse.failed(trouble)
            raise trouble from None
        self.pulse.answered()
        return changed

    @asynccontextmanager
    async def pool(self, connections: int, *, is_durable: bool = True) -> AsyncIterator[asyncpg.Pool[asyncpg.Record]]:
        """Opens connections of one's own, such as one that listens. Not `is_durable`: commits wait for no disk."""
        session = _SESSION if is_durable else {**_SESSION, "synchronous_commit": "off"}
        pool = await asyncpg.create_pool(
            _dsn(self._url),
            min_size=1,
            max_size=connections,
            timeout=CONNECT_S,
            command_timeout=STATEMENT_S,
            server_settings=session,
            init=self._met,
        )
        try:
            yield pool
        finally:
            await _close(pool)

    async def close(self) -> None:
        await _close(self._hot)
        await super().close()


async def _close(pool: asyncpg.Pool[asyncpg.Record]) -> None:
    """Closes the pool; a server that does not say goodbye keeps no process."""
    try:
        await pool.close()
    except (TimeoutError, asyncpg.PostgresError, *_GONE):
        pool.terminate()


async def _applied(connection: Any, writes: Sequence[Write], serialize_on: str) -> list[int]:
    """Makes the writes in one transaction; a single statement is one by itself, in one way to the server for three."""
    if len(writes) == 1 and not serialize_on and not isinstance(writes[0], Upsert):
        return [await _changed(connection, writes[0])]
    async with connection.transaction():
        if serialize_on:
            await connection.execute(_SERIALISE, serialize_on)
        return [await _changed(connection, write) for write in writes]


async def _changed(connection: Any, write: Write) -> int:
    if isinstance(write, Upsert):
        return await upsert_on_postgres(connection, write)
    sql, parameters = write
    numbered_sql, names = numbered(sql)
    told: str = await connection.execute(numbered_sql, *(parameters[name] for name in names))
    return int(told.rpartition(" ")[2])


async def open_postgres(url: URL) -> PostgresStore:
    """Opens the database, migrated.

    Raises StoreAway when it cannot be reached, ConfigError when it lets nobody in, is too old, forgets commits, or has
    a newer schema.
    """
    met = Met()
    try:
        hot = await asyncpg.create_pool(
            _dsn(url),
            min_size=1,
            max_size=CONNECTIONS,
            timeout=CONNECT_S,
            command_timeout=STATEMENT_S,
            server_settings=_SESSION,
            init=met,
            reset=_as_it_is,
        )
    except StoreTrouble:
        raise
    except (OSError, asyncpg.PostgresError, asyncpg.ClientConfigurationError, TimeoutError) as error:
        raise unusable(error, _place(url)) from None
    store = PostgresStore(url, hot, met)
    try:
        await _check_server(hot)
        await _migrate(store)
    except BaseException:
        await store.close()
        raise
    return store


def _place(url: URL) -> str:
    return f"{url.host or 'localhost'}/{url.database}"


async def _migrate(store: PostgresStore) -> None:
    """Migrates on a connection of its own: a step may take as long as its tables are large."""
    engine = _engine(store._url, store._met, size=1, isolation_level="READ COMMITTED", statement_s=None)
    try:
        async with engine.connect() as connection:
            await migrate_postgres(connection, store.place)
    finally:
        await engine.dispose()


class Met:
    """What each new connection is put through. `server`: of the last one."""

    def __init__(self) -> None:
        self.server: str | None = None

    async def __call__(self, connection: Any) -> None:
        """Raises StoreAway at a standby: what is promoted under a connection would be noticed by nobody."""
        _keep_alive(connection)
        if await connection.fetchval("SELECT pg_is_in_recovery()"):
            raise StoreAway("it is a standby, which takes no writes")
        try:
            self.server = await connection.fetchval(f"SELECT {SERVER_SQL}")
        except (asyncpg.InsufficientPrivilegeError, asyncpg.FeatureNotSupportedError, asyncpg.UndefinedFunctionError):
            self.server = None  # such as a service whose storage outlives its servers


def _keep_alive(connection: Any) -> None:
    """Lets a connection whose other end is gone without a word end by itself, idle or with something sent."""
    line = connection._transport.get_extra_info("socket")  # asyncpg tells it in no other way
    if line is None or line.family not in (socket.AF_INET, socket.AF_INET6):
        return
    line.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in _KEEPALIVE.items():
        if hasattr(socket, name):  # not on every system
            line.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)


async def _as_it_is(connection: Any) -> None:
    """Leaves the session as it is.

    What runs here ends with its transaction; to reset the session as well would double the way to the server.
    """


async def _check_server(pool: asyncpg.Pool[asyncpg.Record]) -> None:
    version = int(await pool.fetchval("SHOW server_version_num"))
    if version < OLDEST:
        raise ConfigError(f"PostgreSQL {OLDEST // 10000} or newer is needed; this server is {version // 10000}")
    if await pool.fetchval("SHOW synchronous_commit") == "off":
        raise ConfigError("PostgreSQL's synchronous_commit is off: a crash would lose single-use tokens; set it to on")


def _engine(
    url: URL, met: Met, *, size: int, isolation_level: str, statement_s: float | None = 2 * STATEMENT_S
) -> AsyncEngine:
    async def connect() -> asyncpg.Connection[asyncpg.Record]:
        connection = await asyncpg.connect(
            _dsn(url), timeout=CONNECT_S, command_timeout=statement_s, server_settings=_SESSION
        )
        try:
            await met(connection)
        except BaseException:
            connection.terminate()
            raise
        return connection

    return create_async_engine(
        "postgresql+asyncpg://",
        async_creator=connect,  # so that asyncpg alone reads the URL, sslmode and all
        hide_parameters=True,
        pool_size=size,
        max_overflow=0,
        pool_timeout=2 * STATEMENT_S,
        pool_pre_ping=True,  # a restarted server leaves dead connections in the pool
        isolation_level=isolation_level,
    )


def _dsn(url: URL) -> str:
    return url.render_as_string(hide_password=False)


@cache
def numbered(sql: str) -> tuple[str, tuple[str, ...]]:
    """Turns `:name` parameters into asyncpg's `$1`; returns the SQL, and the names in that order."""
    names: dict[str, int] = {}

    def number(match: re.Match[str]) -> str:
        return f"${names.setdefault(match[1], len(names) + 1)}"

    return re.sub(r"(?<!:):([a-z_]\w*)", number, sql), tuple(names)
