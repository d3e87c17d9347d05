"""Work in a process of its own, which may kill itself at a traced line."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable
from typing import Any

Place = tuple[str, int]  # file and line


def place_of(line: str) -> Place:
    """Reads `file number`."""
    file, number = line.rsplit(" ", 1)
    return file, int(number)


def in_a_process(work: Callable[[], Any], *, may_die: bool = False) -> int:
    """Answers how it ended: what `work` answered, or 0."""
    child = os.fork()
    if child == 0:
        try:
            code = asyncio.run(work())
        except BaseException:
            sys.excepthook(*sys.exc_info())
            os._exit(1)
        os._exit(code or 0)
    ended = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert may_die or ended == 0
    return ended
