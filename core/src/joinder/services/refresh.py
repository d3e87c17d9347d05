"""Renews grants without ever losing one (docs/decisions/0003, measured in the design's reliability notes).

lease → re-read → intent on disk → one exchange, shielded, with a total deadline → the new grant committed before
anything else → lease given back → only then health and events. A refresh token may be single-use: whoever breaks this
order loses customers.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy import exists, update
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from joinder.clock import now, to_epoch, utc_now
from joinder.errors import (
    AppCredentialsRejected,
    AuthorizationLost,
    OutcomeUnknown,
    TransientError,
    UnexpectedPayload,
    VendorError,
)
from joinder.grants import Context, Grant
from joinder.services import health, leases, vendor_credentials
from joinder.services.enrollments import open_grant, seal_grant
from joinder.services.hub import Hub
from joinder.services.refusals import Conflict, NotFound
from joinder.services.schedule import DEATH_PROOF_AFTER, after_failure, next_refresh
from joinder.services.vendor_context import vendor_context
from joinder.store.tables import Due, Enrollment, GrantRow, VendorCredentials
from joinder.vendor import Refresh, Vendor

KIND = "refresh"
COMMIT_S = 5.0
MARGIN_S = 5.0
COMMIT_ATTEMPTS = 12
log = logging.getLogger("joinder.refresh")


@dataclass(frozen=True, kw_only=True)
class Attempt:
    """One exchange, its intent already on disk."""

    enrollment_id: str
    account_id: str
    vendor: Vendor
    lease: str
    version: int
    intent_id: str
    grant: Grant
    ctx: Context
    follows_unknown: bool  # an earlier exchange with this very token never told its outcome


async def refresh(hub: Hub, enrollment_id: str, *, newer_than: int | None = None, wait_s: float = 20.0) -> None:
    """Renews the grant now, or joins a renewal under way in any process.

    `newer_than`: nothing to do once the stored version is beyond it. The caller may stop waiting or be cancelled; the
    exchange goes on. Raises the vendor's error, or TransientError when `wait_s` is over.
    """
    task = hub.refreshes.get(enrollment_id)
    if task is None:
        task = asyncio.create_task(_refresh(hub, enrollment_id, newer_than))
        hub.refreshes[enrollment_id] = task
        task.add_done_callback(lambda done: _forget(hub, enrollment_id, done))
    try:
        async with asyncio.timeout(wait_s):
            await asyncio.shield(task)
    except TimeoutError:
        raise TransientError("The token is still being renewed", retry_after=timedelta(seconds=5)) from None


def _forget(hub: Hub, enrollment_id: str, done: asyncio.Task[None]) -> None:
    hub.refreshes.pop(enrollment_id, None)
    if (
        not done.cancelled()
        and done.exception() is not None
        and not isinstance(done.exception(), VendorError | Conflict)
    ):
        log.error("refresh of %s failed: %s", enrollment_id, type(done.exception()).__name__)


async def _refresh(hub: Hub, enrollment_id: str, newer_than: int | None) -> None:
    async with await _slot(hub, enrollment_id):
        attempt = await _begin(hub, enrollment_id, newer_than)
        if attempt is None:
            return
        async with _lease_renewed(hub, attempt):
            try:
                fresh = await _exchange(hub, attempt)
            except VendorError as error:
                await _end_failed(hub, attempt, error)
                raise
            await _commit(hub, attempt, fresh)
    async with hub.store.write(enrollment_id) as session:
        enrollment = await session.get(Enrollment, enrollment_id)
        if enrollment is not None:
            health.succeeded(session, enrollment)


async def _slot(hub: Hub, enrollment_id: str) -> asyncio.Semaphore | contextlib.nullcontext[None]:
    """Only so many exchanges of single-use tokens at once, so that one hard kill can lose only so many."""
    async with hub.store.read() as session:
        enrollment = await session.get(Enrollment, enrollment_id)
    if enrollment is None:
        raise NotFound
    vendor = hub.registry.vendor(enrollment.vendor)
    strict = vendor.refresh is Refresh.ROTATING and vendor.refresh_grace is None
    return hub.strict_refreshes if strict else contextlib.nullcontext()


async def _begin(hub: Hub, enrollment_id: str, newer_than: int | None) -> Attempt | None:
    """Waits for the lease, then decides. None: another holder has renewed the grant meanwhile."""
    ttl_s = _ttl(hub)
    give_up = asyncio.get_running_loop().time() + 2 * ttl_s
    while True:
        async with hub.store.write(enrollment_id) as session:
            held = await _held(session, enrollment_id)
            if newer_than is None:
                newer_than = held[1].version
            if held[1].version > newer_than:
                return None
            lease = await leases.take(session, KIND, enrollment_id, ttl_s)
            if lease is not None:
                return await _write_intent(hub, session, *held, lease=lease)
        if asyncio.get_running_loop().time() > give_up:
            raise TransientError("Another process has been renewing this token for too long")
        await asyncio.sleep(0.2)


async def _held(session: AsyncSession, enrollment_id: str) -> tuple[Enrollment, GrantRow]:
    enrollment, grant = await session.get(Enrollment, enrollment_id), await session.get(GrantRow, enrollment_id)
    if enrollment is None or grant is None:
        raise NotFound
    return enrollment, grant


async def _write_intent(
    hub: Hub, session: AsyncSession, enrollment: Enrollment, grant: GrantRow, *, lease: str
) -> Attempt:
    """Part of the lease's own transaction: both are on disk before the vendor is called."""
    vendor = hub.registry.vendor(enrollment.vendor)
    if vendor.refresh not in (Refresh.ROTATING, Refresh.REUSABLE):
        raise Conflict(f"{vendor.label} grants cannot be refreshed; the owner consents again when one ends.")
    credentials = await session.get(VendorCredentials, enrollment.credentials_id or "")
    if credentials is not None and credentials.rejected_at is not None:
        raise AppCredentialsRejected("The vendor refuses this app's credentials; they must be corrected first")
    _wait_for_late_answer(hub, grant)
    await hub.vault.unlock(session, enrollment.account_id)
    follows_unknown = grant.intent_count > 0
    grant.intent_id, grant.intent_at, grant.intent_count = secrets.token_hex(8), now(), grant.intent_count + 1
    app = vendor_credentials.open_app(hub, credentials)
    return Attempt(
        enrollment_id=enrollment.id,
        account_id=enrollment.account_id,
        vendor=vendor,
        lease=lease,
        version=grant.version,
        intent_id=grant.intent_id,
        grant=open_grant(hub, enrollment.account_id, grant),
        ctx=vendor_context(hub, vendor.name, app, enrollment.options),
        follows_unknown=follows_unknown,
    )


