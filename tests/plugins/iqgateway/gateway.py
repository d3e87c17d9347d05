"""What the gateway's tests share: a running simulator, reached as an owner's server reaches it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta

import httpx

import joinder_iq_gateway
from joinder import Callback, Consent, Context, Grant, Readings, ReadingsQuery, Secrets, Site
from joinder.http import HttpFactory
from joinder.simulate import Simulator
from joinder.simulate.run import reroute_of, running
from joinder.vendors.registry import Registry
from joinder_iq_gateway.simulator import ADDRESS, SimulatedGateway, simulator
from support import make_context

NOON = 1_782_414_000.0  # 2026-06-25 12:00 in Los Angeles
MIDNIGHT = NOON + 12 * 3600
VENDOR = joinder_iq_gateway.VENDOR


@dataclass
class Bench:
    """A simulator, a registry and a context whose clock is the simulator's."""

    simulator: Simulator
    origin: str
    factory: HttpFactory
    registry: Registry
    ctx: Context

    @property
    def box(self) -> SimulatedGateway:
        assert isinstance(self.simulator.app, SimulatedGateway)
        return self.simulator.app

    async def join(self, token: str | None = None, host: str = ADDRESS, name: str = "") -> Consent:
        values = {"host": host, "token": token or self.box.mint(), "name": name}
        return await self.registry.handle_callback("iqgateway", self.ctx, Callback(values=Secrets(values)))

    async def site(self, grant: Grant) -> Site:
        return await self.registry.fetch_site("iqgateway", self.ctx, grant, grant.site_ids[0])

    async def readings(self, grant: Grant, *, timezone: str | None = None, live: bool = True) -> Readings:
        now = self.ctx.now()
        site = Site(vendor_id=grant.site_ids[0], name="home", timezone=timezone)
        query = ReadingsQuery(site=site, start=now, end=now + timedelta(0), live=live)
        return await self.registry.fetch_readings("iqgateway", self.ctx, grant, query)

    async def fault(self, fault: str, path: str = "/", **more: object) -> None:
        async with httpx.AsyncClient(verify=False) as client:  # noqa: S501 - our own simulator's certificate
            answer = await client.post(f"{self.origin}/_faults", json={"fault": fault, "path": path, **more})
            assert answer.status_code == 200


@asynccontextmanager
async def bench(at: float = NOON) -> AsyncIterator[Bench]:
    stand_in = simulator()
    stand_in.clock.freeze(at)
    registry = Registry()
    registry.add("iqgateway", joinder_iq_gateway)
    async with running([stand_in]) as origins:
        reroute = reroute_of([stand_in], origins)
        factory = HttpFactory(allowed_networks=("192.168.77.0/24",), reroute=reroute)
        ctx = make_context(VENDOR, factory, now=stand_in.clock.now)
        yield Bench(stand_in, origins["iqgateway"], factory, registry, ctx)
        await factory.close()
