"""asyncpg ÷ psycopg 3 on the three things Joinder asks of PostgreSQL most (docs/decisions/0010).

    .uv/bin/uv run --frozen --no-sync --with "psycopg[binary]" python tests/bench/postgres_drivers.py

A renewal's commit (three statements, one transaction), a day's 96 rows upserted, a day's 96 rows read. One connection
each, in turn, five rounds, medians of the ratios.
"""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Awaitable, Callable

import asyncpg
import psycopg

from joinder.demo.postgres import local_postgres

COUNT, ROUNDS = 200, 5
TABLES = """
CREATE TABLE held (id text PRIMARY KEY, sealed bytea, version bigint);
CREATE TABLE interval (subject text, start bigint, wh double precision, PRIMARY KEY (subject, start));
INSERT INTO held SELECT n::text, ''::bytea, 1 FROM generate_series(1, 1000) n;
"""
SAVE = "UPDATE held SET sealed = {0}, version = version + 1 WHERE id = {1}"
UPSERT = "INSERT INTO interval VALUES ({0}, {1}, {2}) ON CONFLICT (subject, start) DO UPDATE SET wh = excluded.wh"
READ = "SELECT start, wh FROM interval WHERE subject = {0} AND start >= {1} AND start < {2} ORDER BY start"
DOLLARS, PERCENTS = ("$1", "$2", "$3"), ("%s", "%s", "%s")
Operation = Callable[[int], Awaitable[object]]


def day(number: int) -> list[tuple[str, int, float]]:
    return [(str(number), at, float(at)) for at in range(96)]


def with_asyncpg(connection: asyncpg.Connection[asyncpg.Record]) -> dict[str, Operation]:
    async def commit(number: int) -> None:
        async with connection.transaction():
            for _ in range(3):
                await connection.execute(SAVE.format(*DOLLARS), b"x" * 300, str(number % 1000 + 1))

    async def upsert(number: int) -> None:
        async with connection.transaction():
            await connection.executemany(UPSERT.format(*DOLLARS), day(number))

    async def read(number: int) -> None:
        await connection.fetch(READ.format(*DOLLARS), str(number), 0, 96)

    return {"commit": commit, "upsert of 96": upsert, "read of 96": read}


def with_psycopg(connection: psycopg.AsyncConnection[tuple[object, ...]]) -> dict[str, Operation]:
    async def commit(number: int) -> None:
        async with connection.transaction(), connection.cursor() as cursor:
            for _ in range(3):
                await cursor.execute(SAVE.format(*PERCENTS), (b"x" * 300, str(number % 1000 + 1)))

    async def upsert(number: int) -> None:
        async with connection.transaction(), connection.cursor() as cursor:
            await cursor.executemany(UPSERT.format(*PERCENTS), day(number))

    async def read(number: int) -> None:
        async with connection.cursor(binary=True) as cursor:
            await cursor.execute(READ.format(*PERCENTS), (str(number), 0, 96))
            await cursor.fetchall()

    return {"commit": commit, "upsert of 96": upsert, "read of 96": read}


async def rate(operation: Operation) -> float:
    begun = time.perf_counter()
    for number in range(COUNT):
        await operation(number)
    return COUNT / (time.perf_counter() - begun)


async def main() -> None:
    with local_postgres() as server:
        one = await asyncpg.connect(server.url())
        await one.execute(TABLES)
        other = await psycopg.AsyncConnection.connect(server.url(), autocommit=True)
        contenders = with_asyncpg(one), with_psycopg(other)
        for name in contenders[0]:
            rates = [(await rate(contenders[0][name]), await rate(contenders[1][name])) for _ in range(ROUNDS)]
            ratio = statistics.median(ours / theirs for ours, theirs in rates)
            print(f"{name:14} asyncpg {statistics.median(ours for ours, _ in rates):7.0f}/s  ÷ psycopg 3: {ratio:.2f}")
        await one.close()
        await other.close()


if __name__ == "__main__":
    asyncio.run(main())
