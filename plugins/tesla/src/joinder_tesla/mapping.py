"""Tesla's energy sites and history as Joinder's sites and readings. Pure: no clock, no network.

Tesla's signs are ours: battery + discharging, grid + importing. What a site has no part for is unknown, although Tesla
answers zeros for it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from datetime import date, datetime, time, timedelta
from itertools import pairwise
from typing import Literal

from joinder import Device, DeviceKind, Live, MeterRole, Reading, ReadingsQuery, Site
from joinder.errors import NotSupported
from joinder.series import Days, Quarters, days_between, plausible, zone
from joinder_tesla.api import Components, LiveStatus, Part, Product, Row, SiteInfo

ROW_LENGTHS = (timedelta(minutes=5), timedelta(minutes=15))  # with a battery, and without
_MODES: dict[str, Literal["Self Consumption", "Savings", "Backup"]] = {
    "self_consumption": "Self Consumption",
    "autonomous": "Savings",
    "backup": "Backup",
}
_ENERGIES = {
    "solar_wh": ("solar_energy_exported",),
    "discharge_wh": ("battery_energy_exported",),
    "charge_wh": tuple(f"battery_energy_imported_from_{source}" for source in ("grid", "solar", "generator")),
    "import_wh": ("grid_energy_imported",),
    "export_wh": tuple(f"grid_energy_exported_from_{source}" for source in ("solar", "battery", "generator")),
    "load_wh": tuple(f"consumer_energy_imported_from_{s}" for s in ("grid", "solar", "battery", "generator")),
}


def site_ids(products: Iterable[Product]) -> tuple[str, ...]:
    """Cars have none; a bare site whose components are all false has nothing to read."""
    sites = [product for product in products if product.energy_site_id is not None and _has_parts(product)]
    return tuple(dict.fromkeys(str(product.energy_site_id) for product in sites))


def _has_parts(product: Product) -> bool:
    parts = product.components
    return parts is None or any(parts.get(name) for name in ("solar", "battery", "grid", "load_meter"))


def site(site_id: str, info: SiteInfo) -> Site:
    parts = info.components or Components()
    return Site(
        vendor_id=site_id,
        name=info.site_name or "Tesla energy site",
        timezone=_zone_name(info),
        operational_since=_moment(info.installation_date),
        devices=(*_inverters(parts), *_batteries(parts, info), *_meters(parts)),
    )


def _moment(text: str | None) -> datetime | None:
    try:
        at = datetime.fromisoformat((text or "").replace(" ", ""))
    except ValueError:
        return None
    return at if at.tzinfo is not None else None


def _zone_name(info: SiteInfo) -> str | None:
    """The IANA name; a site that has only an offset ignores summer time, so a fixed zone is right for it."""
    if zone(info.installation_time_zone) is not None:
        return info.installation_time_zone
    minutes = info.time_zone_offset
    if minutes is None or minutes % 60 or abs(minutes) > 12 * 60:
        return None
    return f"Etc/GMT{-minutes // 60:+d}" if minutes else "Etc/GMT"


def _inverters(parts: Components) -> tuple[Device, ...]:
    """Those that are listed, else one that stands for all."""
    listed = tuple(
        Device(vendor_id=key, kind=DeviceKind.INVERTER, serial=part.serial_number, model=part.part_name)
        for key, part in _keyed(parts.inverters)
    )
    return listed or ((Device(vendor_id="solar", kind=DeviceKind.INVERTER, name="Solar"),) if parts.solar else ())


def _batteries(parts: Components, info: SiteInfo) -> tuple[Device, ...]:
    mode = _MODES.get(info.default_real_mode or "")
    listed = tuple(
        Device(
            vendor_id=key,
            kind=DeviceKind.BATTERY,
            serial=part.serial_number,
            model=part.part_name,
            nameplate_wh=part.nameplate_energy or None,
            max_power_w=part.nameplate_max_discharge_power or None,
            mode=mode,
        )
        for key, part in _keyed(parts.batteries)
    )
    whole = Device(
        vendor_id="battery",
        kind=DeviceKind.BATTERY,
        name="Battery",
        nameplate_wh=info.nameplate_energy or None,
        max_power_w=info.nameplate_power or None,
        mode=mode,
    )
    return listed or ((whole,) if parts.battery else ())


def _keyed(parts: Iterable[Part] | None) -> Iterator[tuple[str, Part]]:
    """Active parts with ids of their own; expansions may repeat the serial number of what they hang on."""
    seen: Counter[str] = Counter()
    for part in parts or ():
        key = part.serial_number or part.din
        if key and part.is_active is not False:
            seen[key] += 1
            yield (key if seen[key] == 1 else f"{key}:{seen[key]}"), part


def _meters(parts: Components) -> tuple[Device, ...]:
    """Without battery and load meter Tesla makes the grid up: minus the sun, and no load."""
    if not parts.grid or not (parts.battery or parts.load_meter):
        return ()
    return (Device(vendor_id="grid", kind=DeviceKind.METER, name="Grid", role=MeterRole.GRID),)


def live(status: LiveStatus, of: Site) -> Live | None:
    if status.timestamp is None or status.timestamp.tzinfo is None:
        return None
    has_battery, has_meter = _has(of, DeviceKind.BATTERY), _has(of, DeviceKind.METER)
    percent = plausible(status.percentage_charged)
    return Live(
        measured_at=status.timestamp,
        solar_w=plausible(status.solar_power),
        battery_w=status.battery_power if has_battery else None,
        grid_w=status.grid_power if has_meter else None,
        load_w=plausible(status.load_power) if has_meter else None,
        soc_percent=percent if has_battery and percent is not None and percent <= 100 else None,
    )


def days_to_ask(query: ReadingsQuery) -> list[dict[str, str]]:
    """Local days from 00:00:00 to 23:59:59, each with the offset of that moment; midnight as an end answers nothing.

    Sites that ignore summer time answer a day that begins an hour late or early: an hour more is asked for.
    """
    where = zone(query.site.timezone)
    if where is None:
        raise NotSupported("The site's time zone is unknown")
    days = days_between(query.start, query.end + timedelta(hours=1), where)
    return [_span(day, day, "day", query) for day in days]


def months_to_ask(query: ReadingsQuery) -> list[dict[str, str]]:
    where = zone(query.site.timezone)
    if where is None:
        raise NotSupported("The site's time zone is unknown")
    firsts = sorted({day.replace(day=1) for day in days_between(query.start, query.end, where)})
    return [
        _span(first, (first + timedelta(days=32)).replace(day=1) - timedelta(days=1), "month", query)
        for first in firsts
    ]


def _span(first: date, last: date, period: str, query: ReadingsQuery) -> dict[str, str]:
    where = zone(query.site.timezone)
    return {
        "period": period,
        "start_date": datetime.combine(first, time(), where).isoformat(),
        "end_date": datetime.combine(
            last,
            time(23, 59, 59),
            where,
        ).isoformat(),
        "time_zone": query.site.timezone or "",
    }


def quarters(rows: Sequence[Row], query: ReadingsQuery) -> tuple[Reading, ...]:
    """Rows of mean power from their stamp on; a row that stands in two days' answers counts once."""
    by_instant = {row.timestamp: row for row in rows if row.timestamp.tzinfo is not None}
    has_battery, has_meter = _has(query.site, DeviceKind.BATTERY), _has(query.site, DeviceKind.METER)
    length = _row_length(sorted(by_instant), has_battery)
    found = Quarters(query.start, query.end)
    for at, row in sorted(by_instant.items(), key=lambda entry: entry[0]):
        end = at + length
        found.power("solar_wh", at, end, row.solar_power)
        if has_battery:
            found.flow("discharge_wh", "charge_wh", at, end, row.battery_power)
        if has_meter:
            found.flow("import_wh", "export_wh", at, end, row.grid_power)
            found.power("load_wh", at, end, _load(row, has_battery))
    return found.readings()


