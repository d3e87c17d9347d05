"""Fair reads: how much of a vendor's minute one caller may spend on history that nobody has asked for yet.

At most half of what is left when the caller's first such call of the minute is made: whoever reads a year of a fleet
leaves the others, and its own next look at one home, the other half.
"""

from __future__ import annotations

from contextvars import ContextVar
from datetime import timedelta

from joinder.services.calls.call_refusals import ShareSpent
from joinder.services.calls.call_windows import CallWindow

_reader: ContextVar[str | None] = ContextVar("reader", default=None)


class FairShares:
    """What each reader of one app may still spend in the running minute, in this process."""

    def __init__(self) -> None:
        self._minute: CallWindow | None = None
        self._left: dict[str, int] = {}

    def take(self, minute: CallWindow, left: int, moment: int) -> None:
        """Takes a call of the reader's share; `left`: calls of the minute that nobody made yet. Raises ShareSpent."""
        who = reader()
        if who is None:
            return
        if self._minute != minute:
            self._minute, self._left = minute, {}
        share = self._left.setdefault(who, max(1, left // 2))
        if share == 0:
            wait = timedelta(seconds=max(1, minute.end - moment))
            raise ShareSpent("Your share of this vendor's calls is spent for this minute", retry_after=wait)
        self._left[who] = share - 1


def reader() -> str | None:
    """Returns who reads history in this task; None: nobody whose share is counted."""
    return _reader.get()


def name_reader(reader: str | None) -> None:
    """Says who reads history in this task, and in those it starts."""
    _reader.set(reader)
