"""Deadlines that are judged after the sockets were read.

A process that was frozen (a paused container, a laptop's lid) finds every timer over at once, and beside them the
answers that came meanwhile. `asyncio.timeout` lets the timers win; an answer that holds a single-use token must.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Any, TypeVar

T = TypeVar("T")
LAST_LOOK_S = 1.0  # after the deadline, for what has come already


@asynccontextmanager
async def deadline(seconds: float) -> AsyncIterator[None]:
    """Limits the block as `asyncio.timeout` does, in seconds. Raises TimeoutError."""
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(None) as timeout:
        over = loop.call_later(seconds, lambda: timeout.reschedule(loop.time() + LAST_LOOK_S))
        try:
            yield
        finally:
            over.cancel()


async def within(seconds: float, call: Coroutine[Any, Any, T]) -> T:
    """Returns what the call answers within `seconds`.

    Raises TimeoutError, and does not wait for a call that cannot be cancelled.
    """
    task = asyncio.create_task(call)
    try:
        done, _ = await asyncio.wait({task}, timeout=seconds)
        if not done:
            done, _ = await asyncio.wait({task}, timeout=LAST_LOOK_S)
        if not done:
            raise TimeoutError
        return task.result()
    finally:
        task.cancel()
