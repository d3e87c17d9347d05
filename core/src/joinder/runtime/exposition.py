"""/metrics on a port of its own on 127.0.0.1, for processes with an API and without."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from joinder import loopback
from joinder.runtime.hub import Hub
from joinder.services.admin.gauges import CONTENT_TYPE, Gauges
from joinder.settings import ConfigError

_PATIENCE_S = 10.0
_CUT_OFF = (OSError, TimeoutError, ValueError, asyncio.IncompleteReadError, asyncio.LimitOverrunError)


@asynccontextmanager
async def exposed(hub: Hub) -> AsyncIterator[None]:
    """Serves the metrics beside the block, when JOINDER_METRICS_PORT is set.

    Raises ConfigError when the port is taken.
    """
    port = hub.settings.metrics_port
    if port is None:
        yield
        return
    gauges = Gauges(hub)

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(
            OSError, TimeoutError, ValueError, asyncio.IncompleteReadError, asyncio.LimitOverrunError
        ):
            async with asyncio.timeout(_PATIENCE_S):
                await _answer(gauges, reader, writer)
        writer.close()

    try:
        server = await asyncio.start_server(answer, "127.0.0.1", port, limit=16 * 1024)
    except OSError as error:
        raise ConfigError(f"Cannot listen on 127.0.0.1:{port} (JOINDER_METRICS_PORT): {error.strerror}") from None
    try:
        yield
    finally:
        server.close()


async def _answer(gauges: Gauges, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answers one request a connection: HTTP/1.0 is all that a scraper needs."""
    first, *lines = (await reader.readuntil(b"\r\n\r\n")).split(b"\r\n")
    if loopback.refuses((name.strip().lower(), value.strip()) for name, _, value in (x.partition(b":") for x in lines)):
        writer.write(b"HTTP/1.0 403 Forbidden\r\ncontent-length: 0\r\n\r\n")
        await writer.drain()
        return
    found = first.split(b" ")[:2] == [b"GET", b"/metrics"]
    body = await gauges.page() if found else b"The figures are at GET /metrics\n"
    head = f"HTTP/1.0 {'200 OK' if found else '404 Not Found'}\r\ncontent-type: {CONTENT_TYPE}\r\n"
    writer.write(f"{head}content-length: {len(body)}\r\nx-content-type-options: nosniff\r\n\r\n".encode() + body)
    await writer.drain()
