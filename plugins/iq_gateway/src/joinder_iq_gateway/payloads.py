"""What a gateway answers, as types: only the fields that are read.

Names and units are the wire's (camelCase there): W, Wh, J, mW, %, epoch seconds. Sources: pyenphase 4.2.0 and
Matthew1471/Enphase-API, checked against recorded bodies of firmware 7.3 to 8.3. Every field may be missing.
"""

from __future__ import annotations

from typing import Any

from msgspec import Struct, field

AC_BATTERY = 11  # devType of /api/v1/production/inverters


class Meter(Struct, frozen=True, rename="camel"):
    """One current transformer (CT) of /ivp/meters."""

    eid: int
    measurement_type: str = ""
    state: str | None = None  # enabled | disabled
    metering_status: str | None = None  # normal | not-metering | check-wiring
    phase_count: int | None = None
    status_flags: list[str] = field(default_factory=list)

    @property
    def enabled(self) -> bool:
        return self.state == "enabled"


class Channel(Struct, frozen=True, rename="camel"):
    """One phase of a reading; three are sent even where fewer are wired."""

    act_energy_dlvd: float | None = None
    act_energy_rcvd: float | None = None


class CtReading(Struct, frozen=True, rename="camel"):
    """One meter of /ivp/meters/readings. Delivered: generated, imported or discharged; received: the reverse."""

    eid: int
    timestamp: int | None = None
    act_energy_dlvd: float | None = None  # Wh, lifetime
    act_energy_rcvd: float | None = None
    active_power: float | None = None  # W
    channels: list[Channel] = field(default_factory=list)

    @property
    def is_blank(self) -> bool:
        """Tells whether all is zero, as boxes answer shortly after they started."""
        return not (self.act_energy_dlvd or self.act_energy_rcvd or self.active_power)


class Production(Struct, frozen=True, rename="camel"):
    """/api/v1/production"""

    watt_hours_today: float | None = None
    watt_hours_seven_days: float | None = None
    watt_hours_lifetime: float | None = None
    watts_now: float | None = None


class Segment(Struct, frozen=True, rename="camel"):
    """One entry of /production.json; `eim` is measured by CTs, `inverters` summed, `acb` AC Batteries only."""

    type: str = ""
    active_count: int | None = None
    measurement_type: str | None = None
    reading_time: int | None = None
    w_now: float | None = None
    wh_lifetime: float | None = None
    percent_full: float | None = None

    @property
    def says_something(self) -> bool:
        """Tells whether the segment measures something, which it does not with nothing active.

        An `eim` is noise then, and `inverters` are the zeros of a box that just started.
        """
        return self.active_count != 0 and bool(self.wh_lifetime or self.w_now)


class Segments(Struct, frozen=True):
    """/production.json"""

    production: list[Segment] = field(default_factory=list)
    consumption: list[Segment] = field(default_factory=list)
    storage: list[Segment] = field(default_factory=list)


class InverterReport(Struct, frozen=True, rename="camel"):
    """One entry of /api/v1/production/inverters; devType 1 is a microinverter, 11 an AC Battery."""

    serial_number: str
    last_report_date: int | None = None
    dev_type: int | None = None
    last_report_watts: float | None = None
    max_report_watts: float | None = None


class Watts(Struct, frozen=True):
    now: float | None = None
    max: float | None = None


class LastReading(Struct, frozen=True, rename="camel"):
    end_date: int | None = None
    duration: int | None = None
    joules_produced: float | None = None
    joules_used: float | None = None
    soc: float | None = field(name="SOC", default=None)


class Lifetime(Struct, frozen=True, rename="camel"):
    joules_produced: float | None = None


class DataChannel(Struct, frozen=True, rename="camel"):
    watts: Watts | None = None
    last_reading: LastReading | None = None
    lifetime: Lifetime | None = None


class DeviceData(Struct, frozen=True, rename="camel"):
    """One device of /ivp/pdm/device_data: pcu is a microinverter, acb an AC Battery."""

    dev_name: str = ""
    sn: str = ""
    active: bool | None = None
    mod_gone: bool | None = None
    channels: list[DataChannel] = field(default_factory=list)

    @property
    def mean_w(self) -> float | None:
        """Computes mean W over the last reading, given less taken (an AC Battery: discharging positive).

        The watts the device tells have no sign.
        """
        last = self.channels[0].last_reading if self.channels else None
        if last is None or not last.duration or last.joules_produced is None or last.joules_used is None:
            return None
        return (last.joules_produced - last.joules_used) / last.duration


# Device eids map to devices; deviceCount and deviceDataLimit stand among them.
DeviceTable = dict[str, DeviceData | int | float | str | list[Any] | None]


class EnsembleDevice(Struct, frozen=True):
    serial_num: str
    part_num: str | None = None
    percent_full: float | None = field(name="percentFull", default=None)
    encharge_capacity: float | None = None  # Wh
    communicating: bool | None = None
    dc_switch_off: bool | None = None
    last_rpt_date: int | None = None
    mains_oper_state: str | None = None  # Enpower: open | closed, its relay to the grid
    enpower_grid_mode: str | None = field(name="Enpwr_grid_mode", default=None)  # multimode-ongrid | -offgrid …
    grid_state: str | None = None  # collar: on_grid | off_grid
    mid_state: str | None = None  # collar: open | close, its relay

    @property
    def is_off_grid(self) -> bool:
        """Tells whether this system controller or meter collar says that the home is cut from the grid."""
        modes = (self.enpower_grid_mode or "", self.grid_state or "")
        said = any("offgrid" in mode.replace("-", "").replace("_", "") for mode in modes)
        return self.communicating is not False and (said or "open" in (self.mains_oper_state, self.mid_state))


class EnsembleGroup(Struct, frozen=True):
    """One group of /ivp/ensemble/inventory; older firmware sends one without `type`."""

    type: str | None = None
    devices: list[EnsembleDevice] = field(default_factory=list)


class BatteryPower(Struct, frozen=True):
    serial_num: str
    real_power_mw: float | None = None  # mW, discharging positive
    soc: float | None = None


class EnsemblePower(Struct, frozen=True):
    """/ivp/ensemble/power; the key on the wire really ends in a colon."""

    devices: list[BatteryPower] = field(name="devices:", default_factory=list)


class EnsembleState(Struct, frozen=True):
    """/ivp/ensemble/secctrl"""

    agg_soc: float | None = None  # over IQ and AC Batteries


class Generator(Struct, frozen=True):
    """/ivp/ensemble/generator; `present` is 1 on older boxes without any."""

    oper_state: str | None = None  # open | closed, its relay

    @property
    def is_running(self) -> bool:
        return self.oper_state == "closed"


class Home(Struct, frozen=True):
    """/home"""

    timezone: str | None = None


class InventoryDevice(Struct, frozen=True, rename={"percent_full": "percentFull"}):
    serial_num: str
    part_num: str | None = None
    percent_full: float | None = None


class InventoryGroup(Struct, frozen=True):
    """One group of /inventory.json: PCU, ACB, NSRB, ESUB."""

    type: str | None = None
    devices: list[InventoryDevice] = field(default_factory=list)
