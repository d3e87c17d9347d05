"""Enphase's two APIs, simulated, each with its plugin behind a real Registry and a browser for the owner."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from types import ModuleType
from typing import Any, ClassVar
from urllib.parse import parse_qsl, urlsplit

import httpx

import joinder_enphase
import joinder_enphase.api
import joinder_enphase_vpp
import joinder_enphase_vpp.api
from joinder import AuthorizeRequest, Callback, Consent, Context, Grant, GrantState, Readings, ReadingsQuery, Site
from joinder.http import HttpFactory
from joinder.redact import Secrets
from joinder.simulate import Simulator
from joinder.simulate.home import Home
from joinder.vendors.registry import Registry
from joinder.vendors.token_cache import TokenCache
from joinder_enphase import simulator as monitoring
from joinder_enphase.simulator_systems import SimulatedSystem
from joinder_enphase_vpp import simulator as grid_services
from joinder_enphase_vpp import simulator_cloud
from joinder_enphase_vpp.simulator_sites import SimulatedSite
from support import make_context, simulated

STATE = "opaque-state-of-core"


@dataclass
class Stand:
    """One running cloud; `browser` is the owner's and the tester's, not the plugin's."""

    vendor: ClassVar[str]
    api: ClassVar[ModuleType]  # of the plugin
    consent_page: ClassVar[str]
    data: ClassVar[str]  # under it lies what is read of systems
    app: ClassVar[Mapping[str, str]]
    system: ClassVar[SimulatedSystem]  # of the owner `grants`

    cloud: Any
    registry: Registry
    factory: HttpFactory
    browser: httpx.AsyncClient

    @property
    def redirect_uri(self) -> str:
        return f"https://hub.example/join/{self.vendor}/auth-granted"

    @property
    def truth(self) -> Home:
        """What the home of the owner `grants` really did."""
        return self.system.home

    def freeze(self, at: datetime) -> None:
        self.cloud.clock.freeze(at.timestamp())

    def context(self, app: Mapping[str, str] | None = None) -> Context:
        vendor = self.registry.vendor(self.vendor)
        return make_context(vendor, self.factory, app=app or self.app, now=self.cloud.clock.now)

    async def callback(self, owner: str) -> Callback:
        """What the owner's browser brings back to core."""
        request = AuthorizeRequest(state=STATE, redirect_uri=self.redirect_uri)
        url = urlsplit(await self.registry.build_authorize_url(self.vendor, self.context(), request))
        page = await self.browser.get(f"{url.path}?{url.query}")
        assert page.status_code == 200
        assert f'value="{owner}"' in page.text
        form = {"owner": owner, "redirect_uri": self.redirect_uri, "state": STATE}
        back = urlsplit((await self.browser.post(self.consent_page, data=form)).headers["location"])
        values = dict(parse_qsl(back.query))
        assert values["state"] == STATE
        return Callback(values=Secrets(values), redirect_uri=self.redirect_uri)

    async def consent(self, owner: str = "grants", **context: Any) -> Consent:
        callback = await self.callback(owner)
        return await self.registry.handle_callback(self.vendor, self.context(**context), callback)

    async def site(self, grant: Grant, index: int = 0) -> Site:
        return await self.registry.fetch_site(self.vendor, self.context(), grant, grant.site_ids[index])

    async def readings(self, grant: Grant, site: Site, start: datetime, end: datetime, **options: Any) -> Readings:
        query = ReadingsQuery(site=site, start=start, end=end, **options)
        return await self.registry.fetch_readings(self.vendor, self.context(), grant, query)

    async def fault(self, fault: str, path: str, **settings: Any) -> None:
        answer = await self.browser.post("/_faults", json={"fault": fault, "path": path, **settings})
        assert answer.status_code == 200

    async def state(self) -> dict[str, Any]:
        answer: dict[str, Any] = (await self.browser.get("/_state")).json()
        return answer

    async def calls(self) -> int:
        """How many calls of data were answered so far."""
        return sum((await self.state())["calls"].values())


