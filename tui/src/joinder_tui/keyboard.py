"""Keys one after the other: what one leads to stands, and has the focus, before the next is looked at.

Textual hands each on at once to what has the focus then. Of `2/mueller`, typed ahead of a slow screen or pasted, the
letters of the name would be acts of a list.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress

from textual.app import App
from textual.dom import DOMNode
from textual.events import Event

LOOKS_S = 0.01  # how often it looks whether what it waits for has gone
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
        app = self._app
        way = (app.focused or app.screen).ancestors_with_self
        await self._hand_on(typed)
        for node in way:
            await _come_up_to(node)
        await _come_up_to(app.screen)
        await _come_up_to(app)  # where a change of the focus may still be due


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
