"""Any order of answers, consents, pauses and restarts: health and due work agree after every step.

A state machine of hypothesis over a whole hub. The vendor is in memory and answers what the step says; the clock is
the machine's. After each step every enrollment's state is followed by the work it promises, every state says who must
act and what to do, and the events tell each change once, in one chain.
"""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Coroutine
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test
from msgspec import structs

from joinder import Consent, Context, Grant, GrantState, Readings, Site, clock, hookimpl
from joinder import errors as e
from joinder.errors import VendorError
from joinder.runtime import due
from joinder.runtime.hub import Hub, open_hub
from joinder.runtime.worker import _ask, _poll, _refresh
from joinder.services.admin import pausing
from joinder.services.grants import approvals, apps, refresh
from joinder.services.grants import invariant as promise
from joinder.services.join import stored_consents, vendor_credentials
from joinder.services.join.stored_consents import Origin
from joinder.services.readings import poll
from joinder.services.readings.vendor_calls import with_grant
from joinder.services.records import accounts, health
from joinder.services.refusals import Refusal
from joinder.settings import Settings
from joinder.store.tables import Due
from joinder.vendors.registry import Registry
from reliability.simulated import Clock
from services.strict_vendor import StrictVendor

T = TypeVar("T")
DATABASES = ("sqlite",)
OWNERS = ("ada", "ben", "cy", "dan", "eve", "fay")
ANSWERS: dict[str, Callable[[], BaseException] | None] = {
    "well": None,
    "passing": lambda: e.TransientError("away"),
    "slower": lambda: e.RateLimited("slower", retry_after=timedelta(minutes=10)),
    "cut off": lambda: e.OutcomeUnknown("cut"),
    "nonsense": lambda: e.UnexpectedPayload("html"),
    "unexplained": lambda: e.Unexplained("no", code="400"),
    "grant refused": lambda: e.AuthorizationLost("gone"),
    "app refused": lambda: e.AppCredentialsRejected("app"),
    "operator": lambda: e.OperatorActionNeeded("pay"),
    "pending": lambda: e.ApprovalPending("wait"),
    "not approved": lambda: e.ApprovalRefused("no"),
    "bug": lambda: TypeError("bug"),
    "not supported": lambda: e.NotSupported("none"),
}
KINDS = {
    refresh.KIND: due.Kind(refresh.KIND, _refresh),
    poll.KIND: due.Kind(poll.KIND, _poll),
    approvals.KIND: due.Kind(approvals.KIND, _ask),
}
LONG = ("well", "well", "passing", "grant refused", "app refused")
WAITS_S = (1, 31, 301, 1900, 3700, 90_000)
_NEXT = (
    "SELECT kind, enrollment_id, due_at, strikes FROM due WHERE kind IN ('refresh', 'poll', 'approval') ORDER BY due_at"
)


@dataclass(eq=False)
class Obedient(StrictVendor):
    """Every hook answers what the step says; a well one approves."""

    says: str = "well"

    def _speak(self) -> None:
        answer = ANSWERS[self.says]
        if answer is not None:
            raise answer()

    @hookimpl
    def describe_vendor(self) -> Any:
        return super().describe_vendor()

    @hookimpl
    async def refresh(self, ctx: Context, grant: Grant) -> Grant:
        self._speak()
        owner = grant.secrets["refresh_token"].partition("#")[0]
        return replace(self.grant(owner), state=GrantState.ACTIVE)

    @hookimpl
    async def fetch_site(self, site_id: str) -> Site:
        self._speak()
        return Site(vendor_id=site_id, name=site_id)

    @hookimpl
    async def fetch_readings(self) -> Readings:
        self._speak()
        return Readings()


@dataclass
class Tally:
    """What all sequences of one run reached."""

    sequences: int = 0
    steps: int = 0
    edges: Counter[tuple[str, str]] = field(default_factory=Counter)

    def __str__(self) -> str:
        states = {state for edge in self.edges for state in edge}
        return (
            f"{self.sequences} sequences, {self.steps} steps, {len(states)} states of {len(health.NEXT_STEP) + 1} and "
            f"{len(self.edges)} edges reached, {sum(self.edges.values())} changes, 0 violations"
        )


