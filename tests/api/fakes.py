"""Vendors that exist only in memory, and the steps that tests of the REST API share."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qs, unquote, urlencode, urlsplit

import httpx

from joinder import hookimpl
from joinder.energy import Device, DeviceKind, Live, Readings, ReadingsQuery, Site
from joinder.errors import TransientError
from joinder.grants import AuthorizeRequest, Callback, Consent, Context, Grant
from joinder.oauth import code_from
from joinder.redact import Secrets
from joinder.runtime.hub import Hub
from joinder.services.records import accounts
from joinder.vendor import (
    AppCredentialType,
    Capability,
    Field,
    Flow,
    History,
    Limits,
    OAuth2,
    OperatorAction,
    Refresh,
    ServedFile,
    Support,
    Vendor,
)
from joinder.vendors.registry import Registry

REDIRECT_URI = "https://integrator.example/back?tenant=7&x=%2F"
APP_SECRET = "canary-app-secret-5f3a"
ACCESS_TOKEN = "canary-access-token-91bc"
OWNER_TOKEN = "canary-owner-token-77de"
EVERYTHING = (*accounts.SCOPES, accounts.REVEAL)
BERLIN = "Europe/Berlin"
_APP_FIELDS = (
    Field(name="clientID", label="client id"),
    Field(name="clientSecret", label="client secret", secret=True),
)
_ALL = dict.fromkeys(Capability, Support.YES)


async def _register(ctx: Context, values: Mapping[str, str]) -> str:
    if values["domain"] == "away.example":
        raise TransientError("Sunny is away")
    return f"{values['domain']} is registered for {ctx.require_app()['clientID']}"


SUNNY = Vendor(
    name="sunny",
    label="Sunny <Home>",
    docs_url="https://sunny.example/docs",
    flow=Flow.REDIRECT,
    hosts=("sunny.example",),
    app_credentials=(
        AppCredentialType(type="oauthclient", label="App", fields=_APP_FIELDS),
        AppCredentialType(type="customgrant", label="Fleet", fields=_APP_FIELDS, flow=Flow.OPERATOR),
    ),
    flow_fields=(Field(name="region", label="Region", required=False),),
    operator_actions=(
        OperatorAction(
            name="register",
            label="Register a domain",
            run=_register,
            fields=(Field(name="domain", label="Domain"), Field(name="note", label="Note", required=False)),
            credential_types=("oauthclient",),
        ),
    ),
    served_files=(ServedFile(path="/.well-known/sunny/key.pem", label="Public key"),),
    oauth2=OAuth2(authorize_url="https://sunny.example/authorize", token_url="https://sunny.example/token", pkce=True),
    refresh=Refresh.ROTATING,
    limits=Limits(
        poll_every=timedelta(minutes=15),
        history=(
            History(resolution="15mins", window=timedelta(days=7), reach=timedelta(days=3650)),
            History(resolution="day", window=timedelta(days=365)),
        ),
    ),
    capabilities=_ALL,
)
CLOUDY = Vendor(
    name="cloudy",
    label="Cloudy",
    docs_url="https://cloudy.example/docs",
    flow=Flow.REDIRECT,
    hosts=("cloudy.example",),
    oauth2=OAuth2(authorize_url="https://cloudy.example/authorize", token_url="https://cloudy.example/token"),
    limits=Limits(poll_every=timedelta(minutes=15)),
    capabilities=_ALL,
)
BOXY = Vendor(
    name="boxy",
    label="Boxy & Sons",
    docs_url="https://boxy.example/docs",
    flow=Flow.FORM,
    consent_fields=(
        Field(name="host", label="Address", max_length=100),
        Field(name="token", label="Token", secret=True, max_length=100),
        Field(name="note", label="Note", required=False, multiline=True, max_length=100),
    ),
    consent_steps=("Open the <app>.",),
    limits=Limits(poll_every=timedelta(minutes=15)),
    capabilities=_ALL,
)
HOME = Site(
    vendor_id="site-1",
    name="Home",
    timezone=BERLIN,
    lat=52.5,
    lon=13.4,
    operational_since=datetime(2020, 5, 1, tzinfo=UTC),
    devices=(
        Device(vendor_id="inv-1", kind=DeviceKind.INVERTER, serial="S1", model="Inverter", lifetime_wh=1_234_567.0),
        Device(
            vendor_id="bat-1",
            kind=DeviceKind.BATTERY,
            nameplate_wh=10_000.0,
            soc_percent=55.0,
            mode="Backup",
            faults=("Fan blocked",),
        ),
        Device(vendor_id="met-1", kind=DeviceKind.METER),
        Device(vendor_id="car-1", kind=DeviceKind.CHARGER, name="Carport", max_power_w=11_000.0),
    ),
)


@dataclass(eq=False)  # pluggy keeps plugins in a set
class FakeVendor:
    """A plugin in memory. `failures` scripts what a hook raises; `exchanges` are the codes or forms that were used."""

    vendor: Vendor
    calls: list[str] = field(default_factory=list)
    failures: dict[str, Exception] = field(default_factory=dict)
    exchanges: list[Callback] = field(default_factory=list)
    requests: list[AuthorizeRequest] = field(default_factory=list)
    queries: list[ReadingsQuery] = field(default_factory=list)
    apps: list[dict[str, str]] = field(default_factory=list)
    homes: dict[str, Site] = field(default_factory=lambda: {HOME.vendor_id: HOME})
    account_id: str | None = "owner-1"
    readings: Callable[[ReadingsQuery], Readings] = lambda query: Readings()
    before_consent: Callable[[], Any] | None = None

    @hookimpl
    def describe_vendor(self) -> Vendor:
        return self.vendor

    @hookimpl
    async def build_authorize_url(self, ctx: Context, request: AuthorizeRequest) -> str:
        self._called("build_authorize_url")
        self.requests.append(request)
        oauth2 = self.vendor.oauth2
        assert oauth2 is not None
        query = {"state": request.state, "redirect_uri": request.redirect_uri}
        if request.code_challenge:
            query |= {"code_challenge": request.code_challenge, "code_challenge_method": "S256"}
        return f"{oauth2.authorize_url}?{urlencode(query)}"

    @hookimpl
    async def handle_callback(self, ctx: Context, callback: Callback) -> Consent:
        self._called("handle_callback")
        if ctx.app is not None:
            self.apps.append({"type": ctx.app.type, **ctx.app.secrets})
        kind = self.vendor.app_credential(ctx.app.type) if ctx.app is not None else None
        if (kind.flow if kind else self.vendor.flow) is Flow.REDIRECT and callback.carried is None:
            code_from(callback)
        self.exchanges.append(callback)
        if self.before_consent is not None:
            await self.before_consent()
        secrets = Secrets({"access_token": f"{ACCESS_TOKEN}-{len(self.exchanges)}", "refresh_token": "canary-refresh"})
        expires_at = datetime.now(UTC) + timedelta(days=30)
        grant = Grant(secrets=secrets, expires_at=expires_at, site_ids=tuple(self.homes))
        return Consent(grant=grant, account_id=self.account_id)

    @hookimpl
    async def refresh(self, ctx: Context, grant: Grant) -> Grant:
        self._called("refresh")
        expires_at = datetime.now(UTC) + timedelta(days=30)
        return Grant(secrets=grant.secrets, expires_at=expires_at, site_ids=grant.site_ids)

    @hookimpl
    async def fetch_site(self, ctx: Context, grant: Grant, site_id: str) -> Site:
        self._called("fetch_site")
        return self.homes[site_id]

    @hookimpl
    async def fetch_readings(self, ctx: Context, grant: Grant, query: ReadingsQuery) -> Readings:
        self._called("fetch_readings")
        self.queries.append(query)
        return self.readings(query)

    def _called(self, hook: str) -> None:
        self.calls.append(hook)
        if hook in self.failures:
            raise self.failures[hook]


@dataclass
class Vendors:
    """The three vendors of a test's hub."""

    sunny: FakeVendor = field(default_factory=lambda: FakeVendor(SUNNY))
    cloudy: FakeVendor = field(default_factory=lambda: FakeVendor(CLOUDY))
    boxy: FakeVendor = field(default_factory=lambda: FakeVendor(BOXY))

    def registry(self) -> Registry:
        registry = Registry()
        for fake in (self.sunny, self.cloudy, self.boxy):
            added = registry.add(fake.vendor.name, fake)
            assert added.problem is None
        return registry

    @property
    def exchanges(self) -> int:
        return sum(len(fake.exchanges) for fake in (self.sunny, self.cloudy, self.boxy))


