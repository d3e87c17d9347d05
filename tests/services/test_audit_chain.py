"""S26: the audit proves itself. Each way to tamper with its rows is found, and names where."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import msgspec
import pytest
from sqlalchemy import text

from joinder.clock import now
from joinder.observe.log_context import log_context
from joinder.runtime.hub import Hub, audit
from joinder.services.admin import audit_proof
from joinder.services.admin.audit_proof import Line
from joinder.services.records import accounts
from joinder.services.records.access_tokens import InvalidClient, InvalidScope, Tokens
from joinder.services.refusals import Unprocessable
from joinder.store import audit_chain
from joinder.store.audit_chain import SYSTEM
from joinder.store.tables import Event

ENTRIES = 8


@pytest.fixture
async def account(hub: Hub) -> str:
    """An account with eight entries, made in one and in several transactions."""
    account_id = (await accounts.create_account(hub, "chained")).id
    for number in range(4):
        await accounts.rename_account(hub, account_id, "test", f"name {number}")
    async with hub.store.write(account_id) as session:
        for number in range(3):
            audit(session, account_id, "test", "thing.do", f"thing-{number}", reason="because")
    return account_id


async def sql(hub: Hub, statement: str, **values: object) -> None:
    async with hub.store.write() as session:
        await session.execute(text(statement), values)


async def problems(hub: Hub, account_id: str | None = None) -> list[tuple[str, int | None]]:
    return [(one.problem, one.seq) for one in (await audit_proof.verify(hub, account_id)).findings]


async def exported(hub: Hub, account_id: str | None = None) -> list[bytes]:
    return [msgspec.json.encode(line) async for line in audit_proof.export(hub, account_id)]


async def test_an_untouched_audit_holds(hub: Hub, account: str) -> None:
    proof = await audit_proof.verify(hub, account)
    assert (proof.entries, proof.chains, proof.findings) == (ENTRIES, 1, [])
    assert (await audit_proof.verify(hub)).findings == []


def _edit(column: str, value: str) -> Callable[[Hub, str], Awaitable[None]]:
    statement = f"UPDATE audit SET {column} = :value WHERE account_id = :account AND seq = 3"  # noqa: S608

    async def edit(hub: Hub, account: str) -> None:
        await sql(hub, statement, value=int(value) if column == "at" else value, account=account)

    return edit


async def _delete_one(hub: Hub, account: str) -> None:
    await sql(hub, "DELETE FROM audit WHERE account_id = :account AND seq = 3", account=account)


async def _delete_first(hub: Hub, account: str) -> None:
    await sql(hub, "DELETE FROM audit WHERE account_id = :account AND seq <= 2", account=account)


async def _cut_off(hub: Hub, account: str) -> None:
    await sql(hub, "DELETE FROM audit WHERE account_id = :account AND seq > 5", account=account)


async def _cut_off_with_head(hub: Hub, account: str) -> None:
    """Also puts the head where the rest of the chain ends; only its mac cannot be made."""
    await _cut_off(hub, account)
    head = "UPDATE audit_head SET seq = 5, hash = (SELECT hash FROM audit WHERE account_id = :account AND seq = 5) "
    await sql(hub, head + "WHERE account_id = :account", account=account)


async def _swap(hub: Hub, account: str) -> None:
    for old, new in ((3, 103), (4, 3), (103, 4)):
        statement = "UPDATE audit SET seq = :new WHERE account_id = :account AND seq = :old"
        await sql(hub, statement, old=old, new=new, account=account)


async def _insert(hub: Hub, account: str) -> None:
    await sql(
        hub,
        "INSERT INTO audit (id, account_id, actor, action, target, at, seq, hash) "
        "SELECT 'evnt-aaaaaaaaaaaaaaaa', account_id, 'nobody', 'a', 't', at, 9, hash FROM audit "
        "WHERE account_id = :account AND seq = 8",
        account=account,
    )


async def _insert_beside(hub: Hub, account: str) -> None:
    await sql(
        hub,
        "INSERT INTO audit (id, account_id, actor, action, target, at) "
        "VALUES ('evnt-aaaaaaaaaaaaaaaa', :account, 'nobody', 'a', 't', 4000000000)",
        account=account,
    )


async def _take_out(hub: Hub, account: str) -> None:
    statement = "UPDATE audit SET seq = NULL, hash = NULL WHERE account_id = :account AND seq = 8"
    await sql(hub, statement, account=account)


async def _delete_head(hub: Hub, account: str) -> None:
    await sql(hub, "DELETE FROM audit_head WHERE account_id = :account", account=account)


async def _delete_all(hub: Hub, account: str) -> None:
    await _delete_head(hub, account)
    await sql(hub, "DELETE FROM audit WHERE account_id = :account", account=account)


async def _prune_by_hand(hub: Hub, account: str) -> None:
    await _delete_first(hub, account)
    head = "UPDATE audit_head SET base_seq = 2, base_hash = (SELECT hash FROM audit WHERE seq = 3 "
    await sql(hub, head + "AND account_id = :account) WHERE account_id = :account", account=account)


async def _other_chain(hub: Hub, account: str) -> None:
    """A whole chain of another account in this one's place."""
    other = (await accounts.create_account(hub, "other")).id
    await _delete_all(hub, account)
    await sql(hub, "UPDATE audit SET account_id = :account WHERE account_id = :other", account=account, other=other)
    await sql(
        hub, "UPDATE audit_head SET account_id = :account WHERE account_id = :other", account=account, other=other
    )


