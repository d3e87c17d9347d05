"""Systems of the simulated Enphase cloud and what it says about them now: system, summary, devices, latest power.

Written from the members the Monitoring API v4 documents (Swagger page, captured 2026-07-27), with values of our own:
no recorded answer is copied.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from functools import cached_property, lru_cache
from typing import Any
from zoneinfo import ZoneInfo

from joinder.energy import DeviceKind, MeterRole
from joinder.simulate.home import Energy, Home, Power
from joinder.simulate.truth import TrueDevice, TrueSite, alike

QUARTER_S = 900
SILENT_HOUR = 13  # local time; then half of an odd home's batteries, meters or inverters report nothing
STATUS_OF_SILENT = {"micros": "micro", "meter": "meter", "battery": "encharge"}
Body = dict[str, Any]


class Refused(Exception):
    """An error answer in the vendor's usual envelope."""

    def __init__(self, status: int, message: str, details: str) -> None:
        super().__init__(status)
        self.status = status
        self.body = {"message": message, "details": details, "code": status}


def unprocessable(details: str) -> Refused:
    return Refused(422, "Unprocessable Entity", details)


@dataclass(frozen=True, kw_only=True)
class SimulatedSystem:
    """One home. Without `metered` it has inverters only; `config_type` is its consumption meter's: Net or Total."""

    system_id: int
    name: str
    timezone: str | None = "US/Pacific"
    battery_wh: float = 10000.0
    metered: bool = True
    config_type: str = "Net"
    status: str = "normal"
    micros: int = 6
    odd: str = (
        ""  # what is wrong with it: "battery", "meter", "micros" (silent for an hour a day) or "load" (below zero)
    )
    installed: date = date(2026, 1, 1)

    @cached_property
    def zone(self) -> ZoneInfo:
        return ZoneInfo(self.timezone or "UTC")

    @cached_property
    def home(self) -> Home:
        return Home(
            seed=self.system_id,
            timezone=self.zone.key,
            battery_wh=self.battery_wh,
            installed=self.installed,
        )

    @cached_property
    def quarter(self) -> Callable[[int], Energy]:
        """Energy of the quarter hour that starts at an epoch second."""
        return lru_cache(maxsize=20_000)(lambda start: self.home.energy(start, start + QUARTER_S))

    @cached_property
    def lifetime(self) -> Callable[[int], Energy]:
        """Energy since the start, up to an epoch second."""
        return lru_cache(maxsize=2000)(self.home.lifetime)

    @cached_property
    def operational_at(self) -> int:
        return self.midnight(self.installed)

    def midnight(self, day: date) -> int:
        return int(datetime.combine(day, time(), self.zone).astimezone(UTC).timestamp())

    def day_of(self, at: float) -> date:
        return datetime.fromtimestamp(at, self.zone).date()

    @property
    def micro_serials(self) -> list[str]:
        return [f"4822{self.system_id % 10_000:04d}{index:04d}" for index in range(self.micros)]

    @property
    def encharge_serials(self) -> list[str]:
        count = 0 if not self.battery_wh else 2 if self.odd == "battery" else 1
        return [f"4921{self.system_id % 10_000:04d}{index + 1:04d}" for index in range(count)]

    @property
    def production_meters(self) -> int:
        return 3 if self.odd == "meter" else 1

    @cached_property
    def truth(self) -> TrueSite:
        """Meters that are not enabled are no devices; its reports come every quarter hour."""
        inverters = alike(DeviceKind.INVERTER, self.micro_serials)
        batteries = alike(DeviceKind.BATTERY, self.encharge_serials)
        return TrueSite(home=self.home, devices=(*inverters, *batteries, *self._true_meters()), live_every_s=QUARTER_S)

    def _true_meters(self) -> tuple[TrueDevice, ...]:
        if not self.metered:
            return ()
        serial = f"1222{self.system_id % 10_000:04d}"
        made = [f"{serial}{index or ''}EIM1" for index in range(self.production_meters)]
        used = MeterRole.GRID if self.config_type == "Net" else MeterRole.LOAD
        return (
            *alike(DeviceKind.METER, made, MeterRole.PRODUCTION),
            *alike(DeviceKind.METER, [f"{serial}EIM2"], used),
        )

    def reporting(self, part: str, count: int, at: int) -> int:
        """How many of `count` devices report in the slot that starts at an epoch second."""
        is_silent = self.odd == part and datetime.fromtimestamp(at, self.home.zone).hour == SILENT_HOUR
        return count // 2 if is_silent else count


@dataclass(frozen=True, kw_only=True)
class Asked:
    """One data request: of which system, with which query, at which simulated second, rows how late."""

    system: SimulatedSystem
    query: Mapping[str, str]
    now: int
    lag_s: int

    @property
    def reported(self) -> int:
        """End of the last quarter hour that has arrived at the vendor."""
        return (self.now - self.lag_s) // QUARTER_S * QUARTER_S


def system_entry(asked: Asked) -> Body:
    system = asked.system
    return {
        "system_id": system.system_id,
        "name": system.name,
        "public_name": "Residential System",
        "timezone": system.timezone,
        "address": {"city": None, "state": None, "country": None, "postal_code": None},
        "connection_type": "ethernet",
        "energy_lifetime": -1,
        "energy_today": -1,
        "system_size": -1,
        "status": system.status,
        "last_report_at": asked.reported,
        "last_energy_at": asked.reported,
        "operational_at": system.operational_at,
        "attachment_type": None,
        "interconnect_date": None,
    }


