"""App credentials a vendor refuses: suspected at first, refused when it is proved, and tried again by themselves.

One test at a time: one grant, another one where there is one; first after half a minute, then after minutes, then
every hour. Between tests nothing is sent by the door that refused (the token endpoint or the data API); the other one
goes on, so tokens are kept alive and read while they last. What works, a test by the operator and changed credentials
end the suspicion.
"""

from __future__ import annotations

import logging
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Literal

from sqlalchemy import func
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col, select

from joinder.clock import now
from joinder.errors import AppCredentialsRejected, HealthState, TransientError
from joinder.runtime.hub import Hub
from joinder.services.grants import standing
from joinder.services.records import health
from joinder.services.work.leases import NEVER
from joinder.store.tables import Due, Enrollment, GrantRow, VendorCredentials

if TYPE_CHECKING:
    from joinder.services.records.opened_grant import OpenedRow

Door = Literal["token", "data"]
KIND: dict[Door, str] = {"token": "refresh", "data": "poll"}  # whose work is a test
WAITS_S = (30, 300)  # then, while it is only suspected, every five minutes
REFUSED_WAIT_S = 3600
CLAIM_S = 90  # a test under way; a tester that dies is followed by another
REASON = "The vendor refuses this app's credentials; correct them, or test them if they are right."
log = logging.getLogger("joinder.refresh")
_CLAIM = (
    "UPDATE vendor_credentials SET test_at = :until WHERE id = :id AND test_at = :seen "
    "AND (suspected_at IS NOT NULL OR rejected_at IS NOT NULL)"
)
_PUT_OFF = "UPDATE due SET due_at = :at WHERE kind = :kind AND app = :app AND due_at < :at AND enrollment_id <> :tester"
_TESTER = (
    "SELECT d.enrollment_id FROM due d JOIN enrollment e ON e.id = d.enrollment_id "
    "WHERE d.kind = :kind AND d.app = :app AND d.enrollment_id <> :but AND d.due_at < :never "
    "AND e.paused_at IS NULL AND e.health IN ('ok', 'connecting', 'degraded', 'operator_action') "
    "ORDER BY d.due_at LIMIT 1"
)


async def enter(hub: Hub, row: OpenedRow, door: Door) -> None:
    """Lets a call through this door begin, claiming a test of the app that is due.

    Raises what stands against the call.
    """
    if row.credentials_id is None or row.app_suspected_by != door or row.app_test_at is None:
        return
    if row.app_test_at <= now() and await _claimed(hub, row.credentials_id, row.app_test_at):
        return
    raise _stopped(row)


async def joins_may_begin(hub: Hub, row: VendorCredentials) -> bool:
    """Tells whether an owner may be sent to the vendor for this app, claiming a test that is due for that owner."""
    if row.rejected_at is None:
        return True
    return row.test_at is not None and row.test_at <= now() and await _claimed(hub, row.id, row.test_at)


async def refused(
    hub: Hub, credentials_id: str, version: int, door: Door, *, is_proved: bool, by: str | None = None
) -> None:
    """Notes one refusal of this version of the credentials, and plans the next test. `by`: the enrollment it met."""
    async with hub.store.write(credentials_id) as session:
        row = await session.get(VendorCredentials, credentials_id)
        if row is None or row.version != version:
            return
        is_new = False
        if row.suspected_by in (None, door):
            is_new = _note_refusal(row, door, is_proved=is_proved)
            test_at = row.test_at or now()
        else:  # by the other door, whose test stands; this one waits as long
            test_at = now() + (REFUSED_WAIT_S if row.rejected_at is not None else WAITS_S[-1])
        known = [] if not is_new else await enrollments_of(session, credentials_id)
    await _put_off(hub, credentials_id, door, test_at, by)
    for enrollment_id in known:
        await stop(hub, enrollment_id)


def _note_refusal(row: VendorCredentials, door: Door, *, is_proved: bool) -> bool:
    """Notes a refusal of the app, and tells whether that was the one that proved it refused."""
    row.suspected_at, row.suspected_by = row.suspected_at or now(), door
    is_new = is_proved and row.rejected_at is None
    if is_new:
        row.rejected_at = now()
        log.error("the app credentials %s are refused by their vendor", row.id)
    row.test_at = now() + _wait_s(row)
    row.tests += 1
    return is_new


def _wait_s(row: VendorCredentials) -> int:
    if row.rejected_at is not None:
        return REFUSED_WAIT_S
    return WAITS_S[min(row.tests, len(WAITS_S) - 1)]


async def _put_off(hub: Hub, credentials_id: str, door: Door, test_at: int, by: str | None) -> None:
    """Makes everybody wait for the test, which falls to somebody else than the one refused, where there is one."""
    kind = KIND[door]
    values = {"kind": kind, "app": credentials_id, "but": by or "", "never": NEVER}
    rows = await hub.store.rows(_TESTER, values)
    tester = str(rows[0][0]) if rows else by or ""
    await hub.store.apply((_PUT_OFF, {"kind": kind, "app": credentials_id, "at": test_at, "tester": tester}))
    if tester:
        async with hub.store.write(tester) as session:
            due = await session.get(Due, (kind, tester))
            if due is not None and due.due_at < NEVER:
                due.due_at = test_at


async def stop(hub: Hub, enrollment_id: str) -> None:
    """Makes one enrollment of a refused app wait for the operator, unless more is known of it."""
    async with hub.store.write(enrollment_id) as session:
        row = await session.get(Enrollment, enrollment_id)
        if row is not None and row.health in ("ok", "connecting", "degraded", "pending_approval", "operator_action"):
            await standing.settle(hub, session, row, "operator_action", reason=REASON, actor="operator")


