"""A snapshot as devices: inverters, batteries and meters that are there, with the age of what they last said."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, NamedTuple

from msgspec.structs import replace

from joinder import Counter, Device, DeviceKind, MeterRole
from joinder.physics import STANDBY_SHARE, STANDBY_W
from joinder_iq_gateway.info import version
from joinder_iq_gateway.payloads import (
    AC_BATTERY,
    CtReading,
    DeviceData,
    EnsembleDevice,
    InventoryDevice,
    InverterReport,
    Meter,
)

if TYPE_CHECKING:
    from joinder_iq_gateway.api import Snapshot

ROLES = {
    "production": MeterRole.PRODUCTION,
    "pv3p": MeterRole.PRODUCTION,  # what another maker's inverters generate
    "net-consumption": MeterRole.GRID,
    "total-consumption": MeterRole.LOAD,
    "storage": MeterRole.STORAGE,
}
REPORTS_EVERY_15_MIN_FROM = (8, 2, 4300)  # every 5 minutes before
PATIENCE, PATIENCE_SLOW = timedelta(minutes=30), timedelta(minutes=60)
MAX_SKEW = timedelta(minutes=5)
RETIRED_AFTER = timedelta(days=7)  # an inverter silent for longer is no part of any sum


def devices_of(snapshot: Snapshot, *, at: datetime, firmware: str) -> tuple[Device, ...]:
    """Returns every device present. `at` is the box's time, against which the age of reports counts."""
    found: list[Device] = []
    for device in snapshot.device_data:
        if device.active and device.dev_name in ("pcu", "acb"):
            found.append(_inverter_from_data(device, at) if device.dev_name == "pcu" else _ac_battery(device, at))
    silent_since = at - (PATIENCE_SLOW if version(firmware) >= REPORTS_EVERY_15_MIN_FROM else PATIENCE)
    found += [_from_report(report, silent_since) for report in snapshot.inverters if report.dev_type in (None, 1, 11)]
    found += _batteries(snapshot, at)
    found += _meters(snapshot)
    return tuple(found)


class Inverters(NamedTuple):
    """All microinverters together, by their own reports."""

    power_w: float  # of those that reported lately
    peak_w: float  # the most that each has ever shown
    lifetime_wh: float
    reporting: int
    silent: int  # gone quiet since at most RETIRED_AFTER

    @property
    def standby_w(self) -> float:
        """Returns what they draw at night at most, in W."""
        return max(STANDBY_W, STANDBY_SHARE * self.peak_w)


def inverters_of(devices: Iterable[Device], *, at: datetime) -> Inverters:
    """Sums the inverters: power (W) of those that report, peak (W) and lifetime (Wh) of all."""
    found = [device for device in devices if device.kind is DeviceKind.INVERTER]
    reporting = [device for device in found if not device.stale and device.power_w is not None]
    silent = [device for device in found if device.stale and device.reported_at]
    return Inverters(
        power_w=sum(device.power_w or 0.0 for device in reporting),
        peak_w=sum(device.max_power_w or 0.0 for device in found),
        lifetime_wh=sum(device.lifetime_wh or 0.0 for device in found),
        reporting=len(reporting),
        silent=sum(at - device.reported_at < RETIRED_AFTER for device in silent if device.reported_at),
    )


def box_time(stamps: Iterable[int | None], now: datetime) -> datetime:
    """Returns the newest of the box's own stamps (epoch seconds); `now` where it gives none, or one of the future."""
    at = max((time for time in map(moment, stamps) if time), default=now)
    return now if at > now + MAX_SKEW else at


def inverter_counters(snapshot: Snapshot) -> Iterator[Counter]:
    """Yields lifetime Wh per inverter at the end of its last reading, where the box has them."""
    for device in snapshot.device_data:
        lifetime_wh, reported_at = _lifetime_wh(device), _reported_at(device)
        if device.dev_name == "pcu" and device.active and lifetime_wh and reported_at:
            yield Counter(at=reported_at, device_id=device.sn, solar_wh=lifetime_wh)


def with_inventory(devices: Iterable[Device], inventory: Iterable[InventoryDevice]) -> tuple[Device, ...]:
    """Adds part numbers from /inventory.json to devices, and the charge of AC Batteries that only it knows."""
    known = {entry.serial_num: entry for entry in inventory}
    return tuple(_completed(device, known.get(device.serial or "")) for device in devices)


def moment(seconds: int | None) -> datetime | None:
    """Converts epoch seconds to aware time; None for 0 and for what no calendar holds."""
    try:
        return datetime.fromtimestamp(seconds, UTC) if seconds else None
    except (OverflowError, OSError, ValueError):
        return None


def total_or_none(values: Iterable[float | None]) -> float | None:
    """Sums the values; None when one of them, or all, are unknown."""
    known: list[float] = []
    for value in values:
        if value is None:
            return None
        known.append(value)
    return sum(known) if known else None


