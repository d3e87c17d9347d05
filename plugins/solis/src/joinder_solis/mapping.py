"""SolisCloud's live power and rows as Joinder's readings; `site` stands in devices.py. Pure: no network.

psum > 0 exports and batteryPower > 0 charges; Joinder's signs are the other way round for both. A station without a
meter or a battery answers zeros for them: those are unknown, not 0, so only what the site's devices measure is read.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import date, datetime, timedelta
from itertools import pairwise
from typing import Any

import msgspec

from joinder import DeviceKind, Live, Reading, ReadingsQuery, Site
from joinder.energy import LOAD_BELOW_ZERO
from joinder.errors import NotSupported
from joinder.physics import NO_LOAD, home_load, nameplate_w, solar_power
from joinder.series import (
    QUARTER,
    Days,
    Quarters,
    Span,
    day_span,
    days_between,
    is_datable,
    merged,
    once,
    row_spans,
    with_load,
    zone,
)
from joinder_solis import doubt
from joinder_solis.api import Record
from joinder_solis.devices import battery_w, discharging_w, instant, percent, site
from joinder_solis.doubt import OFFLINE, Say, are_apart, unheard

__all__ = ["days", "days_to_ask", "live", "months_to_ask", "quarters", "site"]

ROW_ALONE = timedelta(minutes=5)  # how long a row lasts that has no neighbour to tell
WANDERS = 0.1  # an inverter's rows come every 301 to 305 s, whatever is set: distances this much alike are one
NEWEST_LAG = timedelta(hours=1)  # the newest rows may not have arrived yet
ASLEEP_AT_MOST = timedelta(hours=24)  # an inverter without a battery is offline at night
Ask = tuple[str, dict[str, Any]]
_READ = (
    *("power", "pac", "batteryPower", "batteryPowerZheng", "batteryPowerFu", "storageBatteryCurrent"),
    *("batteryCapacitySoc", "psum", "psumOrgin", "psumZheng", "psumFu"),
)


def live(station: Record, of: Site, say: Say = unheard) -> Live | None:
    """Returns the plant at one instant in W; None where it is offline or tells no time.

    What lacks a silent inverter is unknown: it may be most of a sum, or turn its sign.
    """
    measured_at = instant(station.number("dataTimestamp"))
    if measured_at is None or station.number("state") == OFFLINE:  # what is offline keeps its last numbers
        say(doubt.NO_TIME if measured_at is None else doubt.NO_CONTACT)
        return None
    silent = doubt.silence(station, of)
    if silent:
        say(doubt.NOT_ALL_REPORT)
    asks_battery = of.has(DeviceKind.BATTERY) and not silent.reaches(of.devices, DeviceKind.BATTERY)
    asks_meter = of.has(DeviceKind.METER) and not silent.reaches(of.devices, DeviceKind.METER)
    solar = None if silent else _plant_solar_w(station, of, say)
    battery = battery_w(station, "batteryPercent", say) if asks_battery else None
    exported = doubt.exported_w(station, say) if asks_meter else None
    grid = None if exported is None else 0.0 - exported
    parts = [solar, grid, *([battery] if of.has(DeviceKind.BATTERY) else [])]
    return Live(
        measured_at=measured_at,
        solar_w=solar,
        battery_w=battery,
        grid_w=grid,
        load_w=_load_w(station, parts, say),
        soc_percent=percent(station.number("batteryPercent")) if asks_battery else None,
    )


def _plant_solar_w(station: Record, of: Site, say: Say) -> float | None:
    """Returns `power` in W.

    Where solar power is coupled beside the inverters, it is the total of both, or None without one.
    """
    solar = doubt.watts(station, "power", say, twin="powerOriginV2")
    if station.number("acCoupledPower"):
        solar = station.watts("pvAndAcCoupledPower") or None
        if solar is None:
            say(doubt.AC_COUPLED)
    return solar_power(solar, nameplate_w(of.devices))


def _load_w(station: Record, parts: Sequence[float | None], say: Say) -> float | None:
    """Returns the sum of the parts in W, unless a generator feeds the home too or the vendor's own figure differs."""
    if station.number("generatorPower"):
        say(doubt.GENERATOR)
        return None
    load, told = home_load(parts), _told_load_w(station)
    if load.is_impossible:
        say(NO_LOAD)
    elif load.watts is not None and told and are_apart(load.watts, told):
        say(doubt.LOADS_DIFFER)
        return None
    return load.watts


def _told_load_w(station: Record) -> float:
    """Returns the load in W as the vendor tells it; 0 tells nothing.

    familyLoadPower leaves out what hangs on the backup port (hultenvp/solis-sensor#312).
    """
    return station.watts("totalLoadPower") or sum(
        station.watts(name) or 0.0 for name in ("familyLoadPower", "bypassLoadPower", "backup2Power")
    )