@dataclass
class Tenant:
    """An account with one API client, and that client's authenticated HTTP client."""

    account_id: str
    client: accounts.NewClient
    api: httpx.AsyncClient


def app_credentials(kind: str = "oauthclient", **members: Any) -> dict[str, Any]:
    return {"vendor": "sunny", "type": kind, "clientID": "app-1", "clientSecret": APP_SECRET, **members}


async def new_credentials(api: httpx.AsyncClient, kind: str = "oauthclient", **members: Any) -> str:
    answer = await api.post("/vendor-credentials", json={"credentials": app_credentials(kind, **members)})
    assert answer.status_code == 201, answer.text
    return str(answer.json()["id"])


async def new_flow(
    api: httpx.AsyncClient, *vendors: str, redirect_uri: str = REDIRECT_URI, with_pages: bool = False
) -> str:
    """Without our pages before and after the vendor's, which few tests are about."""
    entries = []
    for vendor in vendors or ("sunny",):
        own = {"credentialsID": await new_credentials(api)} if vendor == "sunny" else {}
        entries.append({"vendor": vendor, **own})
    skips = {} if with_pages else {"skipIntro": True, "skipLanding": True}
    answer = await api.post("/join/flows", json={"vendors": entries, "redirectURI": redirect_uri, **skips})
    assert answer.status_code == 201, answer.text
    return str(answer.json()["id"])


