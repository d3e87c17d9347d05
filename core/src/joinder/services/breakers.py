"""One breaker per vendor and hook: a vendor that is down is asked by one probe at a time, not by every enrollment.

The states are purgatory's. Only trouble of the vendor's own side counts: not a refused token, not a spent budget, not
one home whose gateway is off.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta

from purgatory import AsyncCircuitBreakerFactory
from purgatory.domain.model import HALF_OPENED, OpenedState

from joinder.errors import DeviceUnreachable, RateLimited, TransientError

THRESHOLD = 5  # failures in a row
PROBE_AFTER_S = 30.0


class BreakerOpen(TransientError):
    """Not asked: the vendor did not answer the last calls, and the pause is not over."""


class Breakers:
    """Of one process; nothing is shared, as each process finds out within five calls."""

    def __init__(self) -> None:
        self._factory = AsyncCircuitBreakerFactory(
            default_threshold=THRESHOLD, default_ttl=PROBE_AFTER_S, exclude=[(BaseException, _is_no_outage)]
        )
        self._probing: set[str] = set()

    @asynccontextmanager
    async def calling(self, vendor: str, hook: str) -> AsyncIterator[None]:
        """Around one call. Raises BreakerOpen instead of making it."""
        name = f"{vendor}/{hook}"
        breaker = await self._factory.get_breaker(name)
        if name in self._probing:
            raise _open(vendor)
        try:
            await breaker.__aenter__()
        except OpenedState:
            raise _open(vendor) from None
        if breaker.context.state == HALF_OPENED:
            self._probing.add(name)
        try:
            yield
        except BaseException as error:
            await breaker.__aexit__(type(error), error, error.__traceback__)
            raise
        else:
            await breaker.__aexit__(None, None, None)
        finally:
            self._probing.discard(name)

    async def states(self) -> dict[tuple[str, str], str]:
        """(vendor, hook) → closed, opened or half-opened."""
        async with self._factory.uow as uow:
            found = uow.contexts.breakers if hasattr(uow.contexts, "breakers") else {}
        return {(name.partition("/")[0], name.partition("/")[2]): context.state for name, context in found.items()}


def _is_no_outage(error: BaseException) -> bool:
    return not isinstance(error, TransientError) or isinstance(error, RateLimited | DeviceUnreachable)


def _open(vendor: str) -> BreakerOpen:
    wait = timedelta(seconds=PROBE_AFTER_S)
    return BreakerOpen(f"{vendor} did not answer the last {THRESHOLD} calls; trying again soon", retry_after=wait)
