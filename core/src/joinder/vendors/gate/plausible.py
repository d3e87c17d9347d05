"""What the values of an answer say together: nameplates, neighbours, capacities, balances (joinder.physics)."""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import NamedTuple

from msgspec import structs

from joinder import physics
from joinder.energy import Device, DeviceKind, Live, Reading, ReadingsQuery
from joinder.vendors.gate.rules import Refusals, Rule

DAY_SPIKE_SHARE = 0.2  # the sun shines a fifth of the day: a day's mean is as much less than its peak
DAY_NEIGHBOURS_S = 7 * 86400


def intervals(
    rows: Sequence[Reading], query: ReadingsQuery, devices: Iterable[Device], refusals: Refusals
) -> Iterable[Reading]:
    """Returns the rows in order, with what cannot be made unknown; each is judged when it is asked for."""
    is_day = query.resolution == "day"
    bounds = _Bounds(devices, spike_from_w=physics.SPIKE_FROM_W * (DAY_SPIKE_SHARE if is_day else 1.0))
    hours = 23.0 if is_day else 0.25
    if not any(bounds.may_be_exceeded(row, hours) for row in rows):
        return rows
    spikes = _spikes(rows, bounds, DAY_NEIGHBOURS_S if is_day else physics.NEIGHBOURS_S)
    return (_judged(row, bounds, row.start.timestamp() in spikes.get(row.device_id, ()), refusals) for row in rows)


def live(power: Live | None, devices: Iterable[Device], refusals: Refusals) -> Live | None:
    """Returns the power of one instant, with what cannot be made unknown; None where nothing of it is known."""
    if power is None:
        return None
    bounds = _Bounds(devices)
    solar = physics.solar_power(power.solar_w, bounds.site_w)
    load: float | None = power.load_w
    if power.solar_w is not None and solar is None:
        refusals.note(Rule.NUMBER, "solar_w")
        load = None
    if solar is not None and physics.is_beyond_nameplate(solar, bounds.site_w):
        refusals.note(Rule.NAMEPLATE, "solar_w")
        solar = load = None
    stored = power.battery_w if bounds.has_battery else 0.0
    load = _load(load, (solar, stored, power.grid_w), refusals)
    checked = structs.replace(power, solar_w=solar, load_w=load)
    told = (solar, power.battery_w, power.grid_w, load, power.soc_percent)
    return checked if any(value is not None for value in told) else None


class _Bounds:
    """What the site's devices can do; None where one of them does not tell."""

    def __init__(self, devices: Iterable[Device], *, spike_from_w: float = physics.SPIKE_FROM_W) -> None:
        every = list(devices)
        self.spike_from_w = spike_from_w
        self._solar_most_w: dict[str | None, float] = {}
        self._inverters = {device.vendor_id: device for device in every if device.kind is DeviceKind.INVERTER}
        batteries = [device for device in every if device.kind is DeviceKind.BATTERY]
        self.has_battery = bool(batteries)
        self.site_w = physics.nameplate_w(every)
        self._cars_most_w = _cars_most_w(every)
        sizes = [battery.nameplate_wh for battery in batteries]
        self.capacity_wh = sum(size or 0.0 for size in sizes) if sizes and all(sizes) else None
        self._flow_most_wh = math.inf if self.capacity_wh is None else self.capacity_wh * physics.NAMEPLATE_TIMES

    def may_be_exceeded(self, row: Reading, hours: float) -> bool:
        """Tells whether there is anything to judge in a row: at once, and False for nearly every one.

        `hours`: it lasts no less.
        """
        subject = row.device_id
        most_w = self._solar_most_w.get(subject)
        if most_w is None:
            most_w = self._solar_most_w[subject] = self._unquestioned_w(subject)
        return (
            (row.solar_wh is not None and row.solar_wh > most_w * hours)
            or (row.charge_wh is not None and row.charge_wh > self._flow_most_wh)
            or (row.discharge_wh is not None and row.discharge_wh > self._flow_most_wh)
            or (row.charger_wh is not None and self._may_be_too_much_for_cars(row, hours))
            or (row.load_wh is not None and row.load_wh <= 0 and subject is None)
        )

    def _may_be_too_much_for_cars(self, row: Reading, hours: float) -> bool:
        return (row.charger_wh or 0.0) > self.cars_most_w(row.device_id) * hours or _is_beyond_load(row)

    def _unquestioned_w(self, subject: str | None) -> float:
        nameplate_w = self.nameplate_w(subject)
        return self.spike_from_w if nameplate_w is None else nameplate_w * physics.NAMEPLATE_TIMES

    def cars_most_w(self, device_id: str | None) -> float:
        """Returns what a charger, or all of the site, can draw; infinite where it is unknown."""
        return self._cars_most_w.get(device_id, math.inf)

    def nameplate_w(self, device_id: str | None) -> float | None:
        """Returns the nameplate of a device that is an inverter, else the site's; None where it is unknown."""
        inverter = self._inverters.get(device_id or "")
        return physics.own_nameplate_w(inverter) if inverter is not None else self.site_w


def _cars_most_w(devices: Iterable[Device]) -> dict[str | None, float]:
    """Returns what each charger can draw, and under None what all of them can; without any, that is unknown."""
    chargers = [device for device in devices if device.kind is DeviceKind.CHARGER]
    most: dict[str | None, float] = {
        one.vendor_id: watts * physics.NAMEPLATE_TIMES
        if (watts := physics.own_nameplate_w(one))
        else physics.CHARGER_MOST_W
        for one in chargers
    }
    return most | {None: sum(most.values())} if most else {}


