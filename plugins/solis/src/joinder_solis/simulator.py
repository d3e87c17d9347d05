"""A stand-in for www.soliscloud.com:13333: signed calls, string codes, units that switch with size.

Keys instead of scenario owners: GRANTS (one home with battery and meter), TWO (a home, and a plant of an older firmware
without summer time), MANY (101 plants, two pages), EMPTY (no plant), ODD (a plant for each oddity: an alarm, an offset
without a zone's name, an inverter that falls silent, exports nothing explains, units that change by answer).
`Cloud(strict=False)` skips the check of the body's MD5, as the vendor seems to; `Cloud(per_second=2)` limits calls as
documented; `outage=True` answers code 1; `quota=n` answers R0000 beyond n calls.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta, timezone
from email.utils import parsedate_to_datetime
from typing import Any
from zoneinfo import ZoneInfo

from litestar import Litestar, Request, Response, get, post
from litestar.datastructures import State

from joinder.energy import DeviceKind, MeterRole
from joinder.errors import AuthorizationLost, RateLimited, TransientError
from joinder.series import day_span
from joinder.simulate import Simulator
from joinder.simulate.clock import SimulatedClock
from joinder.simulate.home import Home
from joinder.simulate.truth import Owner, Refusal, TrueDevice, TrueSite

HOST = "www.soliscloud.com:13333"
GRANTS = {"keyID": "1300000000000000001", "keySecret": "simulated0grants0secret000000001"}
TWO = {"keyID": "1300000000000000002", "keySecret": "simulated0two0secret000000000002"}
EMPTY = {"keyID": "1300000000000000003", "keySecret": "simulated0empty0secret0000000003"}
MANY = {"keyID": "1300000000000000005", "keySecret": "simulated0many0secret00000000005"}
ODD = {"keyID": "1300000000000000004", "keySecret": "simulated0odd0secret000000000004"}
STEP_S = 300
SECOND_SHARE = 0.4
SILENT_FROM_H = 10
SKEW_MOST = timedelta(minutes=15)
Body = dict[str, Any]
Incoming = Request[Any, Any, State]


@dataclass(frozen=True)
class Plant:
    """`unsigned_battery`: older firmware, whose batteryPower has no sign. `online`: the count it is told with."""

    id: str
    name: str
    serial: str
    home: Home
    unsigned_battery: bool = False
    online: int = 1
    has_alarm: bool = False
    names_zone: bool = True
    second: str = ""  # an inverter that makes SECOND_SHARE of the sun, and is silent from SILENT_FROM_H to midnight
    unseen_w: float = 0.0  # exported by what no other member shows
    changes_units: bool = False

    @property
    def zone(self) -> ZoneInfo:
        return self.home.zone

    @property
    def has_battery(self) -> bool:
        return self.home.battery_wh > 0

    @property
    def truth(self) -> TrueSite:
        """Lists inverters alone, as SolisCloud does: the battery and the meter behind one have no serial."""
        meter = TrueDevice(kind=DeviceKind.METER, role=MeterRole.GRID)
        battery = (TrueDevice(kind=DeviceKind.BATTERY),) if self.has_battery else ()
        inverter = TrueDevice(kind=DeviceKind.INVERTER, serial=self.serial)
        return TrueSite(home=self.home, devices=(inverter, meter, *battery), live_every_s=STEP_S)

    def silent_since(self, at: float) -> datetime | None:
        """Returns since when the second inverter is silent, or None."""
        local = datetime.fromtimestamp(at, self.zone)
        return (
            local.replace(hour=SILENT_FROM_H, minute=0, second=0)
            if self.second and local.hour >= SILENT_FROM_H
            else None
        )

    def share(self, at: float, serial: str = "") -> float:
        """Returns the share of the sun that is told at `at` for the plant or one inverter."""
        second = SECOND_SHARE if self.second else 0.0
        if serial:
            return second if serial == self.second else 1 - second
        return 1 - second if self.silent_since(at) else 1.0


HOME = Plant("1298491919450000001", "Solis home", "1801040000000001", Home(seed=51, timezone="Europe/Amsterdam"))
OLDER = Plant(
    "1298491919450000002", "Solis cabin", "1801040000000002", Home(seed=52, timezone="Australia/Brisbane"), True, 0
)  # 0 inverters online beside state 1 and power: recorded in hultenvp/soliscloud_api
ALARMED = Plant(
    "1298491919450000003", "Solis alarm", "1801040000000003", Home(seed=53, timezone="Europe/Rome"), has_alarm=True
)
NAMELESS = Plant(
    "1298491919450000004", "Solis offset", "1801040000000004", Home(seed=54, timezone="Asia/Dubai"), names_zone=False
)
PAIR = Plant(
    "1298491919450000005",
    "Solis pair",
    "1801040000000005",
    Home(seed=55, timezone="Europe/Madrid", battery_wh=0),
    second="1801040000000015",
)
UNSEEN = Plant(
    "1298491919450000006", "Solis unseen", "1801040000000006", Home(seed=56, timezone="Europe/Rome"), unseen_w=5000.0
)
CHANGING = Plant(
    "1298491919450000007", "Solis units", "1801040000000007", Home(seed=57, timezone="Europe/Rome"), changes_units=True
)
ODDITIES = (ALARMED, NAMELESS, PAIR, UNSEEN, CHANGING)
FLEET = (HOME, OLDER, *(replace(HOME, id=f"12984919194600{n:05}", serial=f"18010400001{n:05}") for n in range(99)))
PLANTS = {
    GRANTS["keyID"]: (HOME,),
    TWO["keyID"]: (HOME, OLDER),
    MANY["keyID"]: FLEET,
    EMPTY["keyID"]: (),
    ODD["keyID"]: ODDITIES,
}
SECRETS = {key["keyID"]: key["keySecret"] for key in (GRANTS, TWO, MANY, EMPTY, ODD)}
UNITS = (("k", 1e3, "1"), ("", 1.0, "1"), ("M", 1e6, "1"), ("k", 1.0, "0.001"))  # prefix, divisor, Pec


class Refused(Exception):
    """`body` None: a bare status."""

    def __init__(self, status: int, code: str = "", message: str = "") -> None:
        super().__init__(code)
        self.status = status
        self.body = {"success": True, "code": code, "msg": message, "data": None} if code else None


class Cloud:
    def __init__(
        self, *, strict: bool = True, per_second: int | None = None, quota: int | None = None, outage: bool = False
    ) -> None:
        self.clock = SimulatedClock()
        self.strict, self.per_second, self.quota, self.outage = strict, per_second, quota, outage
        self.calls: Counter[str] = Counter()
        self._in_second: Counter[tuple[str, int]] = Counter()

    def answer(self, path: str, body: bytes, headers: Mapping[str, str]) -> Any:
        """Returns `data` of POST /v1/api/`path`. Raises Refused."""
        self.calls[path] += 1
        plants = PLANTS[self._key(path, body, headers)]
        self._limit(path)
        asked = json.loads(body)
        if path not in ENDPOINTS:
            raise Refused(404)
        return ENDPOINTS[path](self.clock.now(), plants, asked)

    def _key(self, path: str, body: bytes, headers: Mapping[str, str]) -> str:
        sent, key_id = headers.get("date", ""), headers.get("authorization", "").removeprefix("API ").partition(":")[0]
        signature = headers.get("authorization", "").partition(":")[2]
        if abs(self.clock.now() - _date(sent)) > SKEW_MOST:
            raise Refused(408)
        md5 = base64.b64encode(hashlib.md5(body, usedforsecurity=False).digest()).decode()
        if self.strict and headers.get("content-md5") != md5:
            raise Refused(403)
        told = f"POST\n{headers.get('content-md5')}\napplication/json\n{sent}\n/v1/api/{path}"
        expected = hmac.new(SECRETS.get(key_id, "").encode(), told.encode(), hashlib.sha1).digest()
        if key_id not in SECRETS or signature != base64.b64encode(expected).decode():
            raise Refused(403)  # what a wrong signature is answered is not documented
        return key_id

    def _limit(self, path: str) -> None:
        if self.outage:
            raise Refused(200, "1", "数据异常 请联系管理员")
        if self.quota is not None and sum(self.calls.values()) > self.quota:
            raise Refused(200, "R0000", f"No authority too many request {self.quota} times in 1DAYS")
        second = (path, int(self.clock.time()))
        self._in_second[second] += 1
        if self.per_second is not None and self._in_second[second] > self.per_second:
            raise Refused(429)


def _date(text: str) -> datetime:
    try:
        return parsedate_to_datetime(text)
    except ValueError:
        return datetime.min.replace(tzinfo=UTC)


def _page(records: list[Body], asked: Body) -> Body:
    number, size = int(asked.get("pageNo", 1)), min(100, int(asked.get("pageSize", 20)))
    shown = records[(number - 1) * size : number * size]
    pages = -(-len(records) // size)
    return {"page": {"records": shown, "total": len(records), "size": size, "current": number, "pages": pages}}


def _stations(now: datetime, plants: tuple[Plant, ...], asked: Body) -> Body:
    return _page([_station(now, plants, {"id": plant.id}) for plant in plants], asked)


def _plant(plants: tuple[Plant, ...], asked: Body) -> Plant | None:
    wanted = {asked.get("id"), asked.get("stationId"), asked.get("sn")}
    return next((plant for plant in plants if wanted & {plant.id, plant.serial, plant.second or plant.id}), None)


def _station(now: datetime, plants: tuple[Plant, ...], asked: Body) -> Body:
    plant = _plant(plants, asked)
    if plant is None:  # success, no id, and zeros everywhere
        return {"fullHour": 0.0, "power": 0, "powerStr": "kW", "powerPec": "1", "psum": 0, "psumStr": "kW"}
    power = plant.home.power(now.timestamp())
    summer = int((now.astimezone(plant.zone).dst() or timedelta(0)).total_seconds() * 1000)
    offset_h = _offset_h(plant, now)
    offset = f"(UTC{offset_h:+03.0f}:00)"
    named = {"timeZoneName": f"{offset}{plant.home.timezone}", "timeZoneStandardId": plant.home.timezone}
    return {
        "id": plant.id,
        "stationName": plant.name,
        "dataTimestamp": str(int(now.timestamp()) // STEP_S * STEP_S * 1000),
        "timeZone": offset_h,
        **(named if plant.names_zone else {"timeZoneName": f"{offset} "}),
        "daylight": summer,
        "daylightSwitch": 0 if plant in (OLDER, NAMELESS) else 1,
        "state": 3 if plant.has_alarm else 1,
        "alarmCount": 1 if plant.has_alarm else 0,
        "stationTypeNew": 1 if plant.has_battery else 0,
        "capacity": 6.0,
        "capacityStr": "kWp",
        "inverterCount": 2 if plant.second else 1,
        "inverterOnlineCount": 2 if plant.second and not plant.silent_since(now.timestamp()) else plant.online,
        **_sized("power", power.solar_w * plant.share(now.timestamp()), "W", _unit_of(plant, now.timestamp())),
        **_sized("psum", plant.unseen_w - power.grid_w, "W", _unit_of(plant, now.timestamp())),
        **_battery(plant, power.battery_w, own_unit=_unit_of(plant, now.timestamp())),
        "batteryPercent": power.soc_percent,
    }


def _unit_of(plant: Plant, at: float) -> int:
    """Tells which of UNITS a plant that changes them uses at `at`; -1: by size."""
    return int(at // STEP_S) % len(UNITS) if plant.changes_units else -1


def _sized(name: str, value: float, unit: str, use: int = -1) -> Body:
    """Tells it in kilo below a million, in mega beyond, as the vendor switches; or in one of UNITS."""
    large = abs(value) >= 1e6
    prefix, divisor, pec = UNITS[use] if use >= 0 else ("M", 1e6, "1") if large else UNITS[0]
    return {name: round(value / divisor, 9), f"{name}Str": f"{prefix}{unit}", f"{name}Pec": pec}


def _battery(plant: Plant, discharging_w: float, *, own_unit: int | None) -> Body:
    """Signs it + charging; older firmware leaves the sign to the halves."""
    charging_w = abs(discharging_w) if plant.unsigned_battery else -discharging_w
    halves = {"batteryPowerZheng": max(0.0, -discharging_w), "batteryPowerFu": max(0.0, discharging_w)}
    if own_unit is None:
        return {"batteryPower": charging_w, **halves}
    return {**_sized("batteryPower", charging_w, "W", own_unit), **halves}


def _offset_h(plant: Plant, at: datetime) -> float:
    local = at.astimezone(plant.zone)
    standard = (local.utcoffset() or timedelta(0)) - (local.dst() or timedelta(0))
    return standard.total_seconds() / 3600


def _inverters(now: datetime, plants: tuple[Plant, ...], asked: Body) -> Body:
    plant = _plant(plants, asked)
    serials = [serial for serial in (plant.serial, plant.second) if serial] if plant else []
    return _page([_inverter(now, plant, serial) for serial in serials if plant], asked)


def _inverter(now: datetime, plant: Plant, serial: str) -> Body:
    """Describes one; a silent one keeps its last numbers."""
    silent = plant.silent_since(now.timestamp()) if serial == plant.second else None
    at = (silent or now).timestamp()
    power, lifetime, share = plant.home.power(at), plant.home.lifetime(at), plant.share(at, serial)
    return {
        "id": f"{plant.id}{serial[-2:]}",
        "sn": serial,
        "stationId": plant.id,
        "productModel": "S6-EH1P",
        "state": 2 if silent else 3 if plant.has_alarm else 1,
        "stateExceptionFlag": 1 if silent else 0,
        "type": 2 if plant.has_battery else 1,
        "inverterMeterModel": 5 if serial == plant.serial else 1,
        "power": 6.0,
        "powerStr": "kW",
        **_sized("pac", power.solar_w * share, "W", _unit_of(plant, at)),
        "pac1": 0,
        **_sized("etotal", lifetime.solar_wh * share, "Wh"),
        "etotal1": round(lifetime.solar_wh * share / 1000, 3),
        **_battery(plant, power.battery_w, own_unit=_unit_of(plant, at)),
        "batteryCapacitySoc": power.soc_percent,
        "dataTimestamp": str(int(at) // STEP_S * STEP_S * 1000),
    }


def _epms(now: datetime, plants: tuple[Plant, ...], asked: Body) -> Body:
    return _page([], asked)


def _day_rows(now: datetime, plants: tuple[Plant, ...], asked: Body) -> list[Body]:
    """Rows of the day as the asked fixed offset cuts it, whatever the plant's summer time."""
    plant = _plant(plants, asked)
    if plant is None:
        return []
    midnight = datetime.combine(
        date.fromisoformat(asked["time"]), datetime.min.time(), timezone(timedelta(hours=float(asked["timeZone"])))
    )
    first, last = int(midnight.timestamp()), min(int(midnight.timestamp()) + 86400, int(now.timestamp()))
    return [_row(plant, at, asked) for at in range(first, last, STEP_S)]


