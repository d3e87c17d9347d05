"""Renews grants without ever losing one (docs/decisions/0003, measured in the design's reliability notes).

lease and intent on disk → one exchange, shielded, with a total deadline → the new grant committed before anything else
→ only then health and events. A refresh token may be single-use: whoever breaks this order loses customers.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from enum import Enum, auto

from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col, select

from joinder.clock import now, to_epoch, utc_now
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
from joinder.metrics import RefreshResult
from joinder.services import barrier, durability, health, leases, revocations, site_rights
from joinder.services.budgets import BudgetSpent
from joinder.services.grants import apps, judging, standing
from joinder.services.held import Held, open_held
from joinder.services.hub import Hub
from joinder.services.refusals import Conflict
from joinder.services.schedule import next_refresh
from joinder.services.sealed_grants import seal_grant
from joinder.store.driver_errors import said
from joinder.store.engine import Statement, StoreTrouble
from joinder.store.tables import Due, Enrollment, GrantRow, SiteRow
from joinder.vendor import Refresh, Vendor

KIND = "refresh"
COMMIT_S = 5.0
MARGIN_S = 5.0
COMMIT_ATTEMPTS = 12
ASK_AGAIN_S = 0.2
VERSIONS_KEPT = 20
log = logging.getLogger("joinder.refresh")

_INTEND = (
    'UPDATE "grant" SET intent_id = :intent, intent_at = :now, intent_count = intent_count + 1 '
    "WHERE enrollment_id = :enrollment AND version = :version AND intent_count = :intents "
    "AND (intent_at IS NULL OR intent_at < :too_late OR intent_at > :now) AND EXISTS "
    "(SELECT 1 FROM due WHERE kind = 'refresh' AND enrollment_id = :enrollment AND lease = :lease)"
)
_STILL_DUE = (
    "SELECT 1 FROM due WHERE kind = 'refresh' AND enrollment_id = :enrollment AND due_at <= :now "
    "AND (lease IS NULL OR lease_boot <> :clock OR lease_until < {time})"
)
_WITHDRAW = (
    "UPDATE due SET lease = NULL, lease_until = NULL WHERE kind = 'refresh' AND enrollment_id = :enrollment "
    "AND lease = :lease AND NOT EXISTS "
    '(SELECT 1 FROM "grant" WHERE enrollment_id = :enrollment AND intent_id = :intent)'
)
_SAVE = (
    'UPDATE "grant" SET sealed = :sealed, version = version + 1, expires_at = :expires_at, '
    "refresh_expires_at = :refresh_expires_at, state = :state, obtained_by = 'refresh', obtained_at = :now, "
    "refresh_count = refresh_count + 1, intent_id = NULL, intent_at = NULL, intent_count = 0, refused_at = NULL, "
    "suspected_at = CASE WHEN denied_at IS NULL THEN NULL ELSE suspected_at END, warned_at = NULL, wait_until = NULL, "
    "odd_since = NULL, odd_code = NULL WHERE enrollment_id = :enrollment AND version = :version"
)
_HELD = " AND EXISTS (SELECT 1 FROM due WHERE kind = 'refresh' AND enrollment_id = :enrollment AND lease = :lease)"
_REMEMBER = (
    "INSERT INTO grant_version (enrollment_id, version, obtained_by, obtained_at, expires_at, refresh_expires_at) "
    "SELECT enrollment_id, version, obtained_by, obtained_at, expires_at, refresh_expires_at "
    'FROM "grant" WHERE enrollment_id = :enrollment ON CONFLICT DO NOTHING'
)
_FORGET = "DELETE FROM grant_version WHERE enrollment_id = :enrollment AND version <= :oldest"
_READS = (
    "(enrollment.paused_at IS NULL AND EXISTS "
    "(SELECT 1 FROM site s WHERE s.enrollment_id = enrollment.id AND s.gone_at IS NULL))"
)
_WELL = (  # failed reads go on counting, or a token renewed before each of them would hide that none succeeds
    f"UPDATE enrollment SET failures = CASE WHEN {_READS} THEN failures ELSE 0 END, last_attempt_at = :now "  # noqa: S608
    "WHERE id = :enrollment AND health IN ('ok', 'connecting')"
)


@dataclass(frozen=True, kw_only=True)
class Attempt:
    """One exchange, its intent already on disk."""

    held: Held
    vendor: Vendor
    lease: str
    intent_id: str

    @property
    def enrollment_id(self) -> str:
        return self.held.row.id

    @property
    def version(self) -> int:
        return self.held.row.version

    @property
    def follows_unknown(self) -> bool:
        """An earlier exchange with this very token never told its outcome."""
        return self.held.row.intent_count > 0


class Elsewhere(Enum):
    """Why no exchange was begun."""

    RENEWED = auto()  # another holder has a newer token
    NOT_DUE = auto()  # or another holder is at it


Begin = Callable[[], Awaitable[Attempt | Elsewhere]]


async def refresh(hub: Hub, enrollment_id: str, *, newer_than: int | None = None, wait_s: float = 20.0) -> None:
    """Renews the grant now, or joins a renewal under way in any process.

    `newer_than`: nothing to do once the stored version is beyond it. The caller may stop waiting or be cancelled; the
    exchange goes on. Raises the vendor's error, StoreTrouble, or TransientError when `wait_s` is over.
    """
    try:
        async with asyncio.timeout(wait_s):
            while not await asyncio.shield(
                _under_way(hub, enrollment_id, lambda: _begin(hub, enrollment_id, newer_than))
            ):
                pass  # a worker's, which stood back
    except TimeoutError:
        waits_for = hub.store.outage.trouble
        slow = TransientError("The token is still being renewed", retry_after=timedelta(seconds=5))
        raise (slow if waits_for is None else type(waits_for)(str(waits_for))) from None


async def refresh_due(hub: Hub, enrollment_id: str) -> None:
    """A worker's turn: renews the grant unless it is due no more, or somebody is renewing it.

    Every worker finds the same rows due, so the one that comes second must not renew what the first has just renewed.
    The caller may be cancelled; the exchange goes on. Raises the vendor's error.
    """
    if await _still_due(hub, enrollment_id):
        await asyncio.shield(_under_way(hub, enrollment_id, lambda: _begin_due(hub, enrollment_id)))


def _under_way(hub: Hub, enrollment_id: str, begin: Begin) -> asyncio.Task[bool]:
    """This process's one task about the grant."""
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
    """False: nothing was done, and nothing is known to have been done elsewhere."""
    async with await _slot(hub, enrollment_id):
        attempt = await begin()
        if not isinstance(attempt, Attempt):
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
            answered_at = time.perf_counter()
            well = await _commit(hub, attempt, fresh)
        hub.metrics.made_durable(vendor, time.perf_counter() - answered_at)
    if not well:
        await _recovered(hub, enrollment_id)
    await apps.has_worked(hub, attempt.held.row, "token")
    await site_rights.listed_by_renewal(hub, enrollment_id, fresh.site_ids)
    return True


