"""Every read from a vendor: a fresh token before it, one more try or renewal where it helps, health after it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import TypeVar

from joinder.clock import now, utc_now
from joinder.errors import (
    ApprovalPending,
    ApprovalRefused,
    AuthorizationLost,
    Paused,
    TransientError,
    VendorError,
)
from joinder.grants import Context, Grant, GrantState
from joinder.observe.log_context import log_context
from joinder.runtime.hub import Hub
from joinder.services.calls.budgets import purpose
from joinder.services.grants import apps, consequences, judging, standing
from joinder.services.grants.case import VendorAnswer
from joinder.services.grants.refresh import refresh
from joinder.services.grants.verdict import PROOF_AFTER, Door
from joinder.services.records import health
from joinder.services.records.opened_grant import OpenedGrant, open_for_call
from joinder.store.sites import StoredSite
from joinder.store.tables import Enrollment, GrantRow
from joinder.trouble import StoreTrouble

T = TypeVar("T")
FRESH_FOR_S = 60  # a token with less than this left is renewed before it is used
_ALLOWED = "UPDATE site SET denied_at = NULL WHERE id = :id"
_WELL = (
    "UPDATE enrollment SET failures = 0, last_success_at = :now, last_attempt_at = :now "
    "WHERE id = :id AND health = 'ok'"
)


async def with_grant(
    hub: Hub, enrollment_id: str, call: Callable[[Context, Grant], Awaitable[T]], *, site: StoredSite | None = None
) -> T:
    """Runs `call` with a usable grant; `site`: the one it is about.

    Raises the vendor's error after writing down what it means.
    """
    with log_context(enrollment_id=enrollment_id):
        return await _with_grant(hub, enrollment_id, call, site)


async def _with_grant(
    hub: Hub, enrollment_id: str, call: Callable[[Context, Grant], Awaitable[T]], site: StoredSite | None
) -> T:
    held = await _usable(hub, await open_for_call(hub, enrollment_id))
    await apps.enter(hub, held.row, "data")
    try:
        answer = await hub.retries.run(held.budget, lambda: call(held.ctx, held.grant))
    except AuthorizationLost as error:
        answer = await _renewed_once(hub, held, call, error, site)
    except VendorError as error:
        await _note_failure(hub, held, error, site)
        raise
    await _note_success(hub, held, site)
    return answer


async def _renewed_once(
    hub: Hub,
    held: OpenedGrant,
    call: Callable[[Context, Grant], Awaitable[T]],
    error: AuthorizationLost,
    site: StoredSite | None,
) -> T:
    """Renews once for a refused token that is not expired, to tell a stale token from a refused owner.

    One is enough: while the refusal lasts, no other is spent on it.
    """
    if not _refreshable(hub, held) or _is_known(held, site):
        await _note_failure(hub, held, error, site)
        raise error
    await _renew(hub, held)
    renewed = await open_for_call(hub, held.row.id)
    try:
        return await call(renewed.ctx, renewed.grant)
    except VendorError as again:
        await _note_failure(hub, renewed, again, site)
        raise


def _is_known(held: OpenedGrant, site: StoredSite | None) -> bool:
    """Tells whether the data API has refused this already, and a token younger than that refusal with it."""
    known = (held.row.denied_at, site.denied_at if site is not None else None)
    return any(at is not None and at <= held.row.obtained_at + FRESH_FOR_S for at in known)


async def _usable(hub: Hub, held: OpenedGrant) -> OpenedGrant:
    if held.row.paused_at is not None:
        was_ended = health.is_unenrolled(held.row.status, held.row.health_actor)
        raise Paused(f"The operator {'unenrolled' if was_ended else 'paused'} this enrollment")
    if held.grant.state is GrantState.PENDING_APPROVAL:
        if held.row.status == "rejected":
            raise ApprovalRefused(f"This enrollment was rejected: {held.row.status_reason or 'no reason was given'}")
        raise ApprovalPending("The vendor has not approved this enrollment yet")
    _refuse_denied(held)
    expires_at = held.grant.expires_at
    if expires_at is None or expires_at.timestamp() - now() > FRESH_FOR_S:
        return held
    expired = expires_at <= utc_now()
    if _refreshable(hub, held):
        try:
            await _renew(hub, held)
        except (VendorError, StoreTrouble):
            if expired:
                raise
            return held  # the old token still works
        return await open_for_call(hub, held.row.id)
    if expired:
        lost = AuthorizationLost("The owner's token has expired; a new one is needed")
        await _note_failure(hub, held, lost, None, is_over=True)
        raise lost
    return held


def _refuse_denied(held: OpenedGrant) -> None:
    """Keeps readers from repeating what was just refused; the poll asks again when it is time.

    Raises TransientError, or AuthorizationLost when the owner must consent again.
    """
    if held.row.denied_at is None:
        return
    wait_s = held.row.denied_at + PROOF_AFTER.total_seconds() - now()
    if held.row.health == "suspected" and purpose() != "poll":
        wait_s = max(wait_s, PROOF_AFTER.total_seconds())
    if wait_s > 0:
        wait = timedelta(seconds=wait_s)
        raise TransientError("The vendor refused to give this owner's data; Joinder asks again soon", retry_after=wait)
    if held.row.health == "needs_consent":
        raise AuthorizationLost(held.row.health_reason or "The owner must consent again")


async def _renew(hub: Hub, held: OpenedGrant) -> None:
    """Renews in one exchange, which records its own failures; not while a refused token waits for its next test."""
    if held.row.health in health.OWNER_MUST_ACT:
        raise AuthorizationLost(held.row.health_reason or "The owner must consent again")
    proof_s = PROOF_AFTER.total_seconds()
    is_tested = held.row.health == "suspected" and held.row.refused_at is not None
    if is_tested or (held.row.refused_at or 0) > now() - proof_s:
        wait = timedelta(seconds=proof_s)
        raise TransientError("The vendor refused this token; Joinder tests it again soon", retry_after=wait)
    await refresh(hub, held.row.id, newer_than=held.row.version)


def _refreshable(hub: Hub, held: OpenedGrant) -> bool:
    return hub.registry.vendor(held.row.vendor).is_renewable


async def _note_success(hub: Hub, held: OpenedGrant, site: StoredSite | None) -> None:
    """Notes a success when it changes something, or once a minute."""
    row = held.row
    await apps.has_worked(hub, row, "data")
    if site is not None and site.denied_at is not None:
        await hub.store.apply((_ALLOWED, {"id": site.id}))
    if row.health != "ok" or row.denied_at is not None:
        await _recovered(hub, row.id)
    elif row.failures or now() - (row.last_success_at or 0) >= consequences.NOTED_EVERY_S:
        await hub.store.apply((_WELL, {"id": row.id, "now": now()}))


async def _recovered(hub: Hub, enrollment_id: str) -> None:
    """Notes that the data are told again.

    An old access token still serves where no renewal works; that is no better for it.
    """
    async with hub.store.write(enrollment_id) as session:
        enrollment, grant = await session.get(Enrollment, enrollment_id), await session.get(GrantRow, enrollment_id)
        if enrollment is None or grant is None:
            return
        enrollment.last_success_at = enrollment.last_attempt_at = now()
        enrollment.failures, grant.denied_at = 0, None
        await session.flush()
        is_stuck = enrollment.health in ("lost_in_flight", "quarantined") or grant.refused_at is not None
        if not is_stuck and not await apps.is_refused_by(session, enrollment, "token"):
            grant.suspected_at = None
            await standing.settle(hub, session, enrollment, "ok")


async def _note_failure(
    hub: Hub, held: OpenedGrant, error: VendorError, site: StoredSite | None, *, is_over: bool = False
) -> None:
    site_id = site.id if site is not None else None
    await judging.failed(hub, VendorAnswer(row=held.row, door=Door.DATA, error=error, site_id=site_id, is_over=is_over))
