"""A database that went on elsewhere: nothing is renewed before everybody has told what they had (PostgreSQL)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from msgspec import structs
from sqlmodel import col, select

from databases import Databases
from joinder.clock import now
from joinder.errors import TransientError
from joinder.runtime.hub import Hub, open_hub
from joinder.services.grants import barrier, failover, footing, invariant, journal, recovery
from joinder.services.grants.refresh import refresh
from joinder.services.operations import doctor, reconcile
from joinder.services.records.opened_grant import open_for_call
from joinder.settings import Settings
from joinder.store import epoch, postgres
from joinder.store.epoch import Epoch, Process
from joinder.store.postgres import Met
from joinder.store.tables import StoreState
from joinder.trouble import NotDurable, StoreAway
from joinder.vendors.registry import Registry
from services.conftest import Enroll
from services.strict_vendor import StrictVendor
from services.test_recovery import forgotten, stored
from services.test_refresh import token_of

BEFORE = "7000000000000000001/00000001"


@pytest.fixture
def settings(databases: Databases, tmp_path: Path) -> Settings:
    return databases.fresh("postgresql", tmp_path)


@pytest.fixture
async def other(hub: Hub, settings: Settings, registry: Registry, tmp_path: Path) -> AsyncIterator[Hub]:
    """Another process, on a machine of its own."""
    async with open_hub(elsewhere(settings, tmp_path), registry) as opened:
        yield opened


def elsewhere(settings: Settings, tmp_path: Path) -> Settings:
    return structs.replace(settings, journal_folder=str(tmp_path / "elsewhere"))


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(failover, "FIRST_S", 0)


async def state(hub: Hub) -> Epoch:
    async with hub.store.read() as session:
        found = await epoch.current(session)
    assert found is not None
    return found


async def moves(*hubs: Hub) -> None:
    """As when the server that all were on has gone, and this one is what took over."""
    async with hubs[0].store.write() as session:
        found = await epoch.current(session)
        assert found is not None
        await epoch.put(session, structs.replace(found, server=BEFORE))
    for hub in hubs:
        hub.footing.server = BEFORE


async def seen(hub: Hub, process: Hub, ago_s: int) -> None:
    """The process was seen so long ago, and not since."""
    async with hub.store.write() as session:
        known = (await epoch.processes(session))[process.process]
        assert known is not None
        await epoch.tell(session, process.process, Process(epoch=known.epoch, seen=known.seen - ago_s))


async def waiting(hub: Hub) -> list[str]:
    async with hub.store.read() as session:
        return [each.enrollment_id for each in await barrier.waiting(session)]


def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(failover, "PATIENCE_S", -1e6)


async def test_nothing_is_renewed_before_all_have_told(
    hub: Hub, other: Hub, vendor: StrictVendor, enroll: Enroll
) -> None:
    ids = [await enroll(owner) for owner in ("ada", "bob")]
    await refresh(hub, ids[0])
    await refresh(other, ids[1])
    await moves(hub, other)
    with pytest.raises(NotDurable, match="may lack what was written after"):
        await refresh(hub, ids[0])
    assert "may lack" in str(footing.refusal(hub))
    assert not (await state(hub)).is_open
    await failover.look(other)
    assert (await state(hub)).is_open
    await refresh(hub, ids[0])
    assert (await token_of(hub, ids[0]), vendor.reuse_seen) == ("ada#3", 0)
    assert [each async for each in invariant.broken(hub)] == []


async def test_the_first_look_of_a_database_is_no_fail_over(hub: Hub, enroll: Enroll) -> None:
    await refresh(hub, await enroll("ada"))
    found = await state(hub)
    assert (found.is_open, found.server) == (True, hub.store.server)
    async with hub.store.read() as session:
        assert list(await epoch.processes(session)) == [hub.process]


async def test_who_has_an_exchange_under_way_does_not_vouch(hub: Hub, vendor: StrictVendor, enroll: Enroll) -> None:
    enrollment_id = await enroll("ada")
    goes_on = asyncio.Event()

    async def waits(_: str) -> None:
        await goes_on.wait()

    vendor.after = waits
    renewing = asyncio.create_task(refresh(hub, enrollment_id))
    while not hub.exchanges.get(enrollment_id):
        await asyncio.sleep(0.01)
    while not vendor.exchanges:
        await asyncio.sleep(0.01)
    await moves(hub)
    await failover.look(hub)
    assert not (await state(hub)).is_open
    goes_on.set()
    await renewing
    await failover.look(hub)
    assert ((await state(hub)).is_open, await token_of(hub, enrollment_id)) == (True, "ada#2")


async def test_what_nobody_vouches_for_waits_until_its_process_is_back(
    hub: Hub, other: Hub, vendor: StrictVendor, enroll: Enroll, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = [await enroll(owner) for owner in ("ada", "bob")]
    await refresh(hub, ids[0])
    await refresh(other, ids[1])
    await moves(hub, other)
    impatient(monkeypatch)
    await failover.look(hub)
    found = await state(hub)
    assert (found.is_open, found.missing, sorted(await waiting(hub))) == (True, [other.process], sorted(ids))
    told = [each for each in await doctor.moved(hub) if not each.ok]
    assert "1 processes" in told[0].text
    with pytest.raises(Exception, match="left by a fail-over as it was at"):
        await refresh(hub, ids[0])
    await failover.look(other)
    hub.footing.is_in_doubt = True
    await failover.look(hub)
    assert (await waiting(hub), (await state(hub)).has_marks) == ([], False)
    await refresh(hub, ids[0])
    assert vendor.reuse_seen == 0
    assert [each async for each in invariant.broken(hub)] == []


async def test_an_operator_has_them_probed(
    hub: Hub, other: Hub, vendor: StrictVendor, enroll: Enroll, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = [await enroll(owner) for owner in ("ada", "bob")]
    await refresh(other, ids[1])
    await refresh(hub, ids[0])
    await moves(hub, other)
    impatient(monkeypatch)
    await failover.look(hub)
    (outcome,) = await reconcile.reconcile(hub, "test", probe=True)
    assert (sorted(outcome.alive), outcome.lost, await waiting(hub)) == (sorted(ids), [], [])


async def test_who_had_ended_before_the_last_commit_is_not_missed(hub: Hub, other: Hub, enroll: Enroll) -> None:
    ids = [await enroll(owner) for owner in ("ada", "bob")]
    await refresh(hub, ids[0])
    await refresh(other, ids[1])
    await seen(hub, other, 3600)
    await moves(hub, other)
    await refresh(hub, ids[0])
    assert (await state(hub)).missing == []


async def test_a_process_that_ends_well_is_waited_for_by_nobody(
    hub: Hub, settings: Settings, registry: Registry, enroll: Enroll
) -> None:
    enrollment_id = await enroll("ada")
    async with open_hub(settings, registry) as passing:
        await refresh(passing, enrollment_id)
        async with hub.store.read() as session:
            assert list(await epoch.processes(session)) == [passing.process]
    async with hub.store.read() as session:
        assert await epoch.processes(session) == {}


async def test_a_renewal_begins_in_no_epoch_that_is_over(hub: Hub, other: Hub, enroll: Enroll) -> None:
    """Also where this process has not noticed yet."""
    enrollment_id = await enroll("ada")
    await refresh(hub, enrollment_id)
    await refresh(other, enrollment_id)
    await moves(other)
    await failover.look(other)  # waits for `hub`
    intended = await hub.store.apply(footing.asked(hub, "UPDATE store_state SET name = name WHERE {stands}", {}))
    assert intended == [0]


async def test_a_server_that_does_not_tell_which_it_is_is_worked_on_all_the_same(
    hub: Hub, vendor: StrictVendor, enroll: Enroll, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgres, "SERVER_SQL", "told_by_no_such_function()")
    monkeypatch.setattr(hub.store._met, "server", None)  # type: ignore[attr-defined]
    await refresh(hub, await enroll("ada"))
    assert vendor.exchanges == 1
    assert "does not tell its timeline" in (await doctor.moved(hub))[0].text


async def test_a_standby_is_refused() -> None:
    class Standby:
        _transport = type("Transport", (), {"get_extra_info": staticmethod(lambda _: None)})

        async def fetchval(self, _: str) -> bool:
            return True

    with pytest.raises(StoreAway, match="standby"):
        await Met()(Standby())


async def test_a_restored_database_begins_anew(hub: Hub, enroll: Enroll) -> None:
    await refresh(hub, await enroll("ada"))
    async with hub.store.write() as session:
        await barrier.put_up(session, taken_at=0, not_rotating=())
    async with hub.store.read() as session:
        names = (await session.execute(select(StoreState.name).where(col(StoreState.name).contains(":")))).all()
    assert names == []


async def test_a_grant_that_comes_behind_the_barrier_while_its_renewal_begins_is_not_renewed(
    hub: Hub, vendor: StrictVendor, enroll: Enroll, monkeypatch: pytest.MonkeyPatch
) -> None:
    enrollment_id = await enroll("ada")
    check = barrier.check

    async def too_late(*args: Any) -> None:
        await check(*args)
        async with hub.store.write() as session:
            await barrier.hold(session, since=now(), taken_at=now(), harmless=())

    monkeypatch.setattr(barrier, "check", too_late)
    with pytest.raises(TransientError):
        await refresh(hub, enrollment_id, wait_s=1.0)
    assert vendor.exchanges == 0


async def test_who_ends_without_having_noticed_is_missed(
    hub: Hub, settings: Settings, registry: Registry, enroll: Enroll, tmp_path: Path
) -> None:
    enrollment_id = await enroll("ada")
    async with open_hub(elsewhere(settings, tmp_path), registry) as ending:
        await refresh(ending, enrollment_id)
        await moves(ending)
    await failover.look(hub)
    assert not (await state(hub)).is_open


async def moves_on(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    """As when an hour later the server that took over has gone as well."""

    async def last_commit(*_: Any) -> int:
        return now() + 3600

    monkeypatch.setattr(failover, "_last_commit", last_commit)
    await moves(hub)


async def test_who_is_waited_for_is_so_on_the_next_server_too(
    hub: Hub, other: Hub, enroll: Enroll, monkeypatch: pytest.MonkeyPatch
) -> None:
    await refresh(other, await enroll("ada"))
    await moves(hub, other)
    await failover.look(hub)
    await moves_on(hub, monkeypatch)
    await failover.look(hub)
    assert not (await state(hub)).is_open
    await failover.look(other)
    found = await state(hub)
    assert (found.is_open, found.missing) == (True, [])


async def test_a_second_fail_over_leaves_no_mark_for_ever(
    hub: Hub, other: Hub, enroll: Enroll, monkeypatch: pytest.MonkeyPatch
) -> None:
    enrollment_id = await enroll("ada")
    await refresh(other, enrollment_id)
    await moves(hub, other)
    impatient(monkeypatch)
    await failover.look(hub)
    await moves_on(hub, monkeypatch)
    await failover.look(hub)
    found = await state(hub)
    assert (found.is_open, found.missing, await waiting(hub)) == (True, [other.process], [enrollment_id])
    await failover.look(other)
    hub.footing.is_in_doubt = True
    await failover.look(hub)
    assert await waiting(hub) == []


async def test_who_is_waited_for_is_so_after_a_day_as_well(
    hub: Hub,
    other: Hub,
    settings: Settings,
    registry: Registry,
    enroll: Enroll,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    enrollment_id = await enroll("ada")
    await refresh(other, enrollment_id)
    await moves(hub, other)
    impatient(monkeypatch)
    await failover.look(hub)
    await seen(hub, other, 2 * failover.FORGOTTEN_S)
    await failover.tell(hub)
    async with open_hub(settings, registry) as fresh:
        await failover.look(fresh)
        fresh.footing.is_in_doubt, fresh.footing.looked_at = True, float("-inf")
        await failover.look(fresh)
    assert await waiting(hub) == [enrollment_id]


async def test_who_slept_over_a_second_fail_over_takes_no_mark_of_it_off(
    hub: Hub, other: Hub, enroll: Enroll, monkeypatch: pytest.MonkeyPatch
) -> None:
    enrollment_id = await enroll("ada")
    await refresh(other, enrollment_id)
    await moves(hub, other)
    impatient(monkeypatch)
    await failover.look(hub)
    await failover.look(other)  # nobody is missing now; the marks are still there
    release = failover._release

    async def too_late(late: Hub, found: Epoch) -> None:
        async with late.store.write() as session:
            await epoch.put(session, structs.replace(found, id=epoch.new_id(), missing=["somebody"]))
        await release(late, found)

    monkeypatch.setattr(failover, "_release", too_late)
    hub.footing.is_in_doubt, hub.footing.looked_at = True, float("-inf")
    await failover.look(hub)
    assert await waiting(hub) == [enrollment_id]


async def _dies_with(hub: Hub, enrollment_id: str, vendor: StrictVendor) -> None:
    """The process gets a token, writes it to its journal, and is killed."""
    row = (await open_for_call(hub, enrollment_id)).row
    vendor.current["ada"] += 1
    journal.note(hub, row, row.version + 1, vendor.grant("ada"))
    await hub.journal.close()


async def test_who_is_killed_while_another_reads_its_journal_is_waited_for(
    hub: Hub,
    settings: Settings,
    registry: Registry,
    vendor: StrictVendor,
    enroll: Enroll,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    enrollment_id = await enroll("ada")
    async with open_hub(settings, registry) as dying:
        await refresh(dying, enrollment_id)
        await moves(hub, dying)
        apply = recovery.apply

        async def just_before(reader: Hub) -> recovery.Applied:
            applied = await apply(reader)
            monkeypatch.setattr(recovery, "apply", apply)
            await _dies_with(dying, enrollment_id, vendor)
            return applied

        monkeypatch.setattr(recovery, "apply", just_before)
        await failover.look(hub)
        await failover.look(hub)
        await refresh(hub, enrollment_id)
    assert (await token_of(hub, enrollment_id), vendor.reuse_seen) == ("ada#4", 0)


async def test_who_left_a_journal_that_cannot_be_read_is_missed(
    hub: Hub,
    settings: Settings,
    registry: Registry,
    vendor: StrictVendor,
    enroll: Enroll,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    enrollment_id = await enroll("ada")
    async with open_hub(settings, registry) as dying:
        await refresh(dying, enrollment_id)
        await moves(hub, dying)
        await _dies_with(dying, enrollment_id, vendor)
        for path in Path(str(settings.journal_folder)).glob(f"{dying.process}-*"):
            path.write_bytes(path.read_bytes().replace(b'"sealed"', b"\x00") + b"\n")
        impatient(monkeypatch)
        await failover.look(hub)
    assert ((await state(hub)).missing, await waiting(hub)) == ([dying.process], [enrollment_id])


@pytest.mark.parametrize("row", ["server", "process"])
async def test_a_row_that_cannot_be_read_holds_renewals_only_for_a_while(
    hub: Hub, other: Hub, vendor: StrictVendor, enroll: Enroll, row: str
) -> None:
    enrollment_id = await enroll("ada")
    await refresh(hub, enrollment_id)
    await refresh(other, enrollment_id)
    name = "server" if row == "server" else f"process:{other.process}"
    async with hub.store.write() as session:
        await session.merge(StoreState(name=name, value={"of": "another release"}))
    for each in (hub, other, hub):
        each.footing.is_in_doubt, each.footing.looked_at = True, float("-inf")
        await failover.look(each)
    await failover.tell(hub)
    await refresh(hub, enrollment_id)
    assert (await token_of(hub, enrollment_id), vendor.reuse_seen) == ("ada#4", 0)


async def test_a_token_got_by_a_clock_that_is_ahead_waits_as_well(hub: Hub, enroll: Enroll) -> None:
    enrollment_id = await enroll("ada")
    await refresh(hub, enrollment_id)
    async with hub.store.write() as session:
        await barrier.hold(session, since=now() - 600, taken_at=now() - 600, harmless=())
    assert await waiting(hub) == [enrollment_id]


async def test_who_could_not_say_that_it_lives_renews_nothing(
    hub: Hub, vendor: StrictVendor, enroll: Enroll, monkeypatch: pytest.MonkeyPatch
) -> None:
    enrollment_id = await enroll("ada")
    tell = epoch.tell

    async def away(*args: Any) -> None:
        monkeypatch.setattr(epoch, "tell", tell)
        raise StoreAway("gone")

    monkeypatch.setattr(epoch, "tell", away)
    with pytest.raises(StoreAway):
        await refresh(hub, enrollment_id)
    await refresh(hub, enrollment_id)
    async with hub.store.read() as session:
        assert list(await epoch.processes(session)) == [hub.process]


async def test_a_database_put_back_under_its_processes_is_noticed_before_a_token_is_sent(
    hub: Hub, other: Hub, vendor: StrictVendor, enroll: Enroll
) -> None:
    """Such as a volume's snapshot: the same server, the same timeline."""
    ids = [await enroll(owner) for owner in ("ada", "bob")]
    await refresh(hub, ids[1])
    before = await stored(hub, ids[0])
    await refresh(other, ids[0])
    await forgotten(hub, ids[0], before)
    await seen(hub, hub, 30)
    async with hub.store.write() as session:
        heard = await epoch.heard(session, hub.process)
        await epoch.forget(session, other.process)
    with pytest.raises((NotDurable, TransientError)):
        await refresh(hub, ids[0], wait_s=2.0)
    for each in (other, hub, other):
        each.footing.looked_at = float("-inf")
        await failover.look(each)
    assert (await state(hub)).taken_at == heard
    while hub.refreshes:  # of the caller that gave up waiting: the next would join it
        await asyncio.sleep(0.01)
    await refresh(hub, ids[0])
    assert (await token_of(hub, ids[0]), vendor.reuse_seen) == ("ada#3", 0)


