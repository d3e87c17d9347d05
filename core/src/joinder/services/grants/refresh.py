"""Renews grants without ever losing one (docs/decisions/0003).

lease and intent on disk → one exchange, shielded, with a total deadline → the new grant committed before anything else
→ only then health and events. A refresh token may be single-use: whoever breaks this order loses customers.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from enum import Enum, auto

from joinder.clock import now
from joinder.errors import (
    AppCredentialsRejected,
    ApprovalPending,
    AuthorizationLost,
    OutcomeUnknown,
    TransientError,
    UnexpectedPayload,
    VendorError,
)
from joinder.grants import Grant, GrantState
from joinder.observe.metrics import RefreshResult
from joinder.patience import within
from joinder.runtime.hub import Hub
from joinder.services.calls.call_refusals import BudgetSpent
from joinder.services.grants import (
    apps,
    barrier,
    durability,
    failover,
    footing,
    holders,
    journal,
    judging,
    recovery,
    saving,
    site_rights,
)
from joinder.services.records import health
from joinder.services.records.opened_grant import OpenedGrant, RefreshAttempt, open_for_call
from joinder.services.refusals import Conflict
from joinder.services.work import leases
from joinder.store.driver_errors import said
from joinder.store.tables import Due, GrantRow
from joinder.trouble import StoreTrouble
from joinder.vendor import Refresh, Vendor

KIND = "refresh"
COMMIT_S = 5.0
ASK_AGAIN_S = 0.2
LOOK_AGAIN_S = 30  # at an exchange without an outcome: whoever began it may have told one
log = logging.getLogger("joinder.refresh")

_INTEND = (
    'UPDATE "grant" SET intent_id = :intent, intent_at = :now, intent_count = intent_count + 1 '
    "WHERE enrollment_id = :enrollment AND version = :version AND intent_count = :intents AND obtained_by = :by "
    "AND (intent_at IS NULL OR intent_at < :too_late OR intent_at > :too_early) AND {stands} AND EXISTS "
    "(SELECT 1 FROM due WHERE kind = 'refresh' AND enrollment_id = :enrollment AND lease = :lease)"
)


class Elsewhere(Enum):
    """Why no exchange was begun."""

    RENEWED = auto()  # another holder has a newer token
    NOT_DUE = auto()  # or another holder is at it


Begin = Callable[[OpenedGrant], Awaitable[RefreshAttempt | Elsewhere]]


async def refresh(hub: Hub, enrollment_id: str, *, newer_than: int | None = None, wait_s: float = 20.0) -> None:
    """Renews the grant now, or joins a renewal under way in any process.

    `newer_than`: nothing to do once the stored version is beyond it. The caller may stop waiting or be cancelled; the
    exchange goes on. Raises the vendor's error, StoreTrouble, or TransientError when `wait_s` is over.
    """
    try:
        async with asyncio.timeout(wait_s):
            while not await asyncio.shield(_under_way(hub, enrollment_id, lambda held: _begin(hub, held, newer_than))):
                pass  # a worker's, which stood back
    except TimeoutError:
        waits_for = hub.store.outage.trouble
        slow = TransientError("The token is still being renewed", retry_after=timedelta(seconds=5))
        raise (slow if waits_for is None else type(waits_for)(str(waits_for))) from None


async def refresh_due(hub: Hub, enrollment_id: str) -> None:
    """Renews the grant in a worker's turn, unless it is due no more, or somebody is renewing it.

    Every worker finds the same rows due, so the one that comes second must not renew what the first has just renewed.
    The caller may be cancelled; the exchange goes on. Raises the vendor's error.
    """
    await asyncio.shield(_under_way(hub, enrollment_id, lambda held: _begin_due(hub, held)))


def _under_way(hub: Hub, enrollment_id: str, begin: Begin) -> asyncio.Task[bool]:
    """Returns this process's one task about the grant, begun where there is none."""
    task = hub.refreshes.get(enrollment_id)
    if task is None:
        task = asyncio.create_task(_refresh(hub, enrollment_id, begin))
        hub.refreshes[enrollment_id] = task
        task.add_done_callback(lambda done: _forget(hub, enrollment_id, done))
    return task


def _forget(hub: Hub, enrollment_id: str, done: asyncio.Task[bool]) -> None:
    hub.refreshes.pop(enrollment_id, None)
    error = None if done.cancelled() else done.exception()
    if error is not None and not isinstance(error, VendorError | Conflict):
        log.error("refresh of %s failed: %s", enrollment_id, said(error))


