"""SQLite's file moved, replaced, without its log, read-only or locked under a hub at work: noticed, told, no vendor is
asked for anything meanwhile, and every token is the vendor's newest in the end (R16)."""

from __future__ import annotations

import asyncio
import logging
import os
import sqlite3
import subprocess
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from litestar.testing import AsyncTestClient
from msgspec import structs

from joinder import Readings, ReadingsQuery, Site, hookimpl
from joinder.api.app import create_app
from joinder.clock import now
from joinder.runtime import worker
from joinder.runtime.hub import Hub, open_hub
from joinder.services.grants import durability
from joinder.services.grants.refresh import refresh
from joinder.services.operations import doctor
from joinder.services.work.jobs import Job
from joinder.settings import Settings
from joinder.store import copies, pragmas
from joinder.trouble import StoreTrouble
from joinder.vendors.registry import Registry
from reliability.test_r16_database_faults import Fleet, until
from services.strict_vendor import StrictVendor

DATABASES = ("sqlite",)
OWNERS = 3
LOOKS = 5
Fault = Callable[[Hub, Path], Any]  # an async context manager: wrong inside, right again behind


@pytest.fixture
def settings(fresh_database: Settings) -> Settings:
    return structs.replace(fresh_database, refresh_deadline_s=20.0, refreshes_per_second=1000.0, ballast_mib=0)


@pytest.fixture
def path(settings: Settings) -> Path:
    return Path(settings.database_url.removeprefix("sqlite:///"))


class Counting(StrictVendor):
    """Counts what it is asked beside tokens."""

    reads = 0

    @hookimpl
    async def fetch_site(self, site_id: str) -> Site:
        self.reads += 1
        return Site(vendor_id=site_id, name=site_id)

    @hookimpl
    async def fetch_readings(self, query: ReadingsQuery) -> Readings:
        self.reads += 1
        return Readings()


