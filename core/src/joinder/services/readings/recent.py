"""What an inverter gave today, of what is stored: no vendor is asked for it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import NamedTuple

from joinder.clock import now
from joinder.runtime.hub import Hub
from joinder.series import midnight
from joinder.services.readings.periods import zone_of
from joinder.services.readings.totals import COLUMN
from joinder.store.readings import read_intervals
from joinder.store.sites import StoredDevice

_QUARTER_S = 900
_ZONE = "SELECT timezone FROM site WHERE id = :site"
_OTHERS = (
    "SELECT 1 FROM device WHERE site_id = :site AND kind = 'inverter' AND id <> :device AND gone_at IS NULL LIMIT 1"
)


class Recent(NamedTuple):
    """Wh since `start`, in epoch seconds."""

    wh: float
    start: int


async def production(hub: Hub, device: StoredDevice) -> Recent | None:
    """Adds up today's quarter hours, by the site's clock; the site's own where it is the only inverter.

    None where none is stored, or not all.
    """
    for (timezone,) in await hub.store.rows(_ZONE, {"site": device.site_id}):
        zone = zone_of(timezone)
        begins = int(midnight(datetime.fromtimestamp(now(), UTC).astimezone(zone).date(), zone).timestamp())
        own = await _since(hub, device.id, begins)
        is_alone = not await hub.store.rows(_OTHERS, {"site": device.site_id, "device": device.id})
        return own or (await _since(hub, device.site_id, begins) if is_alone else None)
    return None


async def _since(hub: Hub, subject: str, begins: int) -> Recent | None:
    """Adds up a subject's rows; None where one of them lacks a part, or one is missing between them."""
    rows = await read_intervals(hub.store, subject, "15mins", begins, now(), ("solar_wh",))
    told = [row for row in rows if row[COLUMN["solar_wh"]] is not None]
    if not told or any(row[-1] == "partial" for row in told) or told[-1][1] - told[0][0] != _QUARTER_S * len(told):
        return None
    return Recent(sum(row[COLUMN["solar_wh"]] for row in told), told[0][0])
