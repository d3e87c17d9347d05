"""A stand-in for Tesla's consent page, token host and regional Fleet API hosts (told apart by the Host header).

Owners: grants (North America), two-sites (Europe: a battery site and one with inverters alone), no-sites (a car),
denies, revokes-later. `Cloud(registered=())` answers 412 until the operator action `register` ran;
`Cloud(null_days=True)` answers empty days with null; `Cloud(server_errors=n)` refuses n refreshes with a 400.
"""

from __future__ import annotations

import base64
import json
import secrets
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from litestar import Litestar, Request, Response, get, post
from litestar.datastructures import State

from joinder.series import day_span, days_between
from joinder.simulate import Simulator
from joinder.simulate.clock import SimulatedClock
from joinder.simulate.home import Home
from joinder.simulate.oauth import (
    Issued,
    Rotation,
    TokenRefused,
    TokenService,
    back_to,
    bearer,
    consent_page,
    error_page,
)

NA, EU = "fleet-api.prd.na.vn.cloud.tesla.com", "fleet-api.prd.eu.vn.cloud.tesla.com"
HOSTS = ("auth.tesla.com", "fleet-auth.prd.vn.cloud.tesla.com", NA, EU)
APP = {"vendor": "tesla", "type": "app", "clientID": "simulated-client", "clientSecret": "simulated-client-secret"}
ACCESS_LIFE_S, REFRESH_LIFE_S, GRACE_S = 28800, 90 * 86400, 86400
Body = dict[str, Any]
Incoming = Request[Any, Any, State]


@dataclass(frozen=True)
class EnergySite:
    id: int
    name: str
    home: Home

    @property
    def battery(self) -> bool:
        return self.home.battery_wh > 0


HOME = EnergySite(2252000000000001, "Tesla home", Home(seed=71, timezone="America/Los_Angeles", battery_wh=13500))
HOUSE = EnergySite(2252000000000002, "Tesla house", Home(seed=72, timezone="Europe/Oslo", battery_wh=27000))
ROOF = EnergySite(2252000000000003, "Tesla roof", Home(seed=73, timezone="Europe/Oslo", battery_wh=0))
OWNERS: Mapping[str, tuple[EnergySite, ...]] = {
    "grants": (HOME,),
    "two-sites": (HOUSE, ROOF),
    "no-sites": (),
    "denies": (),
    "revokes-later": (HOME,),
}
CAR = {"id": 1, "vehicle_id": 1, "vin": "LRW00000000000000", "display_name": "Car"}
_PREFIX = {"code": "NA_", "refresh": "NA_", "access": ""}


class Refused(Exception):
    def __init__(self, status: int, error: str) -> None:
        super().__init__(error)
        self.status = status
        self.body = {"response": None, "error": error, "error_description": ""}


