"""Calls a vendor app may make: counted in the `quota` table before they are made, over all processes and restarts.

A window is a minute, a day or a month of UTC. Work that can wait leaves room for work that cannot: history uses at
most half of a window, polls leave the last tenth. A vendor's own word (429, Retry-After) stops everybody until then.
Token exchanges are counted and never refused or delayed: a lost token is worse than a call too many.
"""

from __future__ import annotations

import asyncio
import logging
from asyncio import sleep
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import timedelta
from typing import Literal

from joinder.clock import monotonic, now
from joinder.errors import VendorError, VendorTimeout
from joinder.http import Meter
from joinder.services.calls.call_refusals import BudgetSpent
from joinder.services.calls.call_windows import CallWindow, Scopes, spans, statement, taking
from joinder.services.calls.fair_shares import FairShares
from joinder.services.calls.rates import RatedMeter, Rates
from joinder.store.driver_errors import said, trouble_from
from joinder.store.types import Store
from joinder.trouble import StoreTrouble
from joinder.vendor import Limits

__all__ = ["AppMeter", "BudgetSpent", "Budgets", "QuotaLeft", "Quotas", "Uncounted", "at_fault", "purpose", "spending"]
Purpose = Literal["read", "poll", "backfill"]
SHARES: dict[Purpose, float] = {"backfill": 0.5, "poll": 0.9, "read": 1.0}
UNSTATED_PAUSE = timedelta(minutes=5)  # a 429 without Retry-After
LONGEST_PAUSE = timedelta(days=1)  # then the vendor is asked again, whatever it said
BLOCKS = 20  # a process takes a twentieth of the smallest limit at once: one write for many calls
LOOK_S = 2.0  # another process's 429 is known here this much later
SETTLE_S = 0.5  # exchanges are written down together
SLOT_WAIT_S = 30.0
READ_WAIT_MOST = timedelta(seconds=5)  # somebody waits for the answer; a call refused for longer fails at once
log = logging.getLogger("joinder.budgets")
_purpose: ContextVar[Purpose] = ContextVar("purpose", default="read")
_BLOCK = statement(
    "INSERT INTO quota (app, span, \"window\", used, until) VALUES (:app, 'blocked', 0, 0, :until) "
    'ON CONFLICT (app, span, "window") DO UPDATE SET until = '
    "CASE WHEN quota.until > :until AND quota.until <= :latest THEN quota.until ELSE :until END",
    *("until", "latest"),
)
_FORGET = statement('DELETE FROM quota WHERE app = :app AND span = :span AND "window" < :before', "before")
_UNTIL = "SELECT until FROM quota WHERE app = :app AND span = 'blocked'"
_USED = 'SELECT app, span, "window", used, until FROM quota WHERE app IN ({apps})'


class Uncounted(BudgetSpent):
    """Our store cannot count the call. A plugin is told as of any refusal; who called the plugin, by `at_fault`."""

    def __init__(self, trouble: StoreTrouble) -> None:
        super().__init__("The call budget cannot be read now", retry_after=timedelta(seconds=trouble.retry_after_s))
        self.trouble = trouble


def at_fault(error: VendorError) -> VendorError | StoreTrouble:
    """Returns the error of a hook, or the trouble of our own store that it comes from."""
    return error.trouble if isinstance(error, Uncounted) else error


@contextmanager
def spending(purpose: Purpose) -> Iterator[None]:
    """Sets what the calls inside the block are for."""
    token = _purpose.set(purpose)
    try:
        yield
    finally:
        _purpose.reset(token)


def purpose() -> Purpose:
    return _purpose.get()


@dataclass(frozen=True, kw_only=True)
class QuotaLeft:
    """One limit as shown; `used` counts what processes have taken, `resets_at` is epoch seconds."""

    span: str
    limit: int
    used: int
    resets_at: int


@dataclass(frozen=True, kw_only=True)
class Quotas:
    """Of one app. `blocked_until`: the vendor allows no call before (epoch seconds)."""

    quotas: list[QuotaLeft]
    blocked_until: int | None


