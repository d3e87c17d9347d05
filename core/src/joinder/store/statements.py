"""Statements for many rows, each in the form its driver does best."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from operator import itemgetter
from typing import Any

from sqlalchemy.ext.asyncio import AsyncSession

COPY_FROM = 500  # rows from which PostgreSQL's COPY wins
Record = tuple[Any, ...]


async def upsert_many(
    session: AsyncSession, table: str, key: Sequence[str], columns: Sequence[str], rows: Sequence[Mapping[str, Any]]
) -> None:
    """Inserts rows, or replaces the columns of those whose key exists; of equal keys the last counts."""
    if not rows:
        return
    names = (*key, *columns)
    width = len(key)
    records = list({record[:width]: record for record in map(itemgetter(*names), rows)}.values())
    connection = await session.connection()
    driver: Any = (await connection.get_raw_connection()).driver_connection
    if connection.dialect.name == "sqlite":
        places = ", ".join("?" * len(names))
        await driver.executemany(_insert(table, key, columns, f"VALUES ({places})"), records)
        return
    if not driver.is_in_transaction():  # SQLAlchemy begins one with its own first statement
        await connection.exec_driver_sql("SELECT 1")
    if len(records) < COPY_FROM:
        places = ", ".join(f"${index + 1}" for index in range(len(names)))
        await driver.executemany(_insert(table, key, columns, f"VALUES ({places})"), records)
    elif not await _copied(driver, table, names, records):
        await _merged(driver, table, key, columns, records)


async def _copied(driver: Any, table: str, names: Sequence[str], records: Sequence[Record]) -> bool:
    """Straight into the table, at twice the speed of a merge. False, and nothing done, when a key exists already."""
    from asyncpg import UniqueViolationError  # an extra

    try:
        async with driver.transaction():
            await driver.copy_records_to_table(table, records=records, columns=names)
    except UniqueViolationError:
        return False
    return True


async def _merged(
    driver: Any, table: str, key: Sequence[str], columns: Sequence[str], records: Sequence[Record]
) -> None:
    staged, names = f"{table}_staged", (*key, *columns)
    await driver.execute(f'CREATE TEMPORARY TABLE IF NOT EXISTS "{staged}" (LIKE "{table}") ON COMMIT DELETE ROWS')
    await driver.copy_records_to_table(staged, records=records, columns=names)
    await driver.execute(_insert(table, key, columns, f'SELECT {_quoted(names)} FROM "{staged}"'))  # noqa: S608
    await driver.execute(f'TRUNCATE "{staged}"')


def _insert(table: str, key: Sequence[str], columns: Sequence[str], source: str) -> str:
    """Names are quoted: `end` is a keyword. They are ours, never a caller's."""
    changes = ", ".join(f'"{name}" = excluded."{name}"' for name in columns)
    into = f'INSERT INTO "{table}" ({_quoted((*key, *columns))}) {source}'
    return f"{into} ON CONFLICT ({_quoted(key)}) DO UPDATE SET {changes}"


def _quoted(names: Sequence[str]) -> str:
    return ", ".join(f'"{name}"' for name in names)
