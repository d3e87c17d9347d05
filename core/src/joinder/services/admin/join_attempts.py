"""Owners who began to join, for the admin: who is at it now, and why the others did not finish."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from sqlalchemy import ColumnElement
from sqlmodel import col, select

from joinder.clock import now
from joinder.runtime.hub import Hub
from joinder.services.join.join_ends import APP_AT_FAULT, ENDS, SUCCESSES
from joinder.store.tables import JoinSession

Outcome = Literal["joined", "under way", "unfinished"]
FAULTS_S = 86400
_EXPIRED = "session_expired"
# What was followed by an owner who joined with the same app is over.
_FAULTS = (
    "WITH good AS (SELECT vendor, coalesce(credentials_id, '') AS app, max(ended_at) AS at FROM join_session "
    "WHERE expires_at > :since AND end_code = 'joined' GROUP BY vendor, coalesce(credentials_id, '')) "
    "SELECT s.vendor, s.end_code, count(*), max(s.ended_at), max(s.end_text) FROM join_session s "
    "LEFT JOIN good g ON g.vendor = s.vendor AND g.app = coalesce(s.credentials_id, '') "
    "WHERE s.expires_at > :since AND s.ended_at > :since AND s.ended_at >= coalesce(g.at, 0) "
    "AND s.end_code IN ({codes}) GROUP BY s.vendor, s.end_code"
)


@dataclass(frozen=True, kw_only=True)
class JoinAttempt:
    """One way through a flow, or through the reconnect link of `reconnects_id`. Times are epoch seconds.

    A session is kept for 30 days after its end; `tries` counts forms sent. `code` (join_ends.ENDS) and `text` say how
    it ended; None while it is under way.
    """

    account_id: str
    flow_id: str
    vendor: str
    began_at: int
    expires_at: int
    tries: int
    enrollment_id: str | None
    reconnects_id: str | None
    code: str | None = None
    text: str | None = None

    @property
    def outcome(self) -> Outcome:
        if self.code is None:
            return "under way"
        return "joined" if self.code in SUCCESSES else "unfinished"


@dataclass(frozen=True, kw_only=True)
class Fault:
    """Owners who failed for a reason that the operator can end: `count` of them in a day, the last at `last_at`."""

    vendor: str
    code: str
    text: str
    count: int
    last_at: int


async def latest(
    hub: Hub,
    *,
    account_id: str | None = None,
    flow_id: str | None = None,
    vendor: str | None = None,
    code: str | None = None,
    limit: int = 100,
) -> list[JoinAttempt]:
    """Lists at most `limit` attempts, newest first."""
    wanted = {JoinSession.account_id: account_id, JoinSession.flow_id: flow_id, JoinSession.vendor: vendor}
    query = select(JoinSession).where(*(col(column) == value for column, value in wanted.items() if value is not None))
    if code is not None:
        query = query.where(_ended_with(code))
    async with hub.store.read() as session:
        query = query.order_by(col(JoinSession.created_at).desc(), col(JoinSession.token_hash)).limit(limit)
        rows = (await session.execute(query)).scalars()
        return [_attempt(row) for row in rows]


def _ended_with(code: str) -> ColumnElement[bool]:
    ended: ColumnElement[bool] = col(JoinSession.ended_at).is_not(None) & (col(JoinSession.end_code) == code)
    if code != _EXPIRED:
        return ended
    unused = col(JoinSession.ended_at).is_(None) & col(JoinSession.used_at).is_(None)
    return ended | unused & col(JoinSession.end_code).is_(None) & (col(JoinSession.expires_at) <= now())


def _attempt(row: JoinSession) -> JoinAttempt:
    code = _code(row)
    return JoinAttempt(
        account_id=row.account_id,
        flow_id=row.flow_id,
        vendor=row.vendor,
        began_at=row.created_at,
        expires_at=row.expires_at,
        tries=row.attempts,
        enrollment_id=row.enrollment_id,
        reconnects_id=row.reconnects_id,
        code=code,
        text=(row.end_text or ENDS[code].text) if code is not None else None,
    )


def _code(row: JoinSession) -> str | None:
    """Returns the end as it will be written down, where nobody has done so yet (late_consents.sweep).

    None: the attempt is under way.
    """
    if row.ended_at is not None and row.end_code in ENDS:
        return row.end_code
    if row.enrollment_id is not None:
        return "joined"
    if row.used_at is None and row.expires_at <= now():
        return row.end_code if row.end_code in ENDS else _EXPIRED
    return None


async def faults(hub: Hub) -> list[Fault]:
    """Lists what made owners fail in the last day and waits for the operator, the most frequent first."""
    names = {f"code_{index}": code for index, code in enumerate(APP_AT_FAULT)}
    sql = _FAULTS.format(codes=", ".join(f":{name}" for name in names))
    rows = await hub.store.scan(sql, {**names, "since": now() - FAULTS_S})
    found = [Fault(vendor=row[0], code=row[1], count=int(row[2]), last_at=row[3], text=row[4]) for row in rows]
    return sorted(found, key=lambda one: (-one.count, one.vendor, one.code))
