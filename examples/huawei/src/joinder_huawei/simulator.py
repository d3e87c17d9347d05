"""A stand-in for FusionSolar's Northbound API on 127.0.0.1: accounts in two regions, sessions, three plants.

Owners, each with an API account: grants (two plants), second (another one, in another region), no-sites. An account has
one session at a time, of half an hour.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from litestar import Litestar, Request, Response, post
from litestar.datastructures import State

from joinder.energy import DeviceKind, MeterRole
from joinder.errors import AuthorizationLost, NotSupported, RateLimited, TransientError
from joinder.series import day_span
from joinder.simulate import Simulator
from joinder.simulate.clock import SimulatedClock
from joinder.simulate.home import Energy, Home
from joinder.simulate.truth import Owner, Refusal, TrueDevice, TrueSite

HOSTS = {"eu5": "eu5.fusionsolar.huawei.com", "sg5": "sg5.fusionsolar.huawei.com"}
SESSION_S, HOUR_S = 1800, 3600
Incoming = Request[Any, Any, State]
Body = dict[str, Any]


@dataclass(frozen=True)
class Plant:
    number: int
    home: Home
    lat: str
    lon: str

    @property
    def code(self) -> str:
        return f"NE={33500000 + self.number}"

    @property
    def truth(self) -> TrueSite:
        devices = (
            TrueDevice(kind=DeviceKind.INVERTER, serial=f"HV2230{self.number}01", share=0.5),
            TrueDevice(kind=DeviceKind.INVERTER, serial=f"HV2230{self.number}02", share=0.5),
            TrueDevice(kind=DeviceKind.BATTERY, serial=f"BT2240{self.number}03"),
            TrueDevice(kind=DeviceKind.METER, role=MeterRole.OTHER),
        )
        return TrueSite(
            home=self.home,
            devices=devices,
            tells_zone=False,
            row_s=HOUR_S,
            live_tells=("solar_w", "soc_percent"),
        )


FIRST = Plant(1, Home(seed=81, timezone="Europe/Madrid"), "40.41", "-3.70")
SECOND = Plant(2, Home(seed=82, timezone="Europe/Athens"), "37.98", "23.73")
THIRD = Plant(3, Home(seed=83, timezone="Asia/Bangkok"), "13.75", "100.50")
OWNERS = {"grants": (FIRST, SECOND), "second": (THIRD,), "no-sites": ()}
ENTERED = {
    "grants": {"region": "eu5", "userName": "api.grants", "systemCode": "S1mulated7Qm2Vb9TzR4kXw"},
    "second": {"region": "sg5", "userName": "api.second", "systemCode": "S1mulated3Lt8Hd5YcN6pJs"},
    "no-sites": {"region": "eu5", "userName": "api.nosites", "systemCode": "S1mulated1Fg4Wr7ZvB9uMa"},
}
TYPES = {DeviceKind.INVERTER: 38, DeviceKind.BATTERY: 39, DeviceKind.METER: 47}


@dataclass
class Cloud:
    clock: SimulatedClock = field(default_factory=SimulatedClock)
    sessions: dict[str, tuple[str, float]] = field(default_factory=dict)  # owner → token, and when it ends

    def opened(self, owner: str) -> str:
        token = "x-" + secrets.token_urlsafe(36)
        self.sessions[owner] = (token, self.clock.time() + SESSION_S)
        return token

    def owner_of(self, token: str) -> str | None:
        now = self.clock.time()
        return next((owner for owner, held in self.sessions.items() if held[0] == token and held[1] >= now), None)


def cloud_of(request: Incoming) -> Cloud:
    cloud: Cloud = request.app.state.cloud
    return cloud


def _told(data: object, *, code: int = 0, params: Body | None = None, **headers: str) -> Response[Body]:
    body = {"success": code == 0, "failCode": code, "params": params, "message": None, "data": data}
    return Response(body, status_code=200, headers=headers)


@post("/thirdData/login")
async def login(request: Incoming) -> Response[Body]:
    asked, host = await request.json(), request.headers.get("host", "")
    for owner, entered in ENTERED.items():
        if host == HOSTS[entered["region"]] and asked == {
            "userName": entered["userName"],
            "systemCode": entered["systemCode"],
        }:
            return _told(None, **{"xsrf-token": cloud_of(request).opened(owner)})
    return _told(None, code=20400)


@post("/thirdData/{call:str}")
async def data(request: Incoming) -> Response[Body]:
    cloud, asked = cloud_of(request), await request.json()
    owner = cloud.owner_of(request.headers.get("xsrf-token", ""))
    if owner is None or request.headers.get("host") != HOSTS[ENTERED[owner]["region"]]:
        return _told(None, code=305)
    now = cloud.clock.now()
    told = _ANSWERS[request.path_params["call"]](OWNERS[owner], asked, now)
    return _told(told, params={"currentTime": int(now.timestamp() * 1000)})


def _stations(plants: tuple[Plant, ...], asked: Body, _: datetime) -> Body:
    """Tells one plant a page."""
    shown = plants[asked["pageNo"] - 1 : asked["pageNo"]]
    entries = [
        {"plantCode": plant.code, "plantName": f"Plant {plant.number}", "latitude": plant.lat, "longitude": plant.lon}
        for plant in shown
    ]
    return {"list": entries, "pageCount": len(plants), "pageNo": asked["pageNo"], "pageSize": 1, "total": len(plants)}


def _by_code(plants: tuple[Plant, ...], asked: Body) -> Plant | None:
    return next((plant for plant in plants if plant.code == asked["stationCodes"]), None)


def _devices(plants: tuple[Plant, ...], asked: Body, _: datetime) -> list[Body]:
    plant = _by_code(plants, asked)
    if plant is None:
        return []
    entries = [
        {
            "id": 1000000033000000 + plant.number * 100 + index,
            "devTypeId": TYPES[device.kind],
            "devName": f"{device.kind}-{index}",
            "esnCode": device.serial,
            "invType": "SUN2000-5KTL-L1" if device.kind is DeviceKind.INVERTER else None,
        }
        for index, device in enumerate(plant.truth.devices)
    ]
    return [*entries, {"id": 1000000033000000 + plant.number * 100 + 99, "devTypeId": 62, "devName": "Dongle-1"}]


def _now(plants: tuple[Plant, ...], asked: Body, now: datetime) -> list[Body]:
    ids = {int(one) for one in asked["devIds"].split(",")}
    found = []
    for plant in plants:
        power = plant.home.power(now.timestamp())
        for entry in _devices((plant,), {"stationCodes": plant.code}, now):
            if entry["id"] in ids and entry["devTypeId"] == asked["devTypeId"] == 38:
                figures: Body = {"mppt_power": power.solar_w / 2 / 1000, "active_power": None, "temperature": "N/A"}
                found.append({"devId": entry["id"], "dataItemMap": figures})
            elif entry["id"] in ids and entry["devTypeId"] == asked["devTypeId"] == 39:
                found.append({"devId": entry["id"], "dataItemMap": {"battery_soc": power.soc_percent}})
    return found


def _hours(plants: tuple[Plant, ...], asked: Body, now: datetime) -> list[Body]:
    """Tells every hour of the day that has begun, the running one as far as it went."""
    plant = _by_code(plants, asked)
    if plant is None:
        return []
    start, end = day_span(datetime.fromtimestamp(asked["collectTime"] / 1000, plant.home.zone).date(), plant.home.zone)
    at, rows = start.timestamp(), []
    while at < min(end.timestamp(), now.timestamp()):
        rows.append(_row(plant, at, min(at + HOUR_S, now.timestamp())))
        at += HOUR_S
    return rows


def _days(plants: tuple[Plant, ...], asked: Body, now: datetime) -> list[Body]:
    """Tells every day of the month that has begun, the running one as far as it went."""
    plant = _by_code(plants, asked)
    if plant is None:
        return []
    zone = plant.home.zone
    day, rows = datetime.fromtimestamp(asked["collectTime"] / 1000, zone).date().replace(day=1), []
    month = day.month
    while day.month == month and day_span(day, zone)[0] < now:
        start, end = day_span(day, zone)
        rows.append(_row(plant, start.timestamp(), min(end, now).timestamp()))
        day += timedelta(days=1)
    return rows


def _row(plant: Plant, start: float, end: float) -> Body:
    energy: Energy = plant.home.energy(start, end)
    items = {
        "PVYield": energy.solar_wh,
        "inverter_power": energy.solar_wh,
        "buyPower": energy.import_wh,
        "ongrid_power": energy.export_wh,
        "chargeCap": energy.charge_wh,
        "dischargeCap": energy.discharge_wh,
        "use_power": energy.load_wh,
    }
    told = {name: round(wh / 1000, 3) for name, wh in items.items()} | {"radiation_intensity": None}
    return {"collectTime": int(start * 1000), "stationCode": plant.code, "dataItemMap": told}


_ANSWERS: dict[str, Callable[[tuple[Plant, ...], Body, datetime], object]] = {
    "stations": _stations,
    "getDevList": _devices,
    "getDevRealKpi": _now,
    "getKpiStationHour": _hours,
    "getKpiStationDay": _days,
}


def _refused(code: int) -> str:
    return f'{{"success": false, "failCode": {code}, "params": null, "message": null, "data": null}}'


def simulator() -> Simulator:
    """Makes a fresh stand-in for the clouds of two regions."""
    cloud = Cloud()
    app = Litestar([login, data], openapi_config=None, logging_config=None, state=State({"cloud": cloud}))
    return Simulator(
        vendor="huawei",
        stands_in_for=tuple(HOSTS.values()),
        app=app,
        clock=cloud.clock,
        home={plant.code: plant.truth for plant in (FIRST, SECOND, THIRD)},
        owner_form=ENTERED["grants"],
        owners={
            name: Owner(answers=ENTERED[name], site_ids=tuple(plant.code for plant in plants))
            for name, plants in OWNERS.items()
        },
        refusals=(
            Refusal(means=TransientError, body=_refused(305)),
            Refusal(means=RateLimited, body=_refused(407)),
            Refusal(means=AuthorizationLost, body=_refused(20003)),
            Refusal(means=NotSupported, body=_refused(401)),
        ),
        notes=("FusionSolar in regions eu5 and sg5; API accounts grants, second, no-sites",),
    )
