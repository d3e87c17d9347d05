"""So many token exchanges a second for one vendor app, over all processes: grants of one moment must not come back as
one wave. Seconds are counted in the `quota` table."""

from __future__ import annotations

import asyncio
import math
from dataclasses import dataclass

from joinder.clock import now
from joinder.store.types import Store

SPAN = "refreshes"
KEEP_S = 60
_TAKE = (
    "INSERT INTO quota (app, span, \"window\", used) VALUES (:app, 'refreshes', :second, :calls) "
    'ON CONFLICT (app, span, "window") DO UPDATE SET used = quota.used + :calls WHERE quota.used + :calls <= :most'
)
_FORGET = "DELETE FROM quota WHERE app = :app AND span = 'refreshes' AND \"window\" < :before"


@dataclass
class _Hand:
    """Calls of this second that this process has taken and not made yet."""

    second: int = 0
    calls: int = 0


class RefreshRateLimiter:
    """One process's share, by app."""

    def __init__(self, store: Store, a_second: float, stopping: asyncio.Event) -> None:
        self._store = store
        self._most = max(1, math.floor(a_second))
        self._stopping = stopping
        self._hands: dict[str, _Hand] = {}
        self._taking = asyncio.Lock()

    async def take(self, app: str) -> None:
        """Waits until one more exchange may begin."""
        while not self._stopping.is_set():
            async with self._taking:
                if await self._taken(app):
                    return
            await asyncio.sleep(0.1)

    async def _taken(self, app: str) -> bool:
        hand, second = self._hands.setdefault(app, _Hand()), now()
        if hand.second != second or hand.calls == 0:
            calls = max(1, self._most // 10)
            values = {"app": app, "second": second, "calls": calls, "most": self._most, "before": second - KEEP_S}
            changed = await self._store.apply((_TAKE, values), *([(_FORGET, values)] if hand.second != second else []))
            if not changed[0]:
                return False
            hand.second, hand.calls = second, calls
        hand.calls -= 1
        return True
