"""This machine's clock is wrong, jumps or drifts: no token is used twice, nobody's grant dies, no storm of calls (R13).

The services read one clock, `joinder.clock`, which these tests make wrong; the vendor lives in true time.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from joinder.errors import AuthorizationLost
from joinder.grants import Context, Grant
from joinder.runtime import due
from joinder.runtime.hub import Hub
from joinder.services.grants.refresh import refresh
from joinder.services.operations import doctor
from joinder.services.readings.vendor_calls import with_grant
from joinder.services.work import leases
from joinder.settings import Settings
from misbehaving import Served, http_answer
from reliability.over_http import at_vendor
from reliability.simulated import DAY, HOUR, MINUTE, RENEWALS, due_of, healths, told
from services.conftest import Enroll
from services.strict_vendor import StrictVendor

OWNERS = tuple(f"owner-{number}" for number in range(4))
LIFE_S, STEP_S = HOUR, 150
WRONG_AT_S, ENDS_AT_S = 2 * HOUR, 6 * HOUR
_DUE = "SELECT DISTINCT app FROM due WHERE kind = 'refresh' AND due_at <= :now"


@dataclass
class WrongClock:
    """Civil time as this machine has it: true time, but for a jump and a drift from WRONG_AT_S on."""

    began: float = field(default_factory=lambda: float(int(time.time())))
    true_s: float = 0.0
    jump_s: float = 0.0
    rate: float = 1.0

    def time(self) -> float:
        wrong_s = max(0.0, self.true_s - WRONG_AT_S)
        return self.began + self.true_s + (self.jump_s if wrong_s else 0) + wrong_s * (self.rate - 1)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> WrongClock:
    made = WrongClock()
    monkeypatch.setattr("joinder.clock.civil_time", made.time)
    return made


@pytest.fixture
def vendor(clock: WrongClock) -> StrictVendor:
    return StrictVendor(life=timedelta(seconds=LIFE_S))


@pytest.fixture
def time_zone(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """One with summer time."""
    monkeypatch.setenv("TZ", "Europe/Berlin")
    time.tzset()
    yield
    os.environ.pop("TZ")
    time.tzset()


class Life:
    """Hours of renewals by the timer, and a read of every owner's data now and then."""

    def __init__(self, hub: Hub, vendor: StrictVendor, clock: WrongClock) -> None:
        self.hub, self.vendor, self.clock = hub, vendor, clock
        self.issued: dict[str, float] = {}
        self.reads = self.refused = 0
        self.exchanges: list[float] = []
        vendor.after = self._note

    async def _note(self, owner: str) -> None:
        self.exchanges.append(self.clock.true_s)
        self.issued[f"access-{owner}#{self.vendor.current[owner]}"] = self.clock.true_s

    async def _read(self, ctx: Context, grant: Grant) -> None:
        """The vendor knows when it made this token, whatever we believe."""
        self.reads += 1
        if self.clock.true_s - self.issued.get(grant.secrets["access_token"], 0.0) > LIFE_S:
            self.refused += 1
            raise AuthorizationLost("expired")

    async def live(self, ids: list[str]) -> None:
        while self.clock.true_s < ENDS_AT_S:
            self.clock.true_s += STEP_S
            for (app,) in await self.hub.store.rows(_DUE, {"now": int(self.clock.time())}):
                for row in await RENEWALS._next(self.hub, app, 0):
                    await due.run_one(self.hub, RENEWALS, row)
            if self.clock.true_s % (30 * MINUTE) == 0:
                for enrollment_id in ids:
                    await with_grant(self.hub, enrollment_id, self._read)


WRONG: dict[str, Callable[[WrongClock], None]] = {
    "an hour ahead": lambda clock: setattr(clock, "jump_s", HOUR),
    "an hour behind": lambda clock: setattr(clock, "jump_s", -HOUR),
    "a day ahead": lambda clock: setattr(clock, "jump_s", DAY),
    "a day behind": lambda clock: setattr(clock, "jump_s", -DAY),
    "ten minutes back": lambda clock: setattr(clock, "jump_s", -10 * MINUTE),
    "twice as fast": lambda clock: setattr(clock, "rate", 2.0),
    "half as fast": lambda clock: setattr(clock, "rate", 0.5),
    "into summer time": lambda clock: setattr(clock, "began", datetime(2026, 3, 28, 23, tzinfo=UTC).timestamp()),
    "out of summer time": lambda clock: setattr(clock, "began", datetime(2026, 10, 24, 23, tzinfo=UTC).timestamp()),
    "past 2038": lambda clock: setattr(clock, "began", 2.0**31 - 3 * HOUR),
}


