"""What others named, on every screen of the terminal: nothing of it is markup or an order, and nothing ends the app."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from joinder_tui import app as app_module
from joinder_tui.app import JoinderApp
from joinder_tui.pages import PAGES, Page
from joinder_tui.screens.ask import Ask, Choices, Line
from joinder_tui.screens.confirm import Confirm, ConfirmByName
from joinder_tui.screens.enrollment import Enrollment
from joinder_tui.screens.link import Link
from joinder_tui.screens.one_line import OneLine
from joinder_tui.screens.opening import Opening
from joinder_tui.screens.reveal import Reveal
from joinder_tui.screens.secret import Secret
from joinder_tui.screens.whole import Whole
from joinder_tui.widgets.form import Choice
from joinder_tui.widgets.plain import Static
from rich.text import Text
from sqlmodel import select
from textual import widgets
from textual.screen import Screen
from textual.widgets import Input, Select

from api.fakes import Vendors
from cli.world import World, _readings
from effort import EVERYTHING
from hostile import HOSTILE, SURROGATE, fill, unseen
from joinder.clean import clean_line
from joinder.runtime.hub import Hub
from joinder.services.join import programs
from joinder.services.records import accounts
from joinder.settings import Settings
from joinder.store.tables import Enrollment as Row
from tui.drawing import strips
from tui.terminal import Terminal

DATABASES = ("sqlite",)
ACTS = {  # keys of each page that ask, and so show names; escape leaves each
    "now": ("enter",),
    "enrollments": ("p", "d", "enter", "c"),
    "flows": ("d", "c", "a"),
    "credentials": ("n", "v", "o", "d", "a", "x"),
    "vendors": (),
    "webhooks": ("d", "o", "a", "R"),
    "events": ("J", "x", "tab", "J", "enter"),
    "accounts": ("e", "d", "n", "tab", "o", "x"),
    "keys": (),
    "programs": ("d", "a", "tab", "n"),
}

ASKED = {"Ask", "Confirm", "ConfirmByName", "CredentialForm", "Enrollment", "FlowForm", "Link", "OneLine", "Whole"}


@asynccontextmanager
async def opened(world: World, hub: Hub) -> AsyncIterator[Terminal]:
    @asynccontextmanager
    async def lent() -> AsyncIterator[Hub]:
        yield hub

    app = JoinderApp(lent)
    app.animation_level = "none"
    async with app.run_test(size=(160, 48)) as pilot:
        terminal = Terminal(app, pilot)
        await terminal.until(lambda: isinstance(app.screen, Page))
        await terminal.settled()
        yield terminal


@pytest.fixture
async def world(fresh_database: Settings) -> World:
    vendors = Vendors()
    vendors.sunny.readings = _readings
    made = World(fresh_database, vendors)
    await made.prepare()
    return made


def looked(terminal: Terminal) -> str:
    """What is drawn, when nothing of it is an order, and nothing took a style or an action from a name."""
    drawn = terminal.text()
    assert unseen(drawn) == set(), type(terminal.app.screen).__name__
    for strip in strips(terminal.app):
        for segment in strip:
            assert segment.style is None or segment.style.link is None
            assert segment.style is None or "@click" not in segment.style.meta or "quit" not in str(segment.style.meta)
    assert terminal.app.is_running
    assert terminal.app._exception is None
    return drawn


async def leave(terminal: Terminal, name: str) -> None:
    for _ in range(4):
        if type(terminal.app.screen).__module__.endswith(f".{name}"):
            return
        await terminal.press("escape")


@pytest.mark.parametrize("kind", HOSTILE if EVERYTHING else ("markup", "orders", "very long"))
async def test_every_screen_stands_every_name(world: World, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(app_module, "TICK_S", 3600.0)  # a screen asks for everything when it is first shown
    name = HOSTILE[kind]
    async with world.open() as hub:
        await accounts.create_client(hub, world.ids["account"], "c")
        program = await programs.create(hub, world.ids["account"], "test", name="p", vendors=["sunny"])
        async with hub.store.write() as session:
            for row in (await session.scalars(select(Row))).all():
                row.program_id = program.id
        await fill(hub, name)
        async with opened(world, hub) as terminal:
            seen, visited = "", set[str]()
            for page in PAGES:
                await terminal.press(page.key)
                seen += looked(terminal)
                for key in ACTS[page.name]:
                    await terminal.pilot.press(key)
                    await terminal.settled()
                    seen += looked(terminal)
                    visited.add(type(terminal.app.screen).__name__)
                    if isinstance(terminal.app.screen, Enrollment):
                        for _ in range(6):
                            await terminal.press("tab")
                            seen += looked(terminal)
                    if key != "tab":
                        await leave(terminal, page.name)
                        await terminal.settled()
                    if not type(terminal.app.screen).__module__.endswith(f".{page.name}"):
                        await terminal.press(page.key)
            assert not terminal.app._exit
        words = clean_line(name)[:12].strip()
        assert words in seen
        assert visited >= ASKED


@asynccontextmanager
async def shown(screen: Screen[Any]) -> AsyncIterator[Terminal]:
    """One screen alone, without a store."""

    @asynccontextmanager
    async def nothing() -> AsyncIterator[Hub]:
        raise LookupError
        yield

    app = JoinderApp(nothing)
    async with app.run_test(size=(120, 60)) as pilot:
        await pilot.pause()
        await app.push_screen(screen)
        await pilot.pause()
        assert app.screen is screen
        yield Terminal(app, pilot)


def modal(kind: str, name: str) -> Screen[Any]:
    made: dict[str, Screen[Any]] = {
        "confirm": Confirm(name, [name, name]),
        "by name": ConfirmByName(name, name, [name]),
        "ask": Ask(name, [Line("a", name, name, name), Choices("b", name, [name, "x"], [name])], name),
        "one line": OneLine(name, name, value=name),
        "whole": Whole(name, {name: [name, SURROGATE]}),
        "link": Link(name, f"https://a.example/{name}"),
        "reveal": Reveal(name, {name: name}),
        "secret": Secret(name, name),
    }
    return made[kind]


MODALS = ("confirm", "by name", "ask", "one line", "whole", "link", "reveal", "secret")


@pytest.mark.parametrize("screen", MODALS)
async def test_every_question_stands_every_name(screen: str) -> None:
    async with shown(Opening()) as terminal:
        for name in HOSTILE.values():
            asked = modal(screen, name)
            await terminal.app.push_screen(asked)
            await terminal.pilot.pause()
            assert terminal.app.screen is asked
            assert clean_line(name)[:8].strip() in looked(terminal)
            await terminal.app.pop_screen()


@pytest.mark.parametrize("kind", HOSTILE)
async def test_a_notification_and_what_is_typed_and_chosen_stand_every_name(kind: str) -> None:
    name = HOSTILE[kind]

    class Typing(Screen[None]):
        def compose(self) -> Any:
            yield Input(name)
            yield widgets.TextArea(name)
            yield Choice("/a", name, [(name, "a"), (f"{name} b", "b")], hint=name)
            yield Static(Text.assemble((name, "bold"), name))
            yield Static(name, markup=True)
            yield widgets.DataTable()

    async with shown(Typing()) as terminal:
        app, pilot = terminal.app, terminal.pilot
        app.notify(name, title=name)
        app.screen.notify(name, title=name, markup=True)
        await pilot.pause(0.2)
        looked(terminal)
        app.screen.query_one(Select).expanded = True
        await pilot.pause(0.2)
        looked(terminal)
        await pilot.press("z")
        await pilot.pause(0.2)
        looked(terminal)
        assert app.screen.query_one(Input).value == name  # as it is: what is not typed over is not changed
        assert {note.markup for note in app._notifications} == {False}


async def test_why_the_store_does_not_open_stands_every_name() -> None:
    screen = Opening()
    async with shown(screen) as terminal:
        for name in HOSTILE.values():
            screen.say(name)
            await terminal.pilot.pause()
            looked(terminal)
