"""What a virtual home does: whole Wh in each quarter hour, always in balance, the same whenever it is asked.

A day is made of nothing but the home and its date. What the sun gives in a day is drawn first and then spread over
its quarter hours, so lifetime registers are exact sums without simulating a single one. A battery takes by day only
what the home uses until midnight, so each day begins as the one before ended.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterable, Sequence
from datetime import date, datetime, timedelta
from functools import lru_cache
from itertools import accumulate
from typing import NamedTuple
from zoneinfo import ZoneInfo

from joinder.energy import DeviceKind
from joinder.series import day_span
from joinder.virtual.configuration import NOMINAL_W, VirtualDevice, VirtualHome

QUARTER_S = 900
RESERVE = 0.2  # of a battery that follows the sun
FULL_SUN_H = 5.2  # what a clear day around midsummer gives, in hours of nominal power
TILT_DEG = 30.0


class Shape(NamedTuple):
    """What of a home its quarter hours depend on."""

    seed: str
    timezone: str
    latitude: float
    peak_w: float
    capacity_wh: float  # of the batteries that follow the sun

    @staticmethod
    def of(home: VirtualHome) -> Shape:
        cycling = [battery.capacity_wh for battery in home.devices if not battery.is_backup]
        return Shape(
            seed=home.vendor_id,
            timezone=home.timezone,
            latitude=50.0 if home.lat is None else home.lat,
            peak_w=NOMINAL_W * len(home.of_kind(DeviceKind.INVERTER)),
            capacity_wh=sum(cycling),
        )


class Quarter(NamedTuple):
    """One quarter hour from `start` (epoch seconds), in Wh; load = solar + import + discharge - export - charge."""

    start: int
    solar: int
    load: int
    charge: int
    discharge: int
    imported: int
    exported: int
    soc_percent: float  # of the batteries that follow the sun, at its middle


@lru_cache(maxsize=2048)
def quarters(shape: Shape, day: date) -> tuple[Quarter, ...]:
    """Returns a local day's quarter hours: 92 or 100 where the clock changes."""
    start, end = (int(moment.timestamp()) for moment in day_span(day, ZoneInfo(shape.timezone)))
    count = (end - start) // QUARTER_S
    suns, loads = _suns(shape, day, count), _loads(shape, day, count)
    flows = _battery(shape, [sun - load for sun, load in zip(suns, loads, strict=True)])
    stored, found = shape.capacity_wh * RESERVE, []
    for index, (sun, load, flow) in enumerate(zip(suns, loads, flows, strict=True)):
        grid = load - sun - flow
        mean, stored = stored - flow / 2, stored - flow
        found.append(
            Quarter(
                start=start + index * QUARTER_S,
                solar=sun,
                load=load,
                charge=max(-flow, 0),
                discharge=max(flow, 0),
                imported=max(grid, 0),
                exported=max(-grid, 0),
                soc_percent=round(100 * mean / shape.capacity_wh, 1) if shape.capacity_wh else 0.0,
            )
        )
    return tuple(found)


def quarter_at(shape: Shape, moment: datetime) -> Quarter:
    """Returns the quarter hour that runs at an aware moment."""
    found = quarters(shape, moment.astimezone(ZoneInfo(shape.timezone)).date())
    index = (int(moment.timestamp()) - found[0].start) // QUARTER_S
    return found[min(max(index, 0), len(found) - 1)]


def lifetime_wh(shape: Shape, since: datetime, moment: datetime) -> int:
    """Returns what the sun gave from `since` to the quarter hour that runs at `moment`."""
    zone = ZoneInfo(shape.timezone)
    first, last = since.astimezone(zone).date(), moment.astimezone(zone).date()
    whole = _between_wh(shape, first, last)
    ends = [row for day in {first, last} for row in quarters(shape, day)]
    at, began = moment.timestamp() - QUARTER_S, since.timestamp()
    return whole + sum(row.solar for row in ends if began <= row.start <= at)


def shared(total: int, weights: Sequence[float]) -> list[int]:
    """Shares a total out in whole Wh, by weight; the shares add up to it."""
    whole = sum(weights)
    if not whole:
        return [0] * len(weights)
    ends = [round(total * part / whole) for part in accumulate(weights)]
    return [after - before for before, after in zip([0, *ends], ends, strict=False)]


