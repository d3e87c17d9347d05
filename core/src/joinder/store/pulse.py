"""Since when this process has had answers from its database."""

from __future__ import annotations

import time


class Pulse:
    """Told by the store of each write and read on the driver. A process that has just begun has had none."""

    def __init__(self) -> None:
        self._since = time.monotonic()
        self._failed_at: float | None = None

    def answered(self) -> None:
        """Ends a trouble."""
        if self._failed_at is not None:
            self._failed_at, self._since = None, time.monotonic()

    def failed(self) -> None:
        self._failed_at = time.monotonic()

    def answers_for_s(self) -> float:
        """0 in the middle of a trouble."""
        return 0.0 if self._failed_at is not None else time.monotonic() - self._since
