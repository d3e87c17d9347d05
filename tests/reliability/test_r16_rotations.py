"""R1 in trouble: 20 000 rotations while something befalls the database every few seconds (R16).

Eight workers, 500 grants, the vendor of R1 that revokes a grant when a token of it is used twice. Another number:
JOINDER_TEST_ROTATIONS.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import asyncpg
import pytest
from msgspec import structs

from databases import Databases
from joinder.clock import now
from joinder.demo.postgres import LocalPostgres
from joinder.runtime.hub import Hub, open_hub
from joinder.services.grants import invariant
from joinder.services.records import health
from joinder.settings import Settings
from joinder.trouble import StoreTrouble
from reliability.loads import settled, told
from reliability.outages import Outage, Scene, dropped, frozen, locked, read_only, stopped
from reliability.processes import nursery, template_registry
from reliability.rotations import (
    _PAUSED,
    _REFRESH_ONLY,
    _RESTING,
    GRANTS,
    PROCESSES,
    SHARE,
    TICK_S,
    hurried,
    leases,
    make_due,
    seed,
    stop,
)
from reliability.test_r01_zero_lost_grants import ASKED
from reliability.vendor_process import VendorProcess, vendor_process

ROTATIONS = int(ASKED or 20_000)
EVERY_S, LASTS_S = (2.0, 6.0), (0.2, 4.0)
LIMIT_S = 1200 + ROTATIONS // 10


@pytest.mark.timeout(LIMIT_S)
def test_on_sqlite(databases: Databases, tmp_path: Path) -> None:
    fresh = databases.fresh("sqlite", tmp_path)
    asyncio.run(_rotated(Scene(settings=fresh), (locked, frozen), tmp_path))


@pytest.mark.timeout(LIMIT_S)
def test_on_postgres(databases: Databases, server: LocalPostgres, tmp_path: Path) -> None:
    fresh = databases.fresh("postgresql", tmp_path)
    faults = (locked, frozen, stopped, read_only, dropped)
    asyncio.run(_on_server(fresh, server, faults, tmp_path))


async def _on_server(fresh: Settings, server: LocalPostgres, faults: Sequence[Outage], folder: Path) -> None:
    name = f"rotations_{time.monotonic_ns()}"
    connection = await asyncpg.connect(server.url())
    await connection.execute(f"CREATE DATABASE {name}")
    await connection.close()
    settings = structs.replace(fresh, database_url=server.url(name))
    await _rotated(Scene(settings=settings, server=server), faults, folder)


async def _rotated(scene: Scene, faults: Sequence[Outage], folder: Path) -> None:
    with vendor_process() as vendor, nursery(folder / "processes") as nurse:
        vendor.rules(jitter_s=0.02, mode="strict")
        scene.settings = hurried(scene.settings, vendor)
        async with open_hub(scene.settings, template_registry()) as hub:
            owners = await seed(hub, [f"{folder.name}-{number}" for number in range(GRANTS)])
            await hub.store.apply((_PAUSED, {"now": now()}), (_REFRESH_ONLY, {"never": leases.NEVER}))
            before, began = vendor.state(), time.monotonic()
            scene.workers = [nurse.worker(scene.settings) for _ in range(PROCESSES)]
            befell = await _let_time_pass(hub, scene, faults, vendor)
            await settled(hub)
            took = time.monotonic() - began
            untrue = [each.text async for each in invariant.broken(hub)]
            outcome = await told(hub, owners, vendor, before)
            codes = await asyncio.to_thread(stop, scene.workers, scene.settings)
    print(f"\n{scene.settings.database_url.partition(':')[0]}: {outcome}, in {took:.0f} s; {dict(befell)}")
    assert untrue == []
    assert outcome.healths <= set(health.WELL)
    assert (outcome.reuse_seen, outcome.revoked, outcome.lost) == (0, 0, 0)
    assert outcome.exchanges >= ROTATIONS
    assert codes == [0] * PROCESSES


async def _let_time_pass(hub: Hub, scene: Scene, faults: Sequence[Outage], vendor: VendorProcess) -> Counter[str]:
    """What befell, how often."""
    befell: Counter[str] = Counter()
    is_over = asyncio.Event()

    async def trouble() -> None:
        while not is_over.is_set():
            await asyncio.sleep(random.uniform(*EVERY_S))  # noqa: S311 - jitter
            fault = random.choice(faults)  # noqa: S311
            async with fault(scene):
                await asyncio.sleep(random.uniform(*LASTS_S))  # noqa: S311
            befell[fault.__name__] += 1

    troubling = asyncio.create_task(trouble())
    while not troubling.done() and vendor.state()["exchanges"] < ROTATIONS:
        with suppress(StoreTrouble):
            resting = [row[0] for row in await hub.store.rows(_RESTING, {"now": now()})]
            await make_due(hub, [row for row in resting if random.random() < SHARE])  # noqa: S311
        await asyncio.sleep(TICK_S)
    is_over.set()
    await troubling  # which ends what it began
    return befell
