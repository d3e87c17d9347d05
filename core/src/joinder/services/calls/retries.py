"""One more try at once, for somebody who waits for an answer: the only layer that repeats a call by itself.

Background work is not repeated here, it is due again later; a token exchange never is. The tries come out of a bucket
per vendor app, as in botocore: 500 tokens, a try costs 5, after a timeout 10; what works gives back. A vendor that
answers nothing empties it, and then nothing is repeated.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import TypeVar

from joinder.clock import monotonic
from joinder.errors import DeviceUnreachable, OutcomeUnknown, RateLimited, TransientError, VendorTimeout
from joinder.services.calls.breakers import BreakerOpen
from joinder.services.calls.budgets import purpose

T = TypeVar("T")
CAPACITY, COST, TIMEOUT_COST, REWARD = 500, 5, 10, 1
WAIT_MOST_S = 1.0
PATIENCE_S = 10.0  # who has waited this long is not made to wait again


class Retries:
    """The buckets of one process, by app; only those that are not full."""

    def __init__(self, *, wait_most_s: float = WAIT_MOST_S) -> None:
        self._wait_most_s = wait_most_s
        self._missing: dict[str, int] = {}

    async def run(self, app: str, call: Callable[[], Awaitable[T]]) -> T:
        """Runs `call`, an idempotent read; once more when the vendor failed in passing and the bucket allows."""
        began = monotonic()
        try:
            answer = await call()
        except TransientError as error:
            cost = TIMEOUT_COST if isinstance(error, VendorTimeout) else COST
            if not _passing(error) or monotonic() - began > PATIENCE_S or not self._pay(app, cost):
                raise
            return await self._again(app, cost, call, error)
        self._give_back(app, REWARD)
        return answer

    async def _again(self, app: str, cost: int, call: Callable[[], Awaitable[T]], error: TransientError) -> T:
        await asyncio.sleep(random.uniform(0, self._wait_most_s))  # noqa: S311 - spreading load
        try:
            answer = await call()
        except BreakerOpen:
            raise error from None
        self._give_back(app, cost)
        return answer

    def _pay(self, app: str, cost: int) -> bool:
        missing = self._missing.get(app, 0) + cost
        if missing > CAPACITY:
            return False
        self._missing[app] = missing
        return True

    def _give_back(self, app: str, tokens: int) -> None:
        if app in self._missing:
            self._missing[app] -= tokens
            if self._missing[app] <= 0:
                del self._missing[app]


def _passing(error: TransientError) -> bool:
    told_to_wait = error.retry_after is not None
    elsewhere = isinstance(error, RateLimited | DeviceUnreachable | OutcomeUnknown | BreakerOpen)
    return purpose() == "read" and not told_to_wait and not elsewhere
