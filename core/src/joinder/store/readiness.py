"""Whether the database takes a write now: proved by one, at most once a second for all who ask."""

from __future__ import annotations

import asyncio
import secrets

from joinder.clock import monotonic, now
from joinder.store.types import Store
from joinder.trouble import StoreAway, StoreTrouble

EVERY_S = 1.0
DEADLINE_S = 3.0
ROWS = 64  # a process whose write is stuck holds its row; few others have the same
_WRITE = (
    "INSERT INTO store_state (name, value) VALUES (:name, :value) "
    "ON CONFLICT (name) DO UPDATE SET value = excluded.value"
)


class Readiness:
    """Of one process. Of what it writes nothing is read."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._name = f"ready-{secrets.randbelow(ROWS)}"
        self._asked_at = float("-inf")
        self._asking: asyncio.Task[StoreTrouble | None] | None = None

    async def proved(self) -> float:
        """Returns when the write was begun that worked, in seconds of the monotonic clock. Raises StoreTrouble.

        A write that hangs goes on, and is the only one; nobody waits for it to the end.
        """
        if self._asking is None or (self._asking.done() and monotonic() - self._asked_at >= EVERY_S):
            self._asked_at = monotonic()
            self._asking = asyncio.create_task(self._write())
        asking, asked_at = self._asking, self._asked_at  # another who waits may ask anew before we are woken
        done, _ = await asyncio.wait({asking}, timeout=DEADLINE_S)
        trouble = asking.result() if done else self._store.pulse.trouble or StoreAway("TimeoutError")
        if trouble is not None:
            self._store.outage.begin(trouble)
            raise trouble.with_traceback(None)
        return asked_at

    async def _write(self) -> StoreTrouble | None:
        try:
            await self._store.apply((_WRITE, {"name": self._name, "value": f'{{"at": {now()}}}'}))
        except StoreTrouble as trouble:
            return trouble
        return None
