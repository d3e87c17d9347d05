"""R4: kill -9 at every point of a renewal, a poll, a backfill and a webhook, at vendors that keep, forgive or revoke.

A child process dies at the point; then time passes and another one goes on. A grant is lost only where the vendor had
rotated and our commit had not happened, and only at a vendor without grace. The commit of a new token also gives the
lease back, so there is no point between the two.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Event
from typing import Any

import pytest
from msgspec import structs

from databases import Databases
from joinder.clock import now
from joinder.runtime import worker
from joinder.runtime.hub import Hub, open_hub
from joinder.services.events import webhooks
from joinder.services.readings import backfill
from joinder.services.records import health, opened_grant
from joinder.settings import Settings
from reliability.kill_points import POINTS
from reliability.processes import Nursery, nursery, template_registry
from reliability.rotations import make_due, seed
from reliability.vendor_process import VendorProcess, vendor_process

DATABASES = ("sqlite",)  # PostgreSQL: the points inside its transactions, below
MODES = ("keep", "grace", "strict")
DEADLINE_S = 20.0  # nothing here waits for it
ON_ITS_WAY = "rotated, the answer on its way"
RENEWALS = [*(name for name, point in POINTS.items() if point.job == "refresh"), ON_ITS_WAY]
TRANSACTIONS = [name for name in RENEWALS if name.startswith("inside")]
DAY_S = 86400
_AGE = (
    "UPDATE due SET lease_until = lease_until - 86400 WHERE lease IS NOT NULL",
    "UPDATE delivery SET lease_until = lease_until - 86400 WHERE lease IS NOT NULL",
    'UPDATE "grant" SET intent_at = intent_at - 86400 WHERE intent_at IS NOT NULL',
)
_GRANT = (
    "SELECT e.health, g.version, g.intent_id, g.intent_count, d.lease, "
    "(SELECT max(version) FROM grant_version v WHERE v.enrollment_id = e.id), "
    "(SELECT count(*) FROM event x WHERE x.enrollment_id = e.id AND x.type = 'enrollment.health') "
    'FROM enrollment e JOIN "grant" g ON g.enrollment_id = e.id '
    "JOIN due d ON d.enrollment_id = e.id AND d.kind = 'refresh' WHERE e.id = :id"
)


@pytest.fixture(scope="module")
def vendor() -> Iterator[VendorProcess]:
    with vendor_process() as made:
        yield made


@pytest.fixture(scope="module")
def nurse(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nursery]:
    with nursery(tmp_path_factory.mktemp("processes")) as made:
        yield made


@dataclass(frozen=True)
class Seen:
    """A grant as it lies in the store."""

    health: str
    version: int
    intent_id: str | None
    intent_count: int
    lease: str | None
    remembered: int | None
    health_events: int


class World:
    """Two grants of one account; the victim's renewal is what the killed process works on."""

    def __init__(self, hub: Hub, vendor: VendorProcess, nurse: Nursery, owners: dict[str, str]) -> None:
        self.hub, self.vendor, self._nurse = hub, vendor, nurse
        (self.victim, self.owner), (self.other, _) = owners.items()

    async def grant(self, enrollment_id: str) -> Seen:
        ((row),) = await self.hub.store.rows(_GRANT, {"id": enrollment_id})
        return Seen(*row)

    async def token(self, enrollment_id: str) -> str:
        return (await opened_grant.open_for_call(self.hub, enrollment_id)).grant.secrets["refresh_token"]

    async def count(self, table: str) -> int:
        found: int = (await self.hub.store.rows(f"SELECT count(*) FROM {table}", {}))[0][0]  # noqa: S608
        return found

    async def account_id(self) -> str:
        found: str = (await self.hub.store.rows("SELECT id FROM account", {}))[0][0]
        return found

    async def make_due(self, kind: str) -> None:
        sql = "UPDATE due SET due_at = :past WHERE kind = :kind AND enrollment_id = :id"
        await self.hub.store.apply((sql, {"past": now() - 1, "kind": kind, "id": self.victim}))

    def killed(self, point: str) -> None:
        """A process that works what is due, until it dies at the point."""
        child = self._nurse.worker(self.hub.settings, die_at="" if point == ON_ITS_WAY else point)
        if point == ON_ITS_WAY:
            while not self.vendor.state()["by_owner"].get(self.owner):
                Event().wait(0.02)
            child.signal(signal.SIGKILL)
        assert child.wait(60) == -signal.SIGKILL, self._nurse.log(child)

    async def work(self) -> None:
        """All that is due now, as a worker does it."""
        for job in worker.JOBS:
            for key in await job.due(self.hub):
                await job.work(self.hub, key)

    async def time_passes(self) -> None:
        await self.hub.store.apply(*((sql, {}) for sql in _AGE))

    def calls(self) -> int:
        found: int = self.vendor.state()["calls"].get(self.owner, 0)
        return found


@asynccontextmanager
async def world(
    database: Settings, vendor: VendorProcess, nurse: Nursery, name: str, **rules: Any
) -> AsyncIterator[World]:
    vendor.rules(**rules)
    settings = structs.replace(database, reroute=vendor.reroute, refresh_deadline_s=DEADLINE_S, ballast_mib=0)
    async with open_hub(settings, template_registry()) as hub:
        yield World(hub, vendor, nurse, await seed(hub, [f"{name}-victim", f"{name}-other"]))


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("point", RENEWALS)
async def test_a_renewal(
    fresh_database: Settings, vendor: VendorProcess, nurse: Nursery, point: str, mode: str
) -> None:
    await check_renewal(fresh_database, vendor, nurse, point, mode, "sqlite")


