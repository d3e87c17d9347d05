"""Around every hook call: the breaker of its vendor, and the vendor's own word that it allows no more."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager, nullcontext

from joinder.errors import OperatorActionNeeded, RateLimited
from joinder.grants import Context
from joinder.http import METER
from joinder.services.calls.breakers import Breakers
from joinder.services.calls.budgets import Uncounted, at_fault
from joinder.services.calls.call_refusals import BudgetSpent
from joinder.vendor import Vendor, is_redirect
from joinder.vendors.registry import Around, Registry


def guarding(registry: Registry, breakers: Breakers, password_grants: Collection[str] = ()) -> Around:
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
