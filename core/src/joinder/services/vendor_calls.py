"""Every read from a vendor: a fresh token before it, one more try or renewal where it helps, health after it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import TypeVar

from joinder.about import about
from joinder.clock import now, utc_now
from joinder.errors import (
    AppCredentialsRejected,
    ApprovalPending,
    AuthorizationLost,
    NotSupported,
    Paused,
    TransientError,
    VendorError,
)
from joinder.grants import Context, Grant, GrantState
from joinder.services import health, site_rights, vendor_credentials
from joinder.services.breakers import BreakerOpen
from joinder.services.budgets import BudgetSpent
from joinder.services.held import Held, open_held
from joinder.services.hub import Hub
from joinder.services.refresh import refresh
from joinder.services.schedule import DEATH_PROOF_AFTER
from joinder.store.tables import Enrollment
from joinder.vendor import Refresh

T = TypeVar("T")
FRESH_FOR_S = 60  # a token with less than this left is renewed before it is used
NOTED_EVERY_S = 60
_LOST = ("needs_consent", "lost_in_flight")
_WELL = (
    "UPDATE enrollment SET failures = 0, last_success_at = :now, last_attempt_at = :now "
    "WHERE id = :id AND health = 'ok'"
)


async def with_grant(hub: Hub, enrollment_id: str, call: Callable[[Context, Grant], Awaitable[T]]) -> T:
    """Runs `call` with a usable grant. Raises the vendor's error after writing down what it means."""
    with about(enrollment_id=enrollment_id):
        return await _with_grant(hub, enrollment_id, call)


async def _with_grant(hub: Hub, enrollment_id: str, call: Callable[[Context, Grant], Awaitable[T]]) -> T:
    held = await _usable(hub, await open_held(hub, enrollment_id))
    try:
        answer = await hub.retries.run(held.budget, lambda: call(held.ctx, held.grant))
    except AuthorizationLost as error:
        answer = await _renewed_once(hub, held, call, error)
    except VendorError as error:
        await _note_failure(hub, enrollment_id, error)
        raise
    await _note_success(hub, held)
    return answer


async def _renewed_once(
    hub: Hub, held: Held, call: Callable[[Context, Grant], Awaitable[T]], error: AuthorizationLost
) -> T:
    """A refused token that is not expired: one renewal tells a stale token from a withdrawn consent."""
    if not _refreshable(hub, held):
        await _note_failure(hub, held.row.id, error)
        raise error
    await _renew(hub, held)
    renewed = await open_held(hub, held.row.id)
    try:
        return await call(renewed.ctx, renewed.grant)
    except VendorError as again:
        await _note_failure(hub, held.row.id, again)
        raise


async def _usable(hub: Hub, held: Held) -> Held:
    if held.row.paused_at is not None:
        raise Paused("The operator paused this enrollment")
    if held.grant.state is GrantState.PENDING_APPROVAL:
        raise ApprovalPending("The vendor has not approved this enrollment yet")
    expires_at = held.grant.expires_at
    if expires_at is None or expires_at.timestamp() - now() > FRESH_FOR_S:
        return held
    expired = expires_at <= utc_now()
    if _refreshable(hub, held):
        try:
            await _renew(hub, held)
        except VendorError:
            if expired:
                raise
            return held  # the old token still works
        return await open_held(hub, held.row.id)
    if expired:
        lost = AuthorizationLost("The owner's token has expired; a new one is needed")
        await _note_failure(hub, held.row.id, lost)
        raise lost
    return held


async def _renew(hub: Hub, held: Held) -> None:
    """One exchange, which records its own failures; none while a refused token waits for its next test."""
    if held.row.health in _LOST:
        raise AuthorizationLost(held.row.health_reason or "The owner must consent again")
    proof_s = DEATH_PROOF_AFTER.total_seconds()
    if held.row.health == "suspected" or (held.row.refused_at or 0) > now() - proof_s:
        wait = timedelta(seconds=proof_s)
        raise TransientError("The vendor refused this token; Joinder tests it again soon", retry_after=wait)
    await refresh(hub, held.row.id, newer_than=held.row.version)


def _refreshable(hub: Hub, held: Held) -> bool:
    return hub.registry.vendor(held.row.vendor).refresh in (Refresh.ROTATING, Refresh.REUSABLE)


async def _note_success(hub: Hub, held: Held) -> None:
    """Written down when it changes something, or once a minute."""
    row = held.row
    if row.refused_at is not None or row.app_rejected_at is not None or row.health == "lost_in_flight":
        return  # the old access token still serves; what cannot be renewed is no better for it
    if row.health != "ok":
        async with hub.store.write(row.id) as session:
            enrollment = await session.get(Enrollment, row.id)
            if enrollment is not None:
                health.succeeded(session, enrollment)
    elif row.failures or now() - (row.last_success_at or 0) >= NOTED_EVERY_S:
        await hub.store.apply((_WELL, {"id": row.id, "now": now()}))


async def _note_failure(hub: Hub, enrollment_id: str, error: VendorError) -> None:
    if isinstance(error, NotSupported | BudgetSpent):  # tells nothing about this enrollment
        return
    async with hub.store.write(enrollment_id) as session:
        enrollment = await session.get(Enrollment, enrollment_id)
        if enrollment is None or (isinstance(error, BreakerOpen) and enrollment.health not in health.WELL):
            return  # what is known says more
        health.failed(session, enrollment, error)
        if isinstance(error, AppCredentialsRejected) and enrollment.credentials_id:
            await vendor_credentials.reject(session, enrollment.credentials_id, error)
    await site_rights.hand_over(hub, enrollment_id)
