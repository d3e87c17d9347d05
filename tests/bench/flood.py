"""An owner's whole join, an API read and /health/ready beside half-open sockets and a flood of strangers: milliseconds.

    PYTHONPATH=tests .venv/bin/python tests/bench/flood.py --sockets 2000 --seconds 60

One web server as `joinder serve` has it, on SQLite, in a process of its own; the vendor is in its memory, takes 50 ms
and refuses every code but the owner's. Each stranger begins to join and comes back with a code that is made up. Also
printed: how often the vendor was called.
"""

from __future__ import annotations

import argparse
import asyncio
import multiprocessing
import socket
import statistics
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx

from api.fakes import SUNNY, FakeVendor, app_credentials
from joinder.demo.processes import free_ports
from joinder.errors import ConsentInvalid
from joinder.grants import Callback, Consent, Context
from joinder.hookspecs import hookimpl
from joinder.runtime.hub import Hub, open_hub
from joinder.runtime.serve import web_server
from joinder.services.join import join_flows, vendor_credentials
from joinder.services.join.join_flows import FlowVendor
from joinder.services.records import accounts
from joinder.services.records.access_tokens import Tokens
from joinder.settings import Settings
from joinder.store.key_file import create_key_file
from joinder.vendors.registry import Registry

HALVES = (
    b"",
    b"GET /sites HTTP/1.1\r\nhost: h\r\nx-",
    b"POST /oauth2/token HTTP/1.1\r\nhost: h\r\ncontent-length: 9\r\n\r\nx",
)
OWNER = {"x-forwarded-for": "198.51.100.7"}
ADDRESSES, RIGHT, VENDOR_S, EVERY_S = 20, "the-right-code", 0.05, 0.5


class Careful(FakeVendor):
    """Counts what it is asked, by code: right or wrong."""

    def __init__(self, counted: Any) -> None:
        super().__init__(SUNNY)
        self._counted = counted

    @hookimpl
    async def handle_callback(self, ctx: Context, callback: Callback) -> Consent:
        is_right = callback.values.get("code") == RIGHT
        with self._counted.get_lock():
            self._counted[is_right] += 1
        await asyncio.sleep(VENDOR_S)
        if not is_right:
            raise ConsentInvalid("no such code")
        return await super().handle_callback(ctx, callback)


def serve(folder: str, port: int, told: Any, counted: Any) -> None:
    """Serves until it is killed; tells an access token and a join flow first."""

    async def run() -> None:
        create_key_file(Path(folder) / "key")
        settings = Settings(
            database_url=f"sqlite:///{folder}/hub.sqlite3",
            key_file=f"{folder}/key",
            public_url=f"http://127.0.0.1:{port}",
            port=port,
            trusted_proxies=("127.0.0.1/32",),
            ballast_mib=0,
        )
        registry = Registry()
        registry.add("sunny", Careful(counted))
        async with open_hub(settings, registry) as hub:
            told.put(await prepared(hub))
            await web_server(hub).serve()

    asyncio.run(run())


async def prepared(hub: Hub) -> tuple[str, str]:
    account = await accounts.create_account(hub, "bench")
    client = await accounts.create_client(hub, account.id, "bench")
    token = await Tokens(hub).issue(client.client_id, client.client_secret, None)
    app = await vendor_credentials.create(hub, account.id, "bench", name=None, credentials=app_credentials())
    offered = [FlowVendor(vendor="sunny", credentials_id=app.id)]
    back = "https://a.example/"
    flow = await join_flows.create(
        hub, account.id, "bench", vendors=offered, redirect_uri=back, skip_intro=True, skip_landing=True
    )
    return token.access_token, flow.id