def _wait_for_late_answer(hub: Hub, grant: GrantRow) -> None:
    """An exchange of unknown outcome may still succeed at the vendor: only after its deadline is it tried again."""
    if grant.intent_at is None:
        return
    wait_s = grant.intent_at + hub.settings.refresh_deadline_s + MARGIN_S - now()
    if 0 < wait_s <= _ttl(hub):
        raise TransientError(
            "An earlier renewal has no known outcome yet; trying again soon", retry_after=timedelta(seconds=wait_s)
        )


async def _exchange(hub: Hub, attempt: Attempt) -> Grant:
    """One call in a task of its own, under a total deadline."""
    call = asyncio.create_task(hub.registry.refresh(attempt.vendor.name, attempt.ctx, attempt.grant))
    done, _ = await asyncio.wait({call}, timeout=hub.settings.refresh_deadline_s)
    if not done:
        call.cancel()
        raise OutcomeUnknown("The vendor did not finish the renewal in time")
    return call.result()


async def _commit(hub: Hub, attempt: Attempt, fresh: Grant) -> None:
    """The new grant on disk, first thing. It exists nowhere else, so trouble with the disk is waited out."""
    for tries in range(COMMIT_ATTEMPTS):
        try:
            async with hub.store.write(attempt.enrollment_id) as session:
                await _save(hub, session, attempt, fresh)
            return
        except SQLAlchemyError as error:
            log.critical("new token of %s not saved yet: %s", attempt.enrollment_id, type(error).__name__)
            await asyncio.sleep(min(0.1 * 2**tries, 10))
    raise TransientError("The renewed token could not be saved")