class Budgets:
    """The meters of one process, by app: the id of vendor credentials, or of an enrollment with the owner's own key."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._meters: dict[str, AppMeter] = {}
        self._rates = Rates()

    def meter(self, app: str, limits: Limits, scopes: Scopes = ("app",)) -> AppMeter:
        made = self._meters.get(app)
        if made is None or made.limits != limits:
            made = self._meters[app] = AppMeter(self._store, app, limits, scopes)
        return made

    def of_grant(self, app: str, limits: Limits, grant: str | None) -> Meter:
        """Returns what counts the calls for one grant, an enrollment's id; None: there is none yet.

        Where the app is the owner's own key, the grant's limits and the app's are the same thing.
        """
        if not limits.calls:
            return self.meter(app, limits)
        meters = [self.meter(app, limits, ("app", "grant") if app == grant else ("app",))]
        if grant is not None and grant != app and spans(limits, now(), ("grant",)):
            meters.append(self.meter(grant, limits, ("grant",)))
        return RatedMeter(meters, self._rates, limits.calls, {"app": app, "grant": grant or app})

    async def left(self, app: str, limits: Limits) -> Quotas:
        return (await self.left_of({app: limits}))[app]

    async def left_of(self, apps: Mapping[str, Limits]) -> dict[str, Quotas]:
        """Reads what many apps may still call, by one query."""
        names = {f"app_{index}": app for index, app in enumerate(apps)}
        rows = await self._store.rows(_USED.format(apps=", ".join(f":{name}" for name in names) or "''"), names)
        used = {(row[0], row[1], row[2]): row[3] for row in rows}
        until = {row[0]: row[4] for row in rows if row[1] == "blocked"}
        return {
            app: Quotas(
                quotas=[
                    QuotaLeft(
                        span=span.name,
                        limit=span.limit,
                        used=used.get((app, span.name, span.start), 0),
                        resets_at=span.end,
                    )
                    for span in spans(limits, now())
                ],
                blocked_until=_believed(until.get(app)) or None,
            )
            for app, limits in apps.items()
        }

    async def close(self) -> None:
        """Writes down what is counted in memory only."""
        await asyncio.gather(*(meter.close() for meter in self._meters.values()))


class AppMeter:
    """Lets calls of one app through: so many at once in this process, so many in a window over all."""

    def __init__(self, store: Store, app: str, limits: Limits, scopes: Scopes = ("app",)) -> None:
        self.limits = limits
        self._scopes = scopes
        self._store = store
        self._app = app
        self._slots = asyncio.Semaphore(limits.max_concurrency)
        self._spans: list[CallWindow] = spans(limits, now(), scopes)
        self._hand: dict[Purpose, int] = {}  # calls taken for the running windows, not yet made
        self._spent: dict[Purpose, CallWindow] = {}
        self._used: dict[str, int] = {}  # of the running windows, as last written
        self._shares = FairShares()
        self._taking = asyncio.Lock()
        self._owed = 0  # exchanges made, not yet written down
        self._settling: asyncio.Task[None] | None = None
        self._blocked_until = 0
        self._looked_at = float("-inf")

    @asynccontextmanager
    async def call(self, *, exchange: bool) -> AsyncIterator[None]:
        """Surrounds one call. Raises before it: BudgetSpent, VendorTimeout while earlier calls hang, Uncounted."""
        if exchange:
            self._count_exchange()
            yield
            return
        await self._slot()
        try:
            await self.take()
            yield
        finally:
            self._slots.release()

    async def limited(self, wait: timedelta | None) -> None:
        """Notes that the vendor allows no more calls for now. `wait`: for how long, where it said so."""
        pause = max(timedelta(seconds=1), min(wait or UNSTATED_PAUSE, LONGEST_PAUSE))
        until = now() + int(pause.total_seconds())
        self._blocked_until = max(self._blocked_until, until)
        values = {"app": self._app, "until": until, "latest": now() + int(LONGEST_PAUSE.total_seconds())}
        try:
            async with self._store.write() as session:
                await session.execute(_BLOCK, values)
        except Exception as error:  # noqa: BLE001 - this process knows it, and the caller's own error says more
            log.error("the pause of %s is not written down: %s", self._app, said(error))

    async def close(self) -> None:
        await self._settle()
        if self._settling is not None:  # asleep by now, or done
            self._settling.cancel()
            await asyncio.gather(self._settling, return_exceptions=True)

    async def _slot(self) -> None:
        if not self._slots.locked():
            await self._slots.acquire()
            return
        try:
            async with asyncio.timeout(SLOT_WAIT_S):
                await self._slots.acquire()
        except TimeoutError:
            raise VendorTimeout("The vendor has not answered earlier calls of this app") from None

    async def take(self) -> None:
        """Takes a call once, or for a reader once more when the refusal is over soon.

        Fails closed without a database.
        """
        try:
            try:
                await self._take_one()
            except BudgetSpent as refusal:
                if purpose() != "read" or refusal.retry_after is None or refusal.retry_after > READ_WAIT_MOST:
                    raise
                await sleep(refusal.retry_after.total_seconds())
                await self._take_one()
        except BudgetSpent:
            raise
        except Exception as error:  # noqa: BLE001 - whatever the driver raises; the plugin would be blamed for it
            raise Uncounted(trouble_from(error) or StoreTrouble(type(error).__name__)) from None

    async def _take_one(self) -> None:
        """Takes one call out of the block in hand, or of a new block."""
        await self._refuse_blocked()
        self._take_share()
        if not self._spans or self._from_hand():
            return
        async with self._taking:
            if not self._from_hand():
                await self._new_block()

    def _take_share(self) -> None:
        """Raises ShareSpent for a reader whose share of the minute is spent."""
        self._turn()
        minute = next((span for span in self._spans if span.name == "minute"), None)
        if minute is not None and purpose() == "read":
            left = minute.limit - self._used.get("minute", 0) + sum(self._hand.values())
            self._shares.take(minute, left, now())

    async def _refuse_blocked(self) -> None:
        if monotonic() - self._looked_at > LOOK_S:
            known = await _blocked_until(self._store, self._app)
            self._blocked_until = max(self._blocked_until, known)
            self._looked_at = monotonic()
        wait_s = self._blocked_until - now()
        if 0 < wait_s <= LONGEST_PAUSE.total_seconds():
            wait = timedelta(seconds=wait_s)
            raise BudgetSpent("The vendor asked for a pause; no call before it is over", retry_after=wait)

    def _from_hand(self) -> bool:
        """Reads may use up what polls left, never the other way round."""
        self._turn()
        share = SHARES[purpose()]
        for taken_for, calls in self._hand.items():
            if calls and SHARES[taken_for] <= share:
                self._hand[taken_for] -= 1
                return True
        if purpose() in self._spent:
            raise _refusal(self._spent[purpose()])
        return False

    def _turn(self) -> None:
        """Forgets what was taken or spent in windows that are over."""
        moment = now()
        if not all(span.start <= moment < span.end for span in self._spans):
            self._spans = spans(self.limits, moment, self._scopes)
            self._hand.clear()
            self._spent.clear()
            self._used.clear()

    async def _new_block(self) -> None:
        running = self._spans
        block = max(1, min(span.limit for span in running) // BLOCKS)
        try:
            try:
                await self._write(block, SHARES[purpose()])
            except _Spent:
                if block == 1:
                    raise
                block = 1
                await self._write(block, SHARES[purpose()])
        except _Spent as spent:
            if self._spans is running:
                self._spent[purpose()] = spent.span
            raise _refusal(spent.span) from None
        if self._spans is running:
            self._hand[purpose()] = self._hand.get(purpose(), 0) + block - 1

    async def _write(self, calls: int, share: float | None) -> None:
        """Takes `calls` of every window, or of none and raises _Spent. `share` None: whatever is left."""
        owed, taken = self._owed, self._spans
        values: dict[str, object] = {"app": self._app, "calls": calls + owed}
        for span in taken:
            values[span.name] = span.start
            values[f"{span.name}_most"] = 2**62 if share is None else max(1, int(span.limit * share))
        async with self._store.write() as session:
            used = {row[0]: row[1] for row in await session.execute(taking(tuple(span.name for span in taken)), values)}
            refused = [span for span in taken if span.name not in used]
            if refused:
                raise _Spent(max(refused, key=lambda span: span.end))
            for span in taken:
                if used[span.name] == calls + owed:  # the first of its window; one before may still be somebody's
                    before = 2 * span.start - span.end
                    await session.execute(_FORGET, {"app": self._app, "span": span.name, "before": before})
        self._owed -= owed
        if self._spans is taken:
            self._used = used

    def _count_exchange(self) -> None:
        if not self._spans:
            return
        self._owed += 1
        if self._settling is None or self._settling.done():
            self._settling = asyncio.create_task(self._settle_soon())

    async def _settle_soon(self) -> None:
        await asyncio.sleep(SETTLE_S)
        await self._settle()

    async def _settle(self) -> None:
        try:
            async with self._taking:
                while self._owed:
                    self._turn()
                    await self._write(0, None)
        except Exception as error:  # noqa: BLE001 - still owed; the next one tries again
            log.warning("calls of %s are not written down yet: %s", self._app, said(error))


class _Spent(Exception):
    """This window has no room."""

    def __init__(self, span: CallWindow) -> None:
        super().__init__(span.name)
        self.span = span


async def _blocked_until(store: Store, app: str) -> int:
    """Reads until when the app is blocked, in epoch seconds; 0 when it is not."""
    rows = await store.rows(_UNTIL, {"app": app})
    return _believed(rows[0][0] if rows else None)


def _believed(until: int | None) -> int:
    """Returns the time while it is ahead, else 0. A time beyond the longest pause is a clock's mistake."""
    return until if until and now() < until <= now() + LONGEST_PAUSE.total_seconds() else 0


def _refusal(span: CallWindow) -> BudgetSpent:
    wait = min(timedelta(seconds=max(1, span.end - now())), LONGEST_PAUSE)
    said = f"Our budget of {span.limit} calls a {span.name} with this vendor is spent for now"
    return BudgetSpent(said, retry_after=wait)
