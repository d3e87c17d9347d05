"""So many token exchanges a second for one vendor app, over all processes: grants of one moment must not come back as
one wave (reliability R10). Seconds are counted in the `quota` table."""

from __future__ import annotations

import asyncio
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from joinder.clock import now

if TYPE_CHECKING:
    from joinder.services.hub import Hub

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


class Pace:
    """One process's share, by app."""

    def __init__(self) -> None:
        self._hands: dict[str, _Hand] = {}
        self._taking = asyncio.Lock()

    async def take(self, hub: Hub, app: str) -> None:
        """Waits until one more exchange may begin."""
        most = max(1, math.floor(hub.settings.refreshes_per_second))
        while not hub.stopping.is_set():
            async with self._taking:
                if await self._taken(hub, app, most):
                    return
            await asyncio.sleep(0.1)

    async def _taken(self, hub: Hub, app: str, most: int) -> bool:
        hand, second = self._hands.setdefault(app, _Hand()), now()
        if hand.second != second or hand.calls == 0:
            calls = max(1, most // 10)
            values = {"app": app, "second": second, "calls": calls, "most": most, "before": second - KEEP_S}
            changed = await hub.store.apply((_TAKE, values), *([(_FORGET, values)] if hand.second != second else []))
            if not changed[0]:
                return False
            hand.second, hand.calls = second, calls
        hand.calls -= 1
        return True
