"""A stand-in for SMA, production and sandbox alike: consent page, Keycloak-like tokens, plants in their own time zone.

Owners: grants (a plant with an energy balance), two-sites (also one without, read by its devices), two-inverters
(without a balance, two inverters and two batteries), falls-silent (the same, but its second inverter has told nothing
since `SILENT_S` before the owner consented), no-sites, denies, revokes-later. `Cloud(rotation=…)`,
`Cloud(spikes=True)` (the first row of a day and of a month many times too high), `Cloud(silent=…)` (the last inverter
and the last battery of two tell a 404, an empty set or half of their rows), `Cloud(untold=True)` (nobody entered the
inverters' nameplates) and `Cloud(per_five_minutes=n)` (429 without Retry-After) turn its dials.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any, Literal

from litestar import Litestar, Request, Response, get, post
from litestar.datastructures import State

from joinder.energy import DeviceKind, MeterRole
from joinder.series import day_span
from joinder.simulate import Simulator
from joinder.simulate.clock import SimulatedClock
from joinder.simulate.home import Energy, Home, Power
from joinder.simulate.oauth import Rotation, TokenRefused, TokenService, back_to, bearer, consent_page, error_page
from joinder.simulate.truth import Owner, TrueDevice, TrueSite

STEP_S = 300
SILENT_S = 3 * 3600
METER, FIRST_UNITS = 2, 4  # a plant's devices are numbered: inverter, meter, sensor, battery, then the second units
FALSE_WH = 1_024_843.0  # of a month's first day: an inverter's whole past told as one row (SolarNetwork's example)
Silence = Literal["404", "empty", "half"]
ACCESS_LIFE_S, REFRESH_LIFE_S, CODE_LIFE_S = 300, 400 * 86400, 60
Body = dict[str, Any]
Incoming = Request[Any, Any, State]


@dataclass(frozen=True)
class Plant:
    id: str
    name: str
    home: Home
    balance: bool = True
    units: int = 1  # inverters, and batteries where the home has one; the first takes two thirds of two
    falls_silent: bool = False  # the second inverter; the home goes on

    def share(self, device_id: str | None) -> float:
        if device_id is None or self.units == 1 or int(device_id) - int(self.id) == METER:
            return 1.0
        return 1 / 3 if self.is_last(device_id) else 2 / 3

    def truth(self) -> TrueSite:
        """Its rows carry their end and the mean of five minutes before it; the sensor is no device of ours."""
        devices = [
            self._true_device(device["serial"], device["type"], self.share(device_id))
            for device_id, device in self.devices().items()
            if device["type"] != "Sensor technology"
        ]
        live_tells = None if self.balance else ("solar_w",) if self.units == 1 else ()
        return TrueSite(
            home=self.home,
            devices=tuple(devices),
            live_every_s=STEP_S,
            live_mean_s=STEP_S,
            live_tells=live_tells,
        )

    def _true_device(self, serial: str, kind: str, share: float) -> TrueDevice:
        if kind == "Monitoring and control":
            return TrueDevice(kind=DeviceKind.METER, serial=serial, role=MeterRole.GRID)
        if kind == "Solar Inverters":
            return TrueDevice(kind=DeviceKind.INVERTER, serial=serial, share=share)
        capacity_wh = self.home.battery_wh * share
        return TrueDevice(kind=DeviceKind.BATTERY, serial=serial, share=share, nameplate_wh=capacity_wh)

    def is_last(self, device_id: str | None) -> bool:
        return device_id is not None and int(device_id) - int(self.id) > FIRST_UNITS

    def is_falling(self, device_id: str | None) -> bool:
        return self.falls_silent and self.is_last(device_id) and int(device_id or 0) - int(self.id) == FIRST_UNITS + 1

    def details(self, device_id: str) -> Body:
        """Answers `/devices/{id}`; the capacity is in Wh and stands there alone."""
        capacity = {"batteryCapacity": self.home.battery_wh * self.share(device_id)}
        device = self.devices()[device_id]
        return {**device, **(capacity if device["type"] == "Battery Inverter" else {}), "isResetted": False}

    def devices(self) -> dict[str, Body]:
        """Returns them by id; the sensor offers no sets, as in SMA's own sandbox."""
        number = int(self.id)
        inverter = {"name": "WR 1", "type": "Solar Inverters", "product": "STP 6000TL-20", "generatorPower": 6000.0}
        meter = {"name": "Meter", "type": "Monitoring and control", "product": "Energy Meter"}
        sensor = {"name": "Sensor", "type": "Sensor technology", "product": "Satellite Sensor"}
        kinds: list[Body] = [inverter, meter, sensor]
        if self.home.battery_wh:
            kinds.append({"name": "SBS 1", "type": "Battery Inverter", "product": "SBS 5.0-10"})
        if self.units == 2:
            kinds += [{**kinds[0], "name": "WR 2"}, {**kinds[-1], "name": "SBS 2"}]
        return {
            str(number + index): {**kind, "deviceId": str(number + index), "serial": f"30{number + index}"}
            for index, kind in enumerate(kinds, 1)
        }