def _is_beyond_load(row: Reading) -> bool:
    """Tells whether cars took more than the home did, which they are a part of; clocks of two meters may differ."""
    if row.charger_wh is None or row.load_wh is None or row.device_id is not None:
        return False
    return row.charger_wh > row.load_wh * physics.NAMEPLATE_TIMES


def _mean_w(row: Reading) -> float | None:
    return None if row.solar_wh is None else row.solar_wh * 3600 / (row.end - row.start).total_seconds()


class _Sun(NamedTuple):
    at: float
    watts: float


def _spikes(rows: Sequence[Reading], bounds: _Bounds, within_s: float) -> dict[str | None, set[float]]:
    """Returns starts of rows far above their neighbours, by subject, where no nameplate can judge them."""
    suns: dict[str | None, list[_Sun]] = {}
    for row in rows:
        if (watts := _mean_w(row)) is not None and bounds.nameplate_w(row.device_id) is None:
            suns.setdefault(row.device_id, []).append(_Sun(row.start.timestamp(), watts))
    return {subject: _far_above(told, bounds.spike_from_w, within_s) for subject, told in suns.items()}


def _far_above(told: Sequence[_Sun], from_w: float, within_s: float) -> set[float]:
    """Finds spikes until none is left: one beside another raises what the other is compared with."""
    left, found = list(told), set[float]()
    while spikes := {sun.at for sun in left if sun.watts > from_w and _is_spike(sun, left, from_w, within_s)}:
        found |= spikes
        left = [sun for sun in left if sun.at not in spikes]
    return found


def _is_spike(sun: _Sun, told: Sequence[_Sun], from_w: float, within_s: float) -> bool:
    """Tells whether the row is a spike among `told`, which is in order of time."""
    first = bisect_left(told, sun.at - within_s, key=_at)
    last = bisect_right(told, sun.at + within_s, key=_at)
    around = [other.watts for other in told[first:last] if other.at != sun.at]
    return physics.is_spike(sun.watts, around, from_w=from_w)


def _at(sun: _Sun) -> float:
    return sun.at


def _judged(row: Reading, bounds: _Bounds, is_spike: bool, refusals: Refusals) -> Reading:
    """Judges a row; what a refused production was added up into is unknown with it."""
    watts = _mean_w(row)
    beyond = watts is not None and physics.is_beyond_nameplate(watts, bounds.nameplate_w(row.device_id))
    if beyond or is_spike:
        rule = Rule.NAMEPLATE if beyond else Rule.SPIKE
        refusals.note(rule, "solar_wh", _span(row))
        row = structs.replace(row, solar_wh=None, load_wh=None, rule=str(rule))
    row = _within_capacity(row, bounds, refusals)
    if row.device_id is None:
        row = _balanced(row, bounds, refusals)  # before the cars: a load that was cut off at 0 says nothing of them
    return _within_chargers(row, bounds, refusals)


def _within_capacity(row: Reading, bounds: _Bounds, refusals: Refusals) -> Reading:
    if bounds.capacity_wh is None or (row.end - row.start).total_seconds() > 3600:
        return row
    most = bounds.capacity_wh * physics.NAMEPLATE_TIMES
    lost = [name for name in ("charge_wh", "discharge_wh") if (getattr(row, name) or 0.0) > most]
    for name in lost:
        refusals.note(Rule.CAPACITY, name, _span(row))
    if not lost:
        return row
    return structs.replace(row, load_wh=None, rule=str(Rule.CAPACITY), **dict.fromkeys(lost))


def _within_chargers(row: Reading, bounds: _Bounds, refusals: Refusals) -> Reading:
    """Judges what cars took. Where that alone cannot be, the load stays: it is measured elsewhere."""
    hours = (row.end - row.start).total_seconds() / 3600
    if row.charger_wh is not None and row.charger_wh > bounds.cars_most_w(row.device_id) * hours:
        refusals.note(Rule.CHARGER, "charger_wh", _span(row))
        return structs.replace(row, charger_wh=None, rule=row.rule or str(Rule.CHARGER))
    if not _is_beyond_load(row):
        return row
    refusals.note(Rule.CARS_BEYOND_LOAD, "charger_wh, load_wh", _span(row))
    return structs.replace(row, charger_wh=None, load_wh=None, rule=row.rule or str(Rule.CARS_BEYOND_LOAD))


def _balanced(row: Reading, bounds: _Bounds, refusals: Refusals) -> Reading:
    grid = _net(row.import_wh, row.export_wh)
    stored = _net(row.discharge_wh, row.charge_wh) if bounds.has_battery else 0.0
    load = _load(row.load_wh, (row.solar_wh, stored, grid), refusals)
    return row if load == row.load_wh else structs.replace(row, load_wh=load, rule=row.rule or str(Rule.LOAD))


def _load(told: float | None, parts: tuple[float | None, ...], refusals: Refusals) -> float | None:
    """Judges a load: one below zero is noise, and 0, or none.

    One of 0 that its parts contradict was cut off there, and is none either.
    """
    if told is None or told > 0:
        return told
    summed = physics.home_load(parts)
    noise = max((abs(part) for part in parts if part is not None), default=0.0) * physics.NOISE_SHARE
    if summed.is_impossible or -told > noise:
        refusals.note(Rule.LOAD)
        return None
    return 0.0


def _net(into_home: float | None, out_of_it: float | None) -> float | None:
    return None if into_home is None or out_of_it is None else into_home - out_of_it


def _span(row: Reading) -> tuple[str | None, datetime, datetime]:
    return row.device_id, row.start, row.end
