"""The simulated Enphase cloud, the plugin behind a real Registry, and a browser for the owner."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import httpx
import pytest

import joinder_enphase
from joinder import AuthorizeRequest, Callback, Consent, Context, Grant, Readings, ReadingsQuery, Secrets, Site
from joinder.http import HttpFactory
from joinder.vendors.registry import Registry
from joinder_enphase.simulator import DEVELOPER_APP, Cloud, simulator
from support import make_context, simulated

REDIRECT_URI = "https://hub.example/join/enphase/auth-granted"
STATE = "opaque-state-of-core"


@dataclass
class Stand:
    """One running cloud; `browser` is the owner's and the tester's, not the plugin's."""

    cloud: Cloud
    registry: Registry
    factory: HttpFactory
    browser: httpx.AsyncClient

    def context(self, app: Mapping[str, str] = DEVELOPER_APP) -> Context:
        return make_context(joinder_enphase.VENDOR, self.factory, app=app, now=self.cloud.clock.now)

    async def callback(self, owner: str) -> Callback:
        """What the owner's browser brings back to core."""
        request = AuthorizeRequest(state=STATE, redirect_uri=REDIRECT_URI)
        url = urlsplit(await self.registry.build_authorize_url("enphase", self.context(), request))
        page = await self.browser.get(f"{url.path}?{url.query}")
        assert page.status_code == 200
        assert f'value="{owner}"' in page.text
        form = {"owner": owner, "redirect_uri": REDIRECT_URI, "state": STATE}
        back = urlsplit((await self.browser.post("/oauth/authorize", data=form)).headers["location"])
        values = dict(parse_qsl(back.query))
        assert values["state"] == STATE
        return Callback(values=Secrets(values), redirect_uri=REDIRECT_URI)

    async def consent(self, owner: str = "grants") -> Consent:
        return await self.registry.handle_callback("enphase", self.context(), await self.callback(owner))

    async def home(self, owner: str = "grants", index: int = 0) -> tuple[Grant, Site]:
        grant = (await self.consent(owner)).grant
        return grant, await self.registry.fetch_site("enphase", self.context(), grant, grant.site_ids[index])

    async def readings(self, grant: Grant, site: Site, start: datetime, end: datetime, **options: Any) -> Readings:
        query = ReadingsQuery(site=site, start=start, end=end, **options)
        return await self.registry.fetch_readings("enphase", self.context(), grant, query)

    async def fault(self, fault: str, path: str, **settings: Any) -> None:
        answer = await self.browser.post("/_faults", json={"fault": fault, "path": path, **settings})
        assert answer.status_code == 200

    async def state(self) -> dict[str, Any]:
        answer: dict[str, Any] = (await self.browser.get("/_state")).json()
        return answer


Open = Callable[..., AbstractAsyncContextManager[Stand]]


@asynccontextmanager
async def _open(**dials: Any) -> AsyncIterator[Stand]:
    stand_in = simulator(cloud := Cloud(**dials))
    async with (
        simulated(joinder_enphase, stand_in) as (registry, factory, origin),
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
