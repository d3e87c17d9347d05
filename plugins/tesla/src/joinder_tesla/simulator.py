"""A stand-in for Tesla's consent page, token host and regional Fleet API hosts (told apart by the Host header).

Owners: grants (North America), two-sites (Europe: a battery site and one with inverters alone), no-sites (a car),
denies, revokes-later; and odd ones: roof-by-offset (no zone name, an offset that follows summer time),
ignores-summer-time (a zone name, and rows by standard time all year), adds-powerwall (rows of 15 minutes until noon of
yesterday, of 5 since), off-grid (with a generator). `Cloud(registered=())` answers 412 until the operator action
`register` ran; `Cloud(null_days=True)` answers empty days with null; `Cloud(server_errors=n)` refuses n refreshes with
a 400; `Cloud(closed_kinds=("soe",))` refuses these pages of history.

A day's rows begin at midnight of the start's date on the site's own clock and end at the instant of `end_date`; days of
a span whose start and end have different offsets are answered by the first day after it alone.
"""

from __future__ import annotations

import base64
import json
import secrets
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta, timezone, tzinfo
from typing import Any, Literal

from litestar import Litestar, Request, Response, get, post
from litestar.datastructures import State

from joinder.energy import DeviceKind, MeterRole
from joinder.simulate import Simulator
from joinder.simulate.clock import SimulatedClock
from joinder.simulate.home import Home
from joinder.simulate.oauth import (
    Family,
    Issued,
    Rotation,
    TokenRefused,
    TokenService,
    back_to,
    bearer,
    consent_page,
    error_page,
)
from joinder.simulate.truth import Owner, TrueDevice, TrueSite

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
    names_zone: bool = True
    clock: Literal["zone", "offset of now", "standard time"] = "zone"  # by which its days and stamps go
    adds_powerwall: bool = False
    off_grid: bool = False
    generator_w: float = 0.0

    @property
    def battery(self) -> bool:
        return self.home.battery_wh > 0

    def clock_at(self, now: datetime) -> tzinfo:
        if self.clock == "zone":
            return self.home.zone
        return timezone(_offset(self, now if self.clock == "offset of now" else now.replace(month=1, day=1)))

    def row_seconds(self, at: float, now: datetime) -> int:
        """Returns 5 minutes with a battery, 15 without."""
        if not self.battery:
            return 900
        noon = datetime.combine(now.astimezone(self.home.zone).date() - timedelta(days=1), time(12), self.home.zone)
        return 900 if self.adds_powerwall and at < noon.timestamp() else 300


def _offset(site: EnergySite, at: datetime) -> timedelta:
    return at.astimezone(site.home.zone).utcoffset() or timedelta(0)


HOME = EnergySite(2252000000000001, "Tesla home", Home(seed=71, timezone="America/Los_Angeles", battery_wh=13500))
HOUSE = EnergySite(2252000000000002, "Tesla house", Home(seed=72, timezone="Europe/Oslo", battery_wh=27000))
ROOF = EnergySite(2252000000000003, "Tesla roof", Home(seed=73, timezone="Europe/Oslo", battery_wh=0))
BY_OFFSET = EnergySite(
    2252000000000004,
    "Tesla roof by offset",
    Home(seed=74, timezone="America/New_York", battery_wh=0),
    names_zone=False,
    clock="offset of now",
)
STANDARD = EnergySite(
    2252000000000005,
    "Tesla roof in standard time",
    Home(seed=75, timezone="America/Denver", battery_wh=0),
    clock="standard time",
)
GROWING = EnergySite(
    2252000000000006,
    "Tesla home with a new battery",
    Home(seed=76, timezone="America/Los_Angeles", battery_wh=13500),
    adds_powerwall=True,
)
CABIN = EnergySite(
    2252000000000007,
    "Tesla cabin",
    Home(seed=77, timezone="America/Los_Angeles", battery_wh=13500),
    off_grid=True,
    generator_w=2000.0,
)
OWNERS: Mapping[str, tuple[EnergySite, ...]] = {
    "grants": (HOME,),
    "two-sites": (HOUSE, ROOF),
    "no-sites": (),
    "denies": (),
    "revokes-later": (HOME,),
    "roof-by-offset": (BY_OFFSET,),
    "ignores-summer-time": (STANDARD,),
    "adds-powerwall": (GROWING,),
    "off-grid": (CABIN,),
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
        self,
        *,
        registered: tuple[str, ...] = (NA, EU),
        null_days: bool = False,
        server_errors: int = 0,
        closed_kinds: tuple[str, ...] = (),
    ) -> None:
        self.clock = SimulatedClock()
        self.registered = set(registered)
        self.null_days, self.server_errors, self.closed_kinds = null_days, server_errors, closed_kinds
        self.calls: Counter[str] = Counter()
        self.tokens = TokenService(
            self.clock,
            {APP["clientID"]: APP["clientSecret"]},
            access_life_s=ACCESS_LIFE_S,
            refresh_life_s=REFRESH_LIFE_S,
            rotation=Rotation(mode="grace", grace_seconds=GRACE_S),
            new_token=_new_token,
            access_token=_access_token,
            refused={
                "client": (400, "unauthorized_client"),
                "code": (400, "invalid_auth_code"),
                "refresh_token": (401, "login_required"),
                "expired": (401, "login_required"),
            },
        )

    def grant(self, form: Mapping[str, str]) -> Body:
        """Returns the token answer. Raises TokenRefused."""
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
        """Returns `response` of GET /api/1/`path` on a regional host. Raises Refused."""
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
            return _info(site, now)
        if endpoint == "live_status":
            return _live(site, now)
        kind = query.get("kind", "")
        if endpoint != "calendar_history" or kind not in _KINDS:
            raise Refused(400, "invalid_request")
        if kind in self.closed_kinds:
            raise Refused(403, "Unauthorized missing scopes")
        start, end = (datetime.fromisoformat(query[name]) for name in ("start_date", "end_date"))
        rows: list[Body] = []
        if (end.hour, end.minute, end.second) != (0, 0, 0):  # midnight answers nothing
            rows = _KINDS[kind](site, start, end, now)
        series = {"time_series": rows or None} if self.null_days else {"time_series": rows}
        return {"serial_number": "SIM", **_zone_of(site, now), **series}


