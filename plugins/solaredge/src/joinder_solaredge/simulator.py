"""A stand-in for SolarEdge: the consent page, JSON token calls with strict single use, V2, and V1 that is gone.

Owners: grants, two-sites (its consent page hands out the second site), no-sites (comes back without a site), denies,
revokes-later. `FLEET` opens both sites by key. `Cloud(legacy=True)` still serves V1; `Cloud(span_hours=24)` is as
lenient as the vendor was seen; `Cloud(credits=n)` ends the month after n calls, `Cloud(per_minute=n)` the minute;
`Cloud(echo="external_id")` returns the state under that name alone; `Cloud(plan_lacks=("/storage",))` answers 403.
States of charge are fractions, as the vendor was seen to answer. `Cloud(odd=(…))` is odder: `percent` (as documented),
`bare-fractions` (nothing beside them that tells), `percentage-100` (that unit), `zero-energies` (placeholders beside
power, in V1 too), `silent-battery`
(one of two tells nothing), `hours` (rows of an hour for quarter hours), `two-meters` (a second one that differs),
`offset-zone` (an offset for a time zone, and coordinates), `hidden-source` (more goes out than any meter saw come in).
"""

from __future__ import annotations

import json
import secrets
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import msgspec
from litestar import Litestar, Request, Response, get, post
from litestar.datastructures import State

from joinder.energy import DeviceKind, MeterRole
from joinder.series import QUARTER, day_span, days_between
from joinder.simulate import Simulator
from joinder.simulate.clock import SimulatedClock
from joinder.simulate.home import Energy, Home
from joinder.simulate.oauth import TokenRefused, TokenService, back_to, bearer, consent_page, error_page
from joinder.simulate.truth import Owner, TrueDevice, TrueSite

HOSTS = ("connect.solaredge.com", "monitoringapi.solaredge.com")
APP = {
    "vendor": "solaredge",
    "type": "oauthclient",
    "clientID": "simulated-client",
    "clientSecret": "simulated-client-secret",
}
FLEET = {
    "vendor": "solaredge",
    "type": "accountkey",
    "apiKey": "simulated-fleet-key",
    "accountKey": "simulated-account",
}
LEGACY = {"vendor": "solaredge", "type": "apikey", "apiKey": "SIMULATEDV1KEY"}
ACCESS_LIFE_S, REFRESH_LIFE_S = 7200, 30 * 86400
Body = dict[str, Any]
Incoming = Request[Any, Any, State]


@dataclass(frozen=True)
class SolarSite:
    id: int
    name: str
    home: Home


FIRST = SolarSite(1000001, "SolarEdge home", Home(seed=81, timezone="Europe/Rome"))
SECOND = SolarSite(1000002, "SolarEdge cabin", Home(seed=82, timezone="America/Chicago", battery_wh=0))
SITES = {str(site.id): site for site in (FIRST, SECOND)}
OWNERS = {"grants": FIRST, "two-sites": SECOND, "no-sites": None, "denies": None, "revokes-later": FIRST}


class Refused(Exception):
    def __init__(self, status: int, title: str, **headers: str) -> None:
        super().__init__(title)
        self.status = status
        self.headers = headers
        about = {"type": "https://se-api.stoplight.io/docs/monitoring", "title": title, "status": status}
        self.body = {**about, "traceId": secrets.token_hex(16)}


