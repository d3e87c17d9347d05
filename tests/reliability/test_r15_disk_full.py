"""R15: a full disk costs no token. What is in flight lands in the ballast's room, and nothing new begins without it."""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from litestar.testing import AsyncTestClient
from msgspec import structs
from sqlalchemy import text

from joinder.api.app import create_app
from joinder.runtime.hub import Hub, open_hub
from joinder.services.grants import durability
from joinder.services.grants.refresh import refresh
from joinder.services.join import stored_consents, vendor_credentials
from joinder.services.join.stored_consents import Origin
from joinder.services.records import accounts
from joinder.settings import ConfigError, Settings
from joinder.store import pragmas
from joinder.store.ballast import Ballast
from joinder.store.engine import open_store
from joinder.store.types import Store
from joinder.trouble import NotDurable, StoreFull
from joinder.vendors.registry import Registry
from services.conftest import Enroll
from services.strict_vendor import StrictVendor

DATABASES = ("sqlite",)  # the disk of a PostgreSQL server is not ours to watch
RUNS = 100
MIB = 1024 * 1024


class Pages:
    """The database's own limit of pages stands in for the disk: exact, and the same everywhere."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub

    async def prepare(self) -> None:
        """Saving a grant takes a page from now on, which rewriting its row in place would not."""
        await self._apply("CREATE TABLE filler (a BLOB)")
        await self._apply(
            'CREATE TRIGGER takes_room AFTER UPDATE OF version ON "grant" '
            "BEGIN INSERT INTO filler VALUES (zeroblob(9000)); END"
        )

    async def fill(self) -> None:
        ((pages,),) = await self._hub.store.rows("SELECT page_count FROM pragma_page_count", {})
        await self._limit(pages)
        for size in (100_000, 500):
            with contextlib.suppress(StoreFull):
                while True:
                    await self._apply(f"INSERT INTO filler VALUES (zeroblob({size}))")  # noqa: S608 - two numbers of ours

    async def clear(self) -> None:
        await self._limit(1073741823)
        await self._apply("DELETE FROM filler")

    async def _limit(self, pages: int) -> None:
        """On the connection that commits tokens: the limit is a connection's own."""
        commits = self._hub.store._commits  # type: ignore[attr-defined]
        statement = f"PRAGMA max_page_count = {pages}"
        await asyncio.get_running_loop().run_in_executor(
            commits._thread, lambda: commits._opened().execute(statement).fetchall()
        )

    async def _apply(self, sql: str) -> None:
        await self._hub.store.apply((sql, {}))


@pytest.fixture
def ballast(hub: Hub) -> Ballast:
    found = hub.store.ballast
    assert found is not None
    found.arm(MIB)
    assert found.path.stat().st_size == MIB
    return found


def test_it_is_reserved_not_just_long(ballast: Ballast) -> None:
    assert ballast.path.stat().st_blocks * 512 >= MIB
    assert ballast.path.stat().st_mode & 0o777 == 0o600


def test_it_is_laid_again_only_where_there_is_room(ballast: Ballast, monkeypatch: pytest.MonkeyPatch) -> None:
    assert ballast.free()
    assert not ballast.free()
    monkeypatch.setattr(Ballast, "free_bytes", lambda _: 4 * MIB - 1)
    assert (ballast.lay(), ballast.ok) == (False, False)
    monkeypatch.setattr(Ballast, "free_bytes", lambda _: 4 * MIB)
    assert (ballast.lay(), ballast.ok) == (True, True)


def test_none_is_wanted_where_the_setting_is_0(hub: Hub, registry: Registry) -> None:
    hub.settings = structs.replace(hub.settings, ballast_mib=0)
    durability.arm(hub)
    found = hub.store.ballast
    assert found is not None
    assert (found.ok, found.path.exists(), durability.trouble(hub)) == (True, False, None)


async def test_ready_says_what_is_missing_and_recovers(hub: Hub, ballast: Ballast) -> None:
    async with AsyncTestClient(create_app(hub)) as client:
        assert (await client.get("/health/ready")).status_code == 200
        ballast.free()
        answer = await client.get("/health/ready")
        assert (answer.status_code, answer.headers["content-type"]) == (503, "application/problem+json")
        assert (ballast.path.name in answer.json()["detail"], (await client.get("/health/live")).status_code) == (
            True,
            200,
        )
        assert await durability.JOB.due(hub) == ["ballast"]
        await durability.JOB.work(hub, "ballast")
        assert await durability.JOB.due(hub) == []
        assert (await client.get("/health/ready")).status_code == 200


