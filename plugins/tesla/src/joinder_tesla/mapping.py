"""Tesla's energy sites and history as Joinder's sites and readings. Pure: no clock, no network.

Tesla's signs are ours: battery + discharging, grid + importing. What a site has no part for is unknown, although Tesla
answers zeros for it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from datetime import date, datetime, timedelta
from typing import Literal
from zoneinfo import ZoneInfo

import msgspec

from joinder import Device, DeviceKind, Live, MeterRole, Reading, ReadingsQuery, Site, physics
from joinder.energy import LOAD_BELOW_ZERO, PARTS_MISSING
from joinder.errors import NotSupported
from joinder.physics import Load
from joinder.series import (
    QUARTER,
    Days,
    Quarters,
    Span,
    days_between,
    instant,
    midnight,
    once,
    percent,
    plausible,
    zone,
)
from joinder_tesla.api import Components, Geolocation, LiveStatus, Part, Product, Row, SiteInfo
from joinder_tesla.coverage import Asked, rows_spans, span_of, with_one_offset

NO_ZONE = (
    "Tesla tells no time zone for this site: its quarter hours are read, its days cannot be, as nobody knows when "
    "they begin"
)
NO_TIME = "Tesla told live power without a UTC offset: its moment is unknown, so it was left out"
OFF_GRID = "The home is off the grid: sun, battery or a generator carry it alone"
GRID_CONTRADICTED = "Tesla tells that the home is off the grid and power through its connection: the latter is unknown"
GENERATOR = "A generator feeds the home: its power is part of the load, and of nothing else that is told"
_MODES: dict[str, Literal["Self Consumption", "Savings", "Backup"]] = {
    "self_consumption": "Self Consumption",
    "autonomous": "Savings",
    "backup": "Backup",
}
_SUMS = {  # metric: its members by where the energy comes from, or goes to; and the newer member that tells their sum
    "charge_wh": ("battery_energy_imported_from_", ("grid", "solar", "generator"), "total_battery_charge"),
    "export_wh": ("grid_energy_exported_from_", ("solar", "battery", "generator"), "total_grid_energy_exported"),
    "load_wh": ("consumer_energy_imported_from_", ("grid", "solar", "battery", "generator"), "total_home_usage"),
}
_SINGLE = {
    "solar_wh": "solar_energy_exported",
    "discharge_wh": "battery_energy_exported",
    "import_wh": "grid_energy_imported",
}
_FLOWS = (  # all but the sun's: a day on which they are all 0 has nothing that measures them
    "battery_energy_exported",
    "grid_energy_imported",
    *(prefix + source for prefix, sources, _ in _SUMS.values() for source in sources),
)
_PART_OF = {"charge_wh": DeviceKind.BATTERY, "discharge_wh": DeviceKind.BATTERY} | dict.fromkeys(
    ("import_wh", "export_wh", "load_wh"), DeviceKind.METER
)


def site_ids(products: Iterable[Product]) -> tuple[str, ...]:
    """Returns the ids of energy sites, each once.

    Cars have none; a bare site whose components are all false has nothing to read.
    """
    sites = [product for product in products if product.energy_site_id is not None and _has_parts(product)]
    return tuple(dict.fromkeys(str(product.energy_site_id) for product in sites))


def _has_parts(product: Product) -> bool:
    parts = product.components
    return parts is None or any(parts.get(name) for name in ("solar", "battery", "grid", "load_meter"))


def site(site_id: str, info: SiteInfo) -> Site:
    """Builds the site, with a warning where neither zone nor place is told."""
    parts = info.components or Components()
    name = info.installation_time_zone if zone(info.installation_time_zone) is not None else None
    place = _place(info.geolocation)
    return Site(
        vendor_id=site_id,
        name=info.site_name or "Tesla energy site",
        timezone=name,
        lat=place[0] if place else None,
        lon=place[1] if place else None,
        operational_since=instant((info.installation_date or "").replace(" ", "")),
        devices=(*_inverters(parts), *_batteries(parts, info), *_meters(parts)),
        warnings=() if name or place else (NO_ZONE,),
    )


def _place(told: Geolocation | None) -> tuple[float, float] | None:
    """Returns latitude and longitude; 0, 0 lies in the sea and is none."""
    if told is None or told.latitude is None or told.longitude is None or not (told.latitude or told.longitude):
        return None
    on_earth = abs(told.latitude) <= 90 and abs(told.longitude) <= 180
    return (told.latitude, told.longitude) if on_earth else None


def _inverters(parts: Components) -> tuple[Device, ...]:
    """Returns the inverters that are listed, else one that stands for all."""
    listed = tuple(
        Device(vendor_id=key, kind=DeviceKind.INVERTER, serial=part.serial_number, model=part.part_name)
        for key, part in _keyed(parts.inverters)
    )
    return listed or ((Device(vendor_id="solar", kind=DeviceKind.INVERTER, name="Solar"),) if parts.solar else ())


def _batteries(parts: Components, info: SiteInfo) -> tuple[Device, ...]:
    mode = _MODES.get(info.default_real_mode or "")
    listed = tuple(
        Device(
            vendor_id=key,
            kind=DeviceKind.BATTERY,
            serial=part.serial_number,
            model=part.part_name,
            nameplate_wh=part.nameplate_energy or None,
            max_power_w=part.nameplate_max_discharge_power or None,
            mode=mode,
        )
        for key, part in _keyed(parts.batteries)
    )
    whole = Device(
        vendor_id="battery",
        kind=DeviceKind.BATTERY,
        name="Battery",
        nameplate_wh=info.nameplate_energy or None,
        max_power_w=info.nameplate_power or None,
        mode=mode,
    )
    return listed or ((whole,) if parts.battery else ())


def _keyed(parts: Iterable[Part] | None) -> Iterator[tuple[str, Part]]:
    """Yields active parts with ids of their own; expansions may repeat the serial number of what they hang on."""
    seen: Counter[str] = Counter()
    for part in parts or ():
        key = part.serial_number or part.din
        if key and part.is_active is not False:
            seen[key] += 1
            yield (key if seen[key] == 1 else f"{key}:{seen[key]}"), part


def _meters(parts: Components) -> tuple[Device, ...]:
    """Returns the grid's meter where there is one; without battery and load meter Tesla makes the grid up.

    It is minus the sun then, and there is no load.
    """
    if not parts.grid or not (parts.battery or parts.load_meter):
        return ()
    return (Device(vendor_id="grid", kind=DeviceKind.METER, name="Grid", role=MeterRole.GRID),)


def live(status: LiveStatus, of: Site) -> Live | None:
    """Returns power now, in W; None where the vendor's time has no offset."""
    if status.timestamp is None or status.timestamp.utcoffset() is None:
        return None
    has_battery = of.has(DeviceKind.BATTERY)
    nameplate = physics.nameplate_w(of.devices)
    return Live(
        measured_at=status.timestamp,
        solar_w=physics.solar_power(status.solar_power, nameplate) if _makes_sun([status], of) else None,
        battery_w=status.battery_power if has_battery else None,
        grid_w=_grid(status) if _meters_live(status, of) else None,
        load_w=_live_load(status, of).watts,
        soc_percent=percent(status.percentage_charged) if has_battery else None,
    )