async def _slot(hub: Hub, enrollment_id: str) -> asyncio.Semaphore | contextlib.nullcontext[None]:
    """Only so many exchanges of single-use tokens at once, so that one hard kill can lose only so many."""
    vendor = hub.registry.vendor((await open_held(hub, enrollment_id)).row.vendor)
    strict = vendor.refresh is Refresh.ROTATING and vendor.refresh_grace is None
    return hub.strict_refreshes if strict else contextlib.nullcontext()


async def _begin(hub: Hub, enrollment_id: str, newer_than: int | None) -> Attempt | Elsewhere:
    """Waits for the lease."""
    give_up = asyncio.get_running_loop().time() + 2 * _ttl(hub)
    while True:
        if hub.stopping.is_set():
            raise TransientError("Joinder is stopping; ask again", retry_after=timedelta(seconds=5))
        held = await open_held(hub, enrollment_id)
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


async def _begin_due(hub: Hub, enrollment_id: str) -> Attempt | Elsewhere:
    """Waits for nobody. At a stop the rows that still wait for a slot are left to others."""
    held = await open_held(hub, enrollment_id)
    if hub.stopping.is_set() or not await _still_due(hub, enrollment_id):
        return Elsewhere.NOT_DUE
    attempt = await _intend(hub, held)
    if attempt is None:
        await _wait_for_late_answer(hub, held)
    return attempt or Elsewhere.NOT_DUE


