"""Grants that come due under workers in trouble, until nothing is left to do, and what became of them."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass

from joinder.clock import now
from joinder.runtime.hub import Hub
from joinder.services.records.opened_grant import open_for_call
from joinder.store.types import Row
from joinder.trouble import StoreTrouble
from reliability.rotations import _RESTING, make_due
from reliability.vendor_process import VendorProcess

AT_ONCE, TICK_S = 4, 0.4
SETTLES_S = 240.0
_WHAT_IS_LEFT = (
    "SELECT d.enrollment_id, d.due_at, d.lease, d.lease_until, d.strikes, g.version, g.intent_id, g.intent_at, "
    'e.health, e.health_reason FROM due d JOIN "grant" g ON g.enrollment_id = d.enrollment_id '
    "JOIN enrollment e ON e.id = d.enrollment_id "
    "WHERE d.kind = 'refresh' AND d.due_at <= :now LIMIT 5"
)


@asynccontextmanager
async def load(hub: Hub) -> AsyncIterator[None]:
    """About ten grants a second come due, whenever the database can be told so."""

    async def press() -> None:
        while True:
            with suppress(StoreTrouble):
                resting = [row[0] for row in await hub.store.rows(_RESTING, {"now": now()})]
                await make_due(hub, random.sample(resting, min(AT_ONCE, len(resting))))
            await asyncio.sleep(TICK_S)

    pressing = asyncio.create_task(press())
    try:
        yield
    finally:
        pressing.cancel()
        await asyncio.gather(pressing, return_exceptions=True)


async def settled(hub: Hub) -> None:
    left: Sequence[Row] = ()
    until = time.monotonic() + SETTLES_S
    while time.monotonic() < until:
        with suppress(StoreTrouble):
            left = await hub.store.rows(_WHAT_IS_LEFT, {"now": now()})
            if not left:
                return
        await asyncio.sleep(TICK_S)
    raise AssertionError(f"still to do at {now()}: {left}")


@dataclass(frozen=True, kw_only=True)
class Told:
    healths: set[str]
    exchanges: int
    reuse_seen: int
    revoked: int
    lost: int

    def __str__(self) -> str:
        return (
            f"{self.exchanges} exchanges, {self.lost} lost, {self.reuse_seen} reused, {self.revoked} revoked, "
            f"health {sorted(self.healths)}"
        )


async def told(hub: Hub, owners: dict[str, str], vendor: VendorProcess, before: dict[str, object]) -> Told:
    state = vendor.state()
    lost = 0
    for enrollment_id, owner in owners.items():
        token = (await open_for_call(hub, enrollment_id)).grant.secrets["refresh_token"]
        lost += token != f"{owner}#{state['by_owner'].get(owner, 0) + 1}"
    healths = {row[0] for row in await hub.store.rows("SELECT DISTINCT health FROM enrollment", {})}
    return Told(
        healths=healths,
        exchanges=sum(state["by_owner"].get(owner, 0) for owner in owners.values()),
        reuse_seen=state["reuse_seen"] - int(str(before["reuse_seen"])),
        revoked=state["families_revoked"] - int(str(before["families_revoked"])),
        lost=lost,
    )
