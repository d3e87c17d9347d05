"""Hot reads of the API ÷ those of its peers on the same file: raw ASGI, FastAPI with SQLModel (tests/bench/peers).

    .uv/bin/uv run --frozen --no-sync --with fastapi==0.142.2 python tests/bench/api_reads.py

10 000 sites, 96 quarter hours of one. Each server is one process of Granian; 16 connections send the next request when
the answer is there. Servers in turn, five rounds; medians of requests a second, and of the server's own CPU a request,
which what else runs on the machine moves less. Only Joinder checks who asks, and for what.
"""

from __future__ import annotations

import asyncio
import gc
import importlib
import multiprocessing
import os
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from socket import create_connection, create_server
from typing import Any

from fleets import store_fleet
from granian.constants import HTTPModes, Interfaces
from granian.server.embed import Server
from litestar import Response, get
from peers.raw_asgi import CONSTANT

from joinder.api.app import create_app
from joinder.clock import now
from joinder.energy import Reading
from joinder.runtime.hub import Hub, open_hub
from joinder.services.records import accounts
from joinder.services.records.access_tokens import Tokens
from joinder.settings import Settings
from joinder.store.key_file import create_key_file
from joinder.store.readings import CoveredSpan, coverage, intervals

SITES, CONNECTIONS, SECONDS, ROUNDS = 10_000, 16, 1.5, 5
TICKS = os.sysconf("SC_CLK_TCK")
JOINDER, RAW, FASTAPI = "joinder", "raw_asgi", "fastapi_sqlmodel"


@dataclass(frozen=True)
class Asked:
    """A server and what it is asked, with all that was measured of it."""

    server: str
    path: str
    status: int = 200
    tag: str | None = None
    rates: list[float] = field(default_factory=list)
    cpu_us: list[float] = field(default_factory=list)

    def over(self, other: Asked) -> str:
        """Says the medians of the ratios of the rounds, each taken next to the other."""
        rate = statistics.median(a / b for a, b in zip(self.rates, other.rates, strict=True))
        cpu = statistics.median(b / a for a, b in zip(self.cpu_us, other.cpu_us, strict=True))
        return f"{rate:6.2f} {cpu:6.2f}"


@get("/constant", sync_to_thread=False)
def constant() -> Response[bytes]:
    return Response(CONSTANT, media_type="application/json")


async def seed(hub: Hub) -> tuple[str, str]:
    """Returns an access token, and the id of a site with a day of intervals."""
    account = await accounts.create_account(hub, "bench")
    client = await accounts.create_client(hub, account.id, "bench")
    token = await Tokens(hub).issue(client.client_id, client.client_secret, None)
    sites, moment = await store_fleet(hub, account.id, SITES), now()
    start, quarter = first_day(), 900
    readings = [
        Reading(start=_utc(at), end=_utc(at + quarter), solar_wh=100.0 + at % 7, load_wh=50.0)
        for at in range(start, start + 86400, quarter)
    ]
    asked = coverage(sites[0].id, "15mins", [], [CoveredSpan(start - 86400, start + 2 * 86400, moment)])
    await hub.store.apply(intervals("15mins", [(sites[0].id, reading) for reading in readings], moment), *asked)
    return token.access_token, sites[0].id


def first_day() -> int:
    return now() // 86400 * 86400 - 7 * 86400


def _utc(at: int) -> datetime:
    return datetime.fromtimestamp(at, UTC)


def serve_joinder(folder: Path, port: int, ready: Any) -> None:
    async def run() -> None:
        create_key_file(folder / "key")
        settings = Settings(
            database_url=f"sqlite:///{folder}/bench.sqlite3",
            key_file=str(folder / "key"),
            public_url=f"http://127.0.0.1:{port}",
            requests_per_minute=1_000_000,
        )
        async with open_hub(settings) as hub:
            ready.put(await seed(hub))
            app = create_app(hub)
            app.register(constant)
            await listen(app, port)

    asyncio.run(run())


def serve_peer(folder: Path, port: int, name: str) -> None:
    app = importlib.import_module(f"peers.{name}").create(folder / "bench.sqlite3")
    asyncio.run(listen(app, port))


async def listen(app: Any, port: int) -> None:
    server = Server(
        app,
        address="127.0.0.1",
        port=port,
        interface=Interfaces.ASGINL,
        http=HTTPModes.http1,
        websockets=False,
        log_enabled=False,
    )
    gc.collect()
    gc.freeze()  # as `joinder serve` does
    await server.serve()


