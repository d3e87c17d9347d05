"""Calls are counted before they are made, over processes and restarts, and refused when nothing is left."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy.exc import OperationalError

from joinder.errors import RateLimited
from joinder.runtime.hub import Hub
from joinder.services.calls import budgets
from joinder.services.calls.budgets import AppMeter, Budgets, Purpose, QuotaLeft, spending
from joinder.services.calls.call_refusals import BudgetSpent
from joinder.services.calls.call_windows import spans
from joinder.services.calls.fair_shares import name_reader
from joinder.settings import Settings
from joinder.store.engine import open_store
from joinder.vendor import Limits

APP = "cred-1"
NOON = int(datetime(2026, 3, 14, 12, 0, 30, tzinfo=UTC).timestamp())


class Clock:
    def __init__(self) -> None:
        self.at = NOON
        self.passed_s = 0.0

    def move(self, wait: timedelta) -> None:
        self.at += int(wait.total_seconds())
        self.passed_s += wait.total_seconds()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    moved = Clock()
    monkeypatch.setattr(budgets, "now", lambda: moved.at)
    monkeypatch.setattr(budgets, "monotonic", lambda: moved.passed_s)
    return moved


def limits(**calls: int) -> Limits:
    return Limits(poll_every=timedelta(hours=1), **calls)


async def made(meter: AppMeter, most: int = 1000, purpose: Purpose = "read") -> int:
    """Calls until the first refusal."""
    with spending(purpose):
        for number in range(most):
            try:
                async with meter.call(exchange=False):
                    pass
            except BudgetSpent:
                return number
    return most


async def refusal(meter: AppMeter) -> timedelta:
    with pytest.raises(BudgetSpent) as refused:
        async with meter.call(exchange=False):
            raise AssertionError("let through")
    assert refused.value.retry_after is not None
    return refused.value.retry_after


async def used(hub: Hub, asked: Limits) -> list[int]:
    return [one.used for one in (await hub.budgets.left(APP, asked)).quotas]


# Windows


@pytest.mark.parametrize(
    ("asked", "wait"),
    [
        (limits(calls_per_minute=7), timedelta(seconds=30)),
        (limits(calls_per_day=7), timedelta(hours=11, minutes=59, seconds=30)),
        (limits(calls_per_month=7), timedelta(days=1)),  # the month ends later; a day is the longest wait
        (limits(calls_per_minute=100, calls_per_day=7), timedelta(hours=11, minutes=59, seconds=30)),
        (limits(calls_per_minute=7, calls_per_month=100), timedelta(seconds=30)),
    ],
)
async def test_nothing_is_let_through_once_a_window_is_spent(
    hub: Hub, clock: Clock, asked: Limits, wait: timedelta
) -> None:
    meter = hub.budgets.meter(APP, asked)
    assert await made(meter) == 7
    assert await refusal(meter) == wait
    assert await made(hub.budgets.meter("cred-2", asked)) == 7


async def test_a_new_window_is_new(hub: Hub, clock: Clock) -> None:
    asked = limits(calls_per_minute=3, calls_per_day=5)
    meter = hub.budgets.meter(APP, asked)
    assert await made(meter) == 3
    assert await used(hub, asked) == [3, 3]  # a refused call is taken from no window
    clock.move(timedelta(minutes=1))
    assert await made(meter) == 2
    clock.move(timedelta(days=1))
    assert await made(meter) == 3


def test_windows_are_of_utc() -> None:
    asked = limits(calls_per_minute=1, calls_per_day=2, calls_per_month=3)
    moment = int(datetime(2026, 12, 31, 23, 59, 59, tzinfo=UTC).timestamp())
    minute, day, month = spans(asked, moment)
    assert (minute.end, day.end, month.end) == (moment + 1,) * 3
    assert datetime.fromtimestamp(month.start, UTC) == datetime(2026, 12, 1, tzinfo=UTC)
    assert spans(asked, moment + 1)[2].start == moment + 1


async def test_a_clock_set_back_refuses_nothing_for_long(hub: Hub, clock: Clock) -> None:
    meter = hub.budgets.meter(APP, limits(calls_per_day=2))
    clock.move(timedelta(days=365))
    assert await made(meter) == 2
    await meter.limited(timedelta(hours=20))
    clock.move(timedelta(days=-365))
    assert await made(Budgets(hub.store).meter(APP, limits(calls_per_day=2))) == 2


async def test_old_windows_are_forgotten(hub: Hub, clock: Clock) -> None:
    meter = hub.budgets.meter(APP, limits(calls_per_minute=5))
    for _ in range(6):
        await made(meter)
        clock.move(timedelta(minutes=1))
    assert len(await hub.store.rows("SELECT 1 FROM quota WHERE app = :app", {"app": APP})) <= 3


# Who comes first


async def test_history_leaves_half_and_polls_the_last_tenth(hub: Hub, clock: Clock) -> None:
    meter = hub.budgets.meter(APP, limits(calls_per_day=1000))
    assert await made(meter, purpose="backfill") == 500
    assert await made(meter, purpose="poll") == 400
    assert await made(meter, purpose="backfill") == 0
    assert await made(meter, purpose="read") == 100


async def test_what_reads_took_is_not_for_polls(hub: Hub, clock: Clock) -> None:
    meter = hub.budgets.meter(APP, limits(calls_per_day=100))
    assert await made(meter, 91) == 91  # blocks of five: four are in hand
    assert await made(meter, purpose="poll") == 0
    assert await made(meter) == 9


# Token exchanges


async def test_an_exchange_is_counted_and_never_refused(hub: Hub, clock: Clock) -> None:
    asked = limits(calls_per_day=5)
    meter = hub.budgets.meter(APP, asked)
    await meter.limited(None)
    for _ in range(12):
        async with meter.call(exchange=True):
            pass
    await hub.budgets.close()
    assert await used(hub, asked) == [12]
    clock.move(timedelta(minutes=6))
    assert await made(meter) == 0


async def test_exchanges_are_written_down_by_themselves(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(budgets, "SETTLE_S", 0.0)
    asked = limits(calls_per_month=50)
    meter = hub.budgets.meter(APP, asked)
    for number in (1, 2):
        async with meter.call(exchange=True):
            pass
        while await used(hub, asked) != [number]:
            await asyncio.sleep(0.01)


async def test_an_exchange_waits_for_no_slot(hub: Hub) -> None:
    meter = hub.budgets.meter(APP, limits(max_concurrency=1))
    async with meter.call(exchange=False), meter.call(exchange=True):
        assert meter._slots.locked()


# At once


async def test_so_many_at_once(hub: Hub) -> None:
    meter = hub.budgets.meter(APP, limits(max_concurrency=3))
    running, most = 0, 0

    async def one() -> None:
        nonlocal running, most
        async with meter.call(exchange=False):
            running += 1
            most = max(most, running)
            await asyncio.sleep(0.02)
            running -= 1

    await asyncio.gather(*(one() for _ in range(20)))
    assert most == 3


async def test_many_at_once_are_counted_once_each(hub: Hub, clock: Clock) -> None:
    asked = limits(calls_per_day=200, max_concurrency=50)
    meter = hub.budgets.meter(APP, asked)
    counts = await asyncio.gather(*(made(meter) for _ in range(20)))
    assert sum(counts) == 200
    assert await used(hub, asked) == [200]


# The vendor's own word


@pytest.mark.parametrize(
    ("said", "pause"),
    [
        (timedelta(seconds=90), timedelta(seconds=90)),
        (None, timedelta(minutes=5)),
        (timedelta(0), timedelta(minutes=5)),
        (timedelta(milliseconds=10), timedelta(seconds=1)),
        (timedelta(seconds=-5), timedelta(seconds=1)),
        (timedelta(days=4000), timedelta(days=1)),
    ],
)
@pytest.mark.parametrize("asked", [limits(), limits(calls_per_day=100)])
async def test_a_pause_holds_for_every_process_until_it_is_over(
    hub: Hub, clock: Clock, asked: Limits, said: timedelta | None, pause: timedelta
) -> None:
    here, there = hub.budgets.meter(APP, asked), Budgets(hub.store).meter(APP, asked)
    assert await made(there, 3) == 3
    await here.limited(said)
    assert await refusal(here) == pause
    if pause > timedelta(seconds=1):
        clock.move(timedelta(seconds=3))  # when another process looks next
        assert await refusal(there) == pause - timedelta(seconds=3)
        assert await refusal(Budgets(hub.store).meter(APP, asked)) == pause - timedelta(seconds=3)
        assert (await hub.budgets.left(APP, asked)).blocked_until == NOON + pause.total_seconds()
    clock.move(pause)
    assert await made(here, 1) == await made(there, 1) == 1
    assert (await hub.budgets.left(APP, asked)).blocked_until is None


@pytest.mark.parametrize(("pause_s", "purpose", "waits_s"), [(3, "read", [3]), (3, "poll", []), (30, "read", [])])
async def test_a_reader_waits_out_a_short_pause(
    hub: Hub, clock: Clock, monkeypatch: pytest.MonkeyPatch, pause_s: int, purpose: Purpose, waits_s: list[int]
) -> None:
    slept: list[float] = []

    async def sleep(wait_s: float) -> None:
        slept.append(wait_s)
        clock.move(timedelta(seconds=wait_s))

    meter = Budgets(hub.store).meter(APP, limits(calls_per_day=100))
    await meter.limited(timedelta(seconds=pause_s))
    monkeypatch.setattr("joinder.services.calls.budgets.sleep", sleep)
    assert await made(meter, 1, purpose) == (1 if waits_s else 0)
    assert slept == waits_s


async def test_a_shorter_pause_does_not_end_a_longer_one(hub: Hub, clock: Clock) -> None:
    meter = hub.budgets.meter(APP, limits())
    await meter.limited(timedelta(hours=2))
    await meter.limited(timedelta(minutes=1))
    assert await refusal(meter) == await refusal(Budgets(hub.store).meter(APP, limits())) == timedelta(hours=2)


async def test_a_pause_that_cannot_be_written_holds_here(
    hub: Hub, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    meter = hub.budgets.meter(APP, limits())
    with away(hub):
        await meter.limited(timedelta(minutes=1))
    assert await refusal(meter) == timedelta(minutes=1)


# The database


@contextmanager
def away(hub: Hub) -> Iterator[None]:
    def fails(*_: object) -> Any:
        raise OperationalError("SELECT", {}, Exception("the server is gone"))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(hub.store, "write", fails)
        patch.setattr(hub.store, "rows", fails)
        yield


@pytest.mark.parametrize("asked", [limits(), limits(calls_per_day=100)])
async def test_without_the_database_no_read_but_every_exchange(hub: Hub, clock: Clock, asked: Limits) -> None:
    meter = hub.budgets.meter(APP, asked)
    with away(hub):
        with pytest.raises(RateLimited) as refused:
            async with meter.call(exchange=False):
                raise AssertionError("let through")
        assert refused.value.retry_after == timedelta(seconds=5)
        async with meter.call(exchange=True):
            pass
        await meter.close()
    assert await made(meter, 1) == 1
    await meter.close()
    taken = [5 + 1] if asked.calls_per_day else []  # a block, and the exchange that could not be written down
    assert await used(hub, asked) == taken


async def test_a_restart_forgets_nothing(hub: Hub, settings: Settings, clock: Clock) -> None:
    asked = limits(calls_per_day=60)
    assert await made(hub.budgets.meter(APP, asked), 45) == 45
    store = await open_store(settings.database_url)
    try:
        again = Budgets(store)
        assert (await again.left(APP, asked)).quotas == [
            QuotaLeft(span="day", limit=60, used=45, resets_at=NOON - NOON % 86400 + 86400)
        ]
        assert await made(again.meter(APP, asked)) == 15
    finally:
        await store.close()


async def test_changed_limits_count_from_what_was_used(hub: Hub, clock: Clock) -> None:
    assert await made(hub.budgets.meter(APP, limits(calls_per_day=20))) == 20
    assert await made(hub.budgets.meter(APP, limits(calls_per_day=30))) == 10


PROCESS = """
import asyncio, sys
from datetime import timedelta
from joinder.services.calls.budgets import Budgets, BudgetSpent
from joinder.store.engine import open_store
from joinder.vendor import Limits