@pytest.mark.parametrize("point", TRANSACTIONS)
def test_a_renewal_on_postgres(
    databases: Databases, tmp_path: Path, vendor: VendorProcess, nurse: Nursery, point: str
) -> None:
    database = databases.fresh("postgresql", tmp_path)
    asyncio.run(check_renewal(database, vendor, nurse, point, "strict", "postgresql"))


async def check_renewal(
    database: Settings, vendor: VendorProcess, nurse: Nursery, point: str, mode: str, kind: str
) -> None:
    name = f"{kind} {mode} {point}".replace(" ", "-").replace(",", "")
    broken = {"status": 503} if point == "before a failure is written down" else {}
    late = {"after_s": 60.0} if point == ON_ITS_WAY else {}
    async with world(database, vendor, nurse, name, mode=mode, **broken, **late) as made:
        if point == "before health and its event":
            await made.hub.store.apply(
                ("UPDATE enrollment SET health = 'degraded' WHERE id = :id", {"id": made.victim})
            )
        await made.make_due("refresh")
        made.killed(point)
        vendor.rules(mode=mode)
        left = await made.grant(made.victim)
        assert_nothing_half(left)
        await assert_others_go_on(made)
        spent = point == ON_ITS_WAY or POINTS[point].spent
        if spent:
            assert (left.version, left.intent_count) == (1, 1), "what the killed process wrote down"
        before = await made.grant(made.victim)
        await made.time_passes()
        await make_due(made.hub, [made.victim])
        await made.work()
        if spent and mode == "strict":
            await assert_lost_and_told_once(made)
        else:
            await assert_kept(made, before)


def assert_nothing_half(left: Seen) -> None:
    """An intent stands with its lease, a new token without either, and with its line in the history."""
    assert (left.intent_id is None) == (left.lease is None)
    assert left.intent_count == (0 if left.intent_id is None else 1)
    assert left.remembered == (left.version if left.version > 1 else left.remembered)
    assert left.health != "lost_in_flight"


async def assert_others_go_on(made: World) -> None:
    """While the dead process's lease still runs."""
    assert await make_due(made.hub, [made.other]) == [1]
    await made.work()
    other = await made.grant(made.other)
    assert (other.version, other.lease) == (2, None)
    assert other.health in health.WELL  # the worker that was killed may have found it unread, and planned a poll


async def assert_kept(made: World, before: Seen) -> None:
    after = await made.grant(made.victim)
    assert (after.health, after.version, after.intent_id, after.lease) == ("connecting", before.version + 1, None, None)
    assert after.intent_count == 0
    assert after.health_events == (1 if before.health == "degraded" else 0)
    assert await make_due(made.hub, [made.victim]) == [1]  # and its new token works
    await made.work()
    assert (await made.grant(made.victim)).version == before.version + 2


async def assert_lost_and_told_once(made: World) -> None:
    """Refused once it is degraded; the second refusal, five minutes later, is the proof."""
    after = await made.grant(made.victim)
    assert (after.health, after.version, after.health_events, after.lease) == ("degraded", 1, 1, None)
    assert made.calls() == 2
    await made.hub.store.apply(
        ('UPDATE "grant" SET refused_at = refused_at - 300 WHERE enrollment_id = :id', {"id": made.victim})
    )
    await make_due(made.hub, [made.victim])
    await made.work()
    for _ in range(3):
        after = await made.grant(made.victim)
        assert (after.health, after.version, after.health_events, after.lease) == ("lost_in_flight", 1, 2, None)
        assert made.calls() == 3
        await made.time_passes()
        await made.work()


async def test_a_poll(fresh_database: Settings, vendor: VendorProcess, nurse: Nursery) -> None:
    async with world(fresh_database, vendor, nurse, "poll") as made:
        await made.make_due("poll")
        made.killed("in the store of a poll")
        assert [await made.count(table) for table in ("interval", "coverage", "live")] == [0, 0, 0]
        await assert_others_go_on(made)
        await made.time_passes()
        await made.work()
        assert await made.count("interval") >= 95
        assert await made.count("live") == 1
        assert (await made.grant(made.victim)).health == "ok"


async def test_a_step_of_a_backfill(fresh_database: Settings, vendor: VendorProcess, nurse: Nursery) -> None:
    async with world(fresh_database, vendor, nurse, "backfill") as made:
        begin = now() // DAY_S * DAY_S - 3 * DAY_S
        job, _ = await backfill.start(
            made.hub, await made.account_id(), "test", made.victim, start=begin, end=begin + 2 * DAY_S
        )
        made.killed("in a backfill's step")
        assert await made.count("interval") == await made.count("coverage") == 0
        await assert_others_go_on(made)
        await made.time_passes()
        for _ in range(10):
            await made.make_due("backfill")
            await made.work()
        progress = await backfill.get(made.hub, job.account_id, job.id)
        assert (progress.job.status, progress.percent) == ("done", 100.0)
        assert await made.count("interval WHERE resolution = '15mins'") == 2 * 96


@pytest.mark.parametrize("point", [name for name, point in POINTS.items() if point.job == "webhook"])
async def test_a_webhook(fresh_database: Settings, vendor: VendorProcess, nurse: Nursery, point: str) -> None:
    earlier = len(vendor.state()["hooks"])
    async with world(fresh_database, vendor, nurse, point) as made:
        await webhooks.create(made.hub, await made.account_id(), "test", url=f"{vendor.origin}/hook", types=())
        made.killed(point)
        await assert_others_go_on(made)
        await made.time_passes()
        await made.work()
        events = {row[0] for row in await made.hub.store.rows("SELECT id FROM event", {})}
        got = vendor.state()["hooks"][earlier:]
        assert len(events) == 2
        assert set(got) == events
        assert (len(got) > len(events)) == (point == "after a webhook was answered")
        assert await made.count("delivery WHERE status = 'delivered'") == await made.count("delivery") == 2
