"""Days of renewals in seconds: the services share one clock that tests move, and due work is done at its time."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from sqlmodel import col, select

from joinder.runtime import due
from joinder.runtime.hub import Hub
from joinder.runtime.worker import _refresh
from joinder.services.grants import refresh
from joinder.store.tables import Due, Enrollment, Event, GrantRow

MINUTE, HOUR, DAY = 60, 3600, 86400
RENEWALS = due.Kind(refresh.KIND, _refresh, nearest_to_expiry_first=True)
_NEXT = "SELECT enrollment_id, due_at FROM due WHERE kind = 'refresh' ORDER BY due_at LIMIT 1"


@dataclass
class Clock:
    """Stands in for `joinder.clock.civil_time`."""

    at: float = field(default_factory=lambda: float(int(time.time())))

    def time(self) -> float:
        return self.at


async def renewals_until(hub: Hub, clock: Clock, end: float) -> None:
    """Every renewal that comes due before `end` is done at its time, as the worker does it."""
    while True:
        enrollment_id, due_at = (await hub.store.rows(_NEXT, {}))[0]
        if due_at >= end:
            break
        clock.at = max(clock.at, due_at)
        await due.run_one(hub, RENEWALS, (await RENEWALS._next(hub, await app_of(hub, enrollment_id), 0))[0])
    clock.at = max(clock.at, end)


async def app_of(hub: Hub, enrollment_id: str) -> str:
    return str((await due_of(hub, enrollment_id)).app)


async def due_of(hub: Hub, enrollment_id: str, kind: str = refresh.KIND) -> Due:
    async with hub.store.read() as session:
        row = await session.get(Due, (kind, enrollment_id))
    assert row is not None
    return row


async def rows_of(hub: Hub, enrollment_id: str) -> tuple[Enrollment, GrantRow]:
    async with hub.store.read() as session:
        enrollment = await session.get(Enrollment, enrollment_id)
        grant = await session.get(GrantRow, enrollment_id)
    assert enrollment is not None
    assert grant is not None
    return enrollment, grant


async def healths(hub: Hub) -> dict[str, int]:
    """How many are in each state."""
    return dict(
        tuple(row) for row in await hub.store.rows("SELECT health, count(*) FROM enrollment GROUP BY health", {})
    )


async def well_and_not(hub: Hub) -> dict[str, int]:
    """As `healths`, where it does not matter which of them were read already."""
    counts = await healths(hub)
    well = counts.pop("ok", 0) + counts.pop("connecting", 0)
    return {"well": well, **counts}


async def told(hub: Hub, *states: str) -> list[Event]:
    """Changes into these states that were written for the webhooks."""
    async with hub.store.read() as session:
        query = select(Event).where(col(Event.type) == "enrollment.health").order_by(col(Event.at))
        return [event for event in (await session.execute(query)).scalars() if event.data["to"] in states]


async def move_due(hub: Hub, enrollment_id: str, at: float, kind: str = refresh.KIND) -> None:
    async with hub.store.write(enrollment_id) as session:
        row = await session.get(Due, (kind, enrollment_id))
        assert row is not None
        row.due_at = int(at)