async def joined(client: httpx.AsyncClient, flow: str, code: str, headers: dict[str, str]) -> int:
    """Begins and comes back; the status of the end, or of the beginning where that was refused."""
    client.cookies.clear()
    begun = await client.get(f"/join/flows/{flow}/authorize", headers=headers)
    if begun.status_code != 303:
        return begun.status_code
    state = parse_qs(urlsplit(begun.headers["location"]).query)["state"][0]
    cookie = "; ".join(f"{name}={value}" for name, value in begun.cookies.items())
    query = {"state": state, "code": code}
    client.cookies.clear()
    return (
        await client.get("/join/sunny/auth-granted", params=query, headers={**headers, "cookie": cookie})
    ).status_code


async def measure(base: str, token: str, flow: str, seconds: float) -> None:
    api = {"authorization": f"Bearer {token}"}
    seen: dict[str, list[tuple[float, int]]] = {"/health/ready": [], "/sites": [], "an owner's join": []}
    async with httpx.AsyncClient(base_url=base, timeout=60) as client:
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            for what, headers in (("/health/ready", {}), ("/sites", api)):
                began = time.perf_counter()
                status = (await client.get(what, headers=headers)).status_code
                seen[what].append(((time.perf_counter() - began) * 1000, status))
            began = time.perf_counter()
            status = await joined(client, flow, RIGHT, OWNER)
            seen["an owner's join"].append(((time.perf_counter() - began) * 1000, status))
            await asyncio.sleep(EVERY_S)
    for what, answers in seen.items():
        times = sorted(time_ms for time_ms, _ in answers)
        worst = times[min(len(times) - 1, int(len(times) * 0.99))]
        statuses = dict(Counter(status for _, status in answers))
        print(f"  {what:16} n {len(times):4}  p50 {statistics.median(times):7.1f} ms  p99 {worst:7.1f} ms  {statuses}")


async def flood(base: str, flow: str, seconds: float, rate: int) -> Counter[int]:
    """So many strangers a second; answers how their attempts ended."""
    statuses: Counter[int] = Counter()

    async def one(client: httpx.AsyncClient, number: int) -> None:
        headers = {"x-forwarded-for": f"203.0.113.{number % ADDRESSES}"}
        statuses[await joined(client, flow, "made-up", headers)] += 1

    limits = httpx.Limits(max_connections=200)
    async with httpx.AsyncClient(base_url=base, timeout=60, limits=limits) as client, asyncio.TaskGroup() as group:
        began = time.monotonic()
        for number in range(int(seconds * rate)):
            await asyncio.sleep(max(0.0, began + number / rate - time.monotonic()))
            group.create_task(one(client, number))
    return statuses


async def measured(port: int, token: str, flow: str, given: argparse.Namespace, counted: Any) -> None:
    base = f"http://127.0.0.1:{port}"
    print("alone")
    await measure(base, token, flow, given.seconds)
    print(f"beside {given.sockets} half-open sockets")
    held = [socket.create_connection(("127.0.0.1", port)) for _ in range(given.sockets)]
    for number, one in enumerate(held):
        one.sendall(HALVES[number % len(HALVES)])
    await measure(base, token, flow, given.seconds)
    for one in held:
        one.close()
    print(f"beside {given.rate} strangers a second from {ADDRESSES} addresses")
    counted[0] = counted[1] = 0
    beside = measure(base, token, flow, given.seconds)
    ends, _ = await asyncio.gather(flood(base, flow, given.seconds, given.rate), beside)
    print(f"  {sum(ends.values())} strangers were answered {dict(sorted(ends.items()))}")
    print(f"  the vendor was asked about {counted[0]} of their codes, and {counted[1]} of the owner's")


def main(given: argparse.Namespace) -> None:
    context = multiprocessing.get_context("spawn")
    told, counted = context.Queue(), context.Array("i", 2)
    (port,) = free_ports(1)
    with tempfile.TemporaryDirectory() as folder:
        server = context.Process(target=serve, args=(folder, port, told, counted), daemon=True)
        server.start()
        token, flow = told.get(timeout=120)
        time.sleep(1)
        asyncio.run(measured(port, token, flow, given, counted))
        server.kill()
        server.join()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sockets", type=int, default=2000)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--rate", type=int, default=200)
    main(parser.parse_args())