class Cloud:
    def __init__(
        self,
        *,
        legacy: bool = False,
        span_hours: int = 12,
        credits: int | None = None,
        per_minute: int | None = None,
        echo: str = "state",
        plan_lacks: tuple[str, ...] = (),
        odd: tuple[str, ...] = (),
    ) -> None:
        self.clock = SimulatedClock()
        self.legacy, self.span_hours, self.credits, self.per_minute = legacy, span_hours, credits, per_minute
        self.echo, self.plan_lacks, self.odd = echo, plan_lacks, odd
        self.calls: Counter[str] = Counter()
        self._in_minute: Counter[int] = Counter()
        clients = {APP["clientID"]: APP["clientSecret"]}
        self.tokens = TokenService(self.clock, clients, access_life_s=ACCESS_LIFE_S, refresh_life_s=REFRESH_LIFE_S)

    def grant(self, asked: Mapping[str, str]) -> Body:
        """Returns the token answer. Raises TokenRefused."""
        client_id = asked.get("client_id", "")
        self.tokens.check_client(client_id, asked.get("client_secret", ""))
        if asked.get("grant_type") == "refresh_token":
            issued = self.tokens.by_refresh(client_id, asked.get("refresh_token", ""))
        else:
            issued = self.tokens.by_code(client_id, asked.get("code", ""), None)
        life = {"token_type": "Bearer", "expires_in": ACCESS_LIFE_S}
        return {"access_token": issued.access_token, "refresh_token": issued.refresh_token, **life}

    def answer(self, path: str, query: Mapping[str, str], headers: Mapping[str, str]) -> Any:
        """Returns the body of GET /v2`path`. Raises Refused."""
        self._count(path)
        by_key = headers.get("x-api-key") == FLEET["apiKey"]
        family = self.tokens.holder(bearer(headers.get("authorization", "")))
        if not by_key and family is None:
            raise Refused(401, "Unauthorized")
        if path == "/sites":
            if not by_key:
                raise Refused(403, "Forbidden")
            return {"sites": {"count": len(SITES), "site": [{"siteId": site.id} for site in SITES.values()]}}
        site_id, _, rest = path.removeprefix("/sites/").partition("/")
        site = SITES.get(site_id)
        own = family is not None and OWNERS[family.owner] is site
        if site is None or not (by_key or own):
            raise Refused(403, "Forbidden")
        return self._site(site, f"/{rest}" if rest else "", query)

    def _count(self, path: str) -> None:
        parts = path.split("/")
        self.calls["/".join(parts[3:]) or parts[-1]] += 1
        minute = int(self.clock.time()) // 60
        self._in_minute[minute] += 1
        if self.per_minute is not None and self._in_minute[minute] > self.per_minute:
            raise Refused(429, "Too Many Requests", **{"retry-after": "30", "x-ratelimit-remaining-minute": "0"})
        if self.credits is not None and sum(self.calls.values()) > self.credits:
            raise Refused(429, "Too Many Requests", **{"x-ratelimit-remaining-minute": "7"})

    def _site(self, site: SolarSite, rest: str, query: Mapping[str, str]) -> Any:
        if any(rest.startswith(lacking) for lacking in self.plan_lacks):
            raise Refused(403, "Forbidden")
        if rest == "":
            return _details(site, self.odd)
        if rest == "/devices":
            return _devices(site, self.odd)
        if rest not in SERIES:
            raise Refused(404, "Not Found")
        start, end = (datetime.fromisoformat(query[name]) for name in ("from", "to"))
        most = timedelta(hours=self.span_hours) if query["resolution"] == "QUARTER_HOUR" else timedelta(days=31)
        if end - start > most:
            raise Refused(400, "Bad Request")
        step = 4 * QUARTER if "hours" in self.odd else QUARTER
        view = View(site, _buckets(site, start, end, query["resolution"], step), self.clock.now(), self.odd)
        return SERIES[rest](view)

    def v1(self, path: str, query: Mapping[str, str]) -> Any:
        """Returns the body of a V1 call. Raises Refused."""
        if not self.legacy:
            raise Refused(410, "Gone")
        if query.get("api_key") != LEGACY["apiKey"]:
            raise Refused(401, "Unauthorized - Authentication Failed")
        if path == "/sites/list":
            return {"sites": {"count": 1, "list": [{"id": FIRST.id}]}}
        place = {"location": {"timeZone": FIRST.home.timezone}}
        answers: dict[str, Any] = {
            "details": lambda: {"details": {"id": FIRST.id, "name": FIRST.name, **place}},
            "inventory": lambda: {"Inventory": V1_INVENTORY},
            "storageData": lambda: _v1_storage(query, self.clock.now(), self.odd),
            "energyDetails": lambda: _v1_energies(query, self.clock.now()),
        }
        name = path.rpartition("/")[2]
        if name not in answers:
            raise Refused(404, "Not Found")
        return answers[name]()