class Cloud:
    def __init__(
        self, *, registered: tuple[str, ...] = (NA, EU), null_days: bool = False, server_errors: int = 0
    ) -> None:
        self.clock = SimulatedClock()
        self.registered = set(registered)
        self.null_days, self.server_errors = null_days, server_errors
        self.calls: Counter[str] = Counter()
        self.tokens = TokenService(
            self.clock,
            {APP["clientID"]: APP["clientSecret"]},
            access_life_s=ACCESS_LIFE_S,
            refresh_life_s=REFRESH_LIFE_S,
            rotation=Rotation(mode="grace", grace_seconds=GRACE_S),
            new_token=_new_token,
            refused={
                "client": (400, "unauthorized_client"),
                "code": (400, "invalid_auth_code"),
                "refresh_token": (401, "login_required"),
                "expired": (401, "login_required"),
            },
        )

    def grant(self, form: Mapping[str, str]) -> Body:
        """The token answer. Raises TokenRefused."""
        kind, client_id = form.get("grant_type"), form.get("client_id", "")
        self.tokens.check_client(client_id, None if kind == "refresh_token" else form.get("client_secret", ""))
        if kind == "refresh_token":
            if self.server_errors > 0:
                self.server_errors -= 1
                raise TokenRefused(400, "server_error")
            return _token(self.tokens.by_refresh(client_id, form.get("refresh_token", "")))
        if form.get("audience", "").removeprefix("https://") not in (NA, EU):
            raise TokenRefused(400, "invalid_request")
        if kind == "client_credentials":
            return {"access_token": f"partner-{form['audience']}", "expires_in": 28800, "token_type": "Bearer"}
        issued = self.tokens.by_code(client_id, form.get("code", ""), form.get("redirect_uri", ""))
        return _token(issued)

    def register(self, host: str, token: str) -> Body:
        if token != f"partner-https://{host}":
            raise Refused(401, "invalid bearer token")
        self.registered.add(host)
        return {"response": {"domain": "simulated"}}

    def answer(self, host: str, path: str, query: Mapping[str, str], token: str) -> Any:
        """`response` of GET /api/1/`path` on a regional host. Raises Refused."""
        holder = self.tokens.holder(token)
        if holder is None:
            raise Refused(401, "token expired (401)")
        parts = path.split("/")
        self.calls[parts[-1]] += 1
        own = EU if holder.owner == "two-sites" else NA
        if path == "users/region":
            return {"region": "eu" if own == EU else "na", "fleet_api_base_url": f"https://{own}"}
        if host != own:
            link = "see https://developer.tesla.com/docs/fleet-api#regional-requirements"
            raise Refused(421, f"user out of region, use base URL: https://{own}, {link}")
        if host not in self.registered:
            raise Refused(412, f"Account 2fc1d3f9 must be registered in the current region https://{host}")
        sites = {str(site.id): site for site in OWNERS[holder.owner]}
        if path == "products":
            return [CAR, *(_product(site) for site in sites.values())]
        if len(parts) != 3 or parts[1] not in sites:
            raise Refused(404, "not_found")
        return self._site(sites[parts[1]], parts[2], query)

    def _site(self, site: EnergySite, endpoint: str, query: Mapping[str, str]) -> Any:
        now = self.clock.now()
        if endpoint == "site_info":
            return _info(site)
        if endpoint == "live_status":
            return _live(site, now)
        if endpoint != "calendar_history" or query.get("kind") not in ("power", "energy"):
            raise Refused(400, "invalid_request")
        start, end = (datetime.fromisoformat(query[name]) for name in ("start_date", "end_date"))
        rows: list[Body] | None = None
        if (end.hour, end.minute, end.second) != (0, 0, 0):  # midnight answers nothing
            rows = _power(site, start, min(end, now)) if query["kind"] == "power" else _energy(site, start, end, now)
        series = {"time_series": rows or None} if self.null_days else {"time_series": rows or []}
        return {"serial_number": "SIM", "installation_time_zone": site.home.timezone, **series}


def _new_token(kind: str) -> str:
    """Codes and refresh tokens carry the region; access tokens have the form of a JWT."""
    if kind != "access":
        return f"{_PREFIX[kind]}{secrets.token_hex(20)}"
    return ".".join(_part({"alg": "RS256", "n": secrets.token_hex(8)}) for _ in range(3))


def _token(issued: Issued) -> Body:
    return {
        "access_token": issued.access_token,
        "refresh_token": issued.refresh_token,
        "id_token": "simulated",
        "expires_in": ACCESS_LIFE_S,
        "token_type": "Bearer",
    }


def _part(claims: Body) -> str:
    return base64.urlsafe_b64encode(json.dumps(claims).encode()).decode().rstrip("=")


def _product(site: EnergySite) -> Body:
    return {
        "energy_site_id": site.id,
        "resource_type": "battery" if site.battery else "solar",
        "components": {"battery": site.battery, "solar": True, "grid": True, "load_meter": True},
        **({"site_name": site.name} if site.battery else {}),
    }


