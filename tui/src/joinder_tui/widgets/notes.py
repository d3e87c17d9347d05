"""What has just been said, for some seconds, on lines of its own above the keys: it covers nothing."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, cast

from rich.text import Text

from joinder_tui.widgets.plain import Static

if TYPE_CHECKING:
    from joinder_tui.app import JoinderApp

ROWS_A_NOTE = 8  # of the terminal: where there is little room, only the newest is shown
SIGNS = {"information": ("✓", "green"), "warning": ("▲", "yellow"), "error": ("✗", "red")}


@dataclass(frozen=True)
class Note:
    """`lasts_s` is how long it is shown."""

    text: str
    severity: str
    lasts_s: float
    said_at: float = field(default_factory=time.monotonic)

    @property
    def is_over(self) -> bool:
        return time.monotonic() - self.said_at >= self.lasts_s


class Notes(Static):
    """The newest comes last; a click takes them away."""

    def on_mount(self) -> None:
        self.watch(self.app, "notes", self._draw)

    def _draw(self, notes: tuple[Note, ...]) -> None:
        self.display = bool(notes)
        most = max(1, self.app.size.height // ROWS_A_NOTE)
        self.update(Text("\n").join(_drawn(note) for note in notes[-most:]))

    def on_click(self) -> None:
        cast("JoinderApp", self.app).clear_notifications()


def _drawn(note: Note) -> Text:
    sign, colour = SIGNS.get(note.severity, SIGNS["information"])
    return Text.assemble((f"{sign} ", f"bold {colour}"), note.text)
