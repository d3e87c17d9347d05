"""Since when this process has had answers from its database."""

from __future__ import annotations

import time

STANDS_BACK_S = 20.0  # longer than a holder waits before it renews its lease


class Pulse:
    """Told by the store of each write on the driver. A process that has just begun has had no trouble."""

    def __init__(self) -> None:
        self._since = time.monotonic()
        self._is_away = False
        self._was_away = False

    def answered(self) -> None:
        """Ends a trouble."""
        if self._is_away:
            self._is_away, self._was_away, self._since = False, True, time.monotonic()

    def failed(self) -> None:
        self._is_away = True

    def answers_for_s(self) -> float:
        """0 in the middle of a trouble."""
        return 0.0 if self._is_away else time.monotonic() - self._since

    def patience_s(self) -> float:
        """How long ago a lease must have run out to be nobody's: a lease counts only time in which the store answered.

        Without end just after a trouble, for as long as who holds one needs to renew it.
        """
        return float("1e9") if self._is_away or (self._was_away and self.answers_for_s() < STANDS_BACK_S) else 0.0
