"""Which calls of Grid Services measure what; their rows are read as those of the Monitoring API (joinder_enphase)."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

from joinder.energy import DeviceKind, MeterRole, Reading, Site
from joinder.series import QUARTER, with_load
from joinder_enphase import intervals
from joinder_enphase.intervals import BATTERY, CONSUMPTION, Series

SOLAR_METER = replace(intervals.SOLAR_METER, day_path="/production_lifetime")
SOLAR_MICRO = replace(intervals.SOLAR_MICRO, day_path="/production_lifetime")
IMPORT = replace(intervals.IMPORT, path="/telemetry/import", day_path="/import_lifetime")
EXPORT = replace(intervals.EXPORT, path="/telemetry/export", day_path="/export_lifetime")
LOAD = CONSUMPTION
_METER_SERIES = {
    MeterRole.PRODUCTION: (SOLAR_METER,),
    MeterRole.GRID: (IMPORT, EXPORT),
    MeterRole.LOAD: (LOAD,),
    MeterRole.STORAGE: (BATTERY,),
}


def site_series(site: Site) -> tuple[Series, ...]:
    """Chooses what the site's devices measure together.

    A Net meter's consumption is left out: it is production + grid, so the load follows from the other series, with the
    battery in it.
    """
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
    """Chooses the series of one device; empty where the vendor has none.

    Meter calls sum over all meters of a role, so a meter has intervals of its own only when it is the only one.
    """
    device = site.device(device_id)
    if device is None:
        return ()
    if device.kind is DeviceKind.INVERTER:
        return (replace(intervals.inverter_series(device), row_asked=False),)
    if device.kind is DeviceKind.BATTERY:
        return (intervals.battery_series(device),)
    alike = [other for other in site.devices if other.role is device.role]
    return _METER_SERIES.get(device.role or MeterRole.OTHER, ()) if len(alike) == 1 else ()


def loaded(readings: tuple[Reading, ...], of: Site, device_id: str | None) -> tuple[Reading, ...]:
    """Adds the load of the site where its parts are wholly known."""
    if device_id is not None:
        return readings
    battery = of.has(DeviceKind.BATTERY)
    return tuple(with_load(row, battery=battery) if row.quality == "measured" else row for row in readings)


def parameters(series: Series, start: datetime, end: datetime) -> dict[str, str | int]:
    """Returns the query of a telemetry call; granularity is the shortest documented span that holds [start, end)."""
    span = end - start
    granularity = "15mins" if span <= QUARTER else "day" if span <= timedelta(days=1) else "week"
    length = {"interval_duration": f"{series.row_s // 60}mins"} if series.row_asked else {}
    return {"start_at": int(start.timestamp()), "granularity": granularity, **length}
