"""What Acme's answers mean. Pure: no clock, no network. Unknown stays None."""

from __future__ import annotations

from joinder import Device, DeviceKind, Live, MeterRole, Reading, ReadingsQuery, Site, physics
from joinder.series import Days, Quarters, percent, with_load, zone
from joinder_acme.api import DeviceEntry, Energy, Power, Row, SiteDetails

_KINDS = {
    "inverter": DeviceKind.INVERTER,
    "battery": DeviceKind.BATTERY,
    "meter": DeviceKind.METER,
    "charger": DeviceKind.CHARGER,  # of cars
}


def site(details: SiteDetails) -> Site:
    devices = tuple(_device(entry) for entry in details.devices if entry.kind in _KINDS)
    return Site(vendor_id=details.id, name=details.name, timezone=details.timezone, devices=devices)


def _device(entry: DeviceEntry) -> Device:
    kind = _KINDS[entry.kind]
    return Device(
        vendor_id=entry.serial,
        serial=entry.serial,
        kind=kind,
        model=entry.model,
        role=MeterRole.GRID if kind is DeviceKind.METER else None,
        nameplate_wh=entry.capacity_wh,
    )


def readings(energy: Energy, query: ReadingsQuery) -> tuple[Reading, ...]:
    """Returns rows of the site with its load, or of the device that was asked for."""
    rows = _quarters(energy, query) if query.resolution == "15mins" else _days(energy, query)
    return rows if query.device_id is not None else tuple(with_load(row, battery=True) for row in rows)


def _quarters(energy: Energy, query: ReadingsQuery) -> tuple[Reading, ...]:
    quarters = Quarters(query.start, query.end)
    for row in energy.rows:
        for metric, wh in _metrics(row).items():
            quarters.energy(metric, row.start, row.end, wh)
        quarters.soc(row.start, row.end, row.soc)
        if row.silent:  # the sum lacks them: partial, and Joinder says which
            quarters.lacks(row.start, row.end, devices=row.silent)
    return quarters.readings(query.device_id)


def _days(energy: Energy, query: ReadingsQuery) -> tuple[Reading, ...]:
    where = zone(query.site.timezone)
    if where is None:
        return ()
    days = Days(where, query.start, query.end)
    for row in energy.rows:
        for metric, wh in _metrics(row).items():
            days.energy(metric, row.start.astimezone(where).date(), wh)
    return days.readings(query.device_id)


def _metrics(row: Row) -> dict[str, float | None]:
    return {
        "solar_wh": row.solar,
        "charge_wh": row.charged,
        "discharge_wh": row.discharged,
        "import_wh": row.imported,
        "export_wh": row.exported,
        "charger_wh": row.car,  # a part of the load, which it changes nothing of
    }


def live(power: Power) -> tuple[Live, tuple[str, ...]]:
    """Turns Acme's signs: Joinder's are + discharging and + importing. With what the operator should know of it.

    The load is the sum of parts that come from different meters: physics says when they contradict each other.
    """
    solar_w = physics.solar_power(power.solar)
    battery_w = None if power.battery is None else -power.battery
    grid_w = None if power.grid is None else -power.grid
    load_w, is_impossible = physics.home_load((solar_w, battery_w, grid_w))
    found = Live(
        measured_at=power.at,
        solar_w=solar_w,
        battery_w=battery_w,
        grid_w=grid_w,
        load_w=load_w,
        soc_percent=percent(power.soc),
    )
    return found, (physics.NO_LOAD,) if is_impossible else ()
