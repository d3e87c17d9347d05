"""What counting a vendor call costs, in µs, and what it is of a whole call over loopback.

    .venv/bin/python tests/bench/call_budget.py

One process, SQLite in a file (synchronous=FULL) and PostgreSQL; calls one after the other; five rounds, medians. The
whole call is a GET to a server on loopback that answers at once, through the same client, without a meter.
"""

from __future__ import annotations

import asyncio
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path

from joinder.demo.postgres import NoPostgres, local_postgres
from joinder.http import HttpFactory
from joinder.services.calls.budgets import AppMeter, Budgets
from joinder.store.engine import open_store
from joinder.vendor import Limits

ROUNDS, CALLS = 5, 2000
ANSWER = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}"
CASES: dict[str, dict[str, int]] = {
    "no limit": {},
    "10 a minute, no blocks": {"calls_per_minute": 10, "calls_per_month": 1_000},
    "2 000 a day, blocks of 100": {"calls_per_minute": 100_000, "calls_per_day": 2_000},
    "three limits, large": dict.fromkeys(("calls_per_minute", "calls_per_day", "calls_per_month"), 1_000_000),
}


async def cost_us(calls: int, one: Callable[[], Awaitable[None]]) -> float:
    began = time.perf_counter()
    for _ in range(calls):
        await one()
    return (time.perf_counter() - began) / calls * 1e6


async def median_us(calls: int, one: Callable[[], Awaitable[None]]) -> float:
    return statistics.median([await cost_us(calls, one) for _ in range(ROUNDS)])


async def http_us() -> float:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                await reader.readuntil(b"\r\n\r\n")
                writer.write(ANSWER)
        except asyncio.IncompleteReadError:
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    factory = HttpFactory(reroute={"vendor.example": f"http://127.0.0.1:{port}"})
    client = factory.vendor(("vendor.example",))

    async def get() -> None:
        await client.request("GET", "https://vendor.example/")

    try:
        return await median_us(CALLS // 4, get)
    finally:
        await factory.close()
        await asyncio.sleep(0.05)  # lets the server see the end of the connection
        server.close()
        await server.wait_closed()


def calling(meter: AppMeter, *, exchange: bool) -> Callable[[], Awaitable[None]]:
    async def one() -> None:
        async with meter.call(exchange=exchange):
            pass

    return one


async def measure(kind: str, url: str, whole_us: float) -> None:
    store = await open_store(url)
    budgets = Budgets(store)
    try:
        for number, (name, limits) in enumerate(CASES.items()):
            for exchange in (False, True):
                meter = budgets.meter(f"app-{number}-{exchange}", Limits(poll_every=timedelta(hours=1), **limits))
                calls = CALLS if not limits else min(CALLS, *limits.values()) // ROUNDS
                cost = await median_us(calls, calling(meter, exchange=exchange))
                what = "exchange" if exchange else "read"
                print(f"{kind:10}  {name:26}  {what:8}  {cost:8.1f} µs  {cost / whole_us:6.3f} of a call")
    finally:
        await budgets.close()
        await store.close()


def main() -> None:
    whole_us = asyncio.run(http_us())
    print(f"a call over loopback, no meter: {whole_us:.0f} µs")
    with ExitStack() as exits:
        folder = exits.enter_context(tempfile.TemporaryDirectory())
        asyncio.run(measure("SQLite", f"sqlite:///{Path(folder)}/budget.sqlite3", whole_us))
        try:
            server = exits.enter_context(local_postgres(durable=True))
        except NoPostgres as error:
            print(f"PostgreSQL: {error}")
            return
        asyncio.run(measure("PostgreSQL", server.url(), whole_us))


if __name__ == "__main__":
    main()
