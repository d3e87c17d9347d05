"""One try to end a join session: what it costs whoever tries, and that it is finished whoever leaves."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from joinder.errors import VendorError
from joinder.runtime.hub import Hub
from joinder.services.calls.strangers import Guest, SlowDown, Spent, Tier
from joinder.services.join import consents, join_ends
from joinder.services.join.join_ends import JoinRefused
from joinder.store.tables import JoinSession


def attempt(hub: Hub, row: JoinSession, guest: Guest) -> Spent:
    """Spends of the budget before the vendor is called. Raises JoinRefused, the session as it was: it is spent."""
    if row.ended_at is not None:
        return Spent([])
    return spend(hub, hub.strangers.attempts, guest, row.reconnects_id or row.flow_id, row.vendor)


def spend(hub: Hub, tier: Tier, guest: Guest, flow_id: str, vendor: str) -> Spent:
    """Takes one of what strangers may do at this flow and vendor. Raises JoinRefused where there is none."""
    try:
        return tier.spend(guest, flow_id, vendor)
    except SlowDown as error:
        join_ends.count_refusal(hub, vendor, "slow_down")
        raise JoinRefused("slow_down", retry_after_s=error.retry_after_s) from None


async def finish(hub: Hub, row: JoinSession, values: Mapping[str, str], spent: Spent) -> VendorError | None:
    """Finishes in a task of its own, for the owner may leave.

    A stop waits for it, as the vendor's code is spent by then.
    """
    task = asyncio.create_task(_ended_with(hub, row, values, spent))
    hub.joins.add(task)
    task.add_done_callback(hub.joins.discard)
    return await asyncio.shield(task)


async def _ended_with(hub: Hub, row: JoinSession, values: Mapping[str, str], spent: Spent) -> VendorError | None:
    error = await consents.finish(hub, row, values)
    async with hub.store.read() as session:
        found = await session.get(JoinSession, row.token_hash)
    if found is not None and found.enrollment_id is not None:
        spent.give_back()
    return error
