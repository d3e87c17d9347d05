"""A stand-in for Acme on 127.0.0.1: consent page, token endpoint, three homes.

Owners: grants (two sites, each with two inverters and a battery; the list comes in pages of one), second (another
site), no-sites, denies, revokes-later. Of the second site Acme keeps no row from 13:15 to 13:30, and its second
inverter is silent from 10 to 11 o'clock, local time. What is made up about Acme is only here: give your vendor's.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from litestar import Litestar, Request, Response, get, post
from litestar.datastructures import State

from joinder.energy import DeviceKind, MeterRole
from joinder.errors import AuthorizationLost, NotSupported
from joinder.series import day_span, days_between
from joinder.simulate import Simulator
from joinder.simulate.clock import SimulatedClock
from joinder.simulate.home import Home
from joinder.simulate.oauth import TokenRefused, TokenService, back_to, basic, bearer, consent_page
from joinder.simulate.truth import Owner, Refusal, TrueDevice, TrueSite

APP = {"vendor": "acme", "type": "oauth", "clientID": "acme-simulated", "clientSecret": "acme-simulated-secret"}
ACCESS_LIFE_S, REFRESH_LIFE_S = 3600, 90 * 86400
PAGE_SIZE = 1
SHARES = (0.6, 0.4)  # of the sun, by inverter
Incoming = Request[Any, Any, State]
Body = dict[str, Any]


@dataclass(frozen=True)
class AcmeSite:
    """`has_gaps`: one quarter hour a day without a row, and an hour in which the second inverter is silent."""

    number: int
    home: Home
    has_gaps: bool = False

    @property
    def id(self) -> str:
        return f"site-{self.number}"

    def is_missing(self, start: float) -> bool:
        local = datetime.fromtimestamp(start, self.home.zone)
        return self.has_gaps and (local.hour, local.minute) == (13, 15)

    def is_silent(self, start: float) -> bool:
        return self.has_gaps and datetime.fromtimestamp(start, self.home.zone).hour == 10

    @property
    def truth(self) -> TrueSite:
        """Returns what the checks compare with: made of the home, never of the answers below."""
        first, second = (
            TrueDevice(
                kind=DeviceKind.INVERTER,
                serial=f"INV-{self.number}{index}",
                share=share,
                **({"silent": self.is_silent} if index == 2 else {}),
            )
            for index, share in enumerate(SHARES, 1)
        )
        battery = TrueDevice(kind=DeviceKind.BATTERY, serial=f"BAT-{self.number}", nameplate_wh=self.home.battery_wh)
        meter = TrueDevice(kind=DeviceKind.METER, serial=f"MTR-{self.number}", role=MeterRole.GRID)
        return TrueSite(home=self.home, devices=(first, second, battery, meter), missing=self.is_missing)


FIRST = AcmeSite(1, Home(seed=7, timezone="Europe/Berlin"))
SECOND = AcmeSite(2, Home(seed=8, timezone="America/New_York", battery_wh=13500), has_gaps=True)
THIRD = AcmeSite(3, Home(seed=9, timezone="Europe/Berlin"))
OWNERS = {"grants": (FIRST, SECOND), "second": (THIRD,), "no-sites": (), "denies": (), "revokes-later": (FIRST,)}


class Cloud:
    def __init__(self) -> None:
        self.clock = SimulatedClock()
        clients = {APP["clientID"]: APP["clientSecret"]}
        self.tokens = TokenService(self.clock, clients, access_life_s=ACCESS_LIFE_S, refresh_life_s=REFRESH_LIFE_S)


def cloud_of(request: Incoming) -> Cloud:
    cloud: Cloud = request.app.state.cloud
    return cloud


@get("/authorize", sync_to_thread=False)
def page(request: Incoming) -> Response[str]:
    return consent_page("Simulated Acme", "/authorize", request.query_params, OWNERS)


@post("/authorize")
async def consent(request: Incoming) -> Response[Any]:
    form = await request.form()
    owner, redirect_uri, state = (str(form.get(name, "")) for name in ("owner", "redirect_uri", "state"))
    if owner == "denies" or owner not in OWNERS:
        return back_to(redirect_uri, error="access_denied", state=state)
    code = cloud_of(request).tokens.new_code(str(form.get("client_id", "")), owner, redirect_uri)
    return back_to(redirect_uri, code=code, state=state)


@post("/token")
async def token(request: Incoming) -> Response[dict[str, Any]]:
    form, tokens = await request.form(), cloud_of(request).tokens
    client_id, client_secret = basic(request.headers.get("authorization", ""))
    try:
        tokens.check_client(client_id, client_secret)
        if form.get("grant_type") == "authorization_code":
            issued = tokens.by_code(client_id, str(form.get("code", "")), str(form.get("redirect_uri", "")))
        else:
            issued = tokens.by_refresh(client_id, str(form.get("refresh_token", "")))
    except TokenRefused as refused:
        return Response({"error": refused.error}, status_code=refused.status)
    body = {"access_token": issued.access_token, "refresh_token": issued.refresh_token, "token_type": "Bearer"}
    return Response({**body, "expires_in": int(tokens.access_life_s)}, status_code=200)


@post("/revoke")
async def revoke(request: Incoming) -> Response[None]:
    """Answers an unknown token as a known one (RFC 7009)."""
    form, tokens = await request.form(), cloud_of(request).tokens
    client_id, client_secret = basic(request.headers.get("authorization", ""))
    try:
        tokens.check_client(client_id, client_secret)
    except TokenRefused as refused:
        return Response(None, status_code=refused.status)
    tokens.take_back(client_id, str(form.get("token", "")))
    return Response(None, status_code=200)


@get("/v1/{path:path}", sync_to_thread=False)
def data(request: Incoming) -> Response[Body]:
    cloud, path = cloud_of(request), request.scope["path"].removeprefix("/v1/sites").strip("/")
    holder = cloud.tokens.holder(bearer(request.headers.get("authorization", "")))
    if holder is None:
        return Response({"error": "unauthorized"}, status_code=401)
    sites = {site.id: site for site in OWNERS[holder.owner]}
    if path == "":
        return Response({"account": f"account-{holder.owner}", **_page(list(sites), int(request.query_params["page"]))})
    site_id, _, rest = path.partition("/")
    body = _of(sites[site_id], rest, request.query_params, cloud.clock.now()) if site_id in sites else None
    return Response(body) if body is not None else Response({"error": "not found"}, status_code=404)


def _page(ids: list[str], number: int) -> Body:
    shown = ids[(number - 1) * PAGE_SIZE : number * PAGE_SIZE]
    return {"sites": [{"id": site_id} for site_id in shown], "pages": -(-len(ids) // PAGE_SIZE)}


def _of(site: AcmeSite, rest: str, query: Any, now: datetime) -> Body | None:
    """Finds it; None: there is no such thing."""
    if rest == "":
        return _details(site)
    if rest == "power":
        return _power(site, now)
    if rest == "energy":
        return {"rows": [_row(site, *span) for span in _spans(site, query, now)]}
    serial = rest.removeprefix("devices/").removesuffix("/energy")
    device = next((one for one in site.truth.devices if one.serial == serial), None)
    return {"rows": _device_rows(site, device, query, now)} if device else None


def _details(site: AcmeSite) -> Body:
    devices = [
        {"serial": device.serial, "kind": str(device.kind), "capacity_wh": device.nameplate_wh}
        for device in site.truth.devices
    ]
    return {"id": site.id, "name": f"Acme home {site.number}", "timezone": site.home.timezone, "devices": devices}


def _spans(site: AcmeSite, query: Any, now: datetime) -> list[tuple[datetime, datetime]]:
    start, end = (datetime.fromisoformat(query[name]) for name in ("start", "end"))
    if query["step"] == "day":
        spans = [day_span(day, site.home.zone) for day in days_between(start, end, site.home.zone)]
    else:
        quarter = timedelta(minutes=15)
        spans = [(start + quarter * step, start + quarter * (step + 1)) for step in range(int((end - start) / quarter))]
        spans = [span for span in spans if not site.is_missing(span[0].timestamp())]
    return [span for span in spans if span[1] <= now]


def _row(site: AcmeSite, start: datetime, end: datetime) -> Body:
    """Returns a row; while an inverter is silent its part is missing, and the row says so."""
    energy = site.home.energy(start.timestamp(), end.timestamp())
    is_short = site.is_silent(start.timestamp()) and end - start < timedelta(hours=1)
    return {
        "start": start.isoformat(),
        "end": end.isoformat(),
        "solar": energy.solar_wh * (SHARES[0] if is_short else 1.0),
        "charged": energy.charge_wh,
        "discharged": energy.discharge_wh,
        "imported": energy.import_wh,
        "exported": energy.export_wh,
        "soc": energy.soc_percent,
        "silent": [f"INV-{site.number}2"] if is_short else [],
    }


def _device_rows(site: AcmeSite, device: TrueDevice, query: Any, now: datetime) -> list[Body]:
    """Returns rows with the members the device has; none while it is silent."""
    wire = {"solar_wh": "solar", "charge_wh": "charged", "discharge_wh": "discharged", "soc_percent": "soc"}
    wire |= {"import_wh": "imported", "export_wh": "exported"}
    rows = []
    for start, end in _spans(site, query, now):
        if not device.silent(start.timestamp()):
            told = device.energy(site.home.energy(start.timestamp(), end.timestamp()))
            members = {wire[metric]: value for metric, value in told.items()}
            rows.append({"start": start.isoformat(), "end": end.isoformat(), **members})
    return rows


def _power(site: AcmeSite, now: datetime) -> Body:
    power = site.home.power(now.timestamp())
    return {
        "at": now.astimezone(UTC).isoformat(),
        "solar": power.solar_w,
        "battery": -power.battery_w,
        "grid": -power.grid_w,
        "soc": power.soc_percent,
    }


@get("/_state", sync_to_thread=False)
def state(request: Incoming) -> dict[str, int]:
    return cloud_of(request).tokens.counts()


def simulator() -> Simulator:
    """Makes a fresh stand-in for both of Acme's hosts."""
    cloud = Cloud()
    handlers = [page, consent, token, revoke, data, state]
    app = Litestar(handlers, openapi_config=None, logging_config=None, state=State({"cloud": cloud}))
    return Simulator(
        vendor="acme",
        stands_in_for=("auth.acme.example", "api.acme.example"),
        app=app,
        clock=cloud.clock,
        home={site.id: site.truth for site in (FIRST, SECOND, THIRD)},
        app_credentials=APP,
        owner_choice={"owner": "grants"},
        refusals=(
            Refusal(means=AuthorizationLost, body='{"error": "consent_withdrawn"}'),
            Refusal(means=NotSupported, status=403, body='{"error": "not_in_plan"}'),
        ),
        owners={
            name: Owner(answers={"owner": name}, site_ids=tuple(site.id for site in sites))
            for name, sites in OWNERS.items()
        },
    )
