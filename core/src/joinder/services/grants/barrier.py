"""The barrier behind which a restored database's single-use tokens wait.

A copy holds refresh tokens as they were. A rotating vendor may have replaced them since, and presenting a spent one
may revoke its whole family. So a restore marks every such grant (`obtained_by`), and nothing renews a marked grant by
itself. A new token, by a probe (services/operations/reconcile.py) or a new consent, takes the mark's place in its own
transaction. Access tokens that are still valid go on serving.
"""

from __future__ import annotations

import random
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from sqlalchemy import func, or_, update
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col, select
from sqlmodel.sql.expression import SelectOfScalar

from joinder.clock import now
from joinder.errors import AuthorizationLost, TransientError
from joinder.grants import GrantState
from joinder.runtime.hub import Hub, audit
from joinder.services.grants import standing
from joinder.services.records.opened_grant import OpenedRow
from joinder.services.work import leases
from joinder.store import epoch
from joinder.store.identity import new_identity
from joinder.store.tables import Due, Enrollment, GrantRow, StoreState
from joinder.vendor import Refresh, Vendor

MARK = standing.RESTORED
STATE = "restored"  # in store_state
CHUNK = 500
RETRY_AFTER = timedelta(minutes=15)
_probed: ContextVar[str | None] = ContextVar("probed", default=None)


@dataclass(frozen=True, kw_only=True)
class Waiting:
    """A grant behind the barrier."""

    enrollment_id: str
    vendor: str


@dataclass(frozen=True, kw_only=True)
class Restored:
    """Where this database came from. Epoch seconds."""

    restored_at: int
    taken_at: int
    by_failover: bool = False

    def __str__(self) -> str:
        if self.by_failover:
            return f"left by a fail-over as it was at {moment(self.taken_at)}"
        return f"restored from a copy of {moment(self.taken_at)}"


def moment(at: int) -> str:
    return f"{datetime.fromtimestamp(at, UTC):%Y-%m-%d %H:%M} UTC"


async def put_up(session: AsyncSession, *, taken_at: int, not_rotating: Collection[str]) -> None:
    """Marks the grants of a restored database, before it is put in place, so that none is renewed unproved.

    Vendors whose name is not in `not_rotating` count as rotating. `taken_at`: epoch seconds of the copy.
    """
    await session.execute(update(Due).values(lease=None, lease_boot=None, lease_until=None))
    await _mark(session, select(Enrollment.id).where(col(Enrollment.vendor).not_in(not_rotating)))
    await _remember(session, Restored(restored_at=now(), taken_at=taken_at))
    await new_identity(session)  # what a journal holds is of another life
    await epoch.forget_all(session)


async def hold(session: AsyncSession, *, since: int, taken_at: int, harmless: Collection[str]) -> None:
    """Marks the tokens got until `since` that nobody vouches for after a fail-over (services/grants/failover.py).

    Times are epoch seconds. `harmless`: vendors whose tokens may be sent again.
    """
    is_before = or_(col(GrantRow.obtained_at) <= since, col(GrantRow.obtained_by) == "refresh")  # none began since
    behind = select(Enrollment.id).join(GrantRow, col(GrantRow.enrollment_id) == col(Enrollment.id))
    behind = behind.where(col(Enrollment.vendor).not_in(harmless), is_before)
    before = await restored(session) if await waiting(session) else None
    await _mark(session, behind.where(col(GrantRow.obtained_by) != MARK, col(GrantRow.refused_at).is_(None)))
    oldest = taken_at if before is None else min(taken_at, before.taken_at)
    await _remember(session, Restored(restored_at=since, taken_at=oldest, by_failover=True))


async def _mark(session: AsyncSession, behind: SelectOfScalar[str]) -> None:
    await session.execute(
        update(Due).where(col(Due.kind) == "refresh", col(Due.enrollment_id).in_(behind)).values(due_at=leases.NEVER)
    )
    await session.execute(
        update(GrantRow)
        .where(col(GrantRow.enrollment_id).in_(behind))
        .values(obtained_by=MARK, intent_id=None, intent_at=None, intent_count=0, refused_at=None, suspected_at=None)
    )


async def _remember(session: AsyncSession, origin: Restored) -> None:
    value = {"restored_at": origin.restored_at, "copy_taken_at": origin.taken_at, "by_failover": origin.by_failover}
    await session.merge(StoreState(name=STATE, value=value))


async def check(hub: Hub, row: OpenedRow, vendor: Vendor) -> None:
    """Lets a token be used for a renewal. Raises TransientError, or AuthorizationLost when a probe was refused."""
    if row.obtained_by != MARK or vendor.refresh is not Refresh.ROTATING or _probed.get() == row.id:
        return
    async with hub.store.read() as session:
        origin = await restored(session) or "restored from a copy"
    if row.refused_at is not None:
        raise AuthorizationLost(f"The owner must consent again: the token was {origin} and no longer works")
    raise TransientError(
        f"This grant was {origin} and may be spent; the operator runs joinder reconcile", retry_after=RETRY_AFTER
    )


@contextmanager
def probing(enrollment_id: str) -> Iterator[None]:
    """Lets this one grant pass inside the block, and in tasks begun inside."""
    token = _probed.set(enrollment_id)
    try:
        yield
    finally:
        _probed.reset(token)


async def restored(session: AsyncSession) -> Restored | None:
    row = await session.get(StoreState, STATE)
    if row is None:
        return None
    told = row.value
    by_failover = bool(told.get("by_failover"))
    return Restored(restored_at=told["restored_at"], taken_at=told["copy_taken_at"], by_failover=by_failover)


async def waiting(session: AsyncSession, vendor: str | None = None) -> list[Waiting]:
    """Lists by vendor the grants that wait, those first whose access token lives longest.

    They are the likeliest not to have been renewed since.
    """
    query = select(Enrollment.id, Enrollment.vendor).join(GrantRow, col(GrantRow.enrollment_id) == col(Enrollment.id))
    query = query.where(
        col(GrantRow.obtained_by) == MARK,
        col(GrantRow.refused_at).is_(None),
        col(GrantRow.state) != str(GrantState.PENDING_APPROVAL),
    )
    if vendor is not None:
        query = query.where(col(Enrollment.vendor) == vendor)
    longest = func.coalesce(GrantRow.expires_at, 0).desc()
    found = await session.execute(query.order_by(col(Enrollment.vendor), longest, col(Enrollment.id)))
    return [Waiting(enrollment_id=row[0], vendor=row[1]) for row in found]


async def release_all(hub: Hub, ids: Sequence[str], actor: str, spread_s: float = 0.0) -> None:
    """Takes the marks off without a probe; renewed within `spread_s`."""
    shuffled = random.sample(ids, len(ids))
    for first in range(0, len(shuffled), CHUNK):
        async with hub.store.write() as session:
            for index, enrollment_id in enumerate(shuffled[first : first + CHUNK], first):
                await release(hub, session, enrollment_id, now() + int(spread_s * index / len(shuffled)), actor)


async def release(hub: Hub, session: AsyncSession, enrollment_id: str, due_at: int, actor: str) -> None:
    """Takes the mark off one grant without a probe; renewed at `due_at`, in epoch seconds."""
    grant = await session.get(GrantRow, enrollment_id)
    enrollment = await session.get(Enrollment, enrollment_id)
    if grant is not None and enrollment is not None and grant.obtained_by == MARK:
        grant.obtained_by = "refresh"
        await standing.settle(hub, session, enrollment, due={"refresh": due_at})
        audit(session, enrollment.account_id, actor, "enrollment.reconcile", enrollment_id)
