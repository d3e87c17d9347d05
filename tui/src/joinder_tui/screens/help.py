"""Every key of a screen, what it does, and the command that does the same."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from rich.table import Table
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import VerticalScroll
from textual.screen import ModalScreen

from joinder_tui.acts import Act
from joinder_tui.widgets.plain import Static


class Help(ModalScreen[None]):
    BINDINGS: ClassVar[list[BindingType]] = [
        Act("escape,question_mark,q", "dismiss", "Back", tooltip="Close this help"),
    ]

    def __init__(self, acts: Sequence[Act]) -> None:
        super().__init__()
        self._acts = acts

    def compose(self) -> ComposeResult:
        table = Table(box=None, padding=(0, 2, 0, 0), expand=True)
        for heading in ("Key", "What it does", "Command"):
            table.add_column(heading)
        for act in self._acts:
            table.add_row(self._keys(act), act.tooltip, act.twin or "–")
        with VerticalScroll(classes="dialog wide"):
            yield Static(table)

    def _keys(self, act: Act) -> str:
        return "  ".join(self.app.get_key_display(act.with_key(key.strip())) for key in act.key.split(","))
