"""A grant that ends is warned of once, early enough, and no longer once it is renewed."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from msgspec import structs
from sqlmodel import col, select

from joinder import Grant, Refresh, Secrets, Vendor, hookimpl
from joinder.clock import now, utc_now
from joinder.runtime import due
from joinder.runtime.hub import Hub
from joinder.services.grants import expiry
from joinder.services.grants.refresh import refresh
from joinder.services.join import stored_consents
from joinder.services.join.stored_consents import Origin
from joinder.services.work import leases
from joinder.store.tables import Due, Enrollment, Event, GrantRow
from services.strict_vendor import StrictVendor

DAY = 86400
YEAR = timedelta(days=365)


class Ending(StrictVendor):
    """Grants of a vendor whose tokens end; by default nobody can renew them."""

    kind = Refresh.NONE
    refresh_life: timedelta | None = None
    endless = False

    @hookimpl
    def describe_vendor(self) -> Vendor:
        return structs.replace(super().describe_vendor(), refresh=self.kind)

    def grant(self, owner: str) -> Grant:
        ends = None if self.refresh_life is None else utc_now() + self.refresh_life
        until = None if self.endless else utc_now() + self.life
        return replace(super().grant(owner), expires_at=until, refresh_expires_at=ends)


class Clock:
    def __init__(self) -> None:
        self.at = 1_800_000_000.0

    def __call__(self) -> float:
        return self.at


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr("joinder.clock.civil_time", made)
    return made


@pytest.fixture
def vendor(clock: Clock, request: pytest.FixtureRequest) -> Ending:
    made = Ending(life=YEAR)
    made.kind, made.refresh_life = getattr(request, "param", (Refresh.NONE, None))
    return made


async def join(hub: Hub, vendor: StrictVendor, account_id: str, credentials_id: str) -> str:
    async with hub.store.write() as session:
        row = await stored_consents.store(
            hub, session, account_id, vendor.consent("ada"), Origin(vendor=vendor.name, credentials_id=credentials_id)
        )
        return row.id


async def work(hub: Hub) -> None:
    """As the worker does it."""
    job = due.Kind(expiry.KIND, expiry.look).job()
    for key in await job.due(hub):
        await job.work(hub, key)


async def told(hub: Hub, enrollment_id: str) -> list[Event]:
    async with hub.store.read() as session:
        query = select(Event).where(col(Event.enrollment_id) == enrollment_id, col(Event.type) == "enrollment.expiring")
        return list((await session.execute(query)).scalars())


async def shown(hub: Hub, enrollment_id: str) -> expiry.HealthView | None:
    async with hub.store.read() as session:
        enrollment = await session.get(Enrollment, enrollment_id)
        grant = await session.get(GrantRow, enrollment_id)
    assert enrollment is not None
    assert grant is not None
    return expiry.shown(enrollment, grant)


async def due_at(hub: Hub, enrollment_id: str) -> int:
    async with hub.store.read() as session:
        row = await session.get(Due, (expiry.KIND, enrollment_id))
    assert row is not None
    return row.due_at


async def test_a_token_of_a_year_is_warned_of_thirty_days_before(
    hub: Hub, vendor: Ending, account_id: str, credentials_id: str, clock: Clock
) -> None:
    enrollment_id = await join(hub, vendor, account_id, credentials_id)
    clock.at += 334 * DAY
    await work(hub)
    assert (await told(hub, enrollment_id), await shown(hub, enrollment_id)) == ([], None)
    clock.at += DAY
    await work(hub)
    await work(hub)
    (event,) = await told(hub, enrollment_id)
    assert set(event.data) == {"vendor", "expiresAt", "reason"}
    says = await shown(hub, enrollment_id)
    assert says is not None
    assert (says.actor, str(event.data["expiresAt"]) in str(says.reason)) == ("owner", True)
    assert await due_at(hub, enrollment_id) == leases.NEVER


async def test_a_new_consent_ends_the_warning(
    hub: Hub, vendor: Ending, account_id: str, credentials_id: str, clock: Clock
) -> None:
    enrollment_id = await join(hub, vendor, account_id, credentials_id)
    clock.at += 340 * DAY
    await work(hub)
    assert await join(hub, vendor, account_id, credentials_id) == enrollment_id
    assert await shown(hub, enrollment_id) is None
    assert await due_at(hub, enrollment_id) == now() + 335 * DAY
    clock.at += 340 * DAY
    await work(hub)
    assert len(await told(hub, enrollment_id)) == 2


async def test_a_row_of_an_older_version_is_looked_at_and_put_off(
    hub: Hub, vendor: Ending, account_id: str, credentials_id: str
) -> None:
    enrollment_id = await join(hub, vendor, account_id, credentials_id)
    async with hub.store.write(enrollment_id) as session:
        await leases.schedule(session, expiry.KIND, enrollment_id, 0)
    await work(hub)
    assert await told(hub, enrollment_id) == []
    assert await due_at(hub, enrollment_id) == now() + 335 * DAY


@pytest.mark.parametrize("vendor", [(Refresh.ROTATING, timedelta(days=30))], indirect=True)
async def test_a_grant_that_is_renewed_is_never_warned_of(
    hub: Hub, vendor: Ending, account_id: str, credentials_id: str, clock: Clock
) -> None:
    enrollment_id = await join(hub, vendor, account_id, credentials_id)
    for _ in range(10):
        clock.at += 10 * DAY
        await work(hub)
        await refresh(hub, enrollment_id)
    assert await told(hub, enrollment_id) == []


@pytest.mark.parametrize("vendor", [(Refresh.ROTATING, timedelta(days=30))], indirect=True)
async def test_half_a_life_without_a_renewal_is_warned_of_until_one_works(
    hub: Hub, vendor: Ending, account_id: str, credentials_id: str, clock: Clock
) -> None:
    enrollment_id = await join(hub, vendor, account_id, credentials_id)
    clock.at += 15 * DAY
    await work(hub)
    assert len(await told(hub, enrollment_id)) == 1
    assert await shown(hub, enrollment_id) is not None
    clock.at += DAY
    await refresh(hub, enrollment_id)
    assert await shown(hub, enrollment_id) is None
    clock.at += 14 * DAY
    await work(hub)
    assert await due_at(hub, enrollment_id) == now() + DAY
    clock.at += DAY
    await work(hub)
    assert len(await told(hub, enrollment_id)) == 2


@pytest.mark.parametrize("vendor", [(Refresh.STATIC_KEY, None), (Refresh.ROTATING, None)], indirect=True)
async def test_what_has_no_known_end_is_never_due(
    hub: Hub, vendor: Ending, account_id: str, credentials_id: str, clock: Clock
) -> None:
    vendor.endless = vendor.kind is Refresh.STATIC_KEY
    enrollment_id = await join(hub, vendor, account_id, credentials_id)
    assert await due_at(hub, enrollment_id) == leases.NEVER


@pytest.mark.parametrize("days", [1, 20, 59])
def test_a_short_life_is_warned_of_halfway(days: int) -> None:
    moment = utc_now()
    grant = Grant(secrets=Secrets({}), expires_at=moment + timedelta(days=days))
    first = expiry.first_look(Ending().describe_vendor(), grant, moment)
    assert abs(first - (moment.timestamp() + days * DAY / 2)) <= 1
