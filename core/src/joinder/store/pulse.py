"""Since when this process has had answers from its database: what leases are judged by.

`joinder.trouble.Outage` is what people are told: it calls trouble that comes and goes one trouble.
"""

from __future__ import annotations

import time

from joinder.trouble import StoreTrouble

STANDS_BACK_S = 20.0  # longer than a holder waits before it renews its lease
SHORT_S = 5.0  # in which no lease runs out: what fails while other writes are answered is no trouble of leases


class Pulse:
    """Told by the store of each write on the driver. `trouble`: of the last one, unless it worked.

    A process that has just begun has had no trouble.
    """

    def __init__(self) -> None:
        self.trouble: StoreTrouble | None = None
        self._since = self._answered_at = time.monotonic()
        self._was_away = False

    def answered(self) -> None:
        """Ends a trouble."""
        moment = time.monotonic()
        if self.trouble is not None and moment - self._answered_at > SHORT_S:
            self._was_away, self._since = True, moment
        self.trouble, self._answered_at = None, moment

    def failed(self, trouble: StoreTrouble) -> None:
        self.trouble = trouble

    def answers_for_s(self) -> float:
        """Returns the seconds for which the store has answered; 0 in the middle of a trouble."""
        return 0.0 if self.trouble is not None else time.monotonic() - self._since

    def patience_s(self) -> float:
        """Returns how many seconds ago a lease must have run out to be nobody's.

        A lease counts only time in which the store answered. Without end just after a trouble, for as long as who holds
        one needs to renew it.
        """
        is_away = self.trouble is not None
        return float("1e9") if is_away or (self._was_away and self.answers_for_s() < STANDS_BACK_S) else 0.0