@dataclass(frozen=True)
class View:
    """What one call of a series is answered from."""

    site: SolarSite
    buckets: list[tuple[datetime, datetime]]
    now: datetime
    odd: tuple[str, ...] = ()


def _details(site: SolarSite, odd: tuple[str, ...]) -> Body:
    place: Body = {"city": "Simulated", "timezone": site.home.timezone}
    if "offset-zone" in odd:
        place |= {"timezone": "+02:00", "latitude": 41.9, "longitude": 12.5}
    return {
        "siteId": site.id,
        "name": site.name,
        "peakPower": 6.0,
        "installationDate": "2026-01-01T00:00:00+01:00",
        "location": place,
        "activationStatus": "ACTIVE",
    }


def _devices(site: SolarSite, odd: tuple[str, ...]) -> list[Body]:
    inverter = {"type": "INVERTER", "serialNumber": f"INV-{site.id}", "model": "SE5K", "active": True}
    meters = [
        {"type": "METER", "serialNumber": name, "active": True, "meterType": "EXPORT_IMPORT"}
        for name in _meter_names(site, odd)
    ]
    batteries = [
        {"type": "BATTERY", "serialNumber": name, "model": "Home Battery", "active": True}
        for name in _battery_names(site, odd)
    ]
    return [inverter, *meters, *batteries]


def _truth(site: SolarSite) -> TrueSite:
    """Returns it without oddities; live power is the mean of the last quarter hour."""
    meters = [TrueDevice(kind=DeviceKind.METER, serial=name, role=MeterRole.GRID) for name in _meter_names(site, ())]
    batteries = [TrueDevice(kind=DeviceKind.BATTERY, serial=name) for name in _battery_names(site, ())]
    inverter = TrueDevice(kind=DeviceKind.INVERTER, serial=f"INV-{site.id}")
    return TrueSite(home=site.home, devices=(inverter, *meters, *batteries), live_every_s=900, live_mean_s=900)


def _meter_names(site: SolarSite, odd: tuple[str, ...]) -> list[str]:
    return [f"MTR-{site.id}", *([f"MTR-{site.id}-2"] if "two-meters" in odd else [])]


def _battery_names(site: SolarSite, odd: tuple[str, ...]) -> list[str]:
    more = [f"BAT-{site.id}-2"] if "silent-battery" in odd else []
    return [f"BAT-{site.id}", *more] if site.home.battery_wh else []


def _buckets(
    site: SolarSite, start: datetime, end: datetime, resolution: str, step: timedelta
) -> list[tuple[datetime, datetime]]:
    if resolution == "DAY":
        return [day_span(day, site.home.zone) for day in days_between(start, end, site.home.zone)]
    count = int((end - start) / step)
    return [(start + step * index, start + step * (index + 1)) for index in range(count)]


def _series(view: View, member: str, *, unit: str = "WH", times: float = 1.0, per_hour: bool = False) -> Body:
    """Returns values in Wh; a bucket that is not over is null. `per_hour`: its mean power."""
    rows = []
    for start, end in view.buckets:
        energy: Energy = view.site.home.energy(start.timestamp(), min(end, max(view.now, start)).timestamp())
        over = end <= view.now or (end - start > 4 * QUARTER and start < view.now)
        value = getattr(energy, member) * times / ((end - start).total_seconds() / 3600 if per_hour else 1)
        stamp = start.astimezone(view.site.home.zone).isoformat()
        rows.append({"timestamp": stamp, "value": round(value, 5 if times < 1 else 3) if over else None})
    return {"unit": unit, "values": rows}


def _energy(view: View) -> Body:
    return {"resolution": "QUARTER_HOUR", **_series(view, "solar_wh")}


def _inverters(view: View) -> Body:
    return {"inverters": {f"INV-{view.site.id}": {"energy": _series(view, "solar_wh")}}}


def _meters(view: View) -> Body:
    """Lists them; a second meter sees a third of what the first one does."""
    pair = {"importEnergy": "import_wh", "exportEnergy": "export_wh"}
    names, times = _meter_names(view.site, view.odd), 10.0 if "hidden-source" in view.odd else 1.0
    return {
        "meters": {
            name: {member: _series(view, of, times=times / (1 + 2 * index)) for member, of in pair.items()}
            for index, name in enumerate(names)
        }
    }


