"""What the journal has and the database lacks is stored; everything else in it is refused by name."""

from __future__ import annotations

import asyncio
import errno
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from msgspec import structs

from joinder.clock import now
from joinder.grants import Grant
from joinder.runtime import worker
from joinder.runtime.hub import Hub, open_hub
from joinder.services.grants import barrier, durability, failover, journal, recovery, revocations, saving
from joinder.services.grants.refresh import refresh
from joinder.services.operations import doctor
from joinder.services.records.opened_grant import open_for_call
from joinder.settings import ConfigError, Settings
from joinder.store.journal import Line
from joinder.store.tables import Revocation
from joinder.trouble import StoreTrouble
from joinder.vendors.registry import Registry
from services.conftest import Enroll
from services.strict_vendor import StrictVendor
from services.test_refresh import token_of

_AWAY = 'UPDATE "grant" SET sealed'
_OLD = 'UPDATE "grant" SET version = 1, sealed = :sealed, obtained_at = :at, intent_id = NULL WHERE enrollment_id = :id'


@pytest.fixture
def away(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """New tokens are not taken while its one member is True."""
    apply, is_away = hub.store.apply, [True]

    async def maybe(*writes: Any, serialize_on: str = "") -> list[int]:
        if is_away[0] and writes and str(writes[0][0]).startswith(_AWAY):
            raise StoreTrouble("SQLITE_BUSY")
        return await apply(*writes, serialize_on=serialize_on)

    monkeypatch.setattr(hub.store, "apply", maybe)
    return is_away


async def stored(hub: Hub, enrollment_id: str) -> tuple[int, bytes, int]:
    row = (await open_for_call(hub, enrollment_id)).row
    return row.version, row.sealed, row.obtained_at


async def forgotten(hub: Hub, enrollment_id: str, before: tuple[int, bytes, int]) -> None:
    """The database as it was before, as a standby that was behind has it."""
    await hub.store.apply((_OLD, {"id": enrollment_id, "sealed": before[1], "at": before[2]}))


async def test_a_token_waits_for_the_database_and_is_told_meanwhile(
    hub: Hub, vendor: StrictVendor, enroll: Enroll, away: list[bool]
) -> None:
    enrollment_id = await enroll("ada")
    renewing = asyncio.create_task(refresh(hub, enrollment_id, wait_s=60.0))
    while enrollment_id not in hub.unsaved:
        await asyncio.sleep(0.01)
    with pytest.raises(StoreTrouble, match="Waiting for the database: 1 new token,"):
        await refresh(hub, await enroll("bob"))
    away[0] = False
    await renewing
    assert (await token_of(hub, enrollment_id), vendor.exchanges, hub.unsaved) == ("ada#2", 1, {})


async def test_what_a_process_that_is_gone_left_is_stored_before_anything_is_renewed(
    hub: Hub, settings: Settings, registry: Registry, vendor: StrictVendor, enroll: Enroll, away: list[bool]
) -> None:
    enrollment_id = await enroll("ada")
    renewing = asyncio.create_task(refresh(hub, enrollment_id, wait_s=60.0))
    while not hub.journal.holds(enrollment_id, 2):
        await asyncio.sleep(0.01)
    hub.stopping.set()
    with pytest.raises(Exception, match="waits in the journal"):
        await renewing
    await hub.journal.close()  # as its process's end does
    async with open_hub(settings, registry) as other:
        await refresh(other, enrollment_id, newer_than=1, wait_s=60.0)
        assert (await token_of(other, enrollment_id), vendor.exchanges) == ("ada#2", 1)
        await refresh(other, enrollment_id, wait_s=60.0)
        assert (vendor.exchanges, vendor.reuse_seen) == (2, 0)


async def test_a_database_that_forgot_is_told_again(
    hub: Hub, vendor: StrictVendor, enroll: Enroll, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(failover, "FIRST_S", 0)
    enrollment_id = await enroll("ada")
    before = await stored(hub, enrollment_id)
    await refresh(hub, enrollment_id)
    await forgotten(hub, enrollment_id, before)
    await refresh(hub, enrollment_id)
    assert (await token_of(hub, enrollment_id), vendor.exchanges, vendor.reuse_seen) == ("ada#3", 2, 0)


async def test_twice_and_by_two_it_is_stored_once(
    hub: Hub, settings: Settings, registry: Registry, enroll: Enroll
) -> None:
    enrollment_id = await enroll("ada")
    before = await stored(hub, enrollment_id)
    await refresh(hub, enrollment_id)
    await forgotten(hub, enrollment_id, before)
    async with open_hub(settings, registry) as other:
        counts = [(await recovery.apply(each)).count for each in (other, hub, other)]
    assert (counts, await token_of(hub, enrollment_id)) == ([1, 0, 0], "ada#2")


Change = Callable[[Hub, Line], Awaitable[Line | None]]


async def of_another_database(hub: Hub, line: Line) -> Line:
    return structs.replace(line, store="another")


async def of_another_grant(hub: Hub, line: Line) -> Line:
    return structs.replace(line, version=line.version + 1)


async def of_another_key(hub: Hub, line: Line) -> Line:
    return structs.replace(line, sealed=line.sealed[:-1] + bytes([line.sealed[-1] ^ 1]))


async def from_before_a_restore(hub: Hub, line: Line) -> None:
    async with hub.store.write() as session:
        await barrier.put_up(session, taken_at=now(), not_rotating=["strict"])


REFUSED: dict[Change, str] = {
    of_another_database: "belongs to another database",
    of_another_grant: "does not open with this database's keys",
    of_another_key: "does not open with this database's keys",
    from_before_a_restore: "before it was restored",
}


@pytest.mark.parametrize("change", REFUSED, ids=lambda change: change.__name__)
async def test_refused_by_name(
    hub: Hub, settings: Settings, registry: Registry, enroll: Enroll, change: Change
) -> None:
    enrollment_id = await enroll("ada")
    before = await stored(hub, enrollment_id)
    await refresh(hub, enrollment_id)
    (found,) = hub.journal.read()
    line = found.lines[-1]
    await hub.journal.close()
    await forgotten(hub, enrollment_id, before)
    changed = await change(hub, line)
    if changed is not None:
        found.path.write_bytes(b"")
        async with open_hub(settings, registry) as writer:
            await journal.begin(writer)
            writer.journal.add(changed)
    async with open_hub(settings, registry) as other:
        applied = await recovery.apply(other)
        assert (applied.count, await token_of(other, enrollment_id)) == (0, "ada#1")
        assert REFUSED[change] in " ".join(applied.refused)
        told = [finding for finding in await doctor.new_tokens(other) if not finding.ok]
        assert REFUSED[change] in " ".join(finding.text for finding in told)


async def test_a_newer_consent_is_not_overwritten(hub: Hub, enroll: Enroll) -> None:
    """The grant's versions fell back with the database, and its owner consented again."""
    enrollment_id = await enroll("ada")
    await refresh(hub, enrollment_id)
    sql = 'UPDATE "grant" SET version = 1, obtained_at = :at WHERE enrollment_id = :id'
    await hub.store.apply((sql, {"id": enrollment_id, "at": now() + 60}))
    assert (await recovery.apply(hub)).count == 0


async def test_lost_in_flight_is_taken_back_when_the_token_was_saved_after_all(hub: Hub, enroll: Enroll) -> None:
    enrollment_id = await enroll("ada")
    await refresh(hub, enrollment_id)
    await hub.store.apply(
        ("UPDATE enrollment SET health = 'lost_in_flight' WHERE id = :id", {"id": enrollment_id}),
        ("UPDATE due SET due_at = :never WHERE kind = 'refresh' AND enrollment_id = :id",
         {"id": enrollment_id, "never": saving.leases.NEVER}),
    )  # fmt: skip
    await recovery.apply(hub)
    ((state, due_at),) = await hub.store.rows(
        "SELECT e.health, d.due_at FROM enrollment e JOIN due d ON d.enrollment_id = e.id AND d.kind = 'refresh' "
        "WHERE e.id = :id",
        {"id": enrollment_id},
    )
    assert state in ("ok", "connecting")
    assert due_at < saving.leases.NEVER


async def test_doctor_tells_a_folder_that_is_not_there(hub: Hub, tmp_path: Path) -> None:
    hub.journal.folder = None
    (finding,) = await doctor.new_tokens(hub)
    assert "JOINDER_JOURNAL_FOLDER" in str(finding.next_step)
    hub.journal.folder = tmp_path / "no" / "such"
    (finding,) = await doctor.new_tokens(hub)
    assert "cannot be made: " in finding.text


async def test_one_line_that_cannot_be_read_stops_no_other(
    hub: Hub, settings: Settings, registry: Registry, enroll: Enroll, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Such as one of an account whose key was changed, or one that a newer version wrote. Its file stays."""
    bad, good = await enroll("ada"), await enroll("bob")
    before = {enrollment_id: await stored(hub, enrollment_id) for enrollment_id in (bad, good)}
    for enrollment_id in (bad, good):
        await refresh(hub, enrollment_id)
        await forgotten(hub, enrollment_id, before[enrollment_id])
    await hub.journal.close()
    opened = journal.opened

    async def fails(hub: Hub, line: Line) -> Grant:
        if line.enrollment == bad:
            raise ConfigError("the data key of ada was changed or moved")
        return await opened(hub, line)

    monkeypatch.setattr(journal, "opened", fails)
    monkeypatch.setattr(recovery, "KEPT_S", -10.0)
    async with open_hub(settings, registry) as other:
        applied = await recovery.apply(other)
        assert (applied.count, await token_of(other, good)) == (1, "bob#2")
        assert bad in " ".join(applied.refused)
        monkeypatch.setattr(journal, "opened", opened)
        assert (await recovery.apply(other)).count == 1
        assert other.journal.read() == []


async def test_a_clock_that_was_put_back_hides_no_token(
    hub: Hub, settings: Settings, registry: Registry, enroll: Enroll, monkeypatch: pytest.MonkeyPatch
) -> None:
    enrollment_id = await enroll("ada")
    version, sealed, _ = await stored(hub, enrollment_id)
    before = (version, sealed, now() + 600)
    await forgotten(hub, enrollment_id, before)
    await refresh(hub, enrollment_id)
    await forgotten(hub, enrollment_id, before)
    assert (await recovery.apply(hub)).count == 1
    assert await token_of(hub, enrollment_id) == "ada#2"


async def test_a_passing_command_leaves_a_token_that_the_journal_has(
    settings: Settings, registry: Registry, enroll: Enroll, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would wait for a database that is away without end, and no signal is listened to."""
    enrollment_id = await enroll("ada")

    async def passing() -> None:
        async with open_hub(settings, registry) as other:
            apply = other.store.apply

            async def away(*writes: Any, serialize_on: str = "") -> list[int]:
                if str(writes[0][0]).startswith(_AWAY):
                    raise StoreTrouble("SQLITE_BUSY")
                return await apply(*writes, serialize_on=serialize_on)

            monkeypatch.setattr(other.store, "apply", away)
            renewing = asyncio.create_task(refresh(other, enrollment_id, wait_s=60.0))
            while enrollment_id not in other.unsaved:
                await asyncio.sleep(0.01)
            renewing.cancel()

    await asyncio.wait_for(passing(), 60.0)


async def test_what_waits_for_the_database_and_is_given_up_stops_no_renewal(hub: Hub, enroll: Enroll) -> None:
    async def away(_: int) -> None:
        raise StoreTrouble("SQLITE_BUSY")

    waiting = asyncio.create_task(durability.until_stored(hub, "a-join", away, is_safe=lambda: False))
    while "a-join" not in hub.unsaved:
        await asyncio.sleep(0.01)
    waiting.cancel()
    await asyncio.wait({waiting})
    await refresh(hub, await enroll("ada"))


async def test_a_revocation_that_does_not_open_keeps_no_token_for_ever(hub: Hub, enroll: Enroll) -> None:
    """Of an enrollment that was deleted while its token was renewed: the process would renew nothing any more."""
    enrollment_id = await enroll("ada")
    grant = (await open_for_call(hub, enrollment_id)).grant
    async with hub.store.write(enrollment_id) as session:
        account_id = (await open_for_call(hub, enrollment_id)).row.account_id
        session.add(
            Revocation(
                enrollment_id=enrollment_id, account_id=account_id, vendor="strict", sealed=b"x" * 60, created_at=1,
                due_at=1,
            )
        )  # fmt: skip
    await revocations.renewed_meanwhile(hub, enrollment_id, grant)


async def test_files_of_processes_that_are_gone_end_while_a_worker_works(
    hub: Hub, settings: Settings, registry: Registry, enroll: Enroll, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each command that renews a token leaves one."""
    enrollment_id = await enroll("ada")
    monkeypatch.setattr(worker, "APPLY_EVERY_S", 0.0)
    monkeypatch.setattr(worker, "LOOK_EVERY_S", 0.01)
    async with worker.working(hub):
        await asyncio.sleep(0.1)
        async with open_hub(settings, registry) as command:
            await refresh(command, enrollment_id)
            (path,) = [file.path for file in command.journal.read()]
        monkeypatch.setattr(recovery, "KEPT_S", -10.0)
        while path.exists():
            await asyncio.sleep(0.01)


async def test_a_file_with_damage_stays(
    hub: Hub, settings: Settings, registry: Registry, enroll: Enroll, monkeypatch: pytest.MonkeyPatch
) -> None:
    await refresh(hub, await enroll("ada"))
    await hub.journal.close()
    (found,) = hub.journal.read()
    found.path.write_bytes(found.path.read_bytes() + b"rubbish\n")
    monkeypatch.setattr(recovery, "KEPT_S", -10.0)
    async with open_hub(settings, registry) as other:
        await recovery.apply(other)
        assert found.path.exists()


@pytest.mark.parametrize("broken", ["unlink", "glob"])
async def test_a_folder_on_a_broken_disk_stops_no_work(
    hub: Hub, settings: Settings, registry: Registry, enroll: Enroll, monkeypatch: pytest.MonkeyPatch, broken: str
) -> None:
    await refresh(hub, await enroll("ada"))
    await hub.journal.close()
    monkeypatch.setattr(recovery, "KEPT_S", -10.0)

    def fails(path: Path, *_: object, **__: object) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    async with open_hub(settings, registry) as other:
        monkeypatch.setattr(Path, broken, fails)
        assert (await recovery.apply(other)).count == 0
        assert (broken == "unlink") == (other.journal.is_writing(hub.process) is False)
        monkeypatch.undo()
