"""Whether the files that are open are still those in the database's place.

SQLite does not look: its connections go on with files that were moved, deleted or replaced, and nobody finds what they
commit. A deleted log or index is put back under its name, by a hard link that the armed process keeps of each: it is
the very file that every connection of every process holds, so nothing is reopened, and no two logs can be mixed.
"""

from __future__ import annotations

import logging
import os
import secrets
from contextlib import suppress
from pathlib import Path

from joinder.settings import ConfigError
from joinder.trouble import StoreOrphaned

WAL, INDEX = "-wal", "-shm"
ASIDE = "-wal.aside"  # the log of a file that another has replaced
log = logging.getLogger("joinder.store")
Identity = tuple[int, int]


class FileWatch:
    """Of one store, from its first connection until it closes. `check` takes microseconds: each commit asks twice.

    It never opens the database: closing any descriptor of it would end the locks SQLite holds for this process.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._known: dict[Path, Identity] = {}
        self._is_armed = False
        self._told: str | None = None

    def opened(self) -> None:
        """Checks, after a connection was opened and has read, that it holds the same files as the others.

        Raises StoreOrphaned.
        """
        for file in (self.path, self._beside(WAL), self._beside(INDEX)):
            if file not in self._known and (identity := _identity(file)) is not None:
                self._known[file] = identity
        self.check()

    def arm(self) -> None:
        """Has deleted log and index put back from now on; for processes that renew tokens."""
        self._is_armed = True
        self._keep()

    def check(self) -> None:
        """Makes sure that what is written now will be found. Raises StoreOrphaned."""
        reason = self._orphaned()
        if reason is not None:
            raise StoreOrphaned(reason)

    def problem(self) -> str | None:
        """Says why nothing new may begin, in a sentence for the operator; None when it may."""
        reason = self._orphaned()
        if reason is not None:
            return reason
        if self._is_armed:
            self._keep()
        if not os.access(self.path, os.W_OK):
            return (
                f"{self.path} cannot be written: by its mode or owner, or because its disk is mounted read-only. "
                "Until it can be, no token is renewed; then work goes on by itself."
            )
        return None

    def close(self) -> None:
        """Deletes the second names after the last connection.

        With the file in its place, SQLite has kept the log's content.
        """
        if self._known and _identity(self.path) == self._known[self.path]:
            for file in self._sides():
                with suppress(OSError):
                    self._link(file).unlink()
        self._known.clear()

    def _orphaned(self) -> str | None:
        reason = self._looked()
        if reason != self._told:
            self._told = reason
            if reason is None:
                log.warning("%s is in its place again: work goes on", self.path)
            else:
                log.critical("%s", reason)
        return reason

    def _looked(self) -> str | None:
        if not self._known:
            return None
        found = _identity(self.path)
        if found is None:
            return (
                f"{self.path} is gone: moved, deleted, or its folder is. Nothing is written and no token renewed until "
                "it is back; work then goes on by itself. Leave the files beside it where they are: they belong to it."
            )
        if found != self._known[self.path]:
            self._set_aside()
            return (
                f"{self.path} was replaced by another file while it was open. Nothing is written and no token renewed. "
                "Put the file back that was there, and work goes on by itself; to go on with the new one, stop every "
                "Joinder and anything else that uses it, then start again."
            )
        lost = [file for file in self._sides() if _identity(file) != self._known[file] and not self._put_back(file)]
        if lost:
            return (
                f"{lost[0]} was deleted or replaced while the database was open. Nothing is written and no token "
                "renewed. Stop every Joinder and anything else that uses the database, then start again: the last "
                "that closes saves what it can. joinder doctor tells whether the file is whole."
            )
        return None

    def _put_back(self, file: Path) -> bool:
        """Puts a file back only while nobody can have written to another: there is none, or it is empty."""
        link = self._link(file)
        if _identity(link) != self._known[file]:
            return False
        with suppress(OSError):
            if file.exists() and file.stat().st_size == 0:
                file.unlink()
            os.link(link, file)
            log.warning("%s was deleted while the database was open, and has been put back", file)
        if _identity(file) != self._known[file]:
            return False
        if _identity(self._beside(ASIDE)) == self._known[file]:
            self._beside(ASIDE).unlink(missing_ok=True)
        return True

    def _set_aside(self) -> None:
        """Sets our log and index aside: opened with the new file they would be mixed, and the file destroyed."""
        wal, index = self._beside(WAL), self._beside(INDEX)
        with suppress(OSError):
            if self._is_kept(index) and _identity(index) == self._known[index]:
                index.unlink()
            if self._is_kept(wal) and _identity(wal) == self._known[wal]:
                wal.replace(self._beside(ASIDE))

    def _keep(self) -> None:
        """Gives each file a second name, which SQLite does not know.

        Where the disk has no hard links, there is none.
        """
        for file in self._sides():
            link, part = self._link(file), self._beside(f".{secrets.token_hex(4)}")
            if self._is_kept(file) or _identity(file) != self._known[file]:
                continue
            with suppress(OSError):
                os.link(file, part)
                part.replace(link)
            with suppress(OSError):
                part.unlink()  # another process had just kept it: two names of one file are left as they are

    def _is_kept(self, file: Path) -> bool:
        return _identity(self._link(file)) == self._known.get(file)

    def _sides(self) -> list[Path]:
        return [file for file in self._known if file != self.path]

    def _beside(self, suffix: str) -> Path:
        return self.path.with_name(self.path.name + suffix)

    def _link(self, file: Path) -> Path:
        """Names the link after the database's inode, and not `…-wal`.

        Who deletes those by a pattern does not mean this one.
        """
        return self._beside(f".{self._known[self.path][1]}.{file.name[-3:]}")


def refuse_strays(path: Path) -> None:
    """Refuses leftover files before the database is opened, which would delete or mix them. Raises ConfigError."""
    wal, aside = path.with_name(path.name + WAL), path.with_name(path.name + ASIDE)
    if aside.exists():
        raise ConfigError(
            f"{path} was replaced while Joinder ran, and what had last been written to the file before was set "
            f"aside as {aside.name}. If this is that very file again, or a copy made at that moment: mv {aside} {wal}. "
            f"If it is another, such as a backup: delete {aside.name}, and mind that joinder restore is the safe way."
        )
    if not path.exists() and wal.exists() and wal.stat().st_size:
        raise ConfigError(
            f"{path} is gone, and its log {wal.name} still lies there: put the file back, without which the log is "
            "useless, or restore a copy (joinder restore). A new database here would delete the log; to want that, "
            f"delete {wal.name} first."
        )


def _identity(path: Path) -> Identity | None:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino
