"""Where the breakers of all processes stand, for whoever looks into the store: a terminal, `joinder status`, the API.

A process writes its own when one of them changes, and once a minute that they still stand so; never for a call. What a
process has not repeated for minutes is nobody's word any more.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass

from purgatory.domain.model import CLOSED

from joinder.clock import monotonic, now
from joinder.services.calls.breakers import WORST, Breakers
from joinder.store.driver_errors import said
from joinder.store.types import Store, Upsert
from joinder.trouble import StoreTrouble

LOOK_EVERY_S = 1.0
REPEATED_EVERY_S = 60
BELIEVED_S = 150
# What was told by a clock far ahead, which was put right since, would be believed for as long as it was ahead.
_FORGET = "DELETE FROM breaker WHERE process = :process OR told_at < :before OR told_at > :after"
_STANDING = (
    "SELECT vendor, hook, state, since FROM breaker "
    "WHERE told_at >= :since AND told_at <= :until AND process <> :besides"
)
log = logging.getLogger("joinder.breakers")
_States = Mapping[tuple[str, str], tuple[str, int]]  # (vendor, hook) → state, since


@dataclass(frozen=True, kw_only=True)
class Standing:
    """The worst over all processes, and since when."""

    vendor: str
    hook: str
    state: str  # closed | half-opened | opened
    since: int

    @property
    def is_closed(self) -> bool:
        return self.state == CLOSED


class Told:
    """What one process has written of its breakers."""

    def __init__(self, store: Store, breakers: Breakers, process: str) -> None:
        self._store = store
        self._breakers = breakers
        self._process = process
        self._states: _States = {}  # as written
        self._seen: _States = {}  # as seen last: they stand so since then, whenever it could be written
        self._at = float("-inf")

    async def tell(self) -> None:
        """Writes where they stand, if that is news or a minute has passed. Raises StoreTrouble; it is news still."""
        self._seen = states = {key: self._since(key, state) for key, state in self._breakers.states().items()}
        if states == self._states and (not states or monotonic() - self._at < REPEATED_EVERY_S):
            return
        moment = now()
        records = [(self._process, *key, state, since, moment) for key, (state, since) in sorted(states.items())]
        rows = Upsert("breaker", ("process", "vendor", "hook"), ("state", "since", "told_at"), records)
        await self._store.apply(self._forgetting(moment), rows)
        self._states, self._at = states, monotonic()

    async def leave(self) -> None:
        """Takes back what was written: a process that is gone calls nobody."""
        if self._states:
            await self._store.apply(self._forgetting(now()))
            self._states = {}

    def _since(self, key: tuple[str, str], state: str) -> tuple[str, int]:
        known = self._seen.get(key)
        return known if known is not None and known[0] == state else (state, now())

    def _forgetting(self, moment: int) -> tuple[str, Mapping[str, object]]:
        return _FORGET, {"process": self._process, "before": moment - BELIEVED_S, "after": moment + BELIEVED_S}


@asynccontextmanager
async def told(store: Store, breakers: Breakers, process: str) -> AsyncIterator[None]:
    """Keeps the store informed beside the block."""
    telling = Told(store, breakers, process)
    task = asyncio.create_task(_keep_telling(telling))
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        with suppress(StoreTrouble):
            await telling.leave()


async def standing(store: Store, *, besides: str = "") -> list[Standing]:
    """Reads where each breaker stands, by vendor and hook, in any process but `besides`.

    One that nobody called through is not there.
    """
    worst: dict[tuple[str, str], Standing] = {}
    moment = now()
    believed = {"since": moment - BELIEVED_S, "until": moment + BELIEVED_S, "besides": besides}
    for vendor, hook, state, since in await store.rows(_STANDING, believed):
        one = Standing(vendor=vendor, hook=hook, state=state, since=int(since))
        known = worst.get((vendor, hook))
        if known is None or _badness(one) > _badness(known):
            worst[vendor, hook] = one
    return [worst[key] for key in sorted(worst)]


def worst_of(standings: Iterable[Standing]) -> Standing | None:
    """Returns the one that keeps most from being called, and of those as bad the oldest; None where there is none."""
    return max(standings, key=_badness, default=None)


def _badness(one: Standing) -> tuple[int, int]:
    return (WORST.index(one.state) if one.state in WORST else len(WORST)), -one.since


async def _keep_telling(telling: Told) -> None:
    while True:
        try:
            await telling.tell()
        except StoreTrouble:
            pass  # told where it was noticed; asked again in a second
        except Exception as error:  # noqa: BLE001 - one look that failed must not be the last
            log.error("where the breakers stand is not written down: %s", said(error))
        await asyncio.sleep(LOOK_EVERY_S)
