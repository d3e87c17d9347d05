"""SolarEdge's Monitoring API V1, which ended on 2026-11-03: kept for keys that still get answers, and no longer.

The key stands in every URL. Times are local to the site and carry no offset. Source: the vendor's PDF of August 2022.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import TypeVar
from urllib.parse import quote
from zoneinfo import ZoneInfo

from msgspec import Struct, field

from joinder import Device, DeviceKind, MeterRole, Reading, Readings, ReadingsQuery, Site
from joinder.errors import AppCredentialsRejected, NotSupported, OperatorActionNeeded, RateLimited
from joinder.grants import Context
from joinder.http import Answer, raise_for_status
from joinder.series import QUARTER, Number, Quarters, instants, with_load, zone
from joinder_solaredge.api import CALL_DEADLINE, HOST, RETIRED

T = TypeVar("T")
PAGE_SIZE = 100
_METERS = {"Production": "solar_wh", "Consumption": "load_wh", "FeedIn": "export_wh", "Purchased": "import_wh"}
_UNITS = {"Wh": 1.0, "kWh": 1e3, "MWh": 1e6}


class SiteEntry(Struct):
    id: int


class _SiteList(Struct):
    count: int
    entries: list[SiteEntry] = field(name="list")


class Sites(Struct):
    sites: _SiteList


class _Location(Struct, rename="camel"):
    time_zone: str | None = None


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
    """One GET; no text of ours names the key."""
    params["api_key"] = ctx.require_app()["apiKey"]
    answer = await ctx.http.request("GET", f"https://{HOST}{path}", params=params, deadline=CALL_DEADLINE)
    check(answer)
    return answer.json(into)


def check(answer: Answer) -> None:
    """403 is a range or a permission: ranges are kept, so it is the permission."""
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
    found: list[str] = []
    while True:
        page = (await get(ctx, "/sites/list", Sites, size=PAGE_SIZE, startIndex=len(found))).sites
        found += [str(entry.id) for entry in page.entries]
        if not page.entries or len(found) >= page.count:
            return tuple(dict.fromkeys(found))


async def site(ctx: Context, site_id: str) -> Site:
    path = f"/site/{quote(site_id, safe='')}"
    details = (await get(ctx, f"{path}/details", Details)).details
    inventory = (await get(ctx, f"{path}/inventory", Inventory)).inventory
    return normalised(details, inventory)


def normalised(details: _Details, inventory: _Inventory) -> Site:
    location = details.location or _Location()
    return Site(
        vendor_id=str(details.id),
        name=details.name or "SolarEdge site",
        timezone=location.time_zone,
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
        )
        for item in items
        if item.serial
    )


async def readings(ctx: Context, query: ReadingsQuery) -> Readings:
    """Quarter hours of the whole site; everything else of V1 is not read any more."""
    where = zone(query.site.timezone)
    if where is None or query.resolution != "15mins" or query.device_id is not None:
        raise NotSupported("Of SolarEdge's V1 only a whole site's quarter hours are read")
    if query.start >= query.end:
        return Readings()
    path = f"/site/{quote(query.site.vendor_id, safe='')}/energyDetails"
    span = {"startTime": _wall(query.start, where), "endTime": _wall(query.end, where)}
    details = await get(ctx, path, EnergyDetails, timeUnit="QUARTER_OF_AN_HOUR", **span)
    return Readings(intervals=quarters(details.energy_details, query, where))


def quarters(energies: _Energies, query: ReadingsQuery, where: ZoneInfo) -> tuple[Reading, ...]:
    found, factor = Quarters(query.start, query.end), _UNITS.get(energies.unit or "")
    for meter in energies.meters:
        metric = _METERS.get(meter.type)
        if metric is None or factor is None:
            continue
        walls = [datetime.fromisoformat(row.date) for row in meter.values if _is_time(row.date)]
        rows = [row for row in meter.values if _is_time(row.date)]
        for at, row in zip(instants(walls, where), rows, strict=True):
            found.energy(metric, at, at + QUARTER, None if row.value is None else row.value * factor)
    battery = any(device.kind is DeviceKind.BATTERY for device in query.site.devices)
    return tuple(with_load(row, battery=battery) for row in found.readings())


def _is_time(text: str) -> bool:
    try:
        return datetime.fromisoformat(text).tzinfo is None
    except ValueError:
        return False


def _wall(at: datetime, where: ZoneInfo) -> str:
    return at.astimezone(where).strftime("%Y-%m-%d %H:%M:%S")
