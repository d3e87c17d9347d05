"""Accounts and their API clients, by keys."""

from __future__ import annotations

import re

import pytest
from joinder_tui.screens.accounts import Accounts
from joinder_tui.screens.ask import Ask, Checklist
from joinder_tui.screens.confirm import Confirm, ConfirmByName
from joinder_tui.screens.secret import Secret
from joinder_tui.widgets.table import Table
from sqlmodel import select
from textual.widgets import Input

from joinder.runtime.hub import Hub
from joinder.services.records import accounts
from joinder.services.records.access_tokens import InvalidClient, Tokens
from joinder.store.tables import Audit
from services.conftest import Enroll
from tui.terminal import OpenTerminal, Terminal


async def works(hub: Hub, client_id: str, secret: str) -> bool:
    try:
        await Tokens(hub).issue(client_id, secret, None)
    except InvalidClient:
        return False
    return True


async def actors(hub: Hub, *actions: str) -> set[tuple[str, str]]:
    async with hub.store.read() as session:
        found = (await session.execute(select(Audit))).scalars()
        return {(row.action, row.actor) for row in found if row.action in actions}


async def enter(terminal: Terminal, name: str, value: str) -> None:
    await terminal.until(lambda: isinstance(terminal.app.screen, Ask | ConfirmByName))
    await terminal.enter(value, f"#{name}")
    await terminal.press("enter")


async def shown_secret(terminal: Terminal) -> str:
    """As it is copied; it closes."""
    await terminal.until(lambda: isinstance(terminal.app.screen, Secret))
    await terminal.press("c")
    secret = terminal.app.clipboard
    assert secret in terminal.text().replace("\n", "")
    assert secret not in terminal.app.export_screenshot()
    await terminal.press("escape")
    return secret


async def test_an_account_is_made_and_a_name_that_is_none_is_asked_for_again(
    hub: Hub, open_terminal: OpenTerminal
) -> None:
    async with open_terminal() as terminal:
        await terminal.press("8")
        await terminal.sees("No account yet")
        await terminal.press("a")
        await enter(terminal, "called", "  ")
        await terminal.until(lambda: "An account's name is 1 to 100" in terminal.text())
        await enter(terminal, "called", "Acme Energy")
        await terminal.until(lambda: any(note.startswith("Acme Energy is acct-") for note in terminal.said()))
        [made] = await accounts.list_accounts(hub)
        assert made.name == "Acme Energy"
        await terminal.until(lambda: "Clients of Acme Energy" in terminal.text())
        assert await actors(hub, "account.create") == {("account.create", "terminal")}


async def test_the_next_key_is_about_the_account_that_was_just_made(
    hub: Hub, account_id: str, open_terminal: OpenTerminal
) -> None:
    async with open_terminal() as terminal:
        await terminal.press("8", "a")
        await enter(terminal, "called", "Zeta")
        await terminal.until(lambda: "Clients of Zeta" in terminal.text())
        await terminal.press("n")
        await terminal.until(lambda: isinstance(terminal.app.screen, Ask) and "of Zeta" in terminal.text())
        await enter(terminal, "called", "backend")
        await terminal.press("enter")
        await shown_secret(terminal)
        [zeta] = [one.id for one in await accounts.list_accounts(hub) if one.id != account_id]
        assert [one.name for one in await accounts.list_clients(hub, zeta)] == ["backend"]
        assert await accounts.list_clients(hub, account_id) == []


async def test_a_client_gets_the_ticked_scopes_and_a_secret_that_works(
    hub: Hub, account_id: str, open_terminal: OpenTerminal
) -> None:
    async with open_terminal() as terminal:
        await terminal.press("8", "n")
        await enter(terminal, "called", "backend")
        ticked = terminal.app.screen.query_one(Checklist)
        assert set(ticked.selected) == set(accounts.SCOPES)
        await terminal.press("space", "enter")  # the first off
        secret = await shown_secret(terminal)
        [client] = await accounts.list_clients(hub, account_id)
        assert (client.name, client.scopes.split()) == ("backend", list(accounts.SCOPES[1:]))
        assert await works(hub, client.id, secret)
        await terminal.until(lambda: "● works" in terminal.text())
        assert secret not in terminal.app.export_screenshot()
        assert not any(secret in note for note in terminal.said())
        assert await actors(hub, "client.create") == {("client.create", "terminal")}


async def test_a_client_without_a_scope_is_refused_and_asked_for_again(
    hub: Hub, account_id: str, open_terminal: OpenTerminal
) -> None:
    async with open_terminal() as terminal:
        await terminal.press("8", "n")
        await enter(terminal, "called", "backend")
        terminal.app.screen.query_one(Checklist).deselect_all()
        await terminal.press("enter")
        await terminal.until(lambda: "A client has a name and at least one scope" in terminal.text())
        assert terminal.app.screen.query_one("#called", Input).value == "backend"
        assert terminal.app.screen.query_one(Checklist).selected == []
        await terminal.press("escape")
        assert await accounts.list_clients(hub, account_id) == []


