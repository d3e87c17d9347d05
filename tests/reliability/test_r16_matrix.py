"""A database in trouble under workers that renew: no token lost, none used twice, all well by themselves (R16).

Each cell: 200 grants of a vendor that revokes a grant when a token is used twice and answers a second after it has
rotated; one worker or three; a fault for so many seconds (a lease is 15 s here), then right again. `make proofs` runs
all of them; a few run with the other tests.
"""

from __future__ import annotations

import asyncio
import itertools
import signal
import time
from collections import Counter
from collections.abc import AsyncIterator, Collection, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import asyncpg
import pytest
from msgspec import structs

from databases import Databases
from joinder.clock import now
from joinder.demo.postgres import LocalPostgres
from joinder.runtime.hub import Hub, open_hub
from joinder.services.grants import durability, invariant
from joinder.services.records import health
from joinder.settings import Settings
from joinder.store.engine import parsed_url
from joinder.trouble import StoreTrouble
from reliability.faults import faulty
from reliability.loads import load, settled, told
from reliability.outages import Outage, Scene, cut, frozen, locked, moved, read_only, stopped, swallowed
from reliability.processes import Nursery, nursery, template_registry
from reliability.rotations import _PAUSED, _REFRESH_ONLY, leases, seed, stop
from reliability.vendor_process import VendorProcess, vendor_process

GRANTS = 200
BEFORE_S = AFTER_S = 3.0
SHORT, LONG = 3, 45  # seconds; a lease lives 15
KILLED = ((20, 3), (60, 3), (20, 1))  # in the middle of so many seconds, so many workers


@dataclass(frozen=True, kw_only=True)
class Cell:
    fault: Outage
    seconds: tuple[int, ...]  # more than one: again, a moment later
    workers: int
    kills: bool = False  # every process, in the middle of it
    apart: bool = False  # each worker as on a machine of its own: nobody reads the others' journals

    def __str__(self) -> str:
        extra = [word for word, is_so in (("killed", self.kills), ("apart", self.apart)) if is_so]
        seconds = "+".join(map(str, self.seconds))
        return "-".join([self.fault.__name__, f"{seconds}s", f"{self.workers}w", *extra])


def _cells(faults: tuple[Outage, ...]) -> list[Cell]:
    made = [
        Cell(fault=fault, seconds=(seconds,), workers=workers)
        for fault, (seconds, workers) in itertools.product(faults, ((SHORT, 3), (LONG, 1), (LONG, 3)))
    ]
    return [
        *made,
        *(Cell(fault=faults[0], seconds=(seconds,), workers=3) for seconds in (60, 180)),
        Cell(fault=faults[0], seconds=(20, 20), workers=3),
        *(Cell(fault=faults[0], seconds=(seconds,), workers=workers, kills=True) for seconds, workers in KILLED),
        Cell(fault=frozen, seconds=(120,), workers=1),
    ]


FAULTS = (stopped, locked, read_only, cut, swallowed, frozen)
POSTGRES = [
    *_cells(FAULTS),
    *(Cell(fault=fault, seconds=(20,), workers=3, apart=True) for fault in FAULTS),
]
SQLITE = _cells((locked, moved, frozen))
IN_CI = {str(Cell(fault=locked, seconds=(SHORT,), workers=3))}


@pytest.fixture(scope="module")
def vendor() -> Iterator[VendorProcess]:
    with vendor_process() as made:
        yield made


def _marked(cells: list[Cell], in_ci: Collection[str] = ()) -> list[object]:
    return [pytest.param(cell, id=str(cell), marks=[] if str(cell) in in_ci else pytest.mark.proof) for cell in cells]


@pytest.mark.timeout(900)
@pytest.mark.parametrize("cell", _marked(SQLITE, IN_CI))
def test_on_sqlite(databases: Databases, tmp_path: Path, vendor: VendorProcess, cell: Cell) -> None:
    database = databases.fresh("sqlite", tmp_path)
    asyncio.run(_lived_through(cell, Scene(settings=database), vendor, tmp_path))


@pytest.mark.timeout(900)
@pytest.mark.parametrize("cell", _marked(POSTGRES))
def test_on_postgres(
    databases: Databases, server: LocalPostgres, tmp_path: Path, vendor: VendorProcess, cell: Cell
) -> None:
    database = databases.fresh("postgresql", tmp_path)
    asyncio.run(_on_server(cell, database, server, vendor, tmp_path))


