"""New tokens of the last quarter of an hour, in files: for a database that does not take them, or forgets them.

One file a process, under a lock that ends with the process: whoever can lock a file knows that its writer is gone. A
line says whose token it is and holds the token sealed (services/grants/journal.py seals, opens and applies). Two files
follow one another, so that each line is kept for a quarter of an hour at least.
"""

from __future__ import annotations

import asyncio
import fcntl
import logging
import os
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import msgspec
from msgspec import Struct

from joinder.small_files import unfit_folder
from joinder.store.copies import sync

KEPT_S = 900.0
_SUFFIX = ".journal"
log = logging.getLogger("joinder.journal")


class Line(Struct, frozen=True):
    """A new token of one grant. `version`: the one it is; `at`: epoch seconds; `store`: the database it belongs to.

    `after`: when the token was obtained that was sent for it, by whatever clock.
    """

    store: str
    enrollment: str
    account: str
    version: int
    at: int
    sealed: bytes
    after: int = 0


@dataclass(frozen=True, kw_only=True)
class Found:
    """What a file holds. `damaged`: lines in it that are none, beside one at its end that a crash cut off."""

    path: Path
    lines: list[Line]
    damaged: int
    is_written: bool  # its process lives

    @property
    def process(self) -> str:
        return self.path.name.rpartition("-")[0]

    @property
    def since(self) -> float:
        """Tells from when on, epoch seconds, it and those after it hold all that its process got; 0: from the first."""
        if self.path.stem.endswith("-1"):
            return 0
        return self.lines[0].at if self.lines else float("inf")


class Journal:
    """The files of one folder, of which one is this process's. Nothing is asked of the disk until `begin`.

    Without a folder, and while it cannot be written to, lines are kept in memory until the database has them; `trouble`
    says so.
    """

    def __init__(self, folder: Path | None, process: str) -> None:
        self.folder = folder
        self.process = process
        self.trouble: str | None = None
        self._thread = ThreadPoolExecutor(1, "joinder-journal")
        self._guard = threading.Lock()
        self._file: _File | None = None
        self._before: _File | None = None
        self._number = 0
        self._in_memory: dict[str, Line] = {}  # by enrollment; each is unsaved, too
        self._written: list[Line] = []  # and not yet synced
        self._syncing: Future[None] | None = None
        self._is_sync_broken = False
        self._newest: dict[str, tuple[int, float]] = {}  # enrollment → version, when
        self._on_disk: dict[str, int] = {}
        self._unsaved: dict[str, Line] = {}

    async def begin(self, line: Line) -> None:
        """Opens a file with the process's lock on it, before the first token.

        Its first line says of what store it is.
        """
        if self._file is None and self.folder is not None:
            await asyncio.get_running_loop().run_in_executor(self._thread, self._begin, self.folder, line)
            self.retry()

    def add(self, line: Line) -> None:
        """Writes the line at once, into memory of the system, and syncs it within milliseconds. Never raises."""
        moment = time.monotonic()
        for enrollment in [old for old, (_, at) in islice(self._newest.items(), 2) if moment - at > KEPT_S]:
            del self._newest[enrollment]  # a dict keeps the order of its insertions
        self._newest.pop(line.enrollment, None)
        self._newest[line.enrollment] = (line.version, moment)
        self._unsaved[line.enrollment] = line
        self._in_memory[line.enrollment] = line
        self.retry()

    def retry(self) -> None:
        """Writes what could not be written before, and syncs what could not be synced."""
        has_more = bool(self._in_memory)
        if has_more and not self._has_written():
            return
        if not has_more and (not self._written or (self._syncing is not None and not self._syncing.done())):
            return
        with suppress(RuntimeError):  # closed
            self._syncing = self._thread.submit(self._sync)

    def _has_written(self) -> bool:
        try:
            with self._guard:
                if self._file is None:
                    return False
                self._file.append(b"".join(_encoded(line) for line in self._in_memory.values()))
                self._written += self._in_memory.values()
        except OSError as error:
            self._tell(f"{self.folder} cannot be written to ({error.strerror or type(error).__name__})")
            return False
        self._in_memory = {}
        if not self._is_sync_broken:
            self._tell(None)
        return True

    @property
    def is_all_stored(self) -> bool:
        """Tells whether nothing in it is only here, as far as this process knows."""
        return not self._unsaved

    def stored(self, enrollment_id: str, version: int) -> None:
        """Notes that the database has the token: its line need not follow into the next file."""
        waiting = self._unsaved.get(enrollment_id)
        if waiting is not None and waiting.version <= version:
            del self._unsaved[enrollment_id]
            self._in_memory.pop(enrollment_id, None)

    def holds(self, enrollment_id: str, version: int) -> bool:
        """Tells whether that token is on disk here."""
        return self._on_disk.get(enrollment_id) == version

    def newest(self, enrollment_id: str) -> int | None:
        """Returns the version this process got last, in the last quarter of an hour; None when it got none."""
        version, at = self._newest.get(enrollment_id, (None, 0.0))
        return version if time.monotonic() - at <= KEPT_S else None

    def is_writing(self, process: str) -> bool | None:
        """Tells whether that process lives; None when none of its files is here."""
        files = self._found(f"{process}-*{_SUFFIX}")
        return any(_is_locked(path) for path in files) if files else None

    def read(self) -> list[Found]:
        """Reads every file of the folder. Blocks: for a thread."""
        found = []
        for path in sorted(self._found(f"*{_SUFFIX}")):
            with suppress(OSError):  # gone meanwhile
                found.append(_read(path))
        return found

    def _found(self, pattern: str) -> list[Path]:
        """Lists the files, none on a disk that cannot be read.

        Files only: to open a pipe left there would wait for ever.
        """
        try:
            return [path for path in self.folder.glob(pattern) if path.is_file()] if self.folder is not None else []
        except OSError:
            return []

    async def close(self) -> None:
        """Closes the files, which stay for whoever finds a database behind them."""
        self.retry()
        await asyncio.to_thread(self._thread.shutdown)
        for file in (self._before, self._file):
            if file is not None:
                file.close()
        self._file = self._before = None

    def _sync(self) -> None:
        """Syncs, in the thread, all that was written, in as few syncs as the disk is fast."""
        while True:
            with self._guard:
                lines, self._written, file = self._written, [], self._file
            if not lines or file is None:
                return
            try:
                os.fsync(file.descriptor)
            except OSError as error:
                self._tell(f"{self.folder} cannot be synced ({error.strerror or type(error).__name__})")
                self._is_sync_broken = True
                self._write_anew(lines)
                return
            if self._is_sync_broken:
                self._is_sync_broken = False
                self._tell(None)
            self._on_disk.update({line.enrollment: line.version for line in lines})
            if file.is_old() and self.folder is not None:
                self._turn(self.folder, _first_like(lines[-1]))

    def _write_anew(self, lines: list[Line]) -> None:
        """Writes the lines, in the thread, into a new file.

        The system may have forgotten what it could not sync, and say no more.
        """
        with self._guard:
            self._written = lines + self._written
        if self.folder is not None and self._turn(self.folder, _first_like(lines[-1])):
            with self._guard:
                self._written = list(self._unsaved.values())

    def _begin(self, folder: Path, first: Line) -> None:
        """Opens the first file, in the thread, where of several that begin together one comes first."""
        if self._file is None:
            self._turn(folder, first)

    def _turn(self, folder: Path, first: Line) -> bool:
        """Begins a new file, in the thread, with what the database does not have yet; False when there is none."""
        fresh: _File | None = None
        try:
            folder.mkdir(mode=0o700, exist_ok=True)
            _give_to_owner_of(folder.parent, folder)
            self._number += 1  # never twice, whatever became of the one before
            fresh = _File(folder / f"{self.process}-{self._number}{_SUFFIX}", _encoded(first))
            sync(folder)
            with self._guard:
                fresh.append(b"".join(_encoded(line) for line in list(self._unsaved.values())))
                old, self._before, self._file = self._before, self._file, fresh
        except OSError as error:
            if fresh is not None:
                fresh.drop()
            self._tell(f"{folder} cannot be written to ({error.strerror or type(error).__name__})")
            return False
        if old is not None and old.is_old():
            old.drop()
        elif old is not None:  # its lines may still be asked for
            old.close()
        return True

    def _tell(self, trouble: str | None) -> None:
        if trouble is not None and self.trouble is None:
            log.critical("new tokens are kept in memory only: %s", trouble)
        self.trouble = trouble