def days_to_ask(query: ReadingsQuery) -> Iterator[Ask]:
    """Yields day calls, which are cut by a fixed offset and miss the edge of a day with summer time.

    So they cover an hour more on both sides.
    """
    offset_h = _standard_offset_h(query)
    margin, shift = timedelta(hours=1), timedelta(hours=offset_h)
    first, last = (query.start - margin + shift).date(), (query.end + margin + shift - timedelta(seconds=1)).date()
    endpoint, subject = _subject(query)
    for number in range((last - first).days + 1):
        day = first + timedelta(days=number)
        yield endpoint, {**subject, "money": "EUR", "time": day.isoformat(), "timeZone": offset_h}


def _subject(query: ReadingsQuery) -> tuple[str, dict[str, str]]:
    """Returns whom to ask about: a station, or the inverter that a device is or hangs on."""
    if query.device_id is None:
        return "stationDay", {"id": query.site.vendor_id}
    serial, _, part = query.device_id.partition(":")
    device = query.site.device(query.device_id)
    if device is None or (device.kind is DeviceKind.METER and not part):
        raise NotSupported("SolisCloud has no intervals of this device alone")
    return "inverterDay", {"sn": serial}


def _standard_offset_h(query: ReadingsQuery) -> float:
    where = zone(query.site.timezone)
    at = query.start.astimezone(where) if where else query.start
    offset = (at.utcoffset() or timedelta(0)) - (at.dst() or timedelta(0))
    return offset.total_seconds() / 3600


def quarters(
    rows: Iterable[Record], query: ReadingsQuery, say: Say = unheard, lacking: Span | None = None
) -> tuple[Reading, ...]:
    """Makes readings of quarter hours, in Wh, from rows of power.

    Each row counts until the next one, before a gap as long as its neighbours; asked twice, once. Of two that differ
    none counts. `lacking`: the time in which the plant's sums lack an inverter.
    """
    at_rows = _timed(rows, say)
    found = Quarters(query.start, query.end)
    loadless: list[Span] = []  # rows that know less than the others: a sum of parts over unlike times is no load
    for at, end in _spans(list(at_rows)):
        row = at_rows[at]
        if row is None:
            found.told_twice(at, end)
        is_whole = row is not None and _add(found, row, at, end, query, say)
        if _touches(lacking, at, end):
            say(doubt.NOT_ALL_REPORT)
            found.lacks(at, end)
        if not is_whole or _touches(lacking, at, end):
            loadless.append((at, end))
    readings = found.readings(query.device_id)
    if query.device_id is not None:
        return readings
    battery = query.site.has(DeviceKind.BATTERY)
    loaded = [
        row if any(_touches(span, row.start, row.end) for span in loadless) else with_load(row, battery=battery)
        for row in readings
    ]
    if any(row.rule == LOAD_BELOW_ZERO for row in loaded):
        say(NO_LOAD)
    if _is_cut(readings, query, QUARTER if battery else ASLEEP_AT_MOST):
        say(doubt.PART_OF_THE_TIME)
    return tuple(loaded)


def _timed(rows: Iterable[Record], say: Say) -> dict[datetime, Record | None]:
    """Sorts rows by instant. `timeStr` and the inverter's `time` are not used: wall times of a zone nobody knows."""
    found: list[tuple[datetime, Record]] = []
    for row in rows:
        at = instant(row.number("time")) or instant(row.number("dataTimestamp"))
        if at is None:
            say(doubt.UNTIMED_ROWS)
        else:
            found.append((at, row))
    return once(found, told=_powers)


def _powers(row: Record) -> list[object]:
    """Returns all that is read of a row; money and texts beside it may change."""
    return [(row.number(name), row.text(f"{name}Str"), row.number(f"{name}Pec")) for name in _READ]


def _spans(starts: Sequence[datetime]) -> Iterator[Span]:
    """Yields series.row_spans of rows whose distances wander by seconds, computed from even ones."""
    even = list(_evened(starts))
    for index, (begin, end) in enumerate(row_spans(even, alone=ROW_ALONE)):
        until_next = index + 1 < len(even) and end == even[index + 1]
        yield starts[index], starts[index + 1] if until_next else starts[index] + (end - begin)


def _evened(starts: Sequence[datetime]) -> Iterator[datetime]:
    """Yields the same rows, with distances that are nearly alike made equal."""
    lengths: list[timedelta] = []
    yield from starts[:1]
    at = starts[0] if starts else None
    for before, after in pairwise(starts):
        gap = after - before
        length = next((known for known in lengths if abs(known - gap) <= known * WANDERS), gap)
        lengths += [] if length in lengths else [length]
        at = (at or before) + length
        yield at


def _touches(span: Span | None, start: datetime, end: datetime) -> bool:
    return span is not None and start < span[1] and end > span[0]


def _is_cut(readings: Sequence[Reading], query: ReadingsQuery, longest: timedelta) -> bool:
    """Tells whether nothing is told of some time as long as `longest`; the newest hour may be on its way."""
    begins = [*(reading.start for reading in readings), query.end - NEWEST_LAG]
    ends = [query.start, *(reading.end for reading in readings)]
    return any(begin - end >= longest for end, begin in zip(ends, begins, strict=True))