async def has_worked(hub: Hub, row: OpenedRow, door: Door) -> None:
    """Ends a suspicion against the app after a call that went well, if the suspicion was known when the call began."""
    if row.app_suspected_by == door and row.credentials_id is not None and row.app_version is not None:
        await accepted(hub, row.credentials_id, row.app_version, door)


async def accepted(hub: Hub, credentials_id: str, version: int, door: Door) -> None:
    """Notes that this version of the credentials works by that door, and resumes whatever waited for it."""
    async with hub.store.write(credentials_id) as session:
        row = await session.get(VendorCredentials, credentials_id)
        if row is None or row.version != version or row.suspected_by not in (None, door):
            return
        was_refused = row.rejected_at is not None
        forget(row)
        known = await enrollments_of(session, credentials_id) if was_refused else []
    for enrollment_id in known:
        await resume(hub, enrollment_id, "The vendor accepts the app's credentials again; trying again.")


def forget(row: VendorCredentials) -> None:
    """Clears whatever was suspected of these credentials."""
    row.suspected_at = row.suspected_by = row.rejected_at = row.test_at = row.exchanges_wait_until = None
    row.tests = 0


async def resume(hub: Hub, enrollment_id: str, reason: str) -> None:
    """Tries one enrollment that waited for its app again now."""
    async with hub.store.write(enrollment_id) as session:
        row = await session.get(Enrollment, enrollment_id)
        if row is None or row.status in health.DECLINED:
            return
        due = dict.fromkeys(standing.KINDS, now())
        if row.health == "operator_action":
            state: HealthState = "pending_approval" if row.status in health.AWAITING else "degraded"
            await standing.settle(hub, session, row, state, reason=reason, due=due)
        elif row.health not in (*health.OWNER_MUST_ACT, "quarantined"):
            await standing.settle(hub, session, row, due=due)


async def retry_the_dead(hub: Hub, credentials_id: str, since: int) -> None:
    """Tries consents again that ended since `since` (epoch seconds) under credentials which have been changed now.

    The credentials may have been the reason.
    """
    query = (
        select(Enrollment.id)
        .join(GrantRow, col(GrantRow.enrollment_id) == col(Enrollment.id))
        .where(col(Enrollment.credentials_id) == credentials_id, col(Enrollment.health) == "needs_consent")
        .where(col(Enrollment.health_since) >= since, col(GrantRow.refused_at).is_not(None))
    )
    async with hub.store.read() as session:
        found = (await session.execute(query)).scalars().all()
    for enrollment_id in found:
        async with hub.store.write(enrollment_id) as session:
            row, grant = await session.get(Enrollment, enrollment_id), await session.get(GrantRow, enrollment_id)
            if row is None or grant is None or row.health != "needs_consent":
                continue
            grant.refused_at = grant.suspected_at = grant.odd_since = grant.odd_code = None
            reason = "The app credentials were changed; trying again."
            await standing.settle(hub, session, row, "degraded", reason=reason, due={"refresh": now(), "poll": now()})


async def have_others_renewed(session: AsyncSession, row: OpenedRow, since: int) -> bool:
    """Tells whether the token endpoint has renewed another grant of this app after `since` (epoch seconds)."""
    query = select(func.max(GrantRow.obtained_at)).join(Enrollment, col(Enrollment.id) == col(GrantRow.enrollment_id))
    query = query.where(col(GrantRow.obtained_by) == "refresh", *_others_of(row))
    return ((await session.execute(query)).scalar_one() or 0) > since


async def have_others_been_read(session: AsyncSession, row: OpenedRow, since: int) -> bool:
    """Tells whether the data API has answered another enrollment of this app after `since` (epoch seconds)."""
    query = select(func.max(Enrollment.last_success_at)).where(*_others_of(row))
    return ((await session.execute(query)).scalar_one() or 0) > since


def _others_of(row: OpenedRow) -> list[Any]:
    same = (
        col(Enrollment.credentials_id) == row.credentials_id
        if row.credentials_id is not None
        else (col(Enrollment.vendor) == row.vendor) & (col(Enrollment.account_id) == row.account_id)
    )
    return [same, col(Enrollment.id) != row.id]


async def is_refused_by(session: AsyncSession, enrollment: Enrollment, door: Door) -> bool:
    """Tells whether its app is known to be refused at that door."""
    row = await session.get(VendorCredentials, enrollment.credentials_id or "")
    return row is not None and row.rejected_at is not None and row.suspected_by == door


async def enrollments_of(session: AsyncSession, credentials_id: str) -> list[str]:
    query = select(Enrollment.id).where(col(Enrollment.credentials_id) == credentials_id)
    return list((await session.execute(query.order_by(col(Enrollment.id)))).scalars())


async def _claimed(hub: Hub, credentials_id: str, seen: int) -> bool:
    values = {"id": credentials_id, "seen": seen, "until": now() + CLAIM_S}
    (changed,) = await hub.store.apply((_CLAIM, values))
    return bool(changed)


def _stopped(row: OpenedRow) -> TransientError | AppCredentialsRejected:
    if row.app_rejected_at is not None:
        return AppCredentialsRejected(REASON)
    wait = timedelta(seconds=max(1, (row.app_test_at or 0) - now()))
    return TransientError("The vendor refused this app once; Joinder tests it again soon", retry_after=wait)
