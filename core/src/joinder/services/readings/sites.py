"""Sites and their devices: reading them, and writing down what a vendor says of them."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import msgspec
from msgspec import Struct, structs
from sqlalchemy import delete
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col, select

from joinder.clock import from_epoch, now, to_epoch, utc_now
from joinder.energy import Device, DeviceKind, Site
from joinder.errors import SiteGone
from joinder.ids import Tag, is_id, new_id
from joinder.runtime.hub import Hub
from joinder.services.grants import site_rights
from joinder.services.readings import site_events, zones
from joinder.services.readings.vendor_calls import with_grant
from joinder.services.records import health, notices
from joinder.services.refusals import NotFound
from joinder.store.sites import (
    StoredDevice,
    StoredSite,
    possible_since,
    read_device,
    read_devices,
    read_site,
    read_sites,
)
from joinder.store.tables import Coverage, DeviceRow, Enrollment, Interval, SiteRow
from joinder.store.types import Statement
from joinder.vendors.gate.rules import Rule
from joinder.vendors.gate.sites import stored_device

TAGS: Mapping[str, Tag] = {"inverter": "solr", "battery": "batt", "meter": "metr", "charger": "chrg"}

_SITE_IDS = (
    "SELECT id FROM site WHERE account_id = :account AND id > :after AND fetched_at IS NOT NULL AND gone_at IS NULL"
)
_DEVICE_IDS = (
    "SELECT d.id FROM device d WHERE d.account_id = :account AND d.kind = :kind AND d.id > :after "
    "AND d.gone_at IS NULL AND EXISTS (SELECT 1 FROM site s WHERE s.id = d.site_id AND s.gone_at IS NULL)"
)
_OPENED = (  # by an enrollment; those it reads are among them, whichever version wrote them down
    "SELECT o.id FROM site o WHERE o.enrollment_id = :enrollment "
    "UNION SELECT o.id FROM site_right r CROSS JOIN enrollment e CROSS JOIN site o "  # or SQLite walks a vendor's sites
    "WHERE r.enrollment_id = :enrollment AND e.id = r.enrollment_id "
    "AND o.account_id = e.account_id AND o.vendor = e.vendor AND o.vendor_id = r.vendor_site_id"
)
_MAY_READ_SITE = f"SELECT 1 FROM site WHERE account_id = :account AND id = :id AND id IN ({_OPENED})"  # noqa: S608
_MAY_READ_DEVICE = f"SELECT 1 FROM device WHERE account_id = :account AND id = :id AND site_id IN ({_OPENED})"  # noqa: S608
_SITE = (
    "SELECT id, enrollment_id, vendor, timezone, operational_since, fetched_at, gone_at FROM site "
    "WHERE id = :id AND account_id = :account"
)
_DEVICE = (
    "SELECT id, site_id, (SELECT count(*) FROM device s WHERE s.site_id = d.site_id AND s.kind = d.kind "
    "AND s.id <> d.id AND s.gone_at IS NULL), "
    "(SELECT max(s.gone_at) FROM device s WHERE s.site_id = d.site_id AND s.kind = d.kind AND s.id <> d.id) "
    "FROM device d WHERE id = :id AND account_id = :account AND kind = :kind AND gone_at IS NULL"
)
_UPDATE = "UPDATE device SET state = :state, fetched_at = :now, gone_at = NULL, source = :source WHERE id = :id"


class SiteHead(Struct, frozen=True):
    """What a hot read needs of a site."""

    id: str
    enrollment_id: str
    vendor: str
    timezone: str | None
    operational_since: int | None
    fetched_at: int | None
    gone_at: int | None = None


class DeviceHead(Struct, frozen=True):
    """What a hot read needs of a device; `siblings` counts the others of its kind in the site, of which the last one
    that went was there until `sibling_until`."""

    id: str
    site_id: str
    siblings: int
    sibling_until: int | None = None


async def site_head(hub: Hub, account_id: str, site_id: str) -> SiteHead:
    """Reads what a read of the site's series must know. Raises NotFound."""
    if not is_id(site_id, "site"):
        raise NotFound
    for row in await hub.store.rows(_SITE, {"id": site_id, "account": account_id}):
        head = SiteHead(*row)
        return structs.replace(head, operational_since=possible_since(head.operational_since))
    raise NotFound


async def device_head(hub: Hub, account_id: str, device_id: str, kind: DeviceKind) -> DeviceHead:
    """Reads what a read of the device's series must know. Raises NotFound."""
    if not is_id(device_id):
        raise NotFound
    for row in await hub.store.rows(_DEVICE, {"id": device_id, "account": account_id, "kind": str(kind)}):
        return DeviceHead(*row)
    raise NotFound


async def may_read(
    hub: Hub, account_id: str, enrollment_id: str, *, site_id: str | None = None, device_id: str | None = None
) -> bool:
    """Tells whether an enrollment may open a site, or the site of a device."""
    values = {"id": device_id or site_id, "account": account_id, "enrollment": enrollment_id}
    return bool(await hub.store.rows(_MAY_READ_DEVICE if device_id else _MAY_READ_SITE, values))