def _new_token(kind: str) -> str:
    """Codes and refresh tokens carry the region."""
    return f"{_PREFIX[kind]}{secrets.token_hex(20)}"


def _access_token(family: Family) -> str:
    """Has the form of a JWT, which says whose account it is."""
    said: tuple[Body, ...] = ({"alg": "RS256"}, {"sub": f"account-{family.owner}"}, {})
    return ".".join(_part({**claims, "n": secrets.token_hex(8)}) for claims in said)


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


def _zone_of(site: EnergySite, now: datetime) -> Body:
    if site.names_zone:
        return {"installation_time_zone": site.home.timezone}
    offset = site.clock_at(now).utcoffset(now) or timedelta(0)
    return {"installation_time_zone": "", "time_zone_offset": int(offset.total_seconds()) // 60}


BATTERY_WH = 13500


def _truth(site: EnergySite) -> TrueSite:
    """Lists batteries by serial, as Tesla does, and of the rest only that it is there."""
    count = int(site.home.battery_wh // BATTERY_WH)
    batteries = [
        TrueDevice(kind=DeviceKind.BATTERY, serial=f"TG00000{number}", share=1 / count, nameplate_wh=BATTERY_WH)
        for number in range(1, count + 1)
    ]
    sun = TrueDevice(kind=DeviceKind.INVERTER)
    meter = TrueDevice(kind=DeviceKind.METER, role=MeterRole.GRID)
    return TrueSite(home=site.home, devices=(*batteries, sun, meter), net_s=300 if site.battery else 900)


def _info(site: EnergySite, now: datetime) -> Body:
    components: Body = {"solar": True, "battery": site.battery, "grid": True, "load_meter": True}
    if site.battery:
        count = int(site.home.battery_wh // BATTERY_WH)
        components["batteries"] = [
            {
                "din": f"din-{number}",
                "serial_number": f"TG00000{number}",
                "part_name": "Powerwall 2",
                "nameplate_energy": BATTERY_WH,
            }
            for number in range(1, count + 1)
        ]
    return {
        "site_name": site.name,
        "installation_date": "2026-01-01T00:00:00+00:00",
        **_zone_of(site, now),
        "default_real_mode": "self_consumption",
        "components": components,
    }


def _live(site: EnergySite, now: datetime) -> Body:
    """Tells power now; off the grid the battery carries what sun and generator do not."""
    power = site.home.power(now.timestamp())
    islanded = power.load_w - power.solar_w - site.generator_w
    return {
        "timestamp": now.astimezone(site.clock_at(now)).replace(microsecond=0).isoformat(),
        "solar_power": power.solar_w,
        "battery_power": islanded if site.off_grid else power.battery_w,
        "grid_power": 0 if site.off_grid else power.grid_w,
        "load_power": power.load_w,
        "generator_power": site.generator_w,
        "percentage_charged": power.soc_percent,
        "grid_status": "Inactive" if site.off_grid else "Active",
        "island_status": "off_grid_unintentional" if site.off_grid else "on_grid",
    }


def _stamps(
    site: EnergySite, start: datetime, end: datetime, now: datetime, step_s: int | None
) -> list[tuple[int, int]]:
    """Starts of rows and their lengths, in epoch seconds."""
    at = int(datetime.combine(start.date(), time(), site.clock_at(now)).timestamp())
    until, found = min(end + timedelta(seconds=1), now).timestamp(), []
    while at + (step := step_s or site.row_seconds(at, now)) <= until:
        found.append((at, step))
        at += step
    return found


def _power(site: EnergySite, start: datetime, end: datetime, now: datetime) -> list[Body]:
    """Returns the mean W of five minutes with a battery, of fifteen without."""
    rows, clock = [], site.clock_at(now)
    for at, step in _stamps(site, start, end, now, None):
        energy, hours = site.home.energy(at, at + step), step / 3600
        rows.append(
            {
                "timestamp": datetime.fromtimestamp(at, clock).isoformat(),
                "solar_power": energy.solar_wh / hours,
                "battery_power": (energy.discharge_wh - energy.charge_wh) / hours,
                "grid_power": (energy.import_wh - energy.export_wh) / hours,
                "grid_services_power": 0,
                "generator_power": 0,
            }
        )
    return rows


def _soe(site: EnergySite, start: datetime, end: datetime, now: datetime) -> list[Body]:
    """Returns whole percents of quarter hours; nothing without a battery."""
    return [
        {
            "timestamp": datetime.fromtimestamp(at, site.clock_at(now)).isoformat(),
            "soe": round(site.home.energy(at, at + step).soc_percent),
        }
        for at, step in (_stamps(site, start, end, now, 900) if site.battery else ())
    ]


def _energy(site: EnergySite, start: datetime, end: datetime, now: datetime) -> list[Body]:
    """Returns a row a day, stamped at one o'clock; the totals alone are left out where they are 0."""
    clock, first, last = site.clock_at(now), start.date(), end.date()
    if start.utcoffset() != end.utcoffset():
        first = last = end.date() + timedelta(days=1)
    days = [first + timedelta(days=number) for number in range((last - first).days + 1)]
    return [_energy_row(site, day, clock, now) for day in days if datetime.combine(day, time(), clock) < now]


def _energy_row(site: EnergySite, day: date, clock: tzinfo, now: datetime) -> Body:
    first, last = (datetime.combine(at, time(), clock) for at in (day, day + timedelta(days=1)))
    energy = site.home.energy(first.timestamp(), min(last, now).timestamp())
    totals = {
        "total_home_usage": energy.load_wh,
        "total_battery_charge": energy.charge_wh,
        "total_grid_energy_exported": energy.export_wh,
    }
    return {
        "timestamp": (first + timedelta(hours=1)).isoformat(),
        **dict.fromkeys(_NEVER, 0),
        "solar_energy_exported": energy.solar_wh,
        "grid_energy_imported": energy.import_wh,
        "grid_energy_exported_from_solar": energy.export_wh,
        "battery_energy_exported": energy.discharge_wh,
        "battery_energy_imported_from_solar": energy.charge_wh,
        "consumer_energy_imported_from_grid": energy.import_wh,
        "consumer_energy_imported_from_battery": energy.discharge_wh,
        "consumer_energy_imported_from_solar": energy.load_wh - energy.import_wh - energy.discharge_wh,
        **{name: wh for name, wh in totals.items() if wh},
    }


_NEVER = (
    "generator_energy_exported",
    "grid_energy_exported_from_generator",
    "grid_energy_exported_from_battery",
    "battery_energy_imported_from_grid",
    "battery_energy_imported_from_generator",
    "consumer_energy_imported_from_generator",
)
_KINDS = {"power": _power, "energy": _energy, "soe": _soe}


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


@post("/oauth2/v3/revoke")
async def revoke(request: Incoming) -> Response[Body | None]:
    """Answers an unknown token as a known one (RFC 7009)."""
    form, tokens = {name: str(value) for name, value in (await request.form()).items()}, _cloud(request).tokens
    client_id = form.get("client_id", "")
    try:
        tokens.check_client(client_id, form.get("client_secret"))
    except TokenRefused as refused:
        return Response({"error": refused.error, "error_description": "Simulated"}, status_code=refused.status)
    tokens.take_back(client_id, form.get("token", ""))
    return Response(None, status_code=200)


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
    """Makes a fresh stand-in; `cloud` brings other dials."""
    cloud = cloud or Cloud()
    handlers = [page, consent, token, revoke, data, partner_accounts, state]
    return Simulator(
        vendor="tesla",
        stands_in_for=HOSTS,
        app=Litestar(handlers, openapi_config=None, logging_config=None, state=State({"cloud": cloud})),
        clock=cloud.clock,
        home={str(site.id): _truth(site) for site in (HOME, HOUSE, ROOF)},
        app_credentials=APP,
        owner_choice={"owner": "grants"},
        owners={
            name: Owner(answers={"owner": name}, site_ids=tuple(str(site.id) for site in OWNERS[name]))
            for name in ("grants", "two-sites", "no-sites", "revokes-later")
        },
    )
