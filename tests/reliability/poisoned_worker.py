"""A worker whose plugin ends its process at one owner's renewal. Arguments: database URL, key file, seconds ahead."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time

from joinder import clock
from joinder.runtime import worker
from joinder.runtime.hub import open_hub
from joinder.services.grants import refresh
from joinder.settings import Settings
from joinder.vendors.registry import Registry
from services.strict_vendor import StrictVendor

POISON = "poison"
RUNS_S = 20.0
_LEFT = "SELECT count(*) FROM due WHERE kind = 'refresh' AND due_at <= :now"


class Forgetful(StrictVendor):
    """Takes any token of an owner, as each process begins with a new one of these."""

    def _rotate(self, owner: str, number: int) -> None:
        self.current[owner] = number + 1


async def kill(owner: str) -> None:
    if owner == POISON:
        os.kill(os.getpid(), signal.SIGKILL)
    await asyncio.sleep(0.05)


async def main(url: str, key_file: str, ahead_s: str) -> None:
    """Until it is killed, or nothing is due any more."""
    clock.civil_time = lambda: time.time() + float(ahead_s)
    refresh.COMMIT_S = refresh.MARGIN_S = 0.2
    worker.LOOK_EVERY_S = 0.05
    vendor = Forgetful(grace=True, before=kill)
    registry = Registry()
    registry.add(vendor.name, vendor)
    settings = Settings(database_url=url, key_file=key_file, refresh_deadline_s=0.5, refreshes_per_second=1000.0)
    async with open_hub(settings, registry) as hub, worker.working(hub):
        ends = time.monotonic() + RUNS_S
        while time.monotonic() < ends and (await hub.store.rows(_LEFT, {"now": clock.now()}))[0][0]:
            await asyncio.sleep(0.05)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
