"""Trouble of our own store: what is raised for it, and what the log says of it.

It is never a vendor's fault nor a grant's, and it passes: who asked is told to come back, work that is due is found
again. Log lines that hold a StoreTrouble are limited (logs.py), so it is given to them as it is.
"""

from __future__ import annotations

import logging
from contextvars import Context
from dataclasses import dataclass, field
from typing import ClassVar

from joinder.clock import monotonic

FLAPS_S = 60.0  # trouble that comes back so soon was not over
QUIET_S = 16.0  # and then is over when nothing failed for so long: at most four times a minute
log = logging.getLogger("joinder.store")


class StoreTrouble(Exception):
    """The database did not carry something out, or did not say that it did. The text names the driver's error only."""

    problem: ClassVar[str] = "store-unavailable"
    retry_after_s: ClassVar[int] = 5


class StoreFull(StoreTrouble):
    """No room left on the disk."""


class StoreAway(StoreTrouble):
    """It cannot be reached, or takes nobody in now."""


class NotDurable(StoreTrouble):
    """It answers, but a new token would not be safe in it. The text is a sentence for the operator."""

    retry_after_s = 60


class StoreOrphaned(NotDurable):
    """What is written would be found by nobody: the file, or its log, is not in its place. The text is a sentence."""


class StoreRefused(StoreTrouble):
    """It did not carry out this very statement and never will: a bug of ours, which does not pass."""


@dataclass
class Answered:
    """How a trouble ended, for the one log line that tells; logs.py counts what it left out."""

    after_s: float
    left_out: int = 0

    def __str__(self) -> str:
        return f"{self.after_s:.0f} s" + (f", {self.left_out} lines left out" if self.left_out else "")


@dataclass
class Outage:
    """Whether a store is in trouble, and since when. `trouble` is the last of it.

    Where somebody watches (`is_told`) the log says when it begins and when it is over; a command says it itself.
    """

    is_told: bool = False
    trouble: StoreTrouble | None = None
    _began_at: float = field(default=0.0, repr=False)
    _failed_at: float = field(default=0.0, repr=False)
    _answered_at: float | None = field(default=None, repr=False)  # for the first time since it failed last
    _told_at: float = field(default=float("-inf"), repr=False)

    def begin(self, trouble: StoreTrouble) -> None:
        """Notes that something failed. To be called as often as something does."""
        if isinstance(trouble, StoreRefused):
            return
        moment = monotonic()
        if self.trouble is None:
            self._began_at = moment
        if self.trouble is None and self.is_told:
            _tell(logging.ERROR, "the database is in trouble: %s", trouble)
        self.trouble, self._failed_at, self._answered_at = trouble, moment, None

    def end(self, asked_at: float) -> None:
        """Notes that a write worked that was begun at `asked_at` (seconds of the monotonic clock).

        To be called as often as one does.
        """
        if self.trouble is None or asked_at < self._failed_at:
            return
        moment = monotonic()
        self._answered_at = self._answered_at or moment
        if moment - self._told_at < FLAPS_S and moment - self._failed_at < QUIET_S:
            return
        if self.is_told:
            _tell(logging.WARNING, "the database answers again after %s", Answered(self._answered_at - self._began_at))
        self.trouble, self._told_at = None, moment


def _tell(level: int, text: str, told: StoreTrouble | Answered) -> None:
    """Logs as of nobody's request, enrollment or vendor."""
    Context().run(log.log, level, text, told)
