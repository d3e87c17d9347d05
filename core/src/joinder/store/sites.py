"""Sites and devices as they are read: plain tuples off the driver, as nearly every call reads some."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, NamedTuple

import msgspec

from joinder.store.engine import Row, Store

_SITE_COLUMNS = (
    "s.id, s.account_id, s.enrollment_id, s.vendor, s.vendor_id, s.name, s.timezone, s.lat, s.lon, "
    "s.operational_since, s.fetched_at"
)
_DEVICE_COLUMNS = "id, account_id, site_id, vendor, kind, vendor_id, state, fetched_at, gone_at, source"
_SITE = f"SELECT {_SITE_COLUMNS} FROM site s WHERE s.id = :id AND s.account_id = :account"  # noqa: S608 - our own names
_SITES = f"SELECT {_SITE_COLUMNS} FROM site s WHERE s.account_id = :account AND s.id IN ({{places}})"  # noqa: S608
_OF_SITES = (
    f"SELECT {_DEVICE_COLUMNS} FROM device WHERE account_id = :account AND site_id IN ({{places}}) "  # noqa: S608
    "AND gone_at IS NULL ORDER BY id"
)
# A quota that ends a poll starves no site: what was read longest ago comes first.
_OF_ENROLLMENT = (
    f"SELECT {_SITE_COLUMNS} FROM site s LEFT JOIN live l ON l.site_id = s.id "  # noqa: S608
    "WHERE s.enrollment_id = :enrollment ORDER BY l.fetched_at NULLS FIRST, s.id"
)
_DEVICES = f"SELECT {_DEVICE_COLUMNS} FROM device WHERE site_id = :site AND gone_at IS NULL ORDER BY id"  # noqa: S608
_DEVICE = f"SELECT {_DEVICE_COLUMNS} FROM device WHERE id = :id AND account_id = :account"  # noqa: S608


class StoredSite(NamedTuple):
    """`fetched_at` None: known by id only. Times are epoch seconds."""

    id: str
    account_id: str
    enrollment_id: str
    vendor: str
    vendor_id: str
    name: str
    timezone: str | None
    lat: float | None
    lon: float | None
    operational_since: int | None
    fetched_at: int | None


class StoredDevice(NamedTuple):
    """`state` is the normalised energy.Device as JSON values."""

    id: str
    account_id: str
    site_id: str
    vendor: str
    kind: str
    vendor_id: str
    state: dict[str, Any]
    fetched_at: int
    gone_at: int | None
    source: int | None = None


async def read_site(store: Store, account_id: str, site_id: str) -> StoredSite | None:
    for row in await store.rows(_SITE, {"id": site_id, "account": account_id}):
        return StoredSite(*row)
    return None


async def read_sites(store: Store, account_id: str, ids: Sequence[str]) -> list[tuple[StoredSite, list[StoredDevice]]]:
    """With their devices, in the order of `ids`; those that are not there are left out."""
    if not ids:
        return []
    names = {f"id{index}": site_id for index, site_id in enumerate(ids)}
    places = ", ".join(f":{name}" for name in names)
    rows = await store.rows(_SITES.format(places=places), {"account": account_id, **names})
    sites = {row[0]: StoredSite(*row) for row in rows}
    devices: dict[str, list[StoredDevice]] = {site_id: [] for site_id in sites}
    for row in await store.rows(_OF_SITES.format(places=places), {"account": account_id, **names}):
        devices[row[2]].append(_device(row))
    return [(sites[site_id], devices[site_id]) for site_id in ids if site_id in sites]


async def read_sites_of(store: Store, enrollment_id: str) -> list[StoredSite]:
    """Those read longest ago first."""
    return [StoredSite(*row) for row in await store.rows(_OF_ENROLLMENT, {"enrollment": enrollment_id})]


async def read_devices(store: Store, site_id: str) -> list[StoredDevice]:
    """Those the site lists now."""
    return [_device(row) for row in await store.rows(_DEVICES, {"site": site_id})]


async def read_device(store: Store, account_id: str, device_id: str) -> StoredDevice | None:
    for row in await store.rows(_DEVICE, {"id": device_id, "account": account_id}):
        return _device(row)
    return None


def _device(row: Row) -> StoredDevice:
    """JSON comes as text from either driver."""
    try:
        state = msgspec.json.decode(row[6])
    except msgspec.DecodeError:  # NaN, as an earlier version wrote it: unknown
        state = json.loads(row[6], parse_constant=lambda _: None)
    return StoredDevice._make([*row[:6], state, *row[7:]])
