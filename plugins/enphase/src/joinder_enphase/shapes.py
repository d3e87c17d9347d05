"""Answers that Enphase's Monitoring API v4 and its Grid Services have in common, as structs.

Both speak of the same systems and devices. Shapes follow the vendor's documents and recorded answers; only members the
mapping reads are named. Energies are Wh, powers W, times epoch seconds; an interval row carries its END.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from msgspec import Struct, field

from joinder.series import Number


class System(Struct):
    system_id: int | str
    name: str | None = None
    timezone: str | None = None
    operational_at: Number | None = None
    status: str | None = None


class SystemPage(Struct):
    systems: list[System]
    total: int = 0


class DeviceEntry(Struct):
    id: int | str | None = None
    serial_number: str | None = None
    name: str | None = None
    model: str | None = None
    product_name: str | None = None
    part_number: str | None = None
    last_report_at: Number | None = None
    status: str | None = None
    state: str | None = None  # meters: enabled, disabled
    config_type: str | None = None  # meters: Production, Net, Total


class DeviceLists(Struct):
    """Keys of kinds the system has none of are missing."""

    micros: list[DeviceEntry] | None = None
    meters: list[DeviceEntry] | None = None
    encharges: list[DeviceEntry] | None = None
    acbs: list[DeviceEntry] | None = None
    generators: list[DeviceEntry] | None = None


class Devices(Struct):
    devices: DeviceLists


class Summary(Struct):
    current_power: Number | None = None
    last_interval_end_at: Number | None = None  # a string in the schema of Grid Services, a number in its example
    battery_capacity_wh: Number | None = None


class Meta(Struct):
    status: str | None = None  # of the system, now
    last_energy_at: Number | None = None


class Energy(Struct):
    enwh: Number | None = None
    devices_reporting: Number | None = None


class Percent(Struct):
    percent: Number | None = None
    devices_reporting: Number | None = None


class Row(Struct):
    """One interval row of any telemetry endpoint; each endpoint fills its own members."""

    end_at: Number | None = None
    devices_reporting: Number | None = None  # battery rows tell it metric by metric
    wh_del: Number | None = None  # production_meter
    enwh: Number | None = None  # production_micro, consumption_meter
    wh_imported: Number | None = None
    wh_exported: Number | None = None
    charge: Energy | None = None
    discharge: Energy | None = None
    soc: Percent | None = None


class Rows(Protocol):
    """What is read of the answer to any telemetry call."""

    @property
    def intervals(self) -> Sequence[Row | list[Row]]: ...

    @property
    def total_devices(self) -> Number | None: ...

    @property
    def meta(self) -> Meta | None: ...


class Telemetry(Struct):
    """Of the Monitoring API."""

    intervals: list[Row | list[Row]]  # import and export nest their rows one list deeper
    last_reported_aggregate_soc: str | None = None  # "97%"
    total_devices: Number | None = None  # import and export say 0 always
    meta: Meta | None = None


class Lifetime(Struct):
    """One value per local day from start_date, without gaps."""

    start_date: str | None = None
    production: list[Number | None] | None = None
    charge: list[Number | None] | None = None
    discharge: list[Number | None] | None = None
    imported: list[Number | None] | None = field(name="import", default=None)
    exported: list[Number | None] | None = field(name="export", default=None)
    consumption: list[Number | None] | None = None
    meta: Meta | None = None


class PowerRow(Struct):
    id: int | str | None = None  # of the device: a meter has a row for each channel
    name: str | None = None  # meters: production, consumption, storage
    power: Number | None = None
    last_report_at: Number | None = None
    operational_mode: str | None = None  # encharges: Idle, Charging, Discharging


class PowerLists(Struct):
    meters: list[PowerRow] | None = None
    encharges: list[PowerRow] | None = None


class Latest(Struct):
    devices: PowerLists
