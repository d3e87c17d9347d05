"""What Acme's answers mean. Pure: no clock, no network. Unknown stays None."""

from __future__ import annotations

from joinder import Counter, Device, DeviceKind, Live, MeterRole, Site, physics
from joinder.series import percent
from joinder_acme.api import DeviceEntry, Info, Power, Totals

_KINDS = {
    "inverter": DeviceKind.INVERTER,
    "battery": DeviceKind.BATTERY,
    "meter": DeviceKind.METER,
    "charger": DeviceKind.CHARGER,  # of cars
}


def site(info: Info) -> Site:
    devices = tuple(_device(entry) for entry in info.devices if entry.kind in _KINDS)
    return Site(vendor_id=info.serial, name=info.name, timezone=info.timezone, devices=devices)


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


def counters(totals: Totals) -> tuple[Counter, ...]:
    """Returns the counters of the whole site. Core subtracts one from the next, and knows what a restart looks like."""
    return (
        Counter(
            at=totals.at,
            solar_wh=totals.solar,
            charge_wh=totals.charged,
            discharge_wh=totals.discharged,
            import_wh=totals.imported,
            export_wh=totals.exported,
            charger_wh=totals.car,
        ),
    )


def live(power: Power) -> tuple[Live, tuple[str, ...]]:
    """Acme's signs turned: Joinder's are + discharging and + importing. With what the operator should know of it.

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