@dataclass
class MonitoringStand(Stand):
    vendor = "enphase"
    api = joinder_enphase.api
    consent_page = "/oauth/authorize"
    data = "/api/v4/systems"
    app = monitoring.DEVELOPER_APP
    system = monitoring.FIRST

    async def home(self, owner: str = "grants", index: int = 0) -> tuple[Grant, Site]:
        grant = (await self.consent(owner)).grant
        return grant, await self.site(grant, index)

    async def odd_home(self, part: str) -> tuple[Grant, Site]:
        """A home of which that part is odd."""
        return await self.home("odd-sites", list(monitoring.ODD).index(part))

    async def bare_home(self) -> tuple[Grant, Site, SimulatedSystem]:
        """A home of inverters alone."""
        return *await self.home("two-sites", 1), monitoring.SECOND


@dataclass
class GridServicesStand(Stand):
    vendor = "enphasevpp"
    api = joinder_enphase_vpp.api
    consent_page = "/consent/authorize"
    data = "/api/v1/systems"
    app = simulator_cloud.APP
    system = simulator_cloud.SITES["grants"]

    tokens: TokenCache = field(init=False)

    def __post_init__(self) -> None:
        self.tokens = TokenCache(self.cloud.clock.now)

    def context(self, app: Mapping[str, str] | None = None, program_id: str = simulator_cloud.PROGRAM_ID) -> Context:
        made = super().context(app)
        options = {"programID": program_id} if program_id else {}
        return Context(**{**vars(made), "options": options, "app_token": self.tokens.of(self.vendor, made.app)})

    async def refresh(self, grant: Grant) -> Grant:
        return await self.registry.refresh(self.vendor, self.context(), grant)

    async def approved(self, owner: str = "grants") -> Grant:
        """After the review, with the clock where it was before."""
        self.cloud.step_s, before = 0.0, self.cloud.step_s
        grant = (await self.consent(owner)).grant
        grant = await self.refresh(grant)
        assert grant.state is GrantState.ACTIVE
        held = self.cloud.applications[int(grant.site_ids[0])]
        held.submitted_at -= 1000
        self.cloud.step_s = before
        return grant

    async def home(self, owner: str = "grants") -> tuple[Grant, Site]:
        grant = await self.approved(owner)
        return grant, await self.site(grant)

    async def odd_home(self, part: str) -> tuple[Grant, Site]:
        """A home of which that part is odd."""
        return await self.home(f"odd-{part}")

    async def bare_home(self) -> tuple[Grant, Site, SimulatedSystem]:
        """A home of inverters alone."""
        grant = await self.approved()
        bare = SimulatedSite(system_id=self.system.system_id, name="Bare", metered=False, battery_wh=0)
        self.cloud.applications[bare.system_id].site = bare
        return grant, await self.site(grant), bare

    async def refuses(self, path: str, status: int, body: str, **settings: Any) -> None:
        await self.fault("answer", path, status=status, body=body, **settings)


@asynccontextmanager
async def _running(made: type[Stand], plugin: ModuleType, cloud: Any, simulator: Simulator) -> AsyncIterator[Any]:
    async with (
        simulated(plugin, simulator) as (registry, factory, origin),
        httpx.AsyncClient(base_url=origin) as browser,
    ):
        yield made(cloud, registry, factory, browser)


@asynccontextmanager
async def monitoring_stand(**dials: Any) -> AsyncIterator[MonitoringStand]:
    cloud = monitoring.Cloud(**dials)
    async with _running(MonitoringStand, joinder_enphase, cloud, monitoring.simulator(cloud)) as opened:
        yield opened


@asynccontextmanager
async def grid_services_stand(**dials: Any) -> AsyncIterator[GridServicesStand]:
    cloud = simulator_cloud.Cloud(**dials)
    async with _running(GridServicesStand, joinder_enphase_vpp, cloud, grid_services.simulator(cloud)) as opened:
        yield opened
