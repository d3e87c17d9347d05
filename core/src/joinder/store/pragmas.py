"""What every connection to a SQLite file is set to, whoever opens it."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

from joinder.settings import ConfigError
from joinder.store import folding

WAIT_MS = 8_000  # for another process's lock: well within half a lease, and then it is tried again
# Read back after they are set: a file system without shared memory has no WAL, and with less than FULL a power cut
# takes commits back.
_DURABLE = {"journal_mode": ("WAL", "wal"), "synchronous": ("FULL", 2)}


def address(path: Path, mode: str) -> str:
    """Returns the URI of a file that is there.

    Opened by its bare name, a missing one would be created, and its log deleted.
    """
    return f"{path.absolute().as_uri()}?mode={mode}"


def connect(path: Path, mode: str) -> sqlite3.Connection:
    """Connects in autocommit, to be used from any one thread at a time."""
    connection = sqlite3.connect(address(path, mode), uri=True, isolation_level=None, check_same_thread=False)
    folding.register(connection)
    return connection


def prepare(cursor: Any, path: Path) -> None:
    """Makes a connection durable. Raises ConfigError where SQLite cannot keep what it commits."""
    for pragma in (f"busy_timeout={WAIT_MS}", "foreign_keys=ON"):
        cursor.execute(f"PRAGMA {pragma}")
    for pragma, (wanted, reads_as) in _DURABLE.items():
        cursor.execute(f"PRAGMA {pragma}={wanted}")
        cursor.execute(f"PRAGMA {pragma}")
        told = cursor.fetchone()[0]
        if told != reads_as:
            raise ConfigError(f"{path}: SQLite's {pragma} stays {told}, so a crash could lose single-use tokens")
