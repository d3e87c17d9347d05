"""Follows a piece of work at run time: which files it goes through, how often it changes file, how often it asks the
store."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

import joinder
from joinder.runtime.hub import Hub

CORE = Path(joinder.__file__).parent
ASKED = ("read", "write", "rows", "scan", "apply")
PLUMBING = (
    "store/",
    "behind.py",
    "clock.py",
    "redact.py",
    "ids.py",
    "patience.py",
    "clean.py",
    "http/",
    "vendors/",
    "observe/",
)


@dataclass
class Walk:
    """`ways`: the files of core in the order they were entered, without plumbing, neighbours merged."""

    ways: list[str] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)

    @property
    def files(self) -> set[str]:
        return set(self.ways)

    @property
    def moves(self) -> int:
        return len(self.ways) - 1

    def __str__(self) -> str:
        return f"{len(self.files)} files, {self.moves} moves between them, {len(self.asked)} store calls"


@contextmanager
def followed(hub: Hub) -> Iterator[Walk]:
    """Of this thread, within the block."""
    walk = Walk()
    frames: set[FrameType] = set()  # a coroutine that goes on has been entered before

    def enter(frame: FrameType, event: str, _: Any) -> None:
        if event != "call" or frame in frames or not frame.f_code.co_filename.startswith(str(CORE)):
            return
        frames.add(frame)
        file = str(Path(frame.f_code.co_filename).relative_to(CORE))
        if file.startswith(PLUMBING) or frame.f_code.co_name.startswith("<"):
            return
        if not walk.ways or walk.ways[-1] != file:
            walk.ways.append(file)

    originals = {name: getattr(hub.store, name) for name in ASKED}
    for name, original in originals.items():
        setattr(hub.store, name, _counted(walk, name, original))
    sys.setprofile(enter)
    try:
        yield walk
    finally:
        sys.setprofile(None)
        for name in originals:
            delattr(hub.store, name)


def _counted(walk: Walk, name: str, original: Any) -> Any:
    def asked(*args: Any, **options: Any) -> Any:
        walk.asked.append(name)
        return original(*args, **options)

    return asked