HOME = Plant("7190000", "SMA home", Home(seed=61, timezone="Europe/Berlin"))
BARN = Plant("11260000", "SMA barn", Home(seed=62, timezone="America/New_York", battery_wh=0), balance=False)
PAIR = Plant("5550000", "SMA pair", Home(seed=63, timezone="Europe/Berlin"), balance=False, units=2)
FALLING = Plant(
    "5560000", "SMA falling silent", Home(seed=64, timezone="Europe/Berlin"), balance=False, units=2, falls_silent=True
)
OWNERS: Mapping[str, tuple[Plant, ...]] = {
    "grants": (HOME,),
    "two-sites": (HOME, BARN),
    "two-inverters": (PAIR,),
    "falls-silent": (FALLING,),
    "no-sites": (),
    "denies": (),
    "revokes-later": (HOME,),
}
SETS = {
    "Solar Inverters": ["Sensor", "EnergyAndPowerPv", "PowerDc", "PowerAc"],
    "Battery Inverter": ["EnergyAndPowerBattery", "PowerAc"],
    "Monitoring and control": ["EnergyAndPowerInOut", "EnergyAndPowerConsumption"],
    "Sensor technology": [],
}


class Cloud:
    def __init__(
        self,
        *,
        rotation: Rotation | None = None,
        spikes: bool = False,
        per_five_minutes: int | None = None,
        silent: Silence | None = None,
        untold: bool = False,
    ) -> None:
        self.clock = SimulatedClock()
        self.spikes, self.per_five_minutes = spikes, per_five_minutes
        self.silent, self.untold = silent, untold
        self.silent_from: float | None = None  # epoch seconds; set when the owner of the plant that falls consents
        self.app = {"clientID": "simulated_client", "clientSecret": "simulated-client-secret"}
        clients = {self.app["clientID"]: self.app["clientSecret"]}
        self.tokens = TokenService(
            self.clock,
            clients,
            access_life_s=ACCESS_LIFE_S,
            refresh_life_s=REFRESH_LIFE_S,
            code_life_s=CODE_LIFE_S,
            rotation=rotation,
        )
        self.calls: Counter[str] = Counter()
        self._in_window: Counter[int] = Counter()

    def consented(self, owner: str) -> None:
        """Its inverter's silence begins at a quarter hour, and stays where it began."""
        if self.silent_from is None and any(plant.falls_silent for plant in OWNERS[owner]):
            at = self.clock.time() - SILENT_S
            self.silent_from = at - at % 900

    def answer(self, path: str, query: Mapping[str, str], token: str) -> tuple[int, Any]:
        """Status and body of GET /v1`path`. SMA documents no error bodies: they are empty."""
        holder = self.tokens.holder(token)
        if holder is None:
            return 401, None
        window = int(self.clock.time()) // 300
        self._in_window[window] += 1
        if self.per_five_minutes is not None and self._in_window[window] > self.per_five_minutes:
            return 429, None
        plants = {plant.id: plant for plant in OWNERS[holder.owner]}
        kind, _, rest = path.strip("/").partition("/")
        subject, _, what = rest.partition("/")
        self.calls["/".join([kind, *(what.split("/")[:2] if what else [])])] += 1
        if kind == "plants" and not subject:
            return 200, {"plants": [_plant(plant) for plant in plants.values()]}
        owner_plant = plants.get(subject) if kind == "plants" else _owning(plants, subject)
        if owner_plant is None:
            return 403, None
        return self._of(owner_plant, subject if kind == "devices" else None, what, query)

    def _of(self, plant: Plant, device_id: str | None, what: str, query: Mapping[str, str]) -> tuple[int, Any]:
        head: Body = {"plant": _plant(plant)}
        offered = ["EnergyBalance"] if plant.balance else []
        if device_id is not None:
            device = plant.devices()[device_id]
            head["device"] = {"deviceId": device_id, "name": device["name"], "timezone": plant.home.timezone}
            offered = SETS[device["type"]]
            if what == "":
                return 200, {**head, "details": plant.details(device_id)}
        elif what == "":
            return 200, _plant(plant)
        elif what == "devices/lean":
            return 200, {"devices": [self._listed(device) for device in plant.devices().values()]}
        if what == "measurements/sets":
            return 200, {**head, "sets": offered}
        parts = what.split("/")
        if parts[:2] != ["measurements", "sets"] or len(parts) != 4 or parts[2] not in offered:
            return 404, None
        silent = self.silent if plant.is_last(device_id) else None
        if silent == "404":
            return 404, None
        body = self._measured(plant, device_id, parts[2], parts[3], query)
        kept = {"empty": [], "half": body["set"][1::2]}.get(silent or "", body["set"])
        return 200, {**head, **body, "set": kept}

    def _listed(self, device: Body) -> Body:
        nameplate = {"generatorPower": 0.0} if self.untold and "generatorPower" in device else {}
        return {**device, **nameplate, "isActive": True}

    def _measured(self, plant: Plant, device_id: str | None, name: str, period: str, query: Mapping[str, str]) -> Body:
        share = plant.share(device_id)
        now = self.clock.now()
        if plant.is_falling(device_id) and self.silent_from is not None:
            now = min(now, datetime.fromtimestamp(self.silent_from, UTC))
        if period == "Month":
            rows = _month(plant, name, query["Date"], now, share)
            if self.spikes:
                _spike(rows[:1], FALSE_WH)
            return {"setType": name, "resolution": "OneDay", "set": rows}
        energies = query.get("ReturnEnergyValues") == "true"
        if period == "Recent":
            end = int(now.timestamp()) // STEP_S * STEP_S
            rows = [_row(plant, name, end, energies=energies, share=share)]
        else:
            start, stop = day_span(date.fromisoformat(query["Date"]), plant.home.zone)
            last = min(stop.timestamp(), now.timestamp())
            ends = range(int(start.timestamp()) + STEP_S, int(last) + 1, STEP_S)
            rows = [_row(plant, name, end, energies=energies, share=share) for end in ends]
            if self.spikes:
                _spike(rows[:1], 165_763.0 if energies else 688_000.0)
        return {"setType": name, "resolution": "FiveMinutes", "set": rows}