async def _still_due(hub: Hub, enrollment_id: str) -> bool:
    values = {"enrollment": enrollment_id, "now": now()}
    return bool(await hub.store.rows(*leases.on_clock(hub.store.dialect, _STILL_DUE, values)))


async def _intend(hub: Hub, held: Held) -> Attempt | None:
    """Lease and intent on disk in one transaction. None: the grant is leased, or no longer what was read."""
    vendor = hub.registry.vendor(held.row.vendor)
    _check(held, vendor)
    durability.check(hub)
    await barrier.check(hub, held.row, vendor)
    hub.breakers.refuse_open(vendor, "refresh", held.ctx.app)
    await _enter(hub, held)
    attempt = Attempt(held=held, vendor=vendor, lease=leases.new_lease(), intent_id=secrets.token_hex(8))
    values = {
        "enrollment": held.row.id,
        "version": held.row.version,
        "intents": held.row.intent_count,
        "intent": attempt.intent_id,
        "lease": attempt.lease,
        "now": now(),
        "too_late": _too_late(hub),
    }
    take = leases.taking(hub.store.dialect, KIND, held.row.id, attempt.lease, _ttl(hub))
    _, intended, _ = await hub.store.apply(take, (_INTEND, values), (_WITHDRAW, values), about=held.row.id)
    return attempt if intended else None


def _check(held: Held, vendor: Vendor) -> None:
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


async def _enter(hub: Hub, held: Held) -> None:
    """Past the app, where it is not suspected. A new enrollment of a refused app waits for the operator, too."""
    try:
        await apps.enter(hub, held.row, "token")
    except AppCredentialsRejected:
        if held.row.health in health.WELL:
            await apps.stop(hub, held.row.id)
        raise


async def _wait_for_late_answer(hub: Hub, held: Held) -> None:
    """Nobody holds the lease, yet an exchange of unknown outcome may still succeed at the vendor until its deadline."""
    intent_at = held.row.intent_at
    if intent_at is None or not _too_late(hub) <= intent_at <= now():
        return
    async with hub.store.read() as session:
        grant, due = await session.get(GrantRow, held.row.id), await session.get(Due, (KIND, held.row.id))
    same = grant is not None and (grant.version, grant.intent_at) == (held.row.version, intent_at)
    if same and due is not None and due.lease is None:
        wait = timedelta(seconds=max(1, intent_at - _too_late(hub)))
        raise TransientError("An earlier renewal has no known outcome yet; trying again soon", retry_after=wait)


def _too_late(hub: Hub) -> int:
    """Exchanges begun before this can no longer succeed."""
    return now() - int(hub.settings.refresh_deadline_s + MARGIN_S)


async def _exchange(hub: Hub, attempt: Attempt) -> Grant:
    """One call in a task of its own, under a total deadline."""
    call = asyncio.create_task(hub.registry.refresh(attempt.vendor.name, attempt.held.ctx, attempt.held.grant))
    done, _ = await asyncio.wait({call}, timeout=hub.settings.refresh_deadline_s)
    if not done:
        call.cancel()
        raise OutcomeUnknown("The vendor did not finish the renewal in time")
    return call.result()


async def _commit(hub: Hub, attempt: Attempt, fresh: Grant) -> bool:
    """The new grant on disk, first thing; True when its enrollment was and is well.

    The grant exists nowhere else, so trouble with the disk is waited out. A try whose commit told no outcome is
    harmless to repeat: the version it was for is then gone.
    """
    save, *others = _statements(hub, attempt, fresh)
    for tries in range(COMMIT_ATTEMPTS):
        try:
            saved, _, _, well, _ = await _save(hub, attempt, save, others)
            hub.metrics.refreshed(attempt.vendor.name, "renewed" if saved or tries else "overtaken")
            if not saved:
                await revocations.renewed_meanwhile(hub, attempt.enrollment_id, fresh)
            return bool(well) or not saved
        except StoreTrouble as trouble:
            log.critical("new token of %s not saved yet: %s", attempt.enrollment_id, trouble)
            if durability.make_room(hub, trouble):
                continue
            await asyncio.sleep(min(0.1 * 2**tries, 10))
    raise TransientError("The renewed token could not be saved")


