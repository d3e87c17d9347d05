"""An API read, /health/ready and an owner's start beside half-open sockets and a flood of strangers: milliseconds.

    .venv/bin/python tests/bench/strangers.py --sockets 2000 --seconds 20

One `joinder serve` on SQLite without a vendor that is called: what is measured is what a stranger costs here.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import httpx

from joinder.demo.processes import environment, free_ports
from joinder.runtime.hub import open_hub
from joinder.services.join import join_flows
from joinder.services.join.join_flows import FlowVendor
from joinder.services.records import accounts
from joinder.services.records.access_tokens import Tokens
from joinder.settings import Settings
from joinder.store.key_file import create_key_file

HALVES = (
    b"",
    b"GET /sites HTTP/1.1\r\nhost: h\r\nx-",
    b"POST /oauth2/token HTTP/1.1\r\nhost: h\r\ncontent-length: 9\r\n\r\nx",
)
OWNER = {"x-forwarded-for": "198.51.100.7"}


async def prepared(settings: Settings) -> tuple[str, str]:
    """Access token and join flow."""
    async with open_hub(settings) as hub:
        account = await accounts.create_account(hub, "bench")
        client = await accounts.create_client(hub, account.id, "bench")
        token = await Tokens(hub).issue(client.client_id, client.client_secret, None)
        vendors = [FlowVendor(vendor="iqgateway")]
        flow = await join_flows.create(hub, account.id, "bench", vendors=vendors, redirect_uri="https://a.example/")
        return token.access_token, flow.id


async def timed(client: httpx.AsyncClient, path: str, **options: object) -> tuple[float, int]:
    began = time.perf_counter()
    answer = await client.get(path, **options)  # type: ignore[arg-type]
    return (time.perf_counter() - began) * 1000, answer.status_code


async def measure(base: str, token: str, flow: str, seconds: float) -> None:
    api = {"authorization": f"Bearer {token}"}
    start = f"/join/flows/{flow}/authorize"
    seen: dict[str, list[tuple[float, int]]] = {"/health/ready": [], "/sites": [], "an owner's start": []}
    async with httpx.AsyncClient(base_url=base, timeout=60) as client:
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            seen["/health/ready"].append(await timed(client, "/health/ready"))
            seen["/sites"].append(await timed(client, "/sites", headers=api))
            client.cookies.clear()
            seen["an owner's start"].append(await timed(client, start, headers=OWNER))
            await asyncio.sleep(1.1)  # an owner is no flood
    for what, answers in seen.items():
        times = sorted(time_ms for time_ms, _ in answers)
        worst = times[min(len(times) - 1, int(len(times) * 0.99))]
        statuses = dict(Counter(status for _, status in answers))
        print(f"  {what:18} n {len(times):4}  p50 {statistics.median(times):7.1f} ms  p99 {worst:7.1f} ms  {statuses}")


async def flood(base: str, flow: str, seconds: float, rate: int) -> Counter[int]:
    """So many starts a second, from 20 addresses."""
    statuses: Counter[int] = Counter()

    async def one(client: httpx.AsyncClient, number: int) -> None:
        headers = {"x-forwarded-for": f"203.0.113.{number % 20}"}
        statuses[(await client.get(f"/join/flows/{flow}/authorize", headers=headers)).status_code] += 1

    limits = httpx.Limits(max_connections=200)
    async with httpx.AsyncClient(base_url=base, timeout=60, limits=limits) as client, asyncio.TaskGroup() as group:
        began = time.monotonic()
        for number in range(int(seconds * rate)):
            await asyncio.sleep(max(0.0, began + number / rate - time.monotonic()))
            client.cookies.clear()
            group.create_task(one(client, number))
    return statuses


async def main(sockets: int, seconds: float, rate: int) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        create_key_file(folder / "key")
        (port,) = free_ports(1)
        base = f"http://127.0.0.1:{port}"
        settings = Settings(
            database_url=f"sqlite:///{folder}/joinder.sqlite3", key_file=str(folder / "key"), public_url=base, port=port
        )
        token, flow = await prepared(settings)
        kept = {name: value for name, value in os.environ.items() if not name.startswith("JOINDER_")}
        more = {"JOINDER_TRUSTED_PROXIES": "127.0.0.1/32", "JOINDER_LOG_LEVEL": "WARNING", "JOINDER_BALLAST_MIB": "0"}
        asked = [sys.executable, "-m", "joinder", "serve"]
        with subprocess.Popen(asked, env={**kept, **environment(settings), **more}) as server:  # noqa: ASYNC220
            try:
                await ready(base)
                print("alone")
                await measure(base, token, flow, seconds)
                print(f"beside {sockets} half-open sockets")
                held = [socket.create_connection(("127.0.0.1", port)) for _ in range(sockets)]
                for number, one in enumerate(held):
                    one.sendall(HALVES[number % len(HALVES)])
                await measure(base, token, flow, seconds)
                for one in held:
                    one.close()
                print(f"beside {rate} strangers a second from 20 addresses")
                told, _ = await asyncio.gather(flood(base, flow, seconds, rate), measure(base, token, flow, seconds))
                print(f"  strangers were answered {dict(told)}")
            finally:
                server.terminate()


async def ready(base: str) -> None:
    async with httpx.AsyncClient(base_url=base) as client:
        while True:
            try:
                if (await client.get("/health/ready")).is_success:
                    return
            except httpx.TransportError:
                await asyncio.sleep(0.1)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sockets", type=int, default=2000)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--rate", type=int, default=200)
    given = parser.parse_args()
    asyncio.run(main(given.sockets, given.seconds, given.rate))
