"""Enrollments a vendor approves later: asked about until it says yes or no, by one process at a time."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

import pytest
from sqlmodel import col, select

from joinder import (
    AppCredentialType,
    Callback,
    Consent,
    Context,
    Field,
    Flow,
    Grant,
    GrantState,
    Limits,
    OAuth2,
    Readings,
    ReadingsQuery,
    Refresh,
    Secrets,
    Site,
    Vendor,
    clock,
    hookimpl,
)
from joinder.errors import (
    AppCredentialsRejected,
    ApprovalPending,
    ApprovalRefused,
    TransientError,
    VendorError,
)
from joinder.runtime.hub import Hub
from joinder.services.grants import approvals
from joinder.services.join import renewal, stored_consents, vendor_credentials
from joinder.services.join.stored_consents import Origin
from joinder.services.readings import vendor_calls
from joinder.services.records import accounts
from joinder.services.work import leases
from joinder.store.tables import Due, Enrollment, Event, GrantRow
from joinder.vendors.registry import Registry

PENDING = Grant(
    secrets=Secrets({"app": "x"}),
    facts={"application": "7"},
    site_ids=("site-1",),
    state=GrantState.PENDING_APPROVAL,
)


@dataclass(eq=False)
class SlowVendor:
    """`says` scripts what each question is answered; the last one for ever."""

    says: list[object] = field(default_factory=lambda: [PENDING])
    asked: int = 0
    started: asyncio.Event = field(default_factory=asyncio.Event)
    go_on: asyncio.Event | None = None

    @hookimpl
    def describe_vendor(self) -> Vendor:
        secret = Field(name="clientSecret", label="Client secret", secret=True)
        return Vendor(
            name="slow",
            label="Slow",
            docs_url="https://slow.example",
            flow=Flow.REDIRECT,
            hosts=("slow.example",),
            app_credentials=(AppCredentialType(type="app", label="App", fields=(secret,)),),
            oauth2=OAuth2(authorize_url="https://slow.example/a", token_url="https://slow.example/t"),
            refresh=Refresh.STATIC_KEY,
            limits=Limits(poll_every=timedelta(hours=1)),
            capabilities={},
        )

    @hookimpl
    async def build_authorize_url(self) -> str:
        raise AssertionError

    @hookimpl
    async def handle_callback(self, callback: Callback) -> Consent:
        raise AssertionError

    @hookimpl
    async def refresh(self, ctx: Context, grant: Grant) -> Grant:
        self.asked += 1
        assert grant.facts == {"application": "7"}
        self.started.set()
        if self.go_on is not None:
            await self.go_on.wait()
        answer = self.says[min(self.asked, len(self.says)) - 1]
        if isinstance(answer, Exception):
            raise answer
        assert isinstance(answer, Grant)
        return answer

    @hookimpl
    async def fetch_site(self, site_id: str) -> Site:
        return Site(vendor_id=site_id, name=site_id)

    @hookimpl
    async def fetch_readings(self, query: ReadingsQuery) -> Readings:
        return Readings()


@pytest.fixture
def slow() -> SlowVendor:
    return SlowVendor()


@pytest.fixture
def registry(slow: SlowVendor) -> Registry:
    made = Registry()
    assert made.add("slow", slow).problem is None
    return made


@pytest.fixture
async def enrollment_id(hub: Hub) -> str:
    account_id = (await accounts.create_account(hub, "test")).id
    given = {"vendor": "slow", "type": "app", "clientSecret": "a-secret"}
    credentials_id = (await vendor_credentials.create(hub, account_id, "test", name=None, credentials=given)).id
    async with hub.store.write() as session:
        consent = Consent(grant=PENDING)
        made = await stored_consents.store(
            hub, session, account_id, consent, Origin(vendor="slow", credentials_id=credentials_id)
        )
        return made.id


async def state(hub: Hub, enrollment_id: str) -> tuple[str, str]:
    async with hub.store.read() as session:
        row = await session.get(Enrollment, enrollment_id)
        assert row is not None
        return row.status, row.health


async def due(hub: Hub, enrollment_id: str) -> dict[str, bool]:
    """Which kinds of work will come due."""
    async with hub.store.read() as session:
        rows = (await session.execute(select(Due).where(col(Due.enrollment_id) == enrollment_id))).scalars()
        return {row.kind: row.due_at != leases.NEVER for row in rows}


async def test_a_pending_enrollment_is_neither_polled_nor_refreshed(hub: Hub, enrollment_id: str) -> None:
    assert await state(hub, enrollment_id) == ("pendingvendor", "pending_approval")
    assert await due(hub, enrollment_id) == {
        "refresh": False,
        "poll": False,
        "approval": True,
        "expiry": False,
        "sites": True,
    }
    with pytest.raises(ApprovalPending):
        await vendor_calls.with_grant(hub, enrollment_id, lambda ctx, grant: asyncio.sleep(0))
    assert await state(hub, enrollment_id) == ("pendingvendor", "pending_approval")


@pytest.mark.parametrize("answer", [PENDING, ApprovalPending("not yet")])
async def test_still_pending_is_asked_again_later(
    hub: Hub, slow: SlowVendor, enrollment_id: str, answer: object
) -> None:
    slow.says = [answer]
    for _ in range(3):
        assert await approvals.ask(hub, enrollment_id)
    assert slow.asked == 3
    assert await state(hub, enrollment_id) == ("pendingvendor", "pending_approval")
    assert (await due(hub, enrollment_id))["approval"]


async def test_approved_is_enrolled_and_polled_at_once(hub: Hub, slow: SlowVendor, enrollment_id: str) -> None:
    slow.says = [PENDING, replace(PENDING, state=GrantState.ACTIVE, facts={"application": "7", "programme": "p"})]
    await approvals.ask(hub, enrollment_id)
    await approvals.ask(hub, enrollment_id)
    assert await state(hub, enrollment_id) == ("enrolled", "connecting")
    assert await due(hub, enrollment_id) == {
        "refresh": False,
        "poll": True,
        "approval": False,
        "expiry": False,
        "sites": True,
    }
    facts = await vendor_calls.with_grant(hub, enrollment_id, _facts)
    assert facts["programme"] == "p"
    async with hub.store.read() as session:
        kinds = set((await session.execute(select(Event.type))).scalars())
    assert "enrollment.approved" in kinds


async def _facts(ctx: Context, grant: Grant) -> dict[str, str]:
    return dict(grant.facts)


async def test_rejected_stays_rejected_until_somebody_asks_again(
    hub: Hub, slow: SlowVendor, enrollment_id: str
) -> None:
    slow.says = [ApprovalRefused("The programme is full"), replace(PENDING, state=GrantState.ACTIVE)]
    with pytest.raises(ApprovalRefused):
        await approvals.ask(hub, enrollment_id)
    assert await state(hub, enrollment_id) == ("rejected", "operator_action")
    assert not (await due(hub, enrollment_id))["approval"]
    await renewal.renew(hub, enrollment_id)
    assert await state(hub, enrollment_id) == ("enrolled", "connecting")


async def test_who_leaves_the_programme_at_the_vendor_is_unenrolled_and_told_of_once(
    hub: Hub, slow: SlowVendor, enrollment_id: str
) -> None:
    slow.says = [replace(PENDING, state=GrantState.ACTIVE)]
    await approvals.ask(hub, enrollment_id)
    for _ in range(2):
        with pytest.raises(ApprovalRefused):
            await vendor_calls.with_grant(hub, enrollment_id, _left)
    assert await state(hub, enrollment_id) == ("unenrolled", "operator_action")
    async with hub.store.read() as session:
        row = await session.get(Enrollment, enrollment_id)
        kinds = list((await session.execute(select(Event.type))).scalars())
    assert row is not None
    assert row.status_reason == "The site left the programme"
    assert kinds.count("enrollment.unenrolled") == 1
    assert "enrollment.rejected" not in kinds


async def _left(ctx: Context, grant: Grant) -> None:
    raise ApprovalRefused("The site left the programme")


async def test_a_vendor_that_is_away_loses_nothing(hub: Hub, slow: SlowVendor, enrollment_id: str) -> None:
    slow.says = [TransientError("away")] * 4 + [replace(PENDING, state=GrantState.ACTIVE)]
    for _ in range(4):  # the fifth opens the breaker
        with pytest.raises(TransientError):
            await approvals.ask(hub, enrollment_id)
    assert (await due(hub, enrollment_id))["approval"]
    await approvals.ask(hub, enrollment_id)
    assert await state(hub, enrollment_id) == ("enrolled", "connecting")


async def test_two_processes_ask_once(hub: Hub, slow: SlowVendor, enrollment_id: str) -> None:
    slow.go_on = asyncio.Event()
    first = asyncio.create_task(approvals.ask(hub, enrollment_id))
    await slow.started.wait()
    assert not await approvals.ask(hub, enrollment_id)
    slow.go_on.set()
    assert await first
    assert slow.asked == 1


async def test_a_crash_after_the_answer_asks_again(hub: Hub, slow: SlowVendor, enrollment_id: str) -> None:
    slow.go_on = asyncio.Event()
    slow.says = [replace(PENDING, state=GrantState.ACTIVE)]
    cut = asyncio.create_task(approvals.ask(hub, enrollment_id))
    await slow.started.wait()
    cut.cancel()
    await asyncio.gather(cut, return_exceptions=True)
    assert await state(hub, enrollment_id) == ("pendingvendor", "pending_approval")
    slow.go_on.set()
    assert await approvals.ask(hub, enrollment_id)
    assert await state(hub, enrollment_id) == ("enrolled", "connecting")


async def test_an_answer_about_an_older_consent_is_not_kept(hub: Hub, slow: SlowVendor, enrollment_id: str) -> None:
    slow.go_on = asyncio.Event()
    slow.says = [replace(PENDING, state=GrantState.ACTIVE)]
    asking = asyncio.create_task(approvals.ask(hub, enrollment_id))
    await slow.started.wait()
    async with hub.store.write() as session:
        row = await session.get(GrantRow, enrollment_id)
        assert row is not None
        row.version += 1
    slow.go_on.set()
    await asking
    assert await state(hub, enrollment_id) == ("pendingvendor", "pending_approval")


async def test_refused_credentials_stop_the_asking_until_they_are_corrected(
    hub: Hub, slow: SlowVendor, enrollment_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Twice is the proof; then it is tried seldom."""
    slow.says = [AppCredentialsRejected("no"), AppCredentialsRejected("no"), replace(PENDING, state=GrantState.ACTIVE)]
    began = clock.now()
    for after_s, health in ((0, "pending_approval"), (301, "operator_action")):
        monkeypatch.setattr("joinder.clock.civil_time", lambda after_s=after_s: began + after_s)
        with pytest.raises(AppCredentialsRejected):
            await approvals.ask(hub, enrollment_id)
        assert await state(hub, enrollment_id) == ("pendingvendor", health)
        assert (await due(hub, enrollment_id))["approval"]
        with pytest.raises(VendorError):
            await approvals.ask(hub, enrollment_id)
    assert slow.asked == 2
    async with hub.store.read() as session:
        row = await session.get(Enrollment, enrollment_id)
        assert row is not None
    patch = {"credentials": {"clientSecret": "another"}}
    await vendor_credentials.change(hub, row.account_id, row.credentials_id or "", "test", patch=patch)
    assert (await due(hub, enrollment_id)) == {
        "refresh": False,
        "poll": False,
        "approval": True,
        "expiry": False,
        "sites": True,
    }
    await approvals.ask(hub, enrollment_id)
    assert await state(hub, enrollment_id) == ("enrolled", "connecting")


@pytest.mark.parametrize(("hours", "low", "high"), [(0, 13, 17), (2, 26, 34), (12, 160, 200), (240, 320, 400)])
def test_questions_grow_rarer(hours: int, low: int, high: int) -> None:
    """Minutes until the next one, by how long it has been pending."""
    since = datetime(2026, 1, 1, tzinfo=UTC)
    moment = since + timedelta(hours=hours)
    wait = approvals.next_question(int(since.timestamp()), moment) - moment.timestamp()
    assert low <= wait / 60 <= high
