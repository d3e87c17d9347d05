"""Keys rotate beside running processes, and nothing becomes unreadable."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from sqlalchemy import text
from sqlmodel import select

from joinder.runtime.hub import Hub, open_hub
from joinder.services.admin import keys
from joinder.services.join import vendor_credentials
from joinder.services.records import accounts
from joinder.services.refusals import Conflict, NotFound
from joinder.settings import ConfigError, Settings
from joinder.store.key_file import read_key_file
from joinder.store.tables import Audit
from joinder.vendors.registry import Registry
from services.conftest import Enroll
from services.strict_vendor import StrictVendor
from services.test_refresh import token_of


async def rotated(hub: Hub) -> list[keys.Progress]:
    return [progress async for progress in keys.rotate(hub, "test")]


def ids(settings: Settings) -> list[str]:
    return [kek.id for kek in read_key_file(Path(settings.key_file))]


async def entries(hub: Hub) -> list[tuple[str, str, str, str]]:
    async with hub.store.read() as session:
        rows = (await session.execute(select(Audit).where(Audit.action.like("key.%")))).scalars()
        return [(row.account_id, row.actor, row.action, row.target) for row in rows]


async def data_keys(hub: Hub) -> dict[str, bytes]:
    """By id, wrapped by the key file's first and nothing else."""
    (first, *_) = hub.vault.keks
    async with hub.store.read() as session:
        rows = (await session.execute(text("SELECT id, kek_id, wrapped FROM data_key"))).all()
    assert {row.kek_id for row in rows} == {first.id}
    return {row.id: bytes(row.wrapped) for row in rows}


async def test_every_data_key_is_wrapped_anew_and_everything_opens(
    hub: Hub, settings: Settings, registry: Registry, enroll: Enroll, account_id: str
) -> None:
    enrollment_id = await enroll("ada")
    before, (old,) = await data_keys(hub), ids(settings)
    fingerprint = hub.vault.fingerprint("a reconnect link")
    progress = await rotated(hub)
    new = ids(settings)[0]
    assert ids(settings) == [new, old]
    assert (progress[-1].key_id, progress[-1].done, progress[-1].total) == (new, len(before), len(before))
    hub.vault.reread()
    after = await data_keys(hub)
    assert after.keys() == before.keys()
    assert all(after[each] != before[each] for each in before)
    async with open_hub(settings, registry) as fresh:
        assert await token_of(fresh, enrollment_id) == await token_of(hub, enrollment_id)
        assert fresh.vault.fingerprint("a reconnect link") == fingerprint
    Path(settings.key_file).write_bytes(Path(settings.key_file).read_bytes().splitlines()[1])
    with pytest.raises(ConfigError, match="Wrong key"):
        await open_hub(settings, registry).__aenter__()
    assert await entries(hub) == [("system", "test", "key.rotate", new)]


async def test_it_goes_in_batches_beside_which_others_write(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keys, "BATCH", 2)
    for number in range(5):
        await accounts.create_account(hub, f"account {number}")
    seen = []
    async for progress in keys.rotate(hub, "test"):
        if len(seen) < 2:
            await accounts.create_account(hub, f"meanwhile {len(seen)}")
        seen.append((progress.done, progress.total))
    assert seen == [(2, 7), (5, 8), (8, 9), (9, 9)]
    assert len(await data_keys(hub)) == 9


async def test_a_cut_rotation_goes_on_with_the_same_key(
    hub: Hub, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keys, "BATCH", 1)
    async for progress in keys.rotate(hub, "test"):
        assert (progress.done, await entries(hub)) == (1, [])
        break
    new = progress.key_id
    assert [(use.first, use.wraps) for use in await keys.uses(hub)] == [(True, 1), (False, 1)]
    assert (await rotated(hub))[-1].key_id == new
    assert len(ids(settings)) == 2
    assert [entry[-1] for entry in await entries(hub)] == [new]


async def test_a_prepared_key_is_the_one_rotated_to(hub: Hub, settings: Settings) -> None:
    """The file goes to the other machines in between."""
    prepared, is_new = await keys.prepare(hub)
    assert (await keys.prepare(hub), is_new) == ((prepared, False), True)
    assert (await rotated(hub))[-1].key_id == prepared == ids(settings)[0]


async def test_two_rotations_at_once_lose_nothing(
    hub: Hub, settings: Settings, registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keys, "BATCH", 1)
    for number in range(6):
        await accounts.create_account(hub, f"account {number}")
    async with open_hub(settings, registry) as other:
        await asyncio.gather(rotated(hub), rotated(other), rotated(hub))
    hub.vault.reread()
    assert len(await data_keys(hub)) == 8


async def test_a_running_process_goes_on_through_rotation_and_retirement(
    hub: Hub, settings: Settings, registry: Registry, vendor: StrictVendor
) -> None:
    (old,) = ids(settings)
    early = (await accounts.create_account(hub, "early")).id
    given = {"vendor": vendor.name, "type": "app", "clientID": "an-id", "clientSecret": "a-secret"}
    made = await vendor_credentials.create(hub, early, "test", name=None, credentials=given)
    async with open_hub(settings, registry) as server:
        await rotated(hub)
        await keys.retire(hub, "test", old)
        for account_id in (early, (await accounts.create_account(server, "late")).id):
            await vendor_credentials.create(server, account_id, "test", name=None, credentials=given)
        shown = await vendor_credentials.get(server, early, made.id, "test", reveal=True)
        assert shown.secrets["clientSecret"] == "a-secret"
    assert (len(ids(settings)), old in ids(settings)) == (1, False)
    hub.vault.reread()
    assert len(await data_keys(hub)) == 4
    assert (await entries(hub))[-1] == ("system", "test", "key.retire", old)


async def test_a_key_that_is_needed_is_not_retired(hub: Hub, settings: Settings) -> None:
    (old,) = ids(settings)
    content = Path(settings.key_file).read_bytes()
    with pytest.raises(Conflict, match="wraps what is new"):
        await keys.retire(hub, "test", old)
    await keys.prepare(hub)
    with pytest.raises(Conflict, match="still wraps 2 data keys"):
        await keys.retire(hub, "test", old)
    with pytest.raises(NotFound):
        await keys.retire(hub, "test", "0" * 16)
    assert Path(settings.key_file).read_bytes().endswith(content)
    assert await entries(hub) == []


async def test_a_key_file_that_cannot_be_written_stops_before_anything_is_wrapped(
    hub: Hub, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = await data_keys(hub)

    def read_only(*_: object) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(Path, "replace", read_only)
    with pytest.raises(ConfigError, match="Read-only"):
        await rotated(hub)
    assert await data_keys(hub) == before
