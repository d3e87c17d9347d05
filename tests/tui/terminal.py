"""An open terminal, driven by keys. A module of its own, as pytest imports a conftest under another name."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

from joinder_tui.app import JoinderApp
from joinder_tui.pages import Page
from joinder_tui.widgets.form import Entry, Typed
from textual.pilot import Pilot
from textual.screen import Screen

GIVES_UP_S = 20.0


class Terminal:
    """An open application, and what a test does with it."""

    def __init__(self, app: JoinderApp, pilot: Pilot[int]) -> None:
        self.app = app
        self.pilot = pilot

    @property
    def page(self) -> Page:
        assert isinstance(self.app.screen, Page)
        return self.app.screen

    async def press(self, *keys: str) -> None:
        """One after the other, each with what it begins."""
        for key in keys:
            await self.pilot.press(key)
            await self.settled()

    async def settled(self) -> None:
        """Nothing is being loaded or done any more."""
        await self.pilot.pause()
        await self.pilot.pause()  # a message that a message sent
        async with asyncio.timeout(GIVES_UP_S):
            while self._is_loading():
                await asyncio.sleep(0.01)
        await self.pilot.pause()

    def _is_loading(self) -> bool:
        page = self.app.screen
        if isinstance(page, Page) and page._loading is None:
            return True
        return any(not worker.is_finished for worker in self.app.workers if worker.group == "load")

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(GIVES_UP_S):
            while not condition():
                await self.pilot.pause(0.02)

    def text(self) -> str:
        """What is on the screen, line by line."""
        width, height = self.app.size
        strips = self.app.screen._compositor.render_strips()
        return "\n".join(strip.crop(0, width).text.rstrip() for strip in strips[:height])

    async def opens(self, key: str, screen: type[Screen[Any]]) -> None:
        """The key leads to that screen."""
        await self.press(key)
        await self.until(lambda: isinstance(self.app.screen, screen))
        await self.settled()

    def entry(self, place: str) -> Typed:
        """Of the form in front, by its JSON Pointer."""
        found = [one for one in self.app.screen.query(Typed) if one.place == place]
        assert len(found) == 1, [one.place for one in self.app.screen.query(Entry)]
        return found[0]

    def wrong(self, place: str) -> str:
        """What stands beside an entry."""
        entry = next(one for one in self.app.screen.query(Entry) if one.place == place)
        said = list(entry.query(".wrong"))[-1]
        return str(said.render()) if said.display else ""

    def said(self) -> list[str]:
        """Notifications so far."""
        return [note.message for note in self.app._notifications]


OpenTerminal = Callable[..., AbstractAsyncContextManager[Terminal]]
