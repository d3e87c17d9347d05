"""A few places, given in turns to those who wait: who sends a thousand waits for the thousand, and nobody else does."""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from contextvars import ContextVar

_guest: ContextVar[str | None] = ContextVar("guest", default=None)
_Queues = OrderedDict[str, deque["asyncio.Future[None]"]]


class Crowded(Exception):
    """Too many wait, or it took too long."""


@contextmanager
def on_behalf_of(guest: str | None) -> Iterator[None]:
    """Says for whom this task, and those it starts, asks; None: for nobody who has to wait for a turn."""
    token = _guest.set(guest)
    try:
        yield
    finally:
        _guest.reset(token)


class Turns:
    """At most `at_once` inside. Those who wait come in by turns of who they are, each in the order they came.

    Whoever had nobody waiting goes before those who have had a turn and still have more: an owner who asks one thing
    after the other passes by whatever others have piled up. Such newcomers leave the others as many turns as are
    theirs by count.
    """

    def __init__(
        self,
        at_once: int,
        *,
        queue_most: int | None = None,
        of_one_most: int | None = None,
        waits_s: float | None = None,
    ) -> None:
        self._free = at_once
        self._queue_most, self._of_one_most, self._waits_s = queue_most, of_one_most, waits_s
        self._waiting = 0
        self._new: _Queues = OrderedDict()  # by who, whose turn it is first
        self._old: _Queues = OrderedDict()  # those who have had a turn since they began to wait
        self._passed = 0  # turns of the new since the last of the old

    @asynccontextmanager
    async def place(self) -> AsyncIterator[None]:
        """Waits for the turn of whom this task asks for; who has a place, or asks for nobody, walks in."""
        guest = _guest.get()
        if guest is None:
            yield
            return
        await self.enter(lambda: guest)
        try:
            with on_behalf_of(None):
                yield
        finally:
            self.leave()

    def enter_now(self) -> bool:
        """Takes a place where one is free."""
        if self._free > 0:
            self._free -= 1
            return True
        return False

    async def enter(self, who: Callable[[], str] = str) -> None:
        """`who` is asked only where there is a queue. Raises Crowded."""
        if self.enter_now():
            return
        if self._queue_most is not None and self._waiting >= self._queue_most:
            raise Crowded
        name, place = who(), asyncio.get_running_loop().create_future()
        self._queue_up(name, place)
        self._waiting += 1
        try:
            async with asyncio.timeout(self._waits_s):
                await place
        except TimeoutError:
            self._give_up(name, place)
            raise Crowded from None
        except asyncio.CancelledError:
            self._give_up(name, place)
            raise
        finally:
            self._waiting -= 1

    def leave(self) -> None:
        """Gives the place to whose turn it is."""
        while self._new or self._old:
            name, queue = self._next()
            place = queue.popleft()
            if queue:
                self._old[name] = queue
            if not place.done():  # else it is being given up
                place.set_result(None)
                return
        self._free += 1

    def _queue_up(self, name: str, place: asyncio.Future[None]) -> None:
        queue = self._old.get(name)
        if queue is None:
            queue = self._new.setdefault(name, deque())
        if self._of_one_most is not None and len(queue) >= self._of_one_most:
            raise Crowded
        queue.append(place)

    def _next(self) -> tuple[str, deque[asyncio.Future[None]]]:
        is_new = not self._old or (len(self._new) > 0 and self._passed * len(self._old) <= len(self._new))
        self._passed = self._passed + 1 if is_new else 0
        return (self._new if is_new else self._old).popitem(last=False)

    def _give_up(self, name: str, place: asyncio.Future[None]) -> None:
        """Takes a place out of the queue; one that was given meanwhile goes on to the next."""
        if place.done() and not place.cancelled():
            self.leave()
            return
        for queues in (self._new, self._old):
            queue = queues.get(name, deque())
            if place in queue:
                queue.remove(place)
                if not queue:
                    del queues[name]
