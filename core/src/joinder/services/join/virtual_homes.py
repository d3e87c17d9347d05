"""Virtual homes as their account sets them up: each one enrollment, whose grant's facts say what the home is.

They are made by the virtual vendor's own hook and pass the gate, as every consent does; everything after that, sites,
devices, readings, is what it is for any vendor.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
from msgspec import structs
from sqlalchemy import delete as sql_delete
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from joinder import virtual
from joinder.clock import utc_now
from joinder.energy import DeviceKind
from joinder.grants import Callback, Consent, Grant
from joinder.redact import Secrets
from joinder.runtime.hub import Hub, audit, owned
from joinder.services.calls.vendor_context import vendor_context
from joinder.services.grants import site_rights
from joinder.services.join import enrollments, stored_consents
from joinder.services.join.stored_consents import Origin
from joinder.services.readings import sites
from joinder.services.records.opened_grant import open_grant
from joinder.services.refusals import Conflict, Invalid, NotFound
from joinder.store.sites import StoredDevice, StoredSite, read_site
from joinder.store.tables import Enrollment, GrantRow, JoinSession, LiveRow, SiteRow
from joinder.store.vault import token_hash
from joinder.vendors.gate.consents import checked_grant
from joinder.virtual.configuration import DEVICES_MOST, SINCE, VirtualDevice, VirtualHome, facts_of, home_of

Place = tuple[StoredSite, Sequence[StoredDevice]]
LAT, LON, ZONE = 55.8, -4.3, "Europe/Berlin"  # of a home of which nothing is said


@dataclass(frozen=True, kw_only=True)
class ShownDevice:
    """A virtual device: as any is stored, and as it was set up."""

    row: StoredDevice
    set_up: VirtualDevice


def new_home(*, name: str | None = None, timezone: str | None = None, **members: Any) -> VirtualHome:
    """Makes a home; what is not said is made up: a place without a zone lies at sea.

    Raises Invalid naming what cannot be.
    """
    lat, lon = members.get("lat"), members.get("lon")
    if (lat is None) != (lon is None):
        raise Invalid("A place has both coordinates", errors={"/location": "lat and lon come together"})
    if lat is None and timezone is None:
        members |= {"lat": LAT, "lon": LON}
    zone = timezone or (ZONE if lon is None else _zone_at_sea(lon))
    since = members.pop("operational_since", None) or SINCE
    _refuse_future("/operationalSince", since)
    return VirtualHome(
        vendor_id=secrets.token_hex(12), name=name or "Site 1", timezone=zone, operational_since=since, **members
    )


def _zone_at_sea(lon: float) -> str:
    """Returns the zone of ships, an hour for fifteen degrees."""
    hours = round(lon / 15)
    return f"Etc/GMT{-hours:+d}" if hours else "Etc/UTC"


async def create(hub: Hub, account_id: str, actor: str, home: VirtualHome) -> Place:
    """Stores a home and reads it at once, as a poll would."""
    consent = await consent_to(hub, home)
    async with hub.store.write(account_id) as session:
        row = await stored_consents.store(hub, session, account_id, consent, Origin(vendor=virtual.NAME))
        audit(session, account_id, actor, "virtual.create", row.id)
    return await _read(hub, account_id, home)


async def consent_to(hub: Hub, home: VirtualHome, decision: str = virtual.GRANTS) -> Consent:
    """Asks the virtual vendor for the grant of a home."""
    values = Secrets({"home": msgspec.json.encode(home).decode(), "decision": decision})
    ctx = vendor_context(hub, virtual.NAME, None)
    return await hub.registry.handle_callback(virtual.NAME, ctx, Callback(values=values))


async def list_page(hub: Hub, account_id: str, *, after: str, limit: int) -> tuple[list[str], Sequence[Place]]:
    """Reads a keyset page of virtual sites."""
    ids = await sites.site_ids(hub, account_id, after=after, limit=limit, vendor=virtual.NAME)
    return ids, await sites.get_sites(hub, account_id, ids)


async def get(hub: Hub, account_id: str, site_id: str) -> Place:
    """Returns the site and its devices. Raises NotFound."""
    place = await sites.get_site(hub, account_id, site_id)
    if place[0].gone_at is not None:
        raise NotFound
    return place


async def delete(hub: Hub, account_id: str, site_id: str, actor: str) -> None:
    """Ends whatever enrollments open the site, and with the last one the site and its history. Raises NotFound."""
    async with hub.store.read() as session:
        site = await owned(session, SiteRow, site_id, account_id)
        opening = await site_rights.sharing(session, account_id, virtual.NAME, [site.vendor_id])
    for enrollment in opening:
        await enrollments.delete(hub, account_id, enrollment.id, actor)


async def add_device(hub: Hub, account_id: str, actor: str, device: VirtualDevice, site_id: str | None) -> ShownDevice:
    """Adds a device to a site, or to a new one; what the site did so far is what it would have done with the device.

    Raises Invalid for a site that is not there or is full.
    """
    _refuse_future("/reportedAt", device.reported_at)
    _refuse_future("/lifetimeProduction/start", device.lifetime_since)
    _refuse_future("/recentProduction/start", device.recent_since)
    if site_id is None:
        _, devices = await create(hub, account_id, actor, structs.replace(new_home(), devices=(device,)))
    else:
        _, devices = await _change(hub, account_id, site_id, actor, lambda home: _with(home, device))
    return ShownDevice(row=_row_of(devices, device), set_up=device)


async def list_devices(
    hub: Hub, account_id: str, kind: DeviceKind, *, after: str, limit: int
) -> tuple[list[str], list[ShownDevice]]:
    """Reads a keyset page of virtual devices of a kind."""
    ids = await sites.device_ids(hub, account_id, kind, after=after, limit=limit, vendor=virtual.NAME)
    return ids, [await get_device(hub, account_id, device_id, kind) for device_id in ids]


async def get_device(hub: Hub, account_id: str, device_id: str, kind: DeviceKind) -> ShownDevice:
    """Returns the device. Raises NotFound."""
    row = await sites.get_device(hub, account_id, device_id, kind)
    home = await _home(hub, account_id, row.site_id)
    set_up = home.device(row.vendor_id)
    if set_up is None:
        raise NotFound
    return ShownDevice(row=row, set_up=set_up)


async def remove_device(hub: Hub, account_id: str, device_id: str, kind: DeviceKind, actor: str) -> None:
    """Takes a device out of its home. Raises NotFound."""
    shown = await get_device(hub, account_id, device_id, kind)
    await _change(hub, account_id, shown.row.site_id, actor, lambda home: _without(home, shown.row.vendor_id))


async def owner_of(hub: Hub, state: str) -> str:
    """Names the owner a consent page is opened for: who is to consent again, or somebody new."""
    async with hub.store.read() as session:
        row = await session.get(JoinSession, token_hash(state)) if 20 <= len(state) <= 100 else None
        known = await session.get(Enrollment, row.reconnects_id or "") if row is not None else None
    owner = known.vendor_account_id if known is not None else None
    return owner or f"owner-{token_hash(state).hex()[:8]}"


async def _home(hub: Hub, account_id: str, site_id: str) -> VirtualHome:
    """Reads how a site is set up. Raises NotFound."""
    async with hub.store.read() as session:
        site = await owned(session, SiteRow, site_id, account_id)
        row = await session.get(GrantRow, site.enrollment_id)
        await hub.vault.unlock(session, account_id)
    if row is None or site.vendor != virtual.NAME:
        raise NotFound
    return home_of(open_grant(hub, account_id, row).facts)


async def _change(
    hub: Hub, account_id: str, site_id: str, actor: str, change: Callable[[VirtualHome], VirtualHome]
) -> Place:
    """Changes a home in every grant that opens it, and reads it anew: its whole history follows from what it is."""
    async with hub.store.write(account_id) as session:
        try:
            site = await owned(session, SiteRow, site_id, account_id)
        except NotFound:
            raise Invalid("No such site", errors={"/siteID": "no such virtual site in this account"}) from None
        await hub.vault.unlock(session, account_id)
        for enrollment in await site_rights.sharing(session, account_id, virtual.NAME, [site.vendor_id]):
            home = await _changed(hub, session, enrollment, change)
            await enrollments.forget_series(session, enrollment.id)
        await session.execute(sql_delete(LiveRow).where(col(LiveRow.site_id) == site_id))  # of what it was
        audit(session, account_id, actor, "virtual.change", site_id)
    return await _read(hub, account_id, home, anew=True)


async def _changed(
    hub: Hub, session: AsyncSession, enrollment: Enrollment, change: Callable[[VirtualHome], VirtualHome]
) -> VirtualHome:
    row = await session.get(GrantRow, enrollment.id)
    if row is None:
        raise NotFound
    grant = open_grant(hub, enrollment.account_id, row)
    home = change(home_of(grant.facts))
    others = {name: fact for name, fact in grant.facts.items() if name not in facts_of(home_of(grant.facts))}
    changed = Grant(secrets=grant.secrets, facts=_facts(others, home), site_ids=grant.site_ids, state=grant.state)
    await stored_consents.replace_grant(hub, session, enrollment, checked_grant(changed, virtual.NAME))
    return home


def _facts(others: Mapping[str, str], home: VirtualHome) -> dict[str, str]:
    return {**others, **facts_of(home)}


async def _read(hub: Hub, account_id: str, home: VirtualHome, *, anew: bool = False) -> Place:
    """Reads the home as a vendor is read, and returns what is stored of it."""
    (site_id,) = await _site_ids(hub, account_id, home)
    if anew and (site := await read_site(hub.store, account_id, site_id)) is not None:
        await sites.refresh_site(hub, site)
    return await sites.get_site(hub, account_id, site_id)


async def _site_ids(hub: Hub, account_id: str, home: VirtualHome) -> list[str]:
    values = {"account": account_id, "vendor": virtual.NAME, "id": home.vendor_id}
    sql = "SELECT id FROM site WHERE account_id = :account AND vendor = :vendor AND vendor_id = :id"
    return [row[0] for row in await hub.store.rows(sql, values)]


def _row_of(rows: Sequence[StoredDevice], device: VirtualDevice) -> StoredDevice:
    return next(row for row in rows if row.vendor_id == device.vendor_id)


def _with(home: VirtualHome, device: VirtualDevice) -> VirtualHome:
    if len(home.devices) >= DEVICES_MOST:
        raise Conflict(f"A virtual site has at most {DEVICES_MOST} devices; delete one, or make another site.")
    return structs.replace(home, devices=(*home.devices, device))


def _without(home: VirtualHome, vendor_id: str) -> VirtualHome:
    return structs.replace(home, devices=tuple(one for one in home.devices if one.vendor_id != vendor_id))


def _refuse_future(place: str, moment: Any) -> None:
    if (moment is not None and not moment.year >= 1990) or (moment is not None and moment > utc_now()):
        raise Invalid("A time is not possible", errors={place: "must be of the past, and after 1990"})
