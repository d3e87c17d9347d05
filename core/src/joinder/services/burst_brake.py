"""Many grants of one vendor refused at once are the vendor's trouble until proven otherwise (reliability R8).

While the brake holds, nobody's owner is asked to consent again: the enrollments are `suspected` and asked about every
half hour. After a day of refusals it lets go of each. "At once" is within a quarter of an hour, or since the vendor
last renewed anybody's: tokens that end hours apart are refused hours apart, too.
"""

from __future__ import annotations

import logging
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
log = logging.getLogger("joinder.refresh")
_RENEWED = text(
    'SELECT max(g.obtained_at) FROM "grant" g JOIN enrollment e ON e.id = g.enrollment_id '
    "WHERE e.vendor = :vendor AND g.obtained_by = 'refresh'"
)
_DYING = text(
    "SELECT count(*), coalesce(sum(CASE WHEN e.health = 'suspected' THEN 1 ELSE 0 END), 0) "
    'FROM "grant" g JOIN enrollment e ON e.id = g.enrollment_id '
    "WHERE e.vendor = :vendor AND (g.refused_at > :since OR e.health = 'suspected')"
)
_ALL = text("SELECT count(*) FROM enrollment WHERE vendor = :vendor")
_HASTY = text(
    'SELECT e.id FROM enrollment e JOIN "grant" g ON g.enrollment_id = e.id WHERE e.vendor = :vendor '
    "AND e.health = 'needs_consent' AND e.health_since > :since AND g.refused_at IS NOT NULL AND g.suspected_at IS NULL"
)


async def holds(session: AsyncSession, vendor: str, suspected_at: int | None) -> bool:
    """Whether too many of the vendor's grants are dying to believe it of one more."""
    if suspected_at is not None and now() - suspected_at > GIVE_UP_S:
        return False
    values = {"vendor": vendor, "since": await _since(session, vendor)}
    dying, suspected = (await session.execute(_DYING, values)).one()
    if dying < LEAST:
        return False
    enrolled = (await session.execute(_ALL, {"vendor": vendor})).scalar_one()
    if dying <= SHARE * enrolled:
        return False
    if not suspected:
        log.error("%s refused %d of %d grants at once: no owner is asked to consent again", vendor, dying, enrolled)
    return True


async def _since(session: AsyncSession, vendor: str) -> int:
    """Refusals after this are of one moment."""
    renewed_at = (await session.execute(_RENEWED, {"vendor": vendor})).scalar_one() or 0
    return max(now() - GIVE_UP_S, min(now() - WINDOW_S, renewed_at))


async def recall(hub: Hub, vendor: str) -> None:
    """Those that were believed dead just before the brake took hold; not those it has let go of."""
    async with hub.store.read() as session:
        values = {"vendor": vendor, "since": await _since(session, vendor)}
        rows = (await session.execute(_HASTY, values)).scalars().all()
    for enrollment_id in rows:
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
