"""Copies of a SQLite database: taken while servers write, checked, and put in place in one step."""

from __future__ import annotations

import os
import secrets
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from joinder.settings import ConfigError, NotDone
from joinder.store import place
from joinder.store.facts import Facts, facts_of
from joinder.store.file_watch import ASIDE, INDEX, WAL

WAIT_S = 30.0
_SIDE_FILES = (WAL, INDEX, "-journal", ASIDE)


class InUse(Exception):
    """Another process has the database open."""


@contextmanager
def beside(target: Path) -> Iterator[Path]:
    """Yields a new file of mode 0600 in the target's folder, gone when the block ends. Raises ConfigError."""
    part = target.with_name(f".{target.name}.{secrets.token_hex(4)}")
    try:
        os.close(os.open(part, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
    except OSError as error:
        raise NotDone(f"{target.parent} cannot be written: {error.strerror}") from None
    try:
        yield part
    finally:
        for suffix in ("", *_SIDE_FILES):
            part.with_name(part.name + suffix).unlink(missing_ok=True)


def copy(source: Path, target: Path) -> None:
    """Copies one consistent state of `source`, whoever writes to it. Raises ConfigError."""
    try:
        with closing(_opened(source, "ro")) as live, closing(sqlite3.connect(target)) as part:
            live.backup(part)  # in one step: as a reader it stops no writer, and no writer makes it begin again
            part.execute("PRAGMA journal_mode=DELETE")
            _check(part, source)
    except sqlite3.Error as error:
        raise NotDone(f"{source} cannot be copied into {target.parent.absolute()}: {error}") from None


def facts_in(path: Path) -> Facts:
    """Reads what is in the file. Raises ConfigError when it is no database of Joinder's."""
    try:
        with closing(_opened(path, "ro")) as connection:
            return facts_of(lambda sql: connection.execute(sql).fetchall(), str(path))
    except sqlite3.Error as error:
        reason = place.forbidden(path) or f"is no database of Joinder's: {error}"
        raise ConfigError(f"{path} {reason}") from None


def is_empty(path: Path) -> bool:
    """Tells whether the file is absent, or nobody has an account in it. A file that cannot be read is not empty."""
    if not path.exists() or path.stat().st_size == 0:
        return True
    try:
        with closing(_opened(path, "ro")) as connection:
            return bool(connection.execute("SELECT count(*) = 0 FROM account").fetchone()[0])
    except sqlite3.Error:
        return False


def close_for_all(path: Path) -> None:
    """Folds the write-ahead log into the file, which only works while nobody else has it open. Raises InUse."""
    if not path.exists():
        return
    try:
        with closing(_opened(path, "rw", wait_s=0.5)) as connection:
            connection.execute("PRAGMA journal_mode=DELETE").fetchone()
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            raise InUse from None
    except sqlite3.DatabaseError:
        pass  # broken, which may be why it is replaced


def has_side_files(path: Path) -> bool:
    return any(path.with_name(path.name + suffix).exists() for suffix in _SIDE_FILES)


def put_in_place(part: Path, target: Path, *, keep_as: Path | None) -> None:
    """Replaces the database atomically: at every moment `target` is the old one or the new one.

    `keep_as`: where the old one stays; None: it does not.
    """
    sync(part)
    if keep_as is not None:
        if target.exists():
            os.link(target, keep_as)
        for suffix in _SIDE_FILES:  # of a broken or lost database; they must not be taken for the new one's
            side = target.with_name(target.name + suffix)
            if side.exists():
                side.rename(keep_as.with_name(keep_as.name + suffix))
    part.replace(target)
    sync(target.parent)


def sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _opened(path: Path, mode: str, *, wait_s: float = WAIT_S) -> sqlite3.Connection:
    return sqlite3.connect(f"{path.absolute().as_uri()}?mode={mode}", uri=True, timeout=wait_s)


def _check(connection: sqlite3.Connection, source: Path) -> None:
    told = connection.execute("PRAGMA integrity_check(1)").fetchone()[0]
    if told != "ok":
        raise ConfigError(f"The copy of {source} is damaged: {told}")
