"""One process that answers requests and works on what is due. Run as many as you like behind a proxy."""

from __future__ import annotations

import asyncio
import signal

from granian.constants import HTTPModes, Interfaces
from granian.server.embed import Server

from joinder.api.app import create_app
from joinder.services.hub import Hub, open_hub
from joinder.settings import Settings
from joinder.worker import working


async def serve(settings: Settings) -> None:
    """Until SIGTERM or SIGINT: then no new work, exchanges in flight end, the store closes last. Raises ConfigError."""
    async with open_hub(settings) as hub, working(hub):
        await _answer(hub)


async def _answer(hub: Hub) -> None:
    server = Server(
        create_app(hub),
        address=hub.settings.host,
        port=hub.settings.port,
        interface=Interfaces.ASGINL,
        http=HTTPModes.http1,
        websockets=False,
        log_enabled=False,
    )
    loop = asyncio.get_running_loop()
    for name in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(name, server.stop)
    await server.serve()
