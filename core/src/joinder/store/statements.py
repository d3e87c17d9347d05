"""Statements for many rows, each in the form its driver does best."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol

from joinder.store.types import Upsert

COPY_FROM = 500  # rows from which PostgreSQL's COPY wins
Record = tuple[Any, ...]


class Connection(Protocol):
    """What is used of asyncpg's, which is an extra."""

    async def execute(self, query: str, *args: Any) -> str: ...
    async def executemany(self, command: str, args: Any) -> None: ...
    def transaction(self) -> AbstractAsyncContextManager[Any]: ...
    async def copy_records_to_table(self, table_name: str, *, records: Any, columns: Any) -> str: ...


def upsert_on_sqlite(connection: sqlite3.Connection, upsert: Upsert) -> int:
    places = ", ".join("?" * (len(upsert.key) + len(upsert.columns)))
    return connection.executemany(_insert(upsert, f"VALUES ({places})"), upsert.records).rowcount


async def upsert_on_postgres(connection: Connection, upsert: Upsert) -> int:
    """Upserts in a transaction, and returns the count of rows. Of rows with equal keys the last counts."""
    names, width = (*upsert.key, *upsert.columns), len(upsert.key)
    records = list({record[:width]: record for record in upsert.records}.values())
    if len(records) < COPY_FROM:
        places = ", ".join(f"${index + 1}" for index in range(len(names)))
        await connection.executemany(_insert(upsert, f"VALUES ({places})"), records)
        return len(records)
    if not await _copied(connection, upsert.table, names, records):
        await _merged(connection, upsert, names, records)
    return len(records)


async def _copied(connection: Connection, table: str, names: Sequence[str], records: Sequence[Record]) -> bool:
    """Copies straight into the table, at twice the speed of a merge.

    False, and nothing done, when a key exists already.
    """
    from asyncpg import UniqueViolationError  # an extra

    try:
        async with connection.transaction():
            await connection.copy_records_to_table(table, records=records, columns=names)
    except UniqueViolationError:
        return False
    return True


async def _merged(connection: Connection, upsert: Upsert, names: Sequence[str], records: Sequence[Record]) -> None:
    staged = f"{upsert.table}_staged"
    await connection.execute(
        f'CREATE TEMPORARY TABLE IF NOT EXISTS "{staged}" (LIKE "{upsert.table}") ON COMMIT DELETE ROWS'
    )
    await connection.copy_records_to_table(staged, records=records, columns=names)
    await connection.execute(_insert(upsert, f'SELECT {_quoted(names)} FROM "{staged}"'))  # noqa: S608
    await connection.execute(f'TRUNCATE "{staged}"')


def _insert(upsert: Upsert, source: str) -> str:
    """Writes the INSERT. Names are quoted, as `end` is a keyword; they are ours, never a caller's."""
    changes = ", ".join(f'"{name}" = excluded."{name}"' for name in upsert.columns)
    into = f'INSERT INTO "{upsert.table}" ({_quoted((*upsert.key, *upsert.columns))}) {source}'
    act = f"UPDATE SET {changes}" if upsert.is_replacing else "NOTHING"
    return f"{into} ON CONFLICT ({_quoted(upsert.key)}) DO {act}"


def _quoted(names: Sequence[str]) -> str:
    return ", ".join(f'"{name}"' for name in names)
