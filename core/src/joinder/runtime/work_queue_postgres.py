"""The queue's own schema in PostgreSQL. It holds nothing that is not found again.

Its tables are logged all the same: unlogged ones, and their sequences most of all, are broken on a standby that is
promoted ("bad magic number in sequence", seen on 15.18). So its commits wait for no disk instead.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, cast

import asyncpg
from pgqueuer import PgQueuer
from pgqueuer.adapters.persistence.qb import QueryBuilderEnvironment, QueryQueueBuilder, QuerySchedulerBuilder
from pgqueuer.db import AsyncpgDriver, AsyncpgPoolDriver
from pgqueuer.domain.settings import DBSettings, Durability
from pgqueuer.ports.driver import Driver, NotifyCallback
from pgqueuer.queries import Queries
from pgqueuer.types import Channel

from joinder.store.postgres import PostgresStore
from joinder.store.types import Store

SCHEMA = "joinder_engine"
CONNECTIONS = 4
LOCK = 6013375
_FORGET = (
    f"DELETE FROM {SCHEMA}.pgqueuer_log WHERE created < now() - interval '1 hour'",  # noqa: S608 - our own name
    f"DELETE FROM {SCHEMA}.pgqueuer_statistics WHERE created < now() - interval '1 day'",  # noqa: S608
)


class _PoolDriver(AsyncpgPoolDriver):
    """Tells when the connection it listens on has died, and lets go of it; its parent would ask it again, for ever."""

    deaf: Callable[[], None] = staticmethod(lambda: None)

    async def add_listener(self, channel: str, callback: NotifyCallback) -> None:
        await super().add_listener(channel, callback)
        if self._listener_connection is not None:
            self._listener_connection.add_termination_listener(lambda _: self.deaf())

    async def __aexit__(self, *raised: object) -> None:
        try:
            await super().__aexit__(*raised)
        except (asyncpg.InterfaceError, asyncpg.PostgresError, OSError):
            self._listener_connection = None


@asynccontextmanager
async def queue_on(store: Store) -> AsyncIterator[PgQueuer]:
    """Opens the queue on `store`, which lies in PostgreSQL. Raises TypeError where it does not."""
    if not isinstance(store, PostgresStore):
        raise TypeError("not a PostgreSQL store")
    await _install(store)
    async with store.pool(CONNECTIONS, is_durable=False) as pool:
        driver = _PoolDriver(pool)
        queue = PgQueuer(connection=driver, channel=Channel(SCHEMA), queries=_queries(driver))
        driver.deaf = lambda: queue.qm.shutdown.set()  # of the run under way: it is another one each time
        yield queue


async def _install(store: PostgresStore) -> None:
    """Installs once, by one of the processes that start; a newer release converges it.

    Forgets what nobody reads any more.
    """
    async with store.pool(1) as pool, pool.acquire() as connection:
        await connection.execute("SELECT pg_advisory_lock($1)", LOCK)
        try:
            queries = _queries(AsyncpgDriver(cast(Any, connection)))
            if await queries.schema_is_installed():
                await queries.upgrade()
            else:
                await queries.install()
            for statement in _FORGET:
                await connection.execute(statement)
        finally:
            await connection.execute("SELECT pg_advisory_unlock($1)", LOCK)


def _queries(driver: Driver) -> Queries:
    settings = DBSettings(db_schema=SCHEMA, channel=Channel(SCHEMA), durability=Durability.durable)
    return Queries(
        driver,
        qbe=QueryBuilderEnvironment(settings),
        qbq=QueryQueueBuilder(settings),
        qbs=QuerySchedulerBuilder(settings),
    )
