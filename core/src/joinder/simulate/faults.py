"""The fault dial every simulator has.

    POST /_faults {"fault": "slow", "times": 3, "path": "/oauth/token", "seconds": 2}

fault: slow (waits `seconds`, then answers) · 429 · 5xx · html · cut (half the body) · lost (acts, but the answer never
arrives whole) · skew (Date header `seconds` off) · answer (`status`, `body` and `headers` as given). `times` absent:
until DELETE /_faults. `path` is a prefix.
    POST /_clock {"at": 1790000000} freezes the simulated clock, {"shift": -3600} runs it an hour behind, {} resets it.
"""

from __future__ import annotations

import asyncio
from email.utils import formatdate
from typing import Any, Literal

import msgspec

from joinder.simulate.clock import SimulatedClock

FaultName = Literal["slow", "429", "5xx", "html", "cut", "lost", "skew", "answer"]


class Fault(msgspec.Struct, forbid_unknown_fields=True):
    fault: FaultName
    times: int | None = None
    path: str = "/"
    seconds: float = 1.0
    retry_after: int | None = None
    status: int = 500
    body: str = ""
    headers: dict[str, str] = {}


class ClockMove(msgspec.Struct, forbid_unknown_fields=True):
    at: float | None = None
    shift: float = 0.0


class FaultDial:
    """ASGI wrapper around a simulator's app."""

    def __init__(self, app: Any, clock: SimulatedClock) -> None:
        self._app = app
        self._clock = clock
        self.faults: list[Fault] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
        elif scope["path"] in ("/_faults", "/_clock"):
            await self._control(scope, receive, send)
        else:
            await self._serve(self._next_fault(scope["path"]), scope, receive, send)

    def _next_fault(self, path: str) -> Fault | None:
        for fault in self.faults:
            if path.startswith(fault.path):
                if fault.times is not None:
                    fault.times -= 1
                    if fault.times <= 0:
                        self.faults.remove(fault)
                return fault
        return None

    async def _serve(self, fault: Fault | None, scope: Any, receive: Any, send: Any) -> None:
        skew = fault.seconds if fault and fault.fault == "skew" else 0.0
        send = _Dating(send, self._clock.time() + skew)
        if fault is None or fault.fault == "skew":
            await self._app(scope, receive, send)
        elif fault.fault == "429":
            wait = {"retry-after": str(fault.retry_after)} if fault.retry_after is not None else {}
            await _answer(send, 429, b'{"message":"Too Many Requests","code":429}', **wait)
        elif fault.fault == "5xx":
            await _answer(send, 503, b'{"message":"Service Unavailable","code":503}')
        elif fault.fault == "html":
            await _answer(send, 200, b"<!DOCTYPE html><title>Maintenance</title>", **{"content-type": "text/html"})
        elif fault.fault == "answer":
            await _answer(send, fault.status, fault.body.encode(), **fault.headers)
        elif fault.fault in ("cut", "lost"):
            await self._app(scope, receive, _Truncating(send, keep=0.0 if fault.fault == "lost" else 0.5))
        else:
            await asyncio.sleep(fault.seconds)
            await self._app(scope, receive, send)

    async def _control(self, scope: Any, receive: Any, send: Any) -> None:
        body = await _body(receive)
        try:
            if scope["path"] == "/_clock":
                move = msgspec.json.decode(body or b"{}", type=ClockMove)
                self._clock.shift(move.shift) if move.at is None else self._clock.freeze(move.at)
            elif scope["method"] == "DELETE":
                self.faults.clear()
            else:
                self.faults.append(msgspec.json.decode(body, type=Fault))
        except msgspec.DecodeError as error:
            await _answer(send, 400, msgspec.json.encode({"error": str(error)}))
            return
        await _answer(send, 200, msgspec.json.encode({"faults": self.faults, "time": self._clock.time()}))


class _Truncating:
    """Announces the whole body and sends a part of it; the server then closes the connection."""

    def __init__(self, send: Any, *, keep: float) -> None:
        self._send = send
        self._keep = keep
        self._start: Any = None
        self._body = b""

    async def __call__(self, message: Any) -> None:
        if message["type"] == "http.response.start":
            self._start = message
            return
        self._body += message.get("body", b"")
        if message.get("more_body"):
            return
        others = [(name, value) for name, value in self._start["headers"] if name.lower() != b"content-length"]
        whole = max(len(self._body), 1)
        self._start["headers"] = [*others, (b"content-length", str(whole).encode())]
        await self._send(self._start)
        part = self._body[: int(len(self._body) * self._keep)]
        await self._send({"type": "http.response.body", "body": part, "more_body": False})


class _Dating:
    """Says the simulated time; run.py keeps uvicorn from adding the real one."""

    def __init__(self, send: Any, date: float) -> None:
        self._send = send
        self._date = formatdate(date, usegmt=True).encode()

    async def __call__(self, message: Any) -> None:
        if message["type"] == "http.response.start":
            others = [(name, value) for name, value in message["headers"] if name.lower() != b"date"]
            message = {**message, "headers": [*others, (b"date", self._date)]}
        await self._send(message)


async def _body(receive: Any) -> bytes:
    body = bytearray()
    while True:
        message = await receive()
        body += message.get("body", b"")
        if not message.get("more_body"):
            return bytes(body)


async def _answer(send: Any, status: int, body: bytes, **headers: str) -> None:
    fields = {"content-type": "application/json", "content-length": str(len(body)), **headers}
    encoded = [(name.encode(), value.encode()) for name, value in fields.items()]
    await send({"type": "http.response.start", "status": status, "headers": encoded})
    await send({"type": "http.response.body", "body": body})
