"""What tests of forms do with the one in front."""

from __future__ import annotations

from typing import Any

from joinder_tui.widgets.form import Entry, Typed
from textual.screen import Screen
from textual.widgets import Select

from tui.terminal import Terminal


async def shown(terminal: Terminal, screen: type[Screen[Any]]) -> None:
    """The last key leads to that screen."""
    await terminal.until(lambda: isinstance(terminal.app.screen, screen))
    await terminal.settled()


async def choose(terminal: Terminal, value: str, leads_to: str) -> None:
    """Makes the only choice of a form, and waits for a field that follows from it: the old ones go one by one."""
    terminal.app.screen.query_one(Select).value = value
    await terminal.until(lambda: leads_to in [one.place for one in terminal.app.screen.query(Typed)])
    await terminal.settled()


def entry(terminal: Terminal, place: str) -> Typed:
    """By its JSON Pointer."""
    found = [one for one in terminal.app.screen.query(Typed) if one.place == place]
    assert len(found) == 1, [one.place for one in terminal.app.screen.query(Entry)]
    return found[0]


def wrong(terminal: Terminal, place: str) -> str:
    """What stands beside an entry."""
    found = next(one for one in terminal.app.screen.query(Entry) if one.place == place)
    said = list(found.query(".wrong"))[-1]
    return str(said.render()) if said.display else ""
