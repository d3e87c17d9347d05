"""`joinder` with a key and a database of its own."""

from __future__ import annotations

import asyncio
import io
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from unittest import mock

import pytest
from msgspec import structs

from api.fakes import Vendors
from cli.world import World, logging_as_it_was, registry_of_fakes
from joinder import cli
from joinder.settings import Settings

__all__ = ["registry_of_fakes"]


PROCESSES = ("serve", "worker", "check", "record", "completion", "config", "doctor")


def _here(arguments: Sequence[str], env: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    """As `python -m joinder` would, with its own environment and output."""
    out, err = io.StringIO(), io.StringIO()
    code: object = 0
    with (
        logging_as_it_was(),
        mock.patch.dict(os.environ, env, clear=True),
        mock.patch.object(sys, "argv", ["joinder", *arguments]),
        redirect_stdout(out),
        redirect_stderr(err),
    ):
        try:
            cli.main()
        except SystemExit as ended:
            code = ended.code or 0
    return subprocess.CompletedProcess(list(arguments), int(str(code)), out.getvalue(), err.getvalue())


class Shell:
    def __init__(self, folder: Path) -> None:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("JOINDER_")}
        database = f"sqlite:///{folder}/joinder.sqlite3"
        own = {"JOINDER_DATABASE_URL": database, "JOINDER_KEY_FILE": f"{folder}/joinder.key"}
        own["JOINDER_CONFIG"] = os.devnull  # no file of the one who runs the tests
        self.env = {**kept, **own, "JOINDER_PUBLIC_URL": "http://127.0.0.1:9"}  # where doctor finds nobody

    def __call__(self, *arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
        """Here, as a process takes two seconds to start; what serves, or stops its process, is one of its own."""
        told = {**self.env, **env}
        leaks = "postgres" in told.get("JOINDER_DATABASE_URL", "")  # asyncpg, when it cannot connect: a socket
        run = self._process if not arguments or arguments[0] in PROCESSES or leaks else _here
        done = run(arguments, told)
        assert "Traceback" not in done.stderr + done.stdout
        return done

    def _process(self, arguments: Sequence[str], env: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
        return subprocess.run([sys.executable, "-m", "joinder", *arguments], env=env, capture_output=True, text=True)

    def json(self, *arguments: str) -> list[dict[str, object]]:
        done = self(*arguments, "--json")
        assert done.returncode == 0, done.stderr
        answer: list[dict[str, object]] = json.loads(done.stdout)
        return answer


@pytest.fixture(scope="session")
def key(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("key")
    assert Shell(folder)("keys", "create").returncode == 0
    return folder / "joinder.key"


@pytest.fixture
def joinder(tmp_path: Path, key: Path) -> Shell:
    shutil.copy2(key, tmp_path)
    return Shell(tmp_path)


@pytest.fixture(scope="session")
def templates() -> list[World]:
    """None yet, or one: preparing takes longer than most commands, so SQLite's tests get a copy of the first."""
    return []


@pytest.fixture
def world(
    fresh_database: Settings,
    database_kind: str,
    registry_of_fakes: Vendors,
    templates: list[World],
    tmp_path_factory: pytest.TempPathFactory,
) -> World:
    made = World(fresh_database, registry_of_fakes)
    if database_kind == "postgresql":
        asyncio.run(made.prepare())
        return made
    if not templates:
        templates.append(_template(fresh_database, registry_of_fakes, tmp_path_factory.mktemp("world")))
    _copy(templates[0].settings, fresh_database)
    made.ids = dict(templates[0].ids)
    return made


def _template(empty: Settings, vendors: Vendors, folder: Path) -> World:
    settings = structs.replace(
        empty, database_url=f"sqlite:///{folder}/joinder.sqlite3", key_file=str(folder / "joinder.key")
    )
    _copy(empty, settings)
    made = World(settings, vendors)
    asyncio.run(made.prepare())
    return made


def _copy(source: Settings, target: Settings) -> None:
    """The database, and the key that opens it."""
    shutil.copy(source.database_url.removeprefix("sqlite:///"), target.database_url.removeprefix("sqlite:///"))
    shutil.copy(source.key_file, target.key_file)