def _row(plant: Plant, at: int, asked: Body) -> Body:
    power = plant.home.power(at)
    name, psum = ("pac", "pSum") if "sn" in asked else ("power", "psum")
    solar_w = power.solar_w * plant.share(at, asked.get("sn", ""))
    unit = _unit_of(plant, at)
    told = {name: solar_w, f"{name}Str": "kW", f"{name}Pec": "0.001"}
    stamp = {"dataTimestamp": str(at * 1000)} if "sn" in asked else {"time": at * 1000}
    return {
        **stamp,
        **(told if unit < 0 else _sized(name, solar_w, "W", unit)),
        psum: plant.unseen_w - power.grid_w,
        "familyLoadPower": power.load_w,
        **_battery(plant, power.battery_w, own_unit=None if unit < 0 else unit),
        **({"batteryCapacitySoc": power.soc_percent} if "sn" in asked else {}),
    }


def _month_rows(now: datetime, plants: tuple[Plant, ...], asked: Body) -> list[Body]:
    plant = _plant(plants, asked)
    day = date.fromisoformat(f"{asked['month']}-01")
    rows = []
    while plant and day.strftime("%Y-%m") == asked["month"] and day_span(day, plant.zone)[0] < now:
        start, end = day_span(day, plant.zone)
        rows.append(_day_row(plant, day, start, min(end, now)))
        day += timedelta(days=1)
    return rows


