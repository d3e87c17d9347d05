"""A stand-in for SolarEdge: the consent page, JSON token calls with strict single use, V2, and V1 that is gone.

Owners: grants, two-sites (its consent page hands out the second site), no-sites (comes back without a site), denies,
revokes-later. `FLEET` opens both sites by key. `Cloud(legacy=True)` still serves V1; `Cloud(span_hours=24)` is as
lenient as the vendor was seen; `Cloud(credits=n)` ends the month after n calls, `Cloud(per_minute=n)` the minute;
`Cloud(echo="external_id")` returns the state under that name alone; `Cloud(plan_lacks=("/storage",))` answers 403.
"""

from __future__ import annotations

import secrets
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import msgspec
from litestar import Litestar, Request, Response, get, post
from litestar.datastructures import State

from joinder.series import QUARTER, day_span, days_between
from joinder.simulate import Simulator
from joinder.simulate.clock import SimulatedClock
from joinder.simulate.home import Energy, Home
from joinder.simulate.oauth import TokenRefused, TokenService, back_to, bearer, consent_page, error_page

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
    ) -> None:
        self.clock = SimulatedClock()
        self.legacy, self.span_hours, self.credits, self.per_minute = legacy, span_hours, credits, per_minute
        self.echo, self.plan_lacks = echo, plan_lacks
        self.calls: Counter[str] = Counter()
        self._in_minute: Counter[int] = Counter()
        clients = {APP["clientID"]: APP["clientSecret"]}
        self.tokens = TokenService(self.clock, clients, access_life_s=ACCESS_LIFE_S, refresh_life_s=REFRESH_LIFE_S)

    def grant(self, asked: Mapping[str, str]) -> Body:
        """The token answer. Raises TokenRefused."""
        client_id = asked.get("client_id", "")
        self.tokens.check_client(client_id, asked.get("client_secret", ""))
        if asked.get("grant_type") == "refresh_token":
            issued = self.tokens.by_refresh(client_id, asked.get("refresh_token", ""))
        else:
            issued = self.tokens.by_code(client_id, asked.get("code", ""), None)
        life = {"token_type": "Bearer", "expires_in": ACCESS_LIFE_S}
        return {"access_token": issued.access_token, "refresh_token": issued.refresh_token, **life}

    def answer(self, path: str, query: Mapping[str, str], headers: Mapping[str, str]) -> Any:
        """The body of GET /v2`path`. Raises Refused."""
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
            return _details(site)
        if rest == "/devices":
            return _devices(site)
        if rest not in SERIES:
            raise Refused(404, "Not Found")
        start, end = (datetime.fromisoformat(query[name]) for name in ("from", "to"))
        most = timedelta(hours=self.span_hours) if query["resolution"] == "QUARTER_HOUR" else timedelta(days=31)
        if end - start > most:
            raise Refused(400, "Bad Request")
        return SERIES[rest](site, _buckets(site, start, end, query["resolution"]), self.clock.now())

    def v1(self, path: str, query: Mapping[str, str]) -> Any:
        """The body of a V1 call. Raises Refused."""
        if not self.legacy:
            raise Refused(410, "Gone")
        if query.get("api_key") != LEGACY["apiKey"]:
            raise Refused(401, "Unauthorized - Authentication Failed")
        if path == "/sites/list":
            return {"sites": {"count": 1, "list": [{"id": FIRST.id}]}}
        place = {"location": {"timeZone": FIRST.home.timezone}}
        answers: dict[str, Any] = {
            "details": lambda: {"details": {"id": FIRST.id, "name": FIRST.name, **place}},
            "inventory": lambda: {"Inventory": {"inverters": [{"SN": "7E1-01", "model": "SE5K"}]}},
            "energyDetails": lambda: _v1_energies(query, self.clock.now()),
        }
        name = path.rpartition("/")[2]
        if name not in answers:
            raise Refused(404, "Not Found")
        return answers[name]()