async def _on_server(
    cell: Cell, database: Settings, server: LocalPostgres, vendor: VendorProcess, folder: Path
) -> None:
    name = f"matrix_{time.monotonic_ns()}"
    connection = await asyncpg.connect(server.url())
    await connection.execute(f"CREATE DATABASE {name}")
    await connection.close()
    async with AsyncExitStack() as exits:
        proxies = [await exits.enter_async_context(faulty(server.port)) for _ in range(cell.workers)]
        settings = structs.replace(database, database_url=server.url(name))
        await _lived_through(cell, Scene(settings=settings, server=server, proxies=proxies), vendor, folder)


async def _lived_through(cell: Cell, scene: Scene, vendor: VendorProcess, folder: Path) -> None:
    prefix = f"{folder.name}-{cell}"
    vendor.rules(after_s=1.0, jitter_s=0.5, mode="strict")
    scene.settings = structs.replace(
        scene.settings, reroute=vendor.reroute, refresh_deadline_s=5.0, refreshes_per_second=1e6, ballast_mib=0
    )
    with nursery(folder / "processes") as nurse:
        async with open_hub(scene.settings, template_registry()) as hub:
            owners = await seed(hub, [f"{prefix}-{number}" for number in range(GRANTS)])
            await hub.store.apply((_PAUSED, {"now": now()}), (_REFRESH_ONLY, {"never": leases.NEVER}))
            before = vendor.state()
            scene.workers = _begun(cell, scene, nurse)
            async with load(hub):
                await asyncio.sleep(BEFORE_S)
                async with _asked_each_second(hub) as answers:
                    for seconds in cell.seconds:
                        await _through(cell, scene, nurse, seconds)
                        await asyncio.sleep(AFTER_S)
            healed_at = time.monotonic() - AFTER_S
            await settled(hub)
            settled_s = time.monotonic() - healed_at
            untrue = [each.text async for each in invariant.broken(hub)]
            codes = await asyncio.to_thread(stop, scene.workers, scene.settings)  # through proxies of this loop
            outcome = await told(hub, owners, vendor, before)
    kind = scene.settings.database_url.partition(":")[0]
    lines = max(_a_minute(nurse.log(worker)) for worker in scene.workers)
    print(
        f"\n{kind} {cell}: {outcome}, nothing left to do {settled_s:.0f} s after it; ready {dict(answers)}, "
        f"at most {lines} log lines a minute"
    )
    assert untrue == []
    assert outcome.healths <= set(health.WELL)
    assert (outcome.reuse_seen, outcome.revoked, outcome.lost) == (0, 0, 0)
    assert outcome.exchanges > 0
    assert codes == [0] * len(codes)


def _begun(cell: Cell, scene: Scene, nurse: Nursery) -> list:  # type: ignore[type-arg]
    return [nurse.worker(_settings_of(cell, scene, number)) for number in range(cell.workers)]


def _settings_of(cell: Cell, scene: Scene, number: int) -> Settings:
    url, journal = scene.settings.database_url, scene.settings.journal_folder
    if scene.proxies:
        parsed = parsed_url(url).set(port=scene.proxies[number].port)
        url = parsed.render_as_string(hide_password=False)
    if cell.apart:
        journal = f"{journal}-{number}"
    return structs.replace(scene.settings, database_url=url, journal_folder=journal)


async def _through(cell: Cell, scene: Scene, nurse: Nursery, seconds: int) -> None:
    async with cell.fault(scene):
        await asyncio.sleep(seconds / 2)
        if cell.kills:
            for worker in scene.workers:
                worker.signal(signal.SIGKILL)
        await asyncio.sleep(seconds / 2)
    if cell.kills:
        scene.workers = _begun(cell, scene, nurse)


@asynccontextmanager
async def _asked_each_second(hub: Hub) -> AsyncIterator[Counter[str]]:
    """Whether the test's own process, which goes through no proxy, is ready: how often it was, and why not."""
    answers: Counter[str] = Counter()

    async def ask() -> None:
        while True:
            try:
                await durability.ready(hub)
                answers["200"] += 1
            except StoreTrouble as trouble:
                answers[f"503 {type(trouble).__name__}"] += 1
            await asyncio.sleep(1.0)

    asking = asyncio.create_task(ask())
    try:
        yield answers
    finally:
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)


def _a_minute(log: str) -> int:
    """The most lines that one minute has, of those that begin an entry."""
    begun = [datetime.fromisoformat(line[:27]) for line in log.splitlines() if line[:2] == "20"]
    return max((sum(timedelta() <= other - one < timedelta(minutes=1) for other in begun) for one in begun), default=0)
