"""SolarEdge's sites, devices and series as Joinder's. Pure: no clock, no network."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from joinder import Device, DeviceKind, Live, MeterRole, Reading, Site
from joinder.series import QUARTER, Days, Quarters, plausible, with_load
from joinder_solaredge.api import DeviceEntry, Location, Series, SiteDetails

_KINDS = {"INVERTER": DeviceKind.INVERTER, "BATTERY": DeviceKind.BATTERY, "METER": DeviceKind.METER}
_ENERGY_UNITS = {"WH": 1.0, "KWH": 1e3, "MWH": 1e6, "GWH": 1e9}
_POWER_UNITS = {"W": 1.0, "KW": 1e3, "MW": 1e6}
_SHARE_UNITS = {"PERCENTAGE": 1.0}  # what PERCENTAGE_100 means is not documented
LIVE_SPAN = timedelta(hours=1)
SOC = "soc_percent"
Rows = dict[datetime, float]  # what is known, by the start of its bucket
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


def energies(parts: Iterable[Mapping[str, Series]], wanted: Energies, *, hours: float | None = None) -> dict[str, Rows]:
    """Wh by bucket of one device's or site's answers, each block by its own unit: a vendor may change it between two.

    Where no energy is told, mean power over buckets of `hours` stands in.
    """
    found: dict[str, Rows] = {metric: {} for metric in wanted}
    for part in parts:
        for metric, (energy, power) in wanted.items():
            rows = _scaled(part.get(energy), _ENERGY_UNITS)
            if not rows and hours is not None:
                rows = {at: watts * hours for at, watts in _scaled(part.get(power), _POWER_UNITS).items()}
            found[metric] |= rows
    return found


def charge_states(parts: Iterable[Mapping[str, Series]]) -> Rows:
    found: Rows = {}
    for part in parts:
        rows = _scaled(part.get("stateOfEnergy"), _SHARE_UNITS)
        found |= {at: percent for at, percent in rows.items() if percent <= 100}
    return found


def _scaled(series: Series | None, units: Mapping[str, float]) -> Rows:
    """By instant, so both passes of autumn's hour stay apart; in a unit that nobody knows there is no number."""
    factor = units.get((series.unit or "").upper()) if series is not None else None
    if series is None or factor is None:
        return {}
    told = ((row.timestamp, plausible(row.value)) for row in series.values if row.timestamp.tzinfo is not None)
    return {at: value * factor for at, value in told if value is not None}


def over_all(batteries: Sequence[Mapping[str, Rows]]) -> dict[str, Rows]:
    """Several batteries as one, where all of them are known; state of charge is their mean, as sizes are not told."""
    found: dict[str, Rows] = {}
    for metric in batteries[0]:
        each = [battery[metric] for battery in batteries]
        shared = set(each[0]).intersection(*each[1:])
        share = 1 / len(each) if metric == SOC else 1.0
        found[metric] = {at: sum(rows[at] for rows in each) * share for at in shared}
    return found


def quarters(metrics: Mapping[str, Rows], start: datetime, end: datetime, device_id: str | None) -> tuple[Reading, ...]:
    found = Quarters(start, end)
    for metric, rows in metrics.items():
        for at, value in rows.items():
            if metric == SOC:
                found.soc(at, at + QUARTER, value)
            else:
                found.energy(metric, at, at + QUARTER, value)
    return found.readings(device_id)


def days(
    metrics: Mapping[str, Rows], start: datetime, end: datetime, where: ZoneInfo, device_id: str | None
) -> tuple[Reading, ...]:
    found = Days(where, start, end)
    for metric, rows in metrics.items():
        for at, value in rows.items():
            if metric != SOC:
                found.energy(metric, at.astimezone(where).date(), value)
    return found.readings(device_id)


def live(rows: tuple[Reading, ...], of: Site, now: datetime) -> Live | None:
    """Mean power of the newest quarter hour: nothing more current is told.

    The last hour's newest with production, as it comes in late; else the newest of all, which at night has none.
    """
    past = [row for row in rows if row.end <= now]
    if not past:
        return None
    producing = [row for row in past if row.solar_wh is not None and now - row.end <= LIVE_SPAN]
    newest = (producing or past)[-1]
    row = with_load(newest, battery=any(device.kind is DeviceKind.BATTERY for device in of.devices))
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
