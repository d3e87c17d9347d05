"""What the simulated Enphase clouds say about a system now: system, summary, devices, latest power.

Written from the members the Monitoring API v4 documents (Swagger page, captured 2026-07-27), with values of our own:
no recorded answer is copied.
"""

from __future__ import annotations

from joinder.simulate.home import Energy, Power
from joinder_enphase.simulator_systems import Asked, Body, SimulatedSystem

STATUS_OF_SILENT = {"micros": "micro", "meter": "meter", "battery": "encharge"}


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
        "micros": [_device(asked, "Microinverter", number) for number in system.micro_serials],
        "meters": [
            *(
                _meter(asked, "production", f"{serial}{index or ''}EIM1", "Production")
                for index in range(system.production_meters)
            ),
            _meter(asked, "consumption", f"{serial}EIM2", system.config_type),
        ],
        "gateways": [_device(asked, "Gateway", serial)],
    }
    if system.battery_wh:
        found["encharges"] = [_device(asked, "IQ Battery", serial) for serial in system.encharge_serials]
    for kind, part in (("micros", "micros"), ("meters", "meter"), ("encharges", "battery")):
        listed = [device for device in found.get(kind, ()) if device["name"] != "consumption"]
        for device in listed[system.reporting(part, len(listed), asked.reported - 1) :]:
            device["status"] = STATUS_OF_SILENT[part]
    total = sum(map(len, found.values()))
    return {"system_id": system.system_id, "total_devices": total, "items": "devices", "devices": found}


def _device(asked: Asked, what: str, serial: str) -> Body:
    sku, product = asked.products[what]
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


def _meter(asked: Asked, name: str, serial: str, config_type: str) -> Body:
    enabled = asked.system.metered
    return {
        **_device(asked, "Meter", serial[:-4]),
        "name": name,
        "serial_number": serial,
        "sku": None,
        "last_report_at": asked.reported if enabled else None,
        "status": "normal" if enabled else "disabled",
        "state": "enabled" if enabled else "disabled",
        "config_type": config_type,
    }


def latest_telemetry(asked: Asked) -> Body:
    """Tells power at the last report, signed as the vendor's: battery + while charging, in no (Net) consumption."""
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
                **_channel(asked, f"{asked.battery_name} {serial}", 1, -power.battery_w / len(system.encharge_serials)),
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
    """Returns W; of an odd home they are further below zero than any battery of it could charge."""
    if system.odd == "load":
        return -20_000.0
    return power.load_w if system.config_type == "Total" else power.solar_w + power.grid_w


def consumption_wh(system: SimulatedSystem, energy: Energy) -> float:
    return energy.load_wh if system.config_type == "Total" else energy.solar_wh + energy.import_wh - energy.export_wh