def _spike(rows: list[Body], value: float) -> None:
    """Adds it as SMA tells it: in Wh or W, and in the consumption, which it computes with it."""
    for row in rows:
        for member in {"pvGeneration", "totalConsumption"} & row.keys():
            row[member] += value


def _plant(plant: Plant) -> Body:
    return {"plantId": plant.id, "name": plant.name, "timezone": plant.home.timezone}


def _owning(plants: Mapping[str, Plant], device_id: str) -> Plant | None:
    return next((plant for plant in plants.values() if device_id in plant.devices()), None)


def _wall(plant: Plant, at: float) -> str:
    """Returns local time without offset."""
    return datetime.fromtimestamp(at, plant.home.zone).replace(tzinfo=None).isoformat()


def _row(plant: Plant, name: str, end: int, *, energies: bool, share: float) -> Body:
    power = plant.home.power(end - STEP_S)
    factor = share * (STEP_S / 3600 if energies else 1.0)
    return {"time": _wall(plant, end), **_members(name, _split(power), plant, factor)}


def _month(plant: Plant, name: str, month: str, now: datetime, share: float) -> list[Body]:
    day, rows = date.fromisoformat(f"{month}-01"), []
    while day.strftime("%Y-%m") == month and day_span(day, plant.home.zone)[0] < now:
        start, end = day_span(day, plant.home.zone)
        energy = plant.home.energy(start.timestamp(), min(end, now).timestamp())
        rows.append({"time": f"{day.isoformat()}T00:00:00", **_members(name, energy, plant, share)})
        day += timedelta(days=1)
    return rows


def _split(power: Power) -> Energy:
    """Splits power by direction, as SMA sends it."""
    return Energy(
        solar_wh=power.solar_w,
        charge_wh=max(0.0, -power.battery_w),
        discharge_wh=max(0.0, power.battery_w),
        import_wh=max(0.0, power.grid_w),
        export_wh=max(0.0, -power.grid_w),
        load_wh=power.load_w,
        soc_percent=power.soc_percent,
    )


def _members(name: str, of: Energy, plant: Plant, factor: float) -> Body:
    """Returns the set's members; quantities the plant has not are left out."""
    solar = {"pvGeneration": of.solar_wh * factor}
    storage = {
        "batteryCharging": of.charge_wh * factor,
        "batteryDischarging": of.discharge_wh * factor,
        "batteryStateOfCharge": of.soc_percent,
    }
    grid = {"gridFeedIn": of.export_wh * factor, "gridConsumption": of.import_wh * factor}
    if name == "EnergyAndPowerPv":
        return solar
    if name == "EnergyAndPowerBattery":
        return storage
    if name == "EnergyAndPowerInOut":
        return grid
    load = {"totalConsumption": of.load_wh * factor}
    return {**solar, **(storage if plant.home.battery_wh else {}), **grid, **load}


def _cloud(request: Incoming) -> Cloud:
    cloud: Cloud = request.app.state.cloud
    return cloud


