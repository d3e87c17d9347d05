"""/metrics and /health/… on a port of its own, for processes with an API and without."""

from __future__ import annotations

import asyncio
import contextlib
import hmac
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from joinder import loopback
from joinder.redact import Secrets
from joinder.runtime import listening
from joinder.runtime.hub import Hub
from joinder.services.admin.gauges import CONTENT_TYPE, Gauges
from joinder.services.operations.before_start import token_of_metrics_port
from joinder.trouble import StoreTrouble

_PATIENCE_S = 10.0
_CUT_OFF = (OSError, TimeoutError, ValueError, asyncio.IncompleteReadError, asyncio.LimitOverrunError)
_TEXT = "text/plain; charset=utf-8"
Headers = Sequence[tuple[bytes, bytes]]
Answer = tuple[str, str, bytes]  # status, media type, body


@asynccontextmanager
async def exposed(hub: Hub) -> AsyncIterator[None]:
    """Serves the metrics beside the block, when JOINDER_METRICS_PORT is set.

    Raises ConfigError when the port is taken, or when it is open to others and no token is set.
    """
    port, host = hub.settings.metrics_port, hub.settings.metrics_host
    if port is None:
        yield
        return
    page = _Page(hub, token_of_metrics_port(hub.settings))
    try:
        server = await asyncio.start_server(page.answer, host, port, limit=16 * 1024)
    except OSError as error:
        raise listening.refused(host, port, "JOINDER_METRICS_HOST", "JOINDER_METRICS_PORT", error) from None
    try:
        yield
    finally:
        server.close()


class _Page:
    """Answers one request a connection: HTTP/1.0 is all that a scraper needs."""

    def __init__(self, hub: Hub, token: Secrets | None) -> None:
        self._hub = hub
        self._gauges = Gauges(hub)
        self._token = token

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(*_CUT_OFF):
            async with asyncio.timeout(_PATIENCE_S):
                first, *lines = (await reader.readuntil(b"\r\n\r\n")).split(b"\r\n")
                parts = (line.partition(b":") for line in lines)
                headers = [(name.strip().lower(), value.strip()) for name, _, value in parts]
                writer.write(_bytes(await self._answered(first.split(b" ")[:2], headers)))
                await writer.drain()
        writer.close()

    async def _answered(self, asked: Sequence[bytes], headers: Headers) -> Answer:
        if self._token is None and loopback.refuses(headers):
            return "403 Forbidden", _TEXT, b""
        if asked == [b"GET", b"/health/live"]:
            return "200 OK", _TEXT, b"alive\n"
        if asked == [b"GET", b"/health/ready"]:
            return await self._ready()
        if not self._is_allowed(headers):
            return "401 Unauthorized", _TEXT, b"The figures want the token of JOINDER_METRICS_TOKEN_FILE\n"
        if asked == [b"GET", b"/metrics"]:
            return "200 OK", CONTENT_TYPE, await self._gauges.page()
        return "404 Not Found", CONTENT_TYPE, b"The figures are at GET /metrics\n"

    async def _ready(self) -> Answer:
        """Tells whether this process's database takes a write; the reason stands in the log, not here."""
        try:
            await self._hub.readiness.proved()
        except StoreTrouble:
            return "503 Service Unavailable", _TEXT, b"the database does not answer\n"
        return "200 OK", _TEXT, b"ready\n"

    def _is_allowed(self, headers: Headers) -> bool:
        if self._token is None:
            return True
        given = next((value for name, value in headers if name == b"authorization"), b"")
        scheme, _, token = given.partition(b" ")
        wanted = self._token["metrics token"].encode()
        return scheme.lower() == b"bearer" and hmac.compare_digest(token.strip(), wanted)


def _bytes(answer: Answer) -> bytes:
    status, media_type, body = answer
    head = f"HTTP/1.0 {status}\r\ncontent-type: {media_type}\r\ncontent-length: {len(body)}\r\n"
    return f"{head}x-content-type-options: nosniff\r\n\r\n".encode() + body
