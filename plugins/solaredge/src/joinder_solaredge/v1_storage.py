"""Batteries of SolarEdge's V1: registers that count for ever, power, and a state of charge, every five minutes or so.

Pure. Names as recorded (SolarNetwork/solarnetwork-central); that `power` is positive while charging is documented.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from itertools import pairwise
from typing import NamedTuple
from zoneinfo import ZoneInfo

from msgspec import Struct, field

from joinder.energy import ROWS_MISSING
from joinder.series import Number, Quarters, instants, once
from joinder_solaredge import mapping

MARGIN = timedelta(minutes=15)  # asked before and after, so that the quarter hours at the edges are whole
_GAP = timedelta(minutes=20)  # rows further apart do not follow each other
_FLOWING_WH = 10.0  # of power, beside a register that stands still
_DIRECTIONS = {"charge_wh": 1.0, "discharge_wh": -1.0}


class Row(Struct, rename="camel"):
    time_stamp: str
    power: Number | None = None
    life_time_energy_charged: Number | None = None
    life_time_energy_discharged: Number | None = None
    battery_percentage_state: Number | None = None


class Battery(Struct, rename="camel"):
    serial_number: str
    telemetries: list[Row] = []


class _Storage(Struct):
    batteries: list[Battery] = []


class StorageData(Struct):
    storage: _Storage = field(name="storageData")


class Step(NamedTuple):
    """From one row to the next."""

    start: datetime
    end: datetime
    before: Row
    after: Row

    def counted(self, sign: float) -> float | None:
        """Returns Wh by the register; None where it went back, as a new one does."""
        before, after = _register(self.before, sign), _register(self.after, sign)
        return None if before is None or after is None or after < before else after - before

    def flowed(self, sign: float) -> float | None:
        """Returns Wh by the power at its start, or None."""
        power = self.before.power
        return None if power is None else max(power * sign, 0.0) * (self.end - self.start).total_seconds() / 3600


class Told(NamedTuple):
    metrics: dict[str, mapping.Rows]  # by quarter hour
    lacking: set[datetime]
    are_placeholders: bool


def quarters(battery: Battery, start: datetime, end: datetime, where: ZoneInfo) -> Told:
    """Returns what one battery did, in Wh.

    Where a register stands still beside power that flows, power stands in for both.
    """
    found, steps = Quarters(start, end), list(_steps(battery, where))
    idle = any(_stands_still(steps, sign) for sign in _DIRECTIONS.values())
    for step in steps:
        for metric, sign in _DIRECTIONS.items():
            found.energy(metric, step.start, step.end, step.flowed(sign) if idle else step.counted(sign))
        found.soc(step.start, step.end, step.before.battery_percentage_state)
    rows = found.readings()
    names = (*_DIRECTIONS, mapping.SOC)
    metrics: dict[str, mapping.Rows] = {name: {row.start: getattr(row, name) for row in rows} for name in names}
    return Told(metrics, {row.start for row in rows if row.rule == ROWS_MISSING}, idle)


def _steps(battery: Battery, where: ZoneInfo) -> Iterator[Step]:
    rows = [row for row in battery.telemetries if is_wall_time(row.time_stamp)]
    stamps = instants((datetime.fromisoformat(row.time_stamp) for row in rows), where)
    known = [(at, row) for at, row in once(zip(stamps, rows, strict=True)).items() if row is not None]
    for (start, before), (end, after) in pairwise(known):
        if end - start <= _GAP:
            yield Step(start, end, before, after)


def _stands_still(steps: Sequence[Step], sign: float) -> bool:
    """Tells whether a register stands still beside power that flows.

    It was seen at 0 over a whole day that filled the battery (home-assistant/core#169964).
    """
    counted = [wh for step in steps if (wh := step.counted(sign)) is not None]
    return bool(counted) and not any(counted) and sum(step.flowed(sign) or 0.0 for step in steps) >= _FLOWING_WH


def _register(row: Row, sign: float) -> float | None:
    return row.life_time_energy_charged if sign > 0 else row.life_time_energy_discharged


def is_wall_time(text: str) -> bool:
    """Tells whether this is a date without offset, as V1 tells the site's time."""
    try:
        return datetime.fromisoformat(text).tzinfo is None
    except ValueError:
        return False


def over_all(each: Mapping[str, Told], sizes: Mapping[str, float | None]) -> Told:
    """Joins all batteries that are installed or tell something, as one."""
    nothing: dict[str, mapping.Rows] = {name: {} for name in (*_DIRECTIONS, mapping.SOC)}
    serials = sorted(sizes.keys() | each.keys())
    metrics = [each[serial].metrics if serial in each else nothing for serial in serials]
    lacking = mapping.silences(metrics).union(*(told.lacking for told in each.values()))
    total = mapping.over_all(metrics, [sizes.get(serial) for serial in serials]) if metrics else {}
    return Told(total, lacking, any(told.are_placeholders for told in each.values()))
