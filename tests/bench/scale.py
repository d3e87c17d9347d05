"""What more workers give, what more enrollments cost.

    .venv/bin/python tests/bench/scale.py [workers] [memory] [sites] [refresh|poll] [sqlite|postgresql]
        [--counts 1000,10000,100000]

`workers` (PostgreSQL): work done per second by 2 `joinder worker` processes ÷ by 1, vendor answers after 50 ms, 4 apps.
`memory` (PostgreSQL): RSS of a worker that has worked 200 sites, with as many enrollments stored as the counts say.
`sites`: CPU of this process per refresh and per polled site, and time of the worker's look and of one batch of due
work, with 200 due and with all due. Three rounds, medians; the sizes one after another, each in a store of its own.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import statistics
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from intervals import database_url
from seeds import KINDS, cpu_s, left, make_due, rss_mb, seed, workers
from stub import stub, template_vendor

from joinder.clock import now
from joinder.http import silence_client_loggers
from joinder.runtime import due
from joinder.runtime.hub import Hub, open_hub
from joinder.runtime.worker import JOBS
from joinder.services.grants.refresh import refresh
from joinder.services.readings import poll
from joinder.settings import Settings
from joinder.store.key_file import create_key_file
from joinder.vendors.registry import Registry

ROUNDS, LATENCY_S, WINDOW_S, SAMPLE, IN_FLIGHT = 3, 0.05, 5.0, 200, 25
Names = dict[str, list[float]]


@asynccontextmanager
async def seeded(kind: str, count: int, latency_s: float) -> AsyncIterator[tuple[Hub, list[str], Path]]:
    silence_client_loggers()
    registry = Registry()
    assert registry.add("acme", template_vendor()).problem is None
    with tempfile.TemporaryDirectory() as name, stub(latency_s) as origin, database_url(kind, Path(name)) as url:
        create_key_file(Path(name) / "key")
        settings = Settings(
            database_url=url,
            key_file=f"{name}/key",
            reroute={"auth.acme.example": origin, "api.acme.example": origin},
            refreshes_per_second=100_000,
        )
        async with open_hub(settings, registry) as hub:
            begun = time.perf_counter()
            ids = await seed(hub, count)
            await _analyse(hub)
            print(f"{kind} {count:,} enrollments stored in {time.perf_counter() - begun:.1f} s", flush=True)
            yield hub, ids, Path(name)


async def _analyse(hub: Hub) -> None:
    """As autovacuum does within the minute."""
    async with hub.store.write() as session:
        await (await session.connection()).exec_driver_sql("ANALYZE")


async def compare_workers(kinds: list[str]) -> None:
    async with seeded("postgresql", 6_000, LATENCY_S) as (hub, ids, folder):
        for kind in kinds:
            rates: dict[int, list[float]] = {1: [], 2: []}
            costs: dict[int, list[float]] = {1: [], 2: []}
            for _ in range(ROUNDS):
                for count in rates:
                    await make_due(hub, kind, ids)
                    with workers(count, hub.settings, folder) as running:
                        rate, cpu_ms = await _at_work(hub, kind, running)
                    print(f"{kind:8} {count} workers {rate:6.0f}/s", flush=True)
                    rates[count].append(rate)
                    costs[count].append(cpu_ms)
            for count in rates:
                print(
                    f"{kind:8} {count} workers {statistics.median(rates[count]):6.0f}/s"
                    f" {statistics.median(costs[count]):6.2f} ms CPU each"
                )
            gained = statistics.median(two / one for one, two in zip(rates[1], rates[2], strict=True))
            print(f"{kind:8} 2 workers ÷ 1 worker {gained:.2f}", flush=True)


async def _at_work(hub: Hub, kind: str, running: list[subprocess.Popen[bytes]]) -> tuple[float, float]:
    """Done per second, and CPU milliseconds each, once all are at it."""
    whole = await left(hub, kind)
    while await left(hub, kind) > whole - 100:
        await asyncio.sleep(0.2)
    await asyncio.sleep(2)
    before, cpu, begun = await left(hub, kind), sum(map(cpu_s, running)), time.perf_counter()
    await asyncio.sleep(WINDOW_S)
    done = before - await left(hub, kind)
    took = time.perf_counter() - begun
    return done / took, (sum(map(cpu_s, running)) - cpu) / done * 1000


async def compare_memory(counts: list[int]) -> None:
    sizes: dict[int, float] = {}
    for count in (counts[0], counts[-1]):
        async with seeded("postgresql", count, 0.0) as (hub, ids, folder):
            rounds = []
            for _ in range(ROUNDS):
                for kind in KINDS:
                    await make_due(hub, kind, random.sample(ids, min(SAMPLE, count)))
                with workers(1, hub.settings, folder) as running:
                    while any([await left(hub, kind) for kind in KINDS]):
                        await asyncio.sleep(0.5)
                    rounds.append(rss_mb(running[0]))
            sizes[count] = statistics.median(rounds)
            print(f"memory   {count:9,} enrollments {sizes[count]:6.1f} MB", flush=True)
    small, large = counts[0], counts[-1]
    per_100_000 = (sizes[large] - sizes[small]) / (large - small) * 100_000
    print(f"memory   {per_100_000:+.1f} MB per 100 000 enrollments; ÷ {sizes[large] / sizes[small]:.2f}", flush=True)


async def compare_sites(kind: str, counts: list[int]) -> None:
    found: dict[int, dict[str, float]] = {}
    for count in counts:
        async with seeded(kind, count, 0.0) as (hub, ids, _):
            hub.strict_refreshes = asyncio.Semaphore(IN_FLIGHT)
            found[count] = {name: statistics.median(rounds) for name, rounds in (await _costs(hub, ids)).items()}
        for name, value in found[count].items():
            print(
                f"{kind:10} {count:9,} {name:30} {value:8.2f} ms  ÷ {value / found[counts[0]][name]:5.2f}", flush=True
            )


async def _costs(hub: Hub, ids: list[str]) -> Names:
    rounds: Names = {}

    def note(name: str, value_ms: float) -> None:
        rounds.setdefault(name, []).append(value_ms)

    works: dict[str, Callable[[str], Awaitable[object]]] = {
        "refresh": lambda one: refresh(hub, one),
        "poll": lambda one: poll.poll(hub, one),
    }
    for kind, work in works.items():
        for _ in range(ROUNDS):
            note(f"CPU of a {kind}", await _cpu_ms(work, random.sample(ids, SAMPLE)))
    for what, chosen in (("200 due", random.sample(ids, 200)), ("all due", ids)):
        for kind in KINDS:
            await make_due(hub, kind, chosen)
        await _analyse(hub)
        for _ in range(ROUNDS * 3):
            note(f"look, {what}", await _look_ms(hub))
            note(f"batch of polls, {what}", await _batch_ms(hub, "poll", nearest=False))
            note(f"batch of refreshes, {what}", await _batch_ms(hub, "refresh", nearest=True))
    return rounds


async def _look_ms(hub: Hub) -> float:
    begun = time.perf_counter()
    for job in JOBS:
        await job.due(hub)
    return (time.perf_counter() - begun) * 1000


async def _batch_ms(hub: Hub, name: str, *, nearest: bool) -> float:
    first = "SELECT min(app) FROM due WHERE kind = :kind AND due_at <= :now"
    app = (await hub.store.rows(first, {"kind": name, "now": now()}))[0][0]
    kind = due.Kind(name, _nothing, nearest_to_expiry_first=nearest)
    begun = time.perf_counter()
    assert await kind._next(hub, app, 0)
    return (time.perf_counter() - begun) * 1000


async def _nothing(hub: Hub, enrollment_id: str) -> None:
    raise AssertionError


async def _cpu_ms(work: Callable[[str], Awaitable[object]], ids: list[str]) -> float:
    todo = iter(ids)

    async def run() -> None:
        for one in todo:
            await work(one)

    begun = time.process_time()
    await asyncio.gather(*(run() for _ in range(IN_FLIGHT)))
    return (time.process_time() - begun) / len(ids) * 1000


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("words", nargs="*")
    parser.add_argument("--counts", default="1000,10000,100000")
    asked = parser.parse_args()
    counts = [int(count) for count in asked.counts.split(",")]
    parts = [word for word in asked.words if word in ("workers", "memory", "sites")] or ["workers", "memory", "sites"]
    kinds = [word for word in asked.words if word in ("sqlite", "postgresql")] or ["sqlite", "postgresql"]
    if "workers" in parts:
        asyncio.run(compare_workers([word for word in asked.words if word in KINDS] or list(KINDS)))
    if "memory" in parts:
        asyncio.run(compare_memory(counts))
    if "sites" in parts:
        for kind in kinds:
            asyncio.run(compare_sites(kind, counts))


if __name__ == "__main__":
    main()