async def site_ids(
    hub: Hub,
    account_id: str,
    *,
    after: str,
    limit: int,
    known: Collection[str] | None = None,
    vendor: str | None = None,
    vendor_id: str | None = None,
    enrollment_id: str | None = None,
) -> list[str]:
    """Reads a keyset page of ids; `enrollment_id`: of those that it may open.

    `known`: vendors besides which there is none; None: all.
    """
    query, values = _filtered(_SITE_IDS, {"vendor": vendor, "vendor_id": vendor_id}, known)
    if enrollment_id is not None:
        query, values = f"{query} AND id IN ({_OPENED})", {**values, "enrollment": enrollment_id}
    return await hub.store.ids(
        f"{query} ORDER BY id LIMIT :limit", {"account": account_id, "after": after, "limit": limit, **values}
    )


async def device_ids(
    hub: Hub,
    account_id: str,
    kind: DeviceKind,
    *,
    after: str,
    limit: int,
    known: Collection[str] | None = None,
    **filters: str | None,
) -> list[str]:
    """Reads a keyset page of ids; filters `vendor`, `vendor_id`, `site_id`, `vendor_site_id`, `enrollment_id`.

    `known`: as in `site_ids`.
    """
    site, enrollment = filters.pop("vendor_site_id", None), filters.pop("enrollment_id", None)
    query, values = _filtered(_DEVICE_IDS, {f"d.{name}": value for name, value in filters.items()}, known)
    if site is not None:
        query += " AND d.site_id IN (SELECT id FROM site WHERE account_id = :account AND vendor_id = :site)"
        values["site"] = site
    if enrollment is not None:
        query += f" AND d.site_id IN ({_OPENED})"
        values["enrollment"] = enrollment
    return await hub.store.ids(
        f"{query} ORDER BY d.id LIMIT :limit",
        {"account": account_id, "kind": str(kind), "after": after, "limit": limit, **values},
    )


async def get_site(hub: Hub, account_id: str, site_id: str) -> tuple[StoredSite, list[StoredDevice]]:
    """Asks the vendor first when nothing but the site's id is known yet. Raises NotFound or the vendor's error."""
    site = await _site(hub, account_id, site_id)
    if site.fetched_at is None:
        await refresh_site(hub, site)
        site = await _site(hub, account_id, site_id)
    return site, await read_devices(hub.store, site_id)


async def _site(hub: Hub, account_id: str, site_id: str) -> StoredSite:
    site = await read_site(hub.store, account_id, site_id) if is_id(site_id) else None
    if site is None:
        raise NotFound
    return site


async def get_sites(hub: Hub, account_id: str, ids: Sequence[str]) -> list[tuple[StoredSite, list[StoredDevice]]]:
    """Reads sites as stored, in the order of `ids`."""
    return await read_sites(hub.store, account_id, ids)


async def get_device(hub: Hub, account_id: str, device_id: str, kind: DeviceKind) -> StoredDevice:
    """Reads the device as stored. Raises NotFound, also for one that is gone."""
    device = await read_device(hub.store, account_id, device_id) if is_id(device_id) else None
    if device is None or device.kind != kind or device.gone_at is not None:
        raise NotFound
    return device


def refuse_gone(site: StoredSite | SiteHead) -> None:
    """Raises SiteGone for a site that is gone, before a vendor is asked about it."""
    if site.gone_at is not None:
        raise SiteGone("No consent opens this site any more; its owner must give one that lists it")


async def refresh_site(hub: Hub, row: StoredSite) -> Site:
    """Asks the vendor for the site and its devices and stores them."""
    refuse_gone(row)
    site = await with_grant(
        hub,
        row.enrollment_id,
        lambda ctx, grant: hub.registry.fetch_site(row.vendor, ctx, grant, row.vendor_id),
        site=row,
    )
    site = _with_last_good(row, site)
    async with hub.store.write(row.enrollment_id) as session:
        await store_site(hub, session, row.id, site)
    doubts = () if zones.of_site(site, row.timezone).name else (zones.UNKNOWN,)
    told = notices.writes(row.enrollment_id, row.id, (*site.warnings, *doubts), site.refused)
    if told:
        await hub.store.apply(*told, serialize_on=row.enrollment_id)
    return site


def _with_last_good(row: StoredSite, site: Site) -> Site:
    """Keeps what the vendor told well before and not now: a home does not lose its place or its name."""
    if row.fetched_at is None:
        return site
    return structs.replace(
        site,
        name=row.name if site.name == site.vendor_id else site.name,
        lat=row.lat if site.lat is None else site.lat,
        lon=row.lon if site.lat is None else site.lon,
        operational_since=site.operational_since or from_epoch(row.operational_since),
    )


