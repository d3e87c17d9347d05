"""SolarEdge's sites, devices and series as Joinder's. Pure: no clock, no network."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import msgspec

from joinder import Device, DeviceKind, Live, MeterRole, Reading, Site, physics
from joinder.energy import ROWS_MISSING
from joinder.series import (
    QUARTER,
    Days,
    Quarters,
    Span,
    instant,
    midnight,
    once,
    percent,
    plausible,
    row_spans,
    with_load,
)
from joinder_solaredge import charge, places
from joinder_solaredge.api import DeviceEntry, Location, Series, SiteDetails

_KINDS = {"INVERTER": DeviceKind.INVERTER, "BATTERY": DeviceKind.BATTERY, "METER": DeviceKind.METER}
_ENERGY_UNITS = {"WH": 1.0, "KWH": 1e3, "MWH": 1e6, "GWH": 1e9}
_POWER_UNITS = {"W": 1.0, "KW": 1e3, "MW": 1e6}
_SHARE_UNITS = {"PERCENTAGE": 1.0}  # 0 to 100, or 0 to 1: charge.py
_PERCENT_UNITS = {"PERCENTAGE_100": 1.0}
_HOUR = timedelta(hours=1)
_FLOWING_W = 4.0  # over all rows: the power of 1 Wh in a quarter hour
LIVE_SPAN = timedelta(hours=1)
SOC = "soc_percent"
Rows = dict[datetime, float | None]  # by the start of its bucket; None where the bucket was told without a value
Energies = Mapping[str, tuple[str, str]]
STORAGE: Energies = {
    "charge_wh": ("chargeEnergy", "chargePower"),
    "discharge_wh": ("dischargeEnergy", "dischargePower"),
}
GRID: Energies = {"import_wh": ("importEnergy", "importPower"), "export_wh": ("exportEnergy", "exportPower")}
LOAD: Energies = {"load_wh": ("consumptionEnergy", "consumptionPower")}
SOLAR: Energies = {"solar_wh": ("energy", "power")}
PRODUCTION: Energies = {"solar_wh": ("productionEnergy", "productionPower")}
_GENERATED = ("power", "productionPower")
PLACEHOLDERS = (
    "SolarEdge tells energies of 0 beside power that is not 0: they are left out, and the mean power of quarter hours "
    "stands in where it is told"
)
NO_OFFSET = "SolarEdge sent rows without a UTC offset: they are left out, as their time is not certain"
TWICE = "SolarEdge told a row twice with different values: neither counts"
NO_UNIT = "SolarEdge sent values in a unit that is not known: they are left out"
TOO_LONG = "SolarEdge sent rows longer than an hour for quarter hours: they are left out"
OTHER_DAYS = "SolarEdge's days do not begin at midnight in the site's time zone: they are left out"


def site(details: SiteDetails, devices: Iterable[DeviceEntry]) -> Site:
    """Builds the site of its details and active devices."""
    location = details.location if isinstance(details.location, Location) else Location()
    where, warnings = places.zone_name(location.timezone)
    lat, lon = places.place(location.latitude, location.longitude)
    return Site(
        vendor_id=str(details.site_id),
        name=details.name or "SolarEdge site",
        timezone=where,
        lat=lat,
        lon=lon,
        operational_since=instant(details.installation_date),
        devices=tuple(_device(entry) for entry in devices if entry.type in _KINDS and entry.active is not False),
        warnings=warnings,
    )


def _device(entry: DeviceEntry) -> Device:
    kind = _KINDS[entry.type]
    return Device(
        vendor_id=entry.serial_number,
        serial=entry.serial_number,
        kind=kind,
        model=entry.model or entry.part_number,
        name=entry.name,
        role=_role(entry.meter_type) if kind is DeviceKind.METER else None,
        nameplate_wh=places.capacity_wh(entry.nameplate) if kind is DeviceKind.BATTERY else None,
    )


def _role(meter_type: str | None) -> MeterRole:
    """Maps a meter's type, of which few values are documented.

    What measures neither production, consumption nor storage sits at the grid.
    """
    told = (meter_type or "").upper()
    if "PRODUCTION" in told:
        return MeterRole.PRODUCTION
    if "STORAGE" in told or "BATTERY" in told:
        return MeterRole.STORAGE
    return MeterRole.LOAD if "CONSUMPTION" in told else MeterRole.GRID


def energies(parts: Iterable[Mapping[str, Series]], wanted: Energies, *, hours: float | None = None) -> dict[str, Rows]:
    """Returns Wh by bucket of one device's or site's answers, each block by its own unit, which may change between two.

    Where no energy is told, and where it is a placeholder, mean power stands in; a row alone lasts `hours`.
    """
    told = list(parts)
    idle = are_placeholders(told, wanted)
    found: dict[str, Rows] = {metric: {} for metric in wanted}
    for part in told:
        for metric, pair in wanted.items():
            _add(found[metric], _block(part, pair, hours, idle=idle))
    return found


def _add(rows: Rows, more: Rows) -> None:
    """Adds a later block, whose values count but not its gaps: blocks meet at their edges."""
    rows.update({at: value for at, value in more.items() if value is not None or at not in rows})


def _block(part: Mapping[str, Series], pair: tuple[str, str], hours: float | None, *, idle: bool) -> Rows:
    """Returns one metric of one block in Wh. A 0 beside power, where other energies are told, is contradicted: None."""
    wh, watts = _pair(part, pair)
    if not any(wh.values()) and (idle or all(value is None for value in wh.values())):
        return {**dict.fromkeys(wh), **_by_power(watts, hours)}
    return {at: None if value == 0 and (watts.get(at) or 0) > physics.STANDBY_W else value for at, value in wh.items()}


def _pair(part: Mapping[str, Series], pair: tuple[str, str]) -> tuple[Rows, Rows]:
    """Returns energies (Wh) and powers (W). What inverters draw at night is a production of 0."""
    energy, power = pair
    watts = _scaled(part.get(power), _POWER_UNITS)
    if power in _GENERATED:
        watts = {at: physics.solar_power(value) for at, value in watts.items()}
    return _known(_scaled(part.get(energy), _ENERGY_UNITS)), _known(watts)


def are_placeholders(parts: Iterable[Mapping[str, Series]], wanted: Energies) -> bool:
    """Tells whether the device counts no energy.

    In one block and direction, all energies are 0 then and the power beside them is not. Its other zeros are none
    either, unless their power says so. Seen of V1 (home-assistant/core#169964).
    """
    for part in parts:
        for pair in wanted.values():
            wh, watts = _pair(part, pair)
            known = [at for at, value in wh.items() if value is not None]
            if known and not any(wh.values()) and sum(watts.get(at) or 0 for at in known) >= _FLOWING_W:
                return True
    return False


def _by_power(watts: Rows, hours: float | None) -> Rows:
    """Computes Wh as mean power × the length of its row, which the rows around it tell."""
    if hours is None:
        return dict.fromkeys(watts)
    found: Rows = dict.fromkeys(watts)
    for start, end in spans(watts, alone=timedelta(hours=hours)):
        value = watts[start]
        found[start] = None if value is None else value * ((end - start) / _HOUR)
    return found


def spans(starts: Iterable[datetime], *, alone: timedelta = QUARTER) -> Iterator[Span]:
    """Returns each row's span, by the spacing of all rows told, known or not; nothing where they are hours apart."""
    stamps = sorted(starts)
    return iter(()) if _are_apart(stamps) else row_spans(stamps, alone=alone, longest=_HOUR)


def _are_apart(stamps: Sequence[datetime]) -> bool:
    return len(stamps) > 1 and min(after - before for before, after in pairwise(stamps)) > _HOUR


def are_too_long(metrics: Mapping[str, Rows]) -> bool:
    """Tells whether any metric came in rows of which no quarter hours can be made."""
    return any(_are_apart(sorted(rows)) for rows in metrics.values())


def charge_scale(batteries: Iterable[tuple[Iterable[Mapping[str, Series]], float | None]]) -> charge.Scale:
    """Finds the one scale of all batteries (their answers, and what they hold in Wh) of a query."""
    return charge.scale(_evidence(list(parts), capacity_wh) for parts, capacity_wh in batteries)


def _evidence(parts: Sequence[Mapping[str, Series]], capacity_wh: float | None) -> charge.Evidence:
    shares: list[float] = []
    stored: list[tuple[float, float]] = []
    for part in parts:
        told = _known(_scaled(part.get("stateOfEnergy"), _SHARE_UNITS))
        remaining = _known(_scaled(part.get("remainingEnergy"), _ENERGY_UNITS))
        shares += [share for share in told.values() if share is not None]
        stored += [(share, wh) for at, share in told.items() if share is not None and (wh := remaining.get(at))]
    return charge.Evidence(shares, stored, capacity_wh)


def tells_charge(parts: Iterable[Mapping[str, Series]]) -> bool:
    """Tells whether there is anything to find a scale for."""
    return bool(_evidence(list(parts), None).shares)


def charge_states(parts: Iterable[Mapping[str, Series]], scale: charge.Scale | None = None) -> Rows:
    """Returns percent by bucket. `scale` is what all batteries of the query share; None: there is this one alone."""
    told = list(parts)
    factor = (scale or charge_scale([(told, None)])).value
    found: Rows = {}
    for part in told:
        series = part.get("stateOfEnergy")
        shares = _scaled(series, _SHARE_UNITS)
        _add(found, {at: _percent(share, factor) for at, share in shares.items()})
        _add(found, {at: _percent(share, 1.0) for at, share in _scaled(series, _PERCENT_UNITS).items()})
    return found


def _percent(share: float | None, factor: float | None) -> float | None:
    return None if share is None or factor is None else percent(share * factor)


def _known(rows: Rows) -> Rows:
    return {at: plausible(value) for at, value in rows.items()}


def _scaled(series: Series | None, units: Mapping[str, float]) -> Rows:
    """Returns values by instant, so both passes of autumn's hour stay apart; none in a unit that nobody knows."""
    factor = _factor(series, units)
    if series is None or factor is None:
        return {}
    return {at: None if value is None else value * factor for at, value in _rows(series).items()}


def _rows(series: Series) -> Rows:
    """Returns values by instant; None also where one row was told with two values."""
    told = [(row.timestamp.astimezone(UTC), row.value) for row in series.values if row.timestamp.tzinfo is not None]
    return dict.fromkeys(at for at, _ in told) | known_once(told)


def known_once(told: Iterable[tuple[datetime, float | None]]) -> Rows:
    """Returns the values that are told; None for two that differ. A row without a value contradicts none."""
    return dict(once((at, value) for at, value in told if value is not None))


def _is_contradicted(series: Series) -> bool:
    told = ((row.timestamp, row.value) for row in series.values if row.timestamp.tzinfo is not None)
    return None in known_once(told).values()


def _factor(series: Series | None, units: Mapping[str, float]) -> float | None:
    return units.get((series.unit or "").upper()) if series is not None else None


def doubts(parts: Iterable[Mapping[str, Series]], wanted: Energies) -> Iterator[str]:
    """Yields a sentence for each kind of row that is left out."""
    told = list(parts)
    if are_placeholders(told, wanted):
        yield PLACEHOLDERS
    units = _units(wanted)
    read = [(series, units[name]) for part in told for name, series in part.items() if name in units]
    if any(row.timestamp.tzinfo is None for series, _ in read for row in series.values):
        yield NO_OFFSET
    if any(_is_contradicted(series) for series, _ in read):
        yield TWICE
    if any(_factor(series, known) is None and _has_values(series) for series, known in read):
        yield NO_UNIT


def _units(wanted: Energies) -> dict[str, Mapping[str, float]]:
    """Returns, by the name of a series, the units that are read."""
    found: dict[str, Mapping[str, float]] = {"stateOfEnergy": _SHARE_UNITS | _PERCENT_UNITS}
    for energy, power in wanted.values():
        found |= {energy: _ENERGY_UNITS, power: _POWER_UNITS}
    return found


def _has_values(series: Series) -> bool:
    return any(row.value is not None for row in series.values)


def over_all(batteries: Sequence[Mapping[str, Rows]], sizes: Sequence[float | None] = ()) -> dict[str, Rows]:
    """Sums several batteries as one, where all are known: one that is silent may do more than the others together.

    Their state of charge is the mean, weighted by `sizes` (Wh, in the same order) where all are told.
    """
    weights = _weights(len(batteries), sizes)
    found: dict[str, Rows] = {}
    for metric in batteries[0]:
        each = [battery.get(metric, {}) for battery in batteries]
        by = weights if metric == SOC else [1.0] * len(each)
        found[metric] = {at: _total([rows.get(at) for rows in each], by) for at in set().union(*each)}
    return found


def _weights(count: int, sizes: Sequence[float | None]) -> list[float]:
    known = [size for size in sizes if size]
    return [size / sum(known) for size in known] if len(known) == count else [1 / count] * count


def _total(values: Sequence[float | None], weights: Sequence[float]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(value * by for value, by in zip(known, weights, strict=True)) if len(known) == len(values) else None


def silent_of(devices: Mapping[str, Mapping[str, Rows]]) -> dict[datetime, frozenset[str]]:
    """Returns, by row, the devices that do not tell their energy while others do."""
    found: dict[datetime, frozenset[str]] = {}
    for at in silences(list(devices.values())):
        silent = (
            of for of, told in devices.items() if all(told[metric].get(at) is None for metric in told.keys() - {SOC})
        )
        found[at] = frozenset(silent)
    return found


def silences(devices: Sequence[Mapping[str, Rows]]) -> set[datetime]:
    """Returns the rows in which some devices of a sum tell their energy and others do not."""
    found: set[datetime] = set()
    for metric in {metric for device in devices for metric in device} - {SOC}:
        each = [device.get(metric, {}) for device in devices]
        known = Counter(at for rows in each for at, value in rows.items() if value is not None)
        found |= {at for at, count in known.items() if count < len(each)}
    return found


def quarters(
    metrics: Mapping[str, Rows],
    start: datetime,
    end: datetime,
    device_id: str | None,
    lacking: Collection[datetime] = (),
    *,
    now: datetime | None = None,
    silent: Mapping[datetime, Collection[str]] | None = None,
) -> tuple[Reading, ...]:
    """Makes readings of quarter hours, in Wh, from rows.

    A row that still runs at `now`, or in which a device of the sum was silent (`lacking`, by name in `silent`), is
    partial. Rows longer than a quarter hour are shared out: that is an estimate.
    """
    found, long = Quarters(start, end), list[Span]()
    for metric, rows in metrics.items():
        for at, until in spans(rows):
            if at in lacking:
                found.lacks(at, until, devices=(silent or {}).get(at, ()))
            if now is not None and until > now:
                found.lacks(at, until, ROWS_MISSING)
            if metric == SOC:
                found.soc(at, until, rows[at])
                continue
            found.energy(metric, at, until, rows[at])
            long += [(at, until)] if until - at > QUARTER and rows[at] is not None else []
    return tuple(_shared_out(reading, long) for reading in found.readings(device_id))


def _shared_out(reading: Reading, long: Sequence[Span]) -> Reading:
    if reading.quality != "measured" or not any(at < reading.end and reading.start < until for at, until in long):
        return reading
    return msgspec.structs.replace(reading, quality="estimated")


def days(
    metrics: Mapping[str, Rows],
    start: datetime,
    end: datetime,
    where: ZoneInfo,
    device_id: str | None,
    *,
    now: datetime | None = None,
    lacking: Collection[datetime] = (),
) -> tuple[Reading, ...]:
    """Makes readings of days, in Wh; partial where still running at `now`, or where a device of the sum was silent."""
    found = Days(where, start, end)
    for metric, rows in metrics.items():
        for at, value in rows.items():
            day = at.astimezone(where).date()
            if metric != SOC and at == midnight(day, where):
                running = now is not None and midnight(day + timedelta(days=1), where) > now
                found.energy(metric, day, value, partial=running or at in lacking)
    return found.readings(device_id)


def has_other_days(metrics: Mapping[str, Rows], where: ZoneInfo) -> bool:
    """Tells whether any day was told that is none of the site's."""
    starts = {at for rows in metrics.values() for at, value in rows.items() if value is not None}
    return any(at != midnight(at.astimezone(where).date(), where) for at in starts)


def live(rows: tuple[Reading, ...], of: Site, now: datetime) -> Live | None:
    """Returns mean power in W of the newest quarter hour that was told whole, or None: nothing more current is told.

    It is the last hour's newest with production, as that comes in late; else the newest of all, which at night has
    none.
    """
    past = [row for row in rows if row.end <= now and row.rule != ROWS_MISSING]
    if not past:
        return None
    producing = [row for row in past if row.solar_wh is not None and now - row.end <= LIVE_SPAN]
    newest = (producing or past)[-1]
    row = with_load(newest, battery=of.has(DeviceKind.BATTERY))
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
