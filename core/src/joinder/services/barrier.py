"""The barrier behind which a restored database's single-use tokens wait.

A copy holds refresh tokens as they were. A rotating vendor may have replaced them since, and presenting a spent one
may revoke its whole family. So a restore marks every such grant (`obtained_by`), and nothing renews a marked grant by
itself. A new token, by a probe (services/reconcile.py) or a new consent, takes the mark's place in its own transaction.
Access tokens that are still valid go on serving.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from sqlalchemy import func, update
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col, select

from joinder.clock import now
from joinder.errors import AuthorizationLost, TransientError
from joinder.grants import GrantState
from joinder.services import leases
from joinder.services.grants import standing
from joinder.services.held import HeldRow
from joinder.services.hub import Hub
from joinder.store.identity import new_identity
from joinder.store.tables import Due, Enrollment, GrantRow, StoreState
from joinder.vendor import Refresh, Vendor

MARK = standing.RESTORED
STATE = "restored"  # in store_state
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

    def __str__(self) -> str:
        return f"restored from a copy of {datetime.fromtimestamp(self.taken_at, UTC):%Y-%m-%d %H:%M} UTC"


async def put_up(session: AsyncSession, *, taken_at: int, not_rotating: Collection[str]) -> None:
    """Part of a restore, before the database is put in place. Vendors that are not known count as rotating."""
    behind = select(Enrollment.id).where(col(Enrollment.vendor).not_in(not_rotating))
    await session.execute(update(Due).values(lease=None, lease_boot=None, lease_until=None))
    await session.execute(
        update(Due).where(col(Due.kind) == "refresh", col(Due.enrollment_id).in_(behind)).values(due_at=leases.NEVER)
    )
    await session.execute(
        update(GrantRow)
        .where(col(GrantRow.enrollment_id).in_(behind))
        .values(obtained_by=MARK, intent_id=None, intent_at=None, intent_count=0, refused_at=None, suspected_at=None)
    )
    value = {"restored_at": now(), "copy_taken_at": taken_at}
    await session.merge(StoreState(name=STATE, value=value))
    await new_identity(session)  # what a journal holds is of another life


async def check(hub: Hub, row: HeldRow, vendor: Vendor) -> None:
    """Before a token is used for a renewal. Raises TransientError, or AuthorizationLost when a probe was refused."""
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
    """Inside, and in tasks begun inside, this one grant may pass."""
    token = _probed.set(enrollment_id)
    try:
        yield
    finally:
        _probed.reset(token)


async def restored(session: AsyncSession) -> Restored | None:
    row = await session.get(StoreState, STATE)
    if row is None:
        return None
    return Restored(restored_at=row.value["restored_at"], taken_at=row.value["copy_taken_at"])


async def waiting(session: AsyncSession, vendor: str | None = None) -> list[Waiting]:
    """By vendor, those first whose access token lives longest: the likeliest not to have been renewed since."""
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


async def release(session: AsyncSession, enrollment_id: str, due_at: int) -> None:
    """Takes the mark off without a probe; renewed at `due_at`."""
    await session.execute(
        update(GrantRow)
        .where(col(GrantRow.enrollment_id) == enrollment_id, col(GrantRow.obtained_by) == MARK)
        .values(obtained_by="refresh")
    )
    await leases.schedule(session, "refresh", enrollment_id, due_at)
