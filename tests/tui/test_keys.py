"""The keys of the key file, by keys."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from joinder_tui.screens.confirm import Confirm, ConfirmByName
from joinder_tui.screens.keys import Keys
from joinder_tui.screens.now import Now
from joinder_tui.widgets.table import Table
from sqlmodel import col, select
from textual.widgets import ProgressBar

from joinder.runtime.hub import Hub
from joinder.services.admin import keys, peppers
from joinder.services.records import accounts
from joinder.settings import Settings
from joinder.store import vault
from joinder.store.key_file import read_key_file
from joinder.store.tables import Audit, DataKey
from tui.terminal import OpenTerminal


def in_file(settings: Settings) -> list[str]:
    return [kek.id for kek in read_key_file(Path(settings.key_file))]


async def wrapped_by(hub: Hub) -> list[str]:
    """A key's id for each data key."""
    async with hub.store.read() as session:
        return list((await session.execute(select(DataKey.kek_id))).scalars())


async def actors(hub: Hub) -> list[tuple[str, str]]:
    async with hub.store.read() as session:
        found = (await session.execute(select(Audit).where(col(Audit.action).like("key.%")))).scalars()
        return [(row.action, row.actor) for row in found]


async def test_a_rotation_asks_shows_its_progress_and_leaves_the_old_key(
    hub: Hub, settings: Settings, account_id: str, open_terminal: OpenTerminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keys, "BATCH", 1)
    for name in ("one", "two"):
        await accounts.create_account(hub, name)
    [old] = in_file(settings)
    seen: list[tuple[float, float | None, bool]] = []
    async with open_terminal() as terminal:
        await terminal.press("9")
        await terminal.sees("● wraps what is new")
        await terminal.press("o")
        assert isinstance(terminal.app.screen, Confirm)
        await terminal.press("n")
        assert in_file(settings) == [old]

        bar = terminal.page.query_one(ProgressBar)
        for name in ("progress", "total"):
            terminal.page.watch(bar, name, lambda: seen.append((bar.progress, bar.total, bar.display)), init=False)
        await terminal.press("o", "y")
        await terminal.until(lambda: any(" wraps " in note for note in terminal.said()))
        new, kept = in_file(settings)
        assert kept == old
        assert set(await wrapped_by(hub)) == {new}
        total = len(await wrapped_by(hub))
        assert [step for step in seen if step[0] > 0] == [(done, total, True) for done in range(1, total + 1)]
        assert not bar.display
        await terminal.until(lambda: "○ may be retired" in terminal.text())
        assert await actors(hub) == [("key.rotate", "terminal")]


async def test_a_rotation_that_is_cut_goes_on_with_the_next(
    hub: Hub, settings: Settings, account_id: str, open_terminal: OpenTerminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keys, "BATCH", 1)
    rewrap, steps = keys._rewrap_some, []

    async def hang(*arguments: Any) -> Any:
        if steps:
            await asyncio.sleep(3600)
        steps.append(await rewrap(*arguments))
        return steps[-1]

    monkeypatch.setattr(keys, "_rewrap_some", hang)
    async with open_terminal() as terminal:
        await terminal.press("9", "o", "y")
        await terminal.until(lambda: terminal.page.query_one(ProgressBar).progress == 1)
        await terminal.press("ctrl+x")
        await terminal.until(lambda: any("not waited for any more" in note for note in terminal.said()))
        assert len(set(await wrapped_by(hub))) == 2
        await terminal.until(lambda: "2 data keys; o rotates" in terminal.text())
        assert not terminal.page.query_one(ProgressBar).display

        monkeypatch.setattr(keys, "_rewrap_some", rewrap)
        await terminal.press("o", "y")
        await terminal.until(lambda: any(" wraps " in note for note in terminal.said()))
        assert set(await wrapped_by(hub)) == {in_file(settings)[0]}
        assert len(in_file(settings)) == 2