def _day_row(plant: Plant, day: date, start: datetime, end: datetime) -> Body:
    energy = plant.home.energy(start.timestamp(), end.timestamp())
    hours = (end - start).total_seconds() / 3600
    noon_in_china = datetime.combine(day, datetime.min.time(), UTC) + timedelta(hours=4)
    return {
        "date": int(noon_in_china.timestamp() * 1000),
        "dateStr": day.isoformat(),
        "energy": round(energy.solar_wh / 1000, 4),
        "energyStr": "kWh",
        "energyPec": "1",
        "batteryChargeEnergy": round(energy.charge_wh / 1000, 4),
        "batteryDischargeEnergy": round(energy.discharge_wh / 1000, 4),
        "gridPurchasedEnergy": round(energy.import_wh / 1000, 4),
        "gridSellEnergy": round((energy.export_wh + plant.unseen_w * hours) / 1000, 4),
        "homeLoadEnergy": round(energy.load_wh / 1000, 4),
        "errorFlag": 0,
    }


ENDPOINTS = {
    "userStationList": _stations,
    "stationDetail": _station,
    "inverterList": _inverters,
    "epmList": _epms,
    "stationDay": _day_rows,
    "inverterDay": _day_rows,
    "stationMonth": _month_rows,
}


@post("/v1/api/{path:path}")
async def api(request: Incoming) -> Response[Any]:
    cloud: Cloud = request.app.state.cloud
    path = request.scope["path"].removeprefix("/v1/api/")
    try:
        data = cloud.answer(path, await request.body(), request.headers)
    except Refused as refused:
        return Response(refused.body, status_code=refused.status)
    return Response({"success": True, "code": "0", "msg": "success", "data": data}, status_code=200)


