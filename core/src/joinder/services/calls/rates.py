"""Limits of calls beside an app's windows: per second, and of one site. Counted in this process, by sliding windows.

A second is waited out, for it is over before anybody notices; longer ones are refused as a spent budget is.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Protocol

from joinder.clock import monotonic
from joinder.http import Meter
from joinder.services.calls.call_refusals import BudgetSpent
from joinder.vendor import Rate
from joinder.vendors import asked

SECONDS = {"second": 1.0, "minute": 60.0, "hour": 3600.0, "day": 86400.0, "month": 31 * 86400.0}
KEPT_MOST = 20_000  # windows; the ones that were not used for longest are forgotten


class Counted(Meter, Protocol):
    """Counts the calls of an app or a grant (budgets.AppMeter)."""

    async def take(self) -> None: ...


@dataclass
class _Window:
    calls: deque[float] = field(default_factory=deque)
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)


class Rates:
    """The sliding windows of one process."""

    def __init__(self) -> None:
        self._windows: OrderedDict[tuple[str, Rate], _Window] = OrderedDict()

    async def take(self, key: str, rate: Rate) -> None:
        """Takes one call. Waits while a second is full; raises BudgetSpent where it would take longer."""
        window = self._windows.setdefault((key, rate), _Window())
        self._windows.move_to_end((key, rate))
        while len(self._windows) > KEPT_MOST:
            self._windows.popitem(last=False)
        async with window.lock:
            while (wait_s := _wait_s(window.calls, rate)) > 0:
                if rate.per != "second":
                    text = f"The vendor allows {rate.number} calls a {rate.per} of one {rate.scope}"
                    raise BudgetSpent(text, retry_after=timedelta(seconds=wait_s))
                await asyncio.sleep(wait_s)
            window.calls.append(monotonic())


def _wait_s(calls: deque[float], rate: Rate) -> float:
    begin = monotonic() - SECONDS[rate.per]
    while calls and calls[0] <= begin:
        calls.popleft()
    return 0.0 if len(calls) < rate.number else max(calls[0] - begin, 0.001)


class RatedMeter:
    """Lets a call through where its grant, its site and the second have room, and then the app."""

    def __init__(
        self, meters: Sequence[Counted], rates: Rates, limits: Sequence[Rate], keys: Mapping[str, str]
    ) -> None:
        self._app, *self._inner = meters
        self._rates = rates
        self._limits = [rate for rate in limits if rate.per == "second" or rate.scope == "site"]
        self._keys = keys

    @asynccontextmanager
    async def call(self, *, exchange: bool) -> AsyncIterator[None]:
        """Surrounds one call. Raises as the app's does; an exchange is counted for the app alone, and never refused."""
        if not exchange:
            for rate in self._limits:
                if (key := self._key(rate)) is not None:
                    await self._rates.take(key, rate)
            for meter in self._inner:
                await meter.take()
        async with self._app.call(exchange=exchange):
            yield

    async def limited(self, wait: timedelta | None) -> None:
        await self._app.limited(wait)

    def _key(self, rate: Rate) -> str | None:
        """Returns whose window it is; None: of a site, and no site is asked for."""
        if rate.scope != "site":
            return self._keys[rate.scope]
        site_id = asked.site()
        return None if site_id is None else f"{self._keys['grant']} {site_id}"
