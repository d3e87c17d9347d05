"""Before there is anything to show, and when there is no room to show it."""

from __future__ import annotations

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import BindingType
from textual.screen import Screen

from joinder_tui.acts import Act
from joinder_tui.widgets.plain import Static


class Opening(Screen[None]):
    """Shown until the store is open; says why it cannot be."""

    BINDINGS: ClassVar[list[BindingType]] = [Act("escape", "app.quit", "Quit", tooltip="Leave")]

    def compose(self) -> ComposeResult:
        yield Static("Opening the store…", id="opening")

    def say(self, text: str, *, again: bool = False) -> None:
        waits = "It is asked again until it is there. " if again else ""
        self.query_one("#opening", Static).update(f"{text}\n\n{waits}Press q to leave; `joinder doctor` looks closer.")


class TooSmall(Screen[None]):
    def compose(self) -> ComposeResult:
        yield Static("Please enlarge this terminal: Joinder needs 40 columns and 10 rows.", id="too-small")
