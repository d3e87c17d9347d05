"""An account's sites that have been read once, for benches that need many."""

from __future__ import annotations

from joinder.clock import now
from joinder.ids import new_id
from joinder.runtime.hub import Hub
from joinder.store.tables import Enrollment, SiteRow


async def store_fleet(hub: Hub, account_id: str, count: int) -> list[SiteRow]:
    """Stores one enrollment and so many sites of it, and returns those."""
    moment = now()
    enrollment = Enrollment(
        id=new_id("enrl"), account_id=account_id, vendor="enphase", health_since=moment, created_at=moment
    )
    sites = [
        SiteRow(
            id=new_id("site"),
            account_id=account_id,
            enrollment_id=enrollment.id,
            vendor="enphase",
            vendor_id=str(number),
            name=f"Site {number}",
            timezone="Europe/Berlin",
            fetched_at=moment,
        )
        for number in range(count)
    ]
    async with hub.store.write() as session:
        session.add(enrollment)
        await session.flush()
        session.add_all(sites)
    return sites
