"""A link for an owner, as text and as a QR code for a phone."""

from __future__ import annotations

import io
from typing import ClassVar

import segno
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Vertical, VerticalScroll

from joinder_tui.acts import Act
from joinder_tui.screens.dialog import Dialog
from joinder_tui.widgets.plain import Static, line

ROWS_AROUND = 14  # of the screen: the text above the code, the dialog's frame, what is left free around it


class Link(Dialog[None]):
    """Of a link that has just been copied. No toast lies over the code, which a phone is to read."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Act("escape,q,enter", "dismiss", "Back", tooltip="Close"),
        Act("c", "copy", "Copy", tooltip="Copy the link once more"),
    ]

    def __init__(self, heading: str, url: str) -> None:
        super().__init__()
        self._heading = heading
        self._url = url
        self._code = qr_code(url)

    def compose(self) -> ComposeResult:
        with VerticalScroll(classes="dialog wide", id="link"):
            with Vertical(id="link-text"):
                yield Static(line(f"{self._heading} The link is copied; c copies it again."), classes="heading")
                yield Static(self._url, id="url")
                yield Static("The code is taller than this terminal: enlarge it to scan it.", id="too-tall")
            yield Static(self._code, id="qr")

    def on_resize(self) -> None:
        """Puts the text beside a code that has no room below it."""
        rows = len(self._code.splitlines())
        self.set_class(rows + ROWS_AROUND > self.size.height, "-low")
        self.query_one("#too-tall").display = rows > self.size.height

    def action_copy(self) -> None:
        from joinder_tui.app import JoinderApp

        if isinstance(self.app, JoinderApp):
            self.app.copy(self._url, "Link")


def qr_code(url: str) -> str:
    """Draws in half blocks, black on white whatever the theme."""
    drawn = io.StringIO()
    try:
        code = segno.make(url, error="l", micro=False)
    except segno.DataOverflowError:
        return "The link is too long for a QR code."
    code.terminal(drawn, border=2, compact=True)
    return drawn.getvalue()
