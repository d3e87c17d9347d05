"""S8: new data keys beside running servers: nothing is lost, whatever is cut or renewed meanwhile."""

from __future__ import annotations

import asyncio

import pytest
from sqlalchemy import text
from sqlmodel import SQLModel

from joinder.runtime.hub import Hub, open_hub
from joinder.services.admin import audit_proof, data_keys
from joinder.services.admin.data_keys import COLUMNS
from joinder.services.events import webhooks
from joinder.services.grants import refresh
from joinder.services.join import vendor_credentials
from joinder.settings import Settings
from joinder.store import vault
from joinder.store.vault import keys_of
from joinder.vendors.registry import Registry
from services.conftest import Enroll
from services.test_refresh import token_of


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every process looks at the keys each time, so a new key seals at once."""
    for module in (vault, data_keys):
        monkeypatch.setattr(module, "KNOWN_AFTER_S", -2)
    monkeypatch.setattr(vault, "REREAD_S", 0.0)


async def rotated(hub: Hub) -> data_keys.Progress:
    progress = data_keys.Progress(done=0, total=0)
    async for step in data_keys.rotate(hub, "test"):
        progress = step
    return progress


async def key_ids(hub: Hub, account_id: str) -> list[str]:
    async with hub.store.read() as session:
        return [key.id for key in await keys_of(session, account_id)]


async def sealed_by(hub: Hub) -> set[str]:
    """The keys that anything of accounts is sealed with."""
    found = set[str]()
    for one in COLUMNS:
        rows = await hub.store.rows(f'SELECT {one.column} FROM "{one.table}"', {})  # noqa: S608
        found |= {bytes(row[0])[:21].decode() for row in rows if row[0]}
    return found


async def secret_of(hub: Hub, account_id: str, credentials_id: str) -> str:
    shown = await vendor_credentials.get(hub, account_id, credentials_id, "test", reveal=True)
    return (shown.secrets or {})["clientSecret"]


def test_every_sealed_column_is_known() -> None:
    sealed = {
        f"{table.name}.{column.name}"
        for table in SQLModel.metadata.sorted_tables
        for column in table.columns
        if column.name.endswith("sealed")
    }
    assert sealed == {one.name for one in COLUMNS}


async def test_all_is_sealed_again_and_opens_in_every_process(
    hub: Hub, settings: Settings, registry: Registry, enroll: Enroll, account_id: str, credentials_id: str
) -> None:
    enrollment_id = await enroll("ada")
    await webhooks.create(hub, account_id, "test", url="https://hook.example/", types=[])
    token, (old,) = await token_of(hub, enrollment_id), await key_ids(hub, account_id)
    async with open_hub(settings, registry) as other:
        assert await token_of(other, enrollment_id) == token
        progress = await rotated(hub)
        before, new = await key_ids(hub, account_id)
        assert (before, progress.done, progress.ended) == (old, 3, 0)
        assert await sealed_by(hub) == {new}
        for each in (hub, other):
            assert await token_of(each, enrollment_id) == token
            assert await secret_of(each, account_id, credentials_id) == "a-secret"
    assert (await audit_proof.verify(hub)).findings == []


async def test_the_old_key_ends_a_day_later_with_the_next_run(
    hub: Hub, enroll: Enroll, account_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    await enroll("ada")
    await rotated(hub)
    first, second = await key_ids(hub, account_id)
    async with hub.store.write() as session:
        await session.execute(text("UPDATE data_key SET created_at = created_at - 1000"))
    monkeypatch.setattr(data_keys, "ENDS_AFTER_S", -2)
    assert (await rotated(hub)).ended == 4  # two of the account, two of the system
    (third,) = await key_ids(hub, account_id)
    assert third not in (first, second)
    assert await sealed_by(hub) == {third}


async def test_a_run_that_was_cut_anywhere_goes_on_and_loses_nothing(
    hub: Hub, settings: Settings, registry: Registry, enroll: Enroll, account_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(data_keys, "BATCH", 1)
    ids = [await enroll(f"owner-{number}") for number in range(6)]
    tokens = {each: await token_of(hub, each) for each in ids}
    for steps in range(7):
        run = data_keys.rotate(hub, "test")
        for _ in range(steps % 3 + 1):
            await anext(run, None)
        await run.aclose()  # type: ignore[attr-defined]
        async with open_hub(settings, registry) as fresh:
            assert {each: await token_of(fresh, each) for each in ids} == tokens
    await rotated(hub)
    assert len(await sealed_by(hub)) == 1
    assert {each: await token_of(hub, each) for each in ids} == tokens


async def test_tokens_that_are_renewed_meanwhile_are_not_lost(
    hub: Hub, enroll: Enroll, account_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(data_keys, "BATCH", 1)
    ids = [await enroll(f"owner-{number}") for number in range(5)]

    async def renew() -> None:
        for _ in range(3):
            await asyncio.gather(*(refresh.refresh(hub, each) for each in ids))

    renewing = asyncio.create_task(renew())
    await rotated(hub)
    await renewing
    newest = (await key_ids(hub, account_id))[-1]
    assert await sealed_by(hub) == {newest}
    for each in ids:
        await refresh.refresh(hub, each)  # the vendor takes the token that is stored


async def test_a_dry_run_tells_and_changes_nothing(hub: Hub, enroll: Enroll, account_id: str) -> None:
    await enroll("ada")
    before = await key_ids(hub, account_id)
    assert await data_keys.foretold(hub) == (1, 2)
    assert await key_ids(hub, account_id) == before
