"""Ten thousand grants of one minute come back neither as a wave nor too late (R10). No HTTP, a simulated clock.

All 10 000 pass through the planner and the queries of the due table; JOINDER_HERD of them (200 unless told otherwise)
are renewed by two hubs on one database through the worker's own batches, pace and leases.
"""

from __future__ import annotations

import asyncio
import collections
import os
import sqlite3
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest
from msgspec import structs

from joinder.grants import Grant
from joinder.redact import Secrets
from joinder.runtime import due
from joinder.runtime.hub import Hub, open_hub
from joinder.runtime.worker import _pace, _refresh
from joinder.services.grants import refresh
from joinder.services.work import leases
from joinder.services.work.schedule import after_failure, next_refresh
from joinder.settings import Settings
from joinder.vendors.registry import Registry
from reliability.simulated import HOUR, MINUTE, Clock
from services.conftest import Enroll
from services.strict_vendor import StrictVendor

GRANTS = 10_000
WORKED = int(os.environ.get("JOINDER_HERD", "200"))
LIFE = timedelta(hours=8)
RATE = 2  # exchanges a second, the default
BEGAN = datetime(2026, 5, 1, 12, tzinfo=UTC)
QUICK = 50  # a second, for what runs in real code


NUMBERS = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < :count) "
COPIES = (
    "INSERT INTO enrollment (id, account_id, vendor, credentials_id, options, status, health, health_since, failures, "
    "created_at) {numbers} SELECT 'copy-' || i, account_id, vendor, credentials_id, options, status, health, "
    "health_since, failures, created_at FROM enrollment, n WHERE id = :id",
    'INSERT INTO "grant" (enrollment_id, sealed, version, expires_at, state, obtained_by, obtained_at, refresh_count, '
    "intent_count) {numbers} SELECT 'copy-' || i, sealed, version, :now + 3600 - i / 10, state, obtained_by, "
    'obtained_at, refresh_count, intent_count FROM "grant", n WHERE enrollment_id = :id',
    "INSERT INTO due (kind, enrollment_id, app, due_at, strikes) {numbers} SELECT 'refresh', 'copy-' || i, :app, "
    ":now - 100, 0 FROM n",
)


@pytest.fixture
def settings(fresh_database: Settings) -> Settings:
    return structs.replace(fresh_database, refreshes_per_second=float(QUICK))


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr("joinder.clock.civil_time", made.time)
    return made


@pytest.fixture
def vendor(clock: Clock) -> StrictVendor:
    return StrictVendor(grace=True, life=LIFE)


def planned() -> list[tuple[int, int]]:
    """(due, expiry) of grants issued within a minute, in seconds since then."""
    vendor, plans = StrictVendor().describe_vendor(), []
    for number in range(GRANTS):
        issued = BEGAN + timedelta(seconds=60 * number / GRANTS)
        grant = Grant(secrets=Secrets({"refresh_token": "x"}), expires_at=issued + LIFE)
        due_at = next_refresh(vendor, grant, issued)
        plans.append((due_at - int(BEGAN.timestamp()), int((issued + LIFE - BEGAN).total_seconds())))
    return plans


def drained(plans: list[tuple[int, int]], rate: int, begin: int = 0) -> list[tuple[int, int]]:
    """(when, expiry) of each exchange: every second the `rate` nearest to expiry of those due."""
    coming, waiting, done = collections.deque(sorted(plans)), [], []
    second = max(begin, coming[0][0])
    while coming or waiting:
        while coming and coming[0][0] <= second:
            waiting.append(coming.popleft()[1])
        waiting.sort()
        done += [(second, expiry) for expiry in waiting[:rate]]
        del waiting[:rate]
        second += 1
    return done


def test_a_herd_is_spread_and_none_is_late() -> None:
    plans = planned()
    at = [due_at for due_at, _ in plans]
    assert (max(at) - min(at)) / LIFE.total_seconds() >= 0.2
    assert max(collections.Counter(at).values()) <= 10 * RATE
    exchanges = drained(plans, RATE)
    assert max(collections.Counter(second for second, _ in exchanges).values()) <= RATE
    latest = max(second - expiry for second, expiry in exchanges)
    print(
        f"\n{GRANTS} grants of a minute: over {(max(at) - min(at)) / 3600:.2f} h, the latest {-latest // 60} min before"
    )
    assert latest <= -10 * MINUTE


def test_four_hours_away_end_in_a_queue_by_expiry() -> None:
    """The outage covers the whole time they come due in; each was tried and put off until it ended."""
    ends = BEGAN + timedelta(hours=10)
    plans = []
    for _, expiry in planned():
        tried_last = ends - timedelta(minutes=15) * (expiry % 100 / 100)
        plans.append((after_failure(9, tried_last) - int(BEGAN.timestamp()), expiry))
    over = int((ends - BEGAN).total_seconds())
    exchanges = drained(plans, RATE, begin=over)
    by_second = collections.Counter(second for second, _ in exchanges)
    assert max(by_second.values()) <= 1.2 * RATE
    assert max(by_second) - over <= GRANTS / RATE + 15 * MINUTE
    after_all_came_back = [expiry for second, expiry in exchanges if second > over + 16 * MINUTE]
    assert after_all_came_back == sorted(after_all_came_back)


