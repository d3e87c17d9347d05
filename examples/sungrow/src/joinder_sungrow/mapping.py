"""What iSolarCloud's answers mean. Pure: no clock, no network. Unknown stays None."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime, time, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

from joinder import Device, DeviceKind, Live, MeterRole, Reading, ReadingsQuery, Site, physics
from joinder.errors import NotSupported
from joinder.series import QUARTER, Quarters, days_between, instants, once, percent, zone
from joinder_sungrow.api import STAMP, DeviceEntry, Now, Plant, Sample

# Types of the device list: 1 inverter, 14 hybrid inverter ("energy storage system"), 55 micro-inverter, 43 battery,
# 7 meter. Others (loggers, strings, the plant itself) are no devices of a home.
KINDS = {
    1: DeviceKind.INVERTER,
    14: DeviceKind.INVERTER,
    55: DeviceKind.INVERTER,
    43: DeviceKind.BATTERY,
    7: DeviceKind.METER,
}
AT_ONCE = timedelta(hours=3)  # the longest span of one call
REGISTERS = {
    "solar_wh": "solar",
    "import_wh": "imported",
    "export_wh": "exported",
    "charge_wh": "charged",
    "discharge_wh": "discharged",
    "load_wh": "load",
}


def site(site_id: str, plant: Plant, devices: Iterable[DeviceEntry]) -> Site:
    return Site(
        vendor_id=site_id,
        name=plant.ps_name,
        lat=plant.latitude,
        lon=plant.longitude,
        devices=tuple(_device(entry) for entry in devices if entry.device_type in KINDS),
    )


def _device(entry: DeviceEntry) -> Device:
    kind = KINDS[entry.device_type]
    return Device(
        vendor_id=entry.ps_key,
        kind=kind,
        serial=entry.device_sn,
        name=entry.device_name,
        model=entry.device_model_code,
        role=MeterRole.OTHER if kind is DeviceKind.METER else None,  # the list does not say what it measures
    )


def zone_of(of: Site) -> ZoneInfo:
    """Raises NotSupported where nobody knows it: the API's times are wall times of the plant."""
    where = zone(of.timezone)
    if where is None:
        raise NotSupported("The plant's place is not entered in iSolarCloud, so its times mean nothing")
    return where


def spans(query: ReadingsQuery, where: ZoneInfo) -> Iterator[tuple[datetime, datetime]]:
    """Yields wall times of three hours each, from local midnight on: no clock changes at the edge of one."""
    for day in days_between(query.start, query.end, where):
        start = datetime.combine(day, time())
        for step in range(8):
            begins, ends = start + AT_ONCE * step, start + AT_ONCE * (step + 1)
            if ends.replace(tzinfo=where) >= query.start and begins.replace(tzinfo=where) < query.end:
                yield begins, ends


def timed(samples: Iterable[Sample], where: ZoneInfo) -> list[tuple[datetime, Sample]]:
    """Returns the samples of one answer, in its order, each with its moment."""
    told = list(samples)
    walls = [datetime.strptime(sample.time_stamp, STAMP) for sample in told]  # noqa: DTZ007 - of `where`
    return list(zip(instants(walls, where), told, strict=True))


def readings(samples: Iterable[tuple[datetime, Sample]], query: ReadingsQuery) -> tuple[Reading, ...]:
    """Returns what the registers moved from one sample to the next, where none between the two is missing."""
    found = Quarters(query.start, query.end)
    known = once(samples, told=lambda sample: [getattr(sample, name) for name in REGISTERS.values()])
    for (start, before), (end, after) in pairwise(known.items()):
        if before is None or after is None:
            found.told_twice(start, end)
        elif end - start == QUARTER:
            for metric, name in REGISTERS.items():
                found.energy(metric, start, end, _moved(getattr(before, name), getattr(after, name)))
    return found.readings()


def _moved(before: float | None, after: float | None) -> float | None:
    return None if before is None or after is None else after - before  # a register that ran back: below 0, left out


def live(told: Now, at: datetime) -> Live:
    """Returns power at the moment of asking, as nobody says when it was; neither grid nor battery, as signs are not."""
    return Live(
        measured_at=at,
        solar_w=physics.solar_power(told.solar),
        load_w=told.load,
        soc_percent=percent(told.charge * 100) if told.charge is not None else None,
    )
