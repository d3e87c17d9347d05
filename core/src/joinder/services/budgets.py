"""Calls a vendor app may make: counted in the `quota` table before they are made, so that a restart forgets nothing.

A window is a minute, a day or a month of UTC. Work that can wait leaves room for work that cannot: history is fetched
while half of a window is left, polls while a tenth is. A vendor's own word (429, Retry-After) stops everybody until
then. Token exchanges are counted and never refused: a lost token is worse than a call too many.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Literal

from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncSession

from joinder.clock import now
from joinder.errors import RateLimited, TransientError
from joinder.store.engine import Store
from joinder.vendor import Limits

Purpose = Literal["read", "poll", "backfill"]
SHARES: dict[Purpose, float] = {"read": 1.0, "poll": 0.9, "backfill": 0.5}
UNSTATED_WAIT = timedelta(minutes=5)  # a 429 without Retry-After
PATIENCE_S = 5.0  # a call waits this long for the next window rather than fail
BLOCKS = 50  # a process takes a fiftieth of the smallest limit at once: one write for many calls
_KEPT_S = {"minute": 3600, "day": 40 * 86400, "month": 400 * 86400}
_purpose: ContextVar[Purpose] = ContextVar("purpose", default="read")
_TAKE = text(
    'INSERT INTO quota (app, span, "window", used) VALUES (:app, :span, :start, :calls) '
    'ON CONFLICT (app, span, "window") DO UPDATE SET used = quota.used + :calls '
    "WHERE quota.used + :calls <= :most RETURNING used"
)
_BLOCK = text(
    "INSERT INTO quota (app, span, \"window\", used, until) VALUES (:app, 'blocked', 0, 0, :until) "
    'ON CONFLICT (app, span, "window") DO UPDATE SET until = CASE WHEN coalesce(quota.until, 0) > :until '
    "THEN quota.until ELSE :until END"
)
_UNTIL = text("SELECT until FROM quota WHERE app = :app AND span = 'blocked'")
_FORGET = text('DELETE FROM quota WHERE app = :app AND span = :span AND "window" < :before')
_USED = 'SELECT span, "window", used, until FROM quota WHERE app = :app'


@contextmanager
def spending(purpose: Purpose) -> Iterator[None]:
    """What the calls inside are for."""
    token = _purpose.set(purpose)
    try:
        yield
    finally:
        _purpose.reset(token)


@dataclass(frozen=True)
class Span:
    """One limit and its running window, in epoch seconds."""

    name: str
    limit: int
    start: int
    end: int


@dataclass(frozen=True)
class Left:
    """What an admin sees of one limit."""

    span: str
    limit: int
    used: int
    resets_at: int


class Budgets:
    """The meters of one process, by app."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._meters: dict[str, AppMeter] = {}

    def meter(self, app: str, limits: Limits) -> AppMeter:
        if app not in self._meters:
            self._meters[app] = AppMeter(self._store, app, limits)
        return self._meters[app]

    async def left(self, app: str, limits: Limits) -> list[Left]:
        rows = await self._store.rows(_USED, {"app": app})
        used = {(row[0], row[1]): row[2] for row in rows}
        return [
            Left(span.name, span.limit, used.get((span.name, span.start), 0), span.end) for span in spans(limits, now())
        ]