def _storage(view: View) -> Body:
    if not view.site.home.battery_wh:
        return {"storage": {}}
    return {"storage": {_battery_names(view.site, view.odd)[0]: {**_flows(view), **_charge(view)}}}


def _flows(view: View) -> Body:
    """Energies; as placeholders they are 0, and power tells what flowed."""
    pair = {"charge": "charge_wh", "discharge": "discharge_wh"}
    if "zero-energies" not in view.odd:
        return {f"{name}Energy": _series(view, of) for name, of in pair.items()}
    zeros = {f"{name}Energy": _series(view, of, times=0) for name, of in pair.items()}
    return zeros | {f"{name}Power": _series(view, of, unit="W", per_hour=True) for name, of in pair.items()}


def _charge(view: View) -> Body:
    unit = "PERCENTAGE_100" if "percentage-100" in view.odd else "PERCENTAGE"
    are_fractions = not {"percent", "percentage-100"} & set(view.odd)
    told = {"stateOfEnergy": _series(view, "soc_percent", unit=unit, times=0.01 if are_fractions else 1.0)}
    if "bare-fractions" in view.odd:
        return told
    kwh = view.site.home.battery_wh / 100 / 1000
    return told | {"remainingEnergy": _series(view, "soc_percent", unit="KWH", times=kwh)}


SERIES = {
    "/energy": _energy,
    "/inverters/telemetry": _inverters,
    "/meters/telemetry": _meters,
    "/storage/telemetry": _storage,
}


V1_INVENTORY = {
    "inverters": [{"SN": "7E1-01", "model": "SE5K"}],
    "batteries": [{"SN": "BAT-V1", "nameplateCapacity": FIRST.home.battery_wh}],
}


def _v1_storage(query: Mapping[str, str], now: datetime, odd: tuple[str, ...]) -> Body:
    """Registers and power every five minutes or so; placeholders are registers that stay 0."""
    zone = FIRST.home.zone
    start, end = (datetime.fromisoformat(query[name]).replace(tzinfo=zone) for name in ("startTime", "endTime"))
    counts = 0 if "zero-energies" in odd else 1
    rows = []
    for at in range(int(start.timestamp()), int(min(end, now).timestamp()), 300):
        total, power = FIRST.home.lifetime(at), FIRST.home.power(at)
        rows.append(
            {
                "timeStamp": datetime.fromtimestamp(at, zone).strftime("%Y-%m-%d %H:%M:%S"),
                "power": -power.battery_w,
                "batteryPercentageState": power.soc_percent,
                "lifeTimeEnergyCharged": total.charge_wh * counts,
                "lifeTimeEnergyDischarged": total.discharge_wh * counts,
            }
        )
    return {"storageData": {"batteries": [{"serialNumber": "BAT-V1", "telemetries": rows}]}}


def _v1_energies(query: Mapping[str, str], now: datetime) -> Body:
    """Tells local times without offset; a value that does not exist yet is left out."""
    zone = FIRST.home.zone
    start, end = (datetime.fromisoformat(query[name]).replace(tzinfo=zone) for name in ("startTime", "endTime"))
    rows = []
    for at in range(int(start.timestamp()), int(end.timestamp()), 900):
        wall = datetime.fromtimestamp(at, zone).strftime("%Y-%m-%d %H:%M:%S")
        value = {"value": FIRST.home.energy(at, at + 900).solar_wh} if at + 900 <= now.timestamp() else {}
        rows.append({"date": wall, **value})
    meters = [{"type": "Production", "values": rows}]
    return {"energyDetails": {"timeUnit": "QUARTER_OF_AN_HOUR", "unit": "Wh", "meters": meters}}


def _cloud(request: Incoming) -> Cloud:
    cloud: Cloud = request.app.state.cloud
    return cloud


@get("/authorize", sync_to_thread=False)
def page(request: Incoming) -> Response[str]:
    query = request.query_params
    if query.get("client_id") != APP["clientID"] or not query.get("external_id"):
        return error_page("Unknown client")
    return consent_page("Simulated SolarEdge", "/authorize", query, OWNERS)


