"""Sites of the simulated Grid Services and what it says about them: devices, summary, latest power, interval rows.

Written from the members the OpenAPI document 1.1.0 names, with values of our own. Rows carry their end and cover
quarter hours (five minutes for inverters, which are silent at night); a local day has 92 or 100 quarter hours when
the clock changes.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from functools import cached_property, lru_cache
from typing import Any
from zoneinfo import ZoneInfo

from joinder.energy import DeviceKind, MeterRole
from joinder.simulate.home import SLOT_S, Energy, Home
from joinder.simulate.truth import TrueDevice, TrueSite, alike

QUARTER_S = 900
SILENT_HOUR = 13  # local time; then half of an odd home's batteries, meters or inverters report nothing
REACH_S = 730 * 86400
GRANULARITY_S = {"15mins": 900, "day": 86400, "week": 7 * 86400}
STATUS_OF_SILENT = {"micros": "micro", "meter": "meter", "battery": "encharge"}
Body = dict[str, Any]


class Refused(Exception):
    """An error answer in the vendor's envelope, or one of the gateway in front of it (`envelope` False)."""

    def __init__(self, status: int, message: str, additional: str | None = None, *, envelope: bool = True) -> None:
        super().__init__(status)
        self.status = status
        told = {"code": str(status), "displayMessage": message, "additionalInfo": additional}
        self.body: Body = {**told, "errorRefNo": secrets.token_hex(8)} if envelope else {"message": message}


@dataclass(frozen=True, kw_only=True)
class SimulatedSite:
    """One home. `config_type` is its consumption meter's: Net or Total."""

    site_id: int
    name: str
    state: str = "CA"
    timezone: str = "US/Pacific"
    battery_wh: float = 10000.0
    config_type: str = "Net"
    metered: bool = True
    micros: int = 6
    odd: str = (
        ""  # what is wrong with it: "battery", "meter", "micros" (silent for an hour a day) or "load" (below zero)
    )
    installed: date = date(2026, 1, 1)

    @cached_property
    def home(self) -> Home:
        zone = ZoneInfo(self.timezone).key
        return Home(seed=self.site_id, timezone=zone, battery_wh=self.battery_wh, installed=self.installed)

    @cached_property
    def quarter(self) -> Callable[[int], Energy]:
        """Energy of the quarter hour that starts at an epoch second."""
        return lru_cache(maxsize=20_000)(lambda start: self.home.energy(start, start + QUARTER_S))

    @cached_property
    def lifetime(self) -> Callable[[int], Energy]:
        """Energy since the start, up to an epoch second."""
        return lru_cache(maxsize=2000)(self.home.lifetime)

    def midnight(self, day: date) -> int:
        return int(datetime.combine(day, time(), self.home.zone).astimezone(UTC).timestamp())

    def day_of(self, at: float) -> date:
        return datetime.fromtimestamp(at, self.home.zone).date()

    @property
    def micro_serials(self) -> list[str]:
        return [f"4822{self.site_id % 10_000:04d}{index:04d}" for index in range(self.micros)]

    @property
    def encharge_serials(self) -> list[str]:
        count = 0 if not self.battery_wh else 2 if self.odd == "battery" else 1
        return [f"4921{self.site_id % 10_000:04d}{index + 1:04d}" for index in range(count)]

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
        serial = f"1222{self.site_id % 10_000:04d}"
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
    """One data request: of which site, with which query, at which simulated second, rows how late."""

    site: SimulatedSite
    query: Mapping[str, str]
    now: int
    lag_s: int

    @property
    def reported(self) -> int:
        """End of the last quarter hour that has arrived at the vendor."""
        return (self.now - self.lag_s) // QUARTER_S * QUARTER_S


def listed(asked: Asked) -> Body:
    """The site's entry in the list of a programme's systems."""
    site = asked.site
    return {
        "system_id": site.site_id,
        "name": site.name,
        "public_name": "Residential System",
        "timezone": site.timezone,
        "address": {"state": site.state, "country": "US", "postal_code": "94954"},
        "connection_type": "ethernet",
        "status": "normal",
        "last_report_at": asked.now,
        "last_energy_at": asked.reported,
        "operational_at": site.midnight(site.installed),
        "attachment_type": None,
        "interconnect_date": None,
    }


