"""A file that holds room on the disk: deleted when the disk is full, so that new tokens in flight still land."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

ROOM_AT_FIRST, ROOM_AGAIN = 2, 4  # laid only where this many times its size is free


class Ballast:
    """Beside one database file, shared by every process on it. Nothing is asked of it until `arm`."""

    def __init__(self, database: Path) -> None:
        self.path = database.with_name(f"{database.name}.ballast")
        self.size_bytes = 0

    @property
    def ok(self) -> bool:
        """Tells whether the file lies there, or is not wanted."""
        return self.size_bytes == 0 or self.path.exists()

    def arm(self, size_bytes: int) -> None:
        """Wants `size_bytes` from now on, laid at once where there is room."""
        self.size_bytes = size_bytes
        self.lay(ROOM_AT_FIRST)

    def has_room(self, times: int = ROOM_AGAIN) -> bool:
        return self.free_bytes() >= times * self.size_bytes

    def lay(self, times: int = ROOM_AGAIN) -> bool:
        """Reserves the room, where the disk has `times` as much. False: there is too little of it."""
        if self.ok:
            return True
        if not self.has_room(times):
            return False
        part = self.path.with_name(f"{self.path.name}.{os.getpid()}")
        try:
            _reserve(part, self.size_bytes)
            part.replace(self.path)
        except OSError:
            part.unlink(missing_ok=True)
            return False
        return True

    def free(self) -> bool:
        """Gives the room back. False: there was none to give."""
        with contextlib.suppress(OSError):
            self.path.unlink()
            return True
        return False

    def free_bytes(self) -> int:
        """Returns the bytes of the database's disk that are free for us."""
        disk = os.statvfs(self.path.parent)
        return disk.f_bavail * disk.f_frsize


def _reserve(path: Path, size_bytes: int) -> None:
    descriptor = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600)
    try:
        os.posix_fallocate(descriptor, 0, size_bytes)
    finally:
        os.close(descriptor)
