"""A stand-in for vpp.enphaseenergy.com, and for the page on which a home owner consents to a programme.

The consent page offers scenario owners, each with a site of its own: `grants` (reviewed, then approved),
`auto-approved`, `rejected`, `site-rejected`, `withdraws`, `already-enrolled` (in another programme), `other-state`,
`unauthorised` (Enphase does not let the account enrol it), `token-expired`, `no-site` (nothing says which site it is),
`denies`; and homes of which a part is silent from 13 to 14 o'clock: `odd-battery` (one of two), `odd-meter` (two of
three), `odd-micros` (half of them), and `odd-load`, whose live load is below zero.
A reviewed application takes `step_s` seconds of the simulated clock for each of its steps.
Where and how the vendor issues the owner's token is not public: a plain authorization code grant stands in for it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from litestar import Litestar, Request, Response, get, post, route
from litestar.datastructures import State

from joinder.simulate import Simulator
from joinder.simulate.oauth import TokenRefused, back_to, basic, consent_page, error_page
from joinder.simulate.truth import Owner
from joinder_enphase.simulator_systems import Body
from joinder_enphase_vpp.simulator_cloud import APP, CONSENT_HOST, HOST, OWNERS, PROGRAM_ID, SITES, Cloud
from joinder_enphase_vpp.simulator_sites import Refused


def _cloud(request: Request[Any, Any, State]) -> Cloud:
    cloud: Cloud = request.app.state.cloud
    return cloud


@get("/consent/authorize", sync_to_thread=False)
def owner_page(request: Request[Any, Any, State]) -> Response[str]:
    query = request.query_params
    if query.get("client_id") != APP["consentClientID"] or not query.get("redirect_uri"):
        return error_page("Unknown client")
    return consent_page("Simulated Enphase programme", "/consent/authorize", dict(query), OWNERS)


@post("/consent/authorize")
async def owner_consents(request: Request[Any, Any, State]) -> Response[Any]:
    form = await request.form()
    owner, redirect_uri, state = (str(form.get(name, "")) for name in ("owner", "redirect_uri", "state"))
    if owner == "denies" or owner not in OWNERS:
        return back_to(redirect_uri, error="access_denied", state=state)
    cloud, site_id = _cloud(request), str(SITES[owner].system_id)
    about = {"site_id": site_id, "program_id": PROGRAM_ID}
    code = cloud.owners.new_code(APP["consentClientID"], owner, redirect_uri, about)
    named = {"site_id": site_id} if cloud.site_named_in == "callback" and owner != "no-site" else {}
    return back_to(redirect_uri, code=code, state=state, **named)


@post("/consent/token")
async def owner_token(request: Request[Any, Any, State]) -> Response[Body]:
    form, cloud = await request.form(), _cloud(request)
    client_id, client_secret = basic(request.headers.get("authorization", ""))
    try:
        cloud.owners.check_client(client_id, client_secret)
        issued = cloud.owners.by_code(client_id, str(form.get("code", "")), str(form.get("redirect_uri", "")))
    except TokenRefused as refused:
        return Response({"error": refused.error}, status_code=refused.status)
    body = {"access_token": issued.access_token, "token_type": "Bearer", "expires_in": 3600}
    if cloud.site_named_in == "token" and issued.family.owner != "no-site":
        body["site_id"] = issued.family.about["site_id"]
    return Response(body, status_code=200, headers={"cache-control": "no-store"})


@post("/auth/oauth2/token", sync_to_thread=False)
def machine_token(request: Request[Any, Any, State]) -> Response[Body]:
    try:
        return Response(_cloud(request).machine_token(request.headers, request.query_params), status_code=200)
    except Refused as refused:
        return Response(refused.body, status_code=refused.status)


@route("/api/v1/{path:path}", http_method=["GET", "POST", "PUT"])
async def grid_services(request: Request[Any, Any, State]) -> Response[Any]:
    form = await request.form() if request.method == "POST" else {}
    given = {name: str(value) for name, value in form.items()}
    path = request.scope["path"].removeprefix("/api/v1/")
    try:
        answer = _routed(_cloud(request), request, path, given)
    except Refused as refused:
        return Response(refused.body, status_code=refused.status)
    plain = isinstance(answer, str)
    return Response(answer, status_code=200, media_type="text/plain" if plain else "application/json")


def _routed(cloud: Cloud, request: Request[Any, Any, State], path: str, form: Mapping[str, str]) -> Body | str:
    method, query = request.method, request.query_params
    name = re.sub(r"\b\d{6,}\b", "{id}", path)
    cloud.calls[f"{method} {name.replace(PROGRAM_ID, '{program_id}')}"] += 1
    cloud.admit(request.headers)
    parts = path.split("/")
    if (method, path) == ("POST", "applications"):
        if not request.headers.get("content-type", "").startswith("multipart/form-data"):
            raise Refused(400, "Content-Type invalid", "Content type not supported")
        return cloud.apply(request.headers.get("ho-access-token"), form)
    if parts[0] == "applications" and len(parts) == 2 and method == "GET":
        return cloud.application(parts[1])
    if parts[0] == "applications" and parts[2:] == ["withdraw"] and method == "PUT":
        return cloud.withdraw(parts[1])
    if parts[:2] == ["systems", "search"] and len(parts) == 3 and method == "GET":
        return cloud.systems(parts[2], query)
    if parts[0] == "systems" and len(parts) > 2 and method == "GET":
        return cloud.read(parts[1], "/".join(parts[2:]), query)
    raise Refused(404, "Requested resource Not Found", "Please check your request")


@get("/_state", sync_to_thread=False)
def state(request: Request[Any, Any, State]) -> Body:
    return _cloud(request).state()


def simulator(cloud: Cloud | None = None) -> Simulator:
    """Makes a fresh stand-in; `cloud` brings other dials."""
    cloud = cloud or Cloud()
    app = Litestar(
        [owner_page, owner_consents, owner_token, machine_token, grid_services, state],
        openapi_config=None,
        logging_config=None,
        state=State({"cloud": cloud}),
    )
    return Simulator(
        vendor="enphasevpp",
        stands_in_for=(HOST, CONSENT_HOST),
        app=app,
        clock=cloud.clock,
        home={str(site.system_id): site.truth for owner, site in SITES.items() if not owner.startswith("odd-")},
        app_credentials=APP,
        owner_choice={"owner": "grants"},
        owners={
            "auto-approved": Owner(
                answers={"owner": "auto-approved"}, site_ids=(str(SITES["auto-approved"].system_id),)
            ),
            "no-sites": Owner(answers={"owner": "no-site"}),
        },
        flow_options={"programID": PROGRAM_ID},
        conformance_skips={"owner_is_known_again": "Enphase says which site joined the programme, not whose it is"},
        notes=("An application is approved three seconds after it was made.",),
    )
