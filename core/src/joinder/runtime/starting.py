"""Waits for a database that is away when a process starts."""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, contextmanager
from typing import TypeVar

from joinder.clock import monotonic
from joinder.store.driver_errors import passing
from joinder.trouble import Outage, StoreTrouble

T = TypeVar("T")
EVERY_S = 1.0
TOLD_EVERY_S = 60.0
STOPS = (signal.SIGTERM, signal.SIGINT)
log = logging.getLogger("joinder")


class StoppedWaiting(Exception):
    """A signal ended the process before its database was there."""


@asynccontextmanager
async def once_there(opening: Callable[[], AbstractAsyncContextManager[T]]) -> AsyncIterator[T]:
    """Enters what needs the database, again every second while that is away. Raises StoppedWaiting."""
    async with AsyncExitStack() as stack:
        try:
            opened = await stack.enter_async_context(opening())
        except Exception as error:
            first = passing(error)
            if not isinstance(first, StoreTrouble):
                raise
            with _stoppable():
                opened = await _awaited(stack, opening, first)
        yield opened


async def _awaited(
    stack: AsyncExitStack, opening: Callable[[], AbstractAsyncContextManager[T]], trouble: StoreTrouble
) -> T:
    outage, told_at = Outage(is_told=True), monotonic()
    outage.begin(trouble)
    while True:
        await asyncio.sleep(EVERY_S)
        asked_at = monotonic()
        try:
            opened = await stack.enter_async_context(opening())
        except Exception as error:
            again = passing(error)
            if not isinstance(again, StoreTrouble):
                raise
            if monotonic() - told_at > TOLD_EVERY_S:
                log.warning("still waiting for the database: %s", again)
                told_at = monotonic()
        else:
            outage.end(asked_at)
            return opened


@contextmanager
def _stoppable() -> Iterator[None]:
    """Lets a signal end the block at once, whatever it waits for: nothing is under way yet."""
    loop, me = asyncio.get_running_loop(), asyncio.current_task()
    is_stopped = False

    def stop() -> None:
        nonlocal is_stopped
        is_stopped = True
        if me is not None:
            me.cancel()

    for name in STOPS:
        loop.add_signal_handler(name, stop)
    try:
        yield
    except asyncio.CancelledError:
        if not is_stopped:
            raise
        if me is not None:
            me.uncancel()
        raise StoppedWaiting from None
    finally:
        for name in STOPS:
            loop.remove_signal_handler(name)
