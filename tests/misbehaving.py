"""A misbehaving HTTP server on loopback, for the core tests; the fixture `serve` starts one."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

HANG, RESET = "hang", "reset"
CUT = b"HTTP/1.1 200 Cut"  # an answer that begins so is followed by the end of the connection
TRICKLE = b"HTTP/1.1 200 Trickle"  # … by nothing, for as long as the test runs


@dataclass
class Served:
    """A server on loopback that answers each request with the next script entry, the last one for ever."""

    script: list[bytes | str]
    port: int = 0
    requests: list[bytes] = field(default_factory=list)
    connections: int = 0
    release: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def origin(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            await self._converse(reader, writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            length = re.search(rb"(?i)content-length: (\d+)", head)
            self.requests.append(head + await reader.readexactly(int(length[1]) if length else 0))
            entry = self.script[min(len(self.requests), len(self.script)) - 1]
            if entry == HANG:
                await self.release.wait()
                return
            if entry == RESET:
                writer.transport.abort()
                return
            assert isinstance(entry, bytes)
            writer.write(entry)
            await writer.drain()
            if entry.startswith(TRICKLE):
                await self.release.wait()
            if b"content-length" not in entry.lower() or entry.startswith(CUT):
                return


def http_answer(body: bytes = b"{}", status: str = "200 OK", **headers: str) -> bytes:
    fields = {"content-length": str(len(body)), "content-type": "application/json", **headers}
    lines = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in fields.items())
    return f"HTTP/1.1 {status}\r\n{lines}\r\n".encode() + body


Serve = Callable[..., Awaitable[Served]]
