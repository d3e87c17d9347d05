"""S8: a new pepper beside running servers: no client, no link and no proof of the audit is lost, whatever is cut."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from msgspec import Struct
from sqlalchemy import text

from joinder.ids import new_token
from joinder.runtime.hub import Hub, audited, open_hub
from joinder.services.admin import audit_proof, peppers
from joinder.services.join import signed_links
from joinder.services.join.signed_links import BadLink
from joinder.services.records import accounts
from joinder.services.records.access_tokens import InvalidClient, Tokens
from joinder.services.records.accounts import NewClient
from joinder.services.refusals import Conflict, NotFound
from joinder.settings import Settings
from joinder.store import vault
from joinder.vendors.registry import Registry


class Said(Struct, frozen=True, array_like=True):
    what: str


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every process looks at the peppers each time, so a new one is in use at once."""
    for module in (vault, peppers):
        monkeypatch.setattr(module, "KNOWN_AFTER_S", -2)
    monkeypatch.setattr(vault, "REREAD_S", 0.0)


@pytest.fixture
async def client(hub: Hub, account_id: str) -> NewClient:
    return await accounts.create_client(hub, account_id, "backend")


@pytest.fixture
async def other(settings: Settings, registry: Registry, hub: Hub) -> AsyncIterator[Hub]:
    """Another process on the same database."""
    async with open_hub(settings, registry) as opened:
        yield opened


async def rotated(hub: Hub) -> peppers.Progress:
    async for progress in peppers.rotate(hub, "test"):
        done = progress
    return done


async def logged_in(hub: Hub, client: NewClient) -> None:
    assert await Tokens(hub).issue(client.client_id, client.client_secret, None)


async def standing(hub: Hub) -> list[tuple[bool, list[str]]]:
    return [(one.newest, one.clients) for one in await peppers.uses(hub)]


async def read(hub: Hub, link: str) -> str:
    await signed_links.know_keys(hub)
    return signed_links.read(hub, "test", link, Said).what


async def test_clients_links_and_the_audit_hold_in_every_process(
    hub: Hub, other: Hub, account_id: str, client: NewClient
) -> None:
    before = signed_links.signed(hub, "test", Said("before"))
    assert (await rotated(hub)).done == len(await hub.store.rows("SELECT * FROM audit_head", {}))
    after = signed_links.signed(hub, "test", Said("after"))
    late = await accounts.create_client(other, account_id, "late")
    for each in (other, hub):
        assert (await read(each, before), await read(each, after)) == ("before", "after")
        for one in (client, late):
            await logged_in(each, one)
            with pytest.raises(InvalidClient):
                await Tokens(each).issue(one.client_id, new_token(), None)
        assert (await audit_proof.verify(each)).findings == []
    assert before.split(".")[1] != signed_links.signed(hub, "test", Said("before")).split(".")[1]


async def test_a_client_is_held_by_the_new_pepper_from_its_next_log_in_on(hub: Hub, client: NewClient) -> None:
    await rotated(hub)
    assert await standing(hub) == [(False, ["backend"]), (True, [])]
    await logged_in(hub, client)
    assert await standing(hub) == [(False, []), (True, ["backend"])]
    await logged_in(hub, client)


async def test_a_secret_of_before_a_rotation_of_the_client_keeps_its_pepper(
    hub: Hub, account_id: str, client: NewClient
) -> None:
    await rotated(hub)
    renewed = await accounts.rotate_client(hub, account_id, client.client_id)
    assert await standing(hub) == [(False, ["backend"]), (True, ["backend"])]
    for one in (client, renewed):  # the old one works for a day
        await logged_in(hub, one)


async def test_a_pepper_ends_only_when_no_client_needs_it_and_takes_its_links_with_it(
    hub: Hub, other: Hub, client: NewClient
) -> None:
    link = signed_links.signed(hub, "test", Said("before"))
    await rotated(hub)
    old, new = [one.id for one in await peppers.uses(hub)]
    with pytest.raises(Conflict, match="backend"):
        await peppers.retire(hub, "test", old)
    with pytest.raises(Conflict, match="makes what is new"):
        await peppers.retire(hub, "test", new)
    with pytest.raises(NotFound):
        await peppers.retire(hub, "test", "dkey-aaaaaaaaaaaaaaaa")
    await logged_in(other, client)
    await peppers.retire(hub, "test", old)
    for each in (hub, other):
        with pytest.raises(BadLink):
            await read(each, link)
        await logged_in(each, client)
        assert (await audit_proof.verify(each)).findings == []
    await rotated(hub)
    await logged_in(other, client)
    assert await standing(hub) == [(False, []), (True, ["backend"])]


