"""Enphase interval rows and daily values as Joinder's readings. Pure: no clock, no network.

Rows are stamped with their end; they become [start, end). Unknown stays None.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from urllib.parse import quote
from zoneinfo import ZoneInfo

from msgspec.structs import replace

from joinder.energy import LOAD_BELOW_ZERO, Device, DeviceKind, MeterRole, Reading, Site
from joinder.physics import home_load
from joinder.series import QUARTER, Days, Quarters, Span, midnight, once, row_spans, with_load
from joinder_enphase.mapping import instant, row_lists
from joinder_enphase.shapes import Lifetime, Row, Rows

RowColumns = Mapping[str, Callable[[Row], float | None]]
DayColumns = Mapping[str, Callable[[Lifetime], list[float | None] | None]]


@dataclass(frozen=True, kw_only=True)
class Series:
    """What one thing measures: its telemetry endpoint, its *_lifetime endpoint, and the metrics in both.

    `row_s` is how long a row is that stands alone; of others their own spacing tells. What Enphase calls consumption
    is load_wh here; `loaded` makes the load of it where it is something else. `row_asked`: the call has a parameter
    for the length of its rows, where the API has one at all.
    """

    title: str
    path: str
    columns: RowColumns
    counts: Callable[[Device], bool] = lambda device: False  # devices of the site that are in the sum
    row_s: int = 900
    row_asked: bool = True
    day_path: str | None = None
    day_columns: DayColumns = field(default_factory=dict)
    pause: timedelta = QUARTER  # rows that end no earlier than this before the time asked for are all there


_MICRO: RowColumns = {"solar_wh": lambda row: row.enwh}
_STORAGE: RowColumns = {
    "charge_wh": lambda row: row.charge.enwh if row.charge else None,
    "discharge_wh": lambda row: row.discharge.enwh if row.discharge else None,
    "soc_percent": lambda row: row.soc.percent if row.soc else None,
}
SETTLES_AFTER = timedelta(hours=48)  # as core's History says: later rows may still come in
_NIGHT = timedelta(days=1)  # solar rows are absent where nothing is produced
_NESTED = {"charge_wh": "charge", "discharge_wh": "discharge", "soc_percent": "soc"}  # metric → its part of the row
_SOLAR_DAYS: DayColumns = {"solar_wh": lambda days: days.production}

SOLAR_METER = Series(
    title="Production meter",
    path="/telemetry/production_meter",
    columns={"solar_wh": lambda row: row.wh_del},
    counts=lambda device: device.role is MeterRole.PRODUCTION,
    pause=_NIGHT,
    day_path="/energy_lifetime",
    day_columns=_SOLAR_DAYS,
)
SOLAR_MICRO = Series(
    title="Inverters",
    path="/telemetry/production_micro",
    columns=_MICRO,
    counts=lambda device: device.kind is DeviceKind.INVERTER,
    row_s=300,
    day_path="/energy_lifetime",
    day_columns=_SOLAR_DAYS,
    pause=_NIGHT,
)
BATTERY = Series(
    title="Battery",
    path="/telemetry/battery",
    columns=_STORAGE,
    counts=lambda device: device.kind is DeviceKind.BATTERY,
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
    columns={"load_wh": lambda row: row.enwh},
    counts=lambda device: device.role in (MeterRole.GRID, MeterRole.LOAD),
    day_path="/consumption_lifetime",
    day_columns={"load_wh": lambda days: days.consumption},
)
_METER_SERIES = {
    MeterRole.PRODUCTION: (SOLAR_METER,),
    MeterRole.GRID: (IMPORT, EXPORT),
    MeterRole.LOAD: (CONSUMPTION,),
    MeterRole.STORAGE: (BATTERY,),
}


def site_series(site: Site) -> tuple[Series, ...]:
    """Chooses what the site's own devices measure together, one endpoint each: every endpoint costs a call."""
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
    """Chooses the series of one device; empty where the vendor has none.

    Meter endpoints sum over all meters of a role, so a meter has intervals of its own only when it is the only one.
    """
    if device.kind is DeviceKind.INVERTER:
        return (inverter_series(device),)
    if device.kind is DeviceKind.BATTERY:
        return (battery_series(device),)
    alike = [other for other in site.devices if other.role is device.role]
    return _METER_SERIES.get(device.role or MeterRole.OTHER, ()) if len(alike) == 1 else ()


def inverter_series(device: Device) -> Series:
    path = f"/devices/micros/{quote(device.vendor_id, safe='')}/telemetry"
    return Series(title="Inverter", path=path, columns=_MICRO, row_s=300, pause=_NIGHT)


def battery_series(device: Device) -> Series:
    path = f"/devices/encharges/{quote(device.vendor_id, safe='')}/telemetry"
    return Series(title="Battery", path=path, columns=_STORAGE)


def add_rows(into: Quarters, series: Series, telemetry: Rows, of: Site) -> datetime | None:
    """Adds the rows of one call and returns the end of the last one, or None.

    A metric whose row says that a device is missing from it is partial, and unknown when none reported.
    """
    total = _devices(series, telemetry, of)
    parts = {str(index): rows for index, rows in enumerate(row_lists(telemetry))}
    for metric in series.columns if len(parts) > 1 else ():
        into.expect(metric, parts)
    ends = [_add_list(into, series, rows, total, part) for part, rows in parts.items()]
    return max(filter(None, ends), default=None)