TAMPERING = {
    "an actor": (_edit("actor", "somebody else"), "was changed"),
    "a target": (_edit("target", "acct-aaaaaaaaaaaaaaaa"), "was changed"),
    "a reason": (_edit("reason", "another"), "was changed"),
    "a result": (_edit("result", "refused"), "was changed"),
    "a time": (_edit("at", "1"), "was changed"),
    "a request": (_edit("request_id", "another"), "was changed"),
    "a hash of what was before": (_edit("before_hash", "0"), "was changed"),
    "one deleted": (_delete_one, "were deleted"),
    "the first deleted": (_delete_first, "were deleted"),
    "the last deleted": (_cut_off, "last entries were deleted"),
    "the last deleted with the head": (_cut_off_with_head, "head was changed"),
    "two swapped": (_swap, "was changed"),
    "one put behind": (_insert, "behind the head"),
    "one put beside": (_insert_beside, "outside of the chain"),
    "the last taken out": (_take_out, "last entries were deleted"),
    "the head deleted": (_delete_head, "head was deleted"),
    "all deleted": (_delete_all, "whole chain was deleted"),
    "pruned by hand": (_prune_by_hand, "head was changed"),
    "another account's": (_other_chain, "head was changed"),
}


@pytest.mark.parametrize("name", TAMPERING)
async def test_tampering_is_found(hub: Hub, account: str, name: str) -> None:
    tamper, words = TAMPERING[name]
    await tamper(hub, account)
    found = (await audit_proof.verify(hub)).findings
    assert any(words in one.problem and one.account_id == account for one in found), found


async def test_what_rolled_back_is_in_no_chain(hub: Hub, account: str) -> None:
    async def fail() -> None:
        async with hub.store.write(account) as session:
            audit(session, account, "test", "thing.do", "thing")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        await fail()
    proof = await audit_proof.verify(hub, account)
    assert (proof.entries, proof.findings) == (ENTRIES, [])


async def test_many_at_once_make_one_chain(hub: Hub, account: str) -> None:
    async def one(number: int) -> None:
        async with hub.store.write() as session:
            audit(session, account, "test", "thing.do", f"thing-{number}")

    await asyncio.gather(*(one(number) for number in range(20)))
    proof = await audit_proof.verify(hub, account)
    assert (proof.entries, proof.findings) == (ENTRIES + 20, [])


async def test_many_accounts_that_begin_at_once_are_all_in_the_system_s_chain(hub: Hub) -> None:
    made = await asyncio.gather(*(accounts.create_account(hub, f"account {number}") for number in range(8)))
    assert (await audit_proof.verify(hub)).findings == []
    lines = [msgspec.json.decode(line, type=Line) for line in await exported(hub, SYSTEM)]
    assert {line.target for line in lines if line.action == "audit.begin"} >= {account.id for account in made}


async def test_an_entry_names_its_request_and_what_the_row_was_before_and_after(hub: Hub, account: str) -> None:
    with log_context(request_id="req-7"):
        await accounts.rename_account(hub, account, "test", "renamed")
        await accounts.rename_account(hub, account, "test", "renamed")
    first, second = [msgspec.json.decode(line, type=Line) for line in (await exported(hub, account))[-3:-1]]
    assert (first.request_id, first.result) == ("req-7", "ok")
    assert first.before_hash not in (None, first.after_hash)
    assert second.before_hash == second.after_hash == first.after_hash  # nothing of the row changed
    made = msgspec.json.decode((await exported(hub, account))[0], type=Line)
    assert (made.action, made.before_hash, made.after_hash is None) == ("account.create", None, False)


