"""SolisCloud's stations and inverters as Joinder's sites and devices. Pure: no network.

SolisCloud lists no batteries and no meters: each is made of what its inverter tells.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime

from joinder import Device, DeviceKind, MeterRole, Site
from joinder.series import plausible
from joinder_solis import doubt, place
from joinder_solis.api import Record
from joinder_solis.doubt import ALARM, OFFLINE, STALE_AFTER, Say, are_apart

_METERED = {2, 3, 4, 5, 6, 7, 8, 1001, 1002}  # inverterMeterModel of inverters with a meter, document appendix 3
_STORAGE_STATIONS = {1, 6, 7, 9, 10, 11}  # stationTypeNew


def site(station: Record, inverters: Sequence[Record], meters: Sequence[Record], now: datetime) -> Site:
    """Builds the site of a station, its inverters and its export power managers."""
    storage = station.number("stationTypeNew") in _STORAGE_STATIONS
    said: list[str] = []
    devices: list[Device] = []
    for record in inverters:
        devices += _inverter(record, now, said.append, storage=storage, metered_elsewhere=bool(meters))
    devices += [device for record in meters if (device := _epm(record, now))]
    zone_name, (lat, lon) = place.zone_name(station, now, said.append), place.coordinates(station)
    _check_plant(station, devices, said.append)
    return Site(
        vendor_id=station.text("id") or "",
        name=station.text("stationName") or station.text("sno") or "SolisCloud plant",
        timezone=zone_name,
        lat=lat,
        lon=lon,
        operational_since=instant(station.number("fisGenerateTime")),
        devices=tuple(devices),
        warnings=tuple(dict.fromkeys(said)),
    )


def _check_plant(station: Record, devices: Sequence[Device], say: Say) -> None:
    """Says what is wrong when the plant's page and the list of its inverters are read together."""
    inverters = [device for device in devices if device.kind is DeviceKind.INVERTER]
    if len(inverters) < (station.number("inverterCount") or 0):
        say(doubt.FEWER_LISTED)
    if any(device.stale for device in inverters) and not all(device.stale for device in inverters):
        say(doubt.NOT_ALL_REPORT)
    if not any(device.faults for device in devices) and _has_alarm(station):
        say(doubt.PLANT_ALARM)
    powers, plant_w = [device.power_w for device in inverters], station.watts("power")
    known = [power for power in powers if power is not None]
    if known and len(known) == len(powers) and plant_w is not None and are_apart(sum(known), plant_w):
        say(doubt.SUMS_DIFFER)


def _has_alarm(station: Record) -> bool:
    """Tells whether the plant has an alarm: by their count where there is one, else by its state.

    A plant in state 3 (alarm) whose count of alarms is 0 was seen at work.
    """
    count = station.number("alarmCount")
    return station.number("state") == ALARM if count is None else count > 0


def _inverter(record: Record, now: datetime, say: Say, *, storage: bool, metered_elsewhere: bool) -> Iterator[Device]:
    """Yields the inverter, the battery behind it and the meter beside it; SolisCloud does not list the last two."""
    serial = record.text("sn")
    if serial is None:
        return
    reported, stale = _reported(record, now)
    charge = record.number("batteryCapacitySoc")
    hybrid = storage or record.number("type") == 2 or (charge or 0) > 0
    yield Device(
        vendor_id=serial,
        kind=DeviceKind.INVERTER,
        serial=serial,
        model=record.text("productModel") or record.text("model"),
        power_w=None if stale else _generated_w(record, hybrid=hybrid),
        max_power_w=record.watts("power") or None,
        lifetime_wh=_lifetime_wh(record, say),
        reported_at=reported,
        stale=stale,
        faults=tuple(_faults(record, "inverter")),
    )
    if hybrid and not _is_battery_absent(record):
        yield Device(
            vendor_id=f"{serial}:battery",
            kind=DeviceKind.BATTERY,
            name=f"Battery of {serial}",
            power_w=None if stale else battery_w(record, "batteryCapacitySoc", say),
            soc_percent=percent(charge),
            reported_at=reported,
            stale=stale,
        )
    if not metered_elsewhere and record.number("inverterMeterModel") in _METERED:
        yield Device(vendor_id=f"{serial}:meter", kind=DeviceKind.METER, name=f"Meter of {serial}", role=MeterRole.GRID)


