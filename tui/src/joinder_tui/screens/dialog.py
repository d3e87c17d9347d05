"""What is asked or shown over a page."""

from __future__ import annotations

from typing import TypeVar

from textual.app import App
from textual.screen import ModalScreen

T = TypeVar("T")


class Dialog(ModalScreen[T]):
    def on_mount(self) -> None:
        """Takes away what was said before: a page has it on lines of its own, and here it would lie over a question."""
        App.clear_notifications(self.app)  # Textual's: the app's own forgets those lines, too
