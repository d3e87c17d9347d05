"""Requests per second of two hot reads ÷ a constant-bytes handler of the same Litestar in the same process.

    .venv/bin/python tests/bench/api_reads.py

10 000 sites, 96 quarter hours of one; 16 connections that send the next request when the answer is there; the three
paths in turn, five rounds, medians.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import socket
import statistics
import sys
import tempfile
import time
from pathlib import Path

from granian.constants import HTTPModes, Interfaces
from granian.server.embed import Server
from litestar import Response, get

from joinder.api.app import create_app
from joinder.clock import now
from joinder.energy import Reading
from joinder.ids import new_id
from joinder.runtime.hub import Hub, open_hub
from joinder.services.records import accounts
from joinder.services.records.access_tokens import Tokens
from joinder.settings import Settings
from joinder.store.key_file import create_key_file
from joinder.store.readings import CoveredSpan, coverage, intervals
from joinder.store.tables import Enrollment, SiteRow

SITES, CONNECTIONS, SECONDS, ROUNDS = 10_000, 16, 2.0, 5
CONSTANT = b'{"sites":[' + b",".join(b'{"id":"site-aaaaaaaaaaaaaaaa"}' for _ in range(100)) + b'],"errors":{}}'


@get("/constant", sync_to_thread=False)
def constant() -> Response[bytes]:
    return Response(CONSTANT, media_type="application/json")


async def seed(hub: Hub) -> tuple[str, str]:
    """Access token, and the id of a site with a day of intervals."""
    account = await accounts.create_account(hub, "bench")
    client = await accounts.create_client(hub, account.id, "bench")
    token = await Tokens(hub).issue(client.client_id, client.client_secret, None)
    moment = now()
    enrollment = Enrollment(
        id=new_id("enrl"), account_id=account.id, vendor="enphase", health_since=moment, created_at=moment
    )
    sites = [
        SiteRow(
            id=new_id("site"),
            account_id=account.id,
            enrollment_id=enrollment.id,
            vendor="enphase",
            vendor_id=str(number),
            name=f"Site {number}",
            timezone="Europe/Berlin",
            fetched_at=moment,
        )
        for number in range(SITES)
    ]
    start, quarter = moment // 86400 * 86400 - 7 * 86400, 900
    readings = [
        Reading(start=_utc(at), end=_utc(at + quarter), solar_wh=100.0 + at % 7, load_wh=50.0)
        for at in range(start, start + 86400, quarter)
    ]
    async with hub.store.write() as session:
        session.add(enrollment)
        await session.flush()
        session.add_all(sites)
        await session.flush()
    asked = coverage(sites[0].id, "15mins", [], [CoveredSpan(start - 86400, start + 2 * 86400, moment)])
    await hub.store.apply(intervals("15mins", [(sites[0].id, reading) for reading in readings], moment), *asked)
    return token.access_token, sites[0].id


def _utc(at: int):  # type: ignore[no-untyped-def]
    from datetime import UTC, datetime

    return datetime.fromtimestamp(at, UTC)


def serve(folder: str, port: int, ready) -> None:  # type: ignore[no-untyped-def]
    async def run() -> None:
        path = Path(folder)
        create_key_file(path / "key")
        settings = Settings(
            database_url=f"sqlite:///{path}/bench.sqlite3",
            key_file=str(path / "key"),
            public_url=f"http://127.0.0.1:{port}",
            requests_per_minute=1_000_000,
        )
        async with open_hub(settings) as hub:
            ready.put(await seed(hub))
            app = create_app(hub)
            app.register(constant)
            server = Server(
                app,
                address="127.0.0.1",
                port=port,
                interface=Interfaces.ASGINL,
                http=HTTPModes.http1,
                websockets=False,
                log_enabled=False,
            )
            await server.serve()

    asyncio.run(run())


async def requests_per_second(port: int, path: str, token: str) -> float:
    """Closed loop over plain sockets, so that the client costs little."""
    request = (
        f"GET {path} HTTP/1.1\r\nhost: 127.0.0.1\r\nauthorization: Bearer {token}\r\naccept: application/json\r\n\r\n"
    ).encode()
    count, end = 0, time.perf_counter() + SECONDS

    async def connection() -> None:
        nonlocal count
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        while time.perf_counter() < end:
            writer.write(request)
            head = await reader.readuntil(b"\r\n\r\n")
            if not head.startswith(b"HTTP/1.1 200"):
                raise SystemExit(head.decode())
            await reader.readexactly(int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0]))
            count += 1
        writer.close()

    begun = time.perf_counter()
    await asyncio.gather(*(connection() for _ in range(CONNECTIONS)))
    return count / (time.perf_counter() - begun)


async def measure(port: int, token: str, site_id: str) -> dict[str, list[float]]:
    day = now() // 86400 * 86400 - 7 * 86400
    span = "&".join(
        f"{name}={time.strftime('%Y-%m-%dT%H:%M:%SZ', time.gmtime(at))}"
        for name, at in (("start", day), ("end", day + 86400))
    )
    paths = {
        "constant bytes": "/constant",
        "100 of 10 000 sites": "/sites?pageSize=100",
        "a day of 96 intervals": f"/sites/{site_id}/solar-intervals?{span}&summaryLevel=15mins&pageSize=200",
    }
    rates: dict[str, list[float]] = {name: [] for name in paths}
    for _ in range(ROUNDS):
        for name, path in paths.items():
            rates[name].append(await requests_per_second(port, path, token))
    return rates


def main() -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    context = multiprocessing.get_context("spawn")
    ready = context.Queue()
    with tempfile.TemporaryDirectory() as folder:
        server = context.Process(target=serve, args=(folder, port, ready), daemon=True)
        server.start()
        token, site_id = ready.get(timeout=120)
        time.sleep(1)
        rates = asyncio.run(measure(port, token, site_id))
        server.kill()
        server.join()
    base = statistics.median(rates["constant bytes"])
    for name, values in rates.items():
        middle = statistics.median(values)
        print(f"{name:<24} {middle:8.0f}/s   ÷ constant {middle / base:5.2f}   ({min(values):.0f}–{max(values):.0f})")


if __name__ == "__main__":
    sys.exit(main())
