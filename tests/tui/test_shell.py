"""The terminal whatever happens: no key, no database, a vendor that hangs, no room, no colour."""

from __future__ import annotations

import asyncio
import os
import re
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from joinder_tui import app as module
from joinder_tui.acts import acts_of
from joinder_tui.app import JoinderApp, opening
from joinder_tui.pages import PAGES
from joinder_tui.screens.confirm import Confirm
from joinder_tui.screens.enrollments import Enrollments
from joinder_tui.screens.help import Help
from joinder_tui.screens.now import Now
from joinder_tui.screens.opening import Opening, TooSmall
from joinder_tui.widgets.crumbs import Crumbs
from joinder_tui.widgets.notes import Note, Notes
from msgspec import structs

from joinder.runtime.hub import Hub, open_hub
from joinder.services.join import renewal
from joinder.settings import ConfigError, Settings
from joinder.store.key_file import create_key_file
from joinder.trouble import StoreAway
from services.conftest import Enroll
from tui.terminal import OpenTerminal, Terminal


async def said_at_opening(settings: Settings) -> str:
    """What the first screen says instead of going on; q still leaves."""
    app = JoinderApp(opening(settings))
    async with app.run_test(size=(100, 30)) as pilot:
        terminal = Terminal(app, pilot)
        await terminal.until(lambda: "Press q to leave" in terminal.text())
        assert isinstance(app.screen, Opening)
        await pilot.press("2", "question_mark", "escape")
        return terminal.text()


async def test_a_database_that_is_away_at_the_start_is_asked_again_until_it_is_there(
    hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "AGAIN_S", 0.01)
    is_there = asyncio.Event()

    @asynccontextmanager
    async def opening_late() -> AsyncIterator[Hub]:
        if not is_there.is_set():
            raise StoreAway("ConnectionRefusedError at db.example/hub")
        yield hub

    app = JoinderApp(opening_late)
    async with app.run_test(size=(100, 30)) as pilot:
        terminal = Terminal(app, pilot)
        await terminal.sees("It is asked again until it is there.")
        is_there.set()
        await terminal.sees("Needs you")
        await pilot.press("q")
    assert app.return_value == 0


@pytest.mark.parametrize(("error", "code"), [(StoreAway("gone"), 75), (ConfigError("no key"), 78), (KeyError("x"), 1)])
async def test_who_leaves_without_a_store_tells_why_by_the_exit_code(error: Exception, code: int) -> None:
    @asynccontextmanager
    async def refused() -> AsyncIterator[Hub]:
        raise error
        yield

    app = JoinderApp(refused)
    async with app.run_test(size=(100, 30)) as pilot:
        await Terminal(app, pilot).sees("Press q to leave")
        await pilot.press("q")
    assert app.return_value == code


async def test_no_key_is_a_sentence_with_a_next_step(settings: Settings, tmp_path: Path) -> None:
    text = await said_at_opening(structs.replace(settings, key_file=str(tmp_path / "none")))
    assert "joinder keys create" in text


async def test_another_key_is_a_sentence(settings: Settings, tmp_path: Path) -> None:
    async with open_hub(settings):
        pass
    create_key_file(tmp_path / "other")
    assert "Wrong key" in await said_at_opening(structs.replace(settings, key_file=str(tmp_path / "other")))


async def test_a_newer_database_is_a_sentence(settings: Settings) -> None:
    async with open_hub(settings) as hub:
        path = hub.store.place
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    assert "newer" in await said_at_opening(settings)


