"""Databases and rows of `interval` for the benchmarks of the store."""

from __future__ import annotations

import sqlite3
import statistics
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import asyncpg

from joinder.demo.postgres import local_postgres
from joinder.store.engine import open_store
from joinder.store.readings import METRICS
from joinder.store.types import Store

QUARTER_S, DAY_S = 900, 86400
SINCE = 1_700_006_400  # a midnight
KEY = ("subject_id", "resolution", "start")
VALUES = ("end", *METRICS, "quality", "fetched_at")
NAMES = KEY + VALUES
COLUMNS = ", ".join(f'"{name}"' for name in NAMES)
INSERT = f"INSERT INTO interval ({COLUMNS}) VALUES ({', '.join('?' * len(NAMES))})"  # noqa: S608 - our own names
Record = tuple[Any, ...]


def subject(number: int) -> str:
    return f"site-{number:016d}"


def series(number: int, first: int, count: int) -> list[Record]:
    """`count` quarter hours of one subject from its quarter hour `first` on, as tuples of NAMES."""
    name, begun = subject(number), SINCE + first * QUARTER_S
    return [
        (name, "15mins", at, at + QUARTER_S, 100.0 + at % 7, 0.0, 12.25, 30.0, 1.5, 140.75, 55.5, "measured", SINCE)
        for at in range(begun, begun + count * QUARTER_S, QUARTER_S)
    ]


@contextmanager
def database_url(kind: str, folder: Path) -> Iterator[str]:
    """`sqlite` or `postgresql`, both durable."""
    if kind == "sqlite":
        yield f"sqlite:///{folder}/bench.sqlite3"
        return
    with local_postgres() as server:
        yield server.url()


@asynccontextmanager
async def opened(url: str) -> AsyncIterator[Store]:
    store = await open_store(url)
    try:
        yield store
    finally:
        await store.close()


def sqlite_driver(url: str) -> sqlite3.Connection:
    """As durable as ours."""
    database = sqlite3.connect(url.removeprefix("sqlite:///"), isolation_level=None)
    database.execute("PRAGMA journal_mode=WAL")
    database.execute("PRAGMA synchronous=FULL")
    return database


async def postgres_driver(url: str) -> asyncpg.Connection[asyncpg.Record]:
    return await asyncpg.connect(url)


def ratio(ours: Sequence[float], theirs: Sequence[float]) -> float:
    """Median of the rounds' ratios."""
    return statistics.median(our / their for our, their in zip(ours, theirs, strict=True))
