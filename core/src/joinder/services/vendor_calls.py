"""Every read from a vendor: a fresh token before it, one more try or renewal where it helps, health after it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar

from joinder.clock import now, utc_now
from joinder.errors import AppCredentialsRejected, ApprovalPending, AuthorizationLost, NotSupported, VendorError
from joinder.grants import Context, Grant, GrantState
from joinder.services import health, vendor_credentials
from joinder.services.breakers import BreakerOpen
from joinder.services.budgets import BudgetSpent
from joinder.services.enrollments import budget_of, open_grant
from joinder.services.hub import Hub
from joinder.services.refresh import refresh
from joinder.services.refusals import NotFound
from joinder.services.vendor_context import vendor_context
from joinder.store.tables import Enrollment, GrantRow, VendorCredentials
from joinder.vendor import Refresh

T = TypeVar("T")
FRESH_FOR_S = 60  # a token with less than this left is renewed before it is used
_LOST = ("needs_consent", "lost_in_flight")


@dataclass(frozen=True, kw_only=True)
class Held:
    """An enrollment opened for a hook call."""

    enrollment: Enrollment
    version: int
    grant: Grant
    ctx: Context


async def with_grant(hub: Hub, enrollment_id: str, call: Callable[[Context, Grant], Awaitable[T]]) -> T:
    """Runs `call` with a usable grant. Raises the vendor's error after writing down what it means."""
    held = await _usable(hub, await _open(hub, enrollment_id))
    try:
        answer = await hub.retries.run(budget_of(held.enrollment), lambda: call(held.ctx, held.grant))
    except AuthorizationLost as error:
        answer = await _renewed_once(hub, held, call, error)
    except VendorError as error:
        await _note_failure(hub, enrollment_id, error)
        raise
    await _note_success(hub, enrollment_id)
    return answer


async def _renewed_once(
    hub: Hub, held: Held, call: Callable[[Context, Grant], Awaitable[T]], error: AuthorizationLost
) -> T:
    """A refused token that is not expired: one renewal tells a stale token from a withdrawn consent."""
    enrollment_id = held.enrollment.id
    if not _refreshable(hub, held):
        await _note_failure(hub, enrollment_id, error)
        raise error
    await refresh(hub, enrollment_id, newer_than=held.version)  # records its own failures
    renewed = await _open(hub, enrollment_id)
    try:
        return await call(renewed.ctx, renewed.grant)
    except VendorError as again:
        await _note_failure(hub, enrollment_id, again)
        raise


async def _open(hub: Hub, enrollment_id: str) -> Held:
    async with hub.store.read() as session:
        enrollment = await session.get(Enrollment, enrollment_id)
        row = await session.get(GrantRow, enrollment_id)
        if enrollment is None or row is None:
            raise NotFound
        await hub.vault.unlock(session, enrollment.account_id)
        credentials = await session.get(VendorCredentials, enrollment.credentials_id or "")
    app = vendor_credentials.open_app(hub, credentials)
    return Held(
        enrollment=enrollment,
        version=row.version,
        grant=open_grant(hub, enrollment.account_id, row),
        ctx=vendor_context(hub, enrollment.vendor, app, enrollment.options, budget=budget_of(enrollment)),
    )


async def _usable(hub: Hub, held: Held) -> Held:
    if held.grant.state is GrantState.PENDING_APPROVAL:
        raise ApprovalPending("The vendor has not approved this enrollment yet")
    expires_at = held.grant.expires_at
    if expires_at is None or expires_at.timestamp() - now() > FRESH_FOR_S:
        return held
    if _refreshable(hub, held):
        if held.enrollment.health in _LOST and expires_at <= utc_now():
            raise AuthorizationLost(held.enrollment.health_reason or "The owner must consent again")
        try:
            await refresh(hub, held.enrollment.id, newer_than=held.version)
        except VendorError:
            if expires_at <= utc_now():
                raise
            return held  # the old token still works
        return await _open(hub, held.enrollment.id)
    if expires_at <= utc_now():
        lost = AuthorizationLost("The owner's token has expired; a new one is needed")
        await _note_failure(hub, held.enrollment.id, lost)
        raise lost
    return held


def _refreshable(hub: Hub, held: Held) -> bool:
    return hub.registry.vendor(held.enrollment.vendor).refresh in (Refresh.ROTATING, Refresh.REUSABLE)


async def _note_success(hub: Hub, enrollment_id: str) -> None:
    async with hub.store.write(enrollment_id) as session:
        enrollment = await session.get(Enrollment, enrollment_id)
        if enrollment is not None:
            health.succeeded(session, enrollment)


async def _note_failure(hub: Hub, enrollment_id: str, error: VendorError) -> None:
    if isinstance(error, NotSupported | BudgetSpent):  # tells nothing about this enrollment
        return
    async with hub.store.write(enrollment_id) as session:
        enrollment = await session.get(Enrollment, enrollment_id)
        if enrollment is None or (isinstance(error, BreakerOpen) and enrollment.health != "ok"):
            return  # what is known says more
        health.failed(session, enrollment, error)
        if isinstance(error, AppCredentialsRejected) and enrollment.credentials_id:
            await vendor_credentials.reject(session, enrollment.credentials_id, error)
