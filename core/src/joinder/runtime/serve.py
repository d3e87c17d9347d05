"""The processes: one that answers requests and works on what is due, one that only works. Run as many as you like."""

from __future__ import annotations

import asyncio
import gc
import logging
import resource
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress

from granian.constants import HTTPModes, Interfaces
from granian.http import HTTP1Settings
from granian.server.embed import Server

from joinder.api.app import create_app
from joinder.runtime import listening
from joinder.runtime.exposition import exposed
from joinder.runtime.hub import Hub, open_hub
from joinder.runtime.starting import STOPS, StoppedWaiting, once_there
from joinder.runtime.worker import working
from joinder.services.calls import breaker_states
from joinder.services.grants import durability, store_watch
from joinder.services.operations import before_start
from joinder.settings import Settings
from joinder.vendors.watch import watching

BACKLOG = 4096  # what Linux allows (net.core.somaxconn)
CONNECTIONS_MOST = 16_384  # 15 kB each
OWN_FILES = 512  # database, log, journal, calls to vendors
HEADERS_MS = 30_000  # for a request's headers, and for an idle connection
HEADERS_MOST_BYTES = 64 * 1024
log = logging.getLogger("joinder")


async def serve(settings: Settings, *, works: bool = True) -> None:
    """Serves until SIGTERM or SIGINT: then no new work, exchanges in flight end, the store closes last.

    Without `works` what is due is left to other processes. A database that is away at the start is waited for. Raises
    ConfigError.
    """
    before_start.refuse(settings, serves=True)
    _warn_of_one_address(settings)
    with suppress(StoppedWaiting):
        async with (
            once_there(lambda: open_hub(settings)) as hub,
            exposed(hub),
            watching(hub.registry.note_blocked),
            once_there(lambda: _working(hub, works)),
        ):
            telling = asyncio.create_task(_tell_when_listening(settings))
            try:
                await _answer(hub)
            finally:
                telling.cancel()


async def _tell_when_listening(settings: Settings) -> None:
    """Logs the address once somebody who reads it there is answered; the web server tells nobody when that is."""
    host = listening.ALL.get(settings.host, settings.host)
    while True:
        try:
            _, writer = await asyncio.open_connection(host, settings.port)
        except OSError:
            await asyncio.sleep(0.02)
            continue
        writer.close()
        log.info("Joinder on http://%s:%d as %s", listening.written(settings.host), settings.port, settings.public_url)
        return


def _warn_of_one_address(settings: Settings) -> None:
    if settings.is_https and not settings.trusted_proxies:
        log.warning("JOINDER_TRUSTED_PROXIES is not set: all who come through a proxy count as one address")


@asynccontextmanager
async def _working(hub: Hub, works: bool) -> AsyncIterator[None]:
    if works:
        async with working(hub):
            yield
        return
    durability.arm(hub)  # a reader's call may renew a token here too
    async with store_watch.watching(hub), breaker_states.told(hub.store, hub.breakers, hub.process):
        yield


async def _answer(hub: Hub) -> None:
    server = web_server(hub)

    def stop() -> None:
        hub.stopping.set()  # not ready any more, before the first connection is refused
        server.stop()  # type: ignore[no-untyped-call]

    _on_signal(stop)
    gc.collect()
    gc.freeze()  # what it is made of stays: looking at all of it again and again costs each request some of its time
    await server.serve()


def web_server(hub: Hub) -> Server:
    """Makes the server with its limits; it listens once `serve` is awaited."""
    return Server(
        create_app(hub),
        address=listening.resolved(hub.settings.host, hub.settings.port)[1][0],  # granian takes no names
        port=hub.settings.port,
        interface=Interfaces.ASGINL,
        http=HTTPModes.http1,
        websockets=False,
        log_enabled=False,
        backlog=BACKLOG,
        backpressure=_connections_most(),
        http1_settings=HTTP1Settings(header_read_timeout=HEADERS_MS, max_buffer_size=HEADERS_MOST_BYTES),
    )


def _connections_most() -> int:
    """Returns as many as there may be open files; raises the shell's limit as far as the system's."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = CONNECTIONS_MOST + OWN_FILES
    allowed = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    if soft != resource.RLIM_INFINITY and soft < allowed:
        resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
    connections = max(allowed - OWN_FILES, allowed // 2)
    if allowed < wanted:
        log.warning("open files are limited to %d, so there are %d connections at once", allowed, connections)
    return connections


async def work(settings: Settings) -> None:
    """Works as `serve` does, without the API. Raises ConfigError."""
    before_start.refuse(settings, serves=False)
    with suppress(StoppedWaiting):
        async with (
            once_there(lambda: open_hub(settings)) as hub,
            exposed(hub),
            watching(hub.registry.note_blocked),
            once_there(lambda: working(hub)),
        ):
            _on_signal(hub.stopping.set)
            log.info("working on %s", hub.store.place)
            await hub.stopping.wait()


def _on_signal(stop: Callable[[], None]) -> None:
    loop = asyncio.get_running_loop()
    for name in STOPS:
        loop.add_signal_handler(name, stop)