def summary(asked: Asked) -> Body:
    site, midnight = asked.site, asked.site.midnight(asked.site.day_of(asked.reported))
    return {
        "system_id": site.site_id,
        "current_power": round(site.home.power(asked.reported).solar_w),
        "energy_lifetime": round(site.lifetime(midnight).solar_wh),
        "energy_today": round(site.home.energy(midnight, asked.reported).solar_wh),
        "last_interval_end_at": asked.reported,
        "last_report_at": asked.now,
        "modules": site.micros,
        "operational_at": site.midnight(site.installed),
        "size_w": site.micros * 410,
        "source": "meter" if site.metered else "microinverters",
        "status": "normal",
        "summary_date": site.day_of(asked.now).isoformat(),
        "battery_charge_w": 3840 if site.battery_wh else 0,
        "battery_discharge_w": 3840 if site.battery_wh else 0,
        "battery_capacity_wh": round(site.battery_wh),
    }


def devices(asked: Asked) -> Body:
    site = asked.site
    serial = f"1222{site.site_id % 10_000:04d}"
    found: dict[str, list[Body]] = {
        "micros": [_device(asked, "Microinverter", number, "IQ8+") for number in site.micro_serials],
        "meters": [
            *(
                _meter(asked, "production", f"{serial}{index or ''}EIM1", "Production")
                for index in range(site.production_meters)
            ),
            _meter(asked, "consumption", f"{serial}EIM2", site.config_type),
        ],
        "gateways": [_device(asked, "Gateway", serial, "IQ Gateway")],
    }
    if site.battery_wh:
        found["encharges"] = [
            _device(asked, "IQ Battery", serial, "IQ Battery 10C") for serial in site.encharge_serials
        ]
    for kind, part in (("micros", "micros"), ("meters", "meter"), ("encharges", "battery")):
        those = [device for device in found.get(kind, ()) if device["name"] != "consumption"]
        for device in those[site.reporting(part, len(those), asked.reported - 1) :]:
            device["status"] = STATUS_OF_SILENT[part]
    total = sum(map(len, found.values()))
    return {"system_id": site.site_id, "total_devices": total, "items": "devices", "devices": found}


def _device(asked: Asked, what: str, serial: str, product: str) -> Body:
    return {
        "id": int(serial[-9:]),
        "last_report_at": asked.reported,
        "name": f"{what} {serial}",
        "serial_number": serial,
        "part_number": f"800-{len(product):05d}-r01",
        "sku": product,
        "model": "",
        "status": "normal",
        "active": True,
        "product_name": product,
    }


def _meter(asked: Asked, name: str, serial: str, config_type: str) -> Body:
    enabled = asked.site.metered
    return {
        **_device(asked, "Meter", serial[:-4], "RGM"),
        "name": name,
        "serial_number": serial,
        "sku": None,
        "last_report_at": asked.reported if enabled else None,
        "status": "normal" if enabled else "disabled",
        "state": "enabled" if enabled else "disabled",
        "config_type": config_type,
    }


def latest_telemetry(asked: Asked) -> Body:
    """Power at the last report. Signs as the vendor's: battery + while charging, and not part of a Net consumption."""
    site, power = asked.site, asked.site.home.power(asked.reported)
    used_w = power.load_w if site.config_type == "Total" else power.solar_w + power.grid_w
    if site.odd == "load":  # further below zero than any battery of it could charge
        used_w = -20_000.0
    found: dict[str, list[Body]] = {"meters": []}
    if site.metered:
        heard = site.reporting("meter", site.production_meters, asked.reported - 1)
        for meter in range(site.production_meters):
            watts = power.solar_w / site.production_meters if meter < heard else None
            found["meters"] += [_channel(asked, "production", number, watts, meter) for number in (1, 2, 3)]
        found["meters"] += [_channel(asked, "consumption", number, used_w, 9) for number in (1, 2, 3)]
    if site.battery_wh:
        mode = "Charging" if power.battery_w < 0 else "Discharging" if power.battery_w > 0 else "Idle"
        found["encharges"] = [
            {
                **_channel(asked, f"Encharge {serial}", 1, -power.battery_w / len(site.encharge_serials)),
                "id": int(serial[-9:]),
                "operational_mode": mode,
            }
            for serial in site.encharge_serials
        ]
        for silent in found["encharges"][site.reporting("battery", len(found["encharges"]), asked.reported - 1) :]:
            silent["last_report_at"] -= 7200
    return {"system_id": site.site_id, "items": "devices", "devices": found}


