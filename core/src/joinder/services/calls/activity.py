"""What happened hour by hour: renewals, polls and failures by vendor, counted in memory and added up in `tally`."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping

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
_SINCE = 'SELECT what, hour, sum("count") FROM tally WHERE hour >= :since GROUP BY what, hour'
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
    first = _hour() - (HOURS - 1) * HOUR_S
    found = {what: [0] * HOURS for what in KINDS}
    for what, at, count in await store.rows(_SINCE, {"since": first}):
        index = (int(at) - first) // HOUR_S
        if what in found and 0 <= index < HOURS:
            found[what][index] = int(count)
    return found


def _hour() -> int:
    return now() - now() % HOUR_S
