"""A webhook receiver on loopback that answers as told and remembers what it got."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import msgspec
from standardwebhooks import Webhook, WebhookVerificationError

Answer = Callable[["Got"], Awaitable[bytes | None]]


@dataclass
class Got:
    """One request."""

    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> dict[str, Any]:
        found: dict[str, Any] = msgspec.json.decode(self.body)
        return found

    @property
    def event_id(self) -> str:
        return self.headers["webhook-id"]

    def verified_by(self, secret: str) -> bool:
        try:
            Webhook(secret).verify(self.body, self.headers)
        except WebhookVerificationError:
            return False
        return True


def status(code: int, *headers: str) -> Answer:
    async def answer(_: Got) -> bytes:
        lines = "".join(f"{header}\r\n" for header in headers)
        rest = "\r\n" if code == 204 else "content-length: 2\r\n\r\nok"
        return f"HTTP/1.1 {code} Status\r\n{lines}{rest}".encode()

    return answer


async def cut(_: Got) -> None:
    """The connection ends without an answer."""


async def silent(_: Got) -> None:
    await asyncio.sleep(3600)


async def endless(_: Got) -> bytes:
    return b"HTTP/1.1 200 OK\r\ncontent-length: 100000000\r\n\r\n" + b"x" * 200_000


@dataclass
class Receiver:
    url: str = ""
    answer: Answer = field(default_factory=lambda: status(204))
    got: list[Got] = field(default_factory=list)

    @property
    def types(self) -> list[str]:
        return [request.json["type"] for request in self.got]

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                lines = head.decode().split("\r\n")[1:-2]
                headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
                request = Got(headers, await reader.readexactly(int(headers["content-length"])))
                self.got.append(request)
                answer = await self.answer(request)
                if answer is None:
                    return
                writer.write(answer)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            return
        finally:
            writer.close()


@asynccontextmanager
async def receiving() -> AsyncIterator[Receiver]:
    receiver = Receiver()
    tasks: set[asyncio.Task[None]] = set()

    def begin(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tasks.add(asyncio.create_task(receiver.serve(reader, writer)))

    server = await asyncio.start_server(begin, "127.0.0.1", 0)
    receiver.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/hook?key=canary-in-url-31c4"
    try:
        yield receiver
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
