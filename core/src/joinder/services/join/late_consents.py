"""Consents that are kept until the vendor lists their sites, and join sessions that nobody ended.

A row of `due` (placed_consents.KIND) calls the plugin's handle_callback again, with what is kept in place of the code,
until it answers, for a week at most. A crash loses nothing: what was kept and got no enrollment is found by the sweep.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import replace
from datetime import timedelta

from sqlmodel import col, select

from joinder.clock import monotonic, now, utc_now
from joinder.errors import (
    AuthorizationLost,
    HealthState,
    OutcomeUnknown,
    TransientError,
    UnexpectedPayload,
    VendorError,
)
from joinder.grants import Context, Grant, Kept
from joinder.runtime.hub import Hub
from joinder.services.calls.budgets import spending
from joinder.services.calls.call_refusals import BudgetSpent
from joinder.services.grants import barrier, durability, standing
from joinder.services.grants.consequences import LATE_ANSWER_S
from joinder.services.grants.verdict import PROOF_AFTER
from joinder.services.join import consents, join_ends, kept_consents, placed_consents
from joinder.services.join.join_ends import JoinRefused
from joinder.services.join.kept_consents import KeptConsent
from joinder.services.work import leases
from joinder.services.work.jobs import Job
from joinder.services.work.schedule import BACKOFF_MOST, after_failure
from joinder.store.tables import Enrollment, JoinSession
from joinder.store.types import Row
from joinder.vendor import Refresh, Vendor

LEASE_S = 240.0  # two hook calls, each of at most 90 s
GIVE_UP_AFTER_S = 7 * 86400
FRESH_FOR_S = 60
HELD_MOST_S = 100  # a request that holds a session longer was killed: its hook call would have ended
SWEEP_EVERY_S = 60.0
SWEPT_AT_ONCE = 500
SESSIONS_KEPT_S = 30 * 86400
_UNPLACED = (
    "SELECT token_hash FROM join_session WHERE expires_at > :oldest AND kept_sealed IS NOT NULL "
    "AND enrollment_id IS NULL AND used_at < :held LIMIT :most"
)
_UNENDED = (
    "SELECT token_hash FROM join_session WHERE ended_at IS NULL AND enrollment_id IS NULL AND kept_sealed IS NULL "
    "AND ((used_at IS NULL AND expires_at <= :now) OR used_at < :held) LIMIT :most"
)
_FORGOTTEN = "UPDATE join_session SET kept_sealed = NULL WHERE expires_at < :oldest AND kept_sealed IS NOT NULL"
_OLD = "DELETE FROM join_session WHERE expires_at < :old AND kept_sealed IS NULL"
log = logging.getLogger("joinder.join")


async def work(hub: Hub, enrollment_id: str) -> None:
    """Asks the vendor now, unless another process does."""
    async with hub.store.write(enrollment_id) as session:
        lease = await leases.take(session, placed_consents.KIND, enrollment_id, LEASE_S)
    if lease is None:
        return
    due_at: int | None = None
    try:
        due_at = await _work(hub, enrollment_id)
    finally:
        async with hub.store.write(enrollment_id) as session:
            await leases.release(session, placed_consents.KIND, enrollment_id, lease, due_at)


async def _work(hub: Hub, enrollment_id: str) -> int:
    """Asks the vendor, and says when to ask again, in epoch seconds."""
    found = await _kept_of(hub, enrollment_id)
    if found is None:
        return leases.NEVER
    row, enrollment = found
    if enrollment.paused_at is not None:
        return now() + int(BACKOFF_MOST.total_seconds())
    held = kept_consents.open_kept(hub, row)
    try:
        await _ask(hub, row, enrollment, held)
    except _Over as over:
        return await _end(hub, row, over.error, over.state)
    except JoinRefused as refusal:
        await _close(hub, row, refusal.code, None, "needs_consent")
        return now()
    except consents.FINAL as error:
        return await _end(hub, row, error)
    except VendorError as error:
        return await _again(hub, row, error)
    return now()  # another session may have brought this enrollment a grant that is kept


async def _kept_of(hub: Hub, enrollment_id: str) -> tuple[JoinSession, Enrollment] | None:
    """Finds the oldest kept consent: what is newer must have the last word."""
    query = select(JoinSession).where(
        col(JoinSession.enrollment_id) == enrollment_id,
        col(JoinSession.kept_sealed).is_not(None),
        col(JoinSession.expires_at) > now() - 2 * GIVE_UP_AFTER_S,
    )
    async with hub.store.read() as session:
        row = (await session.execute(query.order_by(col(JoinSession.created_at)).limit(1))).scalar_one_or_none()
        enrollment = await session.get(Enrollment, enrollment_id)
        if row is None or enrollment is None:
            return None
        await hub.vault.unlock(session, row.account_id)
    return row, enrollment


class _Over(Exception):
    """What is kept will become no grant."""

    def __init__(self, error: VendorError, state: HealthState = "needs_consent") -> None:
        super().__init__(str(error))
        self.error = error
        self.state = state


async def _ask(hub: Hub, row: JoinSession, enrollment: Enrollment, held: KeptConsent) -> None:
    """Asks in one call, and stores the consent where it belongs. Raises _Over, JoinRefused or the vendor's error."""
    vendor = hub.registry.vendor(row.vendor)
    await _refuse_restored(hub, row, vendor)
    if row.created_at + GIVE_UP_AFTER_S < now():
        raise _Over(AuthorizationLost("The vendor listed no site for a week after the owner's consent"))
    async with hub.store.read() as session:
        ctx = await consents.context(hub, session, vendor, row.credentials_id, enrollment.options)
    held = await _fresh(hub, row, vendor, ctx, held)
    with spending("poll"):
        callback = held.callback(consents.redirect_uri(hub, vendor))
        consent = await hub.registry.handle_callback(vendor.name, ctx, callback)
    kept_consents.require_tokens(vendor, ctx.app, consent.grant.secrets)
    await placed_consents.place(hub, row, consent)


