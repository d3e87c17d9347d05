"""Interval and daily rows of the simulated Enphase cloud, and the table of its data endpoints.

Rows carry their end and cover quarter hours (five minutes for inverters, which are silent at night); a local day has
92 or 100 quarter hours when the clock changes. Written from the documented members; nothing is copied.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import date, timedelta

from joinder.simulate.home import SLOT_S, Energy
from joinder_enphase.simulator_systems import (
    QUARTER_S,
    Asked,
    Body,
    Refused,
    consumption_wh,
    devices,
    latest_telemetry,
    summary,
    system_entry,
    unprocessable,
)

REACH = timedelta(days=730)
GRANULARITY_S = {"5mins": 300, "15mins": 900, "day": 86400, "week": 7 * 86400}


def telemetry(asked: Asked, row: Callable[[int], Body | None], *, step_s: int = QUARTER_S, total: int = 1) -> Body:
    """The envelope with every row that `row` makes of a slot's start; None is a slot without a row."""
    start = _start_at(asked)
    granularity = asked.query.get("granularity", "day")
    end = min(asked.now, start + GRANULARITY_S.get(granularity, 86400))
    first = -(-start // step_s) * step_s
    rows = (row(at) for at in range(first, min(end, asked.reported) - step_s + 1, step_s))
    return {
        "system_id": asked.system.system_id,
        "granularity": granularity,
        "total_devices": total,
        "start_at": start,
        "end_at": end,
        "items": "intervals",
        "intervals": [found for found in rows if found is not None],
        "meta": _meta(asked),
    }


def _start_at(asked: Asked) -> int:
    system, text = asked.system, asked.query.get("start_at")
    try:
        start = int(text) if text else system.midnight(system.day_of(asked.now))
    except ValueError:
        raise unprocessable(f"Failed to parse date {text}") from None
    if start > asked.now or start < asked.now - REACH.total_seconds():
        raise unprocessable(
            "Invalid request because of 'Requested date range is invalid for this system. "
            f"{{:start_at=>{start}, :first_interval=>{system.operational_at}, :last_interval=>{asked.reported}}}'"
        )
    return max(start, system.operational_at)


def _meta(asked: Asked) -> Body:
    return {
        "status": asked.system.status,
        "last_report_at": asked.reported,
        "last_energy_at": asked.reported,
        "operational_at": asked.system.operational_at,
    }


def _flow(asked: Asked, member: str, read: Callable[[Energy], float], *, total: int = 1) -> Body:
    def row(at: int) -> Body:
        heard = asked.system.reporting("meter", total, at) if total > 1 else 1
        wh = read(asked.system.quarter(at)) * heard / total
        return {"end_at": at + QUARTER_S, "devices_reporting": heard, member: round(wh)}

    return telemetry(asked, row, total=total)


def _grid(asked: Asked, member: str, read: Callable[[Energy], float]) -> Body:
    """Rows lie one list deeper and count no devices, as the vendor's document has them."""
    body = _flow(asked, member, read)
    rows = [{name: value for name, value in row.items() if name != "devices_reporting"} for row in body["intervals"]]
    return {**body, "total_devices": 0, "intervals": [rows]}


def production_meter(asked: Asked) -> Body:
    body = _flow(asked, "wh_del", lambda energy: energy.solar_wh, total=asked.system.production_meters)
    del body["meta"]  # the vendor leaves it out here
    return body


def consumption_meter(asked: Asked) -> Body:
    return _flow(asked, "enwh", lambda energy: consumption_wh(asked.system, energy))


def energy_import(asked: Asked) -> Body:
    return _grid(asked, "wh_imported", lambda energy: energy.import_wh)


def energy_export(asked: Asked) -> Body:
    return _grid(asked, "wh_exported", lambda energy: energy.export_wh)


def production_micro(asked: Asked, *, count: int = 0) -> Body:
    """Of all inverters, or of `count` of them."""
    micros, count = asked.system.micros, count or asked.system.micros

    def row(at: int) -> Body | None:
        heard = asked.system.reporting("micros", count, at) if count > 1 else 1
        watts = asked.system.home.power(at).solar_w * heard / micros
        if not watts:
            return None
        wh = round(watts * SLOT_S / 3600)
        return {"end_at": at + SLOT_S, "devices_reporting": heard, "powr": wh * 12, "enwh": wh}

    return telemetry(asked, row, step_s=SLOT_S, total=count)


def micro_telemetry(asked: Asked, serial: str) -> Body:
    if serial not in asked.system.micro_serials:
        raise Refused(404, "Not Found", f'Micro not found for {{:id=>"{serial}"}}')
    body = production_micro(asked, count=1)
    del body["meta"]
    return {**body, "serial_number": serial}


def battery(asked: Asked) -> Body:
    body = _battery_rows(asked, len(asked.system.encharge_serials))
    soc = asked.system.home.power(asked.reported - 1).soc_percent
    return {**body, "last_reported_aggregate_soc": f"{soc:.0f}%"}


def encharge_telemetry(asked: Asked, serial: str) -> Body:
    if serial not in asked.system.encharge_serials:
        raise Refused(404, "Not Found", f'Encharge not found for {{:id=>"{serial}"}}')
    soc = asked.system.home.power(asked.reported - 1).soc_percent
    last = {"last_reported_time": asked.reported, "last_reported_soc": f"{soc:.0f}%"}
    return {**_battery_rows(asked, 1), "serial_number": serial, **last}


def _battery_rows(asked: Asked, count: int) -> Body:
    """Of all batteries, or of one."""
    if not asked.system.battery_wh:
        raise unprocessable("System doesn't have encharges")

    def row(at: int) -> Body:
        energy, heard = asked.system.quarter(at), asked.system.reporting("battery", count, at) if count > 1 else 1
        share = heard / len(asked.system.encharge_serials)
        return {
            "end_at": at + QUARTER_S,
            "charge": {"enwh": round(energy.charge_wh * share), "devices_reporting": heard},
            "discharge": {"enwh": round(energy.discharge_wh * share), "devices_reporting": heard},
            "soc": {"percent": round(energy.soc_percent), "devices_reporting": heard},
        }

    body = telemetry(asked, row, total=count)
    del body["meta"]
    return body


def lifetime(asked: Asked, **columns: Callable[[Energy], float]) -> Body:
    """One value per local day from start_date to end_date, zero for days that have not been reported."""
    system = asked.system
    today = system.day_of(asked.now)
    first = _date(asked, "start_date", system.installed)
    last = _date(asked, "end_date", today if first == today else today - timedelta(days=1))
    if first > today:
        raise unprocessable("Requested date is in the future")
    first = max(first, system.installed)
    days = [first + timedelta(days=index) for index in range(max(0, (min(last, today) - first).days + 1))]
    values = {name: [_of_day(asked, day, read) for day in days] for name, read in columns.items()}
    return {"system_id": system.system_id, "start_date": first.isoformat(), **values, "meta": _meta(asked)}


def _of_day(asked: Asked, day: date, read: Callable[[Energy], float]) -> int:
    """Difference of the lifetime counters at both midnights, as far as reported."""
    midnights = (asked.system.midnight(day + timedelta(days=more)) for more in (0, 1))
    first, last = (read(asked.system.lifetime(min(midnight, asked.reported))) for midnight in midnights)
    return round(last - first)


def _date(asked: Asked, name: str, default: date) -> date:
    text = asked.query.get(name)
    try:
        return date.fromisoformat(text) if text else default
    except ValueError:
        raise unprocessable(f"Failed to parse date {text}") from None


ENDPOINTS: Mapping[str, Callable[[Asked], Body]] = {
    "": system_entry,
    "summary": summary,
    "devices": devices,
    "latest_telemetry": latest_telemetry,
    "telemetry/production_micro": production_micro,
    "telemetry/production_meter": production_meter,
    "telemetry/consumption_meter": consumption_meter,
    "telemetry/battery": battery,
    "energy_import_telemetry": energy_import,
    "energy_export_telemetry": energy_export,
    "energy_lifetime": lambda asked: lifetime(asked, production=lambda energy: energy.solar_wh),
    "consumption_lifetime": lambda asked: lifetime(
        asked, consumption=lambda energy: consumption_wh(asked.system, energy)
    ),
    "battery_lifetime": lambda asked: lifetime(
        asked, charge=lambda energy: energy.charge_wh, discharge=lambda energy: energy.discharge_wh
    ),
    "energy_import_lifetime": lambda asked: lifetime(asked, **{"import": lambda energy: energy.import_wh}),
    "energy_export_lifetime": lambda asked: lifetime(asked, export=lambda energy: energy.export_wh),
}
DEVICE_ENDPOINTS: Mapping[str, Callable[[Asked, str], Body]] = {
    "micros": micro_telemetry,
    "encharges": encharge_telemetry,
}
