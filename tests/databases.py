"""Empty, migrated databases of both kinds, for every test that asks for one."""

from __future__ import annotations

import asyncio
import itertools
import shutil
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg
import pytest

from effort import EVERYTHING, late
from joinder.demo.postgres import LocalPostgres, NoPostgres, local_postgres
from joinder.runtime.hub import open_hub
from joinder.settings import Settings
from joinder.store.key_file import create_key_file
from joinder.vendors.registry import Registry

KINDS = ("sqlite", "postgresql")
# Long, and asking of the store what others ask of it too: on PostgreSQL among the proofs.
LATE_ON_POSTGRES = (
    "test_recheck.py",
    "test_kept_consents.py",
    "test_deliveries.py",
    "test_join_ends.py",
    "test_backfill.py",
    "test_reconnect.py",
    "test_r13_clocks.py",
    "test_site_rights.py",
    "test_revocations.py",
    "test_credential_test.py",
    "test_reach.py",
)
READ_MUCH = (
    "test_reads.py",
    "test_isolation.py",
    "test_stale_reads.py",
    "test_webhooks.py",
    "test_backfills.py",
    "test_silence.py",
    "test_settled.py",
    "test_short_way.py",
    "test_token_ends.py",
)


class Databases:
    """Migrating takes longer than most tests, so each gets a copy of a template, and the template's key."""

    def __init__(self, folder: Path, exits: ExitStack) -> None:
        self._folder = folder
        self._exits = exits
        self._numbers = itertools.count()
        self._postgres: LocalPostgres | NoPostgres | None = None
        self._ready: set[str] = set()
        self._connection: asyncpg.Connection | None = None
        self._loop = exits.enter_context(asyncio.Runner(loop_factory=asyncio.new_event_loop))
        create_key_file(folder / "key")

    def fresh(self, kind: str, folder: Path) -> Settings:
        """Settings of a database of its own; skips when this machine has no PostgreSQL. `dropped` ends it."""
        shutil.copy(self._folder / "key", folder / "key")
        url = self._sqlite(folder) if kind == "sqlite" else self._copied(self.postgres())
        return Settings(database_url=url, key_file=str(folder / "key"), journal_folder=str(folder / "journal"))

    def postgres(self) -> LocalPostgres:
        if self._postgres is None:
            try:
                self._postgres = self._exits.enter_context(local_postgres(durable=False))
            except NoPostgres as error:
                self._postgres = error
        if isinstance(self._postgres, NoPostgres):
            pytest.skip(str(self._postgres))
        return self._postgres

    def empty(self) -> str:
        """The URL of a PostgreSQL database that nobody has migrated yet."""
        name = f"test_{next(self._numbers)}"
        self._execute(f"CREATE DATABASE {name}")
        return self.postgres().url(name)

    def dropped(self, settings: Settings) -> None:
        """Drops what `fresh` made on PostgreSQL: thousands of databases are gigabytes."""
        if settings.database_url.startswith("postgresql"):
            name = urlsplit(settings.database_url).path.lstrip("/")
            self._execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")

    def _sqlite(self, folder: Path) -> str:
        template = self._folder / "joinder.sqlite3"
        self._prepare(f"sqlite:///{template}")
        shutil.copy(template, folder / "joinder.sqlite3")
        return f"sqlite:///{folder}/joinder.sqlite3"

    def _copied(self, server: LocalPostgres) -> str:
        if "template" not in self._ready:
            self._execute("CREATE DATABASE template_joinder")
            self._ready.add("template")
        self._prepare(server.url("template_joinder"))
        name = f"test_{next(self._numbers)}"
        self._execute(f"CREATE DATABASE {name} TEMPLATE template_joinder STRATEGY file_copy")
        return server.url(name)

    def _execute(self, statement: str) -> None:
        """Runs a statement of the server's, by the one connection of these tests, in a loop of its own."""
        self._loop.run(self._executed(statement))

    async def _executed(self, statement: str) -> None:
        server = self.postgres()
        if self._connection is None or self._connection.is_closed():
            self._connection = await asyncpg.connect(server.url())
        await self._connection.execute(statement)

    def _prepare(self, url: str) -> None:
        if url not in self._ready:
            asyncio.run(_migrated(Settings(database_url=url, key_file=str(self._folder / "key"))))
            self._ready.add(url)


async def _migrated(settings: Settings) -> None:
    async with open_hub(settings, Registry()):
        pass


@pytest.fixture(scope="session")
def databases(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Databases]:
    with ExitStack() as exits:
        yield Databases(tmp_path_factory.mktemp("databases"), exits)


@pytest.fixture
def fresh_database(database_kind: str, databases: Databases, tmp_path: Path) -> Iterator[Settings]:
    """Sync, as the template is made in an event loop of its own."""
    folder = tmp_path / "hub"
    folder.mkdir()
    settings = databases.fresh(database_kind, folder)
    yield settings
    databases.dropped(settings)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Whoever uses a fresh database runs on both kinds, unless its module says `DATABASES = ("sqlite",)`.

    The API's tests, which are many and ask little of the store, do so on PostgreSQL only where they read much of it,
    and among the proofs; so do the lives of grants and LATE_ON_POSTGRES, which are long; the terminal's do not.
    JOINDER_TEST_EVERYTHING=1 for all of them.
    """
    if "database_kind" in metafunc.fixturenames:
        module = Path(str(metafunc.module.__file__))
        one_is_enough = module.parent.name == "tui" or (module.parent.name == "api" and module.name not in READ_MUCH)
        if one_is_enough and not EVERYTHING:
            metafunc.parametrize("database_kind", KINDS[:1], scope="session")
            return
        is_long = module.parent.name in ("api", "grants") or module.name in LATE_ON_POSTGRES
        kinds = [
            late(kind) if kind == "postgresql" and is_long else kind
            for kind in getattr(metafunc.module, "DATABASES", KINDS)
        ]
        metafunc.parametrize("database_kind", kinds, scope="session")