async def _save(hub: Hub, attempt: Attempt, save: Statement, others: list[Statement]) -> list[int]:
    sql, values = save
    changed = await hub.store.apply((sql + _HELD, values), *others, about=attempt.enrollment_id)
    if changed[0]:
        return changed
    late = await hub.store.apply(save, *others, about=attempt.enrollment_id)
    if late[0]:  # nobody has a newer token, so this one is the best there is
        hub.metrics.lease_overrun(KIND)
        log.error("the lease of %s ended before its answer came", attempt.enrollment_id)
    return late


def _result(error: VendorError) -> RefreshResult:
    if isinstance(error, OutcomeUnknown | UnexpectedPayload):
        return "unknown"
    return "refused" if isinstance(error, AuthorizationLost | AppCredentialsRejected) else "failed"


def _statements(hub: Hub, attempt: Attempt, fresh: Grant) -> list[Statement]:
    row = attempt.held.row
    values = {
        "enrollment": row.id,
        "lease": attempt.lease,
        "version": row.version,
        "oldest": row.version + 1 - VERSIONS_KEPT,
        "sealed": seal_grant(hub, row.account_id, row.id, fresh),
        "expires_at": to_epoch(fresh.expires_at),
        "refresh_expires_at": to_epoch(fresh.refresh_expires_at),
        "state": str(fresh.state),
        "now": now(),
    }
    due_at = next_refresh(attempt.vendor, fresh, utc_now())
    release = leases.releasing(KIND, row.id, attempt.lease, due_at)
    return [(_SAVE, values), (_REMEMBER, values), (_FORGET, values), (_WELL, values), release]


async def _recovered(hub: Hub, enrollment_id: str) -> None:
    """Whatever was wrong with the token is over; polling that had stopped for it goes on.

    Where a read may have been what failed, a read says that it is over: the next one, now.
    """
    async with hub.store.write(enrollment_id) as session:
        enrollment = await session.get(Enrollment, enrollment_id)
        grant = await session.get(GrantRow, enrollment_id)
        poll = await session.get(Due, ("poll", enrollment_id))
        if enrollment is None or grant is None:
            return
        if enrollment.health == "quarantined" and poll is not None and poll.due_at >= leases.NEVER:
            return  # it is reading that broke
        enrollment.last_attempt_at = now()
        if not await _has_sites(session, enrollment):  # what was refused is not asked any more
            grant.denied_at = None
        if grant.denied_at is not None:  # the token is well; whether its data are told is for a read to find out
            await standing.settle(hub, session, enrollment)
            return
        is_open = await _may_be_of_the_data(session, enrollment)
        state = None if is_open else await health.begun(session, enrollment_id)
        enrollment.failures = enrollment.failures if is_open else 0
        await standing.settle(hub, session, enrollment, state, due={"poll": now()})


async def _may_be_of_the_data(session: AsyncSession, enrollment: Enrollment) -> bool:
    """Whether its trouble may be one of reading, and a poll will find out."""
    if enrollment.health not in ("degraded", "operator_action") or enrollment.paused_at is not None:
        return False
    if not enrollment.failures and not await apps.is_refused_by(session, enrollment, "data"):
        return False
    return await _has_sites(session, enrollment)


async def _has_sites(session: AsyncSession, enrollment: Enrollment) -> bool:
    """Whether it reads any: those it may open can all be others' to read."""
    query = select(SiteRow.id).where(col(SiteRow.enrollment_id) == enrollment.id, col(SiteRow.gone_at).is_(None))
    return (await session.execute(query.limit(1))).first() is not None


@asynccontextmanager
async def _lease_renewed(hub: Hub, attempt: Attempt) -> AsyncIterator[None]:
    """Keeps the lease alive while the exchange is in flight, however slow the database is."""

    async def keep() -> None:
        while True:
            await asyncio.sleep(_ttl(hub) / 3)
            with contextlib.suppress(StoreTrouble):
                await hub.store.apply(
                    leases.renewing(hub.store.dialect, KIND, attempt.enrollment_id, attempt.lease, _ttl(hub))
                )

    watchdog = asyncio.create_task(keep())
    try:
        yield
    finally:
        watchdog.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await watchdog


def _ttl(hub: Hub) -> float:
    return hub.settings.refresh_deadline_s + COMMIT_S + MARGIN_S
