"""Which calls measure what, and their rows as quarter hours and local days. Pure: no clock, no network.

Rows are stamped with their end; they become [start, end). Unknown stays None.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from urllib.parse import quote
from zoneinfo import ZoneInfo

from joinder.energy import DeviceKind, MeterRole, Reading, Site
from joinder.series import QUARTER, Days, Quarters, with_load
from joinder_enphase_vpp.api import Lifetime, Row, Telemetry
from joinder_enphase_vpp.mapping import instant

RowColumns = Mapping[str, Callable[[Row], float | None]]
DayColumns = Mapping[str, Callable[[Lifetime], list[float | None] | None]]


@dataclass(frozen=True, kw_only=True)
class Series:
    """What one thing measures: its telemetry call, its *_lifetime call, and the metrics in both."""

    title: str
    path: str
    columns: RowColumns
    row_s: int = 900
    row_asked: bool = True  # the call has a parameter for the length of its rows
    day_path: str | None = None
    day_columns: DayColumns = field(default_factory=dict)


_MICRO: RowColumns = {"solar_wh": lambda row: row.enwh}
_STORAGE: RowColumns = {
    "charge_wh": lambda row: row.charge.enwh if row.charge else None,
    "discharge_wh": lambda row: row.discharge.enwh if row.discharge else None,
    "soc_percent": lambda row: row.soc.percent if row.soc else None,
}
_SOLAR_DAYS: DayColumns = {"solar_wh": lambda days: days.production}

SOLAR_METER = Series(
    title="Production meter",
    path="/telemetry/production_meter",
    columns={"solar_wh": lambda row: row.wh_del},
    day_path="/production_lifetime",
    day_columns=_SOLAR_DAYS,
)
SOLAR_MICRO = Series(
    title="Inverters",
    path="/telemetry/production_micro",
    columns=_MICRO,
    row_s=300,
    day_path="/production_lifetime",
    day_columns=_SOLAR_DAYS,
)
BATTERY = Series(
    title="Battery",
    path="/telemetry/battery",
    columns=_STORAGE,
    day_path="/battery_lifetime",
    day_columns={"charge_wh": lambda days: days.charge, "discharge_wh": lambda days: days.discharge},
)
IMPORT = Series(
    title="Grid import",
    path="/telemetry/import",
    columns={"import_wh": lambda row: row.wh_imported},
    day_path="/import_lifetime",
    day_columns={"import_wh": lambda days: days.imported},
)
EXPORT = Series(
    title="Grid export",
    path="/telemetry/export",
    columns={"export_wh": lambda row: row.wh_exported},
    day_path="/export_lifetime",
    day_columns={"export_wh": lambda days: days.exported},
)
LOAD = Series(
    title="Consumption meter",
    path="/telemetry/consumption_meter",
    columns={"load_wh": lambda row: row.enwh},
    day_path="/consumption_lifetime",
    day_columns={"load_wh": lambda days: days.consumption},
)
_METER_SERIES = {
    MeterRole.PRODUCTION: (SOLAR_METER,),
    MeterRole.GRID: (IMPORT, EXPORT),
    MeterRole.LOAD: (LOAD,),
    MeterRole.STORAGE: (BATTERY,),
}


def site_series(site: Site) -> tuple[Series, ...]:
    """What the site's devices measure together. A Net meter's consumption is left out: it is production + grid, so
    the load follows from the other series, with the battery in it."""
    roles, kinds = {device.role for device in site.devices}, {device.kind for device in site.devices}
    chosen: tuple[Series, ...] = ()
    if MeterRole.PRODUCTION in roles:
        chosen += (SOLAR_METER,)
    elif DeviceKind.INVERTER in kinds:
        chosen += (SOLAR_MICRO,)
    if DeviceKind.BATTERY in kinds:
        chosen += (BATTERY,)
    if roles & {MeterRole.GRID, MeterRole.LOAD}:
        chosen += (IMPORT, EXPORT)
    return chosen + ((LOAD,) if MeterRole.LOAD in roles else ())


def device_series(site: Site, device_id: str) -> tuple[Series, ...]:
    """Of one device; empty where the vendor has none. Meter calls sum over all meters of a role, so a meter has
    intervals of its own only when it is the only one."""
    device = next((device for device in site.devices if device.vendor_id == device_id), None)
    if device is None:
        return ()
    serial = quote(device_id, safe="")
    if device.kind is DeviceKind.INVERTER:
        path = f"/devices/micros/{serial}/telemetry"
        return (Series(title="Inverter", path=path, columns=_MICRO, row_s=300, row_asked=False),)
    if device.kind is DeviceKind.BATTERY:
        return (Series(title="Battery", path=f"/devices/encharges/{serial}/telemetry", columns=_STORAGE),)
    alike = [other for other in site.devices if other.role is device.role]
    return _METER_SERIES.get(device.role or MeterRole.OTHER, ()) if len(alike) == 1 else ()


def add_rows(into: Quarters, series: Series, telemetry: Telemetry) -> None:
    """Rows of one call; of two rows with one end the later in the answer counts."""
    for row in {row.end_at: row for row in telemetry.intervals}.values():
        if (end := instant(row.end_at)) is None:
            continue
        start = end - timedelta(seconds=series.row_s)
        for metric, read in series.columns.items():
            if metric == "soc_percent":
                into.soc(start, end, read(row))
            else:
                into.energy(metric, start, end, read(row))


def add_days(into: Days, series: Series, lifetime: Lifetime, where: ZoneInfo) -> None:
    """Values of one *_lifetime call. The day of the last reported energy, and any after it, is partial.

    Trailing zeros say "nothing reported" as well as "no energy" (the document has both): they are left out after
    that day.
    """
    first = _day(lifetime.start_date)
    if first is None:
        return
    last_energy = instant(lifetime.meta.last_energy_at if lifetime.meta else None)
    reported_days = (last_energy.astimezone(where).date() - first).days + 1 if last_energy else 0
    for metric, read in series.day_columns.items():
        values = read(lifetime) or []
        length = len(values)
        while length > max(reported_days, 0) and not values[length - 1]:
            length -= 1
        for offset, wh in enumerate(values[:length]):
            into.energy(metric, first + timedelta(days=offset), wh, partial=offset + 1 >= reported_days)


def _day(text: str | None) -> date | None:
    """None for what is no day, and for days so far off that a long list would run out of the calendar."""
    try:
        day = date.fromisoformat((text or "")[:10])
    except ValueError:
        return None
    return day if 1990 <= day.year <= 2200 else None


def loaded(readings: tuple[Reading, ...], of: Site, device_id: str | None) -> tuple[Reading, ...]:
    """With the load of the site where its parts are wholly known."""
    if device_id is not None:
        return readings
    battery = any(device.kind is DeviceKind.BATTERY for device in of.devices)
    return tuple(with_load(row, battery=battery) if row.quality == "measured" else row for row in readings)


def parameters(series: Series, start: datetime, end: datetime) -> dict[str, str | int]:
    """Of a telemetry call; granularity is the shortest documented span that holds [start, end)."""
    span = end - start
    granularity = "15mins" if span <= QUARTER else "day" if span <= timedelta(days=1) else "week"
    length = {"interval_duration": f"{series.row_s // 60}mins"} if series.row_asked else {}
    return {"start_at": int(start.timestamp()), "granularity": granularity, **length}