async def _refuse_restored(hub: Hub, row: JoinSession, vendor: Vendor) -> None:
    """Raises _Over for a restored copy's tokens: presenting one spent since may end what the owner has now."""
    if vendor.refresh is not Refresh.ROTATING:
        return
    async with hub.store.read() as session:
        origin = await barrier.restored(session)
    if origin is not None and row.created_at <= origin.restored_at:
        raise _Over(AuthorizationLost(f"The owner must consent again: the token was {origin}"))


async def _fresh(hub: Hub, row: JoinSession, vendor: Vendor, ctx: Context, held: KeptConsent) -> KeptConsent:
    """Returns it with an access token that still works: renewed where it has ended.

    Raises _Over, or the vendor's error.
    """
    kept = held.kept
    if kept is None or kept.expires_at is None or kept.expires_at.timestamp() - now() > FRESH_FOR_S:
        return held
    if not vendor.is_renewable or not kept.secrets.get("refresh_token"):
        if kept.expires_at > utc_now():
            return held
        raise _Over(AuthorizationLost("The token ended before the vendor listed the sites"))
    durability.check(hub)
    task = asyncio.create_task(_renewed(hub, row, vendor, ctx, held, kept))
    hub.joins.add(task)
    task.add_done_callback(hub.joins.discard)
    return await asyncio.shield(task)  # whoever leaves, the new token reaches the disk


async def _renewed(
    hub: Hub, row: JoinSession, vendor: Vendor, ctx: Context, held: KeptConsent, kept: Kept
) -> KeptConsent:
    """Renews in one exchange, its intent on disk before it and the new token right after it."""
    before = await _replace(hub, row, row.kept_sealed, replace(held, is_unknown=True))
    try:
        fresh = await hub.registry.refresh(vendor.name, ctx, Grant(secrets=kept.secrets, expires_at=kept.expires_at))
    except (OutcomeUnknown, UnexpectedPayload):
        raise
    except VendorError:
        await _replace(hub, row, before, held)
        raise
    renewed = Kept(secrets=fresh.secrets, said=kept.said, expires_at=fresh.expires_at)
    after = replace(held, kept=renewed, is_unknown=False, refused_at=None)
    await _replace(hub, row, before, after)
    return after


async def _replace(hub: Hub, row: JoinSession, before: bytes | None, held: KeptConsent) -> bytes:
    """Raises StoreTrouble when it is not stored, TransientError when it is no more what was read."""
    sealed = kept_consents.seal(hub, row, held)
    if not await kept_consents.put(hub, row, sealed, before=before or b""):
        raise TransientError("What the vendor gave for the consent could not be written down")
    row.kept_sealed = sealed
    return sealed


