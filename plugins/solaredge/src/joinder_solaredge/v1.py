"""SolarEdge's Monitoring API V1, which ended on 2026-11-03: kept for keys that still get answers, and no longer.

The key stands in every URL. Times are local to the site and carry no offset. Source: the vendor's PDF of August 2022.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import Any, TypeVar
from urllib.parse import quote
from zoneinfo import ZoneInfo

from msgspec import Struct, field

from joinder import Device, DeviceKind, MeterRole, Reading, Readings, ReadingsQuery, Site, physics
from joinder.energy import LOAD_BELOW_ZERO
from joinder.errors import AppCredentialsRejected, NotSupported, OperatorActionNeeded, RateLimited
from joinder.grants import Context
from joinder.http import Answer, raise_for_status
from joinder.series import Number, instants, plausible, with_load, zone
from joinder_solaredge import mapping, places, v1_storage
from joinder_solaredge.api import CALL_DEADLINE, HOST, RETIRED
from joinder_solaredge.sums import capacities
from joinder_solaredge.v1_storage import is_wall_time

T = TypeVar("T")
PAGE_SIZE = 100
_METERS = {"Production": "solar_wh", "Consumption": "load_wh", "FeedIn": "export_wh", "Purchased": "import_wh"}
_UNITS = {"WH": 1.0, "KWH": 1e3, "MWH": 1e6}
NO_TIME = "SolarEdge sent rows whose date is not the site's local time: they are left out"


class SiteEntry(Struct):
    id: int


class _SiteList(Struct):
    count: int
    entries: list[SiteEntry] = field(name="list")


class Sites(Struct):
    sites: _SiteList


class _Location(Struct, rename="camel"):
    time_zone: str | None = None
    latitude: Any = None  # coordinates stand in no document; they are read where they are told
    longitude: Any = None


class _Details(Struct):
    id: int
    name: str | None = None
    location: _Location | None = None


class Details(Struct):
    details: _Details


class Item(Struct):
    serial: str | None = field(name="SN", default=None)
    name: str | None = None
    model: str | None = None
    type: str | None = None  # meters: Production, Consumption, FeedInPurchased
    nameplate_capacity: Any = field(name="nameplateCapacity", default=None)  # batteries, Wh


class _Inventory(Struct):
    inverters: list[Item] = []
    batteries: list[Item] = []
    meters: list[Item] = []


class Inventory(Struct):
    inventory: _Inventory = field(name="Inventory")


class Row(Struct):
    """`value` is left out where there is none."""

    date: str
    value: Number | None = None


class Meter(Struct):
    type: str
    values: list[Row] = []


class _Energies(Struct):
    unit: str | None = None
    meters: list[Meter] = []


class EnergyDetails(Struct, rename="camel"):
    energy_details: _Energies


async def get(ctx: Context, path: str, into: type[T], **params: str | int) -> T:
    """Sends one GET and returns its body as `into`; no text of ours names the key. Raises as `check`."""
    params["api_key"] = ctx.require_app()["apiKey"]
    answer = await ctx.http.request("GET", f"https://{HOST}{path}", params=params, deadline=CALL_DEADLINE)
    check(answer)
    return answer.json(into)


def check(answer: Answer) -> None:
    """Raises what a refusal means. 403 is a range or a permission: ranges are kept, so it is the permission."""
    if answer.status == 410:
        raise OperatorActionNeeded(RETIRED)
    if answer.status == 401:
        raise AppCredentialsRejected("SolarEdge refuses this API key")
    if answer.status in (403, 404):
        raise NotSupported("SolarEdge does not show this to the API key")
    if answer.status == 429:
        raise RateLimited("SolarEdge's 300 calls a day are used up", retry_after=answer.retry_after())
    raise_for_status(answer)


async def all_site_ids(ctx: Context) -> tuple[str, ...]:
    """Asks for every site of an account's key.

    A page that tells none that is new ends the list, whatever count the vendor tells.
    """
    found: dict[str, None] = {}
    while True:
        before = len(found)
        page = (await get(ctx, "/sites/list", Sites, size=PAGE_SIZE, startIndex=before)).sites
        found |= dict.fromkeys(str(entry.id) for entry in page.entries)
        if len(found) == before or len(found) >= page.count:
            return tuple(found)


async def site(ctx: Context, site_id: str) -> Site:
    path = f"/site/{quote(site_id, safe='')}"
    details = (await get(ctx, f"{path}/details", Details)).details
    inventory = (await get(ctx, f"{path}/inventory", Inventory)).inventory
    return normalised(details, inventory)


def normalised(details: _Details, inventory: _Inventory) -> Site:
    """Builds the site of V1's details and inventory."""
    location = details.location or _Location()
    where, warnings = places.zone_name(location.time_zone)
    lat, lon = places.place(location.latitude, location.longitude)
    return Site(
        vendor_id=str(details.id),
        name=details.name or "SolarEdge site",
        timezone=where,
        lat=lat,
        lon=lon,
        warnings=warnings,
        devices=(
            *_devices(inventory.inverters, DeviceKind.INVERTER),
            *_devices(inventory.batteries, DeviceKind.BATTERY),
            *_devices(inventory.meters, DeviceKind.METER),
        ),
    )


