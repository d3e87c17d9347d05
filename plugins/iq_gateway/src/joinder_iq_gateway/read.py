"""The two reading hooks: a proven gateway, opened at its stored address with its pinned certificate."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from joinder import Context, Grant, Readings, ReadingsQuery, Site
from joinder.errors import NotSupported
from joinder_iq_gateway import api, payloads
from joinder_iq_gateway.api import Gateway, take_snapshot
from joinder_iq_gateway.cts import STARTED
from joinder_iq_gateway.devices import with_inventory
from joinder_iq_gateway.mapping import readings


async def read_site(ctx: Context, grant: Grant, site_id: str) -> Site:
    """Reads the site, also without its time zone and part numbers, which stand on slow pages (3 to 9 s each)."""
    async with opened(ctx, grant) as gateway:
        found = await poll(gateway, ctx, grant, timezone=None)
        home = await gateway.read(api.HOME, payloads.Home)
        inventory = await gateway.read(api.INVENTORY, list[payloads.InventoryGroup]) or []
    return Site(
        vendor_id=site_id,
        name=grant.facts.get("name") or f"IQ Gateway {grant.facts['serial']}",
        timezone=home.timezone if home else None,
        devices=with_inventory(found.devices, (device for group in inventory for device in group.devices)),
    )


async def read_readings(ctx: Context, grant: Grant, query: ReadingsQuery) -> Readings:
    """Polls once, never for intervals: the box keeps no history to trust, and core derives them from the counters."""
    async with opened(ctx, grant) as gateway:
        return await poll(gateway, ctx, grant, timezone=query.site.timezone, live=query.live)


async def poll(gateway: Gateway, ctx: Context, grant: Grant, *, timezone: str | None, live: bool = False) -> Readings:
    """Polls the gateway once. Raises what stopped every page, NotSupported when the box has none of them."""
    now, firmware = ctx.now(), grant.facts["firmware"]
    snapshot = await take_snapshot(gateway, firmware=firmware, now=now, timezone=timezone)
    found = readings(snapshot, now=now, firmware=firmware, live=live)
    if found.counters or found.live or found.devices or STARTED in found.warnings:
        return found
    if gateway.failed:
        raise next(iter(gateway.failed.values()))
    raise NotSupported("The gateway has none of the pages that measurements are read from")


@asynccontextmanager
async def opened(ctx: Context, grant: Grant) -> AsyncIterator[Gateway]:
    async with ctx.device(grant.facts["address"], pin_sha256=grant.facts["cert_sha256"]) as box:
        gateway = Gateway(box, grant.secrets["token"], expires_at=grant.expires_at, now=ctx.now())
        await gateway.open_session()
        yield gateway
