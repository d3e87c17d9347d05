"""A simulated home: sun, battery, grid and load that always add up, the same for the same seed and time.

Power is constant within slots of five minutes, so energies are exact sums and counters never run backwards.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from typing import NamedTuple
from zoneinfo import ZoneInfo

SLOT_S = 300


@dataclass(frozen=True)
class Power:
    """W, signs as everywhere: battery > 0 discharging, grid > 0 importing, load = solar + battery + grid."""

    solar_w: float
    battery_w: float
    grid_w: float
    load_w: float
    soc_percent: float
    charger_w: float = 0.0  # a part of the load


@dataclass(frozen=True)
class Energy:
    """Wh over a span; `soc_percent` is the mean."""

    solar_wh: float = 0.0
    charge_wh: float = 0.0
    discharge_wh: float = 0.0
    import_wh: float = 0.0
    export_wh: float = 0.0
    load_wh: float = 0.0
    soc_percent: float = 0.0
    charger_wh: float = 0.0  # a part of the load


class _Kind(NamedTuple):
    """What a home's days depend on. Homes of one kind share them: a simulator started anew computes none again."""

    seed: int
    timezone: str
    peak_w: float
    battery_wh: float
    charger_w: float


class Home:
    """`battery_wh` 0: no battery; `charger_w` 0: no charger. `installed` starts its lifetime counters."""

    def __init__(
        self,
        *,
        seed: int,
        timezone: str,
        peak_w: float = 6000.0,
        battery_wh: float = 10000.0,
        charger_w: float = 0.0,
        installed: date = date(2026, 1, 1),
    ) -> None:
        self.timezone = timezone
        self.battery_wh = battery_wh
        self.charger_w = charger_w
        self.installed = installed
        self.zone = ZoneInfo(timezone)
        self._kind = _Kind(seed, timezone, peak_w, battery_wh, charger_w)
        self._totals: list[tuple[float, ...]] = [(0.0,) * 7]  # of all days before the installation's nth

    def slots(self, day: date) -> Sequence[Power]:
        """Returns the power of each five minutes of a local day, which may have 23 or 25 hours."""
        return _day(self._kind, day)

    def power(self, at: float) -> Power:
        """Returns the power at epoch second `at`."""
        day = datetime.fromtimestamp(at, self.zone).date()
        slots = self.slots(day)
        return slots[min(int((at - _midnight(day, self.zone)) // SLOT_S), len(slots) - 1)]

    def energy(self, start: float, end: float) -> Energy:
        """Returns the energy of [start, end), epoch seconds, a slot counted by the share that lies inside."""
        totals, soc_seconds = [0.0] * 7, 0.0
        at = start
        while at < end:
            step = min(end, (at // SLOT_S + 1) * SLOT_S) - at
            power = self.power(at)
            totals = [total + wh for total, wh in zip(totals, _energies(power, step), strict=True)]
            soc_seconds += power.soc_percent * step
            at += step
        return _energy(totals, soc_seconds / (end - start) if end > start else 0.0)

    def lifetime(self, at: float) -> Energy:
        """Returns the energy since `installed`, up to epoch second `at`; nothing before."""
        today = datetime.fromtimestamp(at, self.zone).date()
        if today < self.installed:
            return Energy()
        totals = self._before(today)
        rest = self.energy(_midnight(today, self.zone), at)
        parts = (rest.solar_wh, rest.charge_wh, rest.discharge_wh, rest.import_wh, rest.export_wh, rest.load_wh)
        added = [total + wh for total, wh in zip(totals, (*parts, rest.charger_wh), strict=True)]
        return _energy(added, rest.soc_percent)

    def _before(self, day: date) -> tuple[float, ...]:
        """Returns the Wh of all days from the installation to the day before."""
        days = (day - self.installed).days
        while len(self._totals) <= days:
            total = _day_total(self._kind, self.installed + timedelta(days=len(self._totals) - 1))
            self._totals.append(tuple(a + b for a, b in zip(self._totals[-1], total, strict=True)))
        return self._totals[days]


def _midnight(day: date, zone: ZoneInfo) -> float:
    return datetime.combine(day, time(), zone).astimezone(UTC).timestamp()


@lru_cache(maxsize=32_768)
def _day_total(kind: _Kind, day: date) -> tuple[float, ...]:
    columns = zip(*(_energies(power, SLOT_S) for power in _day(kind, day)), strict=True)
    return tuple(sum(column) for column in columns)


@lru_cache(maxsize=1024)
def _day(kind: _Kind, day: date) -> tuple[Power, ...]:
    """Simulates every five minutes from local midnight to the next; 23 and 25 hours on days the clock changes."""
    zone = ZoneInfo(kind.timezone)
    start, end = _midnight(day, zone), _midnight(day + timedelta(days=1), zone)
    dice = random.Random(f"{kind.seed}/{day}")  # noqa: S311 - weather, not a secret
    haze = dice.uniform(0.6, 1.0)
    car_from, car_to = _car(kind, day)
    stored_wh = kind.battery_wh * 0.2
    slots = []
    for index in range(int((end - start) // SLOT_S)):
        hour = index * SLOT_S / 3600
        solar_w = round(max(0.0, math.sin(math.pi * (hour - 6.5) / 12)) ** 1.3 * kind.peak_w * haze)
        solar_w = round(solar_w * dice.uniform(0.85, 1.0)) if 6.5 < hour < 18.5 else 0
        evening = 1400 * math.exp(-(((hour - 19.5) / 2.0) ** 2)) + 700 * math.exp(-(((hour - 7.5) / 1.2) ** 2))
        charger_w = kind.charger_w if car_from <= hour < car_to else 0.0
        load_w = round(350 + evening + dice.uniform(0, 150) + charger_w)
        battery_w = _battery(kind.battery_wh, solar_w - load_w, stored_wh)
        stored_wh -= battery_w * SLOT_S / 3600
        soc = 100 * stored_wh / kind.battery_wh if kind.battery_wh else 0.0
        grid_w = load_w - solar_w - battery_w
        slots.append(Power(solar_w, battery_w, grid_w, load_w, round(soc, 1), charger_w))
    return tuple(slots)


def _car(kind: _Kind, day: date) -> tuple[float, float]:
    """Returns from when to when a car is charged, in hours since midnight: one or two of the afternoon."""
    dice = random.Random(f"{kind.seed}/{day}/car")  # noqa: S311 - when somebody comes home, not a secret
    start = dice.uniform(13.0, 15.0)
    return start, start + dice.uniform(1.0, 2.0)


def _battery(battery_wh: float, surplus_w: float, stored_wh: float) -> float:
    """Charges from surplus up to full, discharges into deficit down to 20 %, at most 3840 W."""
    hours = SLOT_S / 3600
    if surplus_w > 0:
        return -float(int(min(surplus_w, 3840, max(0.0, battery_wh - stored_wh) / hours)))
    return float(int(min(-surplus_w, 3840, max(0.0, stored_wh - battery_wh * 0.2) / hours)))


def _energy(totals: list[float], soc_percent: float) -> Energy:
    solar, charge, discharge, imported, exported, load, charger = totals
    return Energy(solar, charge, discharge, imported, exported, load, soc_percent, charger)


def _energies(power: Power, seconds: float) -> tuple[float, ...]:
    hours = seconds / 3600
    return (
        power.solar_w * hours,
        max(-power.battery_w, 0) * hours,
        max(power.battery_w, 0) * hours,
        max(power.grid_w, 0) * hours,
        max(-power.grid_w, 0) * hours,
        power.load_w * hours,
        power.charger_w * hours,
    )
