"""Files that people name: settings, keys, secrets. Small, of text, read and written whole; or a few words on why not.

Imports nothing heavy: the command line asks before anything else is there.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

MOST_BYTES = 1024 * 1024


class Unreadable(ValueError):
    """Says the rest of a sentence that begins with the file's name; never what it holds."""


def path_of(text: str) -> Path:
    """Returns the path that a text names, `~` being somebody's home. Raises Unreadable."""
    if not text:
        raise Unreadable("is no file's name")
    try:
        return Path(text).expanduser()
    except RuntimeError:  # no such user, or nobody's home is known
        raise Unreadable("begins with ~, and that home is not known: write the whole path") from None


def content(path: Path) -> bytes:
    """Reads a regular file of at most 1 MiB. Raises Unreadable; FileNotFoundError where nothing has that name."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)  # a pipe nobody writes to waits for ever
        with os.fdopen(descriptor, "rb") as file:
            _check_kind(os.fstat(descriptor))
            read = file.read(MOST_BYTES + 1)
    except (FileNotFoundError, Unreadable):
        raise
    except OSError as error:
        raise Unreadable(f"cannot be read: {error.strerror}") from None
    except ValueError:
        raise Unreadable("cannot be a file's name: it holds a NUL") from None
    if len(read) > MOST_BYTES:
        raise Unreadable("has more than 1 MiB, so it is another kind of file")
    return read


def text(path: Path) -> str:
    """Reads a regular file of text in UTF-8, as editors write it, with their mark at its begin or without.

    Raises as `content`.
    """
    try:
        return content(path).decode("utf-8-sig")
    except UnicodeDecodeError:
        raise Unreadable("is not a text in UTF-8") from None


def put(path: Path, text: str) -> None:
    """Writes a file in one step: whoever reads it meanwhile finds the one before, and so does a full disk.

    A link stays one, and what is no file (`/dev/stdout`, a pipe) is written to, never replaced. Raises OSError.
    """
    if path.exists() and not path.is_file():
        path.write_text(text, "utf-8")
        return
    path = path.resolve()
    part = path.with_name(f".{path.name}.part")
    try:
        part.write_text(text, "utf-8")
        part.replace(path)
    except OSError:
        with suppress(OSError):
            part.unlink()
        raise


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Gives an error of writing the file's name, which the system leaves out where a disk is full."""
    try:
        yield
    except OSError as error:
        error.filename = error.filename or str(path)
        raise


def unfit_folder(path: Path, *, writes: bool) -> str | None:
    """Says the rest of a sentence where this is no folder that we may read, or write to."""
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        return "does not exist"
    except OSError as error:
        return f"cannot be reached: {error.strerror}"
    if not stat.S_ISDIR(mode):
        return "is no folder"
    if not os.access(path, (os.W_OK if writes else os.R_OK) | os.X_OK):
        return f"may not be {'written to' if writes else 'read'} by this user"
    return None


def _check_kind(found: os.stat_result) -> None:
    if stat.S_ISDIR(found.st_mode):
        raise Unreadable("cannot be read: Is a directory")
    if not stat.S_ISREG(found.st_mode):
        raise Unreadable("is not a regular file, which can be read more than once")
