"""A stand-in for api.enphaseenergy.com: consent page, token endpoint and Monitoring API v4, state in memory.

The consent page offers scenario owners: `grants` (one home with meters and battery), `two-sites`, `no-sites`,
`denies`, `revokes-later` (its first refresh is refused) and `odd-sites`: homes of which a part is silent from 13 to 14
o'clock (one of two batteries, two of three production meters, half of the inverters), and one whose live load is below
zero. The partner app's installer sees 104 systems, two pages.
`POST /_rotation {"mode": "keep"|"kill"|"grace", "grace_seconds": n}` decides what a refresh does to the old token.
What the vendor does not document is chosen by us: the token endpoint's error bodies follow Spring Security's.
"""

from __future__ import annotations

import json
import secrets
import string
from collections import Counter
from collections.abc import Mapping
from datetime import datetime, timedelta
from functools import partial
from typing import Any

import msgspec
from litestar import Litestar, Request, Response, get, post
from litestar.datastructures import State

from joinder.simulate import Simulator
from joinder.simulate.clock import SimulatedClock
from joinder.simulate.oauth import (
    Family,
    Issued,
    Rotation,
    TokenRefused,
    TokenService,
    back_to,
    basic,
    bearer,
    consent_page,
    error_page,
    random_token,
)
from joinder.simulate.truth import Owner
from joinder_enphase.simulator_endpoints import monitoring_answer
from joinder_enphase.simulator_now import system_entry
from joinder_enphase.simulator_systems import Asked, Body, Refused, SimulatedSystem, page_of

HOST = "api.enphaseenergy.com"
ACCESS_LIFE_S = 86_399  # the documented day
REFRESH_LIFE_S = 2_629_746  # the month decoded from a real token
DEVELOPER_APP = {
    "vendor": "enphase",
    "type": "developerapp",
    "clientID": "5f1d0c2b7a9e4638sim",
    "clientSecret": "simulated-developer-secret",
    "apiKey": "simulated-developer-key",
}
PARTNER_APP = {
    "vendor": "enphase",
    "type": "partnerapp",
    "clientID": "c04e8a6d1b2f4975sim",
    "clientSecret": "simulated-partner-secret",
    "apiKey": "simulated-partner-key",
    "username": "installer@example.com",
    "password": "simulated-installer-password",
}
APPS = {app["clientID"]: app for app in (DEVELOPER_APP, PARTNER_APP)}
FIRST = SimulatedSystem(system_id=4100001, name="Enphase home")
SECOND = SimulatedSystem(
    system_id=4100002,
    name="Enphase cabin",
    timezone="US/Eastern",
    battery_wh=0,
    metered=False,
    status="micro",
)
FLEET = tuple(
    SimulatedSystem(system_id=4200001 + index, name=f"Customer {index + 1}", config_type="Total", battery_wh=0)
    for index in range(104)
)
ODD = {  # one system for each thing that can be wrong
    odd: SimulatedSystem(system_id=4300001 + index, name=f"Odd home: {odd}", odd=odd, metered=odd != "micros")
    for index, odd in enumerate(("battery", "meter", "micros", "load"))
}
OWNERS: Mapping[str, tuple[SimulatedSystem, ...]] = {
    "grants": (FIRST,),
    "two-sites": (FIRST, SECOND),
    "no-sites": (),
    "denies": (),
    "revokes-later": (FIRST,),
    "odd-sites": tuple(ODD.values()),
    PARTNER_APP["username"]: FLEET,
}
SYSTEMS = {str(system.system_id): system for systems in OWNERS.values() for system in systems}
_LIMIT_WITHOUT_PERIOD = ("systems", "system", "devices", "latest_telemetry", "battery_lifetime")


