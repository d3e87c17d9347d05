"""One line asked for: a reason, a name, a path."""

from __future__ import annotations

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Vertical
from textual.widgets import Input

from joinder_tui.acts import Act
from joinder_tui.screens.dialog import Dialog
from joinder_tui.widgets.plain import Static, line


class OneLine(Dialog[str | None]):
    """Answers what was typed, stripped; None when it is left."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Act("escape", "dismiss(None)", "Leave", tooltip="Leave everything as it is"),
    ]

    def __init__(self, question: str, hint: str, *, value: str = "", needed: bool = True) -> None:
        super().__init__()
        self._question = question
        self._hint = hint
        self._value = value
        self._needed = needed

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog"):
            yield Static(line(self._question), classes="heading")
            yield Input(self._value, id="answer", select_on_focus=False)
            yield Static(f"{self._hint} Enter goes on, escape leaves.", classes="hint")

    def on_input_submitted(self, event: Input.Submitted) -> None:
        answer = event.value.strip()
        if answer or not self._needed:
            self.dismiss(answer)
        else:
            self.notify("Something must be typed here.", severity="warning")
