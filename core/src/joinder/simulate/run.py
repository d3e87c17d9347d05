"""Runs simulators inside this process, each on a port of its own on 127.0.0.1."""

from __future__ import annotations

import asyncio
import errno
import socket
import tempfile
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, closing, contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import uvicorn

from joinder import loopback
from joinder.simulate import Asgi, Simulator
from joinder.simulate.breaks import Hear, Heard, unheard
from joinder.simulate.faults import FaultDial
from joinder.simulate.tls import self_signed


class _Quiet(uvicorn.Server):
    """A server that leaves the process's signals alone."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


@asynccontextmanager
async def running(
    simulators: Sequence[Simulator], ports: Mapping[str, int] | None = None, *, hear: Hear = unheard
) -> AsyncIterator[dict[str, str]]:
    """Yields vendor → base URL; port 0 or absent means any free one. They stop when the block ends.

    `hear` is told what they raise by mistake.
    """
    async with _stopping() as servers:
        origins = {}
        for simulator in simulators:
            listener = _listener((ports or {}).get(simulator.vendor, 0))
            origins[simulator.vendor] = _origin(simulator, listener.getsockname()[1])
            await _start(simulator, listener, servers, hear)
        yield origins


def reroute_of(simulators: Sequence[Simulator], origins: Mapping[str, str]) -> dict[str, str]:
    """Returns the `reroute` setting that sends every simulated host to its simulator."""
    return {host: origins[simulator.vendor] for simulator in simulators for host in simulator.stands_in_for}


def networks_of(simulators: Iterable[Simulator]) -> tuple[str, ...]:
    """The `allowed_networks` setting in which the simulated devices are."""
    devices = (simulator for simulator in simulators if simulator.tls or simulator.is_device)
    return tuple(f"{host.partition(':')[0]}/32" for simulator in devices for host in simulator.stands_in_for)


def call_limits_of(simulators: Sequence[Simulator]) -> dict[str, Mapping[str, int]]:
    """Returns the `call_limits` setting of the plans the simulated apps have."""
    return {simulator.vendor: simulator.call_limits for simulator in simulators if simulator.call_limits}


def settings_of(simulators: Sequence[Simulator], origins: Mapping[str, str]) -> dict[str, Any]:
    """Returns the settings that send a hub to these simulators instead of vendors and devices."""
    return {
        "reroute": reroute_of(simulators, origins),
        "allowed_networks": networks_of(simulators),
        "call_limits": call_limits_of(simulators),
    }


def origins_at(simulators: Sequence[Simulator], ports: Mapping[str, int]) -> dict[str, str]:
    """Returns vendor → base URL, of simulators that will run at these ports."""
    return {simulator.vendor: _origin(simulator, ports[simulator.vendor]) for simulator in simulators}


def ports_of(simulators: Sequence[Simulator], reroute: Mapping[str, str]) -> dict[str, int]:
    """Returns vendor → the port a configuration sends its hosts to, where it does."""
    return {
        simulator.vendor: urlsplit(reroute[host]).port or 0
        for simulator in simulators
        for host in simulator.stands_in_for
        if host in reroute
    }


def free_ports_from(first: int, count: int) -> list[int]:
    """Finds the next ports of 127.0.0.1 that nobody listens at. Raises OSError where there are none."""
    found: list[int] = []
    for port in range(first, 65536):
        if len(found) == count:
            return found
        with suppress(OSError), closing(_listener(port)):
            found.append(port)
    raise OSError(errno.EADDRNOTAVAIL, f"no {count} ports are free from {first} on")


def steered_from_here(app: Asgi) -> Asgi:
    """Paths that steer a simulator begin with `/_`; no page that a browser of this machine shows may ask for them."""

    async def guarded(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http" and scope["path"].startswith("/_") and loopback.refuses(scope["headers"]):
            await send({"type": "http.response.start", "status": 403, "headers": [(b"content-length", b"0")]})
            await send({"type": "http.response.body", "body": b""})
            return
        await app(scope, receive, send)

    return guarded


def _listener(port: int) -> socket.socket:
    """Says TCP explicitly: asyncio turns Nagle's algorithm off only then, and with it every answer takes 40 ms."""
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(("127.0.0.1", port))
    listener.listen()
    return listener


def _origin(simulator: Simulator, port: int) -> str:
    return f"{'https' if simulator.tls else 'http'}://127.0.0.1:{port}"


async def _start(
    simulator: Simulator, listener: socket.socket, servers: list[tuple[_Quiet, asyncio.Task[None]]], hear: Hear
) -> None:
    config = uvicorn.Config(
        steered_from_here(FaultDial(Heard(simulator.app, hear), simulator.clock)),
        log_level="critical",
        access_log=False,
        lifespan="off",
        ws="none",
        date_header=False,
        timeout_keep_alive=75,  # as nginx
    )
    if simulator.tls:
        with tempfile.TemporaryDirectory() as folder:
            certificate, key = self_signed(Path(folder), name="simulated-device")
            config.ssl_certfile, config.ssl_keyfile = str(certificate), str(key)
            config.load()
    server = _Quiet(config)
    task = asyncio.create_task(server.serve(sockets=[listener]))
    servers.append((server, task))
    while not server.started:
        if task.done():
            task.result()
        await asyncio.sleep(0.01)


@asynccontextmanager
async def _stopping() -> AsyncIterator[list[tuple[_Quiet, asyncio.Task[None]]]]:
    servers: list[tuple[_Quiet, asyncio.Task[None]]] = []
    try:
        yield servers
    finally:
        for server, _ in servers:
            server.should_exit = server.force_exit = True
        await asyncio.gather(*(task for _, task in servers), return_exceptions=True)