async def _save(hub: Hub, session: AsyncSession, attempt: Attempt, fresh: Grant) -> None:
    holds_lease = exists().where(
        col(Due.kind) == KIND, col(Due.enrollment_id) == attempt.enrollment_id, col(Due.lease) == attempt.lease
    )
    change = (
        update(GrantRow)
        .where(col(GrantRow.enrollment_id) == attempt.enrollment_id, col(GrantRow.version) == attempt.version)
        .values(
            sealed=seal_grant(hub, attempt.account_id, attempt.enrollment_id, fresh),
            version=attempt.version + 1,
            expires_at=to_epoch(fresh.expires_at),
            refresh_expires_at=to_epoch(fresh.refresh_expires_at),
            state=str(fresh.state),
            obtained_by="refresh",
            obtained_at=now(),
            refresh_count=GrantRow.refresh_count + 1,
            intent_id=None,
            intent_at=None,
            intent_count=0,
            refused_at=None,
        )
    )
    saved = await session.execute(change.where(holds_lease))
    if not saved.rowcount:  # type: ignore[attr-defined]
        late = await session.execute(change)  # nobody has a newer token, so this one is the best there is
        if late.rowcount:  # type: ignore[attr-defined]
            log.error("the lease of %s ended before its answer came", attempt.enrollment_id)
    due_at = next_refresh(attempt.vendor, fresh, utc_now())
    await leases.release(session, KIND, attempt.enrollment_id, attempt.lease, due_at)


async def _end_failed(hub: Hub, attempt: Attempt, error: VendorError) -> None:
    """Records what the failure means and when to try again, in one transaction with the lease."""
    async with hub.store.write(attempt.enrollment_id) as session:
        enrollment = await session.get(Enrollment, attempt.enrollment_id)
        grant = await session.get(GrantRow, attempt.enrollment_id)
        if enrollment is None or grant is None or grant.version != attempt.version:
            await leases.release(session, KIND, attempt.enrollment_id, attempt.lease, None)
            return  # a newer consent has replaced this grant
        due_at = _next_try(hub, enrollment, error)
        if isinstance(error, OutcomeUnknown | UnexpectedPayload):
            health.failed(session, enrollment, error)
        else:
            grant.intent_id = grant.intent_at = None
            if isinstance(error, AuthorizationLost):
                due_at = _refused(session, enrollment, grant, attempt, error)
            else:
                grant.intent_count = 0
                health.failed(session, enrollment, error)
        await leases.release(session, KIND, attempt.enrollment_id, attempt.lease, due_at)
        if isinstance(error, AppCredentialsRejected) and enrollment.credentials_id:
            await vendor_credentials.reject(session, enrollment.credentials_id, error)


def _next_try(hub: Hub, enrollment: Enrollment, error: VendorError) -> int:
    retry_after = error.retry_after if isinstance(error, TransientError) else None
    if isinstance(error, OutcomeUnknown | UnexpectedPayload):
        retry_after = timedelta(seconds=hub.settings.refresh_deadline_s + MARGIN_S)
    return after_failure(enrollment.failures, utc_now(), retry_after)


def _refused(
    session: AsyncSession, enrollment: Enrollment, grant: GrantRow, attempt: Attempt, error: AuthorizationLost
) -> int:
    """Death needs proof: a second refusal of the same token, minutes after the first. When it is due next."""
    if attempt.follows_unknown:
        health.change(session, enrollment, "lost_in_flight", "The connection was cut while the token was renewed.")
        return leases.NEVER
    grant.intent_count = 0
    if grant.refused_at is None:
        grant.refused_at = now()
        reason = "The vendor refused the token once; Joinder checks again in five minutes."
        health.change(session, enrollment, "degraded", reason)
    elif now() - grant.refused_at >= DEATH_PROOF_AFTER.total_seconds():
        health.change(session, enrollment, "needs_consent", str(error))
        return leases.NEVER
    return grant.refused_at + int(DEATH_PROOF_AFTER.total_seconds())


@asynccontextmanager
async def _lease_renewed(hub: Hub, attempt: Attempt) -> AsyncIterator[None]:
    """Keeps the lease alive while the exchange is in flight, however slow the database is."""

    async def keep() -> None:
        while True:
            await asyncio.sleep(_ttl(hub) / 3)
            with contextlib.suppress(SQLAlchemyError):
                async with hub.store.write(attempt.enrollment_id) as session:
                    await leases.renew(session, KIND, attempt.enrollment_id, attempt.lease, _ttl(hub))

    watchdog = asyncio.create_task(keep())
    try:
        yield
    finally:
        watchdog.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await watchdog


def _ttl(hub: Hub) -> float:
    return hub.settings.refresh_deadline_s + COMMIT_S + MARGIN_S