@dataclass
class World:
    """One hub for all sequences of a run; each sequence leaves it empty."""

    database: Settings
    clock: Clock
    vendor: Obedient = field(default_factory=Obedient)
    tally: Tally = field(default_factory=Tally)
    loop: asyncio.AbstractEventLoop = field(default_factory=asyncio.new_event_loop)
    exits: AsyncExitStack = field(default_factory=AsyncExitStack)
    hub: Hub = None  # type: ignore[assignment]

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return self.loop.run_until_complete(work)

    async def open(self) -> None:
        registry = Registry()
        assert registry.add(self.vendor.name, self.vendor).problem is None
        self.hub = await self.exits.enter_async_context(open_hub(self.database, registry))
        self.hub.breakers._probe_after_s = 0.0  # it knows no moved clock

    def close(self) -> None:
        self.run(self.exits.aclose())
        self.loop.close()


WORLD: list[World] = []


class Life(RuleBasedStateMachine):
    @initialize(owners=st.sampled_from([1, 2, 3, 6]), is_pending=st.booleans())
    def begin(self, owners: int, is_pending: bool) -> None:
        self.world = WORLD[0]
        self.world.tally.sequences += 1
        self.world.vendor.says = "well"
        self.world.run(self._begin(owners, is_pending))

    async def _begin(self, owners: int, is_pending: bool) -> None:
        hub = self.world.hub
        self.account_id = (await accounts.create_account(hub, "life")).id
        given = {"vendor": "strict", "type": "app", "clientID": "an-id", "clientSecret": "a-secret"}
        made = await vendor_credentials.create(hub, self.account_id, "test", name=None, credentials=given)
        self.credentials_id, self.changes = made.id, 0
        self.ids = [await self._consent(owner, is_pending=is_pending) for owner in OWNERS[:owners]]
        self.seen_events = 0
        self.known: dict[str, str] = {}

    async def _consent(self, owner: str, *, is_pending: bool = False) -> str:
        consent = self.world.vendor.consent(owner)
        if is_pending:
            consent = Consent(grant=replace(consent.grant, state=GrantState.PENDING_APPROVAL), account_id=owner)
        hub = self.world.hub
        async with hub.store.write(self.account_id) as session:
            made = await stored_consents.store(
                hub, session, self.account_id, consent, Origin(vendor="strict", credentials_id=self.credentials_id)
            )
            return made.id

    def _one(self, index: int) -> str:
        return self.ids[index % len(self.ids)]

    @rule(says=st.sampled_from(sorted(ANSWERS)), kind=st.sampled_from(sorted(KINDS)), index=st.integers(0, 5))
    def due_now(self, says: str, kind: str, index: int) -> None:
        """A worker's turn, whenever it was due."""
        self.world.vendor.says = says
        self.world.run(self._due_now(kind, self._one(index)))

    async def _due_now(self, kind: str, enrollment_id: str) -> None:
        hub = self.world.hub
        async with hub.store.write(enrollment_id) as session:
            row = await session.get(Due, (kind, enrollment_id))
            if row is None or row.due_at > clock.now() + 10**9:
                return
            row.due_at = min(row.due_at, clock.now())
            strikes = row.strikes
        await due.run_one(hub, KINDS[kind], due.DueRow(enrollment_id, strikes))

    @rule(says=st.sampled_from(sorted(ANSWERS)), index=st.integers(0, 5))
    def read(self, says: str, index: int) -> None:
        """A client's."""
        self.world.vendor.says = says
        self.world.run(self._read(self._one(index)))

    async def _read(self, enrollment_id: str) -> None:
        async def call(ctx: Context, grant: Grant) -> None:
            answer = ANSWERS[self.world.vendor.says]
            if answer is not None and isinstance(error := answer(), VendorError):
                raise error

        with suppress(VendorError):
            await with_grant(self.world.hub, enrollment_id, call)

    @rule(says=st.sampled_from(sorted(ANSWERS)), index=st.integers(0, 5))
    def asked_for(self, says: str, index: int) -> None:
        """The operator's: refresh now."""
        self.world.vendor.says = says
        with suppress(VendorError, Refusal, TypeError):
            self.world.run(refresh.refresh(self.world.hub, self._one(index)))

    @rule(
        says=st.sampled_from(["well", "well", "passing", "grant refused", "app refused"]), wait=st.sampled_from(WAITS_S)
    )
    def time_goes_on(self, says: str, wait: int) -> None:
        """With a vendor that answers one thing all the while."""
        self.world.vendor.says = says
        self.world.run(self._live(wait))

    async def _live(self, seconds: int) -> None:
        world = self.world
        end = world.clock.at + seconds
        for _ in range(12):
            kind, enrollment_id, due_at, strikes = (await world.hub.store.rows(_NEXT, {}))[0]
            if due_at >= end:
                break
            world.clock.at = max(world.clock.at, due_at)
            await due.run_one(world.hub, KINDS[kind], due.DueRow(enrollment_id, strikes))
        world.clock.at = max(world.clock.at, end)

    @rule(index=st.integers(0, 5), is_pending=st.booleans())
    def consent_again(self, index: int, is_pending: bool) -> None:
        owner = OWNERS[index % len(self.ids)]
        assert self.world.run(self._consent(owner, is_pending=is_pending)) == self._one(index)

    @rule(act=st.sampled_from([pausing.pause, pausing.resume, pausing.release]), index=st.integers(0, 5))
    def by_hand(self, act: Callable[..., Coroutine[Any, Any, object]], index: int) -> None:
        with suppress(Refusal):
            self.world.run(act(self.world.hub, self.account_id, self._one(index), "test"))

    @rule()
    def credentials_change(self) -> None:
        self.changes += 1
        patch = {"credentials": {"clientSecret": f"secret-{self.changes}"}}
        self.world.run(
            vendor_credentials.change(self.world.hub, self.account_id, self.credentials_id, "test", patch=patch)
        )

    @rule(door=st.sampled_from(["token", "data"]))
    def credentials_work(self, door: apps.Door) -> None:
        self.world.run(apps.accepted(self.world.hub, self.credentials_id, self.changes + 1, door))

    @rule()
    def restart(self) -> None:
        assert self.world.run(promise.repair(self.world.hub)) == 0

    @invariant()
    def health_and_due_work_agree(self) -> None:
        if hasattr(self, "ids"):
            self.world.tally.steps += 1
            self.world.run(self._agree())

    async def _agree(self) -> None:
        hub = self.world.hub
        assert [each async for each in promise.broken(hub)] == []
        rows = await hub.store.rows("SELECT id, health, health_actor, paused_at FROM enrollment", {})
        events = await hub.store.rows(
            "SELECT enrollment_id, data FROM event WHERE type = 'enrollment.health' ORDER BY rowid", {}
        )
        for enrollment_id, data in events[self.seen_events :]:
            told = msgspec.json.decode(data, type=dict[str, str | None])
            before, after = told["from"], told["to"]
            assert self.known.get(enrollment_id, "connecting") == before != after
            self.known[enrollment_id] = after
            self.world.tally.edges[before, after] += 1
        self.seen_events = len(events)
        for enrollment_id, state, actor, _ in rows:
            assert state == self.known.get(enrollment_id, "connecting")
            assert state == "ok" or health.NEXT_STEP[state]
            assert (actor is None) == (state in health.WELL)

    def teardown(self) -> None:
        if hasattr(self, "ids"):
            self.world.run(self._end())

    async def _end(self) -> None:
        store = self.world.hub.store
        for table in ("event", "enrollment", "vendor_credentials", "site", "audit"):
            await store.apply((f"DELETE FROM {table}", {}))  # noqa: S608 - named here
        self.world.hub.refreshes.clear()


