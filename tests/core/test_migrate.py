"""A database becomes this version's, whoever starts first and whatever interrupts it."""

from __future__ import annotations

import asyncio
import sqlite3
import subprocess
import sys
from pathlib import Path

import asyncpg
import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine
from sqlmodel import SQLModel

from databases import Databases
from joinder.settings import ConfigError
from joinder.store import tables
from joinder.store.engine import open_store, parsed_url
from joinder.store.migrate import HERE, migrate_sqlite, newest, revisions
from joinder.store.sqlite import SqliteStore
from joinder.trouble import StoreAway

START = """
import asyncio, sys
from joinder.store.engine import open_store

async def start():
    await (await open_store(sys.argv[1])).close()

asyncio.run(start())
"""
DIE = (
    """
import os, sys
from alembic.operations import Operations

create_table, made = Operations.create_table, []

def create_then_die(self, name, *columns, **options):
    made.append(create_table(self, name, *columns, **options))
    if len(made) == int(sys.argv[2]):
        os.kill(os.getpid(), 9)

Operations.create_table = create_then_die
"""
    + START
)


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
    migrate_sqlite(path)
    assert differences(path) == []
    assert names(path) == {*SQLModel.metadata.tables, "alembic_version"}
    assert tables.Account.__tablename__ in names(path)


def test_a_missing_column_would_be_seen(tmp_path):
    path = tmp_path / "hub.sqlite3"
    migrate_sqlite(path)
    with sqlite3.connect(path) as connection:
        connection.execute("ALTER TABLE site DROP COLUMN lat")
    connection.close()
    assert len(differences(path)) == 1


def test_the_files_of_migrations_are_named_as_alembic_knows_them():
    config = Config()
    config.set_main_option("script_location", str(HERE))
    script = ScriptDirectory.from_config(config)
    assert revisions() == tuple(reversed([entry.revision for entry in script.walk_revisions()]))
    assert newest() == script.get_current_head()


def test_migrating_again_changes_nothing(tmp_path):
    path = tmp_path / "hub.sqlite3"
    migrate_sqlite(path)
    before = path.read_bytes()
    migrate_sqlite(path)
    assert path.read_bytes() == before


async def test_a_newer_schema_is_refused_and_left_alone(tmp_path):
    path = tmp_path / "hub.sqlite3"
    migrate_sqlite(path)
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    connection.close()
    before = path.read_bytes()
    with pytest.raises(ConfigError, match="newer Joinder"):
        await open_store(f"sqlite:///{path}")
    assert path.read_bytes() == before


def test_processes_that_start_at_once_migrate_once(tmp_path):
    path = tmp_path / "hub.sqlite3"
    started = [subprocess.Popen([sys.executable, "-c", START, f"sqlite:///{path}"]) for _ in range(3)]
    assert [process.wait(60) for process in started] == [0, 0, 0]
    assert differences(path) == []


@pytest.mark.parametrize("after", [1, 7])
def test_a_migration_killed_in_the_middle_leaves_nothing_and_runs_again(tmp_path, after):
    path = tmp_path / "hub.sqlite3"
    killed = subprocess.run([sys.executable, "-c", DIE, f"sqlite:///{path}", str(after)], check=False, timeout=60)
    assert killed.returncode == -9
    assert names(path) == set()
    migrate_sqlite(path)
    assert differences(path) == []


def test_a_migration_that_fails_leaves_nothing_and_runs_again(tmp_path, monkeypatch):
    path = tmp_path / "hub.sqlite3"
    upgrade = command.upgrade

    def fail(*arguments: object) -> None:
        upgrade(*arguments)  # type: ignore[arg-type]
        raise RuntimeError("disk full")

    monkeypatch.setattr(command, "upgrade", fail)
    with pytest.raises(RuntimeError):
        migrate_sqlite(path)
    assert names(path) == set()
    monkeypatch.undo()
    migrate_sqlite(path)
    assert differences(path) == []


@pytest.mark.parametrize("folder", ["plain", "with space", "per%20cent", "question?mode=memory", "hash#x", "ünï"])
async def test_the_database_lies_where_its_url_says(tmp_path, folder):
    path = tmp_path / folder / "hub.sqlite3"
    path.parent.mkdir()
    migrate_sqlite(path)
    store = SqliteStore(path)
    assert await store.rows("SELECT version_num FROM alembic_version", {})
    async with store.write() as session:
        session.add(tables.Account(id="acct-1", name="x", created_at=0))
    assert await store.rows("SELECT id FROM account", {}) == [("acct-1",)]
    await store.close()
    assert [entry.name for entry in tmp_path.iterdir()] == [folder]


@pytest.mark.parametrize(
    "url",
    [
        "",
        "hub.sqlite3",
        "postgresql://localhost",
        "postgresql+psycopg://x/hub",
        "sqlite://",
        "mysql://x/y",
        "sqlite+nothing",
        "://",
    ],
)
def test_a_database_url_that_cannot_work_is_a_config_error(url):
    with pytest.raises(ConfigError, match="JOINDER_DATABASE_URL"):
        parsed_url(url)


@pytest.mark.parametrize("has_site", [True, False])
def test_readings_of_an_earlier_version_are_to_be_rechecked(tmp_path, has_site):
    """A database without a site has none."""
    path = tmp_path / "hub.sqlite3"
    config = Config()
    config.set_main_option("script_location", str(HERE))
    engine = create_engine(f"sqlite:///{path}")
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "0004")
        if has_site:
            insert = (
                "INSERT INTO site (id, account_id, enrollment_id, vendor, vendor_id, name) VALUES (1, 1, 1, 1, 1, 1)"
            )
            connection.exec_driver_sql(insert)
    engine.dispose()
    migrate_sqlite(path)
    with sqlite3.connect(path) as connection:
        marks = connection.execute("SELECT count(*) FROM store_state WHERE name = 'rechecked'").fetchone()
    connection.close()
    assert marks == (0 if has_site else 1,)


