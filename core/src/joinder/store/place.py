"""Where a SQLite file may be, and what stands against one."""

from __future__ import annotations

import errno
import os
from pathlib import Path

from joinder.settings import ConfigError
from joinder.small_files import unfit_folder
from joinder.trouble import StoreFull, StoreTrouble

NAME = "joinder.sqlite3"


def check(path: Path) -> None:
    """Raises ConfigError where no SQLite file can be: in no folder, or what has its name is something else."""
    if reason := unfit_folder(path.parent, writes=False):
        raise ConfigError(f"JOINDER_DATABASE_URL: the folder {path.parent} {reason}")
    if path.is_dir():
        raise ConfigError(f"JOINDER_DATABASE_URL: {path} is a directory; name the file in it, as {path / NAME}")
    if path.exists() and not path.is_file():
        raise ConfigError(f"JOINDER_DATABASE_URL: {path} is not a regular file, so it can be no database")


def unmade(error: OSError, path: Path) -> ConfigError | StoreTrouble:
    """Returns what to raise for a file that could not be made."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return StoreFull(type(error).__name__)
    reason = forbidden(path) or f"cannot be made: {error.strerror}"
    return ConfigError(f"JOINDER_DATABASE_URL: {path} {reason}")


def forbidden(path: Path) -> str:
    """Says what this user may not do there, and the way on; empty where it may do all."""
    if not os.access(path.parent, os.W_OK | os.X_OK):
        return (
            f"cannot be used: this user may not write into {path.parent}, where SQLite keeps files beside the "
            "database. Let it, mount that disk for writing, or name another file"
        )
    if os.access(path, os.F_OK) and not os.access(path, os.R_OK | os.W_OK):
        return "cannot be used: this user may not read and write it. Let it, or mount that disk for writing"
    return ""