async def main():
    store = await open_store(sys.argv[1])
    limits = Limits(poll_every=timedelta(hours=1), calls_per_month=400, max_concurrency=8)
    meter = Budgets(store).meter("cred-1", limits)
    async def some():
        calls = 0
        while True:
            try:
                async with meter.call(exchange=False):
                    calls += 1
            except BudgetSpent:
                return calls
    print(sum(await asyncio.gather(*(some() for _ in range(8)))))
    await store.close()

asyncio.run(main())
"""


async def test_over_processes_the_sum_is_the_limit(hub: Hub, settings: Settings) -> None:
    command = (sys.executable, "-c", PROCESS, settings.database_url)
    processes = [await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE) for _ in range(4)]
    counts = [int((await process.communicate())[0]) for process in processes]
    assert sum(counts) == 400
    assert await used(hub, limits(calls_per_month=400)) == [400]


async def test_times_beyond_2038_are_counted(hub: Hub, clock: Clock) -> None:
    clock.at = int(datetime(2040, 1, 1, tzinfo=UTC).timestamp())
    asked = limits(calls_per_minute=2, calls_per_day=2, calls_per_month=2)
    meter = hub.budgets.meter(APP, asked)
    assert await made(meter) == 2
    await meter.limited(None)
    assert await used(hub, asked) == [2, 2, 2]
    assert (await hub.budgets.left(APP, asked)).blocked_until == clock.at + 300


async def test_one_reader_leaves_half_of_what_is_left_of_a_minute_to_others(hub: Hub, clock: Clock) -> None:
    meter = Budgets(hub.store).meter(APP, limits(calls_per_minute=20, calls_per_day=1000))

    def reading(reader: str | None) -> asyncio.Task[int]:
        """In a task of its own, as every request is."""

        async def read() -> int:
            name_reader(reader)
            return await made(meter)

        return asyncio.create_task(read())

    assert await reading("wide") == 10
    assert await made(meter, 1, "poll") == 1
    assert await reading("other") == 4
    assert await reading("wide") == 0
    assert await reading(None) == 5
    clock.move(timedelta(seconds=60))
    assert await reading("wide") == 10
