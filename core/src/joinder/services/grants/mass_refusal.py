"""Many grants of one vendor refused at once are the vendor's trouble until proven otherwise.

While that holds, nobody's owner is asked to consent again: the enrollments are `suspected` and asked about every half
hour. After a day of refusals it lets go of each. "At once" is within a quarter of an hour, or since the vendor last
renewed anybody's: tokens that end hours apart are refused hours apart, too. Refusals of the vendor's data count as
long as they last.
"""

from __future__ import annotations

import logging
import random

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from joinder.clock import now
from joinder.runtime.hub import Hub
from joinder.services.grants import standing
from joinder.services.records import health
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
_REFUSED = "(g.refused_at > :since OR g.denied_at > :days_ago)"
_DYING = text(
    "SELECT count(*), coalesce(sum(CASE WHEN e.health = 'suspected' THEN 1 ELSE 0 END), 0) "  # noqa: S608
    'FROM "grant" g JOIN enrollment e ON e.id = g.enrollment_id '
    f"WHERE e.vendor = :vendor AND ({_REFUSED} OR e.health = 'suspected')"
)
_ALL = text("SELECT count(*) FROM enrollment WHERE vendor = :vendor")
_HASTY = text(
    'SELECT e.id FROM enrollment e JOIN "grant" g ON g.enrollment_id = e.id WHERE e.vendor = :vendor '  # noqa: S608
    f"AND e.health IN ('needs_consent', 'lost_in_flight') AND e.health_since > :since AND {_REFUSED} "
    "AND g.suspected_at IS NULL"
)


async def holds(session: AsyncSession, vendor: str, suspected_at: int | None) -> bool:
    """Tells whether too many of the vendor's grants are dying to believe it of one more.

    `suspected_at` (epoch seconds; None: not yet): since when this one is. Nothing is held for longer than GIVE_UP_S.
    """
    if suspected_at is not None and now() - suspected_at > GIVE_UP_S:
        return False
    dying, suspected = (await session.execute(_DYING, await _values(session, vendor))).one()
    if dying < LEAST:
        return False
    enrolled = (await session.execute(_ALL, {"vendor": vendor})).scalar_one()
    if dying <= SHARE * enrolled:
        return False
    if not suspected:
        log.error("%s refused %d of %d grants at once: no owner is asked to consent again", vendor, dying, enrolled)
    return True


async def _values(session: AsyncSession, vendor: str) -> dict[str, object]:
    """Returns the query's values; refusals after `since` (epoch seconds) are of one moment."""
    renewed_at = (await session.execute(_RENEWED, {"vendor": vendor})).scalar_one() or 0
    days_ago = now() - GIVE_UP_S
    return {"vendor": vendor, "since": max(days_ago, min(now() - WINDOW_S, renewed_at)), "days_ago": days_ago}


async def undo_hasty(hub: Hub, vendor: str) -> None:
    """Takes back deaths that were believed just before; not those that were let go of after a day."""
    async with hub.store.read() as session:
        rows = (await session.execute(_HASTY, await _values(session, vendor))).scalars().all()
    for enrollment_id in rows:
        async with hub.store.write(enrollment_id) as session:
            enrollment = await session.get(Enrollment, enrollment_id)
            grant = await session.get(GrantRow, enrollment_id)
            if enrollment is None or grant is None or enrollment.health not in health.OWNER_MUST_ACT:
                continue
            await suspect(hub, session, enrollment, grant)


async def suspect(hub: Hub, session: AsyncSession, enrollment: Enrollment, grant: GrantRow) -> None:
    """Plans to ask again within half an hour, by the door that refused it."""
    grant.suspected_at = grant.suspected_at or now()
    due = {"poll" if grant.denied_at is not None else "refresh": next_test()}
    await standing.settle(hub, session, enrollment, "suspected", reason=REASON, due=due)


def next_test() -> int:
    return now() + int(TEST_EVERY_S * random.uniform(0.9, 1.1))  # noqa: S311 - spreading load
