"""What happened hour by hour: renewals, polls and failures by vendor, counted in memory and added up in `tally`."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping, Sequence

from joinder.clock import now
from joinder.observe.metrics import Metrics
from joinder.store.types import Store
from joinder.trouble import StoreTrouble

HOUR_S = 3600
HOURS = 24
KEPT_S = 7 * 86400
WRITTEN_EVERY_S = 15
KINDS = ("refreshed", "polled", "failed")
_ADD = (
    'INSERT INTO tally (hour, vendor, what, "count") VALUES (:hour, :vendor, :what, :count) '
    'ON CONFLICT (hour, vendor, what) DO UPDATE SET "count" = tally."count" + excluded."count"'
)
_FORGET = "DELETE FROM tally WHERE hour < :before"
_SINCE = 'SELECT vendor, what, hour, "count" FROM tally WHERE hour >= :since'
log = logging.getLogger("joinder.activity")


class Activity:
    """Of one process, which alone knows what it counted since it last wrote."""

    def __init__(self, store: Store, metrics: Metrics) -> None:
        self._store = store
        self._metrics = metrics
        self._written_at = now()

    async def flush_sometimes(self) -> None:
        if abs(now() - self._written_at) >= WRITTEN_EVERY_S:
            self._written_at = now()
            await self.flush()

    async def flush(self) -> None:
        """Adds what was counted since the last time. What cannot be written is counted on."""
        counted, self._metrics.tally = self._metrics.tally, Counter()
        if not counted:
            return
        hour = _hour()
        adds = [
            (_ADD, {"hour": hour, "vendor": vendor, "what": what, "count": count})
            for (vendor, what), count in sorted(counted.items())
        ]
        try:
            await self._store.apply(*adds, (_FORGET, {"before": hour - KEPT_S}))
        except StoreTrouble as trouble:
            self._metrics.tally.update(counted)
            log.warning("tallies are not written down yet: %s", trouble)


async def last_day(store: Store) -> Mapping[str, list[int]]:
    """Reads for each of KINDS 24 counts over all vendors, the running hour last. Workers write every 15 s."""
    return in_all(await last_day_by_vendor(store))


def in_all(by_vendor: Mapping[str, Mapping[str, Sequence[int]]]) -> dict[str, list[int]]:
    """Adds up the counts of all vendors, for each of KINDS."""
    return {
        what: [sum(counts) for counts in zip([0] * HOURS, *(found[what] for found in by_vendor.values()), strict=True)]
        for what in KINDS
    }


async def last_day_by_vendor(store: Store) -> dict[str, dict[str, list[int]]]:
    """Reads vendor → for each of KINDS 24 counts, the running hour last."""
    first = _hour() - (HOURS - 1) * HOUR_S
    found: dict[str, dict[str, list[int]]] = {}
    for vendor, what, at, count in await store.rows(_SINCE, {"since": first}):
        index = (int(at) - first) // HOUR_S
        if what in KINDS and 0 <= index < HOURS:
            found.setdefault(vendor, {kind: [0] * HOURS for kind in KINDS})[what][index] = int(count)
    return found


def _hour() -> int:
    return now() - now() % HOUR_S
