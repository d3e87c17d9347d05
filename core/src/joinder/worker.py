"""The loop that finds due work in the tables and does it. What a crash leaves behind is simply found again."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from joinder.clock import boot_id, monotonic, now
from joinder.errors import TransientError, VendorError
from joinder.services import approvals, poll, refresh
from joinder.services.hub import Hub
from joinder.services.refusals import Refusal
from joinder.store.tables import Due

TICK_S = 1.0
AT_ONCE = 32
BROKEN_WAIT_S = 900.0
log = logging.getLogger("joinder.worker")
_DUE = (
    "SELECT enrollment_id FROM due WHERE kind = :kind AND due_at <= :now "
    "AND (lease IS NULL OR lease_boot <> :boot OR lease_until < :monotonic) ORDER BY due_at LIMIT :limit"
)


async def _poll(hub: Hub, enrollment_id: str) -> None:
    await poll.poll(hub, enrollment_id)


async def _refresh(hub: Hub, enrollment_id: str) -> None:
    await refresh.refresh(hub, enrollment_id, wait_s=3600)


async def _ask(hub: Hub, enrollment_id: str) -> None:
    await approvals.ask(hub, enrollment_id)


_JOBS: dict[str, Callable[[Hub, str], Awaitable[None]]] = {"refresh": _refresh, "poll": _poll, approvals.KIND: _ask}


@asynccontextmanager
async def working(hub: Hub) -> AsyncIterator[None]:
    """Runs the loop beside the block. On leaving, no new work starts; token exchanges in flight end (Hub.drain)."""
    loops = [asyncio.create_task(_loop(hub, kind)) for kind in _JOBS]
    try:
        yield
    finally:
        for loop in loops:
            loop.cancel()
        await asyncio.gather(*loops, return_exceptions=True)


async def _loop(hub: Hub, kind: str) -> None:
    running: dict[str, asyncio.Task[None]] = {}
    try:
        while True:
            try:
                await _start_due(hub, kind, running)
            except Exception as error:  # noqa: BLE001 - the loop outlives a database that is away for a while
                log.error("looking for due %s failed: %s", kind, type(error).__name__)
            await asyncio.sleep(TICK_S)
    finally:
        for task in running.values():
            task.cancel()
        await asyncio.gather(*running.values(), return_exceptions=True)  # each gives its lease back first


async def _start_due(hub: Hub, kind: str, running: dict[str, asyncio.Task[None]]) -> None:
    for enrollment_id, task in list(running.items()):
        if task.done():
            del running[enrollment_id]
    for enrollment_id in await _due(hub, kind, AT_ONCE):
        if enrollment_id not in running and len(running) < AT_ONCE:
            running[enrollment_id] = asyncio.create_task(_guarded(hub, kind, enrollment_id))


async def _due(hub: Hub, kind: str, limit: int) -> list[str]:
    rows = await hub.store.rows(
        _DUE, {"kind": kind, "now": now(), "boot": boot_id(), "monotonic": monotonic(), "limit": limit}
    )
    return [row[0] for row in rows]


async def _guarded(hub: Hub, kind: str, enrollment_id: str) -> None:
    try:
        await _JOBS[kind](hub, enrollment_id)
    except (VendorError, Refusal) as error:
        log.warning("%s of %s: %s", kind, enrollment_id, error)
        await _postpone(hub, kind, enrollment_id, _wait_s(error))
    except Exception as error:  # noqa: BLE001 - one bad row must not stop the others
        log.error("%s of %s failed: %s", kind, enrollment_id, type(error).__name__)
        with contextlib.suppress(Exception):
            await _postpone(hub, kind, enrollment_id, BROKEN_WAIT_S)


def _wait_s(error: VendorError | Refusal) -> float:
    retry_after = error.retry_after if isinstance(error, TransientError) else None
    return retry_after.total_seconds() if retry_after else BROKEN_WAIT_S


async def _postpone(hub: Hub, kind: str, enrollment_id: str, wait_s: float) -> None:
    """Work that failed before it could plan its next try would otherwise be due again at once."""
    async with hub.store.write(enrollment_id) as session:
        row = await session.get(Due, (kind, enrollment_id))
        if row is not None and row.due_at <= now():
            row.due_at = now() + max(1, int(wait_s))
