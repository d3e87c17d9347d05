"""Many grants of one vendor refused at once are the vendor's trouble until proven otherwise (reliability R8).

While the brake holds, nobody's owner is asked to consent again: the enrollments are `suspected` and asked about every
half hour. After a day of refusals it lets go.
"""

from __future__ import annotations

import random

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from joinder.clock import now
from joinder.services import health, leases
from joinder.services.hub import Hub
from joinder.store.tables import Enrollment, GrantRow

WINDOW_S = 900
LEAST = 5
SHARE = 0.05
TEST_EVERY_S = 1800
GIVE_UP_S = 86400
REASON = "Many grants of this vendor were refused at once; Joinder asks again every half hour."
_DYING = text(
    'SELECT count(*) FROM "grant" g JOIN enrollment e ON e.id = g.enrollment_id '
    "WHERE e.vendor = :vendor AND (g.refused_at > :since OR g.suspected_at IS NOT NULL)"
)
_ALL = text("SELECT count(*) FROM enrollment WHERE vendor = :vendor")
_HASTY = (
    'SELECT e.id FROM enrollment e JOIN "grant" g ON g.enrollment_id = e.id WHERE e.vendor = :vendor '
    "AND e.health = 'needs_consent' AND e.health_since > :since AND g.refused_at IS NOT NULL"
)


async def holds(session: AsyncSession, vendor: str, suspected_at: int | None) -> bool:
    """Whether too many of the vendor's grants are dying to believe it of one more."""
    if suspected_at is not None and now() - suspected_at > GIVE_UP_S:
        return False
    dying = (await session.execute(_DYING, {"vendor": vendor, "since": now() - WINDOW_S})).scalar_one()
    if dying < LEAST:
        return False
    enrolled = (await session.execute(_ALL, {"vendor": vendor})).scalar_one()
    return bool(dying > SHARE * enrolled)


async def recall(hub: Hub, vendor: str) -> None:
    """Those that were believed dead just before the brake took hold."""
    rows = await hub.store.rows(_HASTY, {"vendor": vendor, "since": now() - WINDOW_S})
    for (enrollment_id,) in rows:
        async with hub.store.write(enrollment_id) as session:
            enrollment = await session.get(Enrollment, enrollment_id)
            grant = await session.get(GrantRow, enrollment_id)
            if enrollment is None or grant is None or enrollment.health != "needs_consent":
                continue
            grant.suspected_at = now()
            health.change(session, enrollment, "suspected", REASON)
            await leases.schedule(session, "refresh", enrollment_id, next_test())


def next_test() -> int:
    return now() + int(TEST_EVERY_S * random.uniform(0.9, 1.1))  # noqa: S311 - spreading load
