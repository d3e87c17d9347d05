"""SMA's plants, devices and rows as Joinder's sites and readings. Pure: no clock, no network."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from itertools import chain
from zoneinfo import ZoneInfo

from msgspec.structs import replace

from joinder import Device, DeviceKind, Live, MeterRole, Site, physics
from joinder.energy import PARTS_MISSING, ROWS_MISSING
from joinder.series import QUARTER, Days, Quarters, once, percent, plausible
from joinder_sma import rows
from joinder_sma.api import DeviceEntry, Location, Measurements, Plant, Row
from joinder_sma.rows import METRICS, Timed

BALANCE, PV, BATTERY, IN_OUT = "EnergyBalance", "EnergyAndPowerPv", "EnergyAndPowerBattery", "EnergyAndPowerInOut"
SET_OF = {DeviceKind.INVERTER: PV, DeviceKind.BATTERY: BATTERY, DeviceKind.METER: IN_OUT}
SUMS = {  # of a plant without a balance: each device that offers the set is a part
    PV: ("solar_wh",),
    BATTERY: ("charge_wh", "discharge_wh"),
    IN_OUT: ("import_wh", "export_wh"),
}
HYBRID_PV = ".pv"  # a hybrid is a battery, and with this behind its id an inverter
NO_SUN = "tells more energy than the plant can make or use; such rows are left out"


def site(
    plant: Plant,
    devices: Sequence[DeviceEntry],
    sets: Mapping[str, frozenset[str]],
    *,
    capacities: Mapping[str, float | None] | None = None,
    location: Location | None = None,
    warnings: Sequence[str] = (),
) -> Site:
    """Builds the site of a plant. `capacities`: Wh by device id.

    `location` is asked for only where the plant tells no time zone that is known.
    """
    place = location or Location()
    lat, lon = place.coordinates()
    capacities_wh = capacities or {}
    found = (
        _devices(entry, sets.get(entry.device_id, frozenset()), capacities_wh.get(entry.device_id)) for entry in devices
    )
    return Site(
        vendor_id=plant.plant_id,
        name=plant.name or f"SMA plant {plant.plant_id}",
        timezone=place.timezone or plant.timezone,
        lat=lat,
        lon=lon,
        devices=tuple(chain.from_iterable(found)),
        warnings=tuple(warnings),
    )


def _devices(entry: DeviceEntry, sets: frozenset[str], capacity_wh: float | None) -> Iterator[Device]:
    """Maps an entry by the sets it offers; loggers and sensors are no devices of ours.

    The type is not used: it is wrong in SMA's own sandbox.
    """
    if BATTERY in sets:
        yield replace(_device(entry, DeviceKind.BATTERY), nameplate_wh=plausible(capacity_wh) or None)
        if PV in sets:
            yield _device(entry, DeviceKind.INVERTER, suffix=HYBRID_PV)
    elif PV in sets:
        yield _device(entry, DeviceKind.INVERTER)
    elif IN_OUT in sets:
        yield _device(entry, DeviceKind.METER)


def _device(entry: DeviceEntry, kind: DeviceKind, suffix: str = "") -> Device:
    return Device(
        vendor_id=entry.device_id + suffix,
        kind=kind,
        serial=entry.serial,
        model=entry.product,
        name=entry.name,
        role=MeterRole.GRID if kind is DeviceKind.METER else None,
        max_power_w=plausible(entry.generator_power) or None,
    )


def add_rows(
    found: Quarters,
    answer: Measurements,
    where: ZoneInfo,
    *,
    energies: bool,
    nameplate: float | None,
    part: str = "",
    soc: Quarters | None = None,
) -> str | None:
    """Adds the rows as quarter hours and returns what is wrong with them, or None.

    `energies`: they are Wh, else mean W. `part`: whose rows they are, where a plant is read by its devices. `soc`:
    where the state of charge goes then.
    """
    entries = rows.timed(answer, where)
    fine = [entry for entry in entries if entry.end - entry.start <= QUARTER]
    false = rows.false_metrics(fine, energies=energies, nameplate=nameplate)
    for entry, unknown in zip(fine, false, strict=True):
        if entry.is_contradicted:
            found.told_twice(entry.start, entry.end)
        _add_row(found, entry, unknown, energies=energies, nameplate=nameplate, part=part)
        (found if soc is None else soc).soc(entry.start, entry.end, entry.row.battery_state_of_charge)
    problems = (rows.spacing_problem(entries, answer.resolution), NO_SUN if any(false) else None)
    return "; ".join(problem for problem in problems if problem) or None


def _add_row(
    found: Quarters, entry: Timed, unknown: frozenset[str], *, energies: bool, nameplate: float | None, part: str
) -> None:
    hours = rows.hours(entry) if energies else 1.0
    for metric, member in METRICS.items():
        told = None if metric in unknown else getattr(entry.row, member)
        watts = None if told is None else told / hours
        known = rows.sun(watts, nameplate) if metric == "solar_wh" else watts
        found.power(metric, entry.start, entry.end, known, part=part)
    if unknown:
        found.lacks(entry.start, entry.end, ROWS_MISSING)
    if runs_generator(entry.row):
        found.lacks(entry.start, entry.end, PARTS_MISSING)


def runs_generator(row: Row) -> bool:
    """Tells whether a generator feeds the home and the load is not told.

    Solar, battery and grid do not add up to the load then.
    """
    return bool(row.diesel_generation) and row.total_consumption is None


def merge_days(answers: Sequence[Measurements]) -> Measurements:
    """Merges several days' rows into one answer, with a row that stands in two of them once."""
    merged: list[Row] = []
    for answer in answers:
        newest = merged[-1:]
        merged += [row for row in answer.rows if row not in newest]
    told = (answer.resolution for answer in answers if answer.resolution)
    return Measurements(rows=merged, resolution=next(told, None))


