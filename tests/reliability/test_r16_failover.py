"""A standby takes over under workers that renew: nothing is sent twice that its primary had spent (R16).

Each: 200 grants of a vendor that revokes a grant when a token is used twice, about ten renewals a second, three
workers. The primary crashes; a standby is promoted, and what led to the primary leads to it.
"""

from __future__ import annotations

import asyncio
import re
import signal
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import asyncpg
import pytest
from msgspec import structs

from databases import Databases
from joinder.clock import now
from joinder.demo.postgres import LocalPostgres, NoPostgres, local_postgres
from joinder.runtime.hub import Hub, open_hub
from joinder.services.grants import barrier, invariant
from joinder.services.records import health
from joinder.services.work import leases
from joinder.settings import Settings
from joinder.trouble import StoreTrouble
from reliability.faults import Fault, FaultProxy, faulty
from reliability.loads import Told, load, settled, told
from reliability.processes import Nursery, Worker, nursery, template_registry
from reliability.rotations import _PAUSED, _REFRESH_ONLY, seed, stop
from reliability.standbys import Standby, following
from reliability.vendor_process import VendorProcess, vendor_process

GRANTS, APPS, WORKERS = 200, 10, 3
BEFORE_S = AFTER_S = 5.0
BEHIND_S = 5.0
CAUGHT_UP_S = 60.0
DEADLINE_S = 5.0
DOCS = Path(__file__).parents[2] / "docs/operate.md"
_POINT = "SELECT pg_current_wal_flush_lsn()::text"
_REACHED = "SELECT pg_last_wal_replay_lsn() >= $1::text::pg_lsn"
_LSN = "SELECT pg_last_wal_receive_lsn()::text"
_IS_BEHIND = "SELECT pg_last_wal_receive_lsn() < $1::text::pg_lsn"


@pytest.fixture(scope="module")
def vendor() -> Iterator[VendorProcess]:
    with vendor_process() as made:
        yield made


@pytest.fixture
def primary() -> Iterator[LocalPostgres]:
    exits = ExitStack()
    try:
        started = exits.enter_context(local_postgres(durable=False))
    except NoPostgres as error:
        pytest.skip(str(error))
    yield started
    with suppress(NoPostgres):  # it has crashed, as it should
        exits.close()


@pytest.fixture
def fresh(databases: Databases, tmp_path: Path) -> Settings:
    return databases.fresh("postgresql", tmp_path)


@dataclass(kw_only=True)
class Scene:
    """`ways`: of each worker, and last of the test itself, to whatever server is the primary."""

    primary: LocalPostgres
    settings: Settings
    ways: Sequence[FaultProxy]
    hub: Hub
    nurse: Nursery
    vendor: VendorProcess
    owners: dict[str, str]
    before: dict[str, object]
    apart: bool

    def begin(self) -> list[Worker]:
        return [self.nurse.worker(self.of(number)) for number in range(WORKERS)]

    def of(self, number: int) -> Settings:
        """Of one worker. `apart`: with a journal that no other can read."""
        folder = f"{self.settings.journal_folder}{number if self.apart else ''}"
        return structs.replace(self.settings, database_url=_url(self, number), journal_folder=folder)

    async def takes_over(self, standby: Standby) -> None:
        """The primary crashes; what led to it leads to the standby."""
        await asyncio.to_thread(self.primary.stop, "immediate")
        await standby.promote()
        for way in self.ways:
            way.target = standby.port

    async def told(self) -> Told:
        return await told(self.hub, self.owners, self.vendor, self.before)


def _url(scene: Scene, number: int) -> str:
    return re.sub(r":\d+/", f":{scene.ways[number].port}/", scene.settings.database_url)