async def store_site(hub: Hub, session: AsyncSession, site_id: str, site: Site) -> None:
    """Stores the site. Devices it no longer lists are marked gone; their history stays. A first reading is an event."""
    row = await session.get(SiteRow, site_id)
    if row is None:
        return
    is_first, before = row.fetched_at is None, site_events.seen(row)
    row.name, row.lat, row.lon = site.name, site.lat, site.lon
    await _store_zone(session, row, zones.of_site(site, row.timezone))
    row.operational_since = to_epoch(site.operational_since)
    if is_first and (enrollment := await session.get(Enrollment, row.enrollment_id)) is not None:
        health.write_event(session, enrollment, "site.ready", {"siteID": row.id})
        await site_rights.first_read(hub, session, row)
    if not is_first:
        await site_events.tell_changes(session, row, before)
    row.fetched_at = now()
    listed = await store_devices(session, row, site.devices, is_first=is_first)
    is_in_doubt = any(one.rule == Rule.DEVICE for one in site.refused)  # who was refused may be any of them
    for device in await _devices(session, site_id):
        if device.id not in listed and not is_in_doubt:
            device.gone_at = now()
            await site_events.tell_device(session, row, device, "gone")


async def _store_zone(session: AsyncSession, row: SiteRow, known: zones.Known) -> None:
    """Stores the zone.

    Day rows belong to the one they were made in: they and their ledger end with it, to be asked again.
    """
    before, (row.timezone, row.timezone_by) = row.timezone, known
    if row.fetched_at is None or before == row.timezone:
        return
    subjects = select(DeviceRow.id).where(col(DeviceRow.site_id) == row.id)
    for table in (Interval, Coverage):
        subject: Any = col(table.subject_id)
        of_site = (subject == row.id) | subject.in_(subjects)
        await session.execute(delete(table).where(of_site, col(table.resolution) == "day"))


async def store_devices(
    session: AsyncSession, site: SiteRow | StoredSite, devices: Sequence[Device], *, is_first: bool = False
) -> set[str]:
    """Adds or updates; answers the ids of those given. `is_first`: another event tells of them."""
    query = select(DeviceRow).where(col(DeviceRow.site_id) == site.id)
    known = {(row.kind, row.vendor_id): row for row in (await session.execute(query)).scalars()}
    ids = set()
    for device in devices:
        row = known.get((str(device.kind), device.vendor_id))
        if row is None:
            row = _new_device(site, device)
            session.add(row)
        if not is_first and (row.gone_at is not None or not row.state):
            await site_events.tell_device(session, site, row, "discovered")
        row.state = _merged(row.state, device)
        row.fetched_at, row.gone_at = now(), None
        ids.add(row.id)
    return ids


def _new_device(site: SiteRow | StoredSite, device: Device) -> DeviceRow:
    return DeviceRow(
        id=new_id(TAGS[str(device.kind)]),
        account_id=site.account_id,
        site_id=site.id,
        vendor=site.vendor,
        kind=str(device.kind),
        vendor_id=device.vendor_id,
        state={},
        fetched_at=now(),
    )


def device_update(row: StoredDevice, device: Device, source: int | None = None) -> Statement:
    """Makes the statement of what the vendor says of a device that is known; `source`: where it was read."""
    state = msgspec.json.encode(_merged(row.state, device)).decode()
    return _UPDATE, {"id": row.id, "state": state, "now": now(), "source": source}


def device_of(row: StoredDevice) -> Device:
    """Returns what of the row holds, whoever wrote it."""
    return stored_device(row.state, DeviceKind(row.kind), row.vendor_id, utc_now)


def site_of(row: StoredSite, devices: Sequence[StoredDevice]) -> Site:
    """Returns what the vendor said last, for ReadingsQuery.site."""
    return Site(
        vendor_id=row.vendor_id,
        name=row.name,
        timezone=row.timezone,
        lat=row.lat,
        lon=row.lon,
        operational_since=from_epoch(row.operational_since),
        devices=tuple(device_of(device) for device in devices),
    )


async def _devices(session: AsyncSession, site_id: str) -> list[DeviceRow]:
    query = select(DeviceRow).where(col(DeviceRow.site_id) == site_id, col(DeviceRow.gone_at).is_(None))
    return list((await session.execute(query.order_by(col(DeviceRow.id)))).scalars())


def _merged(before: Mapping[str, Any], device: Device) -> dict[str, Any]:
    """Merges what the vendor says. What is newly unknown keeps its last value, except power, which is of a moment."""
    after: dict[str, Any] = msgspec.to_builtins(device)
    sound = msgspec.to_builtins(stored_device(before, device.kind, device.vendor_id, utc_now)) if before else {}
    kept = {name: value for name, value in sound.items() if after.get(name) is None and name != "power_w"}
    if device.max_power_w is None:
        kept["is_peak"] = after.pop("is_peak") or sound.get("is_peak", False)
    return {name: value for name, value in {**after, **kept}.items() if value is not None}


def _filtered(
    query: str, filters: Mapping[str, str | None], known: Collection[str] | None
) -> tuple[str, dict[str, str]]:
    values = {f"known{index}": name for index, name in enumerate(sorted(known or ()))}
    if known is not None:
        query += f" AND vendor IN ({', '.join(f':{name}' for name in values) or 'NULL'})"
    for name, value in filters.items():
        if value is not None:
            parameter = name.replace(".", "_")
            query += f" AND {name} = :{parameter}"
            values[parameter] = value
    return query, values