def _add(found: Quarters, row: Record, at: datetime, end: datetime, query: ReadingsQuery, say: Say) -> bool:
    """Adds a row, and tells whether all is known that it should tell. Members without a unit of their own are W."""
    part = (query.device_id or "").partition(":")[2]
    told: list[float | None] = []
    if query.device_id is None or not part:
        told.append(doubt.watts(row, "power" if query.device_id is None else "pac", say))
        found.power("solar_wh", at, end, told[-1])
    if part == "battery" or (query.device_id is None and query.site.has(DeviceKind.BATTERY)):
        told.append(discharging_w(row, doubt.watts(row, "batteryPower", say, bare="W")))
        found.flow("discharge_wh", "charge_wh", at, end, told[-1])
        found.soc(at, end, percent(row.number("batteryCapacitySoc")))
    if part == "meter" or (query.device_id is None and query.site.has(DeviceKind.METER)):
        told.append(doubt.exported_w(row, say, bare="W"))
        found.flow("export_wh", "import_wh", at, end, told[-1])
    return None not in told


def months_to_ask(query: ReadingsQuery) -> Iterator[Ask]:
    """Yields month calls. Raises NotSupported for a device, or where no zone says when days begin."""
    where = zone(query.site.timezone)
    if where is None:
        raise NotSupported("The plant's time zone is unknown")
    if query.device_id is not None:
        raise NotSupported("SolisCloud's days are read for the whole plant")
    asked = sorted({day.strftime("%Y-%m") for day in days_between(query.start, query.end, where)})
    for month in asked:
        yield "stationMonth", {"id": query.site.vendor_id, "money": "EUR", "month": month}


def days(
    rows: Iterable[Record], query: ReadingsQuery, say: Say = unheard, lacking: Span | None = None
) -> tuple[Reading, ...]:
    """Maps day rows to readings in Wh; none where no zone is known.

    Rows are keyed on dateStr: `date` is an instant of UTC+8, wherever the plant is. Members without a unit are kWh:
    they equal `energy` in kWh in the document's own samples.
    """
    where = zone(query.site.timezone)
    if where is None:
        return ()
    found = Days(where, query.start, query.end)
    members = _day_members(query.site)
    for day, row in _dated(rows, members, say):
        for metric, wh in _energies(row, members, say).items():
            is_short = bool(row.number("errorFlag")) or _touches(lacking, *day_span(day, where))
            found.energy(metric, day, wh, partial=is_short)
    battery = query.site.has(DeviceKind.BATTERY)
    return tuple(
        msgspec.structs.replace(reading, load_wh=None)
        if _touches(lacking, reading.start, reading.end)
        else _balanced(reading, battery, say)
        for reading in found.readings()
    )


def _day_members(of: Site) -> dict[str, str]:
    has_battery, has_meter = of.has(DeviceKind.BATTERY), of.has(DeviceKind.METER)
    return {
        "solar_wh": "energy",
        **({"charge_wh": "batteryChargeEnergy", "discharge_wh": "batteryDischargeEnergy"} if has_battery else {}),
        **({"import_wh": "gridPurchasedEnergy", "export_wh": "gridSellEnergy"} if has_meter else {}),
        **({"load_wh": "homeLoadEnergy"} if has_meter else {}),
    }


def _energies(row: Record, members: Mapping[str, str], say: Say = unheard) -> dict[str, float | None]:
    found = {metric: row.watt_hours(name, "" if name == "energy" else "kWh") for metric, name in members.items()}
    if any(wh is None and row.number(members[metric]) is not None for metric, wh in found.items()):
        say(doubt.STRANGE_UNIT)
    return found


def _dated(rows: Iterable[Record], members: Mapping[str, str], say: Say) -> Iterator[tuple[date, Record]]:
    """Yields one row a day; a day told twice and differently is left out."""
    by_day: dict[date, list[Record]] = {}
    for row in rows:
        day = _day(row.text("dateStr"))
        if day is None:
            say(doubt.UNTIMED_ROWS)
        else:
            by_day.setdefault(day, []).append(row)
    for day, told in by_day.items():
        if any(_energies(row, members) != _energies(told[0], members) for row in told):
            say(doubt.CONTRADICTION)
        else:
            yield day, told[0]


def _balanced(reading: Reading, battery: bool, say: Say) -> Reading:
    """Sets the load as the vendor tells it, or as the sum of the parts, or as unknown where the two contradict."""
    whole = with_load(msgspec.structs.replace(reading, load_wh=None, rule=None), battery=battery)
    rule, told = reading.rule or whole.rule, reading.load_wh
    if whole.rule is not None:
        say(NO_LOAD)
    elif told is None or whole.load_wh is None:
        return merged([[reading], [whole]])[0]
    elif are_apart(told, whole.load_wh, doubt.APART_WH):
        say(doubt.LOADS_DIFFER)
    else:
        return reading
    return msgspec.structs.replace(reading, load_wh=None, rule=rule)


def _day(text: str | None) -> date | None:
    try:
        day = date.fromisoformat((text or "")[:10])
    except ValueError:
        return None
    return day if is_datable(day) else None