def _details(site: SolarSite) -> Body:
    return {
        "siteId": site.id,
        "name": site.name,
        "peakPower": 6.0,
        "installationDate": "2026-01-01T00:00:00+01:00",
        "location": {"city": "Simulated", "timezone": site.home.timezone},
        "activationStatus": "ACTIVE",
    }


def _devices(site: SolarSite) -> list[Body]:
    inverter = {"type": "INVERTER", "serialNumber": f"INV-{site.id}", "model": "SE5K", "active": True}
    meter = {"type": "METER", "serialNumber": f"MTR-{site.id}", "active": True, "meterType": "EXPORT_IMPORT"}
    battery = {"type": "BATTERY", "serialNumber": f"BAT-{site.id}", "model": "Home Battery", "active": True}
    return [inverter, meter, *([battery] if site.home.battery_wh else [])]


def _buckets(site: SolarSite, start: datetime, end: datetime, resolution: str) -> list[tuple[datetime, datetime]]:
    if resolution == "DAY":
        return [day_span(day, site.home.zone) for day in days_between(start, end, site.home.zone)]
    count = int((end - start) / QUARTER)
    return [(start + QUARTER * step, start + QUARTER * (step + 1)) for step in range(count)]


def _series(site: SolarSite, buckets: list[tuple[datetime, datetime]], now: datetime, member: str) -> Body:
    """In Wh; a bucket that is not over is null."""
    rows = []
    for start, end in buckets:
        energy: Energy = site.home.energy(start.timestamp(), min(end, max(now, start)).timestamp())
        over = end <= now or (end - start > QUARTER and start < now)
        stamp = start.astimezone(site.home.zone).isoformat()
        rows.append({"timestamp": stamp, "value": round(getattr(energy, member), 3) if over else None})
    return {"unit": "PERCENTAGE" if member == "soc_percent" else "WH", "values": rows}


def _energy(site: SolarSite, buckets: list[tuple[datetime, datetime]], now: datetime) -> Body:
    return {"resolution": "QUARTER_HOUR", **_series(site, buckets, now, "solar_wh")}


def _inverters(site: SolarSite, buckets: list[tuple[datetime, datetime]], now: datetime) -> Body:
    return {"inverters": {f"INV-{site.id}": {"energy": _series(site, buckets, now, "solar_wh")}}}


def _meters(site: SolarSite, buckets: list[tuple[datetime, datetime]], now: datetime) -> Body:
    pair = {"importEnergy": "import_wh", "exportEnergy": "export_wh"}
    return {"meters": {f"MTR-{site.id}": {name: _series(site, buckets, now, of) for name, of in pair.items()}}}


def _storage(site: SolarSite, buckets: list[tuple[datetime, datetime]], now: datetime) -> Body:
    if not site.home.battery_wh:
        return {"storage": {}}
    pair = {"chargeEnergy": "charge_wh", "dischargeEnergy": "discharge_wh", "stateOfEnergy": "soc_percent"}
    return {"storage": {f"BAT-{site.id}": {name: _series(site, buckets, now, of) for name, of in pair.items()}}}


SERIES = {
    "/energy": _energy,
    "/inverters/telemetry": _inverters,
    "/meters/telemetry": _meters,
    "/storage/telemetry": _storage,
}


def _v1_energies(query: Mapping[str, str], now: datetime) -> Body:
    """Local times without offset; a value that does not exist yet is left out."""
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
    """A fresh stand-in; `cloud` brings other dials, `app_credentials` another way in."""
    cloud = cloud or Cloud()
    handlers = [page, consent, token, data, legacy, state]
    return Simulator(
        vendor="solaredge",
        stands_in_for=HOSTS,
        app=Litestar(handlers, openapi_config=None, logging_config=None, state=State({"cloud": cloud})),
        clock=cloud.clock,
        app_credentials=app_credentials,
        owner_choice={"owner": "grants"},
        call_limits={"minute": 60, "month": 100_000},  # more than the free tier's
        notes=("Also accepts joinder_solaredge.simulator.FLEET: a key that opens two sites.",),
    )
