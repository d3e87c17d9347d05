"""The simulated Grid Services, the plugin behind a real Registry, and a browser for the owner."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import httpx
import pytest

import joinder_enphase_vpp
from joinder import AuthorizeRequest, Callback, Consent, Context, Grant, GrantState, Readings, ReadingsQuery, Site
from joinder.http import HttpFactory
from joinder.redact import Secrets
from joinder.vendors.registry import Registry
from joinder.vendors.token_cache import TokenCache
from joinder_enphase_vpp.simulator import simulator
from joinder_enphase_vpp.simulator_cloud import APP, PROGRAM_ID, Cloud
from support import make_context, simulated

REDIRECT_URI = "https://hub.example/join/enphasevpp/auth-granted"
STATE = "opaque-state-of-core"


@dataclass
class Stand:
    """One running cloud; `browser` is the owner's and the tester's, not the plugin's."""

    cloud: Cloud
    registry: Registry
    factory: HttpFactory
    browser: httpx.AsyncClient
    tokens: TokenCache = field(init=False)

    def __post_init__(self) -> None:
        self.tokens = TokenCache(self.cloud.clock.now)

    def context(self, app: Mapping[str, str] = APP, program_id: str = PROGRAM_ID) -> Context:
        vendor, options = joinder_enphase_vpp.VENDOR, {"programID": program_id} if program_id else {}
        context = make_context(vendor, self.factory, app=app, now=self.cloud.clock.now, options=options)
        shared = {**vars(context), "app_token": self.tokens.of("enphasevpp", context.app)}
        return Context(**shared)

    async def callback(self, owner: str) -> Callback:
        """What the owner's browser brings back to core."""
        request = AuthorizeRequest(state=STATE, redirect_uri=REDIRECT_URI)
        url = urlsplit(await self.registry.build_authorize_url("enphasevpp", self.context(), request))
        page = await self.browser.get(f"{url.path}?{url.query}")
        assert page.status_code == 200
        assert f'value="{owner}"' in page.text
        form = {"owner": owner, "redirect_uri": REDIRECT_URI, "state": STATE}
        back = urlsplit((await self.browser.post("/consent/authorize", data=form)).headers["location"])
        values = dict(parse_qsl(back.query))
        assert values["state"] == STATE
        return Callback(values=Secrets(values), redirect_uri=REDIRECT_URI)

    async def consent(self, owner: str = "grants", **context: Any) -> Consent:
        callback = await self.callback(owner)
        return await self.registry.handle_callback("enphasevpp", self.context(**context), callback)

    async def refresh(self, grant: Grant) -> Grant:
        return await self.registry.refresh("enphasevpp", self.context(), grant)

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

    async def site(self, grant: Grant) -> Site:
        return await self.registry.fetch_site("enphasevpp", self.context(), grant, grant.site_ids[0])

    async def readings(self, grant: Grant, site: Site, start: datetime, end: datetime, **options: Any) -> Readings:
        query = ReadingsQuery(site=site, start=start, end=end, **options)
        return await self.registry.fetch_readings("enphasevpp", self.context(), grant, query)

    async def fault(self, fault: str, path: str, **settings: Any) -> None:
        answer = await self.browser.post("/_faults", json={"fault": fault, "path": path, **settings})
        assert answer.status_code == 200

    async def refuses(self, path: str, status: int, body: str, **settings: Any) -> None:
        await self.fault("answer", path, status=status, body=body, **settings)

    async def state(self) -> dict[str, Any]:
        answer: dict[str, Any] = (await self.browser.get("/_state")).json()
        return answer


Open = Callable[..., AbstractAsyncContextManager[Stand]]


@asynccontextmanager
async def _open(**dials: Any) -> AsyncIterator[Stand]:
    stand_in = simulator(cloud := Cloud(**dials))
    async with (
        simulated(joinder_enphase_vpp, stand_in) as (registry, factory, origin),
        httpx.AsyncClient(base_url=origin) as browser,
    ):
        yield Stand(cloud, registry, factory, browser)


@pytest.fixture
def open_stand() -> Open:
    return _open


@pytest.fixture
async def stand() -> AsyncIterator[Stand]:
    async with _open() as opened:
        yield opened
