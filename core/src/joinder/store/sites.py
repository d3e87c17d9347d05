"""Sites and devices as they are read: plain tuples off the driver, as nearly every call reads some."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, NamedTuple

import msgspec

from joinder.clean import clean_line
from joinder.series import zone
from joinder.store.types import Row, Store

NAME_MOST, ZONE_MOST = 200, 64
_SINCE, _UNTIL = 631_152_000, 4_102_444_800  # 1990 and 2100: no site is older, or will be

_SITE_COLUMNS = (
    "s.id, s.account_id, s.enrollment_id, s.vendor, s.vendor_id, s.name, s.timezone, s.lat, s.lon, "
    "s.operational_since, s.fetched_at, s.timezone_by, s.denied_at, s.gone_at"
)
_DEVICE_COLUMNS = "id, account_id, site_id, vendor, kind, vendor_id, state, fetched_at, gone_at, source, silent_since"
_KNOWN = "kind IN ('inverter', 'battery', 'meter', 'charger')"
_SITE = f"SELECT {_SITE_COLUMNS} FROM site s WHERE s.id = :id AND s.account_id = :account"  # noqa: S608 - our own names
_SITES = f"SELECT {_SITE_COLUMNS} FROM site s WHERE s.account_id = :account AND s.id IN ({{places}})"  # noqa: S608
_OF_SITES = (
    f"SELECT {_DEVICE_COLUMNS} FROM device WHERE account_id = :account AND site_id IN ({{places}}) "  # noqa: S608
    f"AND {_KNOWN} AND gone_at IS NULL ORDER BY id"
)
# A quota that ends a poll starves no site: what was read longest ago comes first.
_OF_ENROLLMENT = (
    f"SELECT {_SITE_COLUMNS} FROM site s LEFT JOIN live l ON l.site_id = s.id "  # noqa: S608
    "WHERE s.enrollment_id = :enrollment AND s.gone_at IS NULL ORDER BY l.fetched_at NULLS FIRST, s.id"
)
_DEVICES = f"SELECT {_DEVICE_COLUMNS} FROM device WHERE site_id = :site AND {_KNOWN} AND gone_at IS NULL ORDER BY id"  # noqa: S608
_GONE = f"SELECT {_DEVICE_COLUMNS} FROM device WHERE site_id = :site AND {_KNOWN} AND gone_at IS NOT NULL ORDER BY id"  # noqa: S608
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
    timezone_by: str | None = None
    denied_at: int | None = None
    gone_at: int | None = None


class StoredDevice(NamedTuple):
    """`state` is the normalised energy.Device as JSON values; `silent_since` as in tables.DeviceRow."""

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
    silent_since: int | None = None


async def read_site(store: Store, account_id: str, site_id: str) -> StoredSite | None:
    for row in await store.rows(_SITE, {"id": site_id, "account": account_id}):
        return _site(row)
    return None


async def read_sites(store: Store, account_id: str, ids: Sequence[str]) -> list[tuple[StoredSite, list[StoredDevice]]]:
    """Reads sites with their devices, in the order of `ids`; those that are not there are left out."""
    if not ids:
        return []
    names = {f"id{index}": site_id for index, site_id in enumerate(ids)}
    places = ", ".join(f":{name}" for name in names)
    rows = await store.rows(_SITES.format(places=places), {"account": account_id, **names})
    sites = {row[0]: _site(row) for row in rows}
    devices: dict[str, list[StoredDevice]] = {site_id: [] for site_id in sites}
    for row in await store.rows(_OF_SITES.format(places=places), {"account": account_id, **names}):
        devices[row[2]].append(_device(row))
    return [(sites[site_id], devices[site_id]) for site_id in ids if site_id in sites]


async def read_sites_of(store: Store, enrollment_id: str) -> list[StoredSite]:
    """Reads the enrollment's sites that are not gone, read longest ago first."""
    return [_site(row) for row in await store.rows(_OF_ENROLLMENT, {"enrollment": enrollment_id})]


async def read_devices(store: Store, site_id: str) -> list[StoredDevice]:
    """Reads the devices the site lists now."""
    return [_device(row) for row in await store.rows(_DEVICES, {"site": site_id})]


async def read_gone_devices(store: Store, site_id: str) -> list[StoredDevice]:
    """Reads the devices the site lists no more."""
    return [_device(row) for row in await store.rows(_GONE, {"site": site_id})]


async def read_device(store: Store, account_id: str, device_id: str) -> StoredDevice | None:
    for row in await store.rows(_DEVICE, {"id": device_id, "account": account_id}):
        return _device(row)
    return None


def _site(row: Row) -> StoredSite:
    """Keeps what of the row holds: an earlier version wrote down whatever a vendor said."""
    site = StoredSite(*row)
    return site._replace(
        name=clean_line(site.name[:NAME_MOST]),
        timezone=site.timezone if is_zone(site.timezone) else None,
        lat=_within(site.lat, 90),
        lon=_within(site.lon, 180),
        operational_since=possible_since(site.operational_since),
    )


def is_zone(name: str | None) -> bool:
    return name is not None and len(name) <= ZONE_MOST and zone(name) is not None


def possible_since(at: int | None) -> int | None:
    return at if at is not None and _SINCE <= at <= _UNTIL else None


def _within(degrees: float | None, most: float) -> float | None:
    return degrees if degrees is not None and -most <= degrees <= most else None


def _device(row: Row) -> StoredDevice:
    """Makes a device of a row; JSON comes as text from either driver."""
    return StoredDevice._make([*row[:6], _state(row[6]), *row[7:]])


def _state(text: object) -> dict[str, Any]:
    """Decodes a state; JSON that is a number SQLite makes a number, which is no state."""
    found = _decoded(text) if isinstance(text, str) else None
    return found if isinstance(found, dict) else {}


def _decoded(text: str) -> object:
    try:
        return msgspec.json.decode(text)
    except msgspec.DecodeError:
        return _as_written_once(text)


def _as_written_once(text: str) -> object:
    """Decodes JSON of a version that took NaN and halves of surrogate pairs from vendors.

    Whoever reads it drops them.
    """
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None