def live_warnings(status: LiveStatus, of: Site) -> Iterator[str]:
    """Yields a sentence for each thing that is doubtful about live power."""
    if status.timestamp is not None and status.timestamp.utcoffset() is None:
        yield NO_TIME
    if _meters_live(status, of) and _is_off_grid(status):
        yield OFF_GRID if _grid(status) is not None else GRID_CONTRADICTED
    if (status.generator_power or 0.0) > 0:
        yield GENERATOR
    if _live_load(status, of).is_impossible:
        yield physics.NO_LOAD


def _makes_sun(told: Iterable[LiveStatus | Row], of: Site) -> bool:
    """Tells whether solar figures count: zeros of a site that lists its parts, with no inverter among them, do not."""
    return not of.devices or of.has(DeviceKind.INVERTER) or any(values.solar_power for values in told)


def _meters_live(status: LiveStatus, of: Site) -> bool:
    """Tells whether the grid is metered now; a roof whose load is exactly 0 has no meter for it.

    Tesla tells minus the sun as its grid then.
    """
    return of.has(DeviceKind.METER) and (of.has(DeviceKind.BATTERY) or status.load_power != 0)


def _is_off_grid(status: LiveStatus) -> bool:
    """Tells whether the home is off the grid. `island_status` decides: a home may leave a grid that is there."""
    if status.island_status in (None, "", "island_status_unknown"):
        return status.grid_status == "Inactive"
    return (status.island_status or "").startswith("off_grid")


def _grid(status: LiveStatus) -> float | None:
    """Returns the grid's power in W.

    Nothing flows through a connection that is open; None where power is told of it all the same.
    """
    if not _is_off_grid(status):
        return status.grid_power
    return 0.0 if abs(status.grid_power or 0.0) <= physics.STANDBY_W else None


