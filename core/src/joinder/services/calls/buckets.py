"""Token buckets of strangers and of clients, in memory that is bounded whatever they send.

Own code: what the registries have (limits, pyrate-limiter) keeps a sender's text as its key, and as many as come.
"""

from __future__ import annotations

import hashlib
import math
from collections import OrderedDict
from typing import NamedTuple

from joinder.clock import monotonic

KEYS_MOST = 20_000  # some 150 bytes each; the ones that were not used for longest are forgotten
MINUTE_S = 60.0


class Balance(NamedTuple):
    """What a bucket holds after `spend`."""

    wait_s: float  # until there is one; 0 where one was taken
    left: int
    full_in_s: float


class Buckets:
    """One bucket a key, full at first: `per_minute` at once, then as many a minute.

    `overdrawn_most_s`: one from which more was taken is full again after so long at most.
    """

    def __init__(self, per_minute: int, keys_most: int = KEYS_MOST, *, overdrawn_most_s: float = math.inf) -> None:
        self._span_s = MINUTE_S / per_minute
        self._overdrawn_most_s = overdrawn_most_s
        self._keys_most = keys_most
        self._full_at: OrderedDict[bytes, float] = OrderedDict()  # by a hash, for a key has any length; monotonic

    def __len__(self) -> int:
        return len(self._full_at)

    def wait_s(self, key: str, *, share: float = 1.0) -> float:
        """Seconds until `take` has one, 0 now. `share`: the part of the bucket that may be emptied."""
        lacking_s = self._full_at.get(_hashed(key), 0.0) - monotonic()
        return max(0.0, round(lacking_s + self._span_s - MINUTE_S * share, 3))

    def left(self, key: str) -> int:
        """How many `take`s there are now."""
        return self._left(max(0.0, self._full_at.get(_hashed(key), 0.0) - monotonic()))

    def spend(self, key: str) -> Balance:
        """Takes one where there is one, by a single look: some requests pay here thousands of times a second."""
        hashed, moment = _hashed(key), monotonic()
        lacking_s = max(0.0, self._full_at.get(hashed, 0.0) - moment)
        wait_s = max(0.0, round(lacking_s + self._span_s - MINUTE_S, 3))
        lacking_s += self._span_s if wait_s == 0 else 0
        self._keep(hashed, moment + lacking_s)  # also of who is refused, or others would have it forgotten
        return Balance(wait_s, self._left(lacking_s), lacking_s)

    def is_full(self, key: str) -> bool:
        return self._full_at.get(_hashed(key), 0.0) <= monotonic()

    def take(self, key: str) -> None:
        """Also where none is left: ask `wait_s` before."""
        hashed, moment = _hashed(key), monotonic()
        full_at = max(self._full_at.get(hashed, 0.0), moment) + self._span_s
        self._keep(hashed, min(full_at, moment + self._overdrawn_most_s))

    def give_back(self, key: str) -> None:
        hashed = _hashed(key)
        if hashed in self._full_at:
            self._full_at[hashed] -= self._span_s

    def _left(self, lacking_s: float) -> int:
        return max(0, int((MINUTE_S - lacking_s) / self._span_s + 1e-6))

    def _keep(self, hashed: bytes, full_at: float) -> None:
        self._full_at[hashed] = full_at
        self._full_at.move_to_end(hashed)
        if len(self._full_at) > self._keys_most:
            self._full_at.popitem(last=False)


def _hashed(key: str) -> bytes:
    return hashlib.blake2b(key.encode(errors="surrogatepass"), digest_size=16).digest()