def _row_length(stamps: Sequence[datetime], has_battery: bool) -> timedelta:
    """5 minutes with a battery, 15 without; the rows themselves decide where there are enough."""
    gaps = [after - before for before, after in pairwise(stamps)]
    smallest = min(gaps, default=None)
    return smallest if smallest in ROW_LENGTHS else ROW_LENGTHS[0 if has_battery else 1]


def _load(row: Row, has_battery: bool) -> float | None:
    parts = (row.solar_power, row.grid_power, row.battery_power if has_battery else 0.0)
    if any(part is None for part in parts):
        return None
    return max(0.0, sum(part or 0.0 for part in parts) + (row.generator_power or 0.0))


def days(rows: Iterable[Row], query: ReadingsQuery) -> tuple[Reading, ...]:
    """Rows of a day, or of parts of it: their number is not fixed. The stamp's own date is the site's."""
    where = zone(query.site.timezone)
    if where is None:
        return ()
    found = Days(where, query.start, query.end)
    has = {"charge_wh": DeviceKind.BATTERY, "discharge_wh": DeviceKind.BATTERY}
    has |= dict.fromkeys(("import_wh", "export_wh", "load_wh"), DeviceKind.METER)
    for row in {row.timestamp: row for row in rows}.values():
        for metric, members in _ENERGIES.items():
            if metric not in has or _has(query.site, has[metric]):
                found.energy(metric, row.timestamp.date(), _sum(row, members))
    return found.readings()


def _sum(row: Row, members: Sequence[str]) -> float | None:
    known = [value for member in members if (value := plausible(getattr(row, member))) is not None]
    return sum(known) if known else None


def _has(of: Site, kind: DeviceKind) -> bool:
    return any(device.kind is kind for device in of.devices)
