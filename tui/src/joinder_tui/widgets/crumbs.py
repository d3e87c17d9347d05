"""The line above: where one is, whose store it is, and what is wrong with it."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from rich.text import Text

from joinder_tui.widgets.plain import Static

if TYPE_CHECKING:
    from joinder_tui.app import JoinderApp


class Crumbs(Static):
    def on_mount(self) -> None:
        self.watch(self.app, "trouble", self._draw)

    def _draw(self) -> None:
        app = cast("JoinderApp", self.app)
        crumbs = [getattr(screen, "crumb", "") for screen in app.screen_stack]
        text = Text.assemble(("Joinder", "bold"), " › ", " › ".join(crumb for crumb in crumbs if crumb))
        if app.readonly:
            text.append("  read-only", "bold yellow")
        if app.trouble:
            text.append(f"\n{app.trouble}", "bold red")
        self.update(text)

    def redraw(self) -> None:
        self._draw()