async def measure(one: Asked, port: int, pid: int, token: str) -> None:
    """Closed loop over plain sockets, so that the client costs little."""
    lines = [f"GET {one.path} HTTP/1.1", "host: 127.0.0.1", f"authorization: Bearer {token}", "accept: */*"]
    request = "\r\n".join([*lines, *([f"if-none-match: {one.tag}"] if one.tag else []), "", ""]).encode()
    count, end = 0, time.perf_counter() + SECONDS

    async def connection() -> None:
        nonlocal count
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        while time.perf_counter() < end:
            writer.write(request)
            await answer(reader, one.status)
            count += 1
        writer.close()

    begun, cpu = time.perf_counter(), cpu_s(pid)
    await asyncio.gather(*(connection() for _ in range(CONNECTIONS)))
    one.rates.append(count / (time.perf_counter() - begun))
    one.cpu_us.append((cpu_s(pid) - cpu) / count * 1e6)


async def answer(reader: asyncio.StreamReader, status: int) -> bytes:
    head = (await reader.readuntil(b"\r\n\r\n")).lower()
    if not head.startswith(f"http/1.1 {status}".encode()):
        raise SystemExit(head.decode())
    length = head.partition(b"content-length: ")[2].partition(b"\r\n")[0]
    await reader.readexactly(int(length or 0))
    return head


async def tag_of(port: int, path: str, token: str) -> str:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(f"GET {path} HTTP/1.1\r\nhost: 127.0.0.1\r\nauthorization: Bearer {token}\r\n\r\n".encode())
    head = await answer(reader, 200)
    writer.close()
    return head.partition(b"etag: ")[2].partition(b"\r\n")[0].decode().replace("w/", "W/")


def cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


@contextmanager
def running(target: Any, *args: Any) -> Iterator[int]:
    process = multiprocessing.get_context("spawn").Process(target=target, args=args, daemon=True)
    process.start()
    try:
        yield int(process.pid or 0)
    finally:
        process.kill()
        process.join()


def free_port() -> int:
    with create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


def wait_for(port: int) -> None:
    while True:
        try:
            create_connection(("127.0.0.1", port)).close()
            return
        except OSError:
            time.sleep(0.1)


async def compare(ports: dict[str, int], pids: dict[str, int], token: str, site_id: str) -> None:
    sites, day = "/sites?pageSize=100", day_path(site_id)
    tag = await tag_of(ports[JOINDER], day, token)
    kinds = {
        "constant bytes": [Asked(JOINDER, "/constant"), Asked(RAW, "/constant")],
        "100 of 10 000 sites": [Asked(name, sites) for name in (JOINDER, RAW, FASTAPI)],
        "a day of 96 intervals": [Asked(name, day) for name in (JOINDER, RAW, FASTAPI)],
        "the same day, 304": [Asked(JOINDER, day, 304, tag)],
    }
    for _ in range(ROUNDS):
        for one in (one for contenders in kinds.values() for one in contenders):
            await measure(one, ports[one.server], pids[one.server], token)
    print(f"{'':42}   /s   CPU, µs   Joinder ÷ it: /s, CPU the other way round")
    for name, contenders in kinds.items():
        for one in contenders:
            base = kinds["constant bytes"][0] if one.status == 304 else one
            rate, cpu = statistics.median(one.rates), statistics.median(one.cpu_us)
            print(f"{name:22} {one.server:17} {rate:7.0f} {cpu:7.0f}   {contenders[0].over(base)}", flush=True)


def day_path(site_id: str) -> str:
    start, end = (time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(first_day() + after)) for after in (0, 86400))
    return f"/sites/{site_id}/solar-intervals?start={start}&end={end}&summaryLevel=15mins&pageSize=200"


def main() -> None:
    ready = multiprocessing.get_context("spawn").Queue()
    ports = {name: free_port() for name in (JOINDER, RAW, FASTAPI)}
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        folder = Path(name)
        pids = {JOINDER: stack.enter_context(running(serve_joinder, folder, ports[JOINDER], ready))}
        token, site_id = ready.get(timeout=120)
        for peer in (RAW, FASTAPI):
            pids[peer] = stack.enter_context(running(serve_peer, folder, ports[peer], peer))
        for port in ports.values():
            wait_for(port)
        asyncio.run(compare(ports, pids, token, site_id))


if __name__ == "__main__":
    main()
