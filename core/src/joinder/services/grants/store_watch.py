"""Looks after the store of a process that goes on: whether it moved, and whether a trouble of it is over."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from joinder.runtime.hub import Hub
from joinder.services.grants import durability, failover
from joinder.store.driver_errors import said
from joinder.store.readiness import EVERY_S
from joinder.trouble import StoreTrouble

log = logging.getLogger("joinder.store")


@asynccontextmanager
async def watching(hub: Hub) -> AsyncIterator[None]:
    """Watches the store beside the block; the log tells of what is found."""
    hub.store.outage.is_told = True
    task = asyncio.create_task(_watch(hub))
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def _watch(hub: Hub) -> None:
    while True:
        await asyncio.sleep(EVERY_S)
        try:
            await failover.look(hub)
            if hub.store.outage.trouble is not None:
                await durability.ready(hub)
        except StoreTrouble:
            pass  # told where it was noticed
        except Exception as error:  # noqa: BLE001 - a look that failed must not be the last
            log.error("looking after the database failed: %s", said(error))
