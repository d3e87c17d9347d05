"""Interval and daily rows of the simulated Enphase clouds, as both of the maker's APIs tell them.

Rows carry their end and cover quarter hours (five minutes for inverters, which are silent at night); a local day has
92 or 100 quarter hours when the clock changes. Written from the documented members; nothing is copied.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import date, timedelta
from functools import partial

from joinder.simulate.home import SLOT_S, Energy
from joinder_enphase.simulator_now import consumption_wh
from joinder_enphase.simulator_systems import QUARTER_S, Asked, Body

Endpoint = Callable[[Asked], Body]
DeviceEndpoint = Callable[[Asked, str], Body]


def telemetry(asked: Asked, row: Callable[[int], Body | None], *, step_s: int = QUARTER_S, total: int = 1) -> Body:
    """Returns the envelope with every row that `row` makes of a slot's start; None is a slot without a row."""
    start = asked.start_at()
    end = min(asked.now, start + asked.length_s(step_s))
    first = -(-start // step_s) * step_s
    rows = (row(at) for at in range(first, min(end, asked.reported) - step_s + 1, step_s))
    return {
        "system_id": asked.system.system_id,
        "granularity": asked.granularity,
        "total_devices": total,
        "start_at": start,
        "end_at": end,
        "items": "intervals",
        "intervals": [found for found in rows if found is not None],
    }


def _flow(asked: Asked, member: str, read: Callable[[Energy], float], *, total: int = 1) -> Body:
    def row(at: int) -> Body:
        heard = asked.system.reporting("meter", total, at) if total > 1 else 1
        wh = read(asked.system.quarter(at)) * heard / total
        return {"end_at": at + QUARTER_S, "devices_reporting": heard, member: round(wh)}

    return telemetry(asked, row, total=total)


def production_meter(asked: Asked) -> Body:
    return _flow(asked, "wh_del", lambda energy: energy.solar_wh, total=asked.system.production_meters)


def consumption_meter(asked: Asked) -> Body:
    return _flow(asked, "enwh", partial(consumption_wh, asked.system))


def grid(asked: Asked, member: str, read: Callable[[Energy], float]) -> Body:
    """Returns rows that count no devices; each API puts them into an envelope of its own."""
    body = _flow(asked, member, read)
    rows = [{name: value for name, value in row.items() if name != "devices_reporting"} for row in body["intervals"]]
    return {**body, "intervals": rows}


def grid_import(asked: Asked) -> Body:
    return grid(asked, "wh_imported", lambda energy: energy.import_wh)


def grid_export(asked: Asked) -> Body:
    return grid(asked, "wh_exported", lambda energy: energy.export_wh)


def production_micro(asked: Asked, *, count: int = 0) -> Body:
    """Returns rows of all inverters, or of `count` of them."""
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
        raise asked.unknown("Micro", serial)
    return {**production_micro(asked, count=1), "serial_number": serial}


def encharge_telemetry(asked: Asked, serial: str) -> Body:
    if serial not in asked.system.encharge_serials:
        raise asked.unknown("Encharge", serial)
    soc = asked.system.home.power(asked.reported - 1).soc_percent
    last = {"last_reported_time": asked.reported, "last_reported_soc": f"{soc:.0f}%"}
    return {**battery_rows(asked, 1), "serial_number": serial, **last}


def battery_rows(asked: Asked, count: int = 0) -> Body:
    """Returns rows of all batteries, or of one."""
    count = count or len(asked.system.encharge_serials)

    def row(at: int) -> Body:
        energy, heard = asked.system.quarter(at), asked.system.reporting("battery", count, at) if count > 1 else 1
        share = heard / len(asked.system.encharge_serials)
        return {
            "end_at": at + QUARTER_S,
            "charge": {"enwh": round(energy.charge_wh * share), "devices_reporting": heard},
            "discharge": {"enwh": round(energy.discharge_wh * share), "devices_reporting": heard},
            "soc": {"percent": round(energy.soc_percent, asked.soc_digits), "devices_reporting": heard},
        }

    return telemetry(asked, row, total=count)


def _lifetime(asked: Asked, columns: Mapping[str, Callable[[Energy], float]]) -> Body:
    """Returns one value per local day from start_date to end_date, zero for days that have not been reported."""
    system = asked.system
    today = system.day_of(asked.now)
    first = asked.day("start_date", system.installed)
    last = min(asked.last_day(first, today), today)
    first = max(first, system.installed)
    days = [first + timedelta(days=index) for index in range(max(0, (last - first).days + 1))]
    values = {name: [_of_day(asked, day, read) for day in days] for name, read in columns.items()}
    return {"system_id": system.system_id, "start_date": first.isoformat(), **values, "meta": asked.meta()}


def _of_day(asked: Asked, day: date, read: Callable[[Energy], float]) -> int:
    """Returns the difference of the lifetime counters at both midnights, as far as reported."""
    midnights = (asked.system.midnight(day + timedelta(days=more)) for more in (0, 1))
    first, last = (read(asked.system.lifetime(min(midnight, asked.reported))) for midnight in midnights)
    return round(last - first)


def production_lifetime(asked: Asked) -> Body:
    return _lifetime(asked, {"production": lambda energy: energy.solar_wh})


def consumption_lifetime(asked: Asked) -> Body:
    return _lifetime(asked, {"consumption": partial(consumption_wh, asked.system)})


def battery_lifetime(asked: Asked) -> Body:
    return _lifetime(
        asked, {"charge": lambda energy: energy.charge_wh, "discharge": lambda energy: energy.discharge_wh}
    )


def import_lifetime(asked: Asked) -> Body:
    return _lifetime(asked, {"import": lambda energy: energy.import_wh})


def export_lifetime(asked: Asked) -> Body:
    return _lifetime(asked, {"export": lambda energy: energy.export_wh})


def answer(
    asked: Asked, endpoint: str, system: Mapping[str, Endpoint], device: Mapping[str, DeviceEndpoint]
) -> Body | None:
    """Answers with the endpoint of the system, or of a device: `devices/micros/{serial}/telemetry`; None: no such."""
    parts = endpoint.split("/")
    if len(parts) == 4 and parts[0] == "devices" and parts[3] == "telemetry" and parts[1] in device:
        return device[parts[1]](asked, parts[2])
    return system[endpoint](asked) if endpoint in system else None
