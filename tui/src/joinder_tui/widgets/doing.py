"""What runs now, with its seconds: a vendor may take a minute, and the keys go on working."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from textual.widgets import Static


class Doing(Static):
    """Hidden while nothing runs."""

    def __init__(self) -> None:
        super().__init__()
        self._tasks: dict[asyncio.Future[Any], tuple[str, float]] = {}

    def on_mount(self) -> None:
        self.display = False
        self.set_interval(0.25, self._draw)

    @contextmanager
    def shown(self, what: str, task: asyncio.Future[Any]) -> Iterator[None]:
        self._tasks[task] = (what, time.monotonic())
        self._draw()
        try:
            yield
        finally:
            self._tasks.pop(task, None)
            self._draw()

    def stop(self) -> None:
        """The newest."""
        if self._tasks:
            list(self._tasks)[-1].cancel()

    def _draw(self) -> None:
        self.display = bool(self._tasks)
        lines = [f"⟳ {what} … {time.monotonic() - begun:.0f} s" for what, begun in self._tasks.values()]
        self.update("   ".join(lines) + "   (ctrl+x stops waiting)" if lines else "")
