"""The release before this schema, 0001: its database migrates, and its statements go on beside this version's (R18)."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, create_engine, text
from sqlalchemy.ext.asyncio import create_async_engine

from databases import Databases
from joinder.runtime import due
from joinder.runtime.hub import Hub, open_hub
from joinder.services.work import leases
from joinder.settings import Settings
from joinder.store.key_file import create_key_file
from joinder.store.migrate import HERE
from joinder.store.tables import Due, Enrollment, GrantRow
from joinder.vendors.registry import Registry
from services.strict_vendor import StrictVendor

NOW = 1_790_000_000
BEFORE = "0001"
ROWS: tuple[tuple[str, Mapping[str, object]], ...] = (
    ("account", {"id": "acct-1", "name": "A", "mode": "production", "created_at": NOW}),
    ("vendor_credentials", {"id": "cred-1", "account_id": "acct-1", "vendor": "strict", "type": "app",
                            "secrets_sealed": b"\x00\x01sealed", "created_at": NOW, "updated_at": NOW}),
    *(("enrollment", {"id": f"enrl-{number}", "account_id": "acct-1", "vendor": "strict",
                      "credentials_id": "cred-1" if number else None, "vendor_account_id": f"owner-{number}",
                      "options": "{}", "status": "enrolled", "health": "ok", "health_since": NOW, "failures": 0,
                      "created_at": NOW}) for number in range(3)),
    *(("grant", {"enrollment_id": f"enrl-{number}", "sealed": bytes([number]) * 40, "version": 7 + number,
                 "expires_at": NOW + 3600, "state": "active", "obtained_by": "refresh", "obtained_at": NOW,
                 "refresh_count": 6, "intent_count": 0}) for number in range(3)),
    *(("due", {"kind": kind, "enrollment_id": f"enrl-{number}", "due_at": NOW - number})
      for kind in ("refresh", "poll", "approval") for number in range(3)),
    ("event", {"id": "evnt-1", "account_id": "acct-1", "enrollment_id": "enrl-0", "type": "enrollment.created",
               "data": '{"vendor": "strict"}', "at": NOW}),
    ("site", {"id": "site-1", "account_id": "acct-1", "enrollment_id": "enrl-1", "vendor": "strict",
              "vendor_id": "home", "name": "Über"}),
)  # fmt: skip
OLD_DUE = (
    "SELECT enrollment_id FROM due WHERE kind = :kind AND due_at <= :now "
    "AND (lease IS NULL OR lease_boot <> :boot OR lease_until < :monotonic) ORDER BY due_at LIMIT :limit"
)
OLD_TAKE = (
    "UPDATE due SET lease = :lease, lease_boot = :boot, lease_until = :until WHERE kind = 'poll' "
    "AND enrollment_id = :id AND (lease IS NULL OR lease_boot <> :boot OR lease_until < :monotonic)"
)


def insert(table: str, row: Mapping[str, object]) -> str:
    """Naming the columns it knows and no other, as an ORM does."""
    names = ", ".join(f'"{name}"' for name in row)
    return f'INSERT INTO "{table}" ({names}) VALUES ({", ".join(f":{name}" for name in row)})'  # noqa: S608


def as_released_before(connection: Connection) -> None:
    """Schema 0001 with a few rows, made by its own migration."""
    config = Config()
    config.set_main_option("script_location", str(HERE))
    config.attributes["connection"] = connection
    command.upgrade(config, BEFORE)
    for table, row in ROWS:
        statement = insert(table, row)
        if connection.dialect.name == "postgresql":
            statement = statement.replace(":options", "CAST(:options AS json)").replace(":data", "CAST(:data AS json)")
        connection.execute(text(statement), dict(row))
    connection.commit()


@pytest.fixture
def before(database_kind: str, databases: Databases, tmp_path: Path) -> Settings:
    """Settings of a database that the previous release left."""
    create_key_file(tmp_path / "key")
    if database_kind == "sqlite":
        url = f"sqlite:///{tmp_path}/joinder.sqlite3"
        engine = create_engine(url)
        with engine.connect() as connection:
            as_released_before(connection)
        engine.dispose()
        (tmp_path / "joinder.sqlite3").chmod(0o600)
    else:
        url = databases.empty()
        asyncio.run(_on_postgres(url))
    return Settings(database_url=url, key_file=str(tmp_path / "key"))


async def _on_postgres(url: str) -> None:
    engine = create_async_engine(url.replace("postgresql://", "postgresql+asyncpg://").replace("?sslmode=disable", ""))
    async with engine.connect() as connection:
        await connection.run_sync(as_released_before)
    await engine.dispose()


@pytest.fixture
def registry() -> Registry:
    made = Registry()
    made.add("strict", StrictVendor())
    return made


async def test_everything_is_there_after_the_migration(before: Settings, registry: Registry) -> None:
    async with open_hub(before, registry) as hub:
        for table, row in ROWS:
            known = {name: value for name, value in row.items() if name not in ("options", "data")}
            named = ("kind", "enrollment_id") if table == "due" else ("enrollment_id",) if table == "grant" else ("id",)
            where = " AND ".join(f"{name} = :{name}" for name in named)
            columns = ", ".join(f'"{name}"' for name in known)
            found = await hub.store.rows(f'SELECT {columns} FROM "{table}" WHERE {where}', {n: row[n] for n in named})  # noqa: S608
            assert [tuple(each) for each in found] == [tuple(known.values())], table
        async with hub.store.read() as session:
            grant = await session.get(GrantRow, "enrl-2")
            enrollment = await session.get(Enrollment, "enrl-2")
        assert grant is not None
        assert enrollment is not None
        assert (grant.suspected_at, grant.warned_at, enrollment.options) == (None, None, {})
        expected = {("enrl-0", "strict"), ("enrl-1", "cred-1"), ("enrl-2", "cred-1")}
        for kind in ("refresh", "poll", "approval", "expiry"):
            rows = await hub.store.rows(
                "SELECT enrollment_id, app, strikes FROM due WHERE kind = :kind", {"kind": kind}
            )
            assert {(row[0], row[1]) for row in rows} == expected, kind
            assert {row[2] for row in rows} == {0}
        assert await hub.store.rows("SELECT id FROM event WHERE NOT fanned_out", {}) == []


async def test_what_the_release_before_says_still_works(before: Settings, registry: Registry) -> None:
    """An enrollment that it stores after the migration is worked by this version like any other."""
    async with open_hub(before, registry) as hub:
        new = dict(ROWS[2][1]) | {"id": "enrl-new", "vendor_account_id": "owner-new"}
        grant = dict(next(row for table, row in ROWS if table == "grant")) | {"enrollment_id": "enrl-new"}
        json_cast = "CAST({} AS json)" if hub.store.dialect == "postgresql" else "{}"
        event = {"id": "evnt-new", "account_id": "acct-1", "enrollment_id": "enrl-new", "type": "enrollment.health",
                 "data": json.dumps({"to": "ok"}), "at": NOW}  # fmt: skip
        async with hub.store.write() as session:
            for table, row in (("enrollment", new), ("grant", grant), ("event", event)):
                statement = insert(table, row)
                for name in ("options", "data"):
                    statement = statement.replace(f":{name}", json_cast.format(f":{name}"))
                await session.execute(text(statement), row)
            for kind in ("refresh", "poll"):
                row = {"kind": kind, "enrollment_id": "enrl-new", "due_at": NOW}
                await session.execute(text(insert("due", row)), row)
        async with hub.store.read() as session:
            columns = ", ".join(f'"{name}"' for name in grant)
            query = text(f'SELECT {columns} FROM "grant" WHERE enrollment_id = :id')  # noqa: S608
            assert tuple((await session.execute(query, {"id": "enrl-new"})).one()) == tuple(grant.values())
        told = await hub.store.rows("SELECT fanned_out FROM event WHERE id = 'evnt-new'", {})
        assert bool(told[0][0]), "it knows no webhooks, so nobody is told of what it wrote"
        found = await old_due(hub)
        assert set(found) == {"enrl-0", "enrl-1", "enrl-2", "enrl-new"}
        work = due.Kind("poll", poll_nothing).job()
        assert set(await work.due(hub)) == {"0:", "0:strict", "0:cred-1"}


async def poll_nothing(hub: Hub, enrollment_id: str) -> None:
    raise AssertionError


async def old_due(hub: Hub) -> list[str]:
    values = {"kind": "poll", "now": NOW + 1, "boot": "a-boot", "monotonic": 1.0, "limit": 32}
    return [row[0] for row in await hub.store.rows(OLD_DUE, values)]


async def test_neither_version_takes_what_the_other_works(
    before: Settings, registry: Registry, database_kind: str
) -> None:
    if database_kind == "postgresql":
        pytest.skip("the release before knew SQLite only")
    from joinder.clock import boot_id, monotonic

    async with open_hub(before, registry) as hub:
        values = {
            "boot": boot_id(),
            "monotonic": monotonic(),
            "until": monotonic() + 60,
            "id": "enrl-1",
            "lease": "old",
        }
        assert await hub.store.apply((OLD_TAKE, values)) == [1]
        async with hub.store.write() as session:
            assert await leases.take(session, "poll", "enrl-1", 60) is None
            assert await leases.take(session, "poll", "enrl-2", 60)
        assert await hub.store.apply((OLD_TAKE, values | {"id": "enrl-2"})) == [0]
        async with hub.store.read() as session:
            row = await session.get(Due, ("poll", "enrl-1"))
        assert row is not None
        assert (row.lease, row.strikes) == ("old", 0)


@pytest.mark.parametrize("arguments", [("serve",), ("worker",), ("doctor",)], ids=" ".join)
def test_a_newer_schema_stops_every_start(arguments: tuple[str, ...], fresh_database: Settings) -> None:
    newer = "UPDATE alembic_version SET version_num = '9999'"
    asyncio.run(_execute(fresh_database, newer))
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("JOINDER_")},
        "JOINDER_DATABASE_URL": fresh_database.database_url,
        "JOINDER_KEY_FILE": fresh_database.key_file,
        "JOINDER_PORT": "0",
    }
    done = subprocess.run(
        [sys.executable, "-m", "joinder", *arguments], env=environment, capture_output=True, text=True, timeout=60,
        check=False,
    )  # fmt: skip
    assert (done.returncode, "newer" in done.stdout + done.stderr) == (78, True), done.stdout + done.stderr


async def _execute(settings: Settings, statement: str) -> None:
    async with open_hub(settings, Registry()) as hub:
        await hub.store.apply((statement, {}))


def test_0001_is_the_first_of_the_schemas_and_0002_follows_it() -> None:
    config = Config()
    config.set_main_option("script_location", str(HERE))
    script = ScriptDirectory.from_config(config)
    assert script.get_base() == BEFORE
    assert BEFORE in {str(entry.down_revision) for entry in script.walk_revisions()}
