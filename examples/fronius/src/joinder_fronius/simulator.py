"""A stand-in for a Fronius hybrid inverter with a smart meter and a battery, at an address in a home's network."""

from __future__ import annotations

from datetime import UTC
from typing import Any

from litestar import Litestar, Request, get
from litestar.datastructures import State

from joinder.energy import DeviceKind, MeterRole
from joinder.errors import NotSupported, TransientError
from joinder.simulate import Simulator
from joinder.simulate.clock import SimulatedClock
from joinder.simulate.home import Home
from joinder.simulate.truth import Refusal, TrueDevice, TrueSite

ADDRESS, INVERTER, METER, BATTERY = "192.168.77.61", "29301000987160033", "16420055", "26261713"
ANOTHER = "29301000987160099"  # inverter
HOME = Home(seed=61, timezone="Europe/Vienna")
TRUTH = TrueSite(
    home=HOME,
    devices=(
        TrueDevice(kind=DeviceKind.INVERTER, serial=INVERTER),
        TrueDevice(kind=DeviceKind.BATTERY, serial=BATTERY, nameplate_wh=HOME.battery_wh),
        TrueDevice(kind=DeviceKind.METER, serial=METER, role=MeterRole.GRID),
    ),
)
Incoming = Request[Any, Any, State]


def clock_of(request: Incoming) -> SimulatedClock:
    clock: SimulatedClock = request.app.state.clock
    return clock


def _answer(request: Incoming, data: Any) -> dict[str, Any]:
    at = clock_of(request).now().astimezone(HOME.zone)
    status = {"Code": 0, "Reason": "", "UserMessage": ""}
    return {"Body": {"Data": data}, "Head": {"Status": status, "Timestamp": at.isoformat(), "RequestArguments": {}}}


@get("/solar_api/v1/GetInverterInfo.cgi", sync_to_thread=False)
def inverters(request: Incoming) -> dict[str, Any]:
    entry = {"CustomName": "Gen24", "DT": 1, "PVPower": 0, "StatusCode": 7, "UniqueID": request.app.state.inverter}
    return _answer(request, {"1": entry})


@get("/solar_api/v1/GetMeterRealtimeData.cgi", sync_to_thread=False)
def meters(request: Incoming) -> dict[str, Any]:
    total = HOME.lifetime(clock_of(request).now().timestamp())
    details = {"Manufacturer": "Fronius", "Model": "Smart Meter TS 65A-3", "Serial": METER}
    entry = {
        "Details": details,
        "Meter_Location_Current": 0,
        "EnergyReal_WAC_Sum_Consumed": total.import_wh,
        "EnergyReal_WAC_Sum_Produced": total.export_wh,
    }
    return _answer(request, {"0": entry})


@get("/solar_api/v1/GetStorageRealtimeData.cgi", sync_to_thread=False)
def stores(request: Incoming) -> dict[str, Any]:
    power = HOME.power(clock_of(request).now().timestamp())
    details = {"Manufacturer": "BYD", "Model": "BYD Battery-Box Premium HV", "Serial": BATTERY}
    controller = {"Details": details, "DesignedCapacity": HOME.battery_wh, "StateOfCharge_Relative": power.soc_percent}
    return _answer(request, {"0": {"Controller": controller, "Modules": []}})


@get("/solar_api/v1/GetPowerFlowRealtimeData.fcgi", sync_to_thread=False)
def power_flow(request: Incoming) -> dict[str, Any]:
    at = clock_of(request).now().astimezone(UTC).timestamp()
    power, total = HOME.power(at), HOME.lifetime(at)
    site = {
        "P_PV": power.solar_w or None,
        "P_Akku": power.battery_w,
        "P_Grid": power.grid_w,
        "P_Load": -power.load_w,
        "E_Day": None,
        "E_Total": total.solar_wh,
        "Mode": "bidirectional",
    }
    inverter = {"DT": 1, "P": power.solar_w + power.battery_w, "SOC": power.soc_percent, "E_Total": total.solar_wh}
    return _answer(request, {"Site": site, "Inverters": {"1": inverter}, "Version": "12"})


def _status(code: int) -> str:
    head = (
        f'{{"Status": {{"Code": {code}, "Reason": "", "UserMessage": ""}}, "Timestamp": "2026-10-28T12:00:00+01:00"}}'
    )
    return f'{{"Body": {{"Data": {{}}}}, "Head": {head}}}'


def simulator(inverter: str = INVERTER) -> Simulator:
    """Makes a fresh stand-in for the inverter."""
    clock = SimulatedClock()
    handlers = [inverters, meters, stores, power_flow]
    state = State({"clock": clock, "inverter": inverter})
    app = Litestar(handlers, openapi_config=None, logging_config=None, state=state)
    return Simulator(
        vendor="fronius",
        stands_in_for=(f"{ADDRESS}:80",),
        app=app,
        clock=clock,
        home={f"fronius:{inverter}": TRUTH},
        owner_form={"host": ADDRESS, "timezone": HOME.timezone},
        is_device=True,
        has_history=False,
        impostor=lambda: simulator(ANOTHER),
        refusals=(
            Refusal(means=NotSupported, body=_status(8)),
            Refusal(means=TransientError, body=_status(10)),
        ),
        notes=(f"a Fronius inverter at {ADDRESS}, for whoever asks through it",),
    )