def shares(devices: Iterable[VirtualDevice]) -> list[float]:
    """Returns the weights of inverters, which are alike, or of batteries; one that stays full has none."""
    return [0.0 if one.is_backup else one.capacity_wh if one.kind is DeviceKind.BATTERY else 1.0 for one in devices]


@lru_cache(maxsize=65536)  # each read of a home asks for its registers, and the answer changes once a day
def _between_wh(shape: Shape, first: date, last: date) -> int:
    """Returns what the sun gives on the days between two days."""
    return sum(_day_wh(shape, first + timedelta(days=number)) for number in range(1, (last - first).days))


def _day_wh(shape: Shape, day: date) -> int:
    """Draws what the sun gives in a day: by the season of the place, and by clouds."""
    if not shape.peak_w:
        return 0
    clouds = _dice(shape, day, "clouds").betavariate(2.2, 1.2)
    return round(shape.peak_w * FULL_SUN_H * _season(shape.latitude, day) * (0.12 + 0.88 * clouds))


@lru_cache(maxsize=65536)  # homes of a place share it
def _season(latitude: float, day: date) -> float:
    """Returns the share of a midsummer day that is left: shorter days, and a lower sun on a tilted roof."""
    height = math.radians(90 - abs(latitude - _declination(day)))
    on_roof = math.sin(min(height + math.radians(TILT_DEG), math.pi / 2)) if height > 0 else 0.0
    return max(0.03, on_roof * _half_day_h(latitude, day) / 8)


def _declination(day: date) -> float:
    return -23.44 * math.cos(2 * math.pi * (day.timetuple().tm_yday + 10) / 365)


def _half_day_h(latitude: float, day: date) -> float:
    """Returns the hours from sunrise to noon; never quite none and never quite all of a day."""
    angle = -math.tan(math.radians(latitude)) * math.tan(math.radians(_declination(day)))
    return min(max(12 / math.pi * math.acos(min(max(angle, -1.0), 1.0)), 1.5), 11.0)


def _suns(shape: Shape, day: date, count: int) -> list[int]:
    """Spreads the day's sun over its quarter hours: a bell around noon with clouds in it."""
    half, dice = _half_day_h(shape.latitude, day), _dice(shape, day, "sun")
    heights = [math.cos(math.pi / 2 * (index / 4 + 0.125 - 12.5) / half) for index in range(count)]
    is_up = [abs(index / 4 + 0.125 - 12.5) < half for index in range(count)]
    bell = [height**1.3 * dice.uniform(0.7, 1.0) if up else 0.0 for height, up in zip(heights, is_up, strict=True)]
    return shared(_day_wh(shape, day), bell)


def _loads(shape: Shape, day: date, count: int) -> list[int]:
    """Draws what the home uses: a base, a morning, an evening, and something now and then."""
    dice = _dice(shape, day, "load")
    size = _dice(shape, None, "home").uniform(0.7, 1.4)
    evening, morning = dice.uniform(900, 1500), dice.uniform(400, 800)
    found = []
    for index in range(count):
        hour = index / 4
        watts = (
            220 + evening * math.exp(-(((hour - 19.5) / 2.0) ** 2)) + morning * math.exp(-(((hour - 7.5) / 1.2) ** 2))
        )
        watts += dice.uniform(0, 120) + (dice.uniform(600, 1500) if dice.random() < 0.03 else 0)
        found.append(round(size * watts / 4))
    return found


def _battery(shape: Shape, surplus: Sequence[int]) -> list[int]:
    """Returns what the battery gives (takes: below 0) in each quarter hour. Without sun it is filled before dawn."""
    most = int(shape.capacity_wh / 8)  # in two hours from empty to full
    wanted = surplus if shape.peak_w else [max(left, 0) if not 4 <= i < 20 else most for i, left in enumerate(surplus)]
    needs = [min(max(-left, 0), most) if want <= 0 else 0 for left, want in zip(surplus, wanted, strict=True)]
    later = list(accumulate(reversed(needs)))[::-1]
    room, stored, flows = int(shape.capacity_wh * (1 - RESERVE)), 0, []
    for want, need, ahead in zip(wanted, needs, later, strict=True):
        flow = -max(min(want, most, room - stored, ahead - stored), 0) if want > 0 else min(need, stored)
        stored -= flow
        flows.append(flow)
    return flows


def _dice(shape: Shape, day: date | None, what: str) -> random.Random:
    return random.Random(f"{shape.seed}/{day}/{what}")  # noqa: S311 - weather, not a secret
