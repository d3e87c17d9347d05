"""The whole installation at a glance, for the admin, who sees every account: who must act, what ends next, what ran."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from joinder.clock import now
from joinder.runtime.hub import Hub
from joinder.services.admin import site_names
from joinder.services.records import health

ENDING_SHOWN = 8
_COUNTS = (
    "SELECT vendor, health, health_actor, count(*), sum(CASE WHEN paused_at IS NULL THEN 0 ELSE 1 END) "
    "FROM enrollment GROUP BY vendor, health, health_actor"
)
_ENDING = (
    "SELECT enrollment_id, vendor, ends FROM (SELECT g.enrollment_id, e.vendor, "
    "CASE WHEN e.vendor IN ({renewable}) THEN g.refresh_expires_at ELSE g.expires_at END AS ends "
    'FROM "grant" g JOIN enrollment e ON e.id = g.enrollment_id '
    "WHERE e.health NOT IN ('needs_consent', 'lost_in_flight')) AS g "
    "WHERE ends > :now ORDER BY ends LIMIT :most"
)


@dataclass(frozen=True, kw_only=True)
class Count:
    """Enrollments of one vendor in one state of health that wait for the same; `paused` of them are paused."""

    vendor: str
    health: str
    actor: str
    count: int
    paused: int

    @property
    def is_ended(self) -> bool:
        return health.is_ended(self.health, self.actor)


@dataclass(frozen=True, kw_only=True)
class Ending:
    """A consent that ends at `ends_at` (epoch seconds) unless it is renewed, by Joinder or by the owner."""

    enrollment_id: str
    vendor: str
    ends_at: int
    site_name: str | None = None


async def counts(hub: Hub) -> list[Count]:
    """Counts them by vendor, health and who must act, which an application that was ended tells apart."""
    found: dict[tuple[str, str, str], tuple[int, int]] = {}
    for vendor, state, actor, count, paused in await hub.store.scan(_COUNTS, {}):
        key = (str(vendor), str(state), str(actor or health.actor_of(str(state))))
        known = found.get(key, (0, 0))
        found[key] = (known[0] + int(count), known[1] + int(paused))
    return [
        Count(vendor=vendor, health=state, actor=actor, count=count, paused=paused)
        for (vendor, state, actor), (count, paused) in sorted(found.items())
    ]


async def ending(hub: Hub) -> list[Ending]:
    """Lists the consents that end next. Walks all grants: for a screen that asks now and then."""
    renewable = [v.name for v in hub.registry.vendors if v.is_renewable]
    names = {f"vendor_{index}": name for index, name in enumerate(renewable)}
    sql = _ENDING.format(renewable=", ".join(f":{name}" for name in names) or "''")
    rows: Sequence[Sequence[object]] = await hub.store.scan(sql, {**names, "now": now(), "most": ENDING_SHOWN})
    names = await site_names.of_enrollments(hub, [str(row[0]) for row in rows])
    return [
        Ending(
            enrollment_id=str(row[0]), vendor=str(row[1]), ends_at=int(str(row[2])), site_name=names.get(str(row[0]))
        )
        for row in rows
    ]
