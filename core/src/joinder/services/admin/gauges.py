"""Figures that lie in the tables, read when Prometheus asks and kept for a few seconds, and the page it gets."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeVar

from prometheus_client import Gauge, generate_latest

from joinder.clock import now
from joinder.observe.metrics import BREAKER_STATES
from joinder.runtime.hub import Hub
from joinder.services.calls.call_windows import spans
from joinder.store.driver_errors import said

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
KEPT_S = 10.0
KINDS = ("refresh", "poll", "approval", "expiry", "backfill", "sites")
Labels = TypeVar("Labels", bound=tuple[str, ...])
log = logging.getLogger("joinder.metrics")
_OLDEST = (  # of every app: one walk over the index due_by_app
    "SELECT coalesce(c.vendor, d.app), d.oldest FROM "
    "(SELECT app, min(due_at) AS oldest FROM due WHERE kind = :kind AND due_at <= :now GROUP BY app) AS d "
    "LEFT JOIN vendor_credentials AS c ON c.id = d.app"
)
_OLDEST_DELIVERY = "SELECT min(due_at) FROM delivery WHERE status = 'pending' AND due_at <= :now"
_HEALTHS = "SELECT vendor, health, count(*) FROM enrollment GROUP BY vendor, health"
_USED = (
    'SELECT coalesce(c.vendor, q.app), q.span, q."window", max(q.used) FROM quota AS q '
    "LEFT JOIN vendor_credentials AS c ON c.id = q.app "
    "WHERE q.\"window\" >= :since AND q.span <> 'blocked' GROUP BY 1, 2, 3"
)


@dataclass
class Gauges:
    """What was read, and when; one per page."""

    hub: Hub
    _read_at: float | None = None
    _reading: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def page(self) -> bytes:
        """Returns the metrics in Prometheus' text format.

        A database that does not answer leaves the gauges of the tables out.
        """
        async with self._reading:
            if self._read_at is None or time.monotonic() - self._read_at > KEPT_S:
                await self._read()
                self._read_at = time.monotonic()
        return generate_latest(self.hub.metrics.registry)

    async def _read(self) -> None:
        metrics = self.hub.metrics
        _fill(metrics.clock_skew, {(vendor,): skew for vendor, skew in self.hub.http.skew.seen().items()})
        metrics.tokens_unsaved.set(len(self.hub.unsaved))
        states = self.hub.breakers.states()
        _fill(metrics.breaker_state, {key: BREAKER_STATES.get(state, 2) for key, state in states.items()})
        try:
            await self._read_tables()
            metrics.store_up.set(1)
        except Exception as error:  # noqa: BLE001 - the other figures matter most when the database is away
            log.warning("the tables cannot be read for /metrics: %s", said(error))
            for gauge in (metrics.refresh_due_age, metrics.due_age, metrics.enrollments, metrics.quota_left):
                gauge.clear()
            metrics.store_up.set(0)

    async def _read_tables(self) -> None:
        hub, metrics = self.hub, self.hub.metrics
        vendors = [vendor.name for vendor in hub.registry.vendors]
        ages = {kind: await self._ages(kind) for kind in KINDS}
        renewals = {vendor: ages["refresh"].get(vendor, 0.0) for vendor in {*vendors, *ages["refresh"]}}
        _fill(metrics.refresh_due_age, {(vendor,): age for vendor, age in renewals.items()})
        oldest = {(kind,): max(by_vendor.values(), default=0.0) for kind, by_vendor in ages.items()}
        _fill(metrics.due_age, oldest | {("delivery",): await self._delivery_age()})
        counts = await hub.store.scan(_HEALTHS, {})
        _fill(metrics.enrollments, {(row[0], row[1]): row[2] for row in counts})
        _fill(metrics.quota_left, await quota_left(self.hub))

    async def _ages(self, kind: str) -> dict[str, float]:
        """Reads vendor → seconds for which its oldest work of the kind has been due."""
        ages: dict[str, float] = {}
        for vendor, oldest in await self.hub.store.scan(_OLDEST, {"kind": kind, "now": now()}):
            ages[vendor] = max(ages.get(vendor, 0.0), float(now() - oldest))
        return ages

    async def _delivery_age(self) -> float:
        ((oldest,),) = await self.hub.store.scan(_OLDEST_DELIVERY, {"now": now()})
        return 0.0 if oldest is None else float(now() - oldest)


async def quota_left(hub: Hub) -> dict[tuple[str, str], float]:
    """Reads (vendor, span) → the least left of any app, 0 to 1, in the running window."""
    limited = [(vendor.name, span) for vendor in hub.registry.vendors for span in spans(vendor.limits, now())]
    since = min((span.start for _, span in limited), default=now())
    rows = await hub.store.scan(_USED, {"since": since})
    used = {(row[0], row[1], row[2]): row[3] for row in rows}
    return {
        (vendor, span.name): max(0.0, 1 - used.get((vendor, span.name, span.start), 0) / span.limit)
        for vendor, span in limited
    }


def _fill(gauge: Gauge, values: Mapping[Labels, float]) -> None:
    """Sets these series and no other: what is gone from the tables must not stay."""
    gauge.clear()
    for labels, value in values.items():
        gauge.labels(*labels).set(value)
