"""Finds the plugin that blocks the event loop, which no deadline can: a thread beside the loop looks at its stack."""

from __future__ import annotations

import asyncio
import contextlib
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from types import FrameType

BEAT_S = 0.25
BLOCKED_S = 2.0  # beyond this a whole server stood still; a hook never needs the loop for so long

OnBlocked = Callable[[set[str], float], None]


@asynccontextmanager
async def watching(on_blocked: OnBlocked, *, blocked_s: float = BLOCKED_S) -> AsyncIterator[None]:
    """Calls `on_blocked(packages on the stack, seconds)` from its thread, once for each time the loop stands still."""
    watch = _Watch(on_blocked, blocked_s, threading.get_ident())
    heart = asyncio.create_task(watch.beat())
    thread = threading.Thread(target=watch.look, name="joinder-loop-watch", daemon=True)
    thread.start()
    try:
        yield
    finally:
        watch.over.set()
        heart.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await heart


class _Watch:
    def __init__(self, on_blocked: OnBlocked, blocked_s: float, loop_thread: int) -> None:
        self.over = threading.Event()
        self._on_blocked = on_blocked
        self._blocked_s = blocked_s
        self._loop_thread = loop_thread
        self._schedule = Path(f"/proc/self/task/{threading.get_native_id()}/schedstat")  # of the loop's thread
        self._beat_at, self._waited_s = time.monotonic(), self._waiting_s()

    async def beat(self) -> None:
        while True:
            self._beat_at, self._waited_s = time.monotonic(), self._waiting_s()
            await asyncio.sleep(BEAT_S)

    def _waiting_s(self) -> float:
        """Returns the seconds for which the loop's thread has been ready to run and got no processor.

        0 where the system does not tell.
        """
        try:
            return int(self._schedule.read_text().split()[1]) / 1e9
        except (OSError, IndexError, ValueError):
            return 0.0

    def look(self) -> None:
        told_at = 0.0
        while not self.over.wait(BEAT_S):
            beat_at = self._beat_at
            still_s = time.monotonic() - beat_at - (self._waiting_s() - self._waited_s)  # a starved loop is not blocked
            if still_s > self._blocked_s and beat_at != told_at:
                told_at = beat_at
                self._on_blocked(_packages(sys._current_frames().get(self._loop_thread)), still_s)


def _packages(frame: FrameType | None) -> set[str]:
    """Returns the top-level packages of every function on the stack."""
    found = set()
    while frame is not None:
        found.add(str(frame.f_globals.get("__name__", "")).partition(".")[0])
        frame = frame.f_back
    return found