def _live_load(status: LiveStatus, of: Site) -> Load:
    """Returns the load as told where the parts do not contradict it, else what they add up to, with any generator."""
    if not _meters_live(status, of):
        return Load(None)
    sun = status.solar_power if _makes_sun([status], of) else 0.0
    stored = status.battery_power if of.has(DeviceKind.BATTERY) else 0.0
    balance = physics.home_load((sun, stored, _grid(status), status.generator_power or 0.0))
    told = status.load_power
    if told is None or balance.is_impossible:
        return balance
    if told >= 0:
        return Load(told)
    return balance if balance.watts == 0 else Load(None, is_impossible=True)


def days_to_ask(query: ReadingsQuery) -> list[Asked]:
    """Returns calls for local days; where no zone is known, for days of UTC: rows carry their own offset."""
    known = zone(query.site.timezone)
    where, name = (known, query.site.timezone) if known else (ZoneInfo("UTC"), None)
    return [span_of(day, day, "day", where, name=name) for day in days_between(query.start, query.end, where)]


def months_to_ask(query: ReadingsQuery) -> list[Asked]:
    """Returns calls for months, each with one offset for start and end.

    Raises NotSupported where no zone says when days begin.
    """
    where = zone(query.site.timezone)
    if where is None:
        raise NotSupported("Days of this site cannot be read: Tesla tells no time zone for it")
    firsts = sorted({day.replace(day=1) for day in days_between(query.start, query.end, where)})
    return [
        with_one_offset(span_of(first, _last_of_month(first), "month", where, name=query.site.timezone))
        for first in firsts
    ]


def _last_of_month(first: date) -> date:
    return (first + timedelta(days=32)).replace(day=1) - timedelta(days=1)


def quarters(rows: Sequence[Row], query: ReadingsQuery, charges: Sequence[Row] = ()) -> tuple[Reading, ...]:
    """Makes readings of quarter hours, in Wh, from rows of mean power, each as long as its neighbours are apart.

    `charges` tell the state of charge beside them.
    """
    read = _Balance(rows, query)
    impossible: set[datetime] = set()
    found = Quarters(query.start, query.end)
    for row, (at, end) in rows_spans(rows, query):
        if row is None:
            found.told_twice(at, end)
            continue
        read.add(found, row, (at, end))
        load = read.load(row, (at, end))
        # an impossible one holds its place, so that the quarter hour is unknown in this metric and whole in the others
        found.power("load_wh", at, end, 0.0 if load.is_impossible else load.watts)
        if load.is_impossible:
            impossible |= {_quarter_of(at), _quarter_of(end - timedelta(microseconds=1))}
    if query.site.has(DeviceKind.BATTERY):
        for row, (at, end) in rows_spans(charges, query):
            if row is None:
                found.told_twice(at, end)
            else:
                found.soc(at, end, row.soe)
    return tuple(_without_load(row) if row.start in impossible else row for row in found.readings())


class _Balance:
    """What one answer's rows tell of a site's sun, battery, grid and load, and what in them only fills a place."""

    def __init__(self, rows: Sequence[Row], query: ReadingsQuery) -> None:
        spans = list(rows_spans(rows, query))
        self._has_battery = query.site.has(DeviceKind.BATTERY)
        self._has_meter = query.site.has(DeviceKind.METER)
        self._has_sun = _makes_sun(rows, query.site)
        self._has_generator = any(row.generator_power is not None for row in rows)
        long_rows = [row for row, (at, end) in spans if row is not None and end - at >= QUARTER]
        # without a Powerwall rows last 15 minutes; where all their flows are 0, nothing measures them
        self._long_are_metered = any(row.grid_power or row.battery_power or row.generator_power for row in long_rows)

    def add(self, found: Quarters, row: Row, span: Span) -> None:
        """Adds the energies of a row that the site's devices measure."""
        if self._has_sun:
            found.power("solar_wh", *span, row.solar_power)
        if self._has_battery:
            found.flow("discharge_wh", "charge_wh", *span, row.battery_power)
        if self._is_metered(span):
            found.flow("import_wh", "export_wh", *span, row.grid_power)

    def load(self, row: Row, span: Span) -> Load:
        """Computes the load from the raw powers: what an inverter draws at night is no load of the home."""
        if not self._is_metered(span) or (self._has_generator and row.generator_power is None):
            return Load(None)
        sun = row.solar_power if self._has_sun else 0.0
        if physics.solar_power(sun) is None:
            return Load(None)
        stored = row.battery_power if self._has_battery else 0.0
        return physics.home_load((sun, row.grid_power, stored, row.generator_power or 0.0))

    def _is_metered(self, span: Span) -> bool:
        return self._has_meter and (self._long_are_metered or span[1] - span[0] < QUARTER)