def test_who_opens_which_site_is_known_of_what_an_earlier_version_stored(tmp_path):
    path = tmp_path / "hub.sqlite3"
    config = Config()
    config.set_main_option("script_location", str(HERE))
    engine = create_engine(f"sqlite:///{path}")
    enrollment = (
        "INSERT INTO enrollment (id, account_id, vendor, credentials_id, flow_id, options, status, health, "
        "health_since, failures, created_at) VALUES (?, 'acct', 'v', ?, ?, '{}', 'enrolled', 'ok', 0, 0, 0)"
    )
    site = (
        "INSERT INTO site (id, account_id, enrollment_id, vendor, vendor_id, name) VALUES (?, 'acct', ?, 'v', ?, 'x')"
    )
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "0006")
        connection.exec_driver_sql("INSERT INTO account (id, name, mode, created_at) VALUES ('acct', 'x', 'x', 0)")
        for values in (("owner", "cred", "flow"), ("fleet", "cred", None), ("key", None, None)):
            connection.exec_driver_sql(enrollment, values)
        for values in (("s1", "owner", "a"), ("s2", "fleet", "b"), ("s3", "fleet", "c")):
            connection.exec_driver_sql(site, values)
    engine.dispose()
    migrate_sqlite(path)
    with sqlite3.connect(path) as connection:
        rights = connection.execute("SELECT enrollment_id, vendor_site_id FROM site_right ORDER BY 2").fetchall()
        due = connection.execute("SELECT enrollment_id, app FROM due WHERE kind = 'sites'").fetchall()
    connection.close()
    assert rights == [("owner", "a"), ("fleet", "b"), ("fleet", "c")]
    assert due == [("fleet", "cred")]


async def test_a_folder_that_does_not_exist_is_a_config_error(tmp_path):
    with pytest.raises(ConfigError, match="does not exist"):
        await open_store(f"sqlite:///{tmp_path}/absent/hub.sqlite3")


async def test_a_file_that_is_no_database_is_not_overwritten(tmp_path):
    path = tmp_path / "hub.sqlite3"
    path.write_bytes(b"my only copy of a novel" * 100)
    with pytest.raises(Exception, match="not a database"):
        await open_store(f"sqlite:///{path}")
    assert path.read_bytes() == b"my only copy of a novel" * 100


class OnPostgres:
    """A database that nobody has migrated yet, and what lies in it."""

    def __init__(self, url: str) -> None:
        self.url = url

    async def ask(self, sql: str) -> list[asyncpg.Record]:
        connection = await asyncpg.connect(self.url)
        try:
            return await connection.fetch(sql)
        finally:
            await connection.close()

    async def tables(self) -> set[str]:
        rows = await self.ask("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
        return {row[0] for row in rows}

    async def start(self, script: str, *arguments: str) -> int:
        process = await asyncio.create_subprocess_exec(sys.executable, "-c", script, self.url, *arguments)
        return await process.wait()


@pytest.fixture
def postgres(databases: Databases) -> OnPostgres:
    return OnPostgres(databases.empty())


async def test_postgres_gets_exactly_the_tables_of_the_models_whoever_starts_first(postgres):
    assert await asyncio.gather(*(postgres.start(START) for _ in range(3))) == [0, 0, 0]
    assert await postgres.tables() == {*SQLModel.metadata.tables, "alembic_version"}
    store = await open_store(postgres.url)
    async with store._reader.connect() as connection:
        found = await connection.run_sync(
            lambda sync: list(compare_metadata(MigrationContext.configure(sync), SQLModel.metadata))
        )
    await store.close()
    assert [change for change in found if change[1].name != "site_by_name"] == []  # which is SQLite's only


async def test_postgres_killed_in_the_middle_of_a_migration_has_nothing_half(postgres):
    assert await postgres.start(DIE, "7") == -9
    assert await postgres.tables() == set()
    assert await postgres.start(START) == 0


async def test_postgres_refuses_a_newer_schema(postgres):
    assert await postgres.start(START) == 0
    await postgres.ask("UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(ConfigError, match="newer Joinder"):
        await open_store(postgres.url)


async def test_a_postgres_that_forgets_commits_is_refused(postgres):
    await postgres.ask(f"ALTER DATABASE {parsed_url(postgres.url).database} SET synchronous_commit = off")
    with pytest.raises(ConfigError, match="synchronous_commit"):
        await open_store(postgres.url)


@pytest.mark.parametrize("host", ["127.0.0.1:1", "nowhere.invalid"])
async def test_a_postgres_that_is_not_there_is_away_and_says_where_without_the_password(host):
    with pytest.raises(StoreAway, match="/hub") as away:
        await open_store(f"postgresql://joinder:canary-9b7f@{host}/hub")
    assert "canary" not in str(away.value)


async def test_a_postgres_that_lets_nobody_in_is_a_config_error_without_the_password(postgres):
    for wrong in ({"password": "canary-9b7f"}, {"database": "nowhere"}):
        url = parsed_url(postgres.url).set(**wrong).render_as_string(hide_password=False)
        with pytest.raises(ConfigError, match="cannot be used") as refused:
            await open_store(url)
        assert "canary" not in str(refused.value)
