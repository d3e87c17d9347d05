"""The top: every screen with its digit, the way in where it is deep, and what is wrong with the store."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, cast

from rich.text import Text
from textual import events

from joinder_tui.widgets.plain import Static

if TYPE_CHECKING:
    from joinder_tui.app import JoinderApp
    from joinder_tui.pages import MainPage

WHOLE, SHORT, SHORTER = 20, 4, 3  # letters of a name, as there is room


class Crumbs(Static):
    """A click on a name leads there, as its digit does."""

    def __init__(self, pages: Sequence[MainPage]) -> None:
        super().__init__()
        self._pages = pages

    def on_mount(self) -> None:
        self.watch(self.app, "trouble", self._draw)
        self.watch(self.app, "waiting", self._draw)

    def on_resize(self) -> None:
        self._draw()

    @property
    def joinder(self) -> JoinderApp:
        return cast("JoinderApp", self.app)

    def redraw(self) -> None:
        self._draw()

    def _draw(self) -> None:
        app = self.joinder
        text = self._line()
        crumbs = [crumb for screen in app.screen_stack if (crumb := getattr(screen, "crumb", ""))]
        if len(crumbs) > 1 or any("[" in crumb for crumb in crumbs):
            text.append(f"\n{' › '.join(crumbs)}")
        if app.trouble:
            text.append(f"\n{app.trouble}", "bold red")
        self.update(text)

    def _line(self) -> Text:
        text = Text(no_wrap=True, overflow="crop")
        for _, label in self._labels():
            text.append_text(label)
        if self.joinder.readonly:
            text.append(" read-only", "bold yellow")
        return text

    def _labels(self) -> list[tuple[str, Text]]:
        """Names of screens with what is shown of each: whole, or short, or the digit alone, as there is room."""
        room = self.size.width - (10 if self.joinder.readonly else 0) - 2
        for letters, title in ((WHOLE, True), (WHOLE, False), (SHORT, False), (SHORTER, False), (0, False)):
            labels = self._drawn(letters, is_titled=title)
            if sum(label.cell_len for _, label in labels) <= room:
                break
        return labels

    def _drawn(self, letters: int, *, is_titled: bool) -> list[tuple[str, Text]]:
        here = self._here()
        labels = [("", Text("Joinder ", "bold"))] if is_titled else []
        for page in self._pages:
            name = page.label if page.name == here else page.label[:letters]
            waits = f" ▲{self.joinder.waiting}" if page.name == "now" and self.joinder.waiting else ""
            style = "reverse bold" if page.name == here else ""
            labels.append((page.name, Text.assemble((f" {page.key} {name}".rstrip() + f"{waits} ", style))))
        return labels

    def _here(self) -> str:
        """Returns the main screen that is in front, or below what is."""
        modules = [type(screen).__module__.rpartition(".")[2] for screen in self.joinder.screen_stack]
        return next((page.name for page in self._pages if page.name in modules), "")

    def on_click(self, event: events.Click) -> None:
        at = event.x - 1
        if event.y:
            return
        for name, label in self._labels():
            if 0 <= at < label.cell_len and name:
                self.joinder.action_go(name)
                return
            at -= label.cell_len