def _quarter_of(at: datetime) -> datetime:
    return at - timedelta(seconds=at.timestamp() % QUARTER.total_seconds())


def _without_load(reading: Reading) -> Reading:
    return msgspec.structs.replace(reading, load_wh=None, rule=LOAD_BELOW_ZERO)


def row_warnings(rows: Iterable[Row], found: Iterable[Reading]) -> Iterator[str]:
    if any((row.generator_power or 0.0) > 0 for row in rows):
        yield GENERATOR
    if any(reading.rule == LOAD_BELOW_ZERO for reading in found):
        yield physics.NO_LOAD


def days(rows: Iterable[Row], query: ReadingsQuery) -> tuple[Reading, ...]:
    """Makes readings of days, in Wh, from rows of a day, or of parts of it: their number is not fixed.

    The stamp's own date is the site's. None without a known zone.
    """
    where = zone(query.site.timezone)
    if where is None:
        return ()
    found, lacking = Days(where, query.start, query.end), set[datetime]()
    by_day = _by_day(rows)
    sources = _sources(filter(None, by_day.values()), query.site)
    for day, of_day in by_day.items():
        if of_day is None:
            found.told_twice(day)
            continue
        for metric, wh, is_whole in _energies(of_day, query.site, sources):
            found.energy(metric, day, wh)
            lacking |= set() if is_whole else {midnight(day, where)}
    return tuple(
        msgspec.structs.replace(row, quality="partial", rule=PARTS_MISSING) if row.start in lacking else row
        for row in found.readings()
    )


def _by_day(rows: Iterable[Row]) -> dict[date, list[Row] | None]:
    """Groups rows by day; None: a row of the day was told twice with different values."""
    known = [row for row in rows if row.timestamp.utcoffset() is not None]
    by_instant = once((row.timestamp, row) for row in known)
    contradicted = {row.timestamp.date() for row in known if by_instant[row.timestamp] is None}
    found: dict[date, list[Row] | None] = dict.fromkeys(contradicted)
    for row in filter(None, by_instant.values()):
        of_day = found.setdefault(row.timestamp.date(), [])
        if of_day is not None:
            of_day.append(row)
    return found


def _energies(rows: Sequence[Row], of: Site, sources: set[str]) -> Iterator[tuple[str, float, bool]]:
    """Yields the metrics of one day with their energy (Wh), and whether no part of it is missing."""
    is_metered = any(getattr(row, name) for row in rows for name in _FLOWS)
    for metric in (*_SINGLE, *_SUMS):
        kind = _PART_OF.get(metric)
        if kind is not None and not (is_metered and of.has(kind)):
            continue
        told = [known for row in rows if (known := _energy(row, metric, sources)) is not None]
        if told:
            yield metric, sum(wh for wh, _ in told), len(told) == len(rows) and all(whole for _, whole in told)


def _energy(row: Row, metric: str, sources: set[str]) -> tuple[float, bool] | None:
    """Returns the row's energy in Wh, and whether every part is told; a told total stands in for a missing part."""
    if metric in _SINGLE:
        wh = plausible(getattr(row, _SINGLE[metric]))
        return None if wh is None else (wh, True)
    prefix, all_sources, total = _SUMS[metric]
    parts = {source: plausible(getattr(row, prefix + source)) for source in all_sources}
    known = [wh for wh in parts.values() if wh is not None]
    is_whole = all(wh is not None or source not in sources for source, wh in parts.items())
    if not is_whole and (wh := plausible(getattr(row, total))) is not None:
        return wh, True
    return (sum(known), is_whole) if known else None


def _sources(days: Iterable[Sequence[Row]], of: Site) -> set[str]:
    """Returns where this site's energy comes from: a generator only where any row speaks of one."""
    kinds = {"solar": DeviceKind.INVERTER, "battery": DeviceKind.BATTERY}
    names = [name for name in _FLOWS if name.endswith("_generator")]
    has_generator = any(getattr(row, name) is not None for rows in days for row in rows for name in names)
    found = {source for source, kind in kinds.items() if of.has(kind)}
    return {"grid"} | found | ({"generator"} if has_generator else set())