def _info(site: EnergySite) -> Body:
    components: Body = {"solar": True, "battery": site.battery, "grid": True, "load_meter": True}
    if site.battery:
        count = int(site.home.battery_wh // 13500)
        components["batteries"] = [
            {
                "din": f"din-{number}",
                "serial_number": f"TG00000{number}",
                "part_name": "Powerwall 2",
                "nameplate_energy": 13500,
            }
            for number in range(1, count + 1)
        ]
    return {
        "site_name": site.name,
        "installation_date": "2026-01-01T00:00:00+00:00",
        "installation_time_zone": site.home.timezone,
        "default_real_mode": "self_consumption",
        "components": components,
    }


def _live(site: EnergySite, now: datetime) -> Body:
    power = site.home.power(now.timestamp())
    return {
        "timestamp": now.astimezone(site.home.zone).replace(microsecond=0).isoformat(),
        "solar_power": power.solar_w,
        "battery_power": power.battery_w,
        "grid_power": power.grid_w,
        "load_power": power.load_w,
        "generator_power": 0,
        "percentage_charged": power.soc_percent,
        "grid_status": "Active",
    }


def _power(site: EnergySite, start: datetime, end: datetime) -> list[Body]:
    """Mean W of five minutes with a battery, of fifteen without."""
    step = 300 if site.battery else 900
    rows = []
    for at in range(int(start.timestamp()), int(end.timestamp()) - step + 2, step):
        energy, hours = site.home.energy(at, at + step), step / 3600
        rows.append(
            {
                "timestamp": datetime.fromtimestamp(at, site.home.zone).isoformat(),
                "solar_power": energy.solar_wh / hours,
                "battery_power": (energy.discharge_wh - energy.charge_wh) / hours,
                "grid_power": (energy.import_wh - energy.export_wh) / hours,
                "grid_services_power": 0,
                "generator_power": 0,
            }
        )
    return rows


def _energy(site: EnergySite, start: datetime, end: datetime, now: datetime) -> list[Body]:
    """A row a day, stamped at one o'clock; members that are 0 in total are left out."""
    rows = []
    for day in days_between(start, end, site.home.zone):
        first, last = day_span(day, site.home.zone)
        if first >= now:
            break
        energy = site.home.energy(first.timestamp(), min(last, now).timestamp())
        row = {
            "solar_energy_exported": energy.solar_wh,
            "grid_energy_imported": energy.import_wh,
            "grid_energy_exported_from_solar": energy.export_wh,
            "battery_energy_exported": energy.discharge_wh,
            "battery_energy_imported_from_solar": energy.charge_wh,
            "consumer_energy_imported_from_grid": energy.import_wh,
            "consumer_energy_imported_from_battery": energy.discharge_wh,
            "consumer_energy_imported_from_solar": energy.load_wh - energy.import_wh - energy.discharge_wh,
        }
        stamp = (first + timedelta(hours=1)).astimezone(site.home.zone).isoformat()
        rows.append({"timestamp": stamp, **{name: value for name, value in row.items() if value}})
    return rows


def _cloud(request: Incoming) -> Cloud:
    cloud: Cloud = request.app.state.cloud
    return cloud


@get("/oauth2/v3/authorize", sync_to_thread=False)
def page(request: Incoming) -> Response[str]:
    query = request.query_params
    if query.get("client_id") != APP["clientID"] or not query.get("state"):
        return error_page("We don't recognize this client_id")
    return consent_page("Simulated Tesla", "/oauth2/v3/authorize", query, OWNERS)


@post("/oauth2/v3/authorize")
async def consent(request: Incoming) -> Response[Any]:
    form = await request.form()
    owner, redirect_uri, state = (str(form.get(name, "")) for name in ("owner", "redirect_uri", "state"))
    if owner == "denies" or owner not in OWNERS:
        return back_to(redirect_uri, error="access_denied", state=state)
    tokens = _cloud(request).tokens
    tokens.revoke(owner)  # a new consent ends the account's older one with this app
    code = tokens.new_code(APP["clientID"], owner, redirect_uri)
    return back_to(redirect_uri, code=code, state=state, issuer="https://auth.tesla.com/oauth2/v3", locale="en-US")


@post("/oauth2/v3/token")
async def token(request: Incoming) -> Response[Body]:
    form = {name: str(value) for name, value in (await request.form()).items()}
    try:
        return Response(_cloud(request).grant(form), status_code=200)
    except TokenRefused as refused:
        body = {"error": refused.error, "error_description": "Simulated", "error_uri": "https://auth.tesla.com/error"}
        return Response(body, status_code=refused.status)


@get("/api/1/{path:path}", sync_to_thread=False)
def data(request: Incoming) -> Response[Body]:
    path, host = request.scope["path"].removeprefix("/api/1/"), request.headers.get("host", "")
    sent = bearer(request.headers.get("authorization", ""))
    try:
        return Response({"response": _cloud(request).answer(host, path, request.query_params, sent)})
    except Refused as refused:
        return Response(refused.body, status_code=refused.status)


@post("/api/1/partner_accounts", sync_to_thread=False)
def partner_accounts(request: Incoming) -> Response[Body]:
    sent = bearer(request.headers.get("authorization", ""))
    try:
        return Response(_cloud(request).register(request.headers.get("host", ""), sent), status_code=200)
    except Refused as refused:
        return Response(refused.body, status_code=refused.status)


@get("/_state", sync_to_thread=False)
def state(request: Incoming) -> Body:
    cloud = _cloud(request)
    return {**cloud.tokens.counts(), "calls": dict(cloud.calls), "registered": sorted(cloud.registered)}


def simulator(cloud: Cloud | None = None) -> Simulator:
    """A fresh stand-in; `cloud` brings other dials."""
    cloud = cloud or Cloud()
    handlers = [page, consent, token, data, partner_accounts, state]
    return Simulator(
        vendor="tesla",
        stands_in_for=HOSTS,
        app=Litestar(handlers, openapi_config=None, logging_config=None, state=State({"cloud": cloud})),
        clock=cloud.clock,
        app_credentials=APP,
        owner_choice={"owner": "grants"},
    )
