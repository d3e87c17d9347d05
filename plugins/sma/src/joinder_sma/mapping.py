"""SMA's plants, devices and rows as Joinder's sites and readings. Pure: no clock, no network."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

from joinder import Device, DeviceKind, Live, MeterRole, Site
from joinder.series import Days, Quarters, instants, plausible
from joinder_sma.api import DeviceEntry, Measurements, Plant, Row

BALANCE, PV, BATTERY, IN_OUT = "EnergyBalance", "EnergyAndPowerPv", "EnergyAndPowerBattery", "EnergyAndPowerInOut"
SET_OF = {DeviceKind.INVERTER: PV, DeviceKind.BATTERY: BATTERY, DeviceKind.METER: IN_OUT}
RESOLUTIONS = {  # rows that quarter hours can be made of
    "OneMinute": timedelta(minutes=1),
    "FiveMinutes": timedelta(minutes=5),
    "FifteenMinutes": timedelta(minutes=15),
}
SPIKE = 1.5  # × the nameplate: the first row of a day can hold a hundred times what the day brings
_METRICS = {
    "solar_wh": "pv_generation",
    "charge_wh": "battery_charging",
    "discharge_wh": "battery_discharging",
    "import_wh": "grid_consumption",
    "export_wh": "grid_feed_in",
    "load_wh": "total_consumption",
}


def site(plant: Plant, devices: Sequence[DeviceEntry], sets: Mapping[str, frozenset[str]]) -> Site:
    return Site(
        vendor_id=plant.plant_id,
        name=plant.name or f"SMA plant {plant.plant_id}",
        timezone=plant.timezone,
        devices=tuple(found for entry in devices if (found := _device(entry, sets.get(entry.device_id, frozenset())))),
    )


def _device(entry: DeviceEntry, sets: frozenset[str]) -> Device | None:
    """By the sets it offers: the type is wrong in SMA's own sandbox, and loggers and sensors are no devices of ours."""
    kinds = {BATTERY: DeviceKind.BATTERY, PV: DeviceKind.INVERTER, IN_OUT: DeviceKind.METER}
    kind = next((kinds[name] for name in kinds if name in sets), None)
    if kind is None:
        return None
    return Device(
        vendor_id=entry.device_id,
        kind=kind,
        serial=entry.serial,
        model=entry.product,
        name=entry.name,
        role=MeterRole.GRID if kind is DeviceKind.METER else None,
        max_power_w=entry.generator_power or None,
    )


def nameplate_w(devices: Iterable[Device]) -> float | None:
    """Of all inverters together; None when one is unknown."""
    powers = [device.max_power_w for device in devices if device.kind is DeviceKind.INVERTER]
    known = [power for power in powers if power]
    return sum(known) if known and len(known) == len(powers) else None


def add_rows(
    found: Quarters, answer: Measurements, where: ZoneInfo, *, energies: bool, nameplate: float | None
) -> str | None:
    """The rows as quarter hours; `energies`: they are Wh, else mean W. Answers why none can be read, or None."""
    length = RESOLUTIONS.get(answer.resolution or "")
    if length is None:
        return f"rows of {answer.resolution or 'an unstated length'} are too coarse for quarter hours"
    for end, row in _timed(answer.rows, where):
        start = end - length
        put = found.energy if energies else found.power
        for metric, member in _METRICS.items():
            value = getattr(row, member)
            if metric == "solar_wh" and _spikes(value, length, energies, nameplate):
                value = None
            put(metric, start, end, value)
        found.soc(start, end, row.battery_state_of_charge)
    return None


def _spikes(value: float | None, length: timedelta, energies: bool, nameplate: float | None) -> bool:
    if value is None or nameplate is None:
        return False
    hours = length.total_seconds() / 3600 if energies else 1.0
    return value > nameplate * hours * SPIKE


def _timed(rows: Sequence[Row], where: ZoneInfo) -> Iterator[tuple[datetime, Row]]:
    """Each row with the instant of its end, once: the midnight between two days stands in both answers."""
    seen: set[datetime] = set()
    for at, row in zip(instants([row.time.replace(tzinfo=None) for row in rows], where), rows, strict=True):
        if at not in seen:
            seen.add(at)
            yield at, row


def merge_days(answers: Sequence[Measurements]) -> Measurements:
    """Several days' rows in one, a row that stands in two of them once."""
    rows: list[Row] = []
    for answer in answers:
        known = {row.time for row in rows[-1:]}
        rows += [row for row in answer.rows if row.time not in known]
    return Measurements(rows=rows, resolution=answers[0].resolution if answers else None)


def add_months(found: Days, answer: Measurements, month: str) -> None:
    """Day rows in Wh. Should they be stamped with their end, the month's last one lies in the next month."""
    ends = any(row.time.strftime("%Y-%m") > month for row in answer.rows)
    for row in answer.rows:
        day: date = row.time.date() - timedelta(days=1 if ends else 0)
        for metric, member in _METRICS.items():
            found.energy(metric, day, getattr(row, member))


def live(answer: Measurements, where: ZoneInfo) -> Live | None:
    """The newest row of a Recent answer, in W."""
    rows = list(_timed(answer.rows, where))
    if not rows:
        return None
    at, row = rows[-1]
    percent = plausible(row.battery_state_of_charge)
    return Live(
        measured_at=at,
        solar_w=plausible(row.pv_generation),
        battery_w=_difference(row.battery_discharging, row.battery_charging),
        grid_w=_difference(row.grid_consumption, row.grid_feed_in),
        load_w=plausible(row.total_consumption),
        soc_percent=percent if percent is not None and percent <= 100 else None,
    )


def _difference(into_home: float | None, out_of_it: float | None) -> float | None:
    """SMA sends pairs that are never negative."""
    plus, minus = plausible(into_home), plausible(out_of_it)
    return None if plus is None or minus is None else plus - minus