def _devices(items: Iterable[Item], kind: DeviceKind) -> tuple[Device, ...]:
    roles = {"Production": MeterRole.PRODUCTION, "Consumption": MeterRole.LOAD}
    return tuple(
        Device(
            vendor_id=item.serial,
            serial=item.serial,
            kind=kind,
            model=item.model,
            name=item.name,
            role=roles.get(item.type or "", MeterRole.GRID) if kind is DeviceKind.METER else None,
            nameplate_wh=places.capacity_wh(item.nameplate_capacity) if kind is DeviceKind.BATTERY else None,
        )
        for item in items
        if item.serial
    )


async def readings(ctx: Context, query: ReadingsQuery) -> Readings:
    """Reads quarter hours of the whole site, in Wh; everything else of V1 is not read any more.

    Raises NotSupported for another resolution, a device, or a site without a known zone.
    """
    where = zone(query.site.timezone)
    if where is None or query.resolution != "15mins" or query.device_id is not None:
        raise NotSupported("Of SolarEdge's V1 only a whole site's quarter hours are read")
    if query.start >= query.end:
        return Readings()
    path = f"/site/{quote(query.site.vendor_id, safe='')}/energyDetails"
    span = {"startTime": _wall(query.start, where), "endTime": _wall(query.end, where)}
    details = await get(ctx, path, EnergyDetails, timeUnit="QUARTER_OF_AN_HOUR", **span)
    stored, warnings = await _stored(ctx, query, where)
    rows = quarters(details.energy_details, query, where, ctx.now(), stored)
    return Readings(intervals=rows, warnings=(*warnings, *doubts(details.energy_details, rows, where)))


async def _stored(
    ctx: Context, query: ReadingsQuery, where: ZoneInfo
) -> tuple[v1_storage.Told | None, tuple[str, ...]]:
    """Reads what the site's batteries did, and warnings; None without batteries, or where the key does not open them.

    The rest counts without.
    """
    sizes = capacities(query.site.devices)
    if not sizes:
        return None, ()
    span = {
        "startTime": _wall(query.start - v1_storage.MARGIN, where),
        "endTime": _wall(query.end + v1_storage.MARGIN, where),
    }
    path = f"/site/{quote(query.site.vendor_id, safe='')}/storageData"
    try:
        answer = await get(ctx, path, v1_storage.StorageData, **span)
    except NotSupported as error:
        return None, (f"StorageData: {error}",)
    batteries = answer.storage.batteries
    each = {one.serial_number: v1_storage.quarters(one, query.start, query.end, where) for one in batteries}
    told = v1_storage.over_all(each, sizes)
    return told, (mapping.PLACEHOLDERS,) if told.are_placeholders else ()


def quarters(
    energies: _Energies,
    query: ReadingsQuery,
    where: ZoneInfo,
    now: datetime | None = None,
    stored: v1_storage.Told | None = None,
) -> tuple[Reading, ...]:
    """Sums meters of one kind to readings in Wh.

    Where one of them, or a battery, is silent, the quarter hour is partial.
    """
    factor = _UNITS.get((energies.unit or "").upper())
    rows = [(_METERS[meter.type], _told(meter, where, factor)) for meter in energies.meters if meter.type in _METERS]
    found: dict[str, mapping.Rows] = dict(stored.metrics) if stored else {}
    lacking = set(stored.lacking) if stored else set()
    for metric in dict.fromkeys(name for name, _ in rows):
        each = [{metric: told} for name, told in rows if name == metric]
        found |= mapping.over_all(each)
        lacking |= mapping.silences(each)
    battery = query.site.has(DeviceKind.BATTERY)
    read = mapping.quarters(found, query.start, query.end, None, lacking, now=now)
    return tuple(with_load(row, battery=battery) for row in read)


def _told(meter: Meter, where: ZoneInfo, factor: float | None) -> mapping.Rows:
    """Returns Wh by the start of their rows; a unit that nobody knows makes every value unknown."""
    told = _rows(meter, where)
    known = mapping.known_once((at, None if factor is None else row.value) for at, row in told)
    values = {at: None if value is None or factor is None else plausible(value * factor) for at, value in known.items()}
    return dict.fromkeys(at for at, _ in told) | values


def _rows(meter: Meter, where: ZoneInfo) -> list[tuple[datetime, Row]]:
    rows = [row for row in meter.values if is_wall_time(row.date)]
    return list(zip(instants((datetime.fromisoformat(row.date) for row in rows), where), rows, strict=True))


def doubts(energies: _Energies, rows: Iterable[Reading], where: ZoneInfo) -> Iterator[str]:
    """Yields a sentence for each kind of value that is left out."""
    if energies.unit is not None and energies.unit.upper() not in _UNITS:
        yield mapping.NO_UNIT
    if any(not is_wall_time(row.date) for meter in energies.meters for row in meter.values):
        yield NO_TIME
    each = ([(at, row.value) for at, row in _rows(meter, where)] for meter in energies.meters)
    if any(None in mapping.known_once(told).values() for told in each):
        yield mapping.TWICE
    if any(row.rule == LOAD_BELOW_ZERO for row in rows):
        yield physics.NO_LOAD


def _wall(at: datetime, where: ZoneInfo) -> str:
    return at.astimezone(where).strftime("%Y-%m-%d %H:%M:%S")