@asynccontextmanager
async def played(
    fresh: Settings, primary: LocalPostgres, vendor: VendorProcess, folder: Path, *, apart: bool
) -> AsyncIterator[Scene]:
    vendor.rules(after_s=1.0, jitter_s=0.5, mode="strict")
    settings = structs.replace(
        fresh,
        database_url=primary.url(),
        reroute=vendor.reroute,
        refresh_deadline_s=DEADLINE_S,
        refreshes_per_second=1e6,
        journal_folder=str(folder / "journal"),
    )
    async with AsyncExitStack() as exits:
        ways = [await exits.enter_async_context(faulty(primary.port)) for _ in range(WORKERS + 1)]
        nurse = exits.enter_context(nursery(folder / "processes"))
        mine = re.sub(r":\d+/", f":{ways[-1].port}/", settings.database_url)
        own = structs.replace(settings, database_url=mine)
        hub = await exits.enter_async_context(open_hub(own, template_registry()))
        owners: dict[str, str] = {}
        for app in range(APPS):  # each is worked by one process at a time
            owners |= await seed(hub, [f"{folder.name}-{app}-{number}" for number in range(GRANTS // APPS)])
        await hub.store.apply((_PAUSED, {"now": now()}), (_REFRESH_ONLY, {"never": leases.NEVER}))
        yield Scene(
            primary=primary, settings=settings, ways=ways, hub=hub, nurse=nurse, vendor=vendor,
            owners=owners, before=vendor.state(), apart=apart,
        )  # fmt: skip


@asynccontextmanager
async def one_behind(scene: Scene, link: FaultProxy, standby: Standby) -> AsyncIterator[None]:
    """The standby has all, and then, for five seconds of load, nothing any more."""
    await _caught_up(scene.primary, standby)
    async with load(scene.hub):
        await asyncio.sleep(BEFORE_S)
        await link.inject(Fault("down"))
        await asyncio.sleep(BEHIND_S)
        yield
        await asyncio.sleep(AFTER_S)


async def _caught_up(primary: LocalPostgres, standby: Standby) -> None:
    point = await _asked(primary, _POINT)
    until = time.monotonic() + CAUGHT_UP_S
    while not await _asked(standby, _REACHED, point):
        assert time.monotonic() < until, "the standby does not follow"
        await asyncio.sleep(0.1)


async def _asked(server: LocalPostgres, sql: str, *values: object) -> object:
    connection = await asyncpg.connect(server.url())
    try:
        return await connection.fetchval(sql, *values)
    finally:
        await connection.close()


@pytest.mark.timeout(600)
@pytest.mark.parametrize("apart", [False, True], ids=["one machine", "three machines"])
def test_a_standby_five_seconds_behind_loses_nothing_that_a_journal_has(
    fresh: Settings, primary: LocalPostgres, vendor: VendorProcess, tmp_path: Path, apart: bool
) -> None:
    async def run() -> None:
        async with (
            played(fresh, primary, vendor, tmp_path, apart=apart) as scene,
            faulty(primary.port) as link,
            following(primary, port=link.port, name="late") as standby,
        ):
            workers = scene.begin()
            async with one_behind(scene, link, standby):
                await scene.takes_over(standby)
            await settled(scene.hub)
            await _is_well(scene, workers, "all processes live")

    asyncio.run(run())


@pytest.mark.timeout(600)
def test_what_nobody_vouches_for_waits_behind_the_barrier(
    fresh: Settings, primary: LocalPostgres, vendor: VendorProcess, tmp_path: Path
) -> None:
    """Two machines are gone with their journals, and come back."""

    async def run() -> None:
        async with (
            played(fresh, primary, vendor, tmp_path, apart=True) as scene,
            faulty(primary.port) as link,
            following(primary, port=link.port, name="late") as standby,
        ):
            workers = scene.begin()
            async with one_behind(scene, link, standby):
                pass
            await settled(scene.hub)  # what is under way at a kill is another matter: R4
            for worker in workers[:2]:
                worker.signal(signal.SIGKILL)
            await scene.takes_over(standby)
            await _until(lambda: _waiting(scene.hub), DEADLINE_S + 120)
            held = await scene.told()
            print(f"\nfail-over, two machines gone: {held}, {await _waiting(scene.hub)} behind the barrier")
            assert (held.reuse_seen, held.revoked) == (0, 0)
            workers[:2] = [scene.nurse.worker(scene.of(number)) for number in range(2)]  # with the journals they had
            await _until(lambda: _none_waits(scene.hub), 120)
            await settled(scene.hub)
            await _is_well(scene, workers, "they are back")

    asyncio.run(run())


@pytest.mark.timeout(600)
def test_two_synchronous_standbys_lose_nothing_without_a_journal(
    fresh: Settings, primary: LocalPostgres, vendor: VendorProcess, tmp_path: Path
) -> None:
    """As docs/operate.md sets them up. One is behind; the other, which has all, takes over."""

    async def run() -> None:
        async with played(fresh, primary, vendor, tmp_path, apart=False) as scene, faulty(primary.port) as link:
            scene.settings = structs.replace(scene.settings, journal_folder=None)
            async with (
                following(primary, port=link.port, name="joinder_a") as first,
                following(primary, port=primary.port, name="joinder_b") as second,
            ):
                for sentence in _documented():
                    await _asked(primary, sentence)
                workers = [
                    scene.nurse.worker(structs.replace(scene.settings, database_url=_url(scene, number)))
                    for number in range(WORKERS)
                ]
                async with one_behind(scene, link, first):
                    await asyncio.to_thread(primary.stop, "immediate")
                    assert await _asked(first, _IS_BEHIND, await _asked(second, _LSN))
                    await second.promote()
                    await _asked(second, "ALTER SYSTEM RESET synchronous_standby_names")
                    await _asked(second, "SELECT pg_reload_conf()")
                    for way in scene.ways:
                        way.target = second.port
                await settled(scene.hub)
                await _is_well(scene, workers, "two synchronous standbys, no journal")

    asyncio.run(run())


def _documented() -> list[str]:
    block = re.search(r"```sql\n(.*?synchronous_standby_names.*?)```", DOCS.read_text(), re.S)
    assert block is not None
    return [line for line in block[1].splitlines() if line and not line.startswith("--")]


async def _is_well(scene: Scene, workers: list[Worker], what: str) -> None:
    untrue = [each.text async for each in invariant.broken(scene.hub)]
    outcome = await scene.told()
    codes = await asyncio.to_thread(stop, workers, scene.settings)
    print(f"\nfail-over, {what}: {outcome}")
    assert untrue == []
    assert outcome.healths <= set(health.WELL)
    assert (outcome.reuse_seen, outcome.revoked, outcome.lost) == (0, 0, 0)
    assert outcome.exchanges > 0
    assert codes == [0] * len(codes)


async def _waiting(hub: Hub) -> int:
    with suppress(StoreTrouble):  # it moves
        async with hub.store.read() as session:
            return len(await barrier.waiting(session))
    return 0


async def _none_waits(hub: Hub) -> bool:
    return not await _waiting(hub)


async def _until(holds: Callable[[], object], seconds: float) -> None:
    until = time.monotonic() + seconds
    while not await holds():  # type: ignore[misc]
        assert time.monotonic() < until
        await asyncio.sleep(0.5)
