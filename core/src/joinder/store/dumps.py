"""Copies of a PostgreSQL database, by the server's own pg_dump and pg_restore."""

from __future__ import annotations

import asyncio
import os
import re
import secrets
import shutil
import subprocess
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy.engine import URL

from joinder.settings import ConfigError, NotDone
from joinder.store.driver_errors import unusable
from joinder.store.facts import Facts, facts_from

if TYPE_CHECKING:
    import asyncpg

CONNECT_S = 10
APPLICATION = "joinder backup"
PLACES = ("/usr/lib/postgresql/*/bin", "/usr/pgsql-*/bin", "/opt/homebrew/opt/postgresql@*/bin", "/usr/local/pgsql/bin")


class InUse(Exception):
    """Others are connected to the database."""


async def dump(url: URL, target: Path) -> Facts:
    """Dumps one consistent state, and returns what is in exactly that state. Raises ConfigError."""
    import asyncpg  # an extra

    program = find_tool("pg_dump")
    async with _connected(url) as live, live.transaction(isolation="repeatable_read", readonly=True):
        snapshot = await live.fetchval("SELECT pg_export_snapshot()")
        try:
            facts = await facts_from(live.fetch, _place(url))
        except asyncpg.UndefinedTableError as error:
            raise ConfigError(f"{_place(url)} is no database of Joinder's: {error}") from None
        await _run(url, str(program), "--format=custom", f"--snapshot={snapshot}", f"--file={target}")
    return facts


async def create_beside(url: URL, begins: str) -> URL:
    """Creates an empty database on the same server, and returns its URL. Raises ConfigError."""
    import asyncpg  # an extra

    name = f"{begins}_{secrets.token_hex(4)}"
    async with _maintenance(url) as server:
        try:
            await server.execute(f"CREATE DATABASE {_quoted(name)}")
        except asyncpg.InsufficientPrivilegeError:
            raise ConfigError(
                f"{url.username} may not create databases: ALTER ROLE {_quoted(str(url.username))} CREATEDB, then again"
            ) from None
    return url.set(database=name)


async def load(url: URL, source: Path) -> None:
    """Fills an empty database. Raises ConfigError."""
    options = ("--no-owner", "--no-privileges", "--exit-on-error", "--single-transaction")
    await _run(url, str(find_tool("pg_restore")), *options, str(source), database_option=True)


async def drop(url: URL) -> None:
    async with _maintenance(url) as server:
        await server.execute(f"DROP DATABASE IF EXISTS {_quoted(str(url.database))}")


async def facts_in(url: URL) -> Facts:
    async with _connected(url) as connection:
        return await facts_from(connection.fetch, _place(url))


async def has_schema(url: URL) -> bool:
    """Tells whether Joinder's tables are there. Raises ConfigError when the database is not."""
    async with _connected(url) as connection:
        return await connection.fetchval("SELECT to_regclass('alembic_version')") is not None


async def is_empty(url: URL) -> bool:
    """Tells whether the database is absent, or nobody has an account in it."""
    if not await exists(url):
        return True
    async with _connected(url) as connection:
        if await connection.fetchval("SELECT to_regclass('account')") is None:
            return True
        return bool(await connection.fetchval("SELECT count(*) = 0 FROM account"))


async def exists(url: URL) -> bool:
    async with _maintenance(url) as server:
        return bool(await server.fetchval("SELECT count(*) FROM pg_database WHERE datname = $1", url.database))


async def connections(url: URL) -> int:
    """Counts the connections of anybody but us."""
    async with _maintenance(url) as server:
        query = "SELECT count(*) FROM pg_stat_activity WHERE datname = $1 AND application_name <> $2"
        return int(await server.fetchval(query, url.database, APPLICATION))


async def put_in_place(part: URL, target: URL, *, keep_as: str | None) -> None:
    """Renames both databases or none. Raises InUse.

    `keep_as`: the name under which the old one stays; None: there is no old one.
    """
    import asyncpg  # an extra

    async with _maintenance(target) as server:
        try:
            async with server.transaction():
                if keep_as is not None:
                    await _rename(server, str(target.database), keep_as)
                await _rename(server, str(part.database), str(target.database))
        except asyncpg.ObjectInUseError:
            raise InUse from None


async def _rename(server: asyncpg.Connection[asyncpg.Record], name: str, to: str) -> None:
    await server.execute(f"ALTER DATABASE {_quoted(name)} RENAME TO {_quoted(to)}")


def find_tool(name: str) -> Path:
    """Finds the newest on this machine: it reads older servers, an older one no newer server. Raises ConfigError."""
    found = [path for place in PLACES for path in Path("/").glob(f"{place.lstrip('/')}/{name}")]
    on_path = shutil.which(name)
    if on_path:
        found.append(Path(on_path))
    if not found:
        raise ConfigError(f"{name} is not on this machine; on Debian: apt-get install postgresql-client")
    return max(found, key=_major)


def _major(program: Path) -> int:
    told = subprocess.run([str(program), "--version"], capture_output=True, text=True, check=False).stdout  # noqa: S603
    match = re.search(r"(\d+)", told)
    return int(match[1]) if match else 0


async def _run(url: URL, program: str, *arguments: str, database_option: bool = False) -> None:
    """Runs a program on the database. The password goes by a file: arguments and environments are read by others."""
    bare = url.set(password=None).difference_update_query(["password"]).render_as_string(hide_password=False)
    with _passfile(url) as env:
        process = await asyncio.create_subprocess_exec(
            *(program, "--no-password", f"--dbname={bare}", *arguments),
            env=env,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
        )
        try:
            _, told = await process.communicate()
        except BaseException:
            process.kill()
            await process.wait()
            raise
    if process.returncode:
        lines = told.decode(errors="replace").strip().splitlines() or [f"exit code {process.returncode}"]
        raise NotDone(f"{Path(program).name} failed: {lines[0]}")


@contextmanager
def _passfile(url: URL) -> Iterator[dict[str, str]]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("JOINDER_")}
    password = url.password or url.query.get("password")
    if password is None:
        yield kept
        return
    with tempfile.NamedTemporaryFile("w", prefix="joinder-pass-") as file:  # mode 0600
        escaped = str(password).replace("\\", "\\\\").replace(":", "\\:")
        file.write(f"*:*:*:*:{escaped}\n")
        file.flush()
        yield {**kept, "PGPASSFILE": file.name}


@asynccontextmanager
async def _connected(url: URL) -> AsyncIterator[asyncpg.Connection[asyncpg.Record]]:
    """Raises ConfigError or StoreAway, without the URL."""
    import asyncpg  # an extra

    try:
        connection = await asyncpg.connect(
            url.render_as_string(hide_password=False),
            timeout=CONNECT_S,
            server_settings={"application_name": APPLICATION, "idle_in_transaction_session_timeout": "0"},
        )
    except (OSError, asyncpg.PostgresError, asyncpg.ClientConfigurationError, TimeoutError) as error:
        raise unusable(error, _place(url)) from None
    try:
        yield connection
    finally:
        await connection.close()


@asynccontextmanager
async def _maintenance(url: URL) -> AsyncIterator[asyncpg.Connection[asyncpg.Record]]:
    """Connects to the server's own database: nobody renames a database from inside it."""
    async with _connected(url.set(database="postgres")) as server:
        yield server


def _place(url: URL) -> str:
    return f"{url.host or 'localhost'}/{url.database}"


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