async def test_prepared_it_is_only_written(
    hub: Hub, settings: Settings, account_id: str, open_terminal: OpenTerminal
) -> None:
    [old] = in_file(settings)
    async with open_terminal() as terminal:
        await terminal.press("9", "p", "y")
        await terminal.until(lambda: any("comes first in the key file" in note for note in terminal.said()))
        assert in_file(settings)[1:] == [old]
        wrapped = await wrapped_by(hub)
        assert set(wrapped) == {old}
        await terminal.sees(f"Wrapped by an older key: {len(wrapped)} data keys; o rotates.")
        await terminal.sees("◐ still needed")


async def test_a_key_that_is_needed_stays_and_one_that_is_not_wants_its_id(
    hub: Hub, settings: Settings, account_id: str, open_terminal: OpenTerminal
) -> None:
    [old] = in_file(settings)
    async with open_terminal() as terminal:
        await terminal.press("9", "x")
        await terminal.until(lambda: any("wraps what is new" in note for note in terminal.said()))
        assert [progress async for progress in keys.rotate(hub, "test")]
        terminal.page.reload()
        await terminal.settled()
        table = terminal.page.query_one(Table)
        assert table.selected == old
        await terminal.press("i")
        assert terminal.app.clipboard == old
        await terminal.press("x")
        await terminal.until(lambda: isinstance(terminal.app.screen, ConfirmByName))
        await terminal.sees("Backups made before the rotation")
        await terminal.press("enter")
        assert old in in_file(settings)
        await terminal.enter(old, "#name")
        await terminal.press("enter")
        await terminal.until(lambda: "Retired" in terminal.said())
        assert old not in in_file(settings)
        await terminal.until(lambda: old not in terminal.text())
        assert ("key.retire", "terminal") in await actors(hub)


async def test_peppers_stand_below_the_keys_with_who_needs_them(
    hub: Hub, account_id: str, open_terminal: OpenTerminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    (old,) = [use.id for use in await peppers.uses(hub)]
    await accounts.create_client(hub, account_id, "billing")
    for module in (vault, peppers):
        monkeypatch.setattr(module, "KNOWN_AFTER_S", -2)
    monkeypatch.setattr(vault, "REREAD_S", 0.0)
    async with open_terminal() as terminal:
        await terminal.press("9")
        await terminal.sees("● makes what is new  billing")
        async for _ in peppers.rotate(hub, "test"):
            pass
        terminal.page.reload()
        await terminal.sees("◐ still needed")
        await terminal.press("tab", "i", "x")
        await terminal.until(lambda: any("billing" in note for note in terminal.said()))
        assert terminal.app.clipboard == old

        (client,) = await accounts.list_clients(hub, account_id)
        await accounts.revoke_client(hub, account_id, client.id, "test")
        terminal.page.reload()
        await terminal.sees("○ may be retired")
        await terminal.press("x")
        await terminal.until(lambda: isinstance(terminal.app.screen, ConfirmByName))
        await terminal.sees("reconnect links")
        await terminal.enter(old, "#name")
        await terminal.press("enter")
        await terminal.until(lambda: "Retired" in terminal.said())
        assert old not in [use.id for use in await peppers.uses(hub)]
        await terminal.press("tab")
        assert terminal.page.query_one("#keys", Table).has_focus


async def test_read_only_changes_nothing(
    hub: Hub, settings: Settings, account_id: str, open_terminal: OpenTerminal
) -> None:
    before = in_file(settings)
    async with open_terminal(readonly=True) as terminal:
        await terminal.press("9", "p", "o", "x")
        assert isinstance(terminal.app.screen, Keys)
        assert terminal.said() == []
        assert in_file(settings) == before


@pytest.mark.parametrize("size", [(80, 24), (60, 16)])
async def test_small_terminals(
    hub: Hub, settings: Settings, account_id: str, open_terminal: OpenTerminal, size: tuple[int, int]
) -> None:
    async with open_terminal(size=size) as terminal:
        await terminal.press("9")
        for wanted in (in_file(settings)[0], "● wraps what is new", "Keep a copy"):
            await terminal.sees(wanted)
        await terminal.press("o")
        await terminal.sees("Rotate the key?")
        await terminal.sees("y  yes")


async def test_the_way_back(account_id: str, open_terminal: OpenTerminal) -> None:
    async with open_terminal() as terminal:
        await terminal.press("9", "escape")
        assert isinstance(terminal.page, Now)