def has_undated(telemetry: Rows) -> bool:
    """Tells whether rows had to be left out because they do not say of when they are."""
    return any(instant(row.end_at) is None for row in (row for rows in row_lists(telemetry) for row in rows))


def _add_list(
    into: Quarters, series: Series, listed: list[Row], total: float | None, part: str = ""
) -> datetime | None:
    """Adds the rows and returns the newest end, or None; of two rows with one end that differ none counts."""
    rows = once((end, row) for row in listed if (end := instant(row.end_at)))
    for (start, end), row in zip(_spans(list(rows), series), rows.values(), strict=True):
        if row is None:
            into.told_twice(start, end)
            continue
        for metric, read in series.columns.items():
            value, reporting = read(row), _reporting(row, metric)
            if reporting is not None and reporting < (total or 1):
                into.lacks(start, end)
                value = value if reporting > 0 else None
            if metric == "soc_percent":
                into.soc(start, end, value)
            else:
                into.energy(metric, start, end, value, part=part)
    return max(rows, default=None)


def _spans(ends: list[datetime], series: Series) -> list[Span]:
    """Returns each row's span.

    Rows are stamped with their end: seen backwards in time, each lasts until the one before it.
    """
    if not ends:
        return []
    last = ends[-1]
    backwards = row_spans([last + (last - end) for end in reversed(ends)], alone=timedelta(seconds=series.row_s))
    lengths = [_length(until - at) for at, until in backwards][::-1]
    return [(end - length, end) for end, length in zip(ends, lengths, strict=True)]


def _length(spacing: timedelta) -> timedelta:
    """Returns a row's length, which is documented as 5 or 15 minutes.

    Ten minutes apart are rows of five of which every second is missing.
    """
    return spacing if spacing > timedelta(minutes=14) else min(spacing, timedelta(minutes=5))


def _reporting(row: Row, metric: str) -> float | None:
    """Returns how many devices the row says are in this metric, or None."""
    told = getattr(row, _NESTED[metric]) if metric in _NESTED else row
    return told.devices_reporting if told and told.devices_reporting is not None else row.devices_reporting


def _devices(series: Series, telemetry: Rows, of: Site) -> float | None:
    """Returns how many devices belong to the sum, or None.

    It is as the answer says (0 is its unknown), else as the site lists them.
    """
    if telemetry.total_devices is not None and telemetry.total_devices > 0:
        return telemetry.total_devices
    return sum(map(series.counts, of.devices)) or None


def add_days(into: Days, series: Series, lifetime: Lifetime, where: ZoneInfo) -> datetime | None:
    """Adds the values of one *_lifetime call and returns the end of the last day told, or None.

    The day of the last reported energy, and any after it, is partial. Trailing zeros say "nothing reported" as well as
    "no energy" (the document has both): they are left out after that day.
    """
    first = _day(lifetime.start_date)
    if first is None:
        return None
    last_energy = instant(lifetime.meta.last_energy_at if lifetime.meta else None)
    reported_days = (last_energy.astimezone(where).date() - first).days + 1 if last_energy else 0
    told = [0]
    for metric, read in series.day_columns.items():
        values = read(lifetime) or []
        length = len(values)
        while length > max(reported_days, 0) and not values[length - 1]:
            length -= 1
        told.append(length)
        for offset, wh in enumerate(values[:length]):
            into.energy(metric, first + timedelta(days=offset), wh, partial=offset + 1 >= reported_days)
    return midnight(first + timedelta(days=max(told)), where) if max(told) else None


def ends_early(until: datetime | None, start: datetime, settled: datetime, of: Site, pause: timedelta) -> bool:
    """Tells whether an answer leaves off the end of [start, settled), where rows no longer come in late.

    One without any row says nothing unless it is known that the site was there.
    """
    if until is None:
        until = max(start, of.operational_since or settled)
    return until < settled - pause


def _day(text: str | None) -> date | None:
    """Parses a day; None for what is none, and for days so far off that a long list would run out of the calendar."""
    try:
        day = date.fromisoformat((text or "")[:10])
    except ValueError:
        return None
    return day if 1990 <= day.year <= 2200 else None


def loaded(readings: tuple[Reading, ...], of: Site, device_id: str | None) -> tuple[Reading, ...]:
    """Adds the load of the site to its readings.

    A Total meter measures it; with a Net one it is computed, where its parts are wholly known.
    """
    if device_id is not None or not any(device.role is MeterRole.GRID for device in of.devices):
        return readings
    battery = of.has(DeviceKind.BATTERY)
    return tuple(_with_net_load(row, battery=battery) for row in readings)


def _with_net_load(reading: Reading, *, battery: bool) -> Reading:
    """Computes the load beside a Net meter, whose consumption is production + grid and leaves the battery out.

    The vendor states that for latest_telemetry; it is taken to hold for intervals too.
    """
    used, stored = reading.load_wh, (reading.discharge_wh, reading.charge_wh)
    reading = replace(reading, load_wh=None)
    if reading.quality != "measured":
        return reading
    if used is None:
        return with_load(reading, battery=battery)
    load = home_load((used, stored[0], None if stored[1] is None else -stored[1]) if battery else (used,))
    rule = LOAD_BELOW_ZERO if load.is_impossible else reading.rule
    return replace(reading, rule=rule, load_wh=None if load.watts is None else round(load.watts, 3))
