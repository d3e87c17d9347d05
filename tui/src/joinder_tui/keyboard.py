"""Keys one after the other: what one leads to stands, and has the focus, before the next is looked at.

Textual hands each on at once to what has the focus then. Of `2/mueller`, typed ahead of a slow screen or pasted, the
letters of the name would be acts of a list.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

from textual.app import App
from textual.dom import DOMNode
from textual.events import Event, Key
from textual.screen import Screen
from textual.widgets import Input, TextArea
from textual.worker import Worker

from joinder_tui.acts import ACTS

LOOKS_S = 0.01  # how often it looks whether what it waits for has gone
ASKS_S = 0.3  # in which an act asks, if it does; one that asks nothing may take as long as a vendor takes
PATIENCE_S = 3.0  # with a screen that does not come to rest: the keys go on


class Keyboard:
    """`hand_on` gives a key to whatever has the focus."""

    def __init__(self, app: App[int], hand_on: Callable[[Event], Awaitable[None]]) -> None:
        self._app = app
        self._hand_on = hand_on
        self._typed: asyncio.Queue[Event] = asyncio.Queue()
        self._is_handing_on = False

    @property
    def is_at_rest(self) -> bool:
        return self._typed.empty() and not self._is_handing_on

    def take(self, typed: Event) -> None:
        self._typed.put_nowait(typed)

    async def run(self) -> None:
        """Hands on what is typed, until it is cancelled."""
        while True:
            typed = await self._typed.get()
            self._is_handing_on = True
            try:
                with suppress(TimeoutError):
                    async with asyncio.timeout(PATIENCE_S):
                        await self._handle(typed)
            finally:
                self._is_handing_on = False

    async def _handle(self, typed: Event) -> None:
        """Follows a key on its way up from the focus to the app, where bindings are, then waits for what it opened."""
        app, front, acts = self._app, self._app.screen, self._acts()
        focused = app.focused
        await self._hand_on(typed)
        if isinstance(focused, Input | TextArea) and isinstance(typed, Key) and typed.is_printable:
            return  # it is written there, and leads nowhere; the next comes after it anyway
        for node in (focused or front).ancestors_with_self:
            await _come_up_to(node)
        await self._see_what_opens(front, acts)
        await _come_up_to(app.screen)
        await _come_up_to(app)  # where a change of the focus may still be due

    def _acts(self) -> set[Worker[Any]]:
        return {worker for worker in self._app.workers if worker.group == ACTS and not worker.is_finished}

    async def _see_what_opens(self, front: Screen[Any], acts: set[Worker[Any]]) -> None:
        """Gives an act that the key began a moment to ask what it must, before the answer is looked at."""
        for _ in range(round(ASKS_S / LOOKS_S)):
            if self._app.screen is not front or not self._acts() - acts:
                return
            await asyncio.sleep(LOOKS_S)


async def _come_up_to(node: DOMNode) -> None:
    """Waits until a widget has done what it has been sent so far; one that goes meanwhile does nothing more."""
    done = asyncio.Event()
    if not _is_there(node) or not node.call_later(done.set):
        return
    while not done.is_set() and _is_there(node):
        with suppress(TimeoutError):
            await asyncio.wait_for(done.wait(), LOOKS_S)


def _is_there(node: DOMNode) -> bool:
    return isinstance(node, App) or node.is_attached