async def _refresh(hub: Hub, enrollment_id: str, begin: Begin) -> bool:
    """Renews the grant; False when nothing was done, and nothing is known to have been done elsewhere."""
    async with _slot(hub, await open_for_call(hub, enrollment_id)) as held, _counted(hub, enrollment_id):
        attempt = await begin(held)
        if not isinstance(attempt, RefreshAttempt):
            return attempt is Elsewhere.RENEWED
        vendor = attempt.vendor.name
        async with _lease_renewed(hub, attempt):
            try:
                with hub.metrics.refreshing(vendor):
                    fresh = await _exchange(hub, attempt)
            except VendorError as error:
                hub.metrics.refreshed(vendor, _result(error))
                await judging.renewal_failed(hub, attempt, error)
                raise
            await saving.save(hub, attempt, fresh)
    await apps.has_worked(hub, attempt.held.row, "token")
    await site_rights.listed_by_renewal(hub, enrollment_id, fresh.site_ids)
    return True


@asynccontextmanager
async def _counted(hub: Hub, enrollment_id: str) -> AsyncIterator[None]:
    """Keeps the grant among the exchanges of this process until the block ends."""
    try:
        yield
    finally:
        hub.exchanges.pop(enrollment_id, None)


@asynccontextmanager
async def _slot(hub: Hub, held: OpenedGrant) -> AsyncIterator[OpenedGrant]:
    """Lets only so many exchanges of single-use tokens run at once, so that one hard kill can lose only so many.

    Yields the grant, read again where it was waited for.
    """
    vendor = hub.registry.vendor(held.row.vendor)
    if vendor.refresh is not Refresh.ROTATING or vendor.refresh_grace is not None:
        yield held
        return
    has_waited = hub.strict_refreshes.locked()
    async with hub.strict_refreshes:
        yield await open_for_call(hub, held.row.id) if has_waited else held


async def _begin(hub: Hub, held: OpenedGrant, newer_than: int | None) -> RefreshAttempt | Elsewhere:
    """Waits for the lease."""
    give_up = asyncio.get_running_loop().time() + 2 * _ttl(hub)
    while True:
        if hub.stopping.is_set():
            raise TransientError("Joinder is stopping; ask again", retry_after=timedelta(seconds=5))
        held = await _caught_up(hub, held)
        if newer_than is None:
            newer_than = held.row.version
        if held.row.version > newer_than:
            return Elsewhere.RENEWED
        attempt = await _intend(hub, held)
        if attempt is not None:
            return attempt
        await _wait_for_late_answer(hub, held)
        if asyncio.get_running_loop().time() > give_up:
            raise TransientError("Another process has been renewing this token for too long")
        await asyncio.sleep(ASK_AGAIN_S)
        held = await open_for_call(hub, held.row.id)


async def _begin_due(hub: Hub, held: OpenedGrant) -> RefreshAttempt | Elsewhere:
    """Waits for nobody. At a stop the rows that still wait for a slot are left to others."""
    held = await _caught_up(hub, held)
    if hub.stopping.is_set():
        return Elsewhere.NOT_DUE
    attempt = await _intend(hub, held, due_by=now())
    if attempt is None:
        await _wait_for_late_answer(hub, held)
    return attempt or Elsewhere.NOT_DUE


async def _caught_up(hub: Hub, held: OpenedGrant) -> OpenedGrant:
    """Reads the grant again where the database had to catch up with the journal first."""
    return await open_for_call(hub, held.row.id) if await recovery.catch_up(hub, held.row) else held


async def _intend(hub: Hub, held: OpenedGrant, *, due_by: int | None = None) -> RefreshAttempt | None:
    """Writes lease and intent to disk in one transaction.

    None: the grant is leased, no longer what was read, or not due by `due_by` (epoch seconds).
    """
    vendor = hub.registry.vendor(held.row.vendor)
    _check(held, vendor)
    await failover.ready(hub)
    durability.check(hub)
    hub.exchanges[held.row.id] = hub.footing.epoch
    await barrier.check(hub, held.row, vendor)
    hub.breakers.refuse_open(vendor, "refresh", held.ctx.app)
    await _enter(hub, held)
    await journal.begin(hub)
    await failover.enter(hub)
    attempt = RefreshAttempt(held=held, vendor=vendor, lease=leases.new_lease(), intent_id=holders.new_intent(hub))
    values = {
        "enrollment": held.row.id,
        "version": held.row.version,
        "intents": held.row.intent_count,
        "by": held.row.obtained_by,  # put behind the barrier meanwhile: no
        "intent": attempt.intent_id,
        "lease": attempt.lease,
        "now": now(),
        "too_late": holders.too_late(hub, held.row),
        "too_early": holders.too_early(held.row),
    }
    intend = footing.asked(hub, _INTEND, values)
    take = leases.taking(
        hub.store.dialect,
        KIND,
        held.row.id,
        attempt.lease,
        _ttl(hub),
        patience_s=hub.store.pulse.patience_s(),
        due_by=due_by,
    )
    taken, intended = await hub.store.apply(take, intend, serialize_on=held.row.id)
    if taken and not intended:
        await hub.store.apply(leases.releasing(KIND, held.row.id, attempt.lease, None))
    hub.footing.is_in_doubt |= not intended
    return attempt if intended else None