async def begin(browser: httpx.AsyncClient, flow_id: str, state: str | None = "their-state") -> str:
    """The owner opens the link; answers the token of the session, which is the vendor's `state` too."""
    answer = await browser.get(f"/join/flows/{flow_id}/authorize", params={"state": state} if state else {})
    assert answer.status_code == 303, answer.text
    target = urlsplit(answer.headers["location"])
    return target.path.rsplit("/", 1)[-1] if target.path.startswith("/join/") else parse_qs(target.query)["state"][0]


async def come_back(browser: httpx.AsyncClient, token: str, vendor: str = "sunny", **query: str) -> httpx.Response:
    return await browser.get(f"/join/{vendor}/auth-granted", params={"state": token, "code": "code-1", **query})


async def connect(api: httpx.AsyncClient, browser: httpx.AsyncClient, *, flow_id: str | None = None) -> str:
    """An owner joins at sunny; answers the enrollment's id."""
    answer = await come_back(browser, await begin(browser, flow_id or await new_flow(api)))
    return result_of(answer)["enrollmentID"]


async def connect_site(api: httpx.AsyncClient, browser: httpx.AsyncClient) -> str:
    """An owner joins at sunny; answers the id of the site, known with its devices."""
    enrollment = (await api.get(f"/enrollments/{await connect(api, browser)}")).json()
    site_id = str(enrollment["sites"][0]["id"])
    assert (await api.get(f"/sites/{site_id}")).status_code == 200
    return site_id


def result_of(answer: httpx.Response) -> dict[str, str]:
    """The query a redirect to the integrator carries."""
    assert answer.status_code == 303, answer.text
    location = answer.headers["location"]
    assert location.startswith("https://integrator.example/"), location
    return {name: values[-1] for name, values in parse_qs(urlsplit(location).query).items()}


def assert_problem(answer: httpx.Response, status: int, name: str) -> dict[str, Any]:
    """RFC 9457, whole and nothing but."""
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json"), answer.text
    body: dict[str, Any] = answer.json()
    assert set(body) - {"errors", "actor"} == {"type", "title", "status", "detail", "instance"}
    assert (body["type"], body["status"]) == (f"urn:joinder:problem#{name}", status)
    assert body["title"]
    assert body["detail"]
    assert unquote(body["instance"]) == answer.request.url.path
    assert re.fullmatch(r"[\w/%:@!$&'()*+,;=.~-]*", body["instance"], re.ASCII)  # a URI reference
    return body


def pointers(answer: httpx.Response) -> list[str]:
    return [entry["pointer"] for entry in answer.json().get("errors", [])]


async def count(hub: Hub, table: str, where: str = "1=1", values: Mapping[str, Any] | None = None) -> int:
    rows = await hub.store.rows(f'SELECT count(*) FROM "{table}" WHERE {where}', values or {})  # noqa: S608
    return int(rows[0][0])


def live(at: int, solar_w: float = 1500.0) -> Live:
    return Live(measured_at=datetime.fromtimestamp(at, UTC), solar_w=solar_w, grid_w=-500.0, load_w=1000.0)
