"""R4's window: what a hard kill can cost at a vendor without grace is what lies between an answer and its commit."""

from __future__ import annotations

import asyncio
import os
import statistics

from msgspec import structs

from joinder.runtime.hub import open_hub
from joinder.services.grants import refresh
from joinder.settings import Settings
from reliability.processes import template_registry
from reliability.rotations import seed
from reliability.vendor_process import vendor_process

EXCHANGES = int(os.environ.get("JOINDER_TEST_WINDOWS", "1000"))
GRANTS = 50


async def test_every_exchange_tells_how_long_it_was_at_risk(fresh_database: Settings) -> None:
    """Printed, not asserted: the disk decides. What is asserted is that none goes untold."""
    told_s: list[float] = []
    with vendor_process() as vendor:
        vendor.rules(jitter_s=0.01)
        settings = structs.replace(fresh_database, reroute=vendor.reroute, ballast_mib=0)
        async with open_hub(settings, template_registry()) as hub:
            hub.metrics.made_durable = lambda _, seconds: told_s.append(seconds)  # type: ignore[method-assign]
            ids = await seed(hub, [f"owner-{number}" for number in range(GRANTS)])
            for _ in range(EXCHANGES // GRANTS):
                await asyncio.gather(*(refresh.refresh(hub, one, wait_s=60) for one in ids))
            assert vendor.state()["exchanges"] == len(told_s) == EXCHANGES // GRANTS * GRANTS
            kind = hub.store.dialect
    cuts = statistics.quantiles(told_s, n=100)
    print(f"\n{kind}: answer → durable over {len(told_s)}: p50 {cuts[49] * 1e3:.1f} ms, p99 {cuts[98] * 1e3:.1f} ms")
