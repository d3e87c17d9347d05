"""What an inverter gave today, of what is stored: no vendor is asked for it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import NamedTuple

from joinder.clock import now
from joinder.runtime.hub import Hub
from joinder.series import midnight
from joinder.services.readings.periods import zone_of
from joinder.store.sites import StoredDevice

_ZONE = "SELECT timezone FROM site WHERE id = :site"
# The site's own series stands for its only inverter.
_TODAY = (
    "SELECT sum(solar_wh), min(start) FROM interval WHERE resolution = '15mins' AND start >= :midnight "
    "AND solar_wh IS NOT NULL AND subject_id = :subject"
)
_OTHERS = (
    "SELECT 1 FROM device WHERE site_id = :site AND kind = 'inverter' AND id <> :device AND gone_at IS NULL LIMIT 1"
)


class Recent(NamedTuple):
    """Wh since `start`, in epoch seconds."""

    wh: float
    start: int


async def production(hub: Hub, device: StoredDevice) -> Recent | None:
    """Adds up today's quarter hours, by the site's clock. None where none is stored."""
    for (timezone,) in await hub.store.rows(_ZONE, {"site": device.site_id}):
        zone = zone_of(timezone)
        begins = int(midnight(datetime.fromtimestamp(now(), UTC).astimezone(zone).date(), zone).timestamp())
        own = await _since(hub, device.id, begins)
        is_alone = not await hub.store.rows(_OTHERS, {"site": device.site_id, "device": device.id})
        return own or (await _since(hub, device.site_id, begins) if is_alone else None)
    return None


async def _since(hub: Hub, subject: str, begins: int) -> Recent | None:
    ((wh, start),) = await hub.store.rows(_TODAY, {"midnight": begins, "subject": subject})
    return Recent(float(wh), int(start)) if start is not None else None
