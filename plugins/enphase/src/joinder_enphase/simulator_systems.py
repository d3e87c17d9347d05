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

from joinder.simulate.home import Energy, Home, Power

QUARTER_S = 900
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
    def encharge_serial(self) -> str:
        return f"4921{self.system_id % 10_000:04d}0001"


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
            _meter(asked, "production", f"{serial}EIM1", "Production", enabled=system.metered),
            _meter(asked, "consumption", f"{serial}EIM2", system.config_type, enabled=system.metered),
        ],
        "gateways": [_device(asked, "Gateway", serial, "X-IQ-AM1-240-5", "IQ Gateway")],
    }
    if system.battery_wh:
        found["encharges"] = [_device(asked, "IQ Battery", system.encharge_serial, "B10C-1050-O", "IQ Battery 10C")]
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
    if system.metered:
        for name, watts in (("production", power.solar_w), ("consumption", consumption(system, power))):
            found["meters"] += [_channel(asked, name, number, watts) for number in (1, 2, 3)]
    if system.battery_wh:
        mode = "Charging" if power.battery_w < 0 else "Discharging" if power.battery_w > 0 else "Idle"
        battery = _channel(asked, f"IQ Battery {system.encharge_serial}", 1, -power.battery_w)
        found["encharges"] = [{**battery, "operational_mode": mode}]
    return {"system_id": system.system_id, "items": "devices", "devices": found}


def _channel(asked: Asked, name: str, channel: int, watts: float) -> Body:
    used = channel == 1  # one phase is wired
    return {
        "id": asked.system.system_id,
        "name": name,
        "channel": channel,
        "last_report_at": asked.reported if used else None,
        "power": round(watts) if used else None,
    }


def consumption(system: SimulatedSystem, power: Power) -> float:
    return power.load_w if system.config_type == "Total" else power.solar_w + power.grid_w


def consumption_wh(system: SimulatedSystem, energy: Energy) -> float:
    return energy.load_wh if system.config_type == "Total" else energy.solar_wh + energy.import_wh - energy.export_wh