async def test_nobody_vouches_for_more_than_its_journal_holds(
    hub: Hub, settings: Settings, registry: Registry, enroll: Enroll, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A cluster put back to two hours ago; the journal is of the last quarter of an hour."""

    async def last_commit(*_: Any) -> int:
        return now() - 7200

    enrollment_id = await enroll("ada")
    await refresh(hub, enrollment_id)
    (path,) = Path(str(settings.journal_folder)).glob(f"{hub.process}-1.*")
    path.rename(path.with_name(path.name.replace("-1.", "-9.")))
    monkeypatch.setattr(failover, "_last_commit", last_commit)
    await moves(hub)
    impatient(monkeypatch)
    await failover.look(hub)
    assert ((await state(hub)).missing, await waiting(hub)) == ([hub.process], [enrollment_id])
    await hub.store.apply(epoch.leaving(hub.process, hub.footing))  # as at its end
    async with open_hub(settings, registry) as fresh:
        for _ in range(2):
            fresh.footing.is_in_doubt, fresh.footing.looked_at = True, float("-inf")
            await failover.look(fresh)
    assert await waiting(hub) == [enrollment_id]


async def test_an_old_token_that_is_back_makes_nobody_doubt_what_its_journal_is_too_short_for(
    hub: Hub, enroll: Enroll
) -> None:
    enrollment_id = await enroll("ada")
    version, sealed, obtained_at = await stored(hub, enrollment_id)
    await refresh(hub, enrollment_id)
    await forgotten(hub, enrollment_id, (version, sealed, obtained_at - 7200))
    assert await recovery.catch_up(hub, (await open_for_call(hub, enrollment_id)).row)
    assert (hub.footing.doubted_from or 0) > obtained_at - 3600