async def test_no_renewal_begins_without_it(hub: Hub, ballast: Ballast, vendor: StrictVendor, enroll: Enroll) -> None:
    enrollment_id = await enroll("ada")
    ballast.free()
    with pytest.raises(NotDurable, match="disk"):
        await refresh(hub, enrollment_id)
    assert vendor.exchanges == 0
    ballast.lay()
    await refresh(hub, enrollment_id)
    assert vendor.exchanges == 1


@pytest.mark.timeout(300)
async def test_a_disk_that_fills_during_the_exchange_costs_no_token(
    hub: Hub, ballast: Ballast, vendor: StrictVendor, enroll: Enroll, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Full between the intent and the commit, over and over; freeing the ballast is what makes room."""
    hub.settings = structs.replace(hub.settings, refresh_deadline_s=30.0)  # filling takes its time
    enrollment_id, pages, freed = await enroll("ada"), Pages(hub), 0
    await pages.prepare()
    loop = asyncio.get_running_loop()
    giving_up = ballast.free

    def free() -> bool:
        nonlocal freed
        given = giving_up()
        if given:
            freed += 1
            hub_room.append(loop.create_task(pages.clear()))
        return given

    hub_room: list[asyncio.Task[None]] = []
    monkeypatch.setattr(ballast, "free", free)
    vendor.after = lambda _: pages.fill()
    for run in range(RUNS):
        await refresh(hub, enrollment_id)
        await asyncio.gather(*hub_room)
        row = await hub.store.rows('SELECT version, intent_id FROM "grant"', {})
        assert row[0] == (run + 2, None)
        assert not ballast.ok
        assert ballast.lay()
    assert (freed, vendor.reuse_seen, vendor.exchanges) == (RUNS, 0, RUNS)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs", str(folder)], capture_output=True)
    if mounted.returncode:
        pytest.skip("a small disk needs the right to mount one")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


@pytest.fixture
async def on_small_disk(small_disk: Path, settings: Settings, registry: Registry) -> AsyncIterator[Hub]:
    small = structs.replace(settings, database_url=f"sqlite:///{small_disk}/joinder.sqlite3", ballast_mib=1)
    async with open_hub(small, registry) as opened:
        yield opened


@pytest.mark.timeout(300)
async def test_on_a_disk_that_is_really_full(small_disk: Path, on_small_disk: Hub, vendor: StrictVendor) -> None:
    hub = on_small_disk
    durability.arm(hub)
    account_id = (await accounts.create_account(hub, "x")).id
    given = {"vendor": vendor.name, "type": "app", "clientID": "an-id", "clientSecret": "a-secret"}
    made = await vendor_credentials.create(hub, account_id, "test", name=None, credentials=given)
    async with hub.store.write() as session:
        enrollment = await stored_consents.store(
            hub, session, account_id, vendor.consent("ada"), Origin(vendor=vendor.name, credentials_id=made.id)
        )
    filler = small_disk / "filler"

    async def fill(_: str) -> None:
        with filler.open("ab", buffering=0) as file, contextlib.suppress(OSError):
            while file.write(bytes(4096)):
                pass

    vendor.after = fill
    for run in range(10):
        await refresh(hub, enrollment.id)
        row = await hub.store.rows('SELECT version, intent_id FROM "grant"', {})
        assert row[0] == (run + 2, None)
        assert not small_disk.joinpath("joinder.sqlite3.ballast").exists()
        with pytest.raises(NotDurable, match="disk"):
            await refresh(hub, enrollment.id)
        filler.unlink()
        for key in await durability.JOB.due(hub):
            await durability.JOB.work(hub, key)
        durability.check(hub)
    assert vendor.reuse_seen == 0


@pytest.mark.parametrize(("pragma", "kept"), [("journal_mode", ("DELETE", "wal")), ("synchronous", ("NORMAL", 2))])
async def test_a_database_that_forgets_commits_is_not_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pragma: str, kept: tuple[str, object]
) -> None:
    monkeypatch.setitem(pragmas._DURABLE, pragma, kept)
    store = await open_store(f"sqlite:///{tmp_path}/x.sqlite3")
    with pytest.raises(ConfigError, match=pragma):
        await _asked(store)
    await store.close()


async def _asked(store: Store) -> None:
    async with store.write() as session:
        await session.execute(text("SELECT 1"))
