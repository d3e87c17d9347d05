"""What devices that a site no longer lists were a part of: a vendor may drop their rows of the past with them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from joinder.runtime.hub import Hub
from joinder.services.readings import sums
from joinder.services.readings.sites import device_of
from joinder.services.readings.sums import Former
from joinder.store.readings import METRICS, read_intervals
from joinder.store.sites import StoredDevice, StoredSite, read_devices, read_gone_devices
from joinder.store.types import Row
from joinder.vendor import Resolution

_COLUMN = {name: 2 + index for index, name in enumerate(METRICS)}
_FETCHED_AT, _QUALITY = 2 + len(METRICS), -1


async def formers(hub: Hub, site: StoredSite, resolution: Resolution, start: int, end: int) -> sums.Formers:
    """Returns, by period of [start, end), the site's stored sums of which a device was a part that is gone by now."""
    gone = await read_gone_devices(hub.store, site.id)
    if not gone:
        return {}
    metrics = _metrics([*await read_devices(hub.store, site.id), *gone])
    stored = {row[0]: row for row in await read_intervals(hub.store, site.id, resolution, start, end)}
    found: dict[sums.Span, dict[str, Former]] = {}
    for device in gone:
        own = {row[0]: row for row in await read_intervals(hub.store, device.id, resolution, start, end)}
        for at in own.keys() | stored.keys():
            of_period = found.setdefault(_span(own.get(at) or stored[at]), {})
            for metric in metrics.get(device.vendor_id, ()):
                former = _former(device, _COLUMN[metric], stored.get(at), own.get(at))
                if former is not None and not of_period.get(metric, sums.NO_FORMER).is_told:
                    of_period[metric] = former
    return found


def _metrics(devices: Sequence[StoredDevice]) -> dict[str, list[str]]:
    """Returns, by the device's id, the sums it is a part of."""
    found: dict[str, list[str]] = {}
    for metric, members in sums.measured_by([device_of(device) for device in devices]).items():
        for member in members:
            found.setdefault(member, []).append(metric)
    return found


def _former(device: StoredDevice, column: int, stored: Row | None, own: Row | None) -> Former | None:
    """Returns the stored sum the device was a part of; None where it was no part of what is stored.

    It made nothing then, or was gone when the sum was told.
    """
    is_told = own is not None and bool(own[column])
    was_listed = stored is not None and (device.gone_at or 0) >= stored[_FETCHED_AT]
    if not is_told and not was_listed:
        return None
    wh = None if stored is None else stored[column]
    is_whole = stored is not None and wh is not None and stored[_QUALITY] != "partial"
    return Former(wh, is_whole=is_whole, is_told=is_told)


def _span(row: Row) -> sums.Span:
    return datetime.fromtimestamp(row[0], UTC), datetime.fromtimestamp(row[1], UTC)