def in_memory(database: Settings, folder: Path) -> Settings:
    """The same database where no disk is waited for; what is on a disk after a kill is other tests' matter."""
    for name in ("key", "joinder.sqlite3"):
        shutil.copy(Path(database.key_file).parent / name, folder / name)
    url = f"sqlite:///{folder}/joinder.sqlite3"
    return structs.replace(database, database_url=url, key_file=str(folder / "key"), refresh_deadline_s=5.0)


def live(fresh_database: Settings, clock: Clock, sequences: int) -> Tally:
    shared = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=shared if shared.is_dir() else None) as folder:
        return _lived(World(database=in_memory(fresh_database, Path(folder)), clock=clock), sequences)


def _lived(world: World, sequences: int) -> Tally:
    WORLD[:] = [world]
    world.run(world.open())
    try:
        run_state_machine_as_test(
            Life,
            settings=settings(
                max_examples=sequences,
                stateful_step_count=12,
                deadline=None,
                database=None,
                derandomize=False,
                suppress_health_check=list(HealthCheck),
            ),
        )
    finally:
        world.close()
        WORLD.clear()
    return world.tally


@pytest.mark.proof
def test_health_and_due_work_agree_after_any_order_of_events(fresh_database: Settings, clock: Clock) -> None:
    print("\n", live(fresh_database, clock, 12))


@pytest.mark.proof
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("part", range(4))
def test_ten_thousand_lives(fresh_database: Settings, clock: Clock, part: int) -> None:
    tally = live(fresh_database, clock, 2500)
    print("\n", tally)
    assert tally.sequences >= 2500
