"""What the journal of new tokens costs, and how soon tokens that waited for their database are in it.

    .venv/bin/python tests/bench/journal.py [sqlite|postgresql]

Renewals a second with the journal and in memory only, in turn on one hub; the time from the vendor's answer to the
commit; and, with 100 tokens waiting for a database that takes none, from its return to the last of them stored. Against
a loopback stub, 25 in flight.
"""

from __future__ import annotations

import asyncio
import statistics
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

from stub import stub, template_vendor
from worker_rates import COUNT, IN_FLIGHT, database_url, measured, seeded

from joinder.http import silence_client_loggers
from joinder.runtime.hub import Hub, open_hub
from joinder.services.grants.refresh import refresh
from joinder.settings import Settings
from joinder.store.journal import Journal
from joinder.store.key_file import create_key_file
from joinder.trouble import StoreAway
from joinder.vendors.registry import Registry

ROUNDS = 15
_SAVES = 'UPDATE "grant" SET sealed'


async def rates(hub: Hub, ids: list[str], folder: Path) -> None:
    journals = {"with": Journal(folder, hub.process), "without": Journal(None, hub.process)}
    found: dict[str, list[float]] = {name: [] for name in journals}
    durable: dict[str, list[float]] = {name: [] for name in journals}
    for number in range(ROUNDS + 1):
        for name, journal in journals.items():
            hub.journal = journal
            hub.metrics.made_durable = _into(durable[name] if number else [])  # type: ignore[method-assign]
            rate, _ = await measured(COUNT, lambda index: refresh(hub, ids[index]))
            found[name] += [rate] if number else []  # the first round warms up
    for name, each in found.items():
        told = statistics.quantiles(durable[name], n=100)
        print(
            f"{hub.store.dialect:10} {name:8} {statistics.median(each):6.0f}/s, answer to durable: "
            f"p50 {told[49] * 1000:.1f} ms, p99 {told[98] * 1000:.1f} ms"
        )
    pairs = zip(found["with"], found["without"], strict=True)
    print(f"{hub.store.dialect:10} with ÷ without: {statistics.median(one / other for one, other in pairs):.2f}")
    hub.journal = journals["with"]


def _into(seconds: list[float]) -> Callable[[str, float], None]:
    return lambda _, took: seconds.append(took)


async def waiting(hub: Hub, ids: list[str]) -> float:
    """Seconds from the database's return to the last token stored."""
    apply, is_away, arrived, all_are_here = hub.store.apply, True, set[str](), asyncio.Event()
    hub.strict_refreshes = asyncio.Semaphore(len(ids))

    async def maybe(*writes: Any, serialize_on: str = "") -> list[int]:
        if is_away and str(writes[0][0]).startswith(_SAVES):
            arrived.add(serialize_on)  # while one is known to wait, no other exchange begins
            if len(arrived) == len(ids):
                all_are_here.set()
            await all_are_here.wait()
            raise StoreAway("away")
        return await apply(*writes, serialize_on=serialize_on)

    hub.store.apply = maybe  # type: ignore[method-assign]
    renewing = [asyncio.create_task(refresh(hub, each, wait_s=60)) for each in ids]
    while len(hub.unsaved) < len(ids):
        await asyncio.sleep(0.05)
    await asyncio.sleep(2.0)  # they try every half second by now
    is_away, began = False, time.perf_counter()
    await asyncio.gather(*renewing)
    hub.store.apply = apply  # type: ignore[method-assign]
    return time.perf_counter() - began


async def run(kind: str) -> None:
    silence_client_loggers()
    registry = Registry()
    assert registry.add("acme", template_vendor()).problem is None
    with tempfile.TemporaryDirectory() as name, stub() as origin, database_url(kind, Path(name)) as url:
        folder = Path(name)
        create_key_file(folder / "key")
        settings = Settings(
            database_url=url,
            key_file=f"{folder}/key",
            reroute={"auth.acme.example": origin, "api.acme.example": origin},
        )
        async with open_hub(settings, registry) as hub:
            hub.strict_refreshes = asyncio.Semaphore(IN_FLIGHT)
            ids = await seeded(hub)
            await rates(hub, ids, folder / "journal")
            took = [await waiting(hub, ids) for _ in range(3)]
            print(f"{kind:10} {COUNT} waiting tokens stored {statistics.median(took):.2f} s after its return (of 3)")


def main() -> None:
    warnings.simplefilter("ignore")
    for kind in [word for word in sys.argv[1:] if word in ("sqlite", "postgresql")] or ["sqlite", "postgresql"]:
        asyncio.run(run(kind))


if __name__ == "__main__":
    main()
