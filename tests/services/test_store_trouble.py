"""Our own database in trouble: nobody else is blamed for it, nothing counts against a grant, and it passes."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
import pytest
from sqlmodel import select

from joinder.clock import now
from joinder.runtime import due
from joinder.runtime.hub import Hub
from joinder.runtime.worker import working
from joinder.services.calls.budgets import BudgetSpent, Uncounted
from joinder.services.grants import durability, store_watch
from joinder.services.grants.refresh import refresh, refresh_due
from joinder.services.readings import poll, vendor_calls
from joinder.settings import Settings
from joinder.store import readiness
from joinder.store.sqlite import SqliteStore
from joinder.store.tables import Due, Enrollment, StoreState
from joinder.trouble import NotDurable, StoreAway, StoreFull, StoreRefused, StoreTrouble
from services.conftest import Enroll
from services.strict_vendor import StrictVendor
from services.test_worker import make_due, until


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("joinder.runtime.worker.LOOK_EVERY_S", 0.02)
    monkeypatch.setattr(readiness, "EVERY_S", 0.0)
    monkeypatch.setattr(store_watch, "EVERY_S", 0.02)


@asynccontextmanager
async def read_only(hub: Hub, settings: Settings) -> AsyncIterator[None]:
    """Whatever writes fails; what reads does not."""
    if isinstance(hub.store, SqliteStore):
        await on_the_hot_connection(hub, "PRAGMA query_only=ON")
        yield
        await on_the_hot_connection(hub, "PRAGMA query_only=OFF")
        return
    name = settings.database_url.rpartition("/")[2].partition("?")[0]
    await as_admin(settings, f"ALTER DATABASE {name} SET default_transaction_read_only = on")
    yield
    await as_admin(settings, f"ALTER DATABASE {name} RESET default_transaction_read_only")


async def on_the_hot_connection(hub: Hub, statement: str) -> None:
    commits = hub.store._commits  # type: ignore[attr-defined]
    await asyncio.get_running_loop().run_in_executor(
        commits._thread, lambda: commits._opened().execute(statement).fetchall()
    )


async def as_admin(settings: Settings, statement: str) -> None:
    """And every connection is new afterwards."""
    connection = await asyncpg.connect(settings.database_url)
    await connection.execute("SET default_transaction_read_only = off")
    await connection.execute(statement)
    await connection.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
        "WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )
    await connection.close()


async def test_ready_writes_one_row_of_its_own(hub: Hub) -> None:
    for _ in range(3):
        await durability.ready(hub)
    async with hub.store.read() as session:
        names = (await session.execute(select(StoreState.name))).scalars().all()
    assert len([name for name in names if name.startswith("ready-")]) == 1


async def test_many_who_ask_share_one_write(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(readiness, "EVERY_S", 3600.0)
    writes = counted(hub, monkeypatch)
    await asyncio.gather(*(durability.ready(hub) for _ in range(50)))
    await durability.ready(hub)
    assert len(writes) == 1


def counted(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    apply, writes = hub.store.apply, list[int]()

    async def counting(*statements: Any, serialize_on: str = "") -> list[int]:
        writes.append(1)
        return await apply(*statements, serialize_on=serialize_on)

    monkeypatch.setattr(hub.store, "apply", counting)
    return writes


async def test_a_write_that_hangs_is_not_waited_for_and_is_the_only_one(
    hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(readiness, "DEADLINE_S", 0.02)
    apply, goes_on, begun = hub.store.apply, asyncio.Event(), list[int]()

    async def hanging(*statements: Any, serialize_on: str = "") -> list[int]:
        begun.append(1)
        await goes_on.wait()
        return await apply(*statements, serialize_on=serialize_on)

    monkeypatch.setattr(hub.store, "apply", hanging)
    for _ in range(5):
        with pytest.raises(StoreAway, match="TimeoutError"):
            await durability.ready(hub)
    assert begun == [1]
    goes_on.set()

    async def well() -> bool:
        with contextlib.suppress(StoreTrouble):
            await durability.ready(hub)
            return hub.store.outage.trouble is None
        return False

    await until(well)


async def test_a_database_that_may_only_be_read_is_not_ready_and_goes_on_by_itself(
    hub: Hub, settings: Settings, vendor: StrictVendor, enroll: Enroll
) -> None:
    enrollment_id = await enroll("ada")
    async with working(hub):
        async with read_only(hub, settings):
            await until(lambda: fails(durability.ready(hub)))
            with pytest.raises(StoreTrouble):
                await refresh(hub, enrollment_id)
            with pytest.raises(StoreTrouble):
                await poll.poll(hub, enrollment_id)
            assert vendor.exchanges == 0
            assert hub.store.outage.trouble is not None
            assert (await row_of(hub, enrollment_id)).failures == 0

        async def well() -> bool:
            return hub.store.outage.trouble is None

        await until(well)
        assert (await row_of(hub, enrollment_id)).health in ("connecting", "ok")
        await refresh(hub, enrollment_id)
        assert vendor.exchanges >= 1


async def fails(asked: Any) -> bool:
    try:
        await asked
    except StoreTrouble:
        return True
    return False


async def row_of(hub: Hub, enrollment_id: str) -> Enrollment:
    async with hub.store.read() as session:
        row = await session.get(Enrollment, enrollment_id)
    assert row is not None
    return row


async def test_due_work_that_the_store_stopped_stays_due_without_a_strike(
    hub: Hub, vendor: StrictVendor, enroll: Enroll, monkeypatch: pytest.MonkeyPatch
) -> None:
    enrollment_id = await enroll("ada")
    await make_due(hub, "refresh", enrollment_id)
    apply = hub.store.apply

    async def fails(*_: Any, serialize_on: str = "") -> list[int]:
        raise StoreTrouble("LockNotAvailableError")

    monkeypatch.setattr(hub.store, "apply", fails)
    kind = due.Kind("refresh", refresh_due)
    for _ in range(2 * due.STRIKES):
        with pytest.raises(StoreTrouble):
            await due.run_one(hub, kind, due.DueRow(enrollment_id, 0))
    monkeypatch.setattr(hub.store, "apply", apply)
    async with hub.store.read() as session:
        planned = await session.get(Due, ("refresh", enrollment_id))
    assert planned is not None
    assert (planned.strikes, planned.due_at < now()) == (0, True)
    row = await row_of(hub, enrollment_id)
    assert (row.health, row.failures) == ("connecting", 0)


async def test_what_a_statement_is_to_blame_for_is_the_rows_own(hub: Hub, enroll: Enroll) -> None:
    enrollment_id = await enroll("ada")
    await make_due(hub, "poll", enrollment_id)

    async def breaks(hub: Hub, _: str) -> None:
        await hub.store.apply(("INSERT INTO store_state (name, value) VALUES (NULL, '{}')", {}))

    await due.run_one(hub, due.Kind("poll", breaks), due.DueRow(enrollment_id, 0))
    async with hub.store.read() as session:
        planned = await session.get(Due, ("poll", enrollment_id))
    assert planned is not None
    assert planned.strikes == 1
    assert hub.store.outage.trouble is None
    with pytest.raises(StoreRefused):
        await breaks(hub, "")


async def test_a_call_that_nobody_can_count_is_our_fault_not_the_vendors(
    hub: Hub, vendor: StrictVendor, enroll: Enroll, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A plugin sees a refusal, as of any budget; who called the plugin sees what it is."""
    enrollment_id = await enroll("ada")
    seen: list[Exception] = []

    async def uncounted(ctx: Any, grant: Any) -> None:
        try:
            raise Uncounted(StoreAway("ConnectionRefusedError"))
        except BudgetSpent as error:
            seen.append(error)
            raise

    async def call(ctx: Any, grant: Any) -> None:
        async with hub.registry.around(vendor.name, "fetch_site", ctx):
            await uncounted(ctx, grant)

    with pytest.raises(StoreAway):
        await vendor_calls.with_grant(hub, enrollment_id, call)
    assert len(seen) == 1
    assert (await row_of(hub, enrollment_id)).failures == 0


