"""A database that does not do what it is asked: a sentence and a way on, for every command."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.exc import OperationalError

from cli.conftest import Shell
from joinder.store import pragmas, sqlite
from joinder.store.advice import trouble_of
from joinder.trouble import StoreFull, StoreTrouble


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    prepare = pragmas.prepare

    def at_once(connection: Any, path: Path) -> None:
        prepare(connection, path)
        connection.execute("PRAGMA busy_timeout=50")

    monkeypatch.setattr(sqlite, "prepare", at_once)


@pytest.mark.parametrize("command", [("accounts", "create", "B"), ("accounts", "list")])
def test_a_locked_database_is_a_sentence(joinder: Shell, tmp_path: Path, impatient: None, command: Any) -> None:
    assert joinder("accounts", "create", "A").returncode == 0
    other = sqlite3.connect(tmp_path / "joinder.sqlite3", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    told = joinder(*command)
    other.close()
    assert (told.returncode, told.stdout) == (75, "")
    assert told.stderr.startswith("The database cannot be used (SQLITE_BUSY): another process has been writing to it")
    assert "joinder doctor" in told.stderr


def test_a_database_that_is_away_is_a_sentence_and_a_code_of_its_own(joinder: Shell) -> None:
    told = joinder("accounts", "list", JOINDER_DATABASE_URL="postgresql://joinder:canary@127.0.0.1:1/hub")
    assert (told.returncode, told.stdout) == (75, "")
    assert told.stderr.startswith("The database cannot be used (ConnectionRefusedError at 127.0.0.1/hub): it is away")
    assert "canary" not in told.stderr


def test_a_damaged_file_is_a_sentence(joinder: Shell, tmp_path: Path) -> None:
    assert joinder("accounts", "create", "A").returncode == 0
    path = tmp_path / "joinder.sqlite3"
    with path.open("r+b") as file:
        file.seek(4096)
        file.write(b"\xff" * (path.stat().st_size - 4096))
    told = joinder("accounts", "list")
    assert told.returncode in (1, 78)
    assert len(told.stderr.strip().splitlines()) == 1


@pytest.mark.parametrize(
    ("error", "what"),
    [
        (StoreFull("OSError"), "no room is left on its disk"),
        (StoreTrouble("OSError"), "it did not carry this out"),
        (
            OperationalError("SELECT canary", {"secret": "canary"}, sqlite3.OperationalError("canary")),
            "OperationalError",
        ),
    ],
)
def test_it_says_what_without_the_drivers_words(error: Exception, what: str) -> None:
    told = trouble_of(error)
    assert told is not None
    assert what in told
    assert "canary" not in told


def test_other_errors_are_not_the_databases() -> None:
    assert trouble_of(ValueError("x")) is None
    assert trouble_of(TimeoutError()) is None


@pytest.mark.parametrize("command", [("doctor",), ("accounts", "list")])
def test_a_database_that_is_gone_while_its_log_lies_there_is_not_made_anew(
    joinder: Shell, tmp_path: Path, command: Any
) -> None:
    path, wal = tmp_path / "joinder.sqlite3", tmp_path / "joinder.sqlite3-wal"
    assert joinder("accounts", "create", "A").returncode == 0
    path.rename(tmp_path / "elsewhere")
    wal.write_bytes(b"what was committed last")
    told = joinder(*command)
    assert told.returncode == 78
    assert "joinder.sqlite3 is gone, and its log joinder.sqlite3-wal still lies there" in told.stdout + told.stderr
    assert (path.exists(), wal.read_bytes()) == (False, b"what was committed last")
