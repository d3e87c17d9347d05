"""Brings a database to this version's schema with Alembic; refuses one that is newer.

Alembic is imported where there is something to bring, as it is a fifth of what a command needs to start.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

from sqlalchemy import URL, Connection, create_engine, inspect, text
from sqlalchemy.ext.asyncio import AsyncConnection

from joinder.settings import ConfigError

HERE = Path(__file__).parent / "migrations"
# Two processes starting at once migrate one after the other.
_ALONE = {"sqlite": "BEGIN IMMEDIATE", "postgresql": "SELECT pg_advisory_xact_lock(6013374)"}


def migrate_sqlite(path: Path) -> None:
    """Migrates to the newest schema. Raises ConfigError when the database was written by a newer Joinder."""
    engine = create_engine(URL.create("sqlite", database=str(path)))
    try:
        with engine.connect() as connection:
            connection.execute(text("PRAGMA busy_timeout=30000"))
            _migrate(connection, str(path))
    finally:
        engine.dispose()


async def migrate_postgres(connection: AsyncConnection, place: str) -> None:
    """Migrates to the newest schema. Raises ConfigError when the database was written by a newer Joinder."""
    await connection.run_sync(_migrate, place)


def _migrate(connection: Connection, place: str) -> None:
    revision = _revision(connection)
    if revision == newest():
        return
    refuse_newer(revision, place)
    connection.rollback()  # ends the transaction the look began
    connection.execute(text(_ALONE[connection.dialect.name]))
    if _revision(connection) != newest():
        _upgrade(connection)
    connection.commit()


def refuse_newer(revision: str | None, place: str) -> None:
    """Raises ConfigError for a schema that this version does not know."""
    if revision is not None and revision not in revisions():
        raise ConfigError(f"{place} was written by a newer Joinder (schema {revision}); install that version")


def _upgrade(connection: Connection) -> None:
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(HERE))
    config.attributes["connection"] = connection
    command.upgrade(config, "head")


@cache
def revisions() -> tuple[str, ...]:
    """Names this version's migrations, the oldest first; a file's name begins with its revision."""
    return tuple(sorted(file.name.partition("_")[0] for file in (HERE / "versions").glob("[0-9]*_*.py")))


def newest() -> str:
    return revisions()[-1]


def _revision(connection: Connection) -> str | None:
    if not inspect(connection).has_table("alembic_version"):
        return None
    return connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