@post("/authorize")
async def consent(request: Incoming) -> Response[Any]:
    """Goes to the redirect URI of the console, which is the one that was sent."""
    form = {name: str(value) for name, value in (await request.form()).items()}
    cloud, owner = _cloud(request), form.get("owner", "")
    echoed = {cloud.echo: form.get("external_id", "")}
    if owner == "denies" or owner not in OWNERS:
        return back_to(form["redirect_uri"], error="access_denied", **echoed)
    code = cloud.tokens.new_code(APP["clientID"], owner, form["redirect_uri"])
    site = OWNERS[owner]
    return back_to(form["redirect_uri"], code=code, **({"site_id": str(site.id)} if site else {}), **echoed)


@post("/v2/oauth2/token")
async def token(request: Incoming) -> Response[Body]:
    try:
        asked = msgspec.json.decode(await request.body(), type=dict[str, str])
        return Response(_cloud(request).grant(asked), status_code=200)
    except TokenRefused as refused:
        return Response({"error": refused.error, "error_description": "Simulated"}, status_code=refused.status)
    except msgspec.DecodeError:  # a form is no JSON
        return Response({"error": "invalid_request", "error_description": "Simulated"}, status_code=400)


@post("/v2/oauth2/revoke-token")
async def revoke(request: Incoming) -> Response[Body | None]:
    """Answers an unknown token as a known one (RFC 7009)."""
    try:
        asked = msgspec.json.decode(await request.body(), type=dict[str, str])
        tokens = _cloud(request).tokens
        tokens.check_client(asked.get("client_id", ""), asked.get("client_secret", ""))
        tokens.take_back(asked["client_id"], asked["token"])
    except TokenRefused as refused:
        return Response({"error": refused.error, "error_description": "Simulated"}, status_code=refused.status)
    except (msgspec.DecodeError, KeyError):
        return Response({"error": "invalid_request", "error_description": "Simulated"}, status_code=400)
    return Response(None, status_code=200)


@get("/v2/{path:path}", sync_to_thread=False)
def data(request: Incoming) -> Response[Any]:
    path = request.scope["path"].removeprefix("/v2")
    try:
        answer = _cloud(request).answer(path, request.query_params, request.headers)
    except Refused as refused:
        return Response(refused.body, status_code=refused.status, headers=refused.headers)
    return Response(answer, headers={"x-ratelimit-limit-minute": "10", "x-ratelimit-remaining-minute": "9"})


@get(["/sites/{path:path}", "/site/{path:path}"], sync_to_thread=False)
def legacy(request: Incoming) -> Response[Any]:
    try:
        return Response(_cloud(request).v1(request.scope["path"], request.query_params))
    except Refused as refused:
        return Response(refused.body, status_code=refused.status)


@get("/_state", sync_to_thread=False)
def state(request: Incoming) -> Body:
    cloud = _cloud(request)
    return {**cloud.tokens.counts(), "calls": dict(cloud.calls)}


def simulator(cloud: Cloud | None = None, app_credentials: Mapping[str, str] = APP) -> Simulator:
    """Makes a fresh stand-in; `cloud` brings other dials, `app_credentials` another way in."""
    cloud = cloud or Cloud()
    handlers = [page, consent, token, revoke, data, legacy, state]
    return Simulator(
        vendor="solaredge",
        stands_in_for=HOSTS,
        app=Litestar(handlers, openapi_config=None, logging_config=None, state=State({"cloud": cloud})),
        clock=cloud.clock,
        home={str(site.id): _truth(site) for site in (FIRST, SECOND)},
        app_credentials=app_credentials,
        owner_choice={"owner": "grants"},
        owners={
            name: Owner(answers={"owner": name}, site_ids=(str(site.id),) if site else ())
            for name, site in OWNERS.items()
        },
        call_limits={"minute": 60, "month": 100_000},  # more than the free tier's
        conformance_skips={"owner_is_known_again": "SolarEdge says which site an owner opened, not who they are"},
        notes=(f"credentials of a fleet, which open two sites without an owner: {json.dumps(FLEET)}",),
    )
