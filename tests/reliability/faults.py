"""Toxiproxy's eight faults on a TCP connection of this process, with its names: latency (and jitter), down, bandwidth,
slow_close, timeout, reset_peer, slicer, limit_data. And one of our own, swallow: half-open connections, on which
nothing is answered any more, and which nobody closes.

A fault acts on the answers, as a downstream toxic does; `on="request"` makes it act on what is asked instead. It takes
hold of connections that are open already, and `heal` lets new ones through on the same port.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Literal

Name = Literal["latency", "down", "bandwidth", "slow_close", "timeout", "reset_peer", "slicer", "limit_data", "swallow"]
NAMES: tuple[Name, ...] = (
    "latency", "down", "bandwidth", "slow_close", "timeout", "reset_peer", "slicer", "limit_data",
)  # fmt: skip
LATENCY_S, JITTER_S = 0.10, 0.05
BYTES_A_SECOND = 16_000
CLOSE_LATER_S = 0.2
TIMEOUT_S = 0.15
SLICE_BYTES, SLICE_WAIT_S = 64, 0.001
LIMIT_BYTES = 40  # not even a whole status line and one header


@dataclass(frozen=True)
class Fault:
    name: Name
    on: Literal["answer", "request"] = "answer"

    def __str__(self) -> str:
        return self.name if self.on == "answer" else f"{self.name} (request)"

    @property
    def cuts(self) -> bool:
        """No whole answer can come through it."""
        return self.name in ("down", "timeout", "reset_peer", "limit_data")


@dataclass
class FaultProxy:
    """127.0.0.1:`port` in front of 127.0.0.1:`target`. `opened` counts connections, refused ones not."""

    target: int
    port: int = 0
    opened: int = 0
    _fault: Fault | None = None
    _server: asyncio.Server | None = None
    _pairs: set[_Pair] = field(default_factory=set)
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port, reuse_address=True)
        self.port = self._server.sockets[0].getsockname()[1]

    async def inject(self, fault: Fault) -> None:
        self._fault = fault
        if fault.name == "down":
            await self._close_server()
            for pair in list(self._pairs):
                pair.close()

    async def heal(self) -> None:
        self._fault = None
        if self._server is None:
            await self.start()

    async def stop(self) -> None:
        await self._close_server()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _close_server(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self.opened += 1
        try:
            upstream = await asyncio.open_connection("127.0.0.1", self.target)
            pair = _Pair(writer, upstream[1])
            self._pairs.add(pair)
            try:
                await self._both(pair, reader, upstream[0])
            finally:
                self._pairs.discard(pair)
                pair.close()
        except (OSError, asyncio.CancelledError):
            writer.close()
        finally:
            self._tasks.discard(task)

    async def _both(self, pair: _Pair, asked: asyncio.StreamReader, answered: asyncio.StreamReader) -> None:
        ways = [
            asyncio.create_task(self._copy(pair, "request", asked, pair.upstream)),
            asyncio.create_task(self._copy(pair, "answer", answered, pair.client)),
        ]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
            if self._fault is not None and self._fault.name == "slow_close":
                await asyncio.sleep(CLOSE_LATER_S)
        finally:
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)

    async def _copy(self, pair: _Pair, way: str, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        """Until either side ends, or the fault ends it."""
        with contextlib.suppress(OSError):
            while data := await source.read(65536):
                fault = self._fault
                if pair.is_deaf:
                    continue
                if fault is None or fault.on != way:
                    sink.write(data)
                    await sink.drain()
                elif not await _through(fault, data, sink, pair):
                    return


@dataclass(eq=False)
class _Pair:
    client: asyncio.StreamWriter
    upstream: asyncio.StreamWriter
    is_deaf: bool = False  # for good: what was swallowed is missing

    def close(self) -> None:
        self.client.close()
        self.upstream.close()

    def reset(self) -> None:
        """RST instead of FIN."""
        linger = struct.pack("ii", 1, 0)
        self.client.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self.client.transport.abort()


async def _through(fault: Fault, data: bytes, sink: asyncio.StreamWriter, pair: _Pair) -> bool:
    """What the fault does to `data`. False: the connection ends here."""
    if fault.name == "latency":
        await asyncio.sleep(LATENCY_S + random.uniform(-JITTER_S, JITTER_S))  # noqa: S311 - jitter
        await _send(sink, data)
    elif fault.name == "bandwidth":
        for at in range(0, len(data), BYTES_A_SECOND // 50):
            await _send(sink, data[at : at + BYTES_A_SECOND // 50])
            await asyncio.sleep(0.02)
    elif fault.name == "slicer":
        for at in range(0, len(data), SLICE_BYTES):
            await _send(sink, data[at : at + SLICE_BYTES])
            await asyncio.sleep(SLICE_WAIT_S)
    elif fault.name == "limit_data":
        await _send(sink, data[:LIMIT_BYTES])
        return False
    elif fault.name == "swallow":
        pair.is_deaf = True
    elif fault.name == "timeout":
        await asyncio.sleep(TIMEOUT_S)
        return False
    elif fault.name == "reset_peer":
        pair.reset()
        return False
    else:  # slow_close acts when it closes; nothing passes what is down
        await _send(sink, data)
    return True


async def _send(sink: asyncio.StreamWriter, data: bytes) -> None:
    sink.write(data)
    await sink.drain()


@asynccontextmanager
async def faulty(target: int) -> AsyncIterator[FaultProxy]:
    proxy = FaultProxy(target)
    await proxy.start()
    try:
        yield proxy
    finally:
        await proxy.stop()