@get("/oauth2/auth", sync_to_thread=False)
def page(request: Incoming) -> Response[str]:
    query = request.query_params
    if query.get("client_id") != _cloud(request).app["clientID"] or query.get("response_type") != "code":
        return error_page("Unknown client")
    return consent_page("Simulated SMA", "/oauth2/auth", query, OWNERS)


@post("/oauth2/auth")
async def consent(request: Incoming) -> Response[Any]:
    form = await request.form()
    owner, redirect_uri, state = (str(form.get(name, "")) for name in ("owner", "redirect_uri", "state"))
    if owner == "denies" or owner not in OWNERS:
        return back_to(redirect_uri, error="access_denied", state=state)
    _cloud(request).consented(owner)
    code = _cloud(request).tokens.new_code(str(form.get("client_id", "")), owner, redirect_uri)
    return back_to(redirect_uri, code=code, state=state, session_state="a57421a7-a319-476b-9bad-000000000000")


@post("/oauth2/token")
async def token(request: Incoming) -> Response[Body]:
    form, tokens = {name: str(value) for name, value in (await request.form()).items()}, _cloud(request).tokens
    client_id = form.get("client_id", "")
    try:
        tokens.check_client(client_id, form.get("client_secret", ""))
        if form.get("grant_type") == "authorization_code":
            issued = tokens.by_code(client_id, form.get("code", ""), form.get("redirect_uri", ""))
        else:
            issued = tokens.by_refresh(client_id, form.get("refresh_token", ""))
    except TokenRefused as refused:  # Keycloak's form: no error body of SMA's is public
        return Response({"error": refused.error, "error_description": "Simulated"}, status_code=refused.status)
    body = {
        "access_token": issued.access_token,
        "expires_in": ACCESS_LIFE_S,
        "refresh_expires_in": 0,
        "refresh_token": issued.refresh_token,
        "token_type": "Bearer",
        "not-before-policy": 0,
        "scope": "profile monitoringApi:read email offline_access",
    }
    return Response(body, status_code=200)


@post("/oauth2/logout")
async def logout(request: Incoming) -> Response[Body | None]:
    form, tokens = {name: str(value) for name, value in (await request.form()).items()}, _cloud(request).tokens
    client_id = form.get("client_id", "")
    try:
        tokens.check_client(client_id, form.get("client_secret", ""))
        if not tokens.take_back(client_id, form.get("refresh_token", "")):
            raise tokens.refusal("refresh_token")
    except TokenRefused as refused:
        return Response({"error": refused.error, "error_description": "Simulated"}, status_code=refused.status)
    return Response(None, status_code=204)


@get(["/v1/{path:path}", "/monitoring/v1/{path:path}"], sync_to_thread=False)
def monitoring(request: Incoming) -> Response[Any]:
    path = request.scope["path"].partition("/v1")[2]
    status, body = _cloud(request).answer(path, request.query_params, bearer(request.headers.get("authorization", "")))
    return Response(body, status_code=status)


@get("/_state", sync_to_thread=False)
def state(request: Incoming) -> Body:
    cloud = _cloud(request)
    return {**cloud.tokens.counts(), "calls": dict(cloud.calls)}


def simulator(cloud: Cloud | None = None) -> Simulator:
    """Makes a fresh stand-in for production; `cloud` brings other dials."""
    return _simulator("sma", ("auth.smaapis.de", "monitoring.smaapis.de"), cloud or Cloud())


def sandbox_simulator(cloud: Cloud | None = None) -> Simulator:
    """Makes the same for the sandbox's hosts."""
    return _simulator("smasbox", ("sandbox-auth.smaapis.de", "sandbox.smaapis.de"), cloud or Cloud())


def _simulator(vendor: str, hosts: tuple[str, ...], cloud: Cloud) -> Simulator:
    handlers = [page, consent, token, logout, monitoring, state]
    return Simulator(
        vendor=vendor,
        stands_in_for=hosts,
        app=Litestar(handlers, openapi_config=None, logging_config=None, state=State({"cloud": cloud})),
        clock=cloud.clock,
        home={plant.id: plant.truth() for plant in (HOME, BARN, PAIR)},
        app_credentials={"vendor": vendor, "type": "oauthclient", **cloud.app},
        owner_choice={"owner": "grants"},
        owners={
            name: Owner(answers={"owner": name}, site_ids=tuple(plant.id for plant in plants))
            for name, plants in OWNERS.items()
            if name != "falls-silent"
        },
        silent_owner={"owner": "falls-silent"} if vendor == "sma" else {},
        in_demo=vendor == "sma",
        conformance_skips={"owner_is_known_again": "SMA's documents name nothing that says who consented"},
    )