@get("/_state", sync_to_thread=False)
def state(request: Incoming) -> Body:
    cloud: Cloud = request.app.state.cloud
    return {"calls": dict(cloud.calls)}


def _code(code: str, message: str) -> str:
    return json.dumps({"success": True, "code": code, "msg": message, "data": None})


def simulator(cloud: Cloud | None = None) -> Simulator:
    """Makes a fresh stand-in; `cloud` brings other dials."""
    cloud = cloud or Cloud()
    app = Litestar([api, state], openapi_config=None, logging_config=None, state=State({"cloud": cloud}))
    return Simulator(
        vendor="solis",
        stands_in_for=(HOST,),
        app=app,
        clock=cloud.clock,
        home={plant.id: plant.truth for plant in FLEET},
        owner_form=GRANTS,
        owners={
            "two-sites": Owner(answers=TWO, site_ids=(HOME.id, OLDER.id)),
            "many-sites": Owner(answers=MANY, site_ids=tuple(plant.id for plant in FLEET)),
            "no-sites": Owner(answers=EMPTY),
        },
        refusals=(
            Refusal(means=RateLimited, body=_code("R0000", "No authority too many request 1 times in 1DAYS")),
            Refusal(means=AuthorizationLost, body=_code("R0000", "No authority")),
            Refusal(means=AuthorizationLost, body=_code("B0011", "User unknown")),
            Refusal(means=TransientError, body=_code("1", "数据异常 请联系管理员")),
        ),
        notes=(f"an owner of plants that tell odd things enters: {json.dumps(ODD)}",),
    )
