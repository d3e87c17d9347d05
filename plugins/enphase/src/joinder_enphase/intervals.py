"""Enphase interval rows and daily values as Joinder's readings. Pure: no clock, no network.

Rows are stamped with their end; they become [start, end). Unknown stays None.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Any
from urllib.parse import quote
from zoneinfo import ZoneInfo

from joinder.energy import Device, DeviceKind, MeterRole, Reading, Site
from joinder.series import Span, day_span
from joinder_enphase.api import Lifetime, Row, Telemetry
from joinder_enphase.mapping import flat, has, instant

QUARTER_S = 900

RowColumns = Mapping[str, Callable[[Row], float | None]]
DayColumns = Mapping[str, Callable[[Lifetime], list[float | None] | None]]


@dataclass(frozen=True, kw_only=True)
class Series:
    """What one thing measures: its telemetry endpoint, its *_lifetime endpoint, and the metrics in both.

    "consumption_wh" is what Enphase calls consumption; `readings` turns it into load_wh.
    """

    title: str
    path: str
    columns: RowColumns
    row_s: int = QUARTER_S
    day_path: str | None = None
    day_columns: DayColumns = field(default_factory=dict)


@dataclass
class Slot:
    """Metrics of one interval as they come together from several endpoints."""

    values: dict[str, float] = field(default_factory=dict)
    partial: bool = False


Slots = dict[Span, Slot]

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
    day_path="/energy_lifetime",
    day_columns=_SOLAR_DAYS,
)
SOLAR_MICRO = Series(
    title="Inverters",
    path="/telemetry/production_micro",
    columns=_MICRO,
    row_s=300,
    day_path="/energy_lifetime",
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
    path="/energy_import_telemetry",
    columns={"import_wh": lambda row: row.wh_imported},
    day_path="/energy_import_lifetime",
    day_columns={"import_wh": lambda days: days.imported},
)
EXPORT = Series(
    title="Grid export",
    path="/energy_export_telemetry",
    columns={"export_wh": lambda row: row.wh_exported},
    day_path="/energy_export_lifetime",
    day_columns={"export_wh": lambda days: days.exported},
)
CONSUMPTION = Series(
    title="Consumption meter",
    path="/telemetry/consumption_meter",
    columns={"consumption_wh": lambda row: row.enwh},
    day_path="/consumption_lifetime",
    day_columns={"consumption_wh": lambda days: days.consumption},
)
_METER_SERIES = {
    MeterRole.PRODUCTION: (SOLAR_METER,),
    MeterRole.GRID: (IMPORT, EXPORT),
    MeterRole.LOAD: (CONSUMPTION,),
    MeterRole.STORAGE: (BATTERY,),
}


def site_series(site: Site) -> tuple[Series, ...]:
    """What the site's own devices measure together, one endpoint each: every endpoint costs a call."""
    roles = {device.role for device in site.devices}
    kinds = {device.kind for device in site.devices}
    chosen: tuple[Series, ...] = ()
    if MeterRole.PRODUCTION in roles:
        chosen += (SOLAR_METER,)
    elif DeviceKind.INVERTER in kinds:
        chosen += (SOLAR_MICRO,)
    if DeviceKind.BATTERY in kinds:
        chosen += (BATTERY,)
    if roles & {MeterRole.GRID, MeterRole.LOAD}:
        chosen += (IMPORT, EXPORT, CONSUMPTION)
    return chosen


def device_series(site: Site, device: Device) -> tuple[Series, ...]:
    """Of one device; empty where the vendor has none. Meter endpoints sum over all meters of a role, so a meter
    has intervals of its own only when it is the only one."""
    serial = quote(device.vendor_id, safe="")
    if device.kind is DeviceKind.INVERTER:
        return (Series(title="Inverter", path=f"/devices/micros/{serial}/telemetry", columns=_MICRO, row_s=300),)
    if device.kind is DeviceKind.BATTERY:
        return (Series(title="Battery", path=f"/devices/encharges/{serial}/telemetry", columns=_STORAGE),)
    alike = [other for other in site.devices if other.role is device.role]
    return _METER_SERIES.get(device.role or MeterRole.OTHER, ()) if len(alike) == 1 else ()


