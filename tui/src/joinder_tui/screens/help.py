"""Every key of a screen, what it does, and the command that does the same."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from rich.console import Group
from rich.table import Table
from rich.text import Text
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import VerticalScroll

from joinder_tui.acts import Act
from joinder_tui.screens.dialog import Dialog
from joinder_tui.widgets.plain import Static

NARROW = 70  # columns below which a command stands under what it does


class Help(Dialog[None]):
    BINDINGS: ClassVar[list[BindingType]] = [
        Act("escape,question_mark,q", "dismiss", "Back", tooltip="Close this help"),
    ]

    def __init__(self, acts: Sequence[Act]) -> None:
        super().__init__()
        self._acts = acts

    def compose(self) -> ComposeResult:
        with VerticalScroll(classes="dialog wide"):
            yield Static("", id="keys")

    def on_resize(self) -> None:
        narrow = self.size.width < NARROW
        self.query_one("#keys", Static).update(self._below_each_other() if narrow else self._beside_each_other())

    def _beside_each_other(self) -> Table:
        table = Table(box=None, padding=(0, 2, 0, 0), expand=True)
        for heading in ("Key", "What it does", "Command"):
            table.add_column(heading)
        for act in self._acts:
            table.add_row(self._keys(act), act.tooltip, act.twin or "–")
        return table

    def _below_each_other(self) -> Group:
        """Writes a key with what it does, and its command below that, where three columns have no room."""
        told = [Text.assemble((self._keys(act), "bold"), f"  {act.tooltip}") for act in self._acts]
        twins = [Text(f"   {act.twin}", "dim") for act in self._acts]
        heading = Text("Key, what it does, and the command", "bold")
        return Group(heading, *(part for pair in zip(told, twins, strict=True) for part in pair if part.plain.strip()))

    def _keys(self, act: Act) -> str:
        return "  ".join(self.app.get_key_display(act.with_key(key.strip())) for key in act.key.split(","))