def _check(held: OpenedGrant, vendor: Vendor) -> None:
    """Raises what stands against calling the vendor now."""
    if not vendor.is_renewable:
        raise Conflict(f"{vendor.label} grants cannot be refreshed; the owner consents again when one ends.")
    if held.grant.state is GrantState.PENDING_APPROVAL:  # approvals.py asks; this would be a renewal of nothing
        raise ApprovalPending("The vendor has not approved this enrollment yet")
    wait_s = max(held.row.wait_until or 0, held.row.app_wait_until or 0) - now()
    if wait_s > 0:
        raise BudgetSpent(
            "The vendor asked for a pause; no renewal before it is over", retry_after=timedelta(seconds=wait_s)
        )


async def _enter(hub: Hub, held: OpenedGrant) -> None:
    """Passes the app, where it is not suspected. A new enrollment of a refused app waits for the operator, too."""
    try:
        await apps.enter(hub, held.row, "token")
    except AppCredentialsRejected:
        if held.row.health in health.WELL:
            await apps.stop(hub, held.row.id)
        raise


async def _wait_for_late_answer(hub: Hub, held: OpenedGrant) -> None:
    """Raises TransientError while an exchange of unknown outcome may still succeed at the vendor.

    Nobody holds its lease, but it may do so until its deadline.
    """
    intent_at = held.row.intent_at
    too_late = holders.too_late(hub, held.row)
    if intent_at is None or not too_late <= intent_at <= holders.too_early(held.row):
        return
    async with hub.store.read() as session:
        grant, due = await session.get(GrantRow, held.row.id), await session.get(Due, (KIND, held.row.id))
    same = grant is not None and (grant.version, grant.intent_at) == (held.row.version, intent_at)
    if same and due is not None and due.lease is None:
        wait = timedelta(seconds=min(max(1, intent_at - too_late), LOOK_AGAIN_S))
        raise TransientError("An earlier renewal has no known outcome yet; trying again soon", retry_after=wait)


async def _exchange(hub: Hub, attempt: RefreshAttempt) -> Grant:
    """Renews at the vendor, in one call under a total deadline."""
    call = hub.registry.refresh(attempt.vendor.name, attempt.held.ctx, attempt.held.grant)
    try:
        return await within(hub.settings.refresh_deadline_s, call)
    except TimeoutError:
        raise OutcomeUnknown("The vendor did not finish the renewal in time") from None


def _result(error: VendorError) -> RefreshResult:
    if isinstance(error, OutcomeUnknown | UnexpectedPayload):
        return "unknown"
    return "refused" if isinstance(error, AuthorizationLost | AppCredentialsRejected) else "failed"


@asynccontextmanager
async def _lease_renewed(hub: Hub, attempt: RefreshAttempt) -> AsyncIterator[None]:
    """Keeps the lease alive while the exchange is in flight, however slow the database is."""

    async def keep() -> None:
        wait_s = _ttl(hub) / 3
        while True:
            await asyncio.sleep(wait_s)
            try:
                await hub.store.apply(
                    leases.renewing(hub.store.dialect, KIND, attempt.enrollment_id, attempt.lease, _ttl(hub))
                )
                wait_s = _ttl(hub) / 3
            except StoreTrouble:
                wait_s = 1.0  # as soon as it is back: others stand back just long enough (store/pulse.py)

    watchdog = asyncio.create_task(keep())
    try:
        yield
    finally:
        watchdog.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await watchdog


def _ttl(hub: Hub) -> float:
    return hub.settings.refresh_deadline_s + COMMIT_S + holders.MARGIN_S