async def _again(hub: Hub, row: JoinSession, error: VendorError) -> int:
    """Says when to ask again, in epoch seconds.

    A refusal counts as one only when it comes again, minutes later (as in grants/verdict.py).
    """
    if isinstance(error, AuthorizationLost):
        held = kept_consents.open_kept(hub, row)
        proof_s = int(PROOF_AFTER.total_seconds())
        if held.refused_at is None:
            await _replace(hub, row, row.kept_sealed, replace(held, refused_at=now()))
            return now() + proof_s
        if now() >= held.refused_at + proof_s:
            return await _end(hub, row, *_proved(hub, row, held, error))
        return held.refused_at + proof_s
    log.warning("sites of %s: %s", row.enrollment_id, error)
    retry_after = error.retry_after
    if isinstance(error, OutcomeUnknown):  # the cut renewal may still succeed until then, and spend this token
        retry_after = timedelta(seconds=hub.settings.refresh_deadline_s + LATE_ANSWER_S)
    async with hub.store.write(row.enrollment_id or "") as session:
        enrollment = await session.get(Enrollment, row.enrollment_id)
        if enrollment is None:
            return leases.NEVER
        if not isinstance(error, BudgetSpent) and await placed_consents.is_empty(session, enrollment):
            await standing.troubled(hub, session, enrollment, error, {})
        return after_failure(enrollment.failures, utc_now(), retry_after)


def _proved(hub: Hub, row: JoinSession, held: KeptConsent, error: AuthorizationLost) -> tuple[VendorError, HealthState]:
    """Says what a refusal means that came twice: a token that can be spent was lost, if an exchange with it was cut."""
    if held.is_unknown and hub.registry.vendor(row.vendor).refresh is Refresh.ROTATING:
        return AuthorizationLost("The connection was cut while the token was renewed"), "lost_in_flight"
    return error, "needs_consent"


async def _end(hub: Hub, row: JoinSession, error: VendorError, state: HealthState = "needs_consent") -> int:
    await _close(hub, row, join_ends.code_of(error, is_kept=True), join_ends.text_of(error), state)
    return now()  # another session may have more


async def _close(hub: Hub, row: JoinSession, code: str, text: str | None, state: HealthState) -> None:
    """Ends what is kept; an enrollment that has nothing else needs its owner."""
    async with hub.store.write(row.account_id, row.enrollment_id or "") as session:
        found = await session.get(JoinSession, row.token_hash)
        if found is None or found.kept_sealed is None:
            return
        join_ends.write(hub, session, found, code, text)
        enrollment = await session.get(Enrollment, found.enrollment_id or "")
        if enrollment is not None and await placed_consents.is_empty(session, enrollment):
            await standing.settle(hub, session, enrollment, state, reason=found.end_text)


async def sweep(hub: Hub, _: str = "joins") -> None:
    """Ends what nobody ended: killed requests, owners who did not come back. Erases what is 30 days old."""
    held, moment = now() - HELD_MOST_S, now()
    oldest = {"oldest": moment - 2 * GIVE_UP_AFTER_S, "held": held, "most": SWEPT_AT_ONCE}
    for row in await _rows(hub, await hub.store.scan(_UNPLACED, oldest)):
        await placed_consents.adopt(hub, row)
    unended = {"now": moment, "held": held, "most": SWEPT_AT_ONCE}
    for row in await _rows(hub, await hub.store.scan(_UNENDED, unended)):
        await consents.end(hub, row, "interrupted" if row.used_at else row.end_code or "session_expired", row.end_text)
    await hub.store.apply((_FORGOTTEN, {"oldest": oldest["oldest"]}), (_OLD, {"old": moment - SESSIONS_KEPT_S}))


async def recover(hub: Hub, row: JoinSession) -> None:
    """Ends a session whose request was killed: the owner has joined if anything was kept, else starts again."""
    await placed_consents.adopt(hub, row)
    await consents.end(hub, row, "interrupted")


async def _rows(hub: Hub, found: list[Row]) -> list[JoinSession]:
    async with hub.store.read() as session:
        query = select(JoinSession).where(col(JoinSession.token_hash).in_([row[0] for row in found]))
        return list((await session.execute(query)).scalars())


async def _due(hub: Hub) -> list[str]:
    """Returns the job now and then: it walks the sessions."""
    if monotonic() - hub.joins_swept_at < SWEEP_EVERY_S:
        return []
    hub.joins_swept_at = monotonic()
    return ["joins"]


SWEEP = Job("joins", _due, sweep)
