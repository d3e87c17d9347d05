"""R3: SIGTERM in the middle of renewals, over and over, at a vendor that revokes a grant when a token is used twice.

Nothing new begins after the signal, what is under way ends and is saved, leases are given back, and the process is gone
within the deadline of an exchange and five seconds. `JOINDER_TEST_SIGTERMS` says how often; 1 000 take a few minutes.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
from pathlib import Path

import httpx
import pytest
from msgspec import structs

from e2e.conftest import World, world
from e2e.serving import serving
from joinder.runtime.hub import STRICT_REFRESHES_AT_ONCE, Hub, open_hub
from joinder.settings import Settings
from reliability.processes import Nursery, nursery, template_registry
from reliability.rotations import make_due, seed
from reliability.vendor_process import VendorProcess, vendor_process

__all__ = ["world"]
SIGTERMS = int(os.environ.get("JOINDER_TEST_SIGTERMS", "10"))  # on each database
GRANTS, DEADLINE_S, GRACE_S = 40, 10.0, 5.0
SLOW = {"before_s": 0.2, "jitter_s": 0.5}
UNDER_WAY = 2 * STRICT_REFRESHES_AT_ONCE  # calls that may reach the vendor between our signal and its handler
_HELD = "SELECT count(*) FROM due WHERE lease IS NOT NULL"
_INTENTS = 'SELECT count(*) FROM "grant" WHERE intent_id IS NOT NULL'
_WELL = "SELECT count(*) FROM enrollment WHERE health = 'ok'"


@pytest.mark.timeout(120 + 5 * SIGTERMS)
async def test_stopped_in_the_middle_of_renewals(fresh_database: Settings, tmp_path: Path) -> None:
    with vendor_process() as vendor, nursery(tmp_path / "processes") as nurse:
        vendor.rules(**SLOW)
        settings = structs.replace(
            fresh_database,
            reroute=vendor.reroute,
            refresh_deadline_s=DEADLINE_S,
            refreshes_per_second=1e6,
            ballast_mib=0,
        )
        async with open_hub(settings, template_registry()) as hub:
            ids = list(await seed(hub, [f"owner-{number}" for number in range(GRANTS)]))
            cut = 0
            for _ in range(SIGTERMS):
                await make_due(hub, ids)
                cut += await stopped_once(hub, vendor, nurse)
            assert await count(hub, _WELL) == GRANTS
        state = vendor.state()
    print(f"\n{SIGTERMS} SIGTERMs, {cut} of them during exchanges, {state['exchanges']} exchanges: 0 lost")
    assert (state["reuse_seen"], state["families_revoked"], state["overlaps"]) == (0, 0, 0)
    assert cut > SIGTERMS // 2


async def stopped_once(hub: Hub, vendor: VendorProcess, nurse: Nursery) -> bool:
    """True when exchanges were under way at the signal."""
    before = vendor.state()["exchanges"]
    worker = nurse.worker(hub.settings)
    while vendor.state()["exchanges"] == before:
        assert not worker.ended(), nurse.log(worker)
        await asyncio.sleep(0.01)
    await asyncio.sleep(random.uniform(0, 0.5))  # noqa: S311 - anywhere in an exchange
    at_signal = vendor.state()
    worker.signal(signal.SIGTERM)
    assert worker.wait(DEADLINE_S + GRACE_S) == 0, nurse.log(worker)
    state = vendor.state()
    assert state["in_flight"] == 0
    assert sum(state["calls"].values()) - sum(at_signal["calls"].values()) <= UNDER_WAY
    assert (await count(hub, _HELD), await count(hub, _INTENTS)) == (0, 0)
    return bool(at_signal["in_flight"])


async def count(hub: Hub, sql: str) -> int:
    found: int = (await hub.store.rows(sql, {}))[0][0]
    return found


@pytest.mark.timeout(120)
async def test_a_server_is_not_ready_before_its_socket_closes(world: World, tmp_path: Path) -> None:
    """And the exchanges that requests wait for end well."""
    ids = await world.enroll(8)
    url = world.settings.public_url
    async with httpx.AsyncClient() as client:
        slow = {"fault": "slow", "path": "/oauth/token", "seconds": 1.0}
        (await client.post(f"{world.vendor_url}/_faults", json=slow)).raise_for_status()
    async with serving(world.settings, tmp_path) as server:
        asked = asyncio.create_task(world.refresh_all(url, ids))
        while world.cloud.state()["refreshes"] == 0:
            await asyncio.sleep(0.01)
        answers: list[int] = []
        probing = asyncio.create_task(probe(url, answers))
        while not answers:
            await asyncio.sleep(0.01)
        assert await asyncio.wait_for(server.stop(), world.settings.refresh_deadline_s + 5 + GRACE_S) == 0
        await probing
        await asked
    assert answers[0] == 200
    assert answers == sorted(answers), "once it is not ready, it stays so"
    assert answers[-1] == 503
    state = world.cloud.state()
    assert (state["reuse_seen"], state["families_revoked"]) == (0, 0)


async def probe(url: str, answers: list[int]) -> None:
    """As a load balancer does, until nobody answers any more."""
    async with httpx.AsyncClient(base_url=url) as client:
        try:
            while True:
                answers.append((await client.get("/health/ready")).status_code)
        except httpx.TransportError:
            return
