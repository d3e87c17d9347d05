"""What is on a screen, drawn when a test looks at it: what Textual draws in between goes to no terminal."""

from __future__ import annotations

from typing import Any

import pytest
from textual._compositor import Compositor
from textual._context import visible_screen_stack
from textual.app import App
from textual.strip import Strip


def strips(app: App[Any]) -> list[Strip]:
    """Draws the screen as it is now, line by line."""
    visible_screen_stack.set(app._background_screens)
    return app.screen._compositor.render_strips()


@pytest.fixture(autouse=True)
def drawn_when_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leaves out a third of what the tests of screens would compute; a whole picture is drawn as ever."""
    draw = Compositor.render_update

    def update(self: Compositor, full: bool = False, **options: Any) -> Any:
        if full:
            return draw(self, full, **options)
        self._dirty_regions.clear()
        return None

    monkeypatch.setattr(Compositor, "render_update", update)