def quarters(series: Series, telemetry: Telemetry, start: datetime, end: datetime) -> Slots:
    """Rows of one endpoint as quarter hours inside [start, end); one that lacks a row is partial."""
    slots: Slots = {}
    ends: dict[Span, set[float]] = {}
    for row in flat(telemetry.intervals):
        span = _quarter(row.end_at)
        values = _row_values(series, row)
        if span is None or not values or span[0] < start or span[1] > end:
            continue
        _add(slots.setdefault(span, Slot()), values)
        ends.setdefault(span, set()).add(row.end_at or 0)
        slots[span].partial = len(ends[span]) * series.row_s < QUARTER_S
    return slots


def _quarter(end_at: float | None) -> Span | None:
    """The quarter hour that a row ending at `end_at` lies in."""
    if instant(end_at) is None:
        return None
    begin = datetime.fromtimestamp((int(end_at or 0) - 1) // QUARTER_S * QUARTER_S, UTC)
    return begin, begin + timedelta(seconds=QUARTER_S)


def _row_values(series: Series, row: Row) -> dict[str, float]:
    """What the row knows; a negative energy is the vendor's way to say unknown."""
    found = {metric: read(row) for metric, read in series.columns.items()}
    if (found.get("soc_percent") or 0) > 100:
        found["soc_percent"] = None
    return {metric: value for metric, value in found.items() if value is not None and value >= 0}


def _add(slot: Slot, values: Mapping[str, float]) -> None:
    for metric, value in values.items():
        slot.values[metric] = value if metric == "soc_percent" else slot.values.get(metric, 0.0) + value


def local_days(series: Series, lifetime: Lifetime, where: ZoneInfo, start: datetime, end: datetime) -> Slots:
    """Values of one *_lifetime endpoint as local days inside [start, end), 23 or 25 hours long where the clock changes.

    Trailing zeros mean "not reported" beyond the day of the last reported energy, and are left out there; that day
    itself, and any later one with a value, is partial.
    """
    first = _day(lifetime.start_date)
    if first is None:
        return {}
    last_energy = instant(lifetime.meta.last_energy_at if lifetime.meta else None)
    reported_days = (last_energy.astimezone(where).date() - first).days + 1 if last_energy else 0
    offsets = [(at.astimezone(where).date() - first).days for at in (start, end)]
    asked = range(max(offsets[0], 0), offsets[1] + 1)
    slots: Slots = {}
    for metric, read in series.day_columns.items():
        values = read(lifetime) or []
        for offset in asked[: max(_known_length(values, reported_days) - asked.start, 0)]:
            span, value = day_span(first + timedelta(days=offset), where), values[offset]
            if value is None or value < 0 or span[0] < start or span[1] > end:
                continue
            slot = slots.setdefault(span, Slot())
            slot.values[metric] = value
            slot.partial = offset + 1 >= reported_days
    return slots


def _known_length(values: list[float | None], reported_days: int) -> int:
    """How many leading values count: all up to the last non-zero one, and zeros only while they were reported."""
    length = len(values)
    while length > max(reported_days, 0) and not values[length - 1]:
        length -= 1
    return length


def _day(text: str | None) -> date | None:
    try:
        return date.fromisoformat((text or "")[:10])
    except ValueError:
        return None


def readings(parts: Iterable[Slots], of: Site, device_id: str | None) -> tuple[Reading, ...]:
    """Several endpoints' slots merged into one Reading per interval, sorted by start."""
    merged: Slots = {}
    for slots in parts:
        for span, slot in slots.items():
            into = merged.setdefault(span, Slot())
            into.values |= slot.values
            into.partial |= slot.partial
    return tuple(_reading(span, merged[span], of, device_id) for span in sorted(merged))


def _reading(span: Span, slot: Slot, of: Site, device_id: str | None) -> Reading:
    values: dict[str, Any] = {
        metric: round(value, 3) for metric, value in slot.values.items() if metric != "consumption_wh"
    }
    return Reading(
        start=span[0],
        end=span[1],
        device_id=device_id,
        load_wh=_load_wh(slot.values, of),
        quality="partial" if slot.partial else "measured",
        **values,
    )


def _load_wh(values: Mapping[str, float], of: Site) -> float | None:
    """A Total meter measures the load. A Net meter's consumption is production + grid and leaves the battery out:
    stated by the vendor for latest_telemetry, taken to hold for intervals too."""
    used = values.get("consumption_wh")
    if used is None or not has(of, role=MeterRole.GRID) or not has(of, kind=DeviceKind.BATTERY):
        return used
    if "charge_wh" not in values or "discharge_wh" not in values:
        return None
    return max(0.0, used + values["discharge_wh"] - values["charge_wh"])
