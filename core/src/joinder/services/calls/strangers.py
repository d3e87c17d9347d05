"""What people without an account may cost: budgets before any row is written for them or a vendor is called.

Of one process. Whoever may be told apart pays first: a browser, an address, then the flow, at last the vendor. An
address or a browser whose tries came to nothing lately leaves half of what is shared to those who come for the first
time. Each such try is remembered for a minute, an hour of them at most: were it forgotten as soon as another is
allowed, those who wait a little between tries would have all. What ends in an enrollment costs nothing. Who has nothing
left is sent away before anything is read (`admit`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal

from joinder.services.calls.buckets import Buckets

SHARE_OF_REFUSED = 0.5
REMEMBERED_MOST_S = 3600.0
ASKED_PER_MINUTE = 1200  # a join is ten requests at most, pictures and styles included
Act = Literal["starts", "attempts"]


@dataclass(frozen=True)
class Guest:
    """Who asks, as far as it is known; None is not counted."""

    address: str | None = None
    browser: str | None = field(default=None, repr=False)


class SlowDown(Exception):
    """Too much was asked for; `retry_after_s` from now it may work."""

    def __init__(self, wait_s: float) -> None:
        super().__init__("too many strangers")
        self.retry_after_s = max(1, math.ceil(wait_s))


@dataclass(frozen=True, kw_only=True)
class Tier:
    """The budgets of one act, a minute each."""

    address: Buckets
    browser: Buckets
    flow: Buckets
    vendor: Buckets | None = None
    tried: Buckets = field(default_factory=lambda: Buckets(1, overdrawn_most_s=REMEMBERED_MOST_S))

    def spend(self, guest: Guest, flow: str, vendor: str = "") -> Spent:
        """Takes from all of them, or from none. Raises SlowDown."""
        return Spent(self.has_some(guest, flow, vendor))

    def has_some(self, guest: Guest, flow: str | None = None, vendor: str | None = None) -> list[tuple[Buckets, str]]:
        """Returns the buckets that one more is to be taken from, as far as it is known from which. Raises SlowDown."""
        own = _known((self.browser, guest.browser), (self.address, guest.address))
        shared = _known((self.flow, flow), (self.vendor, vendor))
        tries = [f"{what} {key}" for what, key in (("browser", guest.browser), ("address", guest.address)) if key]
        share = 1.0 if all(map(self.tried.is_full, tries)) else SHARE_OF_REFUSED
        waits = [buckets.wait_s(key) for buckets, key in own]
        waits += [buckets.wait_s(key, share=share) for buckets, key in shared]
        if max(waits, default=0) > 0:
            raise SlowDown(max(waits))
        return [*own, *shared, *((self.tried, key) for key in tries)]


def _known(*places: tuple[Buckets | None, str | None]) -> list[tuple[Buckets, str]]:
    return [(buckets, key) for buckets, key in places if buckets is not None and key is not None]


class Spent:
    def __init__(self, places: list[tuple[Buckets, str]]) -> None:
        self._places = places
        for buckets, key in places:
            buckets.take(key)

    def give_back(self) -> None:
        for buckets, key in self._places:
            buckets.give_back(key)


class Strangers:
    """Beginning to join writes a row; an attempt asks the vendor whether a code, or what was entered, is right.

    Whatever else an address asks for is read from the store, and counted too.
    """

    def __init__(self) -> None:
        self.asked = Buckets(ASKED_PER_MINUTE)
        self.starts = Tier(address=Buckets(60), browser=Buckets(20), flow=Buckets(1200))
        self.attempts = Tier(address=Buckets(20), browser=Buckets(10), flow=Buckets(120), vendor=Buckets(300))

    def admit(self, guest: Guest, act: Act | None, flow: str | None) -> None:
        """Lets one more request in. `act`: what it may turn out to be, which is spent only then. Raises SlowDown."""
        wait_s = self.asked.spend(guest.address).wait_s if guest.address is not None else 0
        if wait_s > 0:
            raise SlowDown(wait_s)
        if act is not None:
            tier: Tier = getattr(self, act)
            tier.has_some(guest, flow)
