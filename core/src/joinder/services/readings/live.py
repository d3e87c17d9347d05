"""The latest power of a site."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from msgspec import Struct

from joinder import physics
from joinder.clock import now
from joinder.errors import NotSupported, Paused, PluginBug, SiteGone, TransientError, UnknownVendor
from joinder.runtime.hub import Hub
from joinder.services.readings import readings, uncovered
from joinder.services.readings.sites import get_site
from joinder.store.sites import StoredDevice, StoredSite
from joinder.store.tables import LiveRow
from joinder.trouble import StoreTrouble

AHEAD_S = 86400  # of a time that is no time of a reading, whatever clock was wrong
STALE_AFTER_S = 1800  # gateways report every 5 to 15 minutes
_PAUSED = "SELECT 1 FROM enrollment WHERE id = :id AND paused_at IS NOT NULL"
_LIMITS = {
    "solar_w": (0.0, physics.MOST_W),
    "battery_w": (-physics.MOST_W, physics.MOST_W),
    "grid_w": (-physics.MOST_W, physics.MOST_W),
    "load_w": (0.0, physics.MOST_W),
    "soc_percent": (0.0, 100.0),
}


class LivePower(Struct, frozen=True, kw_only=True):
    """W and percent; `stale` when measured more than half an hour ago, or nobody reads it. Times are epoch seconds."""

    measured_at: int
    fetched_at: int
    solar_w: float | None
    battery_w: float | None
    grid_w: float | None
    load_w: float | None
    soc_percent: float | None
    stale: bool
    source: int | None = None  # services/readings/provenance.py


async def get_live(hub: Hub, account_id: str, site_id: str) -> LivePower:
    """Asks the vendor when the stored value is older than its limits allow; when that fails, the old one, stale.

    Raises NotFound, NotSupported, or the vendor's error when nothing is stored.
    """
    site, devices = await get_site(hub, account_id, site_id)
    row = await _stored(hub, site)
    max_age_s = _max_age_s(hub, site.vendor)
    failed = False
    if row is None or now() - row.fetched_at >= max_age_s:
        try:
            async with uncovered.deadline():
                await hub.fetches.join(("live", site.id), lambda: _fetch(hub, site, devices))
        except (TransientError, Paused, PluginBug, SiteGone, StoreTrouble, TimeoutError, UnknownVendor) as error:
            if row is None:
                raise (uncovered.too_late() if isinstance(error, TimeoutError) else error) from None
            failed = True
        row = await _stored(hub, site)
    if row is None:
        raise NotSupported("The vendor reports no live power for this site")
    return await _shown(hub, site, row, is_old=failed)


async def stored_live(hub: Hub, site: StoredSite) -> LivePower | None:
    """Reads what is stored, for the admin: no vendor is asked."""
    row = await _stored(hub, site)
    return None if row is None else await _shown(hub, site, row)


async def _shown(hub: Hub, site: StoredSite, row: LiveRow, *, is_old: bool = False) -> LivePower:
    is_old = is_old or site.gone_at is not None or now() - row.measured_at > STALE_AFTER_S
    stale = is_old or await _is_paused(hub, site.enrollment_id)
    stamps = {"measured_at": row.measured_at, "fetched_at": row.fetched_at}
    return LivePower(**stamps, stale=stale, source=row.source, **_values(row))


async def _is_paused(hub: Hub, enrollment_id: str) -> bool:
    return bool(await hub.store.rows(_PAUSED, {"id": enrollment_id}))


def _max_age_s(hub: Hub, vendor: str) -> float:
    """Returns the seconds for which a live value is fresh.

    0 while the vendor's plugin is not there: what is stored is old then.
    """
    try:
        return hub.registry.vendor(vendor).limits.live_max_age.total_seconds()
    except UnknownVendor:
        return 0.0


async def _fetch(hub: Hub, site: StoredSite, devices: Sequence[StoredDevice]) -> None:
    moment = now()
    await readings.fetch(hub, site, devices, start=moment, end=moment, live=True)


async def _stored(hub: Hub, site: StoredSite) -> LiveRow | None:
    """Reads the stored row; None also where it holds nothing possible.

    An earlier version wrote down whatever a vendor said.
    """
    async with hub.store.read() as session:
        row = await session.get(LiveRow, site.id)
    latest = now() + AHEAD_S
    if row is None or not (0 <= row.measured_at <= latest and 0 <= row.fetched_at <= latest):
        return None
    return row if any(value is not None for value in _values(row).values()) else None


def _values(row: LiveRow) -> dict[str, Any]:
    return {name: _within(getattr(row, name), *limits) for name, limits in _LIMITS.items()}


def _within(value: float | None, low: float, high: float) -> float | None:
    return value if value is not None and low <= value <= high else None