class Cloud:
    """The vendor's state and its dials.

    `per_minute` and `per_month` limit one app's calls; `lag_s` delays rows after their end; `plan_lacks` names
    endpoints that answer 401 as the vendor does for a missing access control, such as `devices/encharges`.
    """

    def __init__(
        self,
        *,
        rotation: Rotation | None = None,
        per_minute: int = 100_000,
        per_month: int = 10_000_000,
        lag_s: int = 0,
        plan_lacks: tuple[str, ...] = (),
    ) -> None:
        self.clock = SimulatedClock()
        self.tokens = TokenService(
            self.clock,
            {client_id: app["clientSecret"] for client_id, app in APPS.items()},
            access_life_s=ACCESS_LIFE_S,
            refresh_life_s=REFRESH_LIFE_S,
            rotation=rotation,
            new_token=_new_token,
            refused={"client": (401, "unauthorized"), "expired": (401, "invalid_token")},
        )
        self.per_minute, self.per_month = per_minute, per_month
        self.lag_s = lag_s
        self.plan_lacks = plan_lacks
        self.calls: Counter[str] = Counter()
        self._used: Counter[tuple[str, str, int]] = Counter()

    def answer(self, path: str, query: Mapping[str, str], headers: Mapping[str, str]) -> Body:
        """Returns the body of GET /api/v4/`path`; raises Refused."""
        system_id, _, endpoint = path.removeprefix("systems").strip("/").partition("/")
        name = endpoint_name(endpoint) if endpoint else "system" if system_id else "systems"
        self.calls[name] += 1
        account = self._account(query, headers, name)
        asked = partial(Asked, query=query, now=int(self.clock.time()), lag_s=self.lag_s)
        if not system_id:
            return page_of(OWNERS[account], query, lambda system: system_entry(asked(system=system)))
        return monitoring_answer(asked(system=_shared(account, system_id)), endpoint)

    def grant(self, client: tuple[str, str], parameters: Mapping[str, str]) -> Body:
        """Returns the token answer; raises TokenRefused."""
        client_id, kind = client[0], parameters.get("grant_type")
        self.tokens.check_client(*client)
        if kind == "authorization_code":
            redirect_uri = parameters.get("redirect_uri", "")
            return _token(self.tokens.by_code(client_id, parameters.get("code", ""), redirect_uri))
        if kind == "refresh_token":
            return _token(self.tokens.by_refresh(client_id, parameters.get("refresh_token", "")))
        if kind != "password":
            raise TokenRefused(400, "unsupported_grant_type")
        if client_id != PARTNER_APP["clientID"]:
            raise TokenRefused(401, "unauthorized_client")
        if (parameters.get("username"), parameters.get("password")) != (
            PARTNER_APP["username"],
            PARTNER_APP["password"],
        ):
            raise TokenRefused(400, "invalid_grant")
        return _token(self.tokens.issue(Family(client_id, PARTNER_APP["username"])))

    def _account(self, query: Mapping[str, str], headers: Mapping[str, str], name: str) -> str:
        held = self.tokens.holder(bearer(headers.get("authorization", "")))
        if held is None:
            raise _unauthorized()
        if (query.get("key") or headers.get("key")) != APPS[held.client_id]["apiKey"]:
            raise Refused(401, "API Key -Client mismatch", "API key does not belong to this client")
        self._count(held.client_id, name)
        if name in self.plan_lacks:
            raise _unauthorized()
        return held.owner

    def _count(self, client_id: str, name: str) -> None:
        now = self.clock.now()
        minute = now.replace(second=0, microsecond=0)
        month = now.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
        next_month = (month + timedelta(days=32)).replace(day=1)
        periods = (
            ("minute", minute, minute + timedelta(minutes=1), self.per_minute),
            ("month", month, next_month, self.per_month),
        )
        for period, start, end, limit in periods:
            counted = (client_id, period, int(start.timestamp()))
            self._used[counted] += 1
            if self._used[counted] > limit:
                raise _limit_exceeded(name, period, start, end, limit)

    def state(self) -> Body:
        return {**self.tokens.counts(), "calls": dict(self.calls)}


def _new_token(kind: str) -> str:
    """Makes one; codes have six letters or digits."""
    letters = string.ascii_letters + string.digits
    return "".join(secrets.choice(letters) for _ in range(6)) if kind == "code" else random_token(kind)


def _token(issued: Issued) -> Body:
    return {
        "access_token": issued.access_token,
        "token_type": "bearer",
        "refresh_token": issued.refresh_token,
        "expires_in": ACCESS_LIFE_S,
        "scope": "read write",
        "enl_uid": f"sim-{issued.family.owner}",
        "enl_cid": "",
        "enl_password_last_changed": "1700000000",
        "is_internal_app": False,
        "app_type": "system",
        "app_Id": issued.family.client_id,
        "jti": secrets.token_hex(16),
    }


def endpoint_name(endpoint: str) -> str:
    """Returns `devices/micros/{serial}/telemetry` without the serial; others as they are."""
    parts = endpoint.split("/")
    return "/".join(parts[:2]) if parts[0] == "devices" and len(parts) == 4 else endpoint


def _unauthorized() -> Refused:
    return Refused(401, "Not Authorized", "User is not authorized")