def summary(asked: Asked) -> Body:
    system, midnight = asked.system, asked.system.midnight(asked.system.day_of(asked.reported))
    return {
        "system_id": system.system_id,
        "current_power": round(system.home.power(asked.reported).solar_w),
        "energy_lifetime": round(system.lifetime(midnight).solar_wh),
        "energy_today": round(system.home.energy(midnight, asked.reported).solar_wh),
        "last_interval_end_at": asked.reported,
        "last_report_at": asked.now,
        "modules": system.micros,
        "operational_at": system.operational_at,
        "size_w": system.micros * 410,
        "nmi": None,
        "source": "meter" if system.metered else "microinverters",
        "status": system.status,
        "summary_date": system.day_of(asked.now).isoformat(),
        "battery_charge_w": 3840 if system.battery_wh else 0,
        "battery_discharge_w": 3840 if system.battery_wh else 0,
        "battery_capacity_wh": round(system.battery_wh),
    }


def devices(asked: Asked) -> Body:
    system = asked.system
    serial = f"1222{system.system_id % 10_000:04d}"
    found: dict[str, list[Body]] = {
        "micros": [
            _device(asked, "Microinverter", number, "IQ8PLUS-72-2-US", "IQ8+") for number in system.micro_serials
        ],
        "meters": [
            *(
                _meter(asked, "production", f"{serial}{index or ''}EIM1", "Production", enabled=system.metered)
                for index in range(system.production_meters)
            ),
            _meter(asked, "consumption", f"{serial}EIM2", system.config_type, enabled=system.metered),
        ],
        "gateways": [_device(asked, "Gateway", serial, "X-IQ-AM1-240-5", "IQ Gateway")],
    }
    if system.battery_wh:
        found["encharges"] = [
            _device(asked, "IQ Battery", serial, "B10C-1050-O", "IQ Battery 10C") for serial in system.encharge_serials
        ]
    for kind, part in (("micros", "micros"), ("meters", "meter"), ("encharges", "battery")):
        listed = [device for device in found.get(kind, ()) if device["name"] != "consumption"]
        for device in listed[system.reporting(part, len(listed), asked.reported - 1) :]:
            device["status"] = STATUS_OF_SILENT[part]
    return {
        "system_id": system.system_id,
        "total_devices": sum(map(len, found.values())),
        "items": "devices",
        "devices": found,
    }


def _device(asked: Asked, what: str, serial: str, sku: str, product: str) -> Body:
    return {
        "id": int(serial[-9:]),
        "last_report_at": asked.reported,
        "name": f"{what} {serial}",
        "serial_number": serial,
        "part_number": f"800-{len(sku):05d}-r01",
        "sku": sku,
        "model": "",
        "status": "normal",
        "active": True,
        "product_name": product,
    }


def _meter(asked: Asked, name: str, serial: str, config_type: str, *, enabled: bool) -> Body:
    state = "enabled" if enabled else "disabled"
    return {
        **_device(asked, "Meter", serial.removesuffix(serial[-4:]), "", "IQ Gateway"),
        "name": name,
        "serial_number": serial,
        "sku": None,
        "last_report_at": asked.reported if enabled else None,
        "status": "normal" if enabled else "disabled",
        "state": state,
        "config_type": config_type,
    }


def latest_telemetry(asked: Asked) -> Body:
    """Power at the last report. Signs as the vendor's: battery + while charging, and not part of consumption (Net)."""
    system, power = asked.system, asked.system.home.power(asked.reported)
    found: dict[str, list[Body]] = {"meters": []}
    used_w = consumption(system, power)
    if system.metered:
        heard = system.reporting("meter", system.production_meters, asked.reported - 1)
        for meter in range(system.production_meters):
            watts = power.solar_w / system.production_meters if meter < heard else None
            found["meters"] += [_channel(asked, "production", number, watts, meter) for number in (1, 2, 3)]
        found["meters"] += [_channel(asked, "consumption", number, used_w, 9) for number in (1, 2, 3)]
    if system.battery_wh:
        mode = "Charging" if power.battery_w < 0 else "Discharging" if power.battery_w > 0 else "Idle"
        found["encharges"] = [
            {
                **_channel(asked, f"IQ Battery {serial}", 1, -power.battery_w / len(system.encharge_serials)),
                "id": int(serial[-9:]),
                "operational_mode": mode,
            }
            for serial in system.encharge_serials
        ]
        for silent in found["encharges"][system.reporting("battery", len(found["encharges"]), asked.reported - 1) :]:
            silent["last_report_at"] -= 7200
    return {"system_id": system.system_id, "items": "devices", "devices": found}


def _channel(asked: Asked, name: str, channel: int, watts: float | None, meter: int = 0) -> Body:
    used = channel == 1 and watts is not None  # one phase is wired
    return {
        "id": asked.system.system_id * 10 + meter,
        "name": name,
        "channel": channel,
        "last_report_at": asked.reported if used else None,
        "power": round(watts or 0) if used else None,
    }


def consumption(system: SimulatedSystem, power: Power) -> float:
    """Of an odd home it is further below zero than any battery of it could charge."""
    if system.odd == "load":
        return -20_000.0
    return power.load_w if system.config_type == "Total" else power.solar_w + power.grid_w


def consumption_wh(system: SimulatedSystem, energy: Energy) -> float:
    return energy.load_wh if system.config_type == "Total" else energy.solar_wh + energy.import_wh - energy.export_wh
