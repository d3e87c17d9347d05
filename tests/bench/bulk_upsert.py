"""Intervals written per second through `Store.apply` ÷ the driver's fastest plain write.

    .venv/bin/python tests/bench/bulk_upsert.py [sqlite|postgresql] [--rows 1000000] [--batches 96,672,10000,100000]

The driver's: SQLite `executemany` of plain INSERTs, PostgreSQL COPY, of ready tuples into the same empty table. All of
them one durable transaction a batch; a day is 96 rows, a window of a backfill 672. `again` writes rows that exist.
Three rounds in turn, medians.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

from intervals import (
    INSERT,
    KEY,
    NAMES,
    SINCE,
    VALUES,
    Record,
    database_url,
    opened,
    postgres_driver,
    ratio,
    series,
    sqlite_driver,
)

from joinder.energy import Reading
from joinder.store.readings import METRICS
from joinder.store.readings import intervals as interval_rows
from joinder.store.types import Store, Upsert

ROUNDS, SUBJECTS = 3, 100
AGAIN = "upsert, again"
Write = Callable[[list[Record]], Awaitable[float]]  # the seconds it took


def batches(rows: int, size: int) -> Iterator[list[Record]]:
    """One subject each, and the next window of it when all subjects have had one."""
    for number in range(-(-rows // size)):
        yield series(number % SUBJECTS, number // SUBJECTS * size, size)


def by_services(store: Store) -> Write:
    """What a fetch of readings does."""

    async def write(records: list[Record]) -> float:
        pairs = [(record[0], reading(dict(zip(NAMES, record, strict=True)))) for record in records]
        begun = time.perf_counter()
        await store.apply(interval_rows("15mins", pairs, SINCE))
        return time.perf_counter() - begun

    return write


def reading(row: dict[str, int | float]) -> Reading:
    start, end = (datetime.fromtimestamp(row[name], UTC) for name in ("start", "end"))
    return Reading(start=start, end=end, **{metric: row[metric] for metric in METRICS})


def by_upsert(store: Store) -> Write:
    async def write(records: list[Record]) -> float:
        begun = time.perf_counter()
        await store.apply(Upsert("interval", tuple(KEY), tuple(VALUES), records))
        return time.perf_counter() - begun

    return write


async def rate(write: Write, rows: int, size: int) -> float:
    counted, seconds = 0, 0.0
    for batch in batches(rows, size):
        seconds += await write(batch)
        counted += len(batch)
    return counted / seconds


async def compare(contenders: dict[str, Write], rows: int, size: int, empty: Callable[[], Awaitable[None]]) -> None:
    rates: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(ROUNDS):
        for name, write in contenders.items():
            if name != AGAIN:
                await empty()
            rates[name].append(await rate(write, rows, size))
    *_, driver = rates
    for name, rounds in rates.items():
        print(
            f"{name:15} {rows:9,} rows by {size:7,} {statistics.median(rounds):9,.0f}/s"
            f"   ÷ {driver} {ratio(rounds, rates[driver]):5.2f}",
            flush=True,
        )


async def sqlite(url: str, rows: int, sizes: list[int]) -> None:
    async with opened(url) as store:
        driver = sqlite_driver(url)

        async def plain(records: list[Record]) -> float:
            begun = time.perf_counter()
            driver.execute("BEGIN IMMEDIATE")
            driver.executemany(INSERT, records)
            driver.execute("COMMIT")
            return time.perf_counter() - begun

        async def empty() -> None:
            driver.execute("DELETE FROM interval")
            driver.execute("PRAGMA wal_checkpoint(TRUNCATE)")

        ours = {"from readings": by_services(store), "upsert": by_upsert(store), AGAIN: by_upsert(store)}
        for size in sizes:
            await compare({**ours, "executemany": plain}, rows, size, empty)
        driver.close()


async def postgresql(url: str, rows: int, sizes: list[int]) -> None:
    async with opened(url) as store:
        driver = await postgres_driver(url)

        async def plain(records: list[Record]) -> float:
            begun = time.perf_counter()
            await driver.copy_records_to_table("interval", records=records, columns=NAMES)
            return time.perf_counter() - begun

        async def empty() -> None:
            await driver.execute("TRUNCATE interval")
            await driver.execute("CHECKPOINT")

        ours = {"from readings": by_services(store), "upsert": by_upsert(store), AGAIN: by_upsert(store)}
        for size in sizes:
            await compare({**ours, "COPY": plain}, rows, size, empty)
        await driver.close()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("kinds", nargs="*", default=["sqlite", "postgresql"])
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--batches", default="96,672,10000,100000")
    asked = parser.parse_args()
    for kind in asked.kinds:
        with tempfile.TemporaryDirectory() as folder, database_url(kind, Path(folder)) as url:
            print(kind)
            work = {"sqlite": sqlite, "postgresql": postgresql}[kind]
            asyncio.run(work(url, asked.rows, [int(size) for size in asked.batches.split(",")]))


if __name__ == "__main__":
    main()
