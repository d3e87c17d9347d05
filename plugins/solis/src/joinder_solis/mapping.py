"""SolisCloud stations, inverters and rows as Joinder's sites and readings. Pure: no network.

psum > 0 exports and batteryPower > 0 charges; Joinder's signs are the other way round for both. A station without a
meter or a battery answers zeros for them: those are unknown, not 0, so only what the site's devices measure is read.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, date, datetime, timedelta
from itertools import zip_longest
from typing import Any

from joinder import Device, DeviceKind, Live, MeterRole, Reading, ReadingsQuery, Site
from joinder.errors import NotSupported
from joinder.series import Days, Quarters, days_between, plausible, with_load, zone
from joinder_solis.api import Record

ROW_MOST = timedelta(minutes=15)  # a row stands until the next; one farther off is a gap, which is no energy
ROW_ALONE = timedelta(minutes=5)  # what the last row before a gap stands for
STALE_AFTER = timedelta(hours=1)
_METERED = {2, 3, 4, 5, 6, 7, 8, 1001, 1002}  # inverterMeterModel of inverters with a meter, document appendix 3
_STORAGE_STATIONS = {1, 6, 7, 9, 10, 11}  # stationTypeNew
_ZONE_TAIL = re.compile(r"\)\s*([A-Za-z_]+/[\w/+-]+)$")
Ask = tuple[str, dict[str, Any]]


def site(station: Record, inverters: Sequence[Record], meters: Sequence[Record], now: datetime) -> Site:
    storage = station.number("stationTypeNew") in _STORAGE_STATIONS
    devices: list[Device] = []
    for record in inverters:
        devices += _inverter(record, now, storage=storage, metered_elsewhere=bool(meters))
    devices += [device for record in meters if (device := _epm(record, now))]
    return Site(
        vendor_id=station.text("id") or "",
        name=station.text("stationName") or station.text("sno") or "SolisCloud plant",
        timezone=_zone_name(station),
        operational_since=instant(station.number("fisGenerateTime")),
        devices=tuple(devices),
    )


def _zone_name(station: Record) -> str | None:
    """The IANA name, or a fixed offset of whole hours for a plant that says it has no summer time."""
    stated = station.text("timeZoneStandardId")
    tail = _ZONE_TAIL.search(station.text("timeZoneName") or "")
    for name in (stated, tail.group(1) if tail else None):
        if zone(name) is not None:
            return name
    hours, summer = station.number("timeZone"), station.number("daylightSwitch") != 0 or station.number("daylight")
    if summer or hours is None or hours != int(hours) or not -12 <= hours <= 14:
        return None
    return f"Etc/GMT{-int(hours):+d}" if hours else "Etc/GMT"  # POSIX signs: Etc/GMT-10 lies east


def _inverter(record: Record, now: datetime, *, storage: bool, metered_elsewhere: bool) -> Iterator[Device]:
    """The inverter, the battery behind it and the meter beside it, which SolisCloud does not list themselves."""
    serial = record.text("sn")
    if serial is None:
        return
    reported = instant(record.number("dataTimestamp"))
    stale = record.number("state") == 2 or reported is None or now - reported > STALE_AFTER
    percent = record.number("batteryCapacitySoc")
    hybrid = storage or record.number("type") == 2 or (percent or 0) > 0
    lifetime_kwh = record.number("etotal1")
    yield Device(
        vendor_id=serial,
        kind=DeviceKind.INVERTER,
        serial=serial,
        model=record.text("productModel") or record.text("model"),
        power_w=None if stale else _generated_w(record, hybrid=hybrid),
        max_power_w=record.watts("power") or None,
        lifetime_wh=plausible(lifetime_kwh * 1000 if lifetime_kwh else record.watt_hours("etotal")),
        reported_at=reported,
        stale=stale,
    )
    if hybrid:
        yield Device(
            vendor_id=f"{serial}:battery",
            kind=DeviceKind.BATTERY,
            name=f"Battery of {serial}",
            power_w=None if stale else _discharging_w(record, record.watts("batteryPower")),
            soc_percent=percent if percent is not None and 0 < percent <= 100 else None,  # 0 is also "no answer"
            reported_at=reported,
            stale=stale,
        )
    if not metered_elsewhere and record.number("inverterMeterModel") in _METERED:
        yield Device(vendor_id=f"{serial}:meter", kind=DeviceKind.METER, name=f"Meter of {serial}", role=MeterRole.GRID)


def _generated_w(record: Record, *, hybrid: bool) -> float | None:
    """`pac` of a hybrid may hold what its battery gives, so its strings count; all 0 beside a `pac` tells nothing."""
    pac = plausible(record.watts("pac"))
    strings = [watts for number in range(1, 33) if (watts := plausible(record.watts(f"pow{number}", "W"))) is not None]
    if not hybrid or not strings:
        return pac
    return sum(strings) or (None if pac else pac)


def _epm(record: Record, now: datetime) -> Device | None:
    """An export power manager: positive sells (document V2.0, epmDetail)."""
    serial, sold_w = record.text("sn"), record.watts("pEpmTotal")
    reported = instant(record.number("dataTimestamp"))
    stale = record.number("state") == 2 or reported is None or now - reported > STALE_AFTER
    if serial is None:
        return None
    return Device(
        vendor_id=serial,
        kind=DeviceKind.METER,
        serial=serial,
        role=MeterRole.GRID,
        power_w=None if stale or sold_w is None else -sold_w,
        reported_at=reported,
        stale=stale,
    )


def live(station: Record, of: Site) -> Live | None:
    measured_at = instant(station.number("dataTimestamp"))
    if measured_at is None:
        return None
    has_battery, has_meter = _has(of, DeviceKind.BATTERY), _has(of, DeviceKind.METER)
    solar = plausible(station.watts("power"))
    battery = _discharging_w(station, station.watts("batteryPower")) if has_battery else None
    exported = station.watts("psum") if has_meter else None
    grid = None if exported is None else 0.0 - exported
    parts = [solar, grid, *([battery] if has_battery else [])]
    percent = station.number("batteryPercent")
    return Live(
        measured_at=measured_at,
        solar_w=solar,
        battery_w=battery,
        grid_w=grid,
        load_w=None if None in parts else sum(part or 0.0 for part in parts),
        soc_percent=percent if has_battery and percent is not None and 0 < percent <= 100 else None,
    )


def _discharging_w(record: Record, charging_w: float | None) -> float | None:
    """Older firmware sends batteryPower without a sign; what it sends below 0 has one. For the rest the battery's
    current tells, and where there is none the unsigned halves in W: a cloud can make those of the unsigned power."""
    current = record.number("storageBatteryCurrent")
    if charging_w is not None and (charging_w < 0 or (charging_w and current)):
        return -charging_w if charging_w < 0 or (current or 0) > 0 else charging_w
    charged, discharged = record.watts("batteryPowerZheng", "W"), record.watts("batteryPowerFu", "W")
    if charged or discharged:
        return abs(discharged or 0.0) - abs(charged or 0.0)
    return None if charging_w is None else 0.0 - charging_w


def days_to_ask(query: ReadingsQuery) -> Iterator[Ask]:
    """Day calls cut by a fixed offset, which misses the edge of a day with summer time: an hour more on both sides."""
    offset_h = _standard_offset_h(query)
    margin, shift = timedelta(hours=1), timedelta(hours=offset_h)
    first, last = (query.start - margin + shift).date(), (query.end + margin + shift - timedelta(seconds=1)).date()
    endpoint, subject = _subject(query)
    for number in range((last - first).days + 1):
        day = first + timedelta(days=number)
        yield endpoint, {**subject, "money": "EUR", "time": day.isoformat(), "timeZone": offset_h}


def _subject(query: ReadingsQuery) -> tuple[str, dict[str, str]]:
    """A station, or the inverter a device is or hangs on."""
    if query.device_id is None:
        return "stationDay", {"id": query.site.vendor_id}
    serial, _, part = query.device_id.partition(":")
    device = next((device for device in query.site.devices if device.vendor_id == query.device_id), None)
    if device is None or (device.kind is DeviceKind.METER and not part):
        raise NotSupported("SolisCloud has no intervals of this device alone")
    return "inverterDay", {"sn": serial}


def _standard_offset_h(query: ReadingsQuery) -> float:
    where = zone(query.site.timezone)
    at = query.start.astimezone(where) if where else query.start
    offset = (at.utcoffset() or timedelta(0)) - (at.dst() or timedelta(0))
    return offset.total_seconds() / 3600


def quarters(rows: Iterable[Record], query: ReadingsQuery) -> tuple[Reading, ...]:
    """Five-minute rows of power. Each counts until the next one, before a gap for five; asked twice, counted once."""
    at_rows = {at: row for row in rows if (at := instant(row.number("time")) or instant(row.number("dataTimestamp")))}
    ordered = sorted(at_rows)
    found = Quarters(query.start, query.end)
    for at, following in zip_longest(ordered, ordered[1:]):
        end = following if following and following - at <= ROW_MOST else at + ROW_ALONE
        _add(found, at_rows[at], at, end, query)
    has_battery = _has(query.site, DeviceKind.BATTERY)
    whole = query.device_id is None
    return tuple(with_load(row, battery=has_battery) if whole else row for row in found.readings(query.device_id))


def _add(found: Quarters, row: Record, at: datetime, end: datetime, query: ReadingsQuery) -> None:
    """Members without a unit of their own are W."""
    part = (query.device_id or "").partition(":")[2]
    if query.device_id is None or not part:
        found.power("solar_wh", at, end, row.watts("power") if query.device_id is None else row.watts("pac"))
    if part == "battery" or (query.device_id is None and _has(query.site, DeviceKind.BATTERY)):
        found.flow("discharge_wh", "charge_wh", at, end, _discharging_w(row, row.watts("batteryPower", "W")))
        percent = row.number("batteryCapacitySoc")
        found.soc(at, end, percent or None)
    if part == "meter" or (query.device_id is None and _has(query.site, DeviceKind.METER)):
        found.flow("export_wh", "import_wh", at, end, row.watts("psum", "W"))


def months_to_ask(query: ReadingsQuery) -> Iterator[Ask]:
    where = zone(query.site.timezone)
    if where is None:
        raise NotSupported("The plant's time zone is unknown")
    if query.device_id is not None:
        raise NotSupported("SolisCloud's days are read for the whole plant")
    asked = sorted({day.strftime("%Y-%m") for day in days_between(query.start, query.end, where)})
    for month in asked:
        yield "stationMonth", {"id": query.site.vendor_id, "money": "EUR", "month": month}


def days(rows: Iterable[Record], query: ReadingsQuery) -> tuple[Reading, ...]:
    """Keyed on dateStr: `date` is an instant of UTC+8, wherever the plant is. Members without a unit are kWh: they
    equal `energy` in kWh in the document's own samples."""
    where = zone(query.site.timezone)
    if where is None:
        return ()
    found = Days(where, query.start, query.end)
    has_battery, has_meter = _has(query.site, DeviceKind.BATTERY), _has(query.site, DeviceKind.METER)
    metrics = {
        **({"charge_wh": "batteryChargeEnergy", "discharge_wh": "batteryDischargeEnergy"} if has_battery else {}),
        **({"import_wh": "gridPurchasedEnergy", "export_wh": "gridSellEnergy"} if has_meter else {}),
        **({"load_wh": "homeLoadEnergy"} if has_meter else {}),
    }
    seen: set[date] = set()
    for row in rows:
        day = _day(row.text("dateStr"))
        if day is None or day in seen:
            continue
        seen.add(day)
        found.energy("solar_wh", day, row.watt_hours("energy"))
        for metric, member in metrics.items():
            found.energy(metric, day, row.watt_hours(member, "kWh"))
    return found.readings()


def _day(text: str | None) -> date | None:
    try:
        return date.fromisoformat((text or "")[:10])
    except ValueError:
        return None


def instant(milliseconds: float | None) -> datetime | None:
    """True UTC, although the document says UTC+8: its own samples print the local time of the plant."""
    if milliseconds is None or not 1e12 < milliseconds < 1e13:
        return None
    return datetime.fromtimestamp(milliseconds / 1000, UTC)


def _has(of: Site, kind: DeviceKind) -> bool:
    return any(device.kind is kind for device in of.devices)
