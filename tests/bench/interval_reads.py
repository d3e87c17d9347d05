"""A day of 96 intervals out of many: µs of `read_intervals`, as of a meter, ÷ the same range scan on the bare driver.

    .venv/bin/python tests/bench/interval_reads.py [sqlite|postgresql] [--rows 10000000]
    .venv/bin/python tests/bench/interval_reads.py partitions [--rows 10000000]

A year of quarter hours of each site. Days chosen at random, the same for both, 400 one after the other; five rounds in
turn, medians. `partitions`: PostgreSQL, the table as it is beside one partitioned by month of `start`: reading a day, a
day of all sites written (new, and again), and the oldest month removed.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import asyncpg
from intervals import (
    COLUMNS,
    DAY_S,
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
    subject,
)

from joinder.energy import DeviceKind
from joinder.services.readings.totals import METRICS_OF
from joinder.store.readings import METRICS, read_intervals
from joinder.store.types import Row, Store

ROUNDS, READS, YEAR = 5, 400, 365 * 96
MONTH_S = 30 * DAY_S  # of equal length here
SCAN = (
    f'SELECT start, "end", {", ".join(METRICS)}, fetched_at, quality FROM interval '  # noqa: S608 - our own names
    "WHERE subject_id = $1 AND resolution = $2 AND start >= $3 AND start < $4 ORDER BY start"
)
Asked = tuple[str, str, int, int]
Read = Callable[[Asked], Awaitable[list[Row]]]


def sites(rows: int) -> int:
    return max(1, rows // YEAR)


def history(rows: int) -> Iterator[list[Record]]:
    """As it comes over time: a month of every site, then the next."""
    for first in range(0, YEAR, 30 * 96):
        for number in range(sites(rows)):
            yield series(number, first, min(30 * 96, YEAR - first))


def days(rows: int) -> list[Asked]:
    dice = random.Random(7)  # noqa: S311 - the same days in every round
    starts = [SINCE + dice.randrange(364) * DAY_S for _ in range(READS)]
    return [(subject(dice.randrange(sites(rows))), "15mins", start, start + DAY_S) for start in starts]


async def microseconds(read: Read, asked: list[Asked]) -> float:
    begun = time.perf_counter()
    for one in asked:
        assert len(await read(one)) == 96
    return (time.perf_counter() - begun) / len(asked) * 1e6


async def compare(contenders: dict[str, Read], rows: int) -> None:
    asked, base = days(rows), next(reversed(contenders))
    took: dict[str, list[float]] = {name: [] for name in contenders}
    for name in contenders:
        await microseconds(contenders[name], asked)  # warm
    for _ in range(ROUNDS):
        for name, read in contenders.items():
            took[name].append(await microseconds(read, asked))
    for name, rounds in took.items():
        print(
            f"a day of {sites(rows) * YEAR:,} rows  {name:15} {statistics.median(rounds):7.0f} µs"
            f"   ÷ {base} {ratio(rounds, took[base]):5.2f}",
            flush=True,
        )


def ours(store: Store) -> Read:
    async def read(asked: Asked) -> list[Row]:
        return list(await read_intervals(store, *asked, METRICS_OF[DeviceKind.METER]))

    return read


def on(driver: asyncpg.prepared_stmt.PreparedStatement[asyncpg.Record]) -> Read:
    async def read(asked: Asked) -> list[Row]:
        return list(await driver.fetch(*asked))

    return read


async def sqlite(url: str, rows: int) -> None:
    async with opened(url) as store:
        driver = sqlite_driver(url)
        driver.execute("BEGIN IMMEDIATE")
        for number in range(sites(rows)):
            driver.executemany(INSERT, series(number, 0, YEAR))
        driver.execute("COMMIT")
        driver.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        sql = SCAN.replace("$1", "?").replace("$2", "?").replace("$3", "?").replace("$4", "?")

        async def scan(asked: Asked) -> list[Row]:
            return driver.execute(sql, asked).fetchall()

        await compare({"read_intervals": ours(store), "sqlite3": scan}, rows)
        driver.close()


async def postgresql(url: str, rows: int) -> None:
    async with opened(url) as store:
        driver = await postgres_driver(url)
        await filled(driver, "interval", rows)
        await compare({"read_intervals": ours(store), "asyncpg": on(await driver.prepare(SCAN))}, rows)
        await driver.close()


async def filled(driver: asyncpg.Connection[asyncpg.Record], table: str, rows: int) -> None:
    for batch in history(rows):
        await driver.copy_records_to_table(table, records=batch, columns=NAMES)
    await driver.execute(f"VACUUM ANALYZE {table}")
    await driver.execute("CHECKPOINT")


async def partitions(url: str, rows: int) -> None:
    async with opened(url) as store:
        driver = await postgres_driver(url)
        await partitioned(driver)
        for table in TABLES:
            await filled(driver, table, rows)
        by_month, plain = [await driver.prepare(SCAN.replace("FROM interval", f"FROM {table}")) for table in TABLES]
        await compare({"read_intervals": ours(store), "by_month": on(by_month), "interval": on(plain)}, rows)
        await compare_writes(driver, rows)
        await compare_removal(driver)
        await driver.close()


TABLES = ("by_month", "interval")


async def partitioned(driver: asyncpg.Connection[asyncpg.Record]) -> None:
    key = ", ".join(KEY)
    await driver.execute(
        f"CREATE TABLE by_month (LIKE interval INCLUDING DEFAULTS, PRIMARY KEY ({key})) PARTITION BY RANGE (start)"
    )
    for number in range(14):
        begun = SINCE + number * MONTH_S
        await driver.execute(
            f"CREATE TABLE by_month_{number} PARTITION OF by_month FOR VALUES FROM ({begun}) TO ({begun + MONTH_S})"
        )


async def compare_writes(driver: asyncpg.Connection[asyncpg.Record], rows: int) -> None:
    """Each site's next day, one after another, as the merge of an upsert writes it."""
    changes = ", ".join(f'"{name}" = excluded."{name}"' for name in VALUES)
    await driver.execute("CREATE TEMPORARY TABLE staged (LIKE interval)")
    for what in ("a new day of every site", "the same day again"):
        took: dict[str, list[float]] = {table: [] for table in TABLES}
        for round_ in range(3):
            for table in TABLES:
                begun = time.perf_counter()
                for number in range(sites(rows)):
                    await driver.copy_records_to_table(
                        "staged", records=series(number, YEAR + round_ * 96, 96), columns=NAMES
                    )
                await driver.execute(
                    f"INSERT INTO {table} ({COLUMNS}) SELECT {COLUMNS} FROM staged "  # noqa: S608 - our own names
                    f"ON CONFLICT ({', '.join(KEY)}) DO UPDATE SET {changes}"
                )
                took[table].append(time.perf_counter() - begun)
                await driver.execute("TRUNCATE staged")
        compared(what, took)