def _completed(device: Device, entry: InventoryDevice | None) -> Device:
    if entry is None or device.kind is DeviceKind.METER:
        return device
    soc = entry.percent_full if device.kind is DeviceKind.BATTERY else None
    return replace(
        device,
        model=device.model or entry.part_num,
        soc_percent=soc if device.soc_percent is None else device.soc_percent,
    )


def _inverter_from_data(device: DeviceData, at: datetime) -> Device:
    channel = device.channels[0] if device.channels else None
    watts = channel.watts if channel else None
    return Device(
        vendor_id=device.sn,
        kind=DeviceKind.INVERTER,
        serial=device.sn,
        power_w=watts.now if watts else None,
        max_power_w=watts.max if watts else None,
        is_peak=True,
        lifetime_wh=_lifetime_wh(device),
        reported_at=_reported_at(device),
        stale=_is_old(device, at),
        faults=("It does not talk to the gateway",) if device.mod_gone else (),
    )


def _ac_battery(device: DeviceData, at: datetime) -> Device:
    reading = device.channels[0].last_reading if device.channels else None
    return Device(
        vendor_id=device.sn,
        kind=DeviceKind.BATTERY,
        serial=device.sn,
        name="AC Battery",
        power_w=device.mean_w,
        soc_percent=reading.soc if reading else None,
        reported_at=_reported_at(device),
        stale=_is_old(device, at),
    )


def _from_report(report: InverterReport, silent_since: datetime) -> Device:
    """Maps a microinverter's report; an AC Battery's watts here have no direction, so its power stays unknown."""
    is_battery = report.dev_type == AC_BATTERY
    reported_at = moment(report.last_report_date)
    return Device(
        vendor_id=report.serial_number,
        kind=DeviceKind.BATTERY if is_battery else DeviceKind.INVERTER,
        serial=report.serial_number,
        name="AC Battery" if is_battery else None,
        power_w=None if is_battery or report.last_report_date == 0 else report.last_report_watts,
        max_power_w=report.max_report_watts,
        is_peak=True,
        reported_at=reported_at,
        stale=reported_at is None or reported_at < silent_since,
    )


def _batteries(snapshot: Snapshot, at: datetime) -> Iterator[Device]:
    powers = {unit.serial_num: unit for unit in (snapshot.battery_power.devices if snapshot.battery_power else ())}
    for unit in snapshot.iq_batteries:
        power = powers.get(unit.serial_num)
        power_mw = power.real_power_mw if power else None
        reported_at = moment(unit.last_rpt_date)
        soc = power.soc if power else None  # fresher than the inventory's: 54 against 10 % on 8.2.4382
        yield Device(
            vendor_id=unit.serial_num,
            kind=DeviceKind.BATTERY,
            serial=unit.serial_num,
            model=unit.part_num,
            power_w=None if power_mw is None else power_mw / 1000,
            nameplate_wh=unit.encharge_capacity,
            soc_percent=unit.percent_full if soc is None else soc,
            reported_at=reported_at,
            stale=unit.communicating is False or (reported_at is not None and at - reported_at > PATIENCE_SLOW),
            faults=tuple(_battery_faults(unit)),
        )


def _battery_faults(unit: EnsembleDevice) -> Iterator[str]:
    if unit.communicating is False:
        yield "It does not talk to the gateway"
    if unit.dc_switch_off:
        yield "Its DC switch is off"


def _meters(snapshot: Snapshot) -> Iterator[Device]:
    by_eid = {reading.eid: reading for reading in snapshot.ct_readings}
    for meter in snapshot.meters:
        if meter.enabled:
            yield _meter(meter, by_eid.get(meter.eid))


def _meter(meter: Meter, reading: CtReading | None) -> Device:
    flags = [flag.replace("-", " ") for flag in meter.status_flags]
    if meter.metering_status not in (None, "normal"):
        flags.insert(0, str(meter.metering_status).replace("-", " "))
    return Device(
        vendor_id=str(meter.eid),
        kind=DeviceKind.METER,
        name=meter.measurement_type or None,
        role=ROLES.get(meter.measurement_type, MeterRole.OTHER),
        power_w=reading.active_power if reading and not reading.is_blank else None,
        reported_at=moment(reading.timestamp) if reading else None,
        faults=tuple(flags),
    )


def _lifetime_wh(device: DeviceData) -> float | None:
    lifetime = device.channels[0].lifetime if device.channels else None
    return lifetime.joules_produced / 3600 if lifetime and lifetime.joules_produced else None


def _reported_at(device: DeviceData) -> datetime | None:
    reading = device.channels[0].last_reading if device.channels else None
    return moment(reading.end_date) if reading else None


def _is_old(device: DeviceData, at: datetime) -> bool:
    reported_at = _reported_at(device)
    return reported_at is None or at - reported_at > PATIENCE_SLOW  # device_data came with 15-minute reports
