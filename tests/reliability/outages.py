"""Troubles of a database under workers that renew, each for so many seconds, and right again behind."""

from __future__ import annotations

import asyncio
import os
import signal
import sqlite3
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import asyncpg

from joinder.demo.postgres import LocalPostgres
from joinder.settings import Settings
from reliability.faults import Fault, FaultProxy
from reliability.processes import Worker


@dataclass(kw_only=True)
class Scene:
    """The database as the test reaches it, the proxies its workers go through (PostgreSQL), and the workers."""

    settings: Settings
    server: LocalPostgres | None = None
    proxies: Sequence[FaultProxy] = ()
    workers: list[Worker] = field(default_factory=list)

    @property
    def file(self) -> Path:
        return Path(self.settings.database_url.removeprefix("sqlite:///"))

    @property
    def postgres(self) -> LocalPostgres:
        assert self.server is not None
        return self.server


Outage = Callable[[Scene], AbstractAsyncContextManager[None]]


@asynccontextmanager
async def stopped(scene: Scene) -> AsyncIterator[None]:
    """The server crashes, and is started again."""
    await asyncio.to_thread(scene.postgres.stop, "immediate")
    yield
    await asyncio.to_thread(scene.postgres.start)


@asynccontextmanager
async def locked(scene: Scene) -> AsyncIterator[None]:
    """By another program."""
    if scene.server is None:
        other = sqlite3.connect(scene.file, isolation_level=None, timeout=60)
        other.execute("BEGIN IMMEDIATE")
        yield
        other.execute("ROLLBACK")
        other.close()
        return
    connection = await asyncpg.connect(scene.settings.database_url)
    async with connection.transaction():
        await connection.execute('LOCK TABLE "grant" IN ACCESS EXCLUSIVE MODE')
        yield
    await connection.close()


@asynccontextmanager
async def read_only(scene: Scene) -> AsyncIterator[None]:
    await _said(scene, "ALTER SYSTEM SET default_transaction_read_only = on")
    yield
    await _said(scene, "ALTER SYSTEM RESET default_transaction_read_only")


@asynccontextmanager
async def cut(scene: Scene) -> AsyncIterator[None]:
    """The way to it, of the first worker alone where there are several."""
    await scene.proxies[0].inject(Fault("down"))
    yield
    await scene.proxies[0].heal()


@asynccontextmanager
async def swallowed(scene: Scene) -> AsyncIterator[None]:
    """As `cut`, without a word: what is sent is taken, and never answered, on these connections not later either."""
    await scene.proxies[0].inject(Fault("swallow"))
    yield
    await scene.proxies[0].heal()


@asynccontextmanager
async def dropped(scene: Scene) -> AsyncIterator[None]:
    """Every connection, now and again at the end; new ones are taken at once."""
    await _said(scene, "SELECT 1")
    yield
    await _said(scene, "SELECT 1")


@asynccontextmanager
async def moved(scene: Scene) -> AsyncIterator[None]:
    aside = scene.file.with_name("aside")
    scene.file.rename(aside)
    yield
    aside.rename(scene.file)


@asynccontextmanager
async def frozen(scene: Scene) -> AsyncIterator[None]:
    """The first worker, as a paused container is."""
    scene.workers[0].signal(signal.SIGSTOP)
    yield
    scene.workers[0].signal(signal.SIGCONT)


async def _said(scene: Scene, sentence: str) -> None:
    connection = await asyncpg.connect(scene.settings.database_url)
    await connection.execute("SET default_transaction_read_only = off")
    await connection.execute(sentence)
    await connection.execute("SELECT pg_reload_conf()")
    await connection.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'joinder' AND pid <> $1",
        os.getpid(),
    )
    await connection.close()
