"""What the worker does: kinds of work that is found due in the tables, and how a batch of each is worked."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from typing import Any

from joinder.runtime.hub import Hub


@dataclass(frozen=True)
class Job:
    """One kind of due work.

    `due` answers the keys (a vendor app, a webhook endpoint) that have work now. `work` takes a batch of one key, each
    row under its own lease; it runs in any process, more than once, and finding nothing is fine. Neither remembers
    anything: what a crash leaves behind is found again.
    """

    name: str
    due: Callable[[Hub], Awaitable[list[str]]]
    work: Callable[[Hub, str], Coroutine[Any, Any, None]]
