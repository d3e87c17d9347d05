"""Brings a database to this version's schema with Alembic; refuses one that is newer."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
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
    script = migrations()
    revision = _revision(connection)
    if revision == script.get_current_head():
        return
    if revision is not None and revision not in {entry.revision for entry in script.walk_revisions()}:
        raise ConfigError(f"{place} was written by a newer Joinder (schema {revision}); install that version")
    connection.rollback()  # ends the transaction the look began
    connection.execute(text(_ALONE[connection.dialect.name]))
    if _revision(connection) != script.get_current_head():
        config = _config()
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
    connection.commit()


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(HERE))
    return config


@cache
def migrations() -> ScriptDirectory:
    """Reads the migrations of this version, which no process sees change."""
    return ScriptDirectory.from_config(_config())


def _revision(connection: Connection) -> str | None:
    if not inspect(connection).has_table("alembic_version"):
        return None
    return connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
