"""A stand-in for iSolarCloud's European cloud on 127.0.0.1: consent page, token calls, and three plants.

Owners: grants (two plants), second (another one), no-sites, denies, revokes-later. Its consent page returns no `state`
of its own, as the real one. Of the second plant no sample of 13:15 is kept, local time.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from litestar import Litestar, Request, Response, get, post
from litestar.datastructures import State

from joinder.energy import DeviceKind, MeterRole
from joinder.errors import AuthorizationLost, NotSupported, RateLimited
from joinder.simulate import Simulator
from joinder.simulate.clock import SimulatedClock
from joinder.simulate.home import Home
from joinder.simulate.oauth import TokenRefused, TokenService, back_to, bearer, consent_page
from joinder.simulate.truth import Owner, Refusal, TrueDevice, TrueSite

PAGES, GATEWAY = "web3.isolarcloud.eu", "gateway.isolarcloud.eu"
APP = {
    "vendor": "sungrow",
    "type": "oauth",
    "region": "eu",
    "clientID": "4099",
    "appKey": "5E1M0LATEDAPPKEY3F7A2B91C8D64E05",
    "clientSecret": "s1mulated5ecretKey8Qm2Vb7Xz4Lt9w",
}
ACCESS_LIFE_S, REFRESH_LIFE_S = 2 * 86400, 180 * 86400
STAMP, QUARTER_S = "%Y%m%d%H%M%S", 900
AT_ONCE = timedelta(hours=3)
Incoming = Request[Any, Any, State]
Body = dict[str, Any]


@dataclass(frozen=True)
class Plant:
    id: int
    home: Home
    lat: float
    lon: float
    has_gap: bool = False

    def is_missing(self, start: float) -> bool:
        """Tells whether a quarter hour begins or ends with the sample that is not there."""
        local = datetime.fromtimestamp(start, self.home.zone)
        return self.has_gap and (local.hour, local.minute) in ((13, 0), (13, 15))

    @property
    def truth(self) -> TrueSite:
        devices = (
            TrueDevice(kind=DeviceKind.INVERTER, serial=f"A22{self.id}01"),
            TrueDevice(kind=DeviceKind.BATTERY, serial=f"S23{self.id}02"),
            TrueDevice(kind=DeviceKind.METER, serial=f"M24{self.id}03", role=MeterRole.OTHER),
        )
        return TrueSite(
            home=self.home,
            devices=devices,
            tells_zone=False,
            live_every_s=0,
            live_tells=("solar_w", "load_w", "soc_percent"),
            missing=self.is_missing,
        )


FIRST = Plant(1101, Home(seed=71, timezone="Europe/Berlin"), 48.14, 11.58)
SECOND = Plant(1102, Home(seed=72, timezone="Europe/Lisbon"), 38.72, -9.14, has_gap=True)
THIRD = Plant(1103, Home(seed=73, timezone="Europe/Berlin"), 50.11, 8.68)
OWNERS = {"grants": (FIRST, SECOND), "second": (THIRD,), "no-sites": (), "denies": (), "revokes-later": (FIRST,)}
TYPES = {DeviceKind.INVERTER: 14, DeviceKind.BATTERY: 43, DeviceKind.METER: 7}


class Cloud:
    def __init__(self) -> None:
        self.clock = SimulatedClock()
        self.tokens = TokenService(
            self.clock,
            {APP["appKey"]: APP["clientSecret"]},
            access_life_s=ACCESS_LIFE_S,
            refresh_life_s=REFRESH_LIFE_S,
        )


def cloud_of(request: Incoming) -> Cloud:
    cloud: Cloud = request.app.state.cloud
    return cloud


@get("/", sync_to_thread=False)
def page(request: Incoming) -> Response[str]:
    return consent_page("Simulated iSolarCloud", "/authorize", request.query_params, OWNERS)


@post("/authorize")
async def consent(request: Incoming) -> Response[Any]:
    form = await request.form()
    owner, redirect = str(form.get("owner", "")), str(form.get("redirectUrl", ""))
    if owner == "denies" or owner not in OWNERS or form.get("applicationId") != APP["clientID"]:
        return back_to(redirect, error="access_denied")
    return back_to(redirect, code=cloud_of(request).tokens.new_code(APP["appKey"], owner, redirect))


@post("/openapi/apiManage/{call:str}")
async def token(request: Incoming) -> Response[Body]:
    asked, tokens = await request.json(), cloud_of(request).tokens
    client = str(asked.get("appkey", ""))
    try:
        tokens.check_client(client, request.headers.get("x-access-key", ""))
        if request.path_params["call"] == "token":
            issued = tokens.by_code(client, str(asked.get("code", "")), asked.get("redirect_uri"))
        else:
            issued = tokens.by_refresh(client, str(asked.get("refresh_token", "")))
    except TokenRefused as refused:
        return Response({"error": refused.error}, status_code=refused.status)
    body = {"access_token": issued.access_token, "refresh_token": issued.refresh_token, "token_type": "bearer"}
    return Response({**body, "expires_in": ACCESS_LIFE_S - 1}, status_code=200)


@post("/openapi/platform/{call:str}")
async def platform(request: Incoming) -> Response[Body]:
    cloud, asked = cloud_of(request), await request.json()
    holder = cloud.tokens.holder(bearer(request.headers.get("authorization", "")))
    is_app = asked.get("appkey") == APP["appKey"] and request.headers.get("x-access-key") == APP["clientSecret"]
    if holder is None or not is_app or request.headers.get("host") != GATEWAY:
        return _told(None, code="E00003", said="er_token_login_invalid")
    plants = {str(plant.id): plant for plant in OWNERS[holder.owner]}
    return _told(_ANSWERS[request.path_params["call"]](plants, asked, cloud.clock.now()))


def _told(data: object, *, code: str = "1", said: str = "success") -> Response[Body]:
    body = {"req_serial_num": "2026simulated", "result_code": code, "result_msg": said, "result_data": data}
    return Response(body, status_code=200)


def _list(plants: dict[str, Plant], asked: Body, _: datetime) -> Body:
    """Tells one plant a page, whatever size was asked for."""
    shown = list(plants.values())[asked["page"] - 1 : asked["page"]]
    return {"pageList": [{"ps_id": plant.id} for plant in shown], "rowCount": str(len(plants))}


def _details(plants: dict[str, Plant], asked: Body, _: datetime) -> Body:
    found = [plants[one] for one in asked["ps_ids"].split(",") if one in plants]
    told = [
        {
            "ps_id": plant.id,
            "ps_name": f"Plant {plant.id}",
            "latitude": plant.lat,
            "longitude": plant.lon,
            "ps_current_time_zone": "GMT+1",
        }
        for plant in found
    ]
    return {"data_list": told}


def _devices(plants: dict[str, Plant], asked: Body, _: datetime) -> Body:
    devices = plants[asked["ps_id"]].truth.devices if asked["ps_id"] in plants else ()
    entries = [
        {
            "device_type": TYPES[device.kind],
            "ps_key": f"{asked['ps_id']}_{TYPES[device.kind]}_{number}_1",
            "device_sn": device.serial,
            "device_name": f"Device {number}",
            "device_model_code": "SH8.0RT-V112" if device.kind is DeviceKind.INVERTER else None,
        }
        for number, device in enumerate(devices, 1)
    ]
    logger = {"device_type": 22, "ps_key": f"{asked['ps_id']}_22_247_1", "device_sn": "B2200", "device_name": "WiNet"}
    return {"pageList": [*entries, logger], "rowCount": len(entries) + 1}


def _samples(plants: dict[str, Plant], asked: Body, now: datetime) -> Body:
    start, end = (datetime.strptime(asked[name], STAMP) for name in ("start_time_stamp", "end_time_stamp"))  # noqa: DTZ007
    if end - start > AT_ONCE:
        return {}
    return {one: _of_plant(plants[one], start, end, now) for one in asked["ps_id_list"] if one in plants}


def _of_plant(plant: Plant, start: datetime, end: datetime, now: datetime) -> list[Body]:
    at, last = start.replace(tzinfo=plant.home.zone).timestamp(), end.replace(tzinfo=plant.home.zone).timestamp()
    rows = []
    while at <= min(last, now.timestamp()):
        if not (plant.is_missing(at) and plant.is_missing(at - QUARTER_S)):
            rows.append(_sample(plant, at))
        at += QUARTER_S
    return rows


def _sample(plant: Plant, at: float) -> Body:
    total = plant.home.lifetime(at)
    return {
        "time_stamp": datetime.fromtimestamp(at, plant.home.zone).strftime(STAMP),
        "p83024": f"{total.solar_wh:.1f}",
        "p83105": f"{total.import_wh:.1f}",
        "p83075": f"{total.export_wh:.1f}",
        "p83324": f"{total.charge_wh:.1f}",
        "p83325": f"{total.discharge_wh:.1f}",
        "p83124": f"{total.load_wh:.1f}",
    }


def _now(plants: dict[str, Plant], asked: Body, now: datetime) -> Body:
    told = []
    for plant in (plants[one] for one in asked["ps_id_list"] if one in plants):
        power = plant.home.power(now.timestamp())
        points = {"p83067": power.solar_w, "p83106": power.load_w, "p83252": power.soc_percent / 100}
        told.append({"ps_id": plant.id, **{name: str(value) for name, value in points.items()}})
    return {"device_point_list": told}


_ANSWERS = {
    "queryPowerStationList": _list,
    "getPowerStationDetail": _details,
    "getDeviceListByPsId": _devices,
    "getPowerStationPointMinuteDataList": _samples,
    "getPowerStationRealTimeData": _now,
}


@get("/_state", sync_to_thread=False)
def state(request: Incoming) -> dict[str, int]:
    return cloud_of(request).tokens.counts()


def _refused(code: str) -> str:
    return f'{{"req_serial_num": "2026simulated", "result_code": "{code}", "result_msg": "", "result_data": null}}'


def simulator() -> Simulator:
    """Makes a fresh stand-in for both hosts of the European cloud."""
    cloud = Cloud()
    handlers = [page, consent, token, platform, state]
    app = Litestar(handlers, openapi_config=None, logging_config=None, state=State({"cloud": cloud}))
    return Simulator(
        vendor="sungrow",
        stands_in_for=(PAGES, GATEWAY),
        app=app,
        clock=cloud.clock,
        home={str(plant.id): plant.truth for plant in (FIRST, SECOND, THIRD)},
        app_credentials=APP,
        owner_choice={"owner": "grants"},
        owners={
            name: Owner(answers={"owner": name}, site_ids=tuple(str(plant.id) for plant in plants))
            for name, plants in OWNERS.items()
        },
        refusals=(
            Refusal(means=AuthorizationLost, body=_refused("E00003")),
            Refusal(means=RateLimited, body=_refused("E998")),
            Refusal(means=NotSupported, body=_refused("E994")),
        ),
        conformance_skips={"owner_is_known_again": "iSolarCloud says which plants an owner chose, not who they are"},
        notes=("iSolarCloud's European cloud; owners grants, second, no-sites, denies, revokes-later",),
    )
