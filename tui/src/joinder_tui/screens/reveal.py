"""Stored secrets, shown on purpose and for a moment: they go after half a minute, and as soon as nobody looks."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import ClassVar

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import VerticalScroll

from joinder_tui.acts import Act
from joinder_tui.screens.dialog import Dialog
from joinder_tui.screens.secret import COVERED
from joinder_tui.widgets.plain import Static, line

SHOWN_S = 30.0


class Reveal(Dialog[None]):
    """Leaves when the terminal loses the focus; a screen above, such as the palette, finds it wiped."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Act("escape,enter,q", "dismiss", "Hide", tooltip="Hide it now; nothing was copied"),
    ]

    def __init__(self, heading: str, secrets: Mapping[str, str]) -> None:
        super().__init__()
        self._heading = heading
        self._values = dict(secrets)
        self._until = time.monotonic() + SHOWN_S

    def compose(self) -> ComposeResult:
        with VerticalScroll(classes="dialog"):
            yield Static(line(self._heading), classes="heading")
            yield Static(self._drawn(), id="revealed")
            yield Static("", id="left", classes="hint")

    def on_mount(self) -> None:
        self._count_down()
        self.set_interval(0.5, self._count_down)
        self.watch(self.app, "app_focus", self._look_away, init=False)

    @contextmanager
    def covered(self) -> Iterator[None]:
        """Covers it for a picture of the screen."""
        shown = self.query_one("#revealed", Static)
        shown.update(COVERED)
        try:
            yield
        finally:
            shown.update(self._drawn())

    def _drawn(self) -> Text:
        return Text("\n\n").join(Text.assemble((name, "bold"), "\n", value) for name, value in self._values.items())

    def _count_down(self) -> None:
        left = self._until - time.monotonic()
        if left <= 0:
            self._hide()
        else:
            self.query_one("#left", Static).update(f"Hidden in {left:.0f} s, or when this window loses the focus.")

    def _look_away(self, focused: bool) -> None:
        if not focused:
            self._hide()

    def _hide(self) -> None:
        self._wipe()
        if self.is_current:
            self.dismiss()

    def _wipe(self) -> None:
        self._values.clear()
        self.query_one("#revealed", Static).update("")

    def on_screen_suspend(self) -> None:
        self._wipe()

    def on_screen_resume(self) -> None:
        if not self._values:
            self.dismiss()
