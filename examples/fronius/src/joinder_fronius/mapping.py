"""What the Solar API's answers mean. Pure: no clock, no network. Unknown stays None."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from joinder import Counter, Device, DeviceKind, Live, MeterRole, Site, physics
from joinder.errors import UnexpectedPayload
from joinder.series import percent
from joinder_fronius.api import At, Inverter, Meter, PowerFlow, Store

AT_GRID = 0


def site_id(inverters: Mapping[str, Inverter]) -> str:
    """The first inverter's unique id. Raises UnexpectedPayload where none is listed."""
    if not inverters:
        raise UnexpectedPayload("The Solar API lists no inverter")
    return f"fronius:{inverters[min(inverters)].unique_id}"


def site(
    of: str, timezone: str, inverters: Mapping[str, Inverter], meters: Mapping[str, Meter], stores: Mapping[str, Store]
) -> Site:
    return Site(
        vendor_id=of,
        name="Fronius",
        timezone=timezone,
        devices=(*_inverters(inverters.values()), *_batteries(stores), *_meters(meters)),
    )


def _inverters(found: Iterable[Inverter]) -> Iterable[Device]:
    for one in found:
        yield Device(
            vendor_id=one.unique_id,
            kind=DeviceKind.INVERTER,
            serial=one.unique_id,
            name=one.custom_name,
            max_power_w=one.pv_power or None,  # 0: nobody entered it
        )


def _batteries(found: Mapping[str, Store]) -> Iterable[Device]:
    for number, one in found.items():
        details = one.controller.details
        yield Device(
            vendor_id=details.serial or f"battery-{number}",
            kind=DeviceKind.BATTERY,
            serial=details.serial,
            model=details.model,
            nameplate_wh=one.controller.designed_wh,
            soc_percent=percent(one.controller.soc),
        )


def _meters(found: Mapping[str, Meter]) -> Iterable[Device]:
    for number, one in found.items():
        yield Device(
            vendor_id=one.details.serial or f"meter-{number}",
            kind=DeviceKind.METER,
            serial=one.details.serial,
            model=one.details.model,
            role=MeterRole.GRID if one.location == AT_GRID else MeterRole.OTHER,
        )


def counters(flow: At[PowerFlow], meters: Mapping[str, Meter], of: Site) -> tuple[Counter, ...]:
    """Registers of the whole site: the inverters' energy where no battery stands behind them, the meter's at the grid."""
    grid = next((one for one in meters.values() if one.location == AT_GRID), None)
    return (
        Counter(
            at=flow.at,
            solar_wh=None if of.has(DeviceKind.BATTERY) else flow.told.site.total,
            import_wh=grid.consumed if grid is not None else None,
            export_wh=grid.produced if grid is not None else None,
        ),
    )


def live(flow: At[PowerFlow], of: Site) -> tuple[Live, tuple[str, ...]]:
    """The load is the sum of its parts, as everywhere; the inverter's own P_Load is the same sum with another sign."""
    told = flow.told.site
    solar_w = physics.solar_power(0.0 if told.solar is None else told.solar)  # null while the inverter sleeps
    battery_w = told.battery if of.has(DeviceKind.BATTERY) else 0.0
    load = physics.home_load((solar_w, battery_w, told.grid))
    charges = [percent(one.soc) for one in flow.told.inverters.values() if one.soc is not None]
    found = Live(
        measured_at=flow.at,
        solar_w=solar_w,
        battery_w=battery_w if of.has(DeviceKind.BATTERY) else None,
        grid_w=told.grid,
        load_w=load.watts,
        soc_percent=charges[0] if len(charges) == 1 else None,
    )
    return found, (physics.NO_LOAD,) if load.is_impossible else ()
