"""Before something is taken away: what it touches, and somebody's word."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Vertical
from textual.widgets import Input

from joinder.clean import clean_line
from joinder_tui.acts import Act
from joinder_tui.screens.dialog import Dialog
from joinder_tui.widgets.plain import Static, line


class Confirm(Dialog[bool]):
    """By one key."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Act("y", "dismiss(True)", "Yes", tooltip="Go on"),
        Act("n,escape", "dismiss(False)", "No", tooltip="Leave everything as it is"),
    ]

    def __init__(self, question: str, touches: Sequence[str]) -> None:
        super().__init__()
        self._question = question
        self._touches = touches

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog"):
            yield Static(line(self._question), classes="heading")
            yield Static("\n".join(map(clean_line, self._touches)))
            yield Static("y  yes      n  no", classes="hint")


class ConfirmByName(Dialog[bool]):
    """By typing a name: nobody does that by accident."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Act("escape", "dismiss(False)", "No", tooltip="Leave everything as it is"),
    ]

    def __init__(self, question: str, name: str, touches: Sequence[str]) -> None:
        super().__init__()
        self._question = question
        self._name = name
        self._touches = touches

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog"):
            yield Static(line(self._question), classes="heading")
            yield Static("\n".join(map(clean_line, self._touches)))
            yield Static(line(f"Type {self._name} and press enter; escape leaves everything as it is."))
            yield Input(id="name")

    def on_input_submitted(self, event: Input.Submitted) -> None:
        if event.value.strip() == self._name:
            self.dismiss(True)
        else:
            self.notify(f"That is not {self._name}.", severity="warning")