async def compare_removal(driver: asyncpg.Connection[asyncpg.Record]) -> None:
    """The oldest month, then the next ones. A deletion leaves its room to a VACUUM, which counts."""
    took: dict[str, list[float]] = {table: [] for table in TABLES}
    for number in range(3):
        begun = time.perf_counter()
        await driver.execute(f"ALTER TABLE by_month DETACH PARTITION by_month_{number}")
        await driver.execute(f"DROP TABLE by_month_{number}")
        took["by_month"].append(time.perf_counter() - begun)
        begun = time.perf_counter()
        await driver.execute("DELETE FROM interval WHERE start < $1", SINCE + (number + 1) * MONTH_S)
        await driver.execute("VACUUM interval")
        took["interval"].append(time.perf_counter() - begun)
    compared("the oldest month removed", took)


def compared(what: str, took: dict[str, list[float]]) -> None:
    for table, rounds in took.items():
        middle = statistics.median(rounds)
        print(
            f"{what:26} {table:9} {middle * 1000:9.1f} ms   ÷ interval {ratio(rounds, took['interval']):6.3f}",
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("kinds", nargs="*", default=["sqlite", "postgresql"])
    parser.add_argument("--rows", type=int, default=10_000_000)
    asked = parser.parse_args()
    for kind in asked.kinds:
        database = "sqlite" if kind == "sqlite" else "postgresql"
        with tempfile.TemporaryDirectory() as folder, database_url(database, Path(folder)) as url:
            print(kind, flush=True)
            work = {"sqlite": sqlite, "postgresql": postgresql, "partitions": partitions}[kind]
            asyncio.run(work(url, asked.rows))


if __name__ == "__main__":
    main()