@pytest.fixture
def vendor() -> Counting:
    return Counting()


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Seconds of patience with a lock, shortened."""
    monkeypatch.setattr(worker, "LOOK_EVERY_S", 0.05)
    monkeypatch.setattr(pragmas, "WAIT_MS", 300)


@pytest.fixture
async def fleet(hub: Hub, vendor: StrictVendor) -> Fleet:
    made = Fleet(hub, vendor)
    await made.grow(apps=OWNERS, of_each=1)
    return made


@asynccontextmanager
async def moved(hub: Hub, path: Path) -> AsyncIterator[None]:
    elsewhere = path.with_name("elsewhere")
    path.rename(elsewhere)
    yield
    elsewhere.rename(path)


@asynccontextmanager
async def folder_moved(hub: Hub, path: Path) -> AsyncIterator[None]:
    elsewhere = path.parent.with_name("elsewhere")
    path.parent.rename(elsewhere)
    yield
    elsewhere.rename(path.parent)


@asynccontextmanager
async def replaced(hub: Hub, path: Path) -> AsyncIterator[None]:
    """By a copy of an earlier moment, until the former is back."""
    copy, former = path.with_name("copy"), path.with_name("former")
    copies.copy(path, copy)
    path.rename(former)
    copy.rename(path)
    yield
    former.rename(path)


@asynccontextmanager
async def log_replaced(hub: Hub, path: Path) -> AsyncIterator[None]:
    wal, former = path.with_name(f"{path.name}-wal"), path.with_name("former")
    wal.rename(former)
    wal.write_bytes(b"somebody's")
    yield
    former.rename(wal)


@asynccontextmanager
async def query_only(hub: Hub, path: Path) -> AsyncIterator[None]:
    """What a disk that became read-only is to the connection that commits."""
    commits = hub.store._commits  # type: ignore[attr-defined]

    async def turned(to: str) -> None:
        run = asyncio.get_running_loop().run_in_executor
        await run(commits._thread, lambda: commits._opened().execute(f"PRAGMA query_only={to}"))

    await turned("ON")
    yield
    await turned("OFF")


@asynccontextmanager
async def immutable(hub: Hub, path: Path) -> AsyncIterator[None]:
    """Read-only for root, too. Who is not root is kept out by the mode alone."""
    as_root = os.geteuid() == 0
    path.chmod(0o400)
    if as_root and await asyncio.to_thread(attribute, "+i", path):
        pytest.skip("this file system has no immutable files")
    try:
        yield
    finally:
        if as_root:
            await asyncio.to_thread(attribute, "-i", path)
        path.chmod(0o600)


def attribute(change: str, path: Path) -> int:
    return subprocess.run(["chattr", change, str(path)], capture_output=True).returncode


@asynccontextmanager
async def locked(hub: Hub, path: Path) -> AsyncIterator[None]:
    """By another program, for longer than a commit waits for it."""
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    yield
    other.execute("ROLLBACK")
    other.close()


FAULTS = {
    moved: "is gone",
    folder_moved: "is gone",
    replaced: "was replaced",
    log_replaced: "was deleted or replaced",
    query_only: "SQLITE_READONLY",
    immutable: "cannot be written",
    locked: "SQLITE_BUSY",
}


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)
async def test_nothing_is_renewed_meanwhile_and_everything_goes_on_by_itself(
    hub: Hub, vendor: Counting, fleet: Fleet, path: Path, fault: Fault
) -> None:
    due_at = now() + 2
    await due_from(hub, due_at)
    async with AsyncTestClient(create_app(hub)) as client, worker.working(hub):
        async with fault(hub, path):
            await until(lambda: now() > due_at)
            if fault is locked:  # a renewal waits for the lock
                await until(lambda: durability.trouble(hub) is not None)
            else:
                with pytest.raises(StoreTrouble):
                    await refresh(hub, next(iter(fleet.ids.values())))
            assert FAULTS[fault] in str(durability.trouble(hub))
            answer = await client.get("/health/ready")
            assert (answer.status_code, FAULTS[fault] in answer.json()["detail"]) == (503, True)
            (found,) = await doctor.database_file(hub)
            assert (found.ok, FAULTS[fault] in found.text) == (False, True)
            await asyncio.sleep(LOOKS * worker.LOOK_EVERY_S)
            assert vendor.exchanges == 0
            assert vendor.reads == 0 or fault is immutable  # then what is read can still be saved
        await until(lambda: durability.trouble(hub) is None)
        while (await client.get("/health/ready")).status_code != 200:  # what was found within a second is told again
            await asyncio.sleep(0.1)
        assert [found.ok for found in await doctor.database_file(hub)] == [True]
        await fleet.all_due()  # those that were asked for meanwhile wait for a minute
        await until(lambda: min(vendor.current.values()) >= 2)
        await until(lambda: not hub.refreshes and vendor.reads >= OWNERS)
    await fleet.assert_nothing_lost()


async def due_from(hub: Hub, due_at: int) -> None:
    sql = "UPDATE due SET due_at = :due_at WHERE kind IN ('refresh', 'poll')"
    await hub.store.apply((sql, {"due_at": due_at}))


async def test_the_look_begins_nothing_and_tells_once(
    hub: Hub, path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    looks = 0

    async def due(_: Hub) -> list[str]:
        nonlocal looks
        looks += 1
        return []

    async def work(*_: object) -> None:
        raise AssertionError

    monkeypatch.setattr(worker, "JOBS", (Job("counted", due, work),))
    with caplog.at_level(logging.WARNING, "joinder.store"):
        async with worker.working(hub):
            await until(lambda: looks > 0)
            async with moved(hub, path):
                await until(lambda: bool(caplog.records))  # by the look alone: nobody reads or writes
                before = looks
                await asyncio.sleep(LOOKS * worker.LOOK_EVERY_S)
                assert looks == before
            await until(lambda: looks > before)
    assert [record.levelname for record in caplog.records] == ["CRITICAL", "WARNING"]


@pytest.mark.parametrize("fault", [moved, folder_moved, replaced, log_replaced, query_only, locked])
async def test_a_token_in_flight_is_saved_when_all_is_right_again(
    hub: Hub, vendor: StrictVendor, fleet: Fleet, path: Path, fault: Fault
) -> None:
    """The vendor has rotated, and what it gave cannot be saved."""
    durability.arm(hub)
    async with AsyncExitStack() as wrong:

        async def break_it(_: str) -> None:
            vendor.after = None
            await wrong.enter_async_context(fault(hub, path))

        vendor.after = break_it
        renewing = asyncio.create_task(refresh(hub, next(iter(fleet.ids.values())), wait_s=90.0))
        await until(lambda: vendor.after is None and FAULTS[fault] in str(durability.trouble(hub)))
        assert not renewing.done()
    await renewing
    assert (vendor.exchanges, max(vendor.current.values())) == (1, 2)
    await fleet.assert_nothing_lost()


@pytest.mark.parametrize("suffixes", [("-wal",), ("-shm",), ("-wal", "-shm")])
async def test_a_deleted_log_is_back_within_a_look_and_costs_nothing(
    hub: Hub, vendor: StrictVendor, fleet: Fleet, path: Path, suffixes: tuple[str, ...]
) -> None:
    files = [path.with_name(path.name + suffix) for suffix in suffixes]

    async def delete(_: str) -> None:
        for file in files:
            file.unlink(missing_ok=True)

    async with worker.working(hub):
        await delete("")
        await until(lambda: all(file.exists() for file in files))  # by the look alone: nobody writes
        vendor.after = delete  # after each exchange, before its commit
        await fleet.all_due()
        await until(lambda: min(vendor.current.values()) >= 2)
        await until(lambda: not hub.refreshes)
        vendor.after = None
    await fleet.assert_nothing_lost()
    assert durability.trouble(hub) is None
    await hub.store.close()
    with contextmanager(connected)(path) as alone:
        assert alone.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        assert alone.execute('SELECT count(*) FROM "grant" WHERE version = 2').fetchone() == (OWNERS,)


def connected(path: Path) -> Any:
    connection = sqlite3.connect(path)
    try:
        yield connection
    finally:
        connection.close()


async def test_a_log_that_cannot_be_put_back_is_saved_by_a_restart(
    settings: Settings, registry: Registry, vendor: StrictVendor, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk without hard links. What was committed before is whole; nothing was renewed after."""

    def impossible(*_: object, **__: object) -> None:
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(os, "link", impossible)
    async with open_hub(settings, registry) as hub:
        fleet = Fleet(hub, vendor)
        await fleet.grow(apps=OWNERS, of_each=1)
        async with worker.working(hub):
            await fleet.all_due()
            await until(lambda: min(vendor.current.values()) >= 2)
            await until(lambda: not hub.refreshes)
            path.with_name(f"{path.name}-wal").unlink()
            await until(lambda: durability.trouble(hub) is not None)
            with pytest.raises(StoreTrouble, match="deleted or replaced"):
                await refresh(hub, next(iter(fleet.ids.values())))
            assert vendor.exchanges == OWNERS
    async with open_hub(settings, registry) as hub:
        fleet.hub = hub
        await fleet.assert_nothing_lost()
        for enrollment_id in fleet.ids.values():
            await refresh(hub, enrollment_id)
        await fleet.assert_nothing_lost()


async def test_two_hubs_on_one_file_outlive_a_deleted_log_together(
    hub: Hub, fleet: Fleet, vendor: StrictVendor, settings: Settings, registry: Registry, path: Path
) -> None:
    async with open_hub(settings, registry) as other, worker.working(hub), worker.working(other):
        for round_number in range(2, 6):
            with suppress(FileNotFoundError):
                path.with_name(f"{path.name}-wal").unlink()
            await fleet.all_due()
            await until(lambda wanted=round_number: min(vendor.current.values()) >= wanted)  # type: ignore[misc]
            await until(lambda: not hub.refreshes and not other.refreshes)
    await fleet.assert_nothing_lost()
