"""Normalised sites, devices and readings.

Signs: power into the home is positive. `solar_w >= 0`, `battery_w > 0` discharging, `grid_w > 0` importing,
`load_w = solar_w + battery_w + grid_w`. Energies are unsigned Wh split by direction. Unknown is None, never 0.
"""

from __future__ import annotations

import enum
from datetime import datetime
from typing import Literal

from msgspec import Struct

from joinder.vendor import Resolution

Quality = Literal["measured", "estimated", "partial"]
Mode = Literal["Self Consumption", "Savings", "Backup"]
PARTS_MISSING = "parts_missing"  # Reading.rule: not every device that belongs to the sum reported
ROWS_MISSING = "rows_missing"  # a part of the time was not told
SPREAD = "spread"  # shared out evenly of what was told of a longer time
TOLD_TWICE = "told_twice"  # the vendor told it twice with different values, so neither counts
LOAD_BELOW_ZERO = "load_below_zero"  # the parts contradict each other, so the load is unknown
ENERGY_METRICS = ("solar_wh", "charge_wh", "discharge_wh", "import_wh", "export_wh", "load_wh", "charger_wh")


class DeviceKind(enum.StrEnum):
    INVERTER = "inverter"
    BATTERY = "battery"
    METER = "meter"
    CHARGER = "charger"  # of cars; its energy is a part of the home's load


class MeterRole(enum.StrEnum):
    PRODUCTION = "production"
    GRID = "grid"  # at the grid connection: import and export
    LOAD = "load"  # what the home uses
    STORAGE = "storage"
    OTHER = "other"


class Device(Struct, frozen=True, kw_only=True):
    """One inverter, battery, meter or charger; `vendor_id` is unique inside its site."""

    vendor_id: str
    kind: DeviceKind
    serial: str | None = None
    model: str | None = None
    name: str | None = None
    role: MeterRole | None = None  # meters
    power_w: float | None = (
        None  # inverter and production: generated; battery: discharging; grid: importing; charger: drawn
    )
    max_power_w: float | None = None
    is_peak: bool = False  # max_power_w is the most it was seen at, not what it can take
    lifetime_wh: float | None = None  # inverters: generated since `lifetime_since`
    lifetime_since: datetime | None = None
    nameplate_wh: float | None = None  # batteries
    soc_percent: float | None = None
    mode: Mode | None = None
    reported_at: datetime | None = None
    stale: bool = False  # reported too long ago for its power to count
    faults: tuple[str, ...] = ()  # plain words, newest first


class Refusal(Struct, frozen=True, kw_only=True):
    """What core did not take from an answer, by rule: a sentence for the operator, how often, and where.

    `spans`: (device id or None, start, end) of rows that are refused as a whole, for whoever asks why they are missing.
    """

    rule: str
    text: str
    count: int = 1
    spans: tuple[tuple[str | None, datetime, datetime], ...] = ()


class Site(Struct, frozen=True, kw_only=True):
    """One home. `timezone` is an IANA name: days and months of its intervals follow it.

    Where the vendor tells none, core finds it by `lat` and `lon`. An offset makes none: it follows summer time.
    """

    vendor_id: str
    name: str
    timezone: str | None = None
    lat: float | None = None
    lon: float | None = None
    operational_since: datetime | None = None
    devices: tuple[Device, ...] = ()
    warnings: tuple[str, ...] = ()  # a sentence each, for the operator
    refused: tuple[Refusal, ...] = ()  # core's to fill, as in Readings

    def has(self, kind: DeviceKind) -> bool:
        return any(device.kind is kind for device in self.devices)

    def device(self, vendor_id: str | None) -> Device | None:
        return next((device for device in self.devices if device.vendor_id == vendor_id), None)


class Energies(Struct, frozen=True, kw_only=True):
    """Wh by direction; `device_id` None: of the whole site. `charger_wh` went into cars: a part of `load_wh`."""

    device_id: str | None = None
    solar_wh: float | None = None
    charge_wh: float | None = None
    discharge_wh: float | None = None
    import_wh: float | None = None
    export_wh: float | None = None
    load_wh: float | None = None
    charger_wh: float | None = None
    soc_percent: float | None = None


class Reading(Energies, frozen=True, kw_only=True):
    """Energy of one interval [start, end); `soc_percent` is the mean over it.

    `rule` says in one word (PARTS_MISSING and its like) what made it partial or estimated, or a metric of it unknown.
    `lacks`: the ids of devices that a sum in it should have and that told nothing of it (`Quarters.expect` fills it).
    """

    start: datetime
    end: datetime
    quality: Quality = "measured"
    rule: str | None = None
    lacks: tuple[str, ...] = ()


class Counter(Energies, frozen=True, kw_only=True):
    """Lifetime registers at one instant, for vendors without history; core turns them into intervals.

    `source` names which registers they are, where a device has several that count the same (a meter, its inverters'
    sum): what one of them tells never continues another.
    """

    at: datetime
    source: str | None = None


class Live(Struct, frozen=True, kw_only=True):
    """Power at one instant, in W; `soc_percent` 0–100 over all batteries of the site."""

    measured_at: datetime
    solar_w: float | None = None
    battery_w: float | None = None
    grid_w: float | None = None
    load_w: float | None = None
    soc_percent: float | None = None


class Readings(Struct, frozen=True, kw_only=True):
    """Outcome of fetch_readings. One failing endpoint becomes a warning, the rest still counts.

    `refused` is core's to fill: what a plugin puts there is dropped.
    """

    intervals: tuple[Reading, ...] = ()
    counters: tuple[Counter, ...] = ()
    live: Live | None = None
    devices: tuple[Device, ...] = ()  # devices whose state was read on the way
    warnings: tuple[str, ...] = ()  # a sentence each, for the operator
    refused: tuple[Refusal, ...] = ()


class ReadingsQuery(Struct, frozen=True, kw_only=True):
    """Intervals of [start, end) at `resolution` (none when start == end), and live power when `live`.

    `device_id` asks for one device's intervals instead of the site's. Core never asks beyond Limits.history.
    `site` is what fetch_site answered last.
    """

    site: Site
    start: datetime
    end: datetime
    resolution: Resolution = "15mins"
    device_id: str | None = None
    live: bool = False
