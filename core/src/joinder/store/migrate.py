"""Brings a database to this version's schema with Alembic; refuses one that is newer."""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import URL, Connection, create_engine, inspect, text

from joinder.settings import ConfigError

HERE = Path(__file__).parent / "migrations"


def migrate(path: Path) -> None:
    """Raises ConfigError when the database was written by a newer Joinder."""
    config = Config()
    config.set_main_option("script_location", str(HERE))
    script = ScriptDirectory.from_config(config)
    engine = create_engine(URL.create("sqlite", database=str(path)))
    try:
        with engine.connect() as connection:
            revision = _revision(connection)
            if revision == script.get_current_head():
                return
            if revision is not None and revision not in {entry.revision for entry in script.walk_revisions()}:
                raise ConfigError(f"{path} was written by a newer Joinder (schema {revision}); install that version")
            connection.execute(text("PRAGMA busy_timeout=30000"))
            connection.execute(text("BEGIN IMMEDIATE"))  # two processes starting at once migrate one after the other
            if _revision(connection) != script.get_current_head():
                config.attributes["connection"] = connection
                command.upgrade(config, "head")
            connection.commit()
    finally:
        engine.dispose()


def _revision(connection: Connection) -> str | None:
    if not inspect(connection).has_table("alembic_version"):
        return None
    return connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
