"""PostgreSQL servers that follow another one and take over."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import asyncpg

from joinder.demo.postgres import LocalPostgres, _free_port


class Standby(LocalPostgres):
    """A copy of `primary`, which it follows through `port`; under `name` there."""

    def __init__(self, primary: LocalPostgres, folder: Path, *, port: int, name: str) -> None:
        self._bin, self._user, self._password = primary._bin, primary._user, primary._password
        self._data, self._log = folder / "data", folder / "postgres.log"
        self._durable = primary._durable
        self.port = _free_port()
        if self._user is not None:
            shutil.chown(folder, self._user)
        source = f"host=127.0.0.1 port={port} user=joinder password={self._password} sslmode=disable"
        self._run(
            "pg_basebackup", "-D", str(self._data), "-d", f"{source} application_name={name}", "-R", "-X", "stream",
            "-c", "fast", "--no-sync",
        )  # fmt: skip

    async def promote(self) -> None:
        """As docs/upkeep.md says it, until it takes writes."""
        connection = await asyncpg.connect(self.url())
        try:
            assert await connection.fetchval("SELECT pg_promote()")
        finally:
            await connection.close()


@asynccontextmanager
async def following(primary: LocalPostgres, *, port: int, name: str) -> AsyncIterator[Standby]:
    """`port` may be a proxy's of this loop."""
    folder = Path(tempfile.mkdtemp(prefix="joinder-standby-"))
    try:
        standby = await asyncio.to_thread(lambda: Standby(primary, folder, port=port, name=name))
        await asyncio.to_thread(standby.start)
        try:
            yield standby
        finally:
            await asyncio.to_thread(standby.stop, "immediate")
    finally:
        shutil.rmtree(folder, ignore_errors=True)
