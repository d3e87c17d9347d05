"""A secret, the one moment it is shown."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import ClassVar, Protocol, runtime_checkable

from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import VerticalScroll

from joinder_tui.acts import Act
from joinder_tui.screens.dialog import Dialog
from joinder_tui.widgets.plain import Static, line

SHOWN_S = 60.0
COVERED = "••••••••"


@runtime_checkable
class _Copies(Protocol):
    """What of the app is needed here, without importing it: it imports this screen."""

    def copy(self, text: str, what: str) -> None: ...


class Secret(Dialog[None]):
    """Covered while anything is in front of it; forgotten when its time is over."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Act("c", "copy", "Copy", tooltip="Copy the secret while it is shown"),
        Act("escape", "dismiss", "Close", tooltip="Close; it is never shown again"),
    ]

    def __init__(self, heading: str, secret: str) -> None:
        super().__init__()
        self._heading = heading
        self._secret = secret
        self._ends = time.monotonic() + SHOWN_S

    def compose(self) -> ComposeResult:
        with VerticalScroll(classes="dialog"):
            yield Static(line(self._heading), classes="heading")
            yield Static(self._secret, id="secret")
            yield Static("", classes="hint", id="countdown")

    def on_mount(self) -> None:
        self._count()
        self.set_interval(0.25, self._count)

    def on_screen_suspend(self) -> None:
        self._draw(COVERED)

    def on_screen_resume(self) -> None:
        self._draw(self._secret or COVERED)

    def action_copy(self) -> None:
        if self._secret and isinstance(self.app, _Copies):
            self.app.copy(self._secret, "Secret")

    @contextmanager
    def covered(self) -> Iterator[None]:
        """Covers it for a picture of the screen."""
        self._draw(COVERED)
        try:
            yield
        finally:
            self._draw(self._secret or COVERED)

    def _count(self) -> None:
        left = self._ends - time.monotonic()
        if left > 0:
            self._say(f"Shown once, for {left:.0f} s more.   c  copy      escape  close")
        elif self._secret:
            self._secret = ""
            self._draw(COVERED)
            self._say("It is hidden, and cannot be shown again: rotate it if it was not kept.   escape  close")

    def _draw(self, text: str) -> None:
        self.query_one("#secret", Static).update(text)

    def _say(self, text: str) -> None:
        self.query_one("#countdown", Static).update(text)