async def test_a_rotation_asks_and_the_old_secret_works_on_unless_it_ends_now(
    hub: Hub, account_id: str, open_terminal: OpenTerminal
) -> None:
    made = await accounts.create_client(hub, account_id, "backend")
    async with open_terminal() as terminal:
        await terminal.press("8", "o")
        assert isinstance(terminal.app.screen, Confirm)
        await terminal.sees("ends in 24 hours")
        await terminal.press("n", "o", "y")
        second = await shown_secret(terminal)
        assert [await works(hub, made.client_id, each) for each in (made.client_secret, second)] == [True, True]
        await terminal.until(lambda: re.search(r"works in (1 d|23 h)", terminal.text()) is not None)

        await terminal.press("O")
        await terminal.sees("ends at once")
        await terminal.press("y")
        third = await shown_secret(terminal)
        assert [await works(hub, made.client_id, each) for each in (second, third)] == [False, True]
        assert await actors(hub, "client.rotate") == {("client.rotate", "terminal")}


async def test_revoking_wants_the_id(hub: Hub, account_id: str, open_terminal: OpenTerminal) -> None:
    made = await accounts.create_client(hub, account_id, "backend")
    async with open_terminal() as terminal:
        await terminal.press("8", "x")
        await terminal.until(lambda: isinstance(terminal.app.screen, ConfirmByName))
        await terminal.sees("within 30 seconds")
        await enter(terminal, "name", "backend")
        assert await works(hub, made.client_id, made.client_secret)
        await enter(terminal, "name", made.client_id)
        await terminal.until(lambda: "Revoked" in terminal.said())
        assert not await works(hub, made.client_id, made.client_secret)
        await terminal.until(lambda: "■ revoked" in terminal.text())
        await terminal.press("o", "y")
        await terminal.until(lambda: any("This client is revoked" in note for note in terminal.said()))
        assert await actors(hub, "client.revoke") == {("client.revoke", "terminal")}


async def test_an_account_is_renamed(hub: Hub, account_id: str, open_terminal: OpenTerminal) -> None:
    async with open_terminal() as terminal:
        await terminal.press("8", "e")
        await terminal.until(lambda: isinstance(terminal.app.screen, Ask))
        assert terminal.app.screen.query_one("#called", Input).value == "test"
        await enter(terminal, "called", "Acme Energy")
        await terminal.until(lambda: "Clients of Acme Energy" in terminal.text())
        assert [row.name for row in await accounts.list_accounts(hub)] == ["Acme Energy"]
        assert await actors(hub, "account.rename") == {("account.rename", "terminal")}


async def test_deleting_an_account_says_what_goes_and_wants_its_name(
    hub: Hub, account_id: str, enroll: Enroll, open_terminal: OpenTerminal
) -> None:
    await enroll("ada")
    other = (await accounts.create_account(hub, "zeta")).id
    async with open_terminal() as terminal:
        terminal.app.account_id = account_id
        await terminal.press("8", "d")
        await terminal.until(lambda: isinstance(terminal.app.screen, ConfirmByName))
        await terminal.sees("1 enrollment")
        await enter(terminal, "name", "zeta")
        assert len(await accounts.list_accounts(hub)) == 2
        await enter(terminal, "name", "test")
        await terminal.until(lambda: "Deleted" in terminal.said())
        assert [row.id for row in await accounts.list_accounts(hub)] == [other]
        assert terminal.app.account_id is None
        await terminal.until(lambda: "Clients of zeta" in terminal.text())
        assert await actors(hub, "account.delete") == {("account.delete", "terminal")}


async def test_only_one_account_is_shown_elsewhere_until_all_are_again(
    hub: Hub, account_id: str, open_terminal: OpenTerminal
) -> None:
    other = (await accounts.create_account(hub, "zeta")).id
    async with open_terminal() as terminal:
        await terminal.press("8", "down", "f")
        assert terminal.app.account_id == other
        await terminal.sees("◆")
        await terminal.press("up", "f")
        assert terminal.app.account_id == account_id
        await terminal.press("f")
        assert terminal.app.account_id is None
        await terminal.until(lambda: "◆" not in terminal.text())


async def test_clients_follow_the_cursor_and_ids_are_copied(
    hub: Hub, account_id: str, open_terminal: OpenTerminal
) -> None:
    other = (await accounts.create_account(hub, "zeta")).id
    mine, theirs = [(await accounts.create_client(hub, owner, "c")).client_id for owner in (account_id, other)]
    async with open_terminal() as terminal:
        await terminal.press("8")
        below = terminal.page.query_one("#below", Table)
        assert below.selected == mine
        await terminal.press("down")
        assert below.selected == theirs
        await terminal.press("i")
        assert terminal.app.clipboard == other
        await terminal.press("tab", "i")
        assert terminal.app.clipboard == theirs


async def test_read_only_changes_nothing(hub: Hub, account_id: str, open_terminal: OpenTerminal) -> None:
    made = await accounts.create_client(hub, account_id, "backend")
    async with open_terminal(readonly=True) as terminal:
        await terminal.press("8", "a", "e", "d", "n", "o", "O", "x")
        assert isinstance(terminal.app.screen, Accounts)
        assert await works(hub, made.client_id, made.client_secret)


@pytest.mark.parametrize("size", [(80, 24), (60, 16)])
async def test_small_terminals(hub: Hub, account_id: str, open_terminal: OpenTerminal, size: tuple[int, int]) -> None:
    made = await accounts.create_client(hub, account_id, "backend")
    async with open_terminal(size=size) as terminal:
        await terminal.press("8")
        for wanted in ("Enrollments", "Clients of test", "backend", made.client_id):
            await terminal.sees(wanted)
        await terminal.press("n")
        await terminal.until(lambda: isinstance(terminal.app.screen, Ask))
        await terminal.sees("▐X▌ read:sites")
