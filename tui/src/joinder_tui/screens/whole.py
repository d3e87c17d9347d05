"""One thing with everything that is known of it, as JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, ClassVar

from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import VerticalScroll

from joinder.clean import clean_json
from joinder_tui.acts import Act
from joinder_tui.screens.dialog import Dialog
from joinder_tui.widgets.plain import Static, line


class Whole(Dialog[None]):
    BINDINGS: ClassVar[list[BindingType]] = [
        Act("c", "copy", "Copy", tooltip="Copy it as JSON"),
        Act("escape,q,enter", "dismiss", "Back", tooltip="Close"),
    ]

    def __init__(self, heading: str, told: Mapping[str, Any]) -> None:
        super().__init__()
        self._heading = heading
        self._text = clean_json(json.dumps(told, indent=2, ensure_ascii=False))

    def compose(self) -> ComposeResult:
        with VerticalScroll(classes="dialog wide"):
            yield Static(line(f"{self._heading}   (c copies it)"), classes="heading")
            yield Static(self._text, id="whole")

    def action_copy(self) -> None:
        from joinder_tui.app import JoinderApp

        if isinstance(self.app, JoinderApp):
            self.app.copy(self._text, "JSON")
