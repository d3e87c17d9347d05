"""A database that restarts, locks, drops connections or keeps what it did to itself: no token lost, none used twice,
and work goes on without a restart of ours (R16)."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import asyncpg
import pytest
from msgspec import structs

from joinder.demo.postgres import LocalPostgres
from joinder.runtime import work_queue as engine
from joinder.runtime import worker
from joinder.runtime.hub import Hub, open_hub
from joinder.services.grants.refresh import refresh
from joinder.services.join import stored_consents, vendor_credentials
from joinder.services.join.stored_consents import Origin
from joinder.services.records import accounts, health
from joinder.settings import Settings
from joinder.store import postgres, pragmas
from joinder.store.key_file import create_key_file
from joinder.store.postgres import PostgresStore
from joinder.store.sqlite import SqliteStore
from joinder.trouble import StoreTrouble
from joinder.vendors.registry import Registry
from services.conftest import Enroll
from services.strict_vendor import StrictVendor
from services.test_refresh import token_of

AWAY_S = 1.0
GIVES_UP_S = 90.0
_ALL_DUE = "UPDATE due SET due_at = 0 WHERE kind IN ('refresh', 'poll')"


@pytest.fixture
def settings(fresh_database: Settings) -> Settings:
    return structs.replace(fresh_database, refresh_deadline_s=20.0, refreshes_per_second=1000.0)


class Fleet:
    """Owners in several apps, of a vendor that ends a grant whose token is used twice."""

    def __init__(self, hub: Hub, vendor: StrictVendor) -> None:
        self.hub = hub
        self.vendor = vendor
        self.ids: dict[str, str] = {}

    async def grow(self, apps: int, of_each: int) -> None:
        account_id = (await accounts.create_account(self.hub, "test")).id
        for app in range(apps):
            given = {"vendor": "strict", "type": "app", "clientID": "an-id", "clientSecret": "a-secret"}
            made = await vendor_credentials.create(self.hub, account_id, "test", name=None, credentials=given)
            async with self.hub.store.write() as session:
                for number in range(of_each):
                    owner = f"owner-{app}-{number}"
                    consent = self.vendor.consent(owner)
                    row = await stored_consents.store(
                        self.hub, session, account_id, consent, Origin(vendor="strict", credentials_id=made.id)
                    )
                    self.ids[owner] = row.id

    async def all_due(self) -> None:
        await self.hub.store.apply((_ALL_DUE, {}))

    async def assert_nothing_lost(self) -> None:
        """What is stored is what the vendor gave last."""
        assert (self.vendor.reuse_seen, self.vendor.overlaps, self.vendor.revoked) == (0, 0, set())
        for owner, enrollment_id in self.ids.items():
            assert await token_of(self.hub, enrollment_id) == f"{owner}#{self.vendor.current[owner]}"


@asynccontextmanager
async def hub_on(url: str, key_file: str, vendor: StrictVendor) -> AsyncIterator[Hub]:
    registry = Registry()
    registry.add("strict", vendor)
    settings = Settings(
        database_url=url, key_file=key_file, refresh_deadline_s=5.0, refreshes_per_second=1000.0, ballast_mib=0
    )
    async with open_hub(settings, registry) as hub:
        yield hub


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(GIVES_UP_S):
        while not condition():
            await asyncio.sleep(0.02)


async def restart(server: LocalPostgres, away_s: float = AWAY_S) -> None:
    await asyncio.to_thread(server.stop, "immediate")
    await asyncio.sleep(away_s)
    await asyncio.to_thread(server.start)


async def fresh_url(server: LocalPostgres, name: str) -> str:
    connection = await asyncpg.connect(server.url())
    await connection.execute(f"CREATE DATABASE {name}")
    await connection.close()
    return server.url(name)


@pytest.mark.timeout(240)
async def test_a_restart_under_work_loses_nothing_and_two_engines_share_again(
    server: LocalPostgres, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker, "LOOK_EVERY_S", 0.1)
    monkeypatch.setattr(engine, "HEARTBEAT", timedelta(seconds=4))  # what a job lost in the crash waits for
    create_key_file(tmp_path / "key")
    one, two = StrictVendor(latency_s=0.1), StrictVendor(latency_s=0.1)
    two.current, two.revoked, two.in_flight = one.current, one.revoked, one.in_flight
    url, key = await fresh_url(server, "restarted"), str(tmp_path / "key")
    async with hub_on(url, key, one) as hub, hub_on(url, key, two) as other:
        fleet = Fleet(hub, one)
        await fleet.grow(apps=60, of_each=1)  # more batches than one process takes at once
        async with worker.working(hub), worker.working(other):
            await fleet.all_due()
            await until(lambda: one.exchanges + two.exchanges >= 10)
            await restart(server)
            await until(lambda: min(one.current.values()) >= 2)
            shared = False
            while not shared:  # the engines are back, and both get something to do
                before = (one.exchanges, two.exchanges)
                wanted = min(one.current.values()) + 1
                await until(lambda: not hub.refreshes and not other.refreshes)
                await everything_due_again(fleet)
                await until(lambda wanted=wanted: min(one.current.values()) >= wanted)  # type: ignore[misc]
                shared = one.exchanges > before[0] and two.exchanges > before[1]
        await hub.drain()
        await other.drain()
        await fleet.assert_nothing_lost()
        assert two.reuse_seen == two.overlaps == 0
        assert {row[0] for row in await hub.store.rows("SELECT health FROM enrollment", {})} <= set(health.WELL)


LISTENING = "SELECT pid FROM pg_stat_activity WHERE query ILIKE 'listen%' AND datname = current_database()"


async def test_an_engine_whose_listening_connection_died_listens_again(server: LocalPostgres, tmp_path: Any) -> None:
    create_key_file(tmp_path / "key")
    url = await fresh_url(server, "deaf")
    async with hub_on(url, str(tmp_path / "key"), StrictVendor()) as hub, worker.working(hub):
        ears = await listening(hub)
        for ear in ears:
            await hub.store.rows("SELECT pg_terminate_backend(:pid)", {"pid": ear})
        assert ears.isdisjoint(await listening(hub))


async def listening(hub: Hub) -> set[int]:
    async with asyncio.timeout(GIVES_UP_S):
        while not (found := {row[0] for row in await hub.store.rows(LISTENING, {})}):
            await asyncio.sleep(0.1)
    return found


async def everything_due_again(fleet: Fleet) -> None:
    async with asyncio.timeout(GIVES_UP_S):
        while True:
            with contextlib.suppress(StoreTrouble):
                return await fleet.all_due()
            await asyncio.sleep(0.1)


async def test_away_when_the_answer_comes_is_waited_out(server: LocalPostgres, tmp_path: Any) -> None:
    create_key_file(tmp_path / "key")
    vendor = StrictVendor()
    async with hub_on(await fresh_url(server, "away"), str(tmp_path / "key"), vendor) as hub:
        fleet = Fleet(hub, vendor)
        await fleet.grow(apps=1, of_each=1)
        coming_back: list[asyncio.Task[None]] = []

        async def away(_: str) -> None:
            await asyncio.to_thread(server.stop, "immediate")
            coming_back.append(asyncio.create_task(back()))

        async def back() -> None:
            await asyncio.sleep(AWAY_S)
            await asyncio.to_thread(server.start)

        vendor.after = away
        (enrollment_id,) = fleet.ids.values()
        await refresh(hub, enrollment_id, wait_s=GIVES_UP_S)
        await asyncio.gather(*coming_back)
        assert vendor.exchanges == 1
        await fleet.assert_nothing_lost()


@pytest.mark.parametrize("when", ["before the commit", "after the commit"])
async def test_a_connection_killed_around_the_commit_saves_exactly_once(
    hub: Hub, vendor: StrictVendor, enroll: Enroll, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    """After it, the outcome is unknown to us: the same statements again find nothing left to do."""
    enrollment_id = await enroll("ada")
    apply, cut = hub.store.apply, [1]

    async def cut_off(*statements: Any, serialize_on: str = "") -> list[int]:
        saves = statements[0][0].startswith('UPDATE "grant" SET sealed')
        if saves and cut[0]:
            cut[0] -= 1
            if when == "after the commit":
                await apply(*statements, serialize_on=serialize_on)
            raise StoreTrouble("ConnectionDoesNotExistError")
        return await apply(*statements, serialize_on=serialize_on)

    monkeypatch.setattr(hub.store, "apply", cut_off)
    await refresh(hub, enrollment_id)
    assert (vendor.exchanges, cut, await token_of(hub, enrollment_id)) == (1, [0], "ada#2")
    versions = await hub.store.rows("SELECT version FROM grant_version ORDER BY version", {})
    assert [row[0] for row in versions] == [1, 2]


class CutOnce:
    """A pool whose next connection is found broken."""

    def __init__(self, pool: Any, error: Exception) -> None:
        self._pool = pool
        self._errors = [error]

    def acquire(self, **named: Any) -> Any:
        if self._errors:
            raise self._errors.pop()
        return self._pool.acquire(**named)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._pool, name)


@pytest.mark.parametrize(
    "error",
    [
        asyncpg.InternalClientError("cannot switch to state 15; another operation (2) is in progress"),
        asyncpg.InterfaceError("connection is closed"),
        asyncpg.ConnectionDoesNotExistError("connection was closed in the middle of operation"),
        ConnectionResetError(),
    ],
    ids=lambda error: type(error).__name__,
)
async def test_whatever_a_cut_connection_raises_the_token_is_saved(
    hub: Hub, vendor: StrictVendor, enroll: Enroll, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    if not isinstance(hub.store, PostgresStore):
        pytest.skip("SQLite has no connections to cut")
    enrollment_id = await enroll("ada")

    async def cut(_: str) -> None:
        assert isinstance(hub.store, PostgresStore)
        monkeypatch.setattr(hub.store, "_hot", CutOnce(hub.store._hot, error))

    vendor.after = cut
    await refresh(hub, enrollment_id, wait_s=GIVES_UP_S)
    assert (vendor.exchanges, await token_of(hub, enrollment_id)) == (1, "ada#2")


async def test_every_connection_killed_during_an_exchange(
    hub: Hub, settings: Settings, vendor: StrictVendor, enroll: Enroll
) -> None:
    if isinstance(hub.store, SqliteStore):
        pytest.skip("SQLite has no connections to kill")
    enrollment_id = await enroll("ada")

    async def kill(_: str) -> None:
        connection = await asyncpg.connect(settings.database_url)
        await connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
        await connection.close()

    vendor.after = kill
    await refresh(hub, enrollment_id, wait_s=GIVES_UP_S)
    assert (vendor.exchanges, await token_of(hub, enrollment_id)) == (1, "ada#2")


@pytest.fixture
def short_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """Thirty seconds, shortened, after which a wait for a lock ends in an error."""
    monkeypatch.setattr(postgres, "_SESSION", {**postgres._SESSION, "lock_timeout": "300ms"})
    monkeypatch.setattr(pragmas, "WAIT_MS", 300)


async def test_a_lock_of_somebody_else_outlasts_our_patience(
    short_patience: None, hub: Hub, settings: Settings, vendor: StrictVendor, enroll: Enroll
) -> None:
    enrollment_id = await enroll("ada")
    held: list[asyncio.Task[None]] = []
    locked = asyncio.Event()

    async def lock(_: str) -> None:
        held.append(asyncio.create_task(hold_lock(settings, locked, AWAY_S)))
        await locked.wait()

    vendor.after = lock
    await refresh(hub, enrollment_id, wait_s=GIVES_UP_S)
    await asyncio.gather(*held)
    assert (vendor.exchanges, await token_of(hub, enrollment_id)) == (1, "ada#2")


async def hold_lock(settings: Settings, locked: asyncio.Event, seconds: float) -> None:
    """As another program's transaction: SQLITE_BUSY, or a table nobody else may write."""
    if settings.database_url.startswith("sqlite"):
        other = sqlite3.connect(settings.database_url.removeprefix("sqlite:///"), isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        locked.set()
        await asyncio.sleep(seconds)
        other.execute("ROLLBACK")
        other.close()
        return
    connection = await asyncpg.connect(settings.database_url)
    async with connection.transaction():
        await connection.execute('LOCK TABLE "grant" IN EXCLUSIVE MODE')
        locked.set()
        await asyncio.sleep(seconds)
    await connection.close()


async def test_with_every_connection_taken_work_waits_its_turn(hub: Hub, vendor: StrictVendor, enroll: Enroll) -> None:
    ids = [await enroll(f"owner-{number}") for number in range(12)]
    async with contextlib.AsyncExitStack() as taken:
        if isinstance(hub.store, SqliteStore):
            await taken.enter_async_context(hub.store.write())
        else:
            pool = hub.store._hot  # type: ignore[attr-defined]
            for _ in range(postgres.CONNECTIONS):
                await taken.enter_async_context(pool.acquire())
        waiting = [asyncio.create_task(refresh(hub, one, wait_s=GIVES_UP_S)) for one in ids]
        await asyncio.sleep(0.3)
        assert vendor.exchanges == 0
    await asyncio.gather(*waiting)
    assert (vendor.exchanges, vendor.reuse_seen) == (12, 0)
    assert {await token_of(hub, one) for one in ids} == {f"owner-{number}#2" for number in range(12)}
