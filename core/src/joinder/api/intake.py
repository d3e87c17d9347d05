"""How much is taken in at once, and how long a body may take: nobody who is slow, or many, keeps others from an answer.

The web server itself bounds connections and the time of headers (runtime/serve.py). Here a request enters one of a few
rooms. A full room has a queue, in which addresses, or clients, take turns; whoever waits too long in it, or finds it
full, is told to come back. Waiting for the sender's bytes takes no place. Health and figures are asked for by machines
that decide about this process: they never wait.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from litestar import Request
from litestar.types import ASGIApp, Receive, ReceiveMessage, Scope, Send

from joinder.api.addresses import address_of
from joinder.api.observe import ASKED_BY_MACHINES, route_of
from joinder.api.problems import BodyTooSlow, NotReady

AT_ONCE = 128
QUEUE_MOST = 4096
WAITS_S = 10.0
BODY_S = 20.0
BODIES_MOST_BYTES = 64 * 2**20  # of all that are being received
_STRANGERS = ("/join/", "/oauth2/")


class Room:
    """At most `at_once` inside. Those who wait come in by turns of who they are, each in the order they came.

    So one who sends a thousand waits for the thousand, and nobody else does.
    """

    def __init__(self, at_once: int = AT_ONCE, queue_most: int = QUEUE_MOST, waits_s: float = WAITS_S) -> None:
        self._free = at_once
        self._queue_most, self._waits_s = queue_most, waits_s
        self._waiting = 0
        self._queues: OrderedDict[str, deque[asyncio.Future[None]]] = OrderedDict()  # by who, whose turn it is first

    def enter_now(self) -> bool:
        """Takes a place where one is free."""
        if self._free > 0:
            self._free -= 1
            return True
        return False

    async def enter(self, who: Callable[[], str] = str) -> None:
        """`who` is asked only where there is a queue. Raises NotReady."""
        if self.enter_now():
            return
        if self._waiting >= self._queue_most:
            raise NotReady("Too many ask at once.")
        name, place = who(), asyncio.get_running_loop().create_future()
        self._queues.setdefault(name, deque()).append(place)
        self._waiting += 1
        try:
            async with asyncio.timeout(self._waits_s):
                await place
        except TimeoutError:
            self._give_up(name, place)
            raise NotReady("Too many ask at once.") from None
        except asyncio.CancelledError:
            self._give_up(name, place)
            raise
        finally:
            self._waiting -= 1

    def leave(self) -> None:
        """Gives the place to whose turn it is."""
        while self._queues:
            name, queue = self._queues.popitem(last=False)
            place = queue.popleft()
            if queue:
                self._queues[name] = queue
            if not place.done():  # else it is being given up
                place.set_result(None)
                return
        self._free += 1

    def _give_up(self, name: str, place: asyncio.Future[None]) -> None:
        """Takes a place out of the queue; one that was given meanwhile goes on to the next."""
        if place.done() and not place.cancelled():
            self.leave()
            return
        queue = self._queues.get(name, deque())
        if place in queue:
            queue.remove(place)
            if not queue:
                del self._queues[name]


class Intake:
    """The rooms of one server, and the bytes of bodies that wait for their rest."""

    def __init__(
        self,
        *,
        at_once: int = AT_ONCE,
        queue_most: int = QUEUE_MOST,
        waits_s: float = WAITS_S,
        body_s: float = BODY_S,
        bodies_most_bytes: int = BODIES_MOST_BYTES,
    ) -> None:
        self.strangers, self.callers = (Room(at_once, queue_most, waits_s) for _ in range(2))
        self.body_s, self.bodies_most_bytes = body_s, bodies_most_bytes
        self.body_bytes = 0

    def room(self, route: str) -> Room:
        return self.strangers if route.startswith(_STRANGERS) else self.callers


class _Visit:
    """One request in a room; it steps out while its sender is waited for."""

    def __init__(self, intake: Intake, scope: Scope, receive: Receive) -> None:
        self._intake, self._scope, self._receive = intake, scope, receive
        self._room = intake.room(route_of(scope))
        self._ends_at = asyncio.get_running_loop().time() + intake.body_s
        self._is_whole, self._is_inside = False, False
        self._held_bytes = 0

    @asynccontextmanager
    async def inside(self) -> AsyncIterator[None]:
        await self._enter()
        try:
            yield
        finally:
            self._intake.body_bytes -= self._held_bytes
            self._step_out()

    async def receive(self) -> ReceiveMessage:
        """Returns the next part of the body. Raises BodyTooSlow, or NotReady where bodies hold too much already."""
        if self._is_whole:
            return await self._receive()
        self._step_out()
        try:
            async with asyncio.timeout_at(self._ends_at):
                message = await self._receive()
        except TimeoutError:
            raise BodyTooSlow from None
        await self._enter()
        self._hold(len(message.get("body", b"")))  # type: ignore[arg-type]
        self._is_whole = not message.get("more_body", False)
        return message

    async def _enter(self) -> None:
        await self._room.enter(self._who)
        self._is_inside = True

    def _who(self) -> str:
        """Tells API clients by their tokens, and all others by their addresses."""
        if self._room is self._intake.callers:
            return dict(self._scope["headers"]).get(b"authorization", b"").decode("latin-1")
        return address_of(Request(self._scope)) or ""

    def _step_out(self) -> None:
        if self._is_inside:
            self._is_inside = False
            self._room.leave()

    def _hold(self, size: int) -> None:
        if self._intake.body_bytes + size > self._intake.bodies_most_bytes:
            raise NotReady("Too many send at once.")
        self._intake.body_bytes += size
        self._held_bytes += size


def admitted(app: ASGIApp) -> ASGIApp:
    """Makes a middleware; what it raises is answered as any other problem."""

    async def admitting(scope: Scope, receive: Receive, send: Send) -> None:
        if route_of(scope) in ASKED_BY_MACHINES:
            await app(scope, receive, send)
            return
        visit = _Visit(scope["litestar_app"].state.intake, scope, receive)
        async with visit.inside():
            await app(scope, visit.receive, send)

    return admitting
