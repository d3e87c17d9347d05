"""The Monitoring API's table of data endpoints, and what it says otherwise than Grid Services do."""

from __future__ import annotations

from collections.abc import Mapping

from joinder_enphase import simulator_intervals as rows
from joinder_enphase.simulator_intervals import DeviceEndpoint, Endpoint
from joinder_enphase.simulator_now import devices, latest_telemetry, summary, system_entry
from joinder_enphase.simulator_systems import Asked, Body, Refused, unprocessable


def _with_meta(endpoint: Endpoint) -> Endpoint:
    """Adds the member that the vendor leaves out of production meters, batteries and single devices."""
    return lambda asked: {**endpoint(asked), "meta": asked.meta()}


def _nested(endpoint: Endpoint) -> Endpoint:
    """Lays rows one list deeper and counts no devices, as the vendor's document has them."""

    def body(asked: Asked) -> Body:
        found = endpoint(asked)
        return {**found, "total_devices": 0, "intervals": [found["intervals"]]}

    return _with_meta(body)


def battery(asked: Asked) -> Body:
    if not asked.system.battery_wh:
        raise unprocessable("System doesn't have encharges")
    soc = asked.system.home.power(asked.reported - 1).soc_percent
    return {**rows.battery_rows(asked), "last_reported_aggregate_soc": f"{soc:.0f}%"}


ENDPOINTS: Mapping[str, Endpoint] = {
    "": system_entry,
    "summary": summary,
    "devices": devices,
    "latest_telemetry": latest_telemetry,
    "telemetry/production_micro": _with_meta(rows.production_micro),
    "telemetry/production_meter": rows.production_meter,
    "telemetry/consumption_meter": _with_meta(rows.consumption_meter),
    "telemetry/battery": battery,
    "energy_import_telemetry": _nested(rows.grid_import),
    "energy_export_telemetry": _nested(rows.grid_export),
    "energy_lifetime": rows.production_lifetime,
    "consumption_lifetime": rows.consumption_lifetime,
    "battery_lifetime": rows.battery_lifetime,
    "energy_import_lifetime": rows.import_lifetime,
    "energy_export_lifetime": rows.export_lifetime,
}
DEVICE_ENDPOINTS: Mapping[str, DeviceEndpoint] = {"micros": rows.micro_telemetry, "encharges": rows.encharge_telemetry}


def monitoring_answer(asked: Asked, endpoint: str) -> Body:
    """Answers GET /api/v4/systems/{id}/`endpoint`; raises Refused."""
    found = rows.answer(asked, endpoint, ENDPOINTS, DEVICE_ENDPOINTS)
    if found is None:
        raise Refused(404, "Not Found", "No such resource")
    return found
