"""An open terminal, driven by keys. A module of its own, as pytest imports a conftest under another name."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager

from joinder_tui.app import JoinderApp
from joinder_tui.pages import PAGES, Page
from textual.pilot import Pilot
from textual.widgets import DataTable, Input

from tui.drawing import strips

GIVES_UP_S = 100.0  # before pytest does, so that it can say what was on the screen
MAIN = {page.key: f".{page.name}" for page in PAGES}


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
            leads_to = "" if isinstance(self.app.focused, Input) else MAIN.get(key, "")
            await self.pilot.press(key)
            await self.until(lambda place=leads_to: type(self.app.screen).__module__.endswith(place))  # type: ignore[misc]
            await self.settled()

    async def settled(self) -> None:
        """Nothing is being loaded or done any more."""
        await self.pilot.pause()
        await self.pilot.pause()  # a message that a message sent
        async with asyncio.timeout(GIVES_UP_S):
            while self._is_loading() or not self.app.keyboard.is_at_rest:
                await asyncio.sleep(0.01)
        while any(table._require_update_dimensions for table in self.app.screen.query(DataTable)):
            await self.pilot.pause(0.01)  # how far a table scrolls is measured when it is idle
        await self.pilot.pause()

    def _is_loading(self) -> bool:
        page = self.app.screen
        if isinstance(page, Page) and page._loading is None:
            return True
        return any(not worker.is_finished for worker in self.app.workers if worker.group == "load")

    async def until(self, condition: Callable[[], bool]) -> None:
        try:
            async with asyncio.timeout(GIVES_UP_S):
                while not condition():
                    await self.pilot.pause(0.02)
        except TimeoutError:
            screen = type(self.app.screen).__name__
            raise AssertionError(f"This never came to be. {screen}, {self.said()}:\n{self.text()}") from None

    async def enter(self, text: str, into: str = "Input") -> None:
        """Writes it into a box of the screen in front, once that is there."""
        await self.until(lambda: bool(self.app.screen.query(into)))
        self.app.screen.query_one(into, Input).value = text
        await self.settled()

    async def sees(self, words: str) -> None:
        """The words stand on the screen, now or when it has been drawn."""
        await self.until(lambda: words in self.text())

    def text(self) -> str:
        """What is on the screen, line by line."""
        width, height = self.app.size
        return "\n".join(strip.crop(0, width).text.rstrip() for strip in strips(self.app)[:height])

    def said(self) -> list[str]:
        """Notifications so far."""
        return [note.message for note in self.app._notifications]


OpenTerminal = Callable[..., AbstractAsyncContextManager[Terminal]]
