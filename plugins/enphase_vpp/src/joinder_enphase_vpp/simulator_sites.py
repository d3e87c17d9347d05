"""Sites of the simulated Grid Services, and what they say of them otherwise than the Monitoring API does.

Written from the members the OpenAPI document 1.1.0 names, with values of our own. Both APIs speak of the same systems:
homes, devices and rows are those of `joinder_enphase`'s simulator.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from typing import ClassVar

from joinder_enphase import simulator_intervals as rows
from joinder_enphase import simulator_now
from joinder_enphase.simulator_intervals import DeviceEndpoint, Endpoint
from joinder_enphase.simulator_now import devices, latest_telemetry
from joinder_enphase.simulator_systems import REACH_S, Asked, Body, SimulatedSystem

GRANULARITY_S = {"15mins": 900, "day": 86400, "week": 7 * 86400}
_PRODUCTS = {"Microinverter": "IQ8+", "Meter": "RGM", "Gateway": "IQ Gateway", "IQ Battery": "IQ Battery 10C"}
_MONITORING_ALONE = ("energy_lifetime", "energy_today", "system_size")


class Refused(Exception):
    """An error answer in the vendor's envelope, or one of the gateway in front of it (`envelope` False)."""

    def __init__(self, status: int, message: str, additional: str | None = None, *, envelope: bool = True) -> None:
        super().__init__(status)
        self.status = status
        told = {"code": str(status), "displayMessage": message, "additionalInfo": additional}
        self.body: Body = {**told, "errorRefNo": secrets.token_hex(8)} if envelope else {"message": message}


@dataclass(frozen=True, kw_only=True)
class SimulatedSite(SimulatedSystem):
    """One home, in the state that its programme must be of."""

    state: str = "CA"


@dataclass(frozen=True, kw_only=True)
class AskedOfSite(Asked):
    """One data request, as Grid Services read and refuse it."""

    products: ClassVar[Mapping[str, tuple[str, str]]] = {what: (name, name) for what, name in _PRODUCTS.items()}
    battery_name: ClassVar[str] = "Encharge"
    soc_digits: ClassVar[int | None] = 1

    system: SimulatedSite

    def length_s(self, step_s: int) -> int:
        if self.granularity not in GRANULARITY_S:
            raise Refused(422, "Granularity value must be one of  'week', 'day', '15mins', '5mins'")
        if self.query.get("interval_duration", f"{step_s // 60}mins") != f"{step_s // 60}mins":
            raise Refused(422, "Interval duration must be one of  '5mins', '15mins'")
        return GRANULARITY_S[self.granularity]

    def check_start(self, start: int) -> None:
        if start < self.now - REACH_S:
            raise Refused(422, "start_at can't be before 2 years of current date")

    def last_day(self, first: date, today: date) -> date:
        return self.day("end_date", today - timedelta(days=1))

    def meta(self) -> Body:
        return {**super().meta(), "last_report_at": self.now}

    def unreadable(self, name: str, text: str | None) -> Exception:
        if name == "start_at":
            return Refused(400, "Type Mismatch", "Cannot cast the parameter to required type int")
        return Refused(400, "Input date is incorrect. Date must be in yyyy-mm-dd format and must be a valid one.")

    def unknown(self, what: str, serial: str) -> Exception:
        return Refused(404, "Not Found", f"{what} not found for {serial}")


def listed(asked: AskedOfSite) -> Body:
    """Returns the site's entry in the list of a programme's systems."""
    entry = {name: value for name, value in simulator_now.system_entry(asked).items() if name not in _MONITORING_ALONE}
    address = {"state": asked.system.state, "country": "US", "postal_code": "94954"}
    return {**entry, "address": address, "last_report_at": asked.now}


def summary(asked: Asked) -> Body:
    return {name: value for name, value in simulator_now.summary(asked).items() if name != "nmi"}


def battery(asked: Asked) -> Body:
    system = asked.system
    if not system.battery_wh:
        none = {"soc": None, "soh": None, "capacity_wh": 0, "last_report_at": None}
        return {**rows.telemetry(asked, lambda at: None), **none}
    soc = system.home.power(asked.reported - 1).soc_percent
    last = {"capacity_wh": round(system.battery_wh), "last_report_at": asked.reported}
    return {**rows.battery_rows(asked), "soc": soc, "soh": 99.1, **last}


def _by_site(endpoint: Endpoint) -> Endpoint:
    """Keys import and export by site_id, without `items`."""

    def body(asked: Asked) -> Body:
        found = endpoint(asked)
        kept = {name: found[name] for name in ("start_at", "end_at", "granularity", "total_devices", "intervals")}
        return {"site_id": asked.system.system_id, **kept}

    return body


def _without_soc(asked: Asked, serial: str) -> Body:
    return {**rows.encharge_telemetry(asked, serial), "last_reported_soc": None}


ENDPOINTS: Mapping[str, Endpoint] = {
    "summary": summary,
    "devices": devices,
    "latest_telemetry": latest_telemetry,
    "telemetry/production_micro": rows.production_micro,
    "telemetry/production_meter": rows.production_meter,
    "telemetry/consumption_meter": rows.consumption_meter,
    "telemetry/battery": battery,
    "telemetry/import": _by_site(rows.grid_import),
    "telemetry/export": _by_site(rows.grid_export),
    "production_lifetime": rows.production_lifetime,
    "consumption_lifetime": rows.consumption_lifetime,
    "battery_lifetime": rows.battery_lifetime,
    "import_lifetime": rows.import_lifetime,
    "export_lifetime": rows.export_lifetime,
}
DEVICE_ENDPOINTS: Mapping[str, DeviceEndpoint] = {"micros": rows.micro_telemetry, "encharges": _without_soc}


def site_answer(asked: AskedOfSite, endpoint: str) -> Body:
    """Answers GET /api/v1/systems/{id}/`endpoint`; raises Refused."""
    found = rows.answer(asked, endpoint, ENDPOINTS, DEVICE_ENDPOINTS)
    if found is None:
        raise Refused(404, "Requested resource Not Found", "Please check your request")
    return found
