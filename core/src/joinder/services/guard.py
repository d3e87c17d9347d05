"""Around every hook call: the breaker of its vendor, and the vendor's own word that it allows no more."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from joinder.errors import RateLimited
from joinder.grants import Context
from joinder.services.breakers import Breakers
from joinder.services.budgets import BudgetSpent
from joinder.vendors.registry import Around, Registry


def guarding(registry: Registry, breakers: Breakers) -> Around:
    @asynccontextmanager
    async def around(vendor: str, hook: str, ctx: Context) -> AsyncIterator[None]:
        try:
            async with breakers.calling(registry.vendor(vendor), hook, ctx.app):
                yield
        except RateLimited as error:
            if ctx.http.meter is not None and not isinstance(error, BudgetSpent):
                await ctx.http.meter.limited(error.retry_after)
            raise

    return around
