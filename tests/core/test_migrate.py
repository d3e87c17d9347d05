"""A database becomes this version's, whoever starts first and whatever interrupts it."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import create_engine
from sqlmodel import SQLModel

from joinder.settings import ConfigError
from joinder.store import tables
from joinder.store.engine import Store, open_store, sqlite_path
from joinder.store.migrate import migrate

START = "import sys; from pathlib import Path; from joinder.store.migrate import migrate; migrate(Path(sys.argv[1]))"
DIE = """
import os, sys
from pathlib import Path
from alembic.operations import Operations
from joinder.store.migrate import migrate

create_table, made = Operations.create_table, []

def create_then_die(self, name, *columns, **options):
    made.append(create_table(self, name, *columns, **options))
    if len(made) == int(sys.argv[2]):
        os.kill(os.getpid(), 9)

Operations.create_table = create_then_die
migrate(Path(sys.argv[1]))
"""


def names(path: Path) -> set[str]:
    with sqlite3.connect(path) as connection:
        found = {row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    connection.close()
    return found


def differences(path: Path) -> list[object]:
    engine = create_engine(f"sqlite:///{path}")
    try:
        with engine.connect() as connection:
            return list(compare_metadata(MigrationContext.configure(connection), SQLModel.metadata))
    finally:
        engine.dispose()


def test_an_empty_database_gets_exactly_the_tables_of_the_models(tmp_path):
    path = tmp_path / "hub.sqlite3"
    migrate(path)
    assert differences(path) == []
    assert names(path) == {*SQLModel.metadata.tables, "alembic_version"}
    assert tables.Account.__tablename__ in names(path)


def test_a_missing_column_would_be_seen(tmp_path):
    path = tmp_path / "hub.sqlite3"
    migrate(path)
    with sqlite3.connect(path) as connection:
        connection.execute("ALTER TABLE site DROP COLUMN lat")
    connection.close()
    assert len(differences(path)) == 1


def test_migrating_again_changes_nothing(tmp_path):
    path = tmp_path / "hub.sqlite3"
    migrate(path)
    before = path.read_bytes()
    migrate(path)
    assert path.read_bytes() == before


def test_a_newer_schema_is_refused_and_left_alone(tmp_path):
    path = tmp_path / "hub.sqlite3"
    migrate(path)
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    connection.close()
    before = path.read_bytes()
    with pytest.raises(ConfigError, match="newer Joinder"):
        open_store(f"sqlite:///{path}")
    assert path.read_bytes() == before


def test_processes_that_start_at_once_migrate_once(tmp_path):
    path = tmp_path / "hub.sqlite3"
    started = [subprocess.Popen([sys.executable, "-c", START, str(path)]) for _ in range(3)]
    assert [process.wait(60) for process in started] == [0, 0, 0]
    assert differences(path) == []


@pytest.mark.parametrize("after", [1, 7])
def test_a_migration_killed_in_the_middle_leaves_nothing_and_runs_again(tmp_path, after):
    path = tmp_path / "hub.sqlite3"
    killed = subprocess.run([sys.executable, "-c", DIE, str(path), str(after)], check=False, timeout=60)
    assert killed.returncode == -9
    assert names(path) == set()
    migrate(path)
    assert differences(path) == []


def test_a_migration_that_fails_leaves_nothing_and_runs_again(tmp_path, monkeypatch):
    path = tmp_path / "hub.sqlite3"
    upgrade = command.upgrade

    def fail(*arguments: object) -> None:
        upgrade(*arguments)  # type: ignore[arg-type]
        raise RuntimeError("disk full")

    monkeypatch.setattr(command, "upgrade", fail)
    with pytest.raises(RuntimeError):
        migrate(path)
    assert names(path) == set()
    monkeypatch.undo()
    migrate(path)
    assert differences(path) == []


@pytest.mark.parametrize("folder", ["plain", "with space", "per%20cent", "question?mode=memory", "hash#x", "ünï"])
async def test_the_database_lies_where_its_url_says(tmp_path, folder):
    path = tmp_path / folder / "hub.sqlite3"
    path.parent.mkdir()
    migrate(path)
    store = Store(path)
    assert await store.rows("SELECT version_num FROM alembic_version", {})
    async with store.write() as session:
        session.add(tables.Account(id="acct-1", name="x", created_at=0))
    assert await store.rows("SELECT id FROM account", {}) == [("acct-1",)]
    await store.close()
    assert [entry.name for entry in tmp_path.iterdir()] == [folder]


@pytest.mark.parametrize(
    "url", ["", "hub.sqlite3", "postgresql://localhost/hub", "sqlite://", "mysql://x/y", "sqlite+nothing", "://"]
)
def test_a_database_url_that_cannot_work_is_a_config_error(url):
    with pytest.raises(ConfigError, match="JOINDER_DATABASE_URL"):
        sqlite_path(url)


def test_a_folder_that_does_not_exist_is_a_config_error(tmp_path):
    with pytest.raises(ConfigError, match="does not exist"):
        open_store(f"sqlite:///{tmp_path}/absent/hub.sqlite3")


def test_a_file_that_is_no_database_is_not_overwritten(tmp_path):
    path = tmp_path / "hub.sqlite3"
    path.write_bytes(b"my only copy of a novel" * 100)
    with pytest.raises(Exception, match="not a database"):
        open_store(f"sqlite:///{path}")
    assert path.read_bytes() == b"my only copy of a novel" * 100
