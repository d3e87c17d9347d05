"""R2: a vendor as slow as the deadline and slower. A lease never ends while its exchange is in flight, so that no token
is in use twice at once; what comes too late is lost only where the vendor forgives nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator

import pytest
from msgspec import structs

from joinder.errors import OutcomeUnknown, TransientError
from joinder.runtime.hub import Hub, open_hub
from joinder.services.grants import refresh
from joinder.settings import Settings
from reliability.processes import template_registry
from reliability.rotations import seed
from reliability.vendor_process import VendorProcess, vendor_process

DEADLINE_S = 2.0
AT_ONCE = 3  # hubs that all want the same grant renewed, as processes of their own would


@pytest.fixture(scope="module")
def vendor() -> Iterator[VendorProcess]:
    with vendor_process() as made:
        yield made


async def renewed(hub: Hub, enrollment_id: str) -> str:
    try:
        await refresh.refresh(hub, enrollment_id, newer_than=1, wait_s=60)
    except OutcomeUnknown:
        return "unknown"
    except TransientError:
        return "waits"
    return "renewed"


@pytest.mark.parametrize(
    ("name", "rules", "ends_well"),
    [
        ("half", {"before_s": 0.5 * DEADLINE_S}, True),
        ("nearly late", {"before_s": 0.5 * DEADLINE_S, "after_s": 0.49 * DEADLINE_S}, None),
        ("hardly late", {"before_s": 0.5 * DEADLINE_S, "after_s": 0.51 * DEADLINE_S}, None),
        ("too late", {"before_s": 0.5 * DEADLINE_S, "after_s": DEADLINE_S}, False),
        ("three times", {"before_s": 3 * DEADLINE_S}, False),
        ("trickled", {"trickle_s": 0.001}, True),
        ("trickled too slowly", {"trickle_s": 0.05}, False),
    ],
)
async def test_no_token_is_in_use_twice(
    fresh_database: Settings, vendor: VendorProcess, name: str, rules: dict[str, float], *, ends_well: bool | None
) -> None:
    """`ends_well` None: so close to the deadline, either may be."""
    settings = structs.replace(fresh_database, reroute=vendor.reroute, refresh_deadline_s=DEADLINE_S, ballast_mib=0)
    owner = f"{fresh_database.database_url.partition(':')[0]} {name}"
    before = vendor.state()
    vendor.rules(**rules)
    async with contextlib.AsyncExitStack() as hubs:
        opened = [await hubs.enter_async_context(open_hub(settings, template_registry())) for _ in range(AT_ONCE)]
        (enrollment_id,) = await seed(opened[0], [owner])
        outcomes = await asyncio.gather(*(renewed(hub, enrollment_id) for hub in opened))
        version = (await opened[0].store.rows('SELECT version FROM "grant"', {}))[0][0]
    seen = vendor.state()
    assert (seen["overlaps"], seen["reuse_seen"]) == (before["overlaps"], before["reuse_seen"])
    assert seen["calls"][owner] == 1
    well = version == 2
    assert set(outcomes) == ({"renewed"} if well else {"unknown", "waits"})
    assert ends_well in (well, None)
