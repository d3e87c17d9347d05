"""The simulated SolisCloud and the plugin behind a real Registry, for tests in several folders."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import httpx

import joinder_solis
from joinder import Callback, Consent, Context, Grant, Readings, ReadingsQuery, Secrets, Site
from joinder.http import HttpFactory
from joinder.vendors.registry import Registry
from joinder_solis.simulator import GRANTS, Cloud, simulator
from support import make_context, simulated


@dataclass
class Stand:
    """One running cloud; `tester` turns its dials. `server_clock` is the hub's, the cloud's own unless told."""

    cloud: Cloud
    registry: Registry
    factory: HttpFactory
    tester: httpx.AsyncClient
    server_clock: Callable[[], datetime]

    def context(self) -> Context:
        return make_context(joinder_solis.VENDOR, self.factory, now=self.server_clock)

    async def consent(self, form: Mapping[str, str] = GRANTS) -> Consent:
        return await self.registry.handle_callback("solis", self.context(), Callback(values=Secrets(dict(form))))

    async def site(self, grant: Grant, index: int = 0) -> Site:
        return await self.registry.fetch_site("solis", self.context(), grant, grant.site_ids[index])

    async def readings(self, grant: Grant, site: Site, start: datetime, end: datetime, **options: Any) -> Readings:
        query = ReadingsQuery(site=site, start=start, end=end, **options)
        return await self.registry.fetch_readings("solis", self.context(), grant, query)

    async def fault(self, fault: str, endpoint: str, **settings: Any) -> None:
        path = f"/v1/api/{endpoint}"
        answer = await self.tester.post("/_faults", json={"fault": fault, "path": path, **settings})
        assert answer.status_code == 200


Open = Callable[..., AbstractAsyncContextManager[Stand]]


@asynccontextmanager
async def open_stand(**dials: Any) -> AsyncIterator[Stand]:
    stand_in = simulator(cloud := Cloud(**dials))
    async with (
        simulated(joinder_solis, stand_in) as (registry, factory, origin),
        httpx.AsyncClient(base_url=origin) as tester,
    ):
        yield Stand(cloud, registry, factory, tester, cloud.clock.now)
