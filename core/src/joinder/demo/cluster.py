"""What the demo shows of several processes on one database: they share the work, and one may die."""

from __future__ import annotations

import asyncio
import itertools
import random
import time
from collections.abc import Awaitable, Callable

from msgspec import Struct

from joinder.clock import now
from joinder.demo import sequence
from joinder.demo.client import Say
from joinder.demo.processes import Process, StepFailed
from joinder.demo.sequence import Connected
from joinder.demo.stack import Running
from joinder.services.readings import poll
from joinder.services.work import leases
from joinder.simulate import Simulator

WAIT_MOST_S = 90.0  # what a killed worker was handed out is given to another after half a minute
PAUSE_S = (0.2, 1.2)


class Work(Struct, rename="camel"):
    """What one process did, by its own /metrics: requests answered, and plugins' hooks that worked."""

    process: str
    requests: int
    vendor_calls: int


class Summary(Struct, rename="camel"):
    """`work` is what was done before a worker was killed."""

    work: list[Work]
    consents_across_servers: list[str]
    killed: str
    goes_on: str
    calls_after_kill: int


def crosses(demo: Running, simulator: Simulator) -> bool:
    """Tells whether the owner begins at the second server.

    The vendor sends every owner back to the public URL, the first.
    """
    return demo.simulators.index(simulator) % 2 == 1


async def connect(demo: Running, simulator: Simulator, say: Say, *, days: int = 1) -> Connected:
    """Connects as in `sequence`, every second vendor's owner by way of the second server."""
    via = demo.servers[1].url if crosses(demo, simulator) else None
    return await sequence.connect(demo, simulator, say, days=days, via=via)


async def show(demo: Running, say: Say) -> Summary:
    """Shows two workers at work and kills one, after all vendors are connected. Raises StepFailed."""
    killed, left = demo.workers
    say("── cluster ──")
    say("One enrollment after another is due, until both workers have read from vendors")
    await _until(demo, "both workers work", _both_called(killed, left))
    work = [await _work(process) for process in demo.processes]
    before = await _calls(left)
    await killed.kill()
    say(f"kill -9 {killed.name}, in the middle of it: {left.name} goes on alone")
    wanted = before + len(demo.simulators)

    async def went_on() -> bool:
        return await _calls(left) >= wanted

    await _until(demo, f"{left.name} goes on", went_on)
    across = [one.vendor for one in demo.simulators if crosses(demo, one) and not one.owner_form]
    return Summary(
        work=work,
        consents_across_servers=across,
        killed=killed.name,
        goes_on=left.name,
        calls_after_kill=await _calls(left) - before,
    )


def _both_called(one: Process, other: Process) -> Callable[[], Awaitable[bool]]:
    async def both() -> bool:
        return bool(await _calls(one) and await _calls(other))

    return both


async def _until(demo: Running, step: str, holds: Callable[[], Awaitable[bool]]) -> None:
    """Makes one enrollment after another due, as if hours had passed. Raises StepFailed."""
    give_up = time.monotonic() + WAIT_MOST_S
    ids = [row[0] for row in await demo.hub.store.rows("SELECT id FROM enrollment ORDER BY id", {})]
    for enrollment_id in itertools.cycle(ids):
        async with demo.hub.store.write() as session:
            await leases.schedule(session, poll.KIND, enrollment_id, now())
        await asyncio.sleep(random.uniform(*PAUSE_S))  # noqa: S311 - whichever worker looks next
        if await holds():
            return
        if time.monotonic() > give_up:
            raise StepFailed(f"cluster: {step}", f"not within {WAIT_MOST_S:.0f} s; see the logs in {demo.folder}")


async def _calls(process: Process) -> int:
    return await process.figure("joinder_vendor_calls_total", outcome="ok")


async def _work(process: Process) -> Work:
    requests = await process.figure("joinder_api_requests_total") if process.serves else 0
    return Work(process=process.name, requests=requests, vendor_calls=await _calls(process))