async def test_half_a_character_of_a_vendor_is_in_the_hash_as_any_other_text_is(hub: Hub, account: str) -> None:
    row = Event(id="evnt-half", account_id=account, enrollment_id="", type="test", data={}, at=now())
    for name in ("\ud800", "\ud801"):  # a column of text takes none, JSON does
        async with hub.store.write(account) as session:
            row.data = {"reason": name}
            row = await session.merge(row)
            audit(session, account, "test", "event.write", row.id)
    first, second = [msgspec.json.decode(line, type=Line) for line in (await exported(hub, account))[-3:-1]]
    assert None is first.before_hash != first.after_hash == second.before_hash != second.after_hash


# Kept elsewhere


async def test_an_export_proves_that_the_database_did_not_go_back(hub: Hub, account: str) -> None:
    kept = await exported(hub)
    assert await audit_proof.against(hub, kept) == []
    await accounts.rename_account(hub, account, "test", "later")
    assert await audit_proof.against(hub, kept) == []
    later = await exported(hub)
    await sql(hub, "DELETE FROM audit WHERE account_id = :account AND seq > 8", account=account)
    head = msgspec.json.decode(kept[[b"signature" in line for line in kept].index(True)], type=Line)
    assert head.signature is not None
    found = await audit_proof.against(hub, later)
    assert {one.problem for one in found} == {"differs from the file"}


async def test_a_file_that_was_changed_is_no_proof(hub: Hub, account: str) -> None:
    kept = await exported(hub, account)
    assert (
        "signature is not ours"
        in (await audit_proof.against(hub, [kept[-1].replace(b'"seq":8', b'"seq":7')]))[0].problem
    )
    assert "end is missing" in (await audit_proof.against(hub, kept[:-1]))[0].problem
    with pytest.raises(Unprocessable, match="Line 2"):
        await audit_proof.against(hub, [kept[0], b"nothing"])


async def test_a_pruned_chain_holds_and_begins_later(hub: Hub, account: str, monkeypatch: pytest.MonkeyPatch) -> None:
    kept, later = await exported(hub, account), now() + 1000
    monkeypatch.setattr(audit_chain, "now", lambda: later)
    assert await audit_proof.prune(hub, "test", account, later) == 0  # the newest entry stays
    await accounts.rename_account(hub, account, "test", "later")
    assert await audit_proof.prune(hub, "test", account, later) == ENTRIES
    lines = [msgspec.json.decode(line, type=Line) for line in await exported(hub, account)]
    assert [line.action for line in lines] == ["account.rename", "audit.prune", None]
    assert await problems(hub, account) == []
    assert await audit_proof.against(hub, kept) == []


async def test_a_chain_that_does_not_hold_is_not_pruned(hub: Hub, account: str) -> None:
    await _delete_one(hub, account)
    with pytest.raises(Unprocessable, match="does not hold"):
        await audit_proof.prune(hub, "test", account, now() + 86400)


# Log-ins


async def _logins(hub: Hub) -> list[tuple[str, str, str | None]]:
    rows = await hub.store.rows(
        "SELECT target, result, reason FROM audit WHERE action IN ('client.login', 'client.refused') ORDER BY at, seq",
        {},
    )
    return [(str(row[0]), str(row[1]), row[2]) for row in rows]


async def test_log_ins_good_and_bad_are_noted_once_a_minute(hub: Hub, account: str) -> None:
    tokens, client = Tokens(hub), await accounts.create_client(hub, account, "backend", ("read:sites",))
    for _ in range(3):
        await tokens.issue(client.client_id, client.client_secret, None)
        with pytest.raises(InvalidClient):
            await tokens.issue(client.client_id, "wrong", None)
        with pytest.raises(InvalidScope):
            await tokens.issue(client.client_id, client.client_secret, "manage:flows")
        for unknown in ("clnt-aaaaaaaaaaaaaaaa", "x" * 1000):
            with pytest.raises(InvalidClient):
                await tokens.issue(unknown, "wrong", None)
        tokens.audit.refused(account, client.client_id, "manage:flows")
    await asyncio.gather(*hub.notes)
    assert sorted(await _logins(hub)) == [
        (client.client_id, "ok", None),
        (client.client_id, "refused", "it asked for scopes it does not have"),
        (client.client_id, "refused", "it lacks manage:flows"),
        (client.client_id, "refused", "wrong secret"),
        ("unknown client", "refused", "wrong secret"),
    ]
    assert (await audit_proof.verify(hub)).findings == []
