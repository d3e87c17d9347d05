"""A stand-in for Acme on 127.0.0.1: consent page, token endpoint, and the data of three homes (homes.py).

Owners: grants (two sites), second (another site), no-sites, denies, revokes-later.
"""

from __future__ import annotations

from typing import Any

from litestar import Litestar, Request, Response, get, post
from litestar.datastructures import State

from joinder.errors import AuthorizationLost, NotSupported
from joinder.simulate import Simulator
from joinder.simulate.clock import SimulatedClock
from joinder.simulate.oauth import TokenRefused, TokenService, back_to, basic, bearer, consent_page
from joinder.simulate.truth import Owner, Refusal
from joinder_acme.homes import FIRST, SECOND, SITES, THIRD, Body, answer
from joinder_acme.homes import page as page_of

APP = {
    "vendor": "acme",
    "type": "oauth",
    "clientID": "acme-simulated",
    "clientSecret": "acme-simulated-secret",
}
ACCESS_LIFE_S, REFRESH_LIFE_S = 3600, 90 * 86400
Incoming = Request[Any, Any, State]


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
def data(request: Incoming) -> Response[Body]:
    cloud, path = cloud_of(request), request.scope["path"].removeprefix("/v1/sites").strip("/")
    holder = cloud.tokens.holder(bearer(request.headers.get("authorization", "")))
    if holder is None:
        return Response({"error": "unauthorized"}, status_code=401)
    sites = {site.id: site for site in OWNERS[holder.owner]}
    if path == "":
        return Response(
            {"account": f"account-{holder.owner}", **page_of(list(sites), int(request.query_params["page"]))}
        )
    site_id, _, rest = path.partition("/")
    body = answer(sites[site_id], rest, request.query_params, cloud.clock.now()) if site_id in sites else None
    return Response(body) if body is not None else Response({"error": "not found"}, status_code=404)


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
        home={site.id: site.truth for site in SITES},
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