def _reported(record: Record, now: datetime) -> tuple[datetime | None, bool]:
    """Returns when it reported, and whether that is too long ago: what is offline keeps its last numbers."""
    reported = instant(record.number("dataTimestamp"))
    return reported, record.number("state") == OFFLINE or reported is None or now - reported > STALE_AFTER


def _faults(record: Record, what: str) -> Iterator[str]:
    """Yields faults in our words: the vendor's are often Chinese. Being offline at night is no fault."""
    if record.number("state") == ALARM:
        yield f"The {what} reports an alarm"
    if record.number("state") == OFFLINE and record.number("stateExceptionFlag") == 1:
        yield f"The {what} is offline unexpectedly"


def _lifetime_wh(record: Record, say: Say) -> float | None:
    """Returns the lifetime's energy in Wh; None where etotal1 and etotal contradict each other or tell nothing.

    etotal1 is always kWh, and 0 where nobody fills it in; etotal changes its unit with its size.
    """
    raw_kwh, own_wh = record.number("etotal1"), record.watt_hours("etotal")
    raw_wh = plausible(raw_kwh * 1000) if raw_kwh else None
    if raw_wh and own_wh and are_apart(raw_wh, own_wh, doubt.APART_WH):
        say(doubt.CONTRADICTION)
        return None
    return plausible(own_wh) if raw_kwh in (None, 0) else raw_wh


def _is_battery_absent(record: Record) -> bool:
    """Tells whether nobody has connected a battery to this hybrid: 0 %, 0 W, nothing ever charged or discharged."""
    told = ("batteryCapacitySoc", "batteryPower", "batteryTotalChargeEnergy", "batteryTotalDischargeEnergy")
    return all(record.number(name) == 0 for name in told)


def percent(value: float | None) -> float | None:
    return value if value is not None and 0 < value <= 100 else None  # 0 is also "no answer"


def battery_w(record: Record, charge: str, say: Say) -> float | None:
    """Returns the battery's power in W, positive when discharging, or None.

    0 W beside 0 % is what SolisCloud tells of a battery that does not answer: None.
    """
    power = discharging_w(record, doubt.watts(record, "batteryPower", say, twin="batteryPowerOrigin"))
    if power == 0 and record.number(charge) == 0:
        say(doubt.SILENT_BATTERY)
        return None
    return power


def _generated_w(record: Record, *, hybrid: bool) -> float | None:
    """Returns generated power in W, of a hybrid by its strings: its `pac` may hold what the battery gives.

    Strings that are all 0 beside a `pac` tell nothing.
    """
    pac = plausible(record.watts("pac"))
    strings = [watts for number in range(1, 33) if (watts := plausible(record.watts(f"pow{number}", "W"))) is not None]
    if not hybrid or not strings:
        return pac
    return sum(strings) or (None if pac else pac)


def _epm(record: Record, now: datetime) -> Device | None:
    """Maps an export power manager, whose positive power is sold (document V2.0, epmDetail)."""
    serial, sold_w = record.text("sn"), record.watts("pEpmTotal")
    reported, stale = _reported(record, now)
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
        faults=tuple(_faults(record, "export power manager")),
    )


def discharging_w(record: Record, charging_w: float | None) -> float | None:
    """Returns the battery's power in W, positive when discharging, or None.

    Older firmware sends batteryPower without a sign; what it sends below 0 has one. Otherwise the battery's current
    gives the sign. Where there is none, the unsigned halves in W do: a cloud can make those of the unsigned power.
    """
    current = record.number("storageBatteryCurrent")
    if charging_w is not None and (charging_w < 0 or (charging_w and current)):
        return -charging_w if charging_w < 0 or (current or 0) > 0 else charging_w
    charged, discharged = record.watts("batteryPowerZheng", "W"), record.watts("batteryPowerFu", "W")
    if charged or discharged:
        return abs(discharged or 0.0) - abs(charged or 0.0)
    return None if charging_w is None else 0.0 - charging_w


def instant(milliseconds: float | None) -> datetime | None:
    """Converts milliseconds of true UTC; None for what is no such time.

    The document says UTC+8, but its own samples print the local time of the plant.
    """
    if milliseconds is None or not 1e12 < milliseconds < 1e13:
        return None
    return datetime.fromtimestamp(milliseconds / 1000, UTC)
