"""Looks for due work every second and hands it out; works what the engine gives this process."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from joinder.clock import monotonic
from joinder.runtime import due
from joinder.runtime import work_queue as engine
from joinder.runtime.hub import Hub
from joinder.services.calls import breaker_states
from joinder.services.events import deliveries
from joinder.services.grants import (
    approvals,
    durability,
    expiry,
    invariant,
    recovery,
    refresh,
    revocations,
    store_watch,
)
from joinder.services.join import late_consents, placed_consents, site_lists
from joinder.services.readings import backfill, backfill_steps, poll
from joinder.services.work.jobs import Job
from joinder.store.driver_errors import said
from joinder.store.journal import KEPT_S
from joinder.trouble import StoreTrouble

LOOK_EVERY_S = 1.0
APPLY_EVERY_S = KEPT_S  # the journal: each command that renewed a token leaves a file
PATIENCE_S = 10.0  # polls under way at a stop; exchanges are waited for without end (Hub.drain)
log = logging.getLogger("joinder.worker")


async def _refresh(hub: Hub, enrollment_id: str) -> None:
    await refresh.refresh_due(hub, enrollment_id)


async def _poll(hub: Hub, enrollment_id: str) -> None:
    await poll.poll(hub, enrollment_id)


async def _ask(hub: Hub, enrollment_id: str) -> None:
    await approvals.ask(hub, enrollment_id)


async def _backfill(hub: Hub, enrollment_id: str) -> None:
    await backfill_steps.work_one(hub, enrollment_id)


async def _pace(hub: Hub, app: str) -> None:
    await hub.pace.take(app)


JOBS: tuple[Job, ...] = (
    due.Kind(refresh.KIND, _refresh, nearest_to_expiry_first=True, pace=_pace).job(),
    due.Kind(poll.KIND, _poll, newest_consent_first=True).job(),
    due.Kind(approvals.KIND, _ask).job(),
    due.Kind(placed_consents.KIND, late_consents.work).job(),
    due.Kind(expiry.KIND, expiry.look).job(),
    due.Kind(backfill.KIND, _backfill).job(),
    due.Kind(site_lists.KIND, site_lists.list_again).job(),
    revocations.JOB,
    late_consents.SWEEP,
    durability.JOB,
    deliveries.FAN_OUT,
    deliveries.DELIVERY,
)


@asynccontextmanager
async def working(hub: Hub) -> AsyncIterator[None]:
    """Works beside the block. On leaving no row is begun any more; what is under way ends, polls within seconds."""
    durability.arm(hub)
    async with (
        store_watch.watching(hub),
        breaker_states.told(hub.store, hub.breakers, hub.process),
        engine.running(hub.store, lambda name, key: _work(hub, name, key)) as queue,
    ):
        looking = asyncio.create_task(_look(hub, queue))
        try:
            yield
        finally:
            hub.stopping.set()
            looking.cancel()
            await asyncio.gather(looking, return_exceptions=True)
            await _end_work(hub)


async def _look(hub: Hub, queue: engine.Engine) -> None:
    is_in_doubt, applied_at = True, monotonic()  # at the start, and after a database that was away
    while True:
        for job in () if durability.is_orphaned(hub) else JOBS:
            try:
                if is_in_doubt:
                    await recovery.apply(hub)
                    await invariant.repair(hub)
                    is_in_doubt, applied_at = False, monotonic()
                if monotonic() - applied_at > APPLY_EVERY_S:
                    await recovery.apply(hub)
                    applied_at = monotonic()
                await queue.hand_out([(job.name, key) for key in await job.due(hub)])
            except StoreTrouble as trouble:
                is_in_doubt = True
                log.error("looking for due %s failed: %s", job.name, trouble)
                break  # the others would fare no better
            except Exception as error:  # noqa: BLE001 - one kind of work must not stop the others
                is_in_doubt = True
                log.error("looking for due %s failed: %s", job.name, said(error))
        await hub.activity.flush_sometimes()
        await asyncio.sleep(LOOK_EVERY_S)


async def _work(hub: Hub, name: str, key: str) -> None:
    """Works a batch. Cancelled at a stop, it leaves its rows to be found again."""
    job = next((entry for entry in JOBS if entry.name == name), None)
    if job is None:  # a newer version beside this one handed it out; one of its own workers will find it
        return
    task = asyncio.create_task(job.work(hub, key))
    hub.work.add(task)
    task.add_done_callback(hub.work.discard)
    outcome = (await asyncio.gather(task, return_exceptions=True))[0]
    if isinstance(outcome, Exception):
        log.error("a batch of %s failed: %s", name, said(outcome))


async def _end_work(hub: Hub) -> None:
    if hub.work:
        await asyncio.wait(hub.work, timeout=PATIENCE_S)
    for task in hub.work:
        task.cancel()
    await asyncio.gather(*hub.work, return_exceptions=True)
