"""Circuit breakers around every hook call: of a vendor that is down one probe at a time asks, not every enrollment.

The states are purgatory's. Only trouble of the vendor's own side counts: not a refused token, not a spent budget, not
one home whose gateway is off. Of one process: each finds out within five calls, and is told of none of the others'
(`breaker_states` tells people).
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager, nullcontext
from datetime import timedelta

from purgatory.domain.model import CLOSED, HALF_OPENED, OPENED, OpenedState
from purgatory.domain.model import Context as Breaker

from joinder.errors import (
    DeviceUnreachable,
    OperatorActionNeeded,
    PluginBug,
    RateLimited,
    TransientError,
    Unexplained,
    VendorError,
)
from joinder.grants import AppCredentials, Context
from joinder.http import METER
from joinder.services.calls.budgets import Uncounted, at_fault
from joinder.services.calls.call_refusals import BudgetSpent
from joinder.vendor import Vendor, endpoint_hosts, is_redirect
from joinder.vendors.registry import Around, Registry

THRESHOLD = 5  # outages in a row
PROBE_AFTER_S = 30.0
WORST = (CLOSED, HALF_OPENED, OPENED)  # last
PLACES_MOST = 4096  # the hosts of apps are their accounts' text; what was called longest ago is forgotten
Place = tuple[str, ...]  # vendor, then hosts of the app's own where it has such


class BreakerOpen(TransientError):
    """Not asked: the vendor did not answer the last calls, and the pause is not over."""


class Breakers:
    def __init__(self, *, probe_after_s: float = PROBE_AFTER_S) -> None:
        self._probe_after_s = probe_after_s
        self._found: OrderedDict[tuple[Place, str], Breaker] = OrderedDict()
        self._probing: set[tuple[Place, str]] = set()

    @asynccontextmanager
    async def calling(self, vendor: Vendor, hook: str, app: AppCredentials | None = None) -> AsyncIterator[None]:
        """Surrounds one call of a hook, and raises BreakerOpen instead of making it while the breaker is open."""
        if vendor.device_access:  # every home is a place of its own
            yield
            return
        key = (_place(vendor, app), hook)
        breaker = self._found.setdefault(key, Breaker(hook, THRESHOLD, self._probe_after_s))
        self._found.move_to_end(key)
        if len(self._found) > PLACES_MOST:
            self._found.popitem(last=False)
        self._enter(vendor, key, breaker)
        probes = breaker.state == HALF_OPENED
        if probes:
            self._probing.add(key)
        try:
            yield
        except BaseException as error:
            if _tells(error):
                breaker.handle_exception(error) if _is_outage(error) else breaker.handle_end_request()
            raise
        else:
            breaker.handle_end_request()
        finally:
            breaker.messages.clear()  # purgatory's events, which nobody reads
            if probes:
                self._probing.discard(key)

    def refuse_open(self, vendor: Vendor, hook: str, app: AppCredentials | None = None) -> None:
        """Raises BreakerOpen where `calling` would now, before anything is prepared for the call."""
        key = (_place(vendor, app), hook)
        breaker = self._found.get(key)
        if breaker is not None and (key in self._probing or self._wait_s(breaker) > 0):
            raise self._open(vendor, breaker)

    def states(self) -> dict[tuple[str, str], str]:
        """Returns (vendor, hook) → `closed`, `opened` or `half-opened`.

        It is the worst, where apps have hosts of their own.
        """
        states: dict[tuple[str, str], str] = {}
        for (place, hook), breaker in self._found.items():
            known = (states.get((place[0], hook), CLOSED), breaker.state)
            states[place[0], hook] = max(known, key=WORST.index)
        return states

    def _enter(self, vendor: Vendor, key: tuple[Place, str], breaker: Breaker) -> None:
        if key in self._probing:
            raise self._open(vendor, breaker)
        try:
            breaker.handle_new_request()
        except OpenedState:
            raise self._open(vendor, breaker) from None

    def _wait_s(self, breaker: Breaker) -> float:
        return 0.0 if breaker.opened_at is None else breaker.opened_at + self._probe_after_s - time.time()

    def _open(self, vendor: Vendor, breaker: Breaker) -> BreakerOpen:
        wait = timedelta(seconds=max(1.0, min(self._wait_s(breaker), self._probe_after_s)))
        return BreakerOpen(f"{vendor.label} did not answer the last calls; trying again soon", retry_after=wait)


def guarding(registry: Registry, breakers: Breakers, password_grants: Collection[str] = ()) -> Around:
    """Returns what surrounds each hook call: its breaker, and the vendor's own word that it allows no more."""

    @asynccontextmanager
    async def around(vendor: str, hook: str, ctx: Context) -> AsyncIterator[None]:
        described = registry.vendor(vendor)
        _refuse_password(described, ctx, password_grants)
        is_code = hook == "handle_callback" and is_redirect(described, ctx.app)
        try:
            # An owner's code lives for minutes, and its token service may be well: it is never left alone.
            async with nullcontext() if is_code else breakers.calling(described, hook, ctx.app):
                yield
        except Uncounted as error:
            raise at_fault(error) from None
        except RateLimited as error:
            meter = METER.get(ctx.http)
            if meter is not None and not isinstance(error, BudgetSpent):
                await meter.limited(error.retry_after)
            raise

    return around


def _refuse_password(vendor: Vendor, ctx: Context, allowed: Collection[str]) -> None:
    kind = vendor.app_credential(ctx.app.type) if ctx.app is not None else None
    asking = kind.label if kind is not None and kind.asks_password else None
    if asking is None and vendor.asks_password:
        asking = f"{vendor.label}'s form"
    if asking is not None and vendor.name not in allowed:
        raise OperatorActionNeeded(password_refusal(vendor.name, asking))


def password_refusal(vendor: str, what: str) -> str:
    return f"{what} holds a person's password, which is off by default; JOINDER_PASSWORD_GRANTS={vendor} allows it"


def _place(vendor: Vendor, app: AppCredentials | None) -> Place:
    """Returns whom a breaker is of: an app's own host that is down must not stop the apps of other accounts."""
    return (vendor.name, *endpoint_hosts(vendor, app))


def _tells(error: BaseException) -> bool:
    """Tells whether the vendor was heard or missed.

    A cancelled call, one refused here and a plugin's bug tell nothing.
    """
    return isinstance(error, VendorError) and not isinstance(error, BudgetSpent | PluginBug)


def _is_outage(error: BaseException) -> bool:
    return isinstance(error, TransientError) and not isinstance(error, RateLimited | DeviceUnreachable | Unexplained)