class _File:
    """One that this process appends to, under its lock. Without lock and first line nobody sees it: it would be taken
    for the file of a process that is gone, and ended.
    """

    def __init__(self, path: Path, first: bytes) -> None:
        self.path = path.with_suffix(".new")
        self.descriptor = os.open(self.path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_APPEND, 0o600)
        self._opened_at = time.monotonic()
        self._size = 0
        try:
            fcntl.flock(self.descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            _give_to_owner_of(path.parent, self.path)
            self.append(first)
            self.path = self.path.rename(path)
        except OSError:
            self.drop()
            raise

    def is_old(self) -> bool:
        return time.monotonic() - self._opened_at > KEPT_S

    def append(self, data: bytes) -> None:
        """Appends all of it or nothing."""
        try:
            left = data
            while left:
                left = left[os.write(self.descriptor, left) :]
        except OSError:
            with suppress(OSError):
                os.ftruncate(self.descriptor, self._size)
            raise
        self._size += len(data)

    def close(self) -> None:
        os.close(self.descriptor)

    def drop(self) -> None:
        with suppress(OSError):
            self.path.unlink()
        self.close()


def unfit(folder: Path) -> str | None:
    """Says the rest of a sentence where no journal can lie there. What is missing is made, but not its parent."""
    if os.path.lexists(folder):
        return unfit_folder(folder, writes=True)
    reason = unfit_folder(folder.parent, writes=True)
    return reason and f"cannot be made: {folder.parent} {reason}"


def _first_like(line: Line) -> Line:
    return msgspec.structs.replace(line, enrollment="", version=0, sealed=b"")


def _give_to_owner_of(folder: Path, path: Path) -> None:
    """Gives the path to the folder's owner: a command that root runs must not keep the service's user out."""
    if os.geteuid() == 0:
        owner = folder.stat()
        os.chown(path, owner.st_uid, owner.st_gid)


def _encoded(line: Line) -> bytes:
    return msgspec.json.encode(line) + b"\n"


def _is_locked(path: Path) -> bool:
    """Tells whether its writer lives, as far as it can be told. A file that has gone has no writer."""
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        return False
    except OSError:  # such as no descriptor left: who is taken for gone has its token sent again
        return True
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(descriptor)
    return False


def _read(path: Path) -> Found:
    is_written = _is_locked(path)
    *whole, _ = path.read_bytes().split(b"\n")
    lines = list(_decoded(whole))
    return Found(path=path, lines=lines, damaged=len(whole) - len(lines), is_written=is_written)


def _decoded(rows: list[bytes]) -> Iterator[Line]:
    for row in rows:
        with suppress(msgspec.DecodeError, UnicodeDecodeError):
            yield msgspec.json.decode(row, type=Line)