@pytest.mark.parametrize("wrong", WRONG)
async def test_hours_with_a_wrong_clock(
    wrong: str, time_zone: None, hub: Hub, vendor: StrictVendor, clock: WrongClock, enroll: Enroll
) -> None:
    WRONG[wrong](clock)
    ids = [await enroll(owner) for owner in OWNERS]
    life = Life(hub, vendor, clock)
    await life.live(ids)
    assert (vendor.reuse_seen, vendor.overlaps, vendor.revoked) == (0, 0, set())
    assert await healths(hub) == {"ok": len(OWNERS)}
    assert await told(hub, "needs_consent", "lost_in_flight", "suspected", "degraded") == []
    assert life.reads - life.refused == len(OWNERS) * ENDS_AT_S / (30 * MINUTE)
    normal = len(OWNERS) * ENDS_AT_S / (0.5 * LIFE_S)  # renewals of such short tokens begin at that part of their life
    assert len(life.exchanges) <= 2 * normal
    busiest = max(sum(start <= at < start + LIFE_S for at in life.exchanges) for start in life.exchanges)
    assert busiest <= 2 * len(OWNERS) * 2


async def test_leases_do_not_see_the_clock_jump(hub: Hub, clock: WrongClock, enroll: Enroll) -> None:
    enrollment_id = await enroll("ada")
    async with hub.store.write() as session:
        lease = await leases.take(session, "refresh", enrollment_id, 60)
    clock.true_s = WRONG_AT_S + 1
    for jump_s in (DAY, -DAY, HOUR, -HOUR):
        clock.jump_s = jump_s
        async with hub.store.write() as session:
            assert await leases.take(session, "refresh", enrollment_id, 60) is None
            assert await leases.renew(session, "refresh", enrollment_id, str(lease), 60)
    async with hub.store.write() as session:
        assert await leases.release(session, "refresh", enrollment_id, str(lease), None)
    assert (await due_of(hub, enrollment_id)).lease is None


@pytest.mark.parametrize("jump_s", [DAY, HOUR, -10 * MINUTE, -HOUR, -DAY])
async def test_a_jump_in_the_middle_of_an_exchange(
    hub: Hub, vendor: StrictVendor, clock: WrongClock, enroll: Enroll, jump_s: int
) -> None:
    enrollment_id = await enroll("ada")
    clock.true_s = WRONG_AT_S + 1

    async def jump(_: str) -> None:
        clock.jump_s = jump_s

    vendor.after = jump
    await asyncio.gather(*(refresh(hub, enrollment_id, newer_than=1) for _ in range(5)))
    vendor.after = None
    await refresh(hub, enrollment_id)
    assert (vendor.exchanges, vendor.reuse_seen, vendor.current["ada"]) == (2, 0, 3)
    assert await healths(hub) == {"connecting": 1}


@pytest.mark.parametrize("minutes", [15, -15, 0])
async def test_a_vendors_date_tells_of_it(fresh_database: Settings, minutes: int) -> None:
    date = format_datetime(datetime.now(UTC) + timedelta(minutes=minutes), usegmt=True)
    served = Served([http_answer(b'{"access_token": "new", "refresh_token": "newer", "expires_in": 600}', date=date)])
    server = await asyncio.start_server(served.handle, "127.0.0.1", 0)
    async with at_vendor("strict", server.sockets[0].getsockname()[1], fresh_database) as here:
        await refresh(here.hub, await here.enroll("ada"))
        assert here.hub.http.skew.seen()["strict"] == pytest.approx(minutes * MINUTE, abs=20)
        found = [one for one in await doctor.clocks(here.hub) if "strict" in one.text]
        assert [one.ok for one in found] == [minutes == 0]
        assert await healths(here.hub) == {"connecting": 1}
    server.close()