async def seeded(hub: Hub, enroll: Enroll, clock: Clock, count: int, database: Settings) -> str:
    """`count` due rows, copies of one enrollment's that expire in reverse order; its app."""
    first = await enroll("owner-0")
    app = str((await hub.store.rows("SELECT app FROM due WHERE enrollment_id = :id", {"id": first}))[0][0])
    values = {"id": first, "count": count, "now": int(clock.at)}
    for copied in COPIES:
        statement = copied.replace("{numbers}", NUMBERS)
        known = {name: value for name, value in {**values, "app": app}.items() if f":{name}" in statement}
        await hub.store.apply((statement, known))
    return app


async def test_ten_thousand_due_rows_are_looked_up_by_an_index(
    hub: Hub, settings: Settings, enroll: Enroll, clock: Clock
) -> None:
    app = await seeded(hub, enroll, clock, GRANTS, settings)
    kind = due.Kind(refresh.KIND, renew_nothing, nearest_to_expiry_first=True)
    assert await kind._keys(hub) == [f"{slot}:{app}" for slot in range(due.SLOTS)], "no key for each of them"
    batch = await kind._next(hub, app, 0)
    ends = {row[0]: row[1] for row in await hub.store.rows('SELECT enrollment_id, expires_at FROM "grant"', {})}
    assert [ends[row.enrollment_id] for row in batch] == sorted(ends[one] for one in ends)[: due.BATCH]
    if settings.database_url.startswith("sqlite"):
        plan = explained(settings, due._APPS, {"kind": "refresh", "now": 0, "most": 800})
        assert "SCAN due" not in plan
        assert plan.count("due_by_app") >= 3


def explained(settings: Settings, sql: str, values: dict[str, object]) -> str:
    statement, parameters = leases.on_clock("sqlite", sql, values)
    connection = sqlite3.connect(settings.database_url.removeprefix("sqlite:///"))
    rows = connection.execute(f"EXPLAIN QUERY PLAN {statement}", parameters).fetchall()
    connection.close()
    return "\n".join(str(row[3]) for row in rows)


async def renew_nothing(hub: Hub, enrollment_id: str) -> None:
    raise AssertionError


@pytest.fixture
async def other(hub: Hub, settings: Settings, registry: Registry) -> AsyncIterator[Hub]:
    """A second process on the same database."""
    async with open_hub(settings, registry) as opened:
        yield opened


async def test_two_hubs_keep_one_pace_and_renew_each_once(
    hub: Hub, other: Hub, vendor: StrictVendor, enroll: Enroll, clock: Clock
) -> None:
    for number in range(WORKED):
        await enroll(f"owner-{number}")
    await hub.store.apply(("UPDATE due SET due_at = :at WHERE kind = 'refresh'", {"at": int(clock.at) - 1}))
    ((app,),) = await hub.store.rows("SELECT DISTINCT app FROM due", {})
    by_second: collections.Counter[int] = collections.Counter()

    async def count(_: str) -> None:
        by_second[int(clock.at)] += 1

    vendor.before, vendor.latency_s = count, 0.01
    kind = due.Kind(refresh.KIND, _refresh, nearest_to_expiry_first=True, pace=_pace)
    ticking = asyncio.create_task(tick(clock))
    while sum(by_second.values()) < WORKED:
        await asyncio.gather(*(kind._work(each, f"0:{app}") for each in (hub, other)))
    ticking.cancel()
    print(f"\n{WORKED} through two hubs: at most {max(by_second.values())} a second of {QUICK}")
    assert (vendor.exchanges, vendor.overlaps, vendor.reuse_seen) == (WORKED, 0, 0)
    assert set(vendor.current.values()) == {2}
    assert sum(by_second.values()) / len(by_second) <= QUICK


async def tick(clock: Clock) -> None:
    """A second of theirs in a tenth of ours."""
    while True:
        await asyncio.sleep(0.1)
        clock.at += 1


async def test_the_pace_itself_is_never_exceeded(hub: Hub, other: Hub, clock: Clock) -> None:
    granted: collections.Counter[int] = collections.Counter()

    async def take(at: Hub) -> None:
        for _ in range(QUICK):
            await at.pace.take("an-app")
            granted[int(clock.at)] += 1

    ticking = asyncio.create_task(tick(clock))
    await asyncio.gather(take(hub), take(hub), take(other), take(other))
    ticking.cancel()
    assert sum(granted.values()) == 4 * QUICK
    taken = await hub.store.rows("SELECT used FROM quota WHERE span = 'refreshes'", {})
    assert max(row[0] for row in taken) <= QUICK
    assert len(granted) >= 4
    assert max(granted) - min(granted) < HOUR
