"""What the Northbound API's answers mean. Pure: no clock, no network. Unknown stays None."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, time, timedelta
from zoneinfo import ZoneInfo

from joinder import Device, DeviceKind, Live, MeterRole, Reading, ReadingsQuery, Site, physics
from joinder.errors import NotSupported
from joinder.series import Days, Quarters, day_span, days_between, once, percent, zone
from joinder_huawei.api import DeviceEntry, Energies, Figure, Figures, Now, Plant, Row

# Types of the device list: 1 string and 38 residential inverter, 39 residential battery, 41 energy storage system, 17
# grid meter, 47 power sensor. Others (loggers, dongles, environment monitors, optimizers) are no devices of a home.
KINDS = {
    1: DeviceKind.INVERTER,
    38: DeviceKind.INVERTER,
    39: DeviceKind.BATTERY,
    41: DeviceKind.BATTERY,
    17: DeviceKind.METER,
    47: DeviceKind.METER,
}
ROLES = {17: MeterRole.GRID, 47: MeterRole.OTHER}  # the list does not say where a power sensor is
HOUR = timedelta(hours=1)


def number(told: Figure) -> float | None:
    """Returns the number in it; None for null, "N/A" and any other word."""
    try:
        return float(told) if told is not None else None
    except ValueError:
        return None


def site(plant: Plant, devices: Iterable[DeviceEntry]) -> Site:
    """Devices have their type in their id: figures of now are asked by type."""
    return Site(
        vendor_id=plant.plant_code,
        name=plant.plant_name,
        lat=number(plant.latitude),
        lon=number(plant.longitude),
        devices=tuple(_device(entry) for entry in devices if entry.dev_type_id in KINDS),
    )


def _device(entry: DeviceEntry) -> Device:
    return Device(
        vendor_id=f"{entry.dev_type_id}:{entry.id}",
        kind=KINDS[entry.dev_type_id],
        serial=entry.esn_code,
        name=entry.dev_name,
        model=entry.inv_type,
        role=ROLES.get(entry.dev_type_id),
    )


def asked_now(of: Site) -> list[tuple[int, list[str]]]:
    """Returns the inverters and batteries by type, whose figures of now one call tells."""
    found: dict[int, list[str]] = {}
    for device in of.devices:
        kind, _, own_id = device.vendor_id.partition(":")
        if device.kind is not DeviceKind.METER:
            found.setdefault(int(kind), []).append(own_id)
    return list(found.items())


def moments(query: ReadingsQuery) -> tuple[str, list[datetime]]:
    """Returns the call that tells such rows, and a moment of each day, or of each month, that the span touches."""
    where = _zone_of(query.site)
    noons = [
        datetime.combine(day, time(12), where).astimezone(UTC) for day in days_between(query.start, query.end, where)
    ]
    if query.resolution == "15mins":
        return "getKpiStationHour", noons
    months = {(at.astimezone(where).year, at.astimezone(where).month): at for at in noons}
    return "getKpiStationDay", list(months.values())


def _zone_of(of: Site) -> ZoneInfo:
    """Raises NotSupported where nobody knows it: its days are told by the plant's own clock."""
    where = zone(of.timezone)
    if where is None:
        raise NotSupported("The plant's place is not entered in FusionSolar, so its days cannot be told")
    return where


def readings(rows: Iterable[Row], query: ReadingsQuery, now: datetime) -> tuple[Reading, ...]:
    """Returns whole hours, shared out to quarter hours, or days. What still runs is left out, as nobody says so."""
    told = once((datetime.fromtimestamp(row.collect_time / 1000, UTC), row.data_item_map) for row in rows)
    return _hours(told, query, now) if query.resolution == "15mins" else _days(told, query, now)


def _hours(told: dict[datetime, Energies | None], query: ReadingsQuery, now: datetime) -> tuple[Reading, ...]:
    found = Quarters(query.start, query.end)
    for start, energies in told.items():
        if energies is None:
            found.told_twice(start, start + HOUR)
        elif start + HOUR <= now:
            for metric, wh in _metrics(energies).items():
                found.energy(metric, start, start + HOUR, wh)
    return found.readings()


def _days(told: dict[datetime, Energies | None], query: ReadingsQuery, now: datetime) -> tuple[Reading, ...]:
    where = _zone_of(query.site)
    found = Days(where, query.start, query.end)
    for start, energies in told.items():
        day = start.astimezone(where).date()
        if energies is None:
            found.told_twice(day)
        elif day_span(day, where)[1] <= now:
            for metric, wh in _metrics(energies).items():
                found.energy(metric, day, wh)
    return found.readings()


def _metrics(energies: Energies) -> dict[str, float | None]:
    solar = energies.solar if energies.solar is not None else energies.inverter
    return {
        "solar_wh": _wh(solar),
        "import_wh": _wh(energies.imported),
        "export_wh": _wh(energies.exported),
        "charge_wh": _wh(energies.charged),
        "discharge_wh": _wh(energies.discharged),
        "load_wh": _wh(energies.used),
    }


def _wh(kwh: Figure) -> float | None:
    known = number(kwh)
    return None if known is None else known * 1000


def live(told: list[Now], of: Site) -> Live | None:
    """Returns power of the panels and charge; neither grid nor battery power, as no document tells their signs."""
    if not told:
        return None
    figures = {device.dev_id: device.data_item_map for now in told for device in now.data}
    own = {device.vendor_id: figures.get(int(device.vendor_id.partition(":")[2])) for device in of.devices}
    inputs = [number(figure.input_kw) if figure else None for figure in _of(of, DeviceKind.INVERTER, own)]
    charges = [percent(number(figure.soc)) if figure else None for figure in _of(of, DeviceKind.BATTERY, own)]
    is_known = bool(inputs) and None not in inputs
    return Live(
        measured_at=datetime.fromtimestamp(min(now.params.current_time for now in told) / 1000, UTC),
        solar_w=physics.solar_power(sum(one or 0.0 for one in inputs) * 1000) if is_known else None,
        soc_percent=charges[0] if len(charges) == 1 else None,
    )


def _of(site_of: Site, kind: DeviceKind, figures: dict[str, Figures | None]) -> list[Figures | None]:
    return [figures[device.vendor_id] for device in site_of.devices if device.kind is kind]
