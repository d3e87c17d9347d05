"""A stand-in for Acme on 127.0.0.1: consent page, token endpoint, one home. Owners: grants, no-sites, denies."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from litestar import Litestar, Request, Response, get, post
from litestar.datastructures import State

from joinder.series import day_span, days_between
from joinder.simulate import Simulator
from joinder.simulate.clock import SimulatedClock
from joinder.simulate.home import Energy, Home
from joinder.simulate.oauth import TokenRefused, TokenService, back_to, basic, bearer, consent_page

APP = {"vendor": "acme", "type": "oauth", "clientID": "acme-simulated", "clientSecret": "acme-simulated-secret"}
HOME = Home(seed=7, timezone="Europe/Berlin")
SITE = {
    "id": "site-1",
    "name": "Acme home",
    "timezone": HOME.timezone,
    "devices": [
        {"serial": "INV-1", "kind": "inverter", "model": "Acme One"},
        {"serial": "BAT-1", "kind": "battery", "capacity_wh": HOME.battery_wh},
        {"serial": "MTR-1", "kind": "meter"},
    ],
}
Incoming = Request[Any, Any, State]


class Cloud:
    def __init__(self) -> None:
        self.clock = SimulatedClock()
        clients = {APP["clientID"]: APP["clientSecret"]}
        self.tokens = TokenService(self.clock, clients, access_life_s=3600, refresh_life_s=90 * 86400)


def cloud_of(request: Incoming) -> Cloud:
    cloud: Cloud = request.app.state.cloud
    return cloud


@get("/authorize", sync_to_thread=False)
def page(request: Incoming) -> Response[str]:
    return consent_page("Simulated Acme", "/authorize", request.query_params, ("grants", "no-sites", "denies"))


@post("/authorize")
async def consent(request: Incoming) -> Response[Any]:
    form = await request.form()
    owner, redirect_uri, state = (str(form.get(name, "")) for name in ("owner", "redirect_uri", "state"))
    if owner == "denies":
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
    """An unknown token is answered as a known one (RFC 7009)."""
    form, tokens = await request.form(), cloud_of(request).tokens
    client_id, client_secret = basic(request.headers.get("authorization", ""))
    try:
        tokens.check_client(client_id, client_secret)
    except TokenRefused as refused:
        return Response(None, status_code=refused.status)
    tokens.take_back(client_id, str(form.get("token", "")))
    return Response(None, status_code=200)


@get("/v1/{path:path}", sync_to_thread=False)
def data(request: Incoming) -> Response[dict[str, Any]]:
    cloud, path = cloud_of(request), request.scope["path"].removeprefix("/v1/sites")
    holder = cloud.tokens.holder(bearer(request.headers.get("authorization", "")))
    if holder is None:
        return Response({"error": "unauthorized"}, status_code=401)
    if path == "":
        sites = [{"id": SITE["id"]}] if holder.owner == "grants" else []
        return Response({"account": f"account-{holder.owner}", "sites": sites})
    if path == f"/{SITE['id']}":
        return Response(SITE)
    if path == f"/{SITE['id']}/energy":
        return Response({"rows": _rows(request.query_params, cloud.clock.now())})
    if path == f"/{SITE['id']}/power":
        return Response(_power(cloud.clock.now()))
    return Response({"error": "not found"}, status_code=404)


def _rows(query: Any, now: datetime) -> list[dict[str, Any]]:
    start, end = (datetime.fromisoformat(query[name]) for name in ("start", "end"))
    if query["step"] == "day":
        spans = [day_span(day, HOME.zone) for day in days_between(start, end, HOME.zone)]
    else:
        quarter = timedelta(minutes=15)
        spans = [(start + quarter * step, start + quarter * (step + 1)) for step in range(int((end - start) / quarter))]
    return [_row(*span) for span in spans if span[1] <= now]


def _row(start: datetime, end: datetime) -> dict[str, Any]:
    energy: Energy = HOME.energy(start.timestamp(), end.timestamp())
    return {
        "start": start.isoformat(),
        "end": end.isoformat(),
        "solar": energy.solar_wh,
        "charged": energy.charge_wh,
        "discharged": energy.discharge_wh,
        "imported": energy.import_wh,
        "exported": energy.export_wh,
        "soc": energy.soc_percent,
    }


def _power(now: datetime) -> dict[str, Any]:
    power = HOME.power(now.timestamp())
    at = now.astimezone(UTC).isoformat()
    return {
        "at": at,
        "solar": power.solar_w,
        "battery": -power.battery_w,
        "grid": -power.grid_w,
        "soc": power.soc_percent,
    }


@get("/_state", sync_to_thread=False)
def state(request: Incoming) -> dict[str, int]:
    return cloud_of(request).tokens.counts()


def simulator() -> Simulator:
    """A fresh stand-in for both of Acme's hosts."""
    cloud = Cloud()
    handlers = [page, consent, token, revoke, data, state]
    app = Litestar(handlers, openapi_config=None, logging_config=None, state=State({"cloud": cloud}))
    return Simulator(
        vendor="acme",
        stands_in_for=("auth.acme.example", "api.acme.example"),
        app=app,
        clock=cloud.clock,
        app_credentials=APP,
        owner_choice={"owner": "grants"},
    )
