"""What every connection to a SQLite file is set to, whoever opens it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from joinder.settings import ConfigError

# Read back after they are set: a file system without shared memory has no WAL, and with less than FULL a power cut
# takes commits back.
_DURABLE = {"journal_mode": ("WAL", "wal"), "synchronous": ("FULL", 2)}


def prepare(cursor: Any, path: Path, *, wait_ms: int = 30_000) -> None:
    """`wait_ms`: for another process's lock. Raises ConfigError where SQLite cannot keep what it commits."""
    for pragma in (f"busy_timeout={wait_ms}", "foreign_keys=ON"):
        cursor.execute(f"PRAGMA {pragma}")
    for pragma, (wanted, reads_as) in _DURABLE.items():
        cursor.execute(f"PRAGMA {pragma}={wanted}")
        cursor.execute(f"PRAGMA {pragma}")
        told = cursor.fetchone()[0]
        if told != reads_as:
            raise ConfigError(f"{path}: SQLite's {pragma} stays {told}, so a crash could lose single-use tokens")