async def test_who_waits_for_a_renewal_that_waits_for_the_store_is_told_so(
    hub: Hub, vendor: StrictVendor, enroll: Enroll, monkeypatch: pytest.MonkeyPatch
) -> None:
    enrollment_id = await enroll("ada")
    apply, goes_on = hub.store.apply, asyncio.Event()

    async def fails(*statements: Any, serialize_on: str = "") -> list[int]:
        if statements[0][0].startswith('UPDATE "grant" SET sealed') and not goes_on.is_set():
            hub.store.outage.begin(StoreFull("SQLITE_FULL"))
            raise StoreFull("SQLITE_FULL")
        return await apply(*statements, serialize_on=serialize_on)

    monkeypatch.setattr(hub.store, "apply", fails)
    renewing = asyncio.create_task(refresh(hub, enrollment_id, wait_s=100.0))
    while hub.store.outage.trouble is None:
        await asyncio.sleep(0.01)
    with pytest.raises(StoreFull):
        await refresh(hub, enrollment_id, wait_s=0.5)
    goes_on.set()
    await renewing
    await hub.drain()
    assert vendor.exchanges == 1


async def test_a_disk_without_its_ballast_is_ours_too(hub: Hub, vendor: StrictVendor, enroll: Enroll) -> None:
    if hub.store.ballast is None:
        pytest.skip("PostgreSQL's disk is not ours to watch")
    enrollment_id = await enroll("ada")
    hub.store.ballast.arm(1024**2)
    hub.store.ballast.free()
    for asked in (durability.ready(hub), refresh(hub, enrollment_id)):
        with pytest.raises(NotDurable, match="disk of the database is full"):
            await asked
    assert (vendor.exchanges, (await row_of(hub, enrollment_id)).failures) == (0, 0)
