"""Token buckets of those who have no account, in memory that is bounded whatever they send.

Own code: what the registries have (limits, pyrate-limiter) keeps a sender's text as its key, and as many as come.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict

from joinder.clock import monotonic

KEYS_MOST = 20_000  # some 150 bytes each; the ones that were not used for longest are forgotten
MINUTE_S = 60.0


class Buckets:
    """One bucket a key, full at first: `per_minute` at once, then as many a minute."""

    def __init__(self, per_minute: int, keys_most: int = KEYS_MOST) -> None:
        self._span_s = MINUTE_S / per_minute
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
        lacking_s = max(0.0, self._full_at.get(_hashed(key), 0.0) - monotonic())
        return max(0, int((MINUTE_S - lacking_s) / self._span_s + 1e-6))

    def is_full(self, key: str) -> bool:
        return self._full_at.get(_hashed(key), 0.0) <= monotonic()

    def take(self, key: str) -> None:
        """Also where none is left: ask `wait_s` before."""
        hashed = _hashed(key)
        self._full_at[hashed] = max(self._full_at.pop(hashed, 0.0), monotonic()) + self._span_s
        if len(self._full_at) > self._keys_most:
            self._full_at.popitem(last=False)

    def give_back(self, key: str) -> None:
        hashed = _hashed(key)
        if hashed in self._full_at:
            self._full_at[hashed] -= self._span_s


def _hashed(key: str) -> bytes:
    return hashlib.blake2b(key.encode(errors="surrogatepass"), digest_size=16).digest()