async def test_a_database_that_goes_away_shows_a_banner_and_comes_back(
    hub: Hub, enroll: Enroll, open_terminal: OpenTerminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    await enroll("ada")
    async with open_terminal() as terminal:

        async def away(sql: str, parameters: Any) -> Any:
            raise sqlite3.OperationalError("database is locked, secret text of a driver")

        with monkeypatch.context() as patched:
            patched.setattr(hub.store, "rows", away)
            patched.setattr(hub.store, "scan", away)
            terminal.page.tick()
            await terminal.settled()
            await terminal.sees("The database cannot be used (OperationalError)")
            assert "secret text" not in terminal.text()
            await terminal.press("2")
        terminal.page.tick()
        await terminal.until(lambda: "asking again" not in terminal.text())
        await terminal.sees("enrl-")


async def test_a_store_that_hangs_leaves_the_keys_alive(
    hub: Hub, open_terminal: OpenTerminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PATIENCE_S", 0.2)
    async with open_terminal() as terminal:

        async def hang(sql: str, parameters: Any) -> Any:
            await asyncio.sleep(60)

        monkeypatch.setattr(hub.store, "rows", hang)
        monkeypatch.setattr(hub.store, "scan", hang)
        terminal.page.tick()
        await terminal.pilot.press("question_mark")
        await terminal.until(lambda: isinstance(terminal.app.screen, Help))
        await terminal.pilot.press("escape")
        await terminal.until(lambda: "does not answer" in terminal.text())


async def test_a_vendor_that_hangs_is_shown_and_can_be_left(
    enroll: Enroll, open_terminal: OpenTerminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    await enroll("ada")
    asked = asyncio.Event()

    async def hang(hub: Hub, enrollment_id: str, actor: str) -> None:
        asked.set()
        await asyncio.sleep(60)

    monkeypatch.setattr(renewal, "renew", hang)
    async with open_terminal() as terminal:
        await terminal.press("2", "r")
        await terminal.until(asked.is_set)
        await terminal.until(lambda: "Refreshing site-of-ada" in terminal.text())
        await terminal.press("1")
        assert isinstance(terminal.page, Now)
        await terminal.until(lambda: "Refreshing site-of-ada" in terminal.text())
        await terminal.press("ctrl+x")
        await terminal.until(lambda: any("not waited for any more" in text for text in terminal.said()))


async def test_a_terminal_too_small_says_so_and_recovers(open_terminal: OpenTerminal) -> None:
    async with open_terminal(size=(80, 24)) as terminal:
        await terminal.pilot.resize_terminal(39, 9)
        await terminal.until(lambda: isinstance(terminal.app.screen, TooSmall))
        await terminal.pilot.resize_terminal(60, 16)
        await terminal.until(lambda: isinstance(terminal.app.screen, Now))


@pytest.mark.parametrize("size", [(120, 40), (80, 24), (60, 16)])
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
async def test_every_screen_opens_at_every_size(
    enroll: Enroll, open_terminal: OpenTerminal, size: tuple[int, int], page: Any
) -> None:
    await enroll("ada")
    async with open_terminal(size=size) as terminal:
        await terminal.press(page.key)
        assert type(terminal.page).__module__.endswith(f".{page.name}")
        await terminal.sees(f" {page.key} {page.label}")
        await terminal.press("question_mark")
        await terminal.sees("ommand")
        await terminal.press("escape")


async def test_what_was_said_before_lies_over_no_dialog_and_what_is_said_there_does(
    enroll: Enroll, open_terminal: OpenTerminal
) -> None:
    await enroll("ada")
    async with open_terminal(notifications=True) as terminal:
        await terminal.press("2")
        terminal.app.notify("said on the page", timeout=600)
        await terminal.sees("said on the page")
        await terminal.press("p")
        await terminal.until(lambda: isinstance(terminal.app.screen, Confirm))
        await terminal.settled()
        assert not terminal.app.screen.query("Toast")
        terminal.app.notify("said over it", timeout=600)
        await terminal.until(lambda: len(terminal.app.screen.query("Toast")) == 1)
        await terminal.press("n")
        await terminal.sees("said on the page")


@pytest.mark.parametrize("digit", ["1", "2", "3", "4", "5", "7"])
async def test_enter_stands_on_the_bar_where_it_leads_somewhere(
    enroll: Enroll, open_terminal: OpenTerminal, digit: str
) -> None:
    await enroll("ada")
    async with open_terminal() as terminal:
        await terminal.press(digit)
        await terminal.until(lambda: "⏎" in terminal.text().splitlines()[-1])


async def test_help_is_read_in_a_narrow_terminal(open_terminal: OpenTerminal) -> None:
    async with open_terminal(size=(40, 24)) as terminal:
        await terminal.press("1", "question_mark")
        await terminal.sees("o  Enrollments whose owner must")
        await terminal.sees("   joinder enrollments list")


@pytest.mark.parametrize("width", [200, 120, 80, 60, 40])
async def test_every_digit_is_on_top_at_every_width_and_a_click_leads_there(
    open_terminal: OpenTerminal, width: int
) -> None:
    async with open_terminal(size=(width, 20)) as terminal:
        await terminal.until(lambda: " 1 Now " in terminal.text())
        top = terminal.text().splitlines()[0]
        assert all(f" {page.key}" in top for page in PAGES)
        assert ("8 Accounts" in top) == (width >= 120)
        await terminal.pilot.click(Crumbs, offset=(top.index(" 2") + 1, 0))
        await terminal.until(lambda: isinstance(terminal.app.screen, Enrollments))


@pytest.mark.parametrize(("width", "told"), [(200, True), (120, False), (80, False)])
async def test_which_hub_it_is_and_that_it_simulates_stand_on_top(
    hub: Hub, enroll: Enroll, open_terminal: OpenTerminal, width: int, told: bool
) -> None:
    await enroll("ada")
    hub.settings = structs.replace(hub.settings, reroute={"tesla.api.example": "http://127.0.0.1:8701"})
    async with open_terminal(size=(width, 24), readonly=True) as terminal:
        await terminal.sees("read-only simulators")
        top = terminal.text().splitlines()[0]
        assert all(f" {page.key}" in top for page in PAGES)
        assert (f"{hub.settings.public_url.partition('://')[2]} · {hub.store.dialect}" in top) == told


async def test_no_colour_is_asked_for_and_states_keep_their_signs(
    enroll: Enroll, open_terminal: OpenTerminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(os.environ, "NO_COLOR", "1")
    await enroll("ada")
    async with open_terminal() as terminal:
        assert terminal.app.no_color
        await terminal.sees("◌ connecting")


async def test_the_palette_has_every_act(enroll: Enroll, open_terminal: OpenTerminal) -> None:
    await enroll("ada")
    async with open_terminal() as terminal:
        await terminal.press("2")
        titles = [command.title for command in terminal.app.get_system_commands(terminal.page)]
        assert {"Refresh", "Backfill", "Revoke", "Faults only", "Help", "Keys", "Theme"} <= set(titles)
        assert (titles.count("Keys"), titles.count("Quit")) == (1, 1)  # Textual has its own of these names
    async with open_terminal(readonly=True) as terminal:
        await terminal.press("2")
        found = {command.title for command in terminal.app.get_system_commands(terminal.page)}
        assert {"Refresh", "Backfill", "Revoke"}.isdisjoint(found)


async def test_what_is_too_long_for_a_clipboard_is_not_cut(open_terminal: OpenTerminal) -> None:
    async with open_terminal() as terminal:
        terminal.app.copy("x" * 60_000, "Everything")
        await terminal.settled()
        assert "too long" in terminal.said()[-1]
        terminal.app.copy("x", "One letter")
        assert terminal.app.clipboard == "x"


@pytest.mark.parametrize("readonly", [False, True])
@pytest.mark.parametrize("key", ["1", "2", "4"])
async def test_the_top_and_the_last_line_are_whole_at_every_width(
    open_terminal: OpenTerminal, key: str, readonly: bool
) -> None:
    async with open_terminal(size=(200, 20), readonly=readonly) as terminal:
        await terminal.press(key)
        for width in (200, 160, 120, 100, 80, 72, 60, 52, 41, 40):
            await terminal.pilot.resize_terminal(width, 20)
            for waiting in (0, 7, 123_456):
                terminal.app.waiting = waiting
                await terminal.settled()
                top = terminal.text().splitlines()[0]
                digits = [top.index(f" {one.key}") for one in PAGES]
                assert digits == sorted(digits), top
                assert ("▲123456" in top) == (waiting == 123_456), top
                assert ("read-only" in top) == readonly, top
            last = terminal.text().splitlines()[-1]
            assert " ? Help" in last
            words = [act.description for act in (*acts_of(terminal.page.BINDINGS), *acts_of(JoinderApp.BINDINGS))]
            shown = re.findall(r"(?<= )\S+ [A-Z][a-z ]+?(?=  |$)", last.split("▏")[0])
            assert {one.split(" ", 1)[1] for one in shown} <= {*words}, last


@pytest.mark.parametrize("size", [(40, 10), (80, 24), (120, 40), (200, 60)])
async def test_what_is_said_covers_nothing(enroll: Enroll, open_terminal: OpenTerminal, size: tuple[int, int]) -> None:
    await enroll("ada")
    async with open_terminal(size=size, notifications=True) as terminal:
        await terminal.press("2")
        reason = terminal.page.query_one("#reason")
        for severity in ("information", "warning", "error"):
            terminal.app.notify(f"this is {severity}", severity=severity, timeout=600)
        await terminal.sees("✗ this is error")
        assert ("✓ this is information" in terminal.text()) == (size[1] >= 24)
        spot = terminal.page.query_one(Notes).region
        assert not any(spot.overlaps(each.region) for each in (reason, *terminal.page.query("Table, Hints, Crumbs")))
        await terminal.until(lambda: bool(terminal.page.query("Toast")))
        await terminal.settled()
        assert terminal.text().count("this is error") == 1  # and in no toast
        await terminal.pilot.click(Notes)
        await terminal.until(lambda: "this is error" not in terminal.text())
        terminal.app.notes = (Note("this is over", "information", 0.0), Note("this is not", "information", 600.0))
        terminal.app.notify("the newest", timeout=0.05)  # whose end looks after all of them
        await terminal.until(lambda: [note.text for note in terminal.app.notes] == ["this is not"])
