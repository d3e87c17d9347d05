"""The keys of the screen, on the last line: as many as there is room for, each whole, and always the one for help."""

from __future__ import annotations

from typing import Any

from rich.cells import cell_len
from textual.app import ComposeResult
from textual.widgets import Footer

ALWAYS = ("question_mark", "escape")  # where every key stands, and the way out
LAST = ("q", "ctrl+p")
AROUND = 3  # columns beside a key and its word
FRAME = 2  # beside the palette's


class Hints(Footer):
    def on_resize(self) -> None:
        self.call_after_refresh(self.recompose)

    def compose(self) -> ComposeResult:
        keys: list[Any] = list(super().compose())
        room = self.app.size.width - FRAME
        for key in sorted(keys, key=lambda one: (one.key not in ALWAYS, one.key in LAST)):
            room -= cell_len(key.key_display) + cell_len(key.description) + AROUND
            key.display = room >= 0
        yield from keys