class AppMeter:
    """Lets calls of one app through: so many at once, so many in a window."""

    def __init__(self, store: Store, app: str, limits: Limits) -> None:
        self._store = store
        self._app = app
        self._limits = limits
        self._slots = asyncio.Semaphore(limits.max_concurrency)
        self._blocked_until = 0
        self._block: dict[str, int] = {}  # span → start of the window the calls in hand belong to
        self._in_hand = 0
        self._taking = asyncio.Lock()

    @asynccontextmanager
    async def call(self, *, exchange: bool) -> AsyncIterator[None]:
        """Around one call. Raises RateLimited, before the call, when nothing is left."""
        if exchange:
            await self._take(exchange=True)
            yield
            return
        async with self._slots:
            await self._take(exchange=False)
            yield

    async def limited(self, wait: timedelta | None) -> None:
        """The vendor allows no more calls for now; it said for how long, or not."""
        until = now() + max(1, int((wait or UNSTATED_WAIT).total_seconds()))
        self._blocked_until = max(self._blocked_until, until)
        self._in_hand = 0
        async with self._store.write(self._app) as session:
            await session.execute(_BLOCK, {"app": self._app, "until": until})

    async def _take(self, *, exchange: bool) -> None:
        wanted = spans(self._limits, now())
        if not wanted and self._blocked_until <= now():
            return
        try:
            async with self._taking:
                await self._one(exchange=exchange)
        except SQLAlchemyError as error:  # or the plugin, in whose call this happens, would be blamed
            raise TransientError("The call budget cannot be read now", detail=type(error).__name__) from None

    async def _one(self, *, exchange: bool) -> None:
        """One call out of the block in hand, or of a new block."""
        most = 1.0 if exchange else SHARES[_purpose.get()]
        for last in (False, True):
            wanted = spans(self._limits, now())
            running = {span.name: span.start for span in wanted}
            if self._in_hand and most == 1.0 and running == self._block and self._blocked_until <= now():
                self._in_hand -= 1
                return
            try:
                self._in_hand = await self._new_block(wanted, most, exchange=exchange) - 1
                self._block = running
                return
            except RateLimited as refusal:
                wait_s = refusal.retry_after.total_seconds() if refusal.retry_after else PATIENCE_S
                if last or wait_s > PATIENCE_S:
                    raise
            await asyncio.sleep(wait_s)

    async def _new_block(self, wanted: list[Span], share: float, *, exchange: bool) -> int:
        calls = 1 if share < 1 or not wanted else max(1, min(span.limit for span in wanted) // BLOCKS)
        try:
            return await self._write(wanted, share, calls, exchange=exchange)
        except RateLimited:
            if calls == 1:
                raise
        return await self._write(wanted, share, 1, exchange=exchange)

    async def _write(self, wanted: list[Span], share: float, calls: int, *, exchange: bool) -> int:
        """All windows, or none. Raises RateLimited."""
        async with self._store.write(self._app) as session:
            if not exchange:
                await self._refuse_blocked(session)
            for span in wanted:
                most = 2**62 if exchange else max(1, int(span.limit * share))
                values = {"app": self._app, "span": span.name, "start": span.start, "calls": calls, "most": most}
                used = (await session.execute(_TAKE, values)).scalar()
                if used is None:
                    wait = timedelta(seconds=max(1, span.end - now()))
                    budget = f"{span.limit} calls a {span.name}"
                    raise RateLimited(f"Our budget of {budget} with this vendor is spent for now", retry_after=wait)
                if used == calls:
                    values["before"] = span.start - _KEPT_S[span.name]
                    await session.execute(_FORGET, values)
        return calls

    async def _refuse_blocked(self, session: AsyncSession) -> None:
        until = (await session.execute(_UNTIL, {"app": self._app})).scalar() or 0
        self._blocked_until = until
        if until > now():
            wait = timedelta(seconds=until - now())
            raise RateLimited("The vendor asked for a pause; no call before it is over", retry_after=wait)


def spans(limits: Limits, moment: int) -> list[Span]:
    """The limits a vendor declares, each with the window `moment` falls into."""
    day = moment - moment % 86400
    at = datetime.fromtimestamp(moment, UTC)
    month = int(datetime(at.year, at.month, 1, tzinfo=UTC).timestamp())
    next_month = int(datetime(at.year + at.month // 12, at.month % 12 + 1, 1, tzinfo=UTC).timestamp())
    minute = moment - moment % 60
    windows = (
        ("minute", limits.calls_per_minute, minute, minute + 60),
        ("day", limits.calls_per_day, day, day + 86400),
        ("month", limits.calls_per_month, month, next_month),
    )
    return [Span(name, limit, start, end) for name, limit, start, end in windows if limit is not None]