async def test_a_pepper_does_not_end_while_a_clock_that_is_behind_may_still_make_something_with_it(
    hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A client made by it then would have a secret that fits nowhere, and a head of the audit nobody's seal."""
    await rotated(hub)
    old = (await peppers.uses(hub))[0].id
    with monkeypatch.context() as patched:
        patched.setattr(peppers, "KNOWN_AFTER_S", 15)
        for refused in (peppers.retirable(hub, old), peppers.retire(hub, "test", old)):
            with pytest.raises(Conflict, match="clock is behind"):
                await refused
    await peppers.retire(hub, "test", old)


async def test_a_process_whose_clock_is_behind_takes_no_client_back_to_the_pepper_before(
    hub: Hub, other: Hub, client: NewClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    await rotated(hub)
    await logged_in(hub, client)
    old = (await peppers.uses(hub))[0].id
    async with other.store.read() as session:
        await other.vault.know_peppers(session)
    monkeypatch.setattr(vault, "REREAD_S", 60.0)  # from here on the other goes by its look of a moment ago
    hub.vault.forget(vault.SYSTEM, vault.PEPPER)
    await peppers.retire(hub, "test", old)
    monkeypatch.setattr(vault, "KNOWN_AFTER_S", 3600)  # by its clock the new one makes nothing yet
    await logged_in(other, client)
    for each in (hub, other):
        each.vault.forget(vault.SYSTEM, vault.PEPPER)
        await logged_in(each, client)


async def test_what_no_pepper_made_fits_nobody(hub: Hub, client: NewClient) -> None:
    """A hash of zeros, of a pepper that has ended, of one that never was."""
    await rotated(hub)
    await logged_in(hub, client)
    await peppers.retire(hub, "test", (await peppers.uses(hub))[0].id)
    for made_up in (bytes(32), b"dkey-aaaaaaaaaaaaaaaa" + bytes(32), b""):
        async with hub.store.write() as session:
            await session.execute(text("UPDATE api_client SET secret_hash = :made_up"), {"made_up": made_up})
        with pytest.raises(InvalidClient):
            await logged_in(hub, client)


async def test_a_head_that_was_changed_is_not_vouched_for(hub: Hub, account_id: str) -> None:
    await audited(hub, account_id, "test", "thing.do", "thing")
    async with hub.store.write() as session:
        await session.execute(text("UPDATE audit_head SET began_at = 1 WHERE account_id = :id"), {"id": account_id})
    await rotated(hub)
    found = [(one.account_id, one.problem) for one in (await audit_proof.verify(hub)).findings]
    assert found == [(account_id, "its head was changed")]


async def test_a_run_that_was_cut_anywhere_goes_on(
    hub: Hub, settings: Settings, registry: Registry, client: NewClient
) -> None:
    for number in range(4):
        await accounts.create_account(hub, f"account {number}")
    for steps in range(8):
        run = peppers.rotate(hub, "test")
        for _ in range(steps % 4):
            await anext(run, None)
        await run.aclose()  # type: ignore[attr-defined]
        async with open_hub(settings, registry) as fresh:
            await logged_in(fresh, client)
            assert (await audit_proof.verify(fresh)).findings == []
        assert len(await peppers.uses(hub)) == 2 if steps else 1, "what was cut makes no other pepper"
    await rotated(hub)
    assert len(await peppers.uses(hub)) == 2
    assert (await peppers.uses(hub))[0].heads == 0


async def test_each_step_is_in_the_audit(hub: Hub, client: NewClient) -> None:
    await rotated(hub)
    await logged_in(hub, client)
    await peppers.retire(hub, "test", (await peppers.uses(hub))[0].id)
    acts = await hub.store.rows("SELECT action FROM audit WHERE action LIKE 'pepper.%' ORDER BY seq", {})
    assert [row[0] for row in acts] == ["pepper.begin", "pepper.rotate", "pepper.retire"]
