"""SolarEdge's sites, devices and series as Joinder's. Pure: no clock, no network."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from joinder import Device, DeviceKind, Live, MeterRole, Reading, Site
from joinder.series import QUARTER, Days, Quarters, with_load
from joinder_solaredge.api import DeviceEntry, Location, Series, SiteDetails

_KINDS = {"INVERTER": DeviceKind.INVERTER, "BATTERY": DeviceKind.BATTERY, "METER": DeviceKind.METER}
_ENERGY_UNITS = {"WH": 1.0, "KWH": 1e3, "MWH": 1e6, "GWH": 1e9}
_POWER_UNITS = {"W": 1.0, "KW": 1e3, "MW": 1e6}
Energies = Mapping[str, tuple[str, str]]
STORAGE: Energies = {
    "charge_wh": ("chargeEnergy", "chargePower"),
    "discharge_wh": ("dischargeEnergy", "dischargePower"),
}
GRID: Energies = {"import_wh": ("importEnergy", "importPower"), "export_wh": ("exportEnergy", "exportPower")}
LOAD: Energies = {"load_wh": ("consumptionEnergy", "consumptionPower")}
SOLAR: Energies = {"solar_wh": ("energy", "power")}
PRODUCTION: Energies = {"solar_wh": ("productionEnergy", "productionPower")}


def site(details: SiteDetails, devices: Iterable[DeviceEntry]) -> Site:
    location = details.location if isinstance(details.location, Location) else Location()
    return Site(
        vendor_id=str(details.site_id),
        name=details.name or "SolarEdge site",
        timezone=location.timezone,
        operational_since=_moment(details.installation_date),
        devices=tuple(_device(entry) for entry in devices if entry.type in _KINDS and entry.active is not False),
    )


def _moment(text: str | None) -> datetime | None:
    try:
        at = datetime.fromisoformat(text or "")
    except ValueError:
        return None
    return at if at.tzinfo is not None else None


def _device(entry: DeviceEntry) -> Device:
    kind = _KINDS[entry.type]
    return Device(
        vendor_id=entry.serial_number,
        serial=entry.serial_number,
        kind=kind,
        model=entry.model or entry.part_number,
        name=entry.name,
        role=_role(entry.meter_type) if kind is DeviceKind.METER else None,
    )


def _role(meter_type: str | None) -> MeterRole:
    """Documented values are few; what measures neither production nor consumption sits at the grid."""
    told = (meter_type or "").upper()
    if "PRODUCTION" in told:
        return MeterRole.PRODUCTION
    return MeterRole.LOAD if "CONSUMPTION" in told else MeterRole.GRID


def add_quarters(found: Quarters, metrics: Mapping[str, Series], wanted: Energies) -> None:
    """Energies where they are told, else mean powers."""
    for metric, (energy, power) in wanted.items():
        if energy in metrics:
            _add(found, metric, metrics[energy], power=False)
        elif power in metrics:
            _add(found, metric, metrics[power], power=True)


def _add(found: Quarters, metric: str, series: Series, *, power: bool) -> None:
    factor = (_POWER_UNITS if power else _ENERGY_UNITS).get((series.unit or "").upper())
    if factor is None:
        return  # a unit nobody knows is no number
    put = found.power if power else found.energy
    for at, value in _unique(series).items():
        put(metric, at, at + QUARTER, None if value is None else value * factor)


def add_soc(found: Quarters, series: Series | None) -> None:
    if series is not None and (series.unit or "").upper() == "PERCENTAGE":
        for at, value in _unique(series).items():
            found.soc(at, at + QUARTER, value)


def add_days(found: Days, metrics: Mapping[str, Series], wanted: Energies, where: ZoneInfo) -> None:
    for metric, (energy, _) in wanted.items():
        series = metrics.get(energy)
        factor = _ENERGY_UNITS.get((series.unit or "").upper()) if series else None
        for at, value in (_unique(series) if series else {}).items():
            day = at.astimezone(where).date()
            found.energy(metric, day, None if value is None or factor is None else value * factor)


def _unique(series: Series) -> dict[datetime, float | None]:
    """By instant: both passes of autumn's hour have an offset, and chunks may share their edge."""
    return {row.timestamp: row.value for row in series.values if row.timestamp.tzinfo is not None}


def joined(parts: Iterable[Mapping[str, Mapping[str, Series]]]) -> dict[str, dict[str, Series]]:
    """Several chunks' answers as one: device → metric → values."""
    found: dict[str, dict[str, Series]] = {}
    for part in parts:
        for serial, metrics in part.items():
            for name, series in metrics.items():
                known = found.setdefault(serial, {}).get(name)
                values = [*(known.values if known else []), *series.values]
                found[serial][name] = Series(unit=series.unit or (known.unit if known else None), values=values)
    return found


def live(rows: tuple[Reading, ...], of: Site, now: datetime) -> Live | None:
    """The newest quarter hour whose production is known, as mean power: SolarEdge tells nothing more current."""
    known = [row for row in rows if row.solar_wh is not None and row.end <= now + timedelta(minutes=1)]
    if not known:
        return None
    row = with_load(known[-1], battery=any(device.kind is DeviceKind.BATTERY for device in of.devices))
    return Live(
        measured_at=row.end,
        solar_w=_watts(row.solar_wh),
        battery_w=_difference(row.discharge_wh, row.charge_wh),
        grid_w=_difference(row.import_wh, row.export_wh),
        load_w=_watts(row.load_wh),
        soc_percent=row.soc_percent,
    )


def _watts(wh: float | None) -> float | None:
    return None if wh is None else wh * 4


def _difference(into_home: float | None, out_of_it: float | None) -> float | None:
    return None if into_home is None or out_of_it is None else (into_home - out_of_it) * 4
