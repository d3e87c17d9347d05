"""Places where a worker may be killed. Arming one wraps functions of this process so that it dies there, the first time
it gets there, as by `kill -9`: no handler runs, nothing is flushed. The production code knows nothing of it.
"""

from __future__ import annotations

import os
import re
import select
import signal
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import aiosqlite
import asyncpg
from httpcore._backends.anyio import AnyIOStream
from sqlalchemy import event
from sqlalchemy.engine import Engine

from joinder.http import Http
from joinder.services.events import deliveries
from joinder.services.grants import journal, judging, refresh, saving
from joinder.store import group_commit, postgres
from joinder.store.types import Upsert


@dataclass(frozen=True, kw_only=True)
class Point:
    """`spent`: the vendor has rotated and our disk does not know. `job`: what must be due to get there."""

    arm: Callable[[], None]
    spent: bool = False
    job: str = "refresh"


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _before(owner: Any, name: str) -> Callable[[], None]:
    def arm() -> None:
        async def wrapped(*_: Any, **__: Any) -> None:
            die()

        setattr(owner, name, wrapped)

    return arm


def _at_call(owner: Any, name: str) -> Callable[[], None]:
    """Of a plain function."""
    return lambda: setattr(owner, name, lambda *_, **__: die())


def _after(owner: Any, name: str) -> Callable[[], None]:
    def arm() -> None:
        real = getattr(owner, name)

        async def wrapped(*arguments: Any, **named: Any) -> None:
            await real(*arguments, **named)
            die()

        setattr(owner, name, wrapped)

    return arm


def _in_transaction(sql: str) -> Callable[[], None]:
    """Right after the first statement that matches has been executed: before COMMIT, on each of the store's ways."""
    pattern = re.compile(sql)

    def arm() -> None:
        on_sqlite, on_postgres = group_commit._changed, postgres._changed

        def changed(connection: Any, write: Any) -> int:
            count = on_sqlite(connection, write)
            if pattern.search(_sql(write)):
                die()
            return count

        async def changed_on_postgres(connection: Any, write: Any) -> int:
            count = await on_postgres(connection, write)
            if pattern.search(_sql(write)):
                die()
            return count

        group_commit._changed, postgres._changed = changed, changed_on_postgres
        for driver in (aiosqlite.Connection, asyncpg.Connection):
            for name in ("execute", "executemany"):
                _die_after_sql(driver, name, pattern)

        @event.listens_for(Engine, "after_cursor_execute")
        def executed(_: Any, __: Any, statement: str, *___: Any) -> None:
            if pattern.search(statement):
                die()

    return arm


def _sql(write: Any) -> str:
    return f"INSERT INTO {write.table}" if isinstance(write, Upsert) else str(write[0])


def _die_after_sql(driver: Any, name: str, pattern: re.Pattern[str]) -> None:
    real = getattr(driver, name)

    async def wrapped(self: Any, sql: str, *arguments: Any, **named: Any) -> Any:
        done = await real(self, sql, *arguments, **named)
        if pattern.search(sql):
            die()
        return done

    setattr(driver, name, wrapped)


def _half_written() -> None:
    real = AnyIOStream.write

    async def write(self: AnyIOStream, buffer: bytes, timeout: float | None = None) -> None:
        await real(self, buffer[: len(buffer) // 2], timeout)
        die()

    AnyIOStream.write = write  # type: ignore[method-assign]


def _at_read(reached: Callable[[AnyIOStream], None] | None, *, then_read: bool = False) -> Callable[[], None]:
    """When the client turns to the answer."""

    def arm() -> None:
        real = AnyIOStream.read

        async def read(self: AnyIOStream, max_bytes: int, timeout: float | None = None) -> bytes:
            if reached is not None:
                reached(self)
            if then_read:
                await real(self, max_bytes, timeout)
            die()
            return b""

        AnyIOStream.read = read  # type: ignore[method-assign]

    return arm


def _until_answered(stream: AnyIOStream) -> None:
    """Blocks the whole process, so that the answer stays in the socket."""
    select.select([stream.get_extra_info("socket")], [], [], 30)


POINTS: dict[str, Point] = {
    "before the lease": Point(arm=_before(refresh, "_intend")),
    "inside the transaction of lease and intent": Point(arm=_in_transaction(re.escape(refresh._INTEND[:40]))),
    "after the intent is committed": Point(arm=_after(refresh, "_intend")),
    "before the request is sent": Point(arm=_before(Http, "_send")),
    "request half written": Point(arm=_half_written),
    "request sent": Point(arm=_at_read(None), spent=True),
    "answer in the socket": Point(arm=_at_read(_until_answered), spent=True),
    "answer read": Point(arm=_at_read(None, then_read=True), spent=True),
    "answer parsed": Point(arm=_after(refresh, "_exchange"), spent=True),
    "before the journal": Point(arm=_at_call(journal, "note"), spent=True),
    "before the commit": Point(arm=_before(saving, "_commit")),  # from here on the journal has it
    "inside the commit": Point(arm=_in_transaction(re.escape(saving._SAVE[:40]))),
    "inside the commit, lease released": Point(arm=_in_transaction("SET lease = NULL, lease_until = NULL, due_at")),
    "after the commit": Point(arm=_after(saving, "_commit")),
    "before health and its event": Point(arm=_before(saving, "recover")),
    "before a failure is written down": Point(arm=_before(judging, "renewal_failed")),
    "in the store of a poll": Point(arm=_in_transaction('INSERT INTO "?interval'), job="poll"),
    "in a backfill's step": Point(arm=_in_transaction('INSERT INTO "?coverage'), job="backfill"),
    "in a fan-out": Point(arm=_in_transaction("UPDATE event SET fanned_out"), job="webhook"),
    "before a webhook is sent": Point(arm=_before(deliveries, "_send"), job="webhook"),
    "after a webhook was answered": Point(arm=_before(deliveries, "_finish"), job="webhook"),
}
