"""An owner's whole join, an API read and /health/ready beside half-open sockets and a flood of strangers: milliseconds.

    PYTHONPATH=tests .venv/bin/python tests/bench/flood.py --sockets 2000 --seconds 60

One web server as `joinder serve` has it, on SQLite, in a process of its own; the vendor is in its memory, takes 50 ms
and refuses every code but the owner's. Each stranger begins to join and comes back with a code that is made up. Also
printed: how often the vendor was called.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import multiprocessing
import re
import socket
import statistics
import tempfile
import time
from collections import Counter
from collections.abc import Awaitable, Iterator
from pathlib import Path
from typing import Any

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


async def asked(port: int, path: str, headers: dict[str, str]) -> tuple[int, str]:
    """Asks over a connection of its own, by hand, as a client that costs little; returns status and headers."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    writer.write(f"GET {path} HTTP/1.1\r\nhost: h\r\nconnection: close\r\n{lines}\r\n".encode())
    head = (await reader.read()).partition(b"\r\n\r\n")[0].decode("latin-1")
    writer.close()
    return int(head.split(" ")[1]), head


async def joined(port: int, flow: str, code: str, headers: dict[str, str]) -> int:
    """Begins and comes back; the status of the end, or of the beginning where that was refused."""
    status, head = await asked(port, f"/join/flows/{flow}/authorize", headers)
    if status != 303:
        return status
    state = re.search(r"[?&]state=([\w-]+)", head)
    cookies = re.findall(r"\nset-cookie: ([^;]+)", head, re.IGNORECASE)
    assert state is not None, head
    path = f"/join/sunny/auth-granted?state={state[1]}&code={code}"
    return (await asked(port, path, {**headers, "cookie": "; ".join(cookies)}))[0]


async def timed(asking: Awaitable[Any]) -> tuple[float, int]:
    began = time.perf_counter()
    answer = await asking
    return (time.perf_counter() - began) * 1000, answer[0] if isinstance(answer, tuple) else answer


def each_from_home() -> Iterator[dict[str, str]]:
    """Yields the headers of owners, each of whom joins once."""
    for number in itertools.count():
        yield {"x-forwarded-for": f"198.18.{number // 250 % 250}.{number % 250}"}


async def measure(port: int, token: str, flow: str, owners: Iterator[dict[str, str]], seconds: float) -> None:
    api = {"authorization": f"Bearer {token}"}
    seen: dict[str, list[tuple[float, int]]] = {"/health/ready": [], "/sites": [], "an owner's join": []}
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        seen["/health/ready"].append(await timed(asked(port, "/health/ready", {})))
        seen["/sites"].append(await timed(asked(port, "/sites", api)))
        seen["an owner's join"].append(await timed(joined(port, flow, RIGHT, next(owners))))
        await asyncio.sleep(EVERY_S)
    for what, answers in seen.items():
        times = sorted(time_ms for time_ms, _ in answers)
        worst = times[min(len(times) - 1, int(len(times) * 0.99))]
        statuses = dict(Counter(status for _, status in answers))
        print(f"  {what:16} n {len(times):4}  p50 {statistics.median(times):7.1f} ms  p99 {worst:7.1f} ms  {statuses}")


def flood(port: int, flow: str, seconds: float, rate: int, ends: Any) -> None:
    """Sends so many strangers a second, in a process of its own; tells how their attempts ended."""
    statuses: Counter[int] = Counter()

    async def one(number: int) -> None:
        headers = {"x-forwarded-for": f"203.0.113.{number % ADDRESSES}"}
        statuses[await joined(port, flow, "made-up", headers)] += 1

    async def all_of_them() -> None:
        async with asyncio.TaskGroup() as group:
            began = time.monotonic()
            for number in range(int(seconds * rate)):
                await asyncio.sleep(max(0.0, began + number / rate - time.monotonic()))
                group.create_task(one(number))

    asyncio.run(all_of_them())
    ends.put(dict(sorted(statuses.items())))


async def measured(
    port: int, token: str, flow: str, owners: Iterator[dict[str, str]], given: argparse.Namespace
) -> None:
    while not await answers(port):
        await asyncio.sleep(0.1)
    print("alone")
    await measure(port, token, flow, owners, given.seconds)
    print(f"beside {given.sockets} half-open sockets")
    held = [socket.create_connection(("127.0.0.1", port)) for _ in range(given.sockets)]
    for number, one in enumerate(held):
        one.sendall(HALVES[number % len(HALVES)])
    await measure(port, token, flow, owners, given.seconds)
    for one in held:
        one.close()


async def answers(port: int) -> bool:
    try:
        return (await asked(port, "/health/ready", {}))[0] == 200
    except OSError:
        return False


def main(given: argparse.Namespace) -> None:
    context = multiprocessing.get_context("spawn")
    told, counted = context.Queue(), context.Array("i", 2)
    (port,) = free_ports(1)
    with tempfile.TemporaryDirectory() as folder:
        server = context.Process(target=serve, args=(folder, port, told, counted), daemon=True)
        server.start()
        token, flow = told.get(timeout=120)
        owners = each_from_home()
        asyncio.run(measured(port, token, flow, owners, given))
        print(f"beside {given.rate} strangers a second from {ADDRESSES} addresses")
        counted[0] = counted[1] = 0
        ends = context.Queue()
        strangers = context.Process(target=flood, args=(port, flow, given.seconds, given.rate, ends), daemon=True)
        strangers.start()
        asyncio.run(measure(port, token, flow, owners, given.seconds))
        print(f"  strangers were answered {ends.get(timeout=600)}")
        print(f"  the vendor was asked about {counted[0]} of their codes, and {counted[1]} of the owner's")
        server.kill()
        server.join()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sockets", type=int, default=2000)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--rate", type=int, default=200)
    main(parser.parse_args())