def _channel(asked: Asked, name: str, channel: int, watts: float | None, meter: int = 0) -> Body:
    used = channel == 1 and watts is not None  # one phase is wired
    return {
        "id": asked.site.site_id * 10 + meter,
        "name": name,
        "channel": channel,
        "last_report_at": asked.reported if used else None,
        "power": round(watts or 0) if used else None,
    }


def telemetry(asked: Asked, row: Callable[[int], Body | None], *, step_s: int = QUARTER_S, total: int = 1) -> Body:
    """The envelope with every row that `row` makes of a slot's start; None is a slot without a row."""
    start = _start_at(asked)
    granularity = asked.query.get("granularity", "day")
    if granularity not in GRANULARITY_S:
        raise Refused(422, "Granularity value must be one of  'week', 'day', '15mins', '5mins'")
    if asked.query.get("interval_duration", f"{step_s // 60}mins") != f"{step_s // 60}mins":
        raise Refused(422, "Interval duration must be one of  '5mins', '15mins'")
    end = min(asked.now, start + GRANULARITY_S[granularity])
    first = -(-start // step_s) * step_s
    rows = (row(at) for at in range(first, min(end, asked.reported) - step_s + 1, step_s))
    return {
        "system_id": asked.site.site_id,
        "granularity": granularity,
        "total_devices": total,
        "start_at": start,
        "end_at": end,
        "items": "intervals",
        "intervals": [found for found in rows if found is not None],
    }


def _start_at(asked: Asked) -> int:
    site, text = asked.site, asked.query.get("start_at")
    try:
        start = int(text) if text else site.midnight(site.day_of(asked.now))
    except ValueError:
        raise Refused(400, "Type Mismatch", "Cannot cast the parameter to required type int") from None
    if start < asked.now - REACH_S:
        raise Refused(422, "start_at can't be before 2 years of current date")
    return max(start, site.midnight(site.installed))


def _flow(member: str, read: Callable[[Energy], float]) -> Callable[[Asked], Body]:
    def body(asked: Asked) -> Body:
        total = asked.site.production_meters if member == "wh_del" else 1

        def row(at: int) -> Body:
            heard = asked.site.reporting("meter", total, at) if total > 1 else 1
            wh = read(asked.site.quarter(at)) * heard / total
            return {"end_at": at + QUARTER_S, "devices_reporting": heard, member: round(wh)}

        return telemetry(asked, row, total=total)

    return body


def _grid(member: str, read: Callable[[Energy], float]) -> Callable[[Asked], Body]:
    """Import and export are keyed by site_id, and have no `items`."""

    def body(asked: Asked) -> Body:
        found = _flow(member, read)(asked)
        rows = [
            {name: value for name, value in row.items() if name != "devices_reporting"} for row in found["intervals"]
        ]
        kept = {name: found[name] for name in ("start_at", "end_at", "granularity", "total_devices")}
        return {"site_id": asked.site.site_id, **kept, "intervals": rows}

    return body


def production_micro(asked: Asked, *, count: int = 0) -> Body:
    """Of all inverters, or of `count` of them."""
    micros, count = asked.site.micros, count or asked.site.micros

    def row(at: int) -> Body | None:
        heard = asked.site.reporting("micros", count, at) if count > 1 else 1
        watts = asked.site.home.power(at).solar_w * heard / micros
        if not watts:
            return None
        wh = round(watts * SLOT_S / 3600)
        return {"end_at": at + SLOT_S, "devices_reporting": heard, "powr": wh * 12, "enwh": wh}

    return telemetry(asked, row, step_s=SLOT_S, total=count)


def micro_telemetry(asked: Asked, serial: str) -> Body:
    if serial not in asked.site.micro_serials:
        raise Refused(404, "Not Found", f"Micro not found for {serial}")
    return {**production_micro(asked, count=1), "serial_number": serial}


def battery(asked: Asked) -> Body:
    site = asked.site
    if not site.battery_wh:
        return {**telemetry(asked, lambda at: None), "soc": None, "soh": None, "capacity_wh": 0, "last_report_at": None}
    rows = _battery_rows(asked, len(site.encharge_serials))
    soc = site.home.power(asked.reported - 1).soc_percent
    return {**rows, "soc": soc, "soh": 99.1, "capacity_wh": round(site.battery_wh), "last_report_at": asked.reported}


def encharge_telemetry(asked: Asked, serial: str) -> Body:
    if serial not in asked.site.encharge_serials:
        raise Refused(404, "Not Found", f"Encharge not found for {serial}")
    last = {"last_reported_time": asked.reported, "last_reported_soc": None}
    return {**_battery_rows(asked, 1), "serial_number": serial, **last}


def _battery_rows(asked: Asked, count: int) -> Body:
    """Of all batteries, or of one."""

    def row(at: int) -> Body:
        energy, heard = asked.site.quarter(at), asked.site.reporting("battery", count, at) if count > 1 else 1
        share = heard / len(asked.site.encharge_serials)
        return {
            "end_at": at + QUARTER_S,
            "charge": {"enwh": round(energy.charge_wh * share), "devices_reporting": heard},
            "discharge": {"enwh": round(energy.discharge_wh * share), "devices_reporting": heard},
            "soc": {"percent": round(energy.soc_percent, 1), "devices_reporting": heard},
        }

    return telemetry(asked, row, total=count)


def _lifetime(**columns: Callable[[Energy], float]) -> Callable[[Asked], Body]:
    """One value per local day from start_date to end_date, zero for what has not been reported."""

    def body(asked: Asked) -> Body:
        site, today = asked.site, asked.site.day_of(asked.now)
        first = max(_date(asked, "start_date", site.installed), site.installed)
        last = min(_date(asked, "end_date", today - timedelta(days=1)), today)
        days = [first + timedelta(days=index) for index in range(max(0, (last - first).days + 1))]
        values = {name: [_of_day(asked, day, read) for day in days] for name, read in columns.items()}
        meta = {
            "status": "normal",
            "last_report_at": asked.now,
            "last_energy_at": asked.reported,
            "operational_at": site.midnight(site.installed),
        }
        return {"system_id": site.site_id, "start_date": first.isoformat(), **values, "meta": meta}

    return body


def _of_day(asked: Asked, day: date, read: Callable[[Energy], float]) -> int:
    """Difference of the lifetime counters at both midnights, as far as reported."""
    midnights = (asked.site.midnight(day + timedelta(days=more)) for more in (0, 1))
    first, last = (read(asked.site.lifetime(min(midnight, asked.reported))) for midnight in midnights)
    return round(last - first)


def _date(asked: Asked, name: str, default: date) -> date:
    text = asked.query.get(name)
    try:
        return date.fromisoformat(text) if text else default
    except ValueError:
        message = "Input date is incorrect. Date must be in yyyy-mm-dd format and must be a valid one."
        raise Refused(400, message) from None


def _consumption(asked: Asked) -> Callable[[Energy], float]:
    if asked.site.config_type == "Total":
        return lambda energy: energy.load_wh
    return lambda energy: energy.solar_wh + energy.import_wh - energy.export_wh


ENDPOINTS: Mapping[str, Callable[[Asked], Body]] = {
    "summary": summary,
    "devices": devices,
    "latest_telemetry": latest_telemetry,
    "telemetry/production_micro": production_micro,
    "telemetry/production_meter": _flow("wh_del", lambda energy: energy.solar_wh),
    "telemetry/consumption_meter": lambda asked: _flow("enwh", _consumption(asked))(asked),
    "telemetry/battery": battery,
    "telemetry/import": _grid("wh_imported", lambda energy: energy.import_wh),
    "telemetry/export": _grid("wh_exported", lambda energy: energy.export_wh),
    "production_lifetime": _lifetime(production=lambda energy: energy.solar_wh),
    "consumption_lifetime": lambda asked: _lifetime(consumption=_consumption(asked))(asked),
    "battery_lifetime": _lifetime(charge=lambda energy: energy.charge_wh, discharge=lambda energy: energy.discharge_wh),
    "import_lifetime": _lifetime(**{"import": lambda energy: energy.import_wh}),
    "export_lifetime": _lifetime(export=lambda energy: energy.export_wh),
}
DEVICE_ENDPOINTS: Mapping[str, Callable[[Asked, str], Body]] = {
    "micros": micro_telemetry,
    "encharges": encharge_telemetry,
}
