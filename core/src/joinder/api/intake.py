"""How much is taken in at once, and how long a body may take: nobody who is slow, or many, keeps others from an answer.

The web server itself bounds connections and the time of headers (runtime/serve.py). Strangers whose budgets are spent
are sent away at the door (door.py). Every other request enters one of a few rooms. A full room has a queue, in which
addresses, or clients, take turns (joinder.turns); whoever waits too long in it, or finds it full, is told to come back.
Inside, strangers take turns again at the store. Waiting for the sender's bytes takes no place. Health and figures are
asked for by machines that decide about this process: they never wait.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from litestar import Request
from litestar.types import ASGIApp, Receive, ReceiveMessage, Scope, Send

from joinder.api import door
from joinder.api.addresses import address_of
from joinder.api.observe import ASKED_BY_MACHINES, route_of
from joinder.api.problems import BodyCut, BodyTooSlow, NotReady
from joinder.turns import Crowded, Turns, on_behalf_of

AT_ONCE = 128
QUEUE_MOST = 4096
OF_ONE_MOST = 512  # of one address, or client, in it
WAITS_S = 10.0
BODY_S = 20.0
BODIES_MOST_BYTES = 64 * 2**20  # of all that are being received
_STRANGERS = ("/join/", "/oauth2/")


class Intake:
    """The rooms of one server, and the bytes of bodies that wait for their rest."""

    def __init__(
        self,
        *,
        at_once: int = AT_ONCE,
        queue_most: int = QUEUE_MOST,
        of_one_most: int = OF_ONE_MOST,
        waits_s: float = WAITS_S,
        body_s: float = BODY_S,
        bodies_most_bytes: int = BODIES_MOST_BYTES,
    ) -> None:
        self.strangers, self.callers = (
            Turns(at_once, queue_most=queue_most, of_one_most=of_one_most, waits_s=waits_s) for _ in range(2)
        )
        self.body_s, self.bodies_most_bytes = body_s, bodies_most_bytes
        self.body_bytes = 0

    def room(self, route: str) -> Turns:
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
            with on_behalf_of(self._who() if self._room is self._intake.strangers else None):
                yield
        finally:
            self._intake.body_bytes -= self._held_bytes
            self._step_out()

    async def receive(self) -> ReceiveMessage:
        """Returns the next part of the body.

        Raises BodyTooSlow, BodyCut, or NotReady where bodies hold too much already.
        """
        if self._is_whole:
            return await self._receive()
        self._step_out()
        try:
            async with asyncio.timeout_at(self._ends_at):
                message = await self._receive()
        except TimeoutError:
            raise BodyTooSlow from None
        await self._enter()
        if message["type"] == "http.disconnect":
            raise BodyCut
        self._hold(len(message.get("body", b"")))  # type: ignore[arg-type]
        self._is_whole = not message.get("more_body", False)
        return message

    async def _enter(self) -> None:
        try:
            await self._room.enter(self._who)
        except Crowded:
            raise NotReady("Too many ask at once.") from None
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
        door.look(scope)
        visit = _Visit(scope["litestar_app"].state.intake, scope, receive)
        async with visit.inside():
            await app(scope, visit.receive, send)

    return admitting
