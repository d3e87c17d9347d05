"""Fetches under way in this process: whoever wants the same span waits for the one that runs."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Hashable
from dataclasses import dataclass, field


@dataclass
class SingleFlight:
    _running: dict[Hashable, asyncio.Task[None]] = field(default_factory=dict)

    async def join(self, key: Hashable, fetch: Callable[[], Awaitable[None]]) -> None:
        """Waits for the fetch of `key` that runs, or runs this one. Raises what the fetch raises.

        The caller may stop waiting or be cancelled; the fetch goes on, for the next who asks.
        """
        task = self._running.get(key)
        if task is None:
            task = asyncio.ensure_future(_awaited(fetch))
            self._running[key] = task
            task.add_done_callback(lambda done: self._forget(key, done))
        await asyncio.shield(task)

    def _forget(self, key: Hashable, done: asyncio.Task[None]) -> None:
        self._running.pop(key, None)
        if not done.cancelled():
            done.exception()  # seen: those who waited may all have left

    async def stop(self) -> None:
        tasks = list(self._running.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _awaited(fetch: Callable[[], Awaitable[None]]) -> None:
    await fetch()