def add_months(
    found: Days,
    answer: Measurements,
    month: str,
    *,
    nameplate: float | None = None,
    part: str = "",
    today: date | None = None,
) -> str | None:
    """Adds day rows in Wh, each day once, and returns what is wrong with them, or None. `today` is not over yet."""
    days = days_of(answer, month, today)
    false = rows.false_days({day: row.pv_generation for day, row in days.items() if row is not None}, nameplate)
    for day, row in days.items():
        if row is None:
            found.told_twice(day)
            continue
        partial = day in false or (today is not None and day >= today) or runs_generator(row)
        for metric, wh in _of_day(row, nameplate).items():
            unknown = day in false and metric in ("solar_wh", "load_wh")
            found.energy(metric, day, None if unknown else wh, partial=partial, part=part)
    return NO_SUN if false else None


def _of_day(row: Row, nameplate: float | None) -> dict[str, float | None]:
    told: dict[str, float | None] = {metric: getattr(row, member) for metric, member in METRICS.items()}
    mean_w = rows.sun(None if row.pv_generation is None else row.pv_generation / 24, nameplate)
    return {**told, "solar_wh": None if mean_w is None else mean_w * 24}


def days_of(answer: Measurements, month: str, today: date | None = None) -> dict[date, Row | None]:
    """Returns rows of the month by their day, none of the future; None where a day was told twice and differently.

    Should they be stamped with their end, the last is stamped with the first of the next month, and none with that of
    this one: a stray row of another month moves no day.
    """
    stamps = [row.time.date() for row in answer.rows]
    first = date.fromisoformat(f"{month}-01")
    following = (first + timedelta(days=31)).replace(day=1)
    back = timedelta(days=1 if following in stamps and first not in stamps else 0)
    rows_by_day = zip((at - back for at in stamps), answer.rows, strict=True)
    return once((day, row) for day, row in rows_by_day if first <= day < following and (today is None or day <= today))


def newest(answer: Measurements, where: ZoneInfo) -> Timed | None:
    """Returns the newest row of a Recent answer, or None."""
    entries = rows.timed(answer, where)
    return entries[-1] if entries else None


def live(answer: Measurements, where: ZoneInfo, *, nameplate: float | None = None) -> Live | None:
    """Returns the newest row of a Recent answer in W, without what cannot be true in it; None where there is no row."""
    entries = rows.timed(answer, where)
    if not entries:
        return None
    at, row, false = entries[-1].end, entries[-1].row, rows.false_metrics(entries, energies=False, nameplate=nameplate)
    watts = {
        metric: None if metric in false[-1] else plausible(getattr(row, member)) for metric, member in METRICS.items()
    }
    return Live(
        measured_at=at,
        solar_w=None if "solar_wh" in false[-1] else rows.sun(row.pv_generation, nameplate),
        battery_w=_difference(watts["discharge_wh"], watts["charge_wh"]),
        grid_w=_difference(watts["import_wh"], watts["export_wh"]),
        load_w=watts["load_wh"],
        soc_percent=percent(row.battery_state_of_charge),
    )


def of_now(at: datetime, where: ZoneInfo, now: datetime) -> datetime:
    """Returns the instant of a newest row.

    In the hour that autumn repeats, it is the second pass, once that has begun.
    """
    later = at.astimezone(where).replace(fold=1).astimezone(UTC)
    return later if later <= now else at


def live_load(live: Live, *, battery: bool) -> physics.Load:
    """Computes what the home uses, in W, where SMA does not tell it; a plant without a battery discharges nothing."""
    return physics.home_load((live.solar_w, live.battery_w if battery else 0.0, live.grid_w))


def _difference(into_home: float | None, out_of_it: float | None) -> float | None:
    """Subtracts one of a pair from the other; SMA sends pairs that are never negative."""
    return None if into_home is None or out_of_it is None else into_home - out_of_it


def add_mean_soc(found: Quarters, batteries: Mapping[str, Quarters], sizes_wh: Mapping[str, float | None]) -> None:
    """Adds the state of charge of all batteries together, weighted by their sizes where all are told.

    It is unknown where one is silent.
    """
    told = {
        of: {reading.start: reading.soc_percent for reading in quarters.readings()}
        for of, quarters in batteries.items()
    }
    weights = {of: size for of in told if (size := sizes_wh.get(of))}
    for start in set[datetime]().union(*told.values()):
        parts = {of: percent for of, row in told.items() if (percent := row.get(start)) is not None}
        if len(parts) == len(told):
            found.soc(start, start + QUARTER, _mean(parts, weights if len(weights) == len(told) else {}))


def _mean(percents: Mapping[str, float], weights: Mapping[str, float]) -> float:
    total = sum(weights.get(of, 1.0) for of in percents)
    return sum(percent * weights.get(of, 1.0) for of, percent in percents.items()) / total
