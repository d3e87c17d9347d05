"""A hub whose vendor a test writes (vendor.py), its due work done in the order of time on a clock the test moves."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from datetime import timedelta

import pytest
from msgspec import structs
from sqlmodel import col, select

from cases.grants.vendor import HOST, Told, listening
from joinder.runtime import due
from joinder.runtime.hub import Hub, open_hub
from joinder.runtime.worker import _ask, _poll, _refresh
from joinder.services.grants import approvals, invariant, refresh
from joinder.services.join import stored_consents, vendor_credentials
from joinder.services.join.stored_consents import Origin
from joinder.services.readings import poll
from joinder.services.records import accounts
from joinder.settings import Settings
from joinder.store.tables import Due, Enrollment, Event, GrantRow, SiteRow, VendorCredentials
from joinder.vendor import Refresh
from joinder.vendors.registry import Registry
from reliability.simulated import Clock

MINUTE, HOUR, DAY = 60, 3600, 86400
KINDS: Mapping[str, due.Kind] = {
    refresh.KIND: due.Kind(refresh.KIND, _refresh, nearest_to_expiry_first=True),
    poll.KIND: due.Kind(poll.KIND, _poll),
    approvals.KIND: due.Kind(approvals.KIND, _ask),
}
_NEXT = (
    "SELECT kind, enrollment_id, due_at, strikes FROM due WHERE kind IN ('refresh', 'poll', 'approval') "
    "ORDER BY due_at, kind, enrollment_id LIMIT 1"
)


@dataclass
class Stage:
    """One account with one app at the vendor."""

    hub: Hub
    vendor: Told
    clock: Clock
    account_id: str
    credentials_id: str

    async def enroll(self, owner: str, *, refresh_token: bool = True) -> str:
        return await self.consent(self.vendor.consent(owner, refresh_token=refresh_token))

    async def consent(self, consent: object) -> str:
        async with self.hub.store.write() as session:
            made = await stored_consents.store(
                self.hub, session, self.account_id, consent, Origin(vendor="told", credentials_id=self.credentials_id)
            )
            return made.id

    async def fleet(self, count: int) -> list[str]:
        """Enrolled and read once."""
        ids = [await self.enroll(f"owner{number}") for number in range(count)]
        await self.live(MINUTE)
        return ids

    async def live(self, seconds: float) -> None:
        """Does what comes due in that time, each at its time, as a worker does; health and due work agree then."""
        end = self.clock.at + seconds
        for _ in range(100_000):
            (row,) = await self.hub.store.rows(_NEXT, {})
            if row[2] >= end:
                break
            self.clock.at = max(self.clock.at, row[2])
            await due.run_one(self.hub, KINDS[row[0]], due.DueRow(row[1], row[3]))
        else:
            raise AssertionError("work is due again and again")
        self.clock.at = max(self.clock.at, end)
        assert [broken async for broken in invariant.broken(self.hub)] == []

    async def enrollment(self, enrollment_id: str) -> Enrollment:
        async with self.hub.store.read() as session:
            row = await session.get(Enrollment, enrollment_id)
        assert row is not None
        return row

    async def grant(self, enrollment_id: str) -> GrantRow:
        async with self.hub.store.read() as session:
            row = await session.get(GrantRow, enrollment_id)
        assert row is not None
        return row

    async def app(self) -> VendorCredentials:
        async with self.hub.store.read() as session:
            row = await session.get(VendorCredentials, self.credentials_id)
        assert row is not None
        return row

    async def sites(self, enrollment_id: str) -> list[SiteRow]:
        async with self.hub.store.read() as session:
            query = select(SiteRow).where(col(SiteRow.enrollment_id) == enrollment_id).order_by(col(SiteRow.vendor_id))
            return list((await session.execute(query)).scalars())

    async def due_in(self, enrollment_id: str, kind: str) -> float:
        """Seconds until that work is due."""
        async with self.hub.store.read() as session:
            row = await session.get(Due, (kind, enrollment_id))
        assert row is not None
        return row.due_at - self.clock.at

    async def move(self, enrollment_id: str, kind: str, after_s: float = 0) -> None:
        async with self.hub.store.write(enrollment_id) as session:
            row = await session.get(Due, (kind, enrollment_id))
            assert row is not None
            row.due_at = int(self.clock.at + after_s)

    async def healths(self) -> dict[str, int]:
        rows = await self.hub.store.rows("SELECT health, count(*) FROM enrollment GROUP BY health", {})
        return {row[0]: row[1] for row in rows}

    async def told(self, *states: str) -> list[str]:
        """Enrollments that webhooks were told to be in these states."""
        async with self.hub.store.read() as session:
            query = select(Event).where(col(Event.type) == "enrollment.health").order_by(col(Event.id))
            found = (await session.execute(query)).scalars()
            return [str(event.enrollment_id) for event in found if event.data["to"] in states]


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr("joinder.clock.civil_time", made.time)
    return made


@pytest.fixture
def kind() -> str:
    """Of refresh tokens; a test may name another."""
    return "strict"


@pytest.fixture
def vendor(kind: str) -> Told:
    refresh = Refresh.REUSABLE if kind == "reusable" else Refresh.ROTATING
    return Told(kind=refresh, grace=timedelta(hours=24) if kind == "grace" else None)


@pytest.fixture
async def stage(fresh_database: Settings, clock: Clock, vendor: Told) -> AsyncIterator[Stage]:
    async with listening(vendor):
        registry = Registry()
        assert registry.add("told", vendor).problem is None
        settings = structs.replace(
            fresh_database, reroute={HOST: f"http://127.0.0.1:{vendor.port}"}, refresh_deadline_s=20.0
        )
        async with open_hub(settings, registry) as hub:
            account_id = (await accounts.create_account(hub, "test")).id
            hub.breakers._probe_after_s = 0.0  # it knows no moved clock
            given = {"vendor": "told", "type": "app", "clientID": "an-id", "clientSecret": "a-secret"}
            made = await vendor_credentials.create(hub, account_id, "test", name=None, credentials=given)
            yield Stage(hub, vendor, clock, account_id, made.id)
    assert vendor.reused == []  # whatever was judged, no single-use token was used twice
