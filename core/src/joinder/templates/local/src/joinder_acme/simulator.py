"""A stand-in for an Acme box on 127.0.0.1, which answers for an address in a home's network.

What is made up about Acme is only here: give your vendor's.
"""

from __future__ import annotations

from datetime import UTC
from typing import Any

from litestar import Litestar, Request, get
from litestar.datastructures import State

from joinder.energy import DeviceKind, MeterRole
from joinder.errors import NotSupported
from joinder.simulate import Simulator
from joinder.simulate.clock import SimulatedClock
from joinder.simulate.home import Home
from joinder.simulate.truth import Refusal, TrueDevice, TrueSite

ADDRESS, SERIAL, ANOTHER = "192.168.77.60", "BOX-0001", "BOX-0002"
HOME = Home(seed=7, timezone="Europe/Berlin", charger_w=3700)
TRUTH = TrueSite(
    home=HOME,
    devices=(
        TrueDevice(kind=DeviceKind.INVERTER, serial="INV-1"),
        TrueDevice(kind=DeviceKind.BATTERY, serial="BAT-1", nameplate_wh=HOME.battery_wh),
        TrueDevice(kind=DeviceKind.METER, serial="MTR-1", role=MeterRole.GRID),
        TrueDevice(kind=DeviceKind.CHARGER, serial="CAR-1"),
    ),
)
Incoming = Request[Any, Any, State]
Body = dict[str, Any]


def clock_of(request: Incoming) -> SimulatedClock:
    clock: SimulatedClock = request.app.state.clock
    return clock


@get("/v1/info", sync_to_thread=False)
def info(request: Incoming) -> Body:
    devices = [
        {"serial": device.serial, "kind": str(device.kind), "capacity_wh": device.nameplate_wh}
        for device in TRUTH.devices
    ]
    return {"serial": request.app.state.serial, "name": "Acme home", "timezone": HOME.timezone, "devices": devices}


@get("/v1/totals", sync_to_thread=False)
def totals(request: Incoming) -> Body:
    now = clock_of(request).now()
    total = HOME.lifetime(now.timestamp())
    return {
        "at": now.astimezone(UTC).isoformat(),
        "solar": total.solar_wh,
        "charged": total.charge_wh,
        "discharged": total.discharge_wh,
        "imported": total.import_wh,
        "exported": total.export_wh,
        "car": total.charger_wh,
    }


@get("/v1/power", sync_to_thread=False)
def power(request: Incoming) -> Body:
    now = clock_of(request).now()
    told = HOME.power(now.timestamp())
    return {
        "at": now.astimezone(UTC).isoformat(),
        "solar": told.solar_w,
        "battery": -told.battery_w,
        "grid": -told.grid_w,
        "soc": told.soc_percent,
    }


def simulator(serial: str = SERIAL) -> Simulator:
    """Makes a fresh stand-in for the box."""
    clock = SimulatedClock()
    state = State({"clock": clock, "serial": serial})
    app = Litestar([info, totals, power], openapi_config=None, logging_config=None, state=state)
    return Simulator(
        vendor="acme",
        stands_in_for=(f"{ADDRESS}:80",),
        app=app,
        clock=clock,
        home={serial: TRUTH},
        owner_form={"host": ADDRESS},
        is_device=True,
        has_history=False,
        impostor=lambda: simulator(ANOTHER),  # another box at that address: routers hand addresses on
        refusals=(Refusal(means=NotSupported, status=404, body="no such page"),),
        notes=(f"a box of Acme at {ADDRESS}, for whoever asks through it",),
    )
