"""An open terminal, driven by keys. A module of its own, as pytest imports a conftest under another name."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager

from joinder_tui.app import JoinderApp
from joinder_tui.pages import Page
from textual.pilot import Pilot
from textual.widgets import DataTable

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
        while any(table._require_update_dimensions for table in self.app.screen.query(DataTable)):
            await self.pilot.pause(0.01)  # columns are measured when there is nothing else to do
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

    async def sees(self, words: str) -> None:
        """The words stand on the screen, now or when it has been drawn."""
        try:
            await self.until(lambda: words in self.text())
        except TimeoutError:
            raise AssertionError(f"{words!r} is not on the screen:\n{self.text()}") from None

    def text(self) -> str:
        """What is on the screen, line by line."""
        width, height = self.app.size
        strips = self.app.screen._compositor.render_strips()
        return "\n".join(strip.crop(0, width).text.rstrip() for strip in strips[:height])

    def said(self) -> list[str]:
        """Notifications so far."""
        return [note.message for note in self.app._notifications]


OpenTerminal = Callable[..., AbstractAsyncContextManager[Terminal]]