def _limit_exceeded(name: str, period: str, start: datetime, end: datetime, limit: int) -> Refused:
    refused = Refused(429, "Too Many Requests", "Usage limit exceeded for plan Watt")
    if name not in _LIMIT_WITHOUT_PERIOD:
        epochs = {"period_start": int(start.timestamp()), "period_end": int(end.timestamp())}
        refused.body = {**refused.body, "period": period, **epochs, "limit": limit}
    return refused


def _shared(account: str, system_id: str) -> SimulatedSystem:
    system = SYSTEMS.get(system_id)
    if system is None:
        raise Refused(404, "Not Found", f'System not found for {{:id=>"{system_id}"}}')
    if system not in OWNERS[account]:
        raise Refused(403, "Forbidden", "Not authorized to access this resource")
    return system


def _cloud(request: Request[Any, Any, State]) -> Cloud:
    cloud: Cloud = request.app.state.cloud
    return cloud


@get("/oauth/authorize", sync_to_thread=False)
def page(request: Request[Any, Any, State]) -> Response[str]:
    query = request.query_params
    known = query.get("client_id") == DEVELOPER_APP["clientID"] and query.get("response_type") == "code"
    if not known or not query.get("redirect_uri"):
        return error_page("Unknown app")
    owners = [owner for owner in OWNERS if owner != PARTNER_APP["username"]]
    return consent_page("Simulated Enphase", "/oauth/authorize", query, owners)


@post("/oauth/authorize")
async def consent(request: Request[Any, Any, State]) -> Response[Any]:
    form = await request.form()
    owner, redirect_uri, state = (str(form.get(name, "")) for name in ("owner", "redirect_uri", "state"))
    if owner == "denies" or owner not in OWNERS:
        return back_to(redirect_uri, error="access_denied", state=state)
    code = _cloud(request).tokens.new_code(DEVELOPER_APP["clientID"], owner, redirect_uri)
    return back_to(redirect_uri, code=code, state=state)


@post("/oauth/token")
async def token(request: Request[Any, Any, State]) -> Response[Body]:
    form = await request.form()
    parameters = {**dict(request.query_params), **{name: str(value) for name, value in form.items()}}
    try:
        body = _cloud(request).grant(basic(request.headers.get("authorization", "")), parameters)
    except TokenRefused as refused:
        return Response({"error": refused.error, "error_description": refused.error}, status_code=refused.status)
    return Response(body, status_code=200, headers={"cache-control": "no-store"})


@get("/api/v4/{path:path}", sync_to_thread=False)
def monitoring(request: Request[Any, Any, State]) -> Response[Body]:
    path = request.scope["path"].removeprefix("/api/v4/")
    try:
        return Response(_cloud(request).answer(path, request.query_params, request.headers))
    except Refused as refused:
        return Response(refused.body, status_code=refused.status)


@post("/_rotation")
async def rotation(request: Request[Any, Any, State]) -> Response[Body]:
    try:
        asked = msgspec.json.decode(await request.body(), type=Rotation)
    except msgspec.DecodeError as error:
        return Response({"error": str(error)}, status_code=400)
    _cloud(request).tokens.rotation = asked
    return Response(msgspec.to_builtins(asked), status_code=200)


@get("/_state", sync_to_thread=False)
def state(request: Request[Any, Any, State]) -> Body:
    return _cloud(request).state()


def simulator(cloud: Cloud | None = None) -> Simulator:
    """Makes a fresh stand-in; `cloud` brings other dials."""
    cloud = cloud or Cloud()
    app = Litestar(
        [page, consent, token, monitoring, rotation, state],
        openapi_config=None,
        logging_config=None,
        state=State({"cloud": cloud}),
    )
    return Simulator(
        vendor="enphase",
        stands_in_for=(HOST,),
        app=app,
        clock=cloud.clock,
        home={str(system.system_id): system.truth for system in (FIRST, SECOND)},
        app_credentials=DEVELOPER_APP,
        owner_choice={"owner": "grants"},
        owners={
            name: Owner(answers={"owner": name}, site_ids=tuple(str(system.system_id) for system in systems))
            for name, systems in OWNERS.items()
            if name not in ("odd-sites", PARTNER_APP["username"])
        },
        call_limits={"minute": 100, "month": 300_000},  # plan Megawatt
        notes=(
            f"credentials of an installer with {len(FLEET)} systems, once password_grants names enphase: "
            f"{json.dumps(PARTNER_APP)}",
        ),
    )
