"""The plugins of this installation, held against what is stored: whose vendors are, and which plugins are missing."""

from __future__ import annotations

import asyncio

from joinder.runtime.hub import Hub, audit
from joinder.services.refusals import NotFound
from joinder.store import claims
from joinder.store.engine import open_store, parsed_url
from joinder.store.sqlite import sqlite_path
from joinder.store.types import Store
from joinder.store.vault import SYSTEM
from joinder.vendors.registry import Installed, Registry

LOOKED_FOR_S = 10.0  # a list of plugins waits no longer for a database that is away


async def adopt(hub: Hub, vendor: str, distribution: str, actor: str) -> str | None:
    """Gives the vendor's stored grants to another distribution; answers whose they were, None: nobody's.

    It works from the next start on. Raises NotFound.
    """
    bringing = [entry.distribution for entry in hub.registry.installed if entry.name == vendor]
    meant = next((name for name in bringing if not claims.is_another(distribution, name)), None)
    if meant is None:
        others = ", ".join(bringing) or "none"
        raise NotFound(f"{distribution} brings no vendor {vendor}; installed with it: {others}")
    async with hub.store.write() as session:
        before = (await claims.held(session)).get(vendor)
        await claims.adopt(session, vendor, meant)
        audit(session, SYSTEM, actor, "vendor.adopt", vendor, reason=f"{meant}, before {before or 'nobody'}")
    return before


async def held_against_store(database_url: str, registry: Registry) -> list[Installed]:
    """Returns what is installed, claimants refused, and what has grants stored and is not installed.

    A SQLite file that is not there is not made. Raises TimeoutError, or as open_store.
    """
    url = parsed_url(database_url)
    if url.get_backend_name() == "sqlite" and not sqlite_path(url).exists():
        return registry.installed
    async with asyncio.timeout(LOOKED_FOR_S):
        store = await open_store(database_url)
    try:
        await claims.refuse_others(store, registry)
        gone = await missing(store, registry.installed)
    finally:
        await store.close()
    left = [
        Installed(name=name, distribution=distribution, version="-", problem=f"gone: pip install {distribution}")
        for name, distribution in gone.items()
    ]
    return [*registry.installed, *left]


async def missing(store: Store, installed: list[Installed]) -> dict[str, str]:
    """Returns vendor → distribution, of what has grants stored and is not installed."""
    async with store.read() as session:
        held = await claims.held(session)
    names = {entry.name for entry in installed}
    return {vendor: distribution for vendor, distribution in held.items() if vendor not in names}
