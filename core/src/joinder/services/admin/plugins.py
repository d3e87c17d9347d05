"""The plugins of this installation, held against what is stored: whose vendors are, and which plugins are missing."""

from __future__ import annotations

from joinder.runtime.hub import Hub
from joinder.services.refusals import NotFound
from joinder.store import claims
from joinder.store.types import Store
from joinder.vendors.registry import Installed


async def adopt(hub: Hub, vendor: str, distribution: str) -> str | None:
    """Gives the vendor's stored grants to another distribution; answers whose they were, None: nobody's.

    It works from the next start on. Raises NotFound.
    """
    bringing = [entry.distribution for entry in hub.registry.installed if entry.name == vendor]
    if all(claims.is_another(distribution, name) for name in bringing):
        others = ", ".join(bringing) or "none"
        raise NotFound(f"{distribution} brings no vendor {vendor}; installed with it: {others}")
    async with hub.store.write() as session:
        before = (await claims.held(session)).get(vendor)
        await claims.adopt(session, vendor, distribution)
    return before


async def missing(store: Store, installed: list[Installed]) -> dict[str, str]:
    """Returns vendor → distribution, of what has grants stored and is not installed."""
    async with store.read() as session:
        held = await claims.held(session)
    names = {entry.name for entry in installed}
    return {vendor: distribution for vendor, distribution in held.items() if vendor not in names}
