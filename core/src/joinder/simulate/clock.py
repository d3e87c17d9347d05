"""A simulator's clock: real time plus an offset, so that a day can pass in seconds."""

from __future__ import annotations

import time
from datetime import UTC, datetime


class SimulatedClock:
    def __init__(self) -> None:
        self._offset_s = 0.0
        self._frozen_at: float | None = None

    def time(self) -> float:
        """Returns epoch seconds."""
        return self._frozen_at if self._frozen_at is not None else time.time() + self._offset_s

    def now(self) -> datetime:
        return datetime.fromtimestamp(self.time(), UTC)

    def freeze(self, at: float) -> None:
        """Stands still at `at` (epoch seconds) until moved."""
        self._frozen_at = at

    def shift(self, seconds: float) -> None:
        """Runs, `seconds` away from real time; 0 is real time."""
        self._frozen_at = None
        self._offset_s = seconds
