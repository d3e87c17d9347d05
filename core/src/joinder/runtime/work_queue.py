"""Spreads due work over processes: PgQueuer, in memory beside SQLite, in the database beside PostgreSQL.

What is due stands in our own tables; a job here only says "work a batch of this", once at a time per name and key. So
its tables may lose everything: the next look finds it again.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta

import msgspec
from pgqueuer import PgQueuer, QueueManager
from pgqueuer.models import Job
from pgqueuer.ports import RepositoryPort

from joinder.store.driver_errors import noted, said
from joinder.store.types import Store
from joinder.trouble import Outage

Work = Callable[[str, str], Awaitable[None]]
ENTRYPOINT = "due"
BATCH = 1  # a job is a batch already; who takes ten leaves none to the next worker
AT_ONCE = 12  # jobs of this process; what it takes beyond its strength, another worker cannot take
HEARTBEAT = timedelta(seconds=30)  # a job whose worker is silent for so long is given to another
LOOK_EVERY = timedelta(seconds=5)  # should a notice get lost
AGAIN_S = 2.0
STOP_S = 10.0
log = logging.getLogger("joinder.engine")


class Engine:
    """One process's end of the queue."""

    def __init__(self, queries: RepositoryPort) -> None:
        self._queries = queries

    async def hand_out(self, jobs: Sequence[tuple[str, str]]) -> None:
        """Queues pairs of name and key; one that is queued or being worked already is not queued twice."""
        if not jobs:
            return
        await self._queries.enqueue(
            [ENTRYPOINT] * len(jobs),
            [msgspec.json.encode(job) for job in jobs],
            [0] * len(jobs),
            dedupe_key=[f"{name} {key}" for name, key in jobs],
            on_conflict="skip",
        )


@asynccontextmanager
async def running(store: Store, work: Work) -> AsyncIterator[Engine]:
    """Works jobs beside the block. On leaving no job begins any more, and those under way end."""
    async with _queue(store) as queue:

        @queue.entrypoint(ENTRYPOINT)
        async def due(job: Job) -> None:
            name, key = msgspec.json.decode(job.payload or b"", type=tuple[str, str])
            await work(name, key)

        stop = asyncio.Event()
        consumer = asyncio.create_task(_consume(queue.qm, stop, store.outage))
        try:
            yield Engine(queue.qm.queries)
        finally:
            stop.set()
            queue.qm.shutdown.set()
            await asyncio.wait({consumer}, timeout=STOP_S)  # a database that is away must not keep the process
            consumer.cancel()
            await asyncio.gather(consumer, return_exceptions=True)


async def _consume(manager: QueueManager, stop: asyncio.Event, outage: Outage) -> None:
    """Works off the queue until `stop`.

    It outlives a database that is away for a while, and a listening connection that died without a word.
    """
    while not stop.is_set():
        manager.shutdown = asyncio.Event()  # of this run, which ends when it hears no notices any more
        try:
            await manager.run(
                dequeue_timeout=LOOK_EVERY,
                batch_size=BATCH,
                max_concurrent_tasks=AT_ONCE,
                heartbeat_timeout=HEARTBEAT,
            )
        except Exception as error:  # noqa: BLE001 - whatever the driver raised, the next try may find it back
            told = noted(outage, error)
            log.error("the queue stopped: %s", said(told))
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), AGAIN_S)


@asynccontextmanager
async def _queue(store: Store) -> AsyncIterator[PgQueuer]:
    if store.dialect == "sqlite":
        yield PgQueuer.in_memory()
        return
    from joinder.runtime.work_queue_postgres import queue_on  # asyncpg is an extra

    async with queue_on(store) as queue:
        yield queue
