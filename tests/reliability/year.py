"""A year of one vendor in minutes: its simulator shares our clock, and we go from one due piece of work to the next."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest
from msgspec import structs
from sqlmodel import col, select

from joinder.errors import TransientError, VendorError
from joinder.runtime.hub import Hub, open_hub
from joinder.services.grants import approvals, expiry, refresh
from joinder.services.join import stored_consents, vendor_credentials
from joinder.services.join.stored_consents import Origin
from joinder.services.readings import poll
from joinder.services.records import accounts
from joinder.services.refusals import Refusal
from joinder.services.work import leases
from joinder.settings import Settings
from joinder.simulate import Simulator, installed_simulators
from joinder.simulate.run import networks_of, reroute_of, running
from joinder.store.tables import Due, Enrollment, Event, GrantRow
from joinder.testing.subject import Stand

DAY = 86400
BROKEN_WAIT_S = 900.0  # as the worker waits after a failure that planned nothing
RETRY_READ_S = 6 * 3600
_NEXT = "SELECT kind, enrollment_id, due_at FROM due ORDER BY due_at, kind LIMIT 1"

_NOTE = (
    'SELECT e.health, g.version, g.obtained_at, g.refresh_expires_at FROM enrollment e JOIN "grant" g '
    "ON g.enrollment_id = e.id WHERE e.id = :id"
)


async def _refresh(hub: Hub, enrollment_id: str) -> None:
    await refresh.refresh(hub, enrollment_id, wait_s=3600)


async def _poll(hub: Hub, enrollment_id: str) -> None:
    await poll.poll(hub, enrollment_id)


async def _ask(hub: Hub, enrollment_id: str) -> None:
    await approvals.ask(hub, enrollment_id)


WORK: Mapping[str, Callable[[Hub, str], Awaitable[None]]] = {
    refresh.KIND: _refresh,
    poll.KIND: _poll,
    approvals.KIND: _ask,
    expiry.KIND: expiry.look,
}


@dataclass(kw_only=True)
class Seen:
    """What the year did to one enrollment."""

    name: str
    read_every_s: int | None  # None: nobody reads
    renewals: int = 0
    tries: int = 0
    version: int = 0
    renewed_at: int = 0
    refresh_life_s: int | None = None
    longest_gap_s: int = 0
    least_left_s: int | None = None  # of the refresh token, whenever one was replaced
    lost: list[str] = field(default_factory=list)

    @property
    def gap_of_life(self) -> float | None:
        return self.longest_gap_s / self.refresh_life_s if self.refresh_life_s else None


class Year:
    """Drives one vendor's due work. `seen` is by enrollment."""

    def __init__(self, hub: Hub, stand: Stand) -> None:
        self.hub = hub
        self.stand = stand
        self.at = int(stand.clock.time())
        self.seen: dict[str, Seen] = {}

    async def join(self, name: str, read_every_s: int | None, **choice: str) -> str:
        """An owner's enrollment in an account of its own; pending ones stay pending until the vendor approves."""
        account_id = (await accounts.create_account(self.hub, name)).id
        credentials_id = await self._credentials(account_id)
        enrollment_id = await self.consent(account_id, credentials_id, **choice)
        self.seen[enrollment_id] = Seen(name=name, read_every_s=read_every_s)
        await self._note(enrollment_id)
        if read_every_s is None:
            await self._due(poll.KIND, enrollment_id, leases.NEVER)
        return enrollment_id

    async def consent(self, account_id: str, credentials_id: str | None, **choice: str) -> str:
        """An owner's way to the vendor and back, stored as a join stores it. Again: the same enrollment."""
        hub, vendor = self.hub, self.stand.vendor
        callback = await self.stand.callback(**choice)
        consent = await hub.registry.handle_callback(vendor.name, self.stand.context(), callback)
        async with hub.store.write(account_id) as session:
            row = await stored_consents.store(
                hub,
                session,
                account_id,
                consent,
                Origin(vendor=vendor.name, credentials_id=credentials_id, options=self.stand.simulator.flow_options),
            )
            return row.id

    async def until(self, end: int) -> None:
        """Everything that comes due before `end` is done at its time."""
        while True:
            kind, enrollment_id, due_at = (await self.hub.store.rows(_NEXT, {}))[0]
            if due_at >= end:
                break
            self.move(max(due_at, self.at))
            await self._do(kind, enrollment_id)
        self.move(end)

    def move(self, to: int) -> None:
        self.at = to
        self.stand.clock.freeze(to)

    async def read(self, enrollment_id: str) -> str:
        """A poll now; the health after it."""
        with contextlib.suppress(VendorError):
            await poll.poll(self.hub, enrollment_id)
        return (await self.rows(enrollment_id))[0].health

    async def told(self, enrollment_id: str, kind: str) -> list[Event]:
        async with self.hub.store.read() as session:
            query = select(Event).where(col(Event.enrollment_id) == enrollment_id, col(Event.type) == kind)
            return list((await session.execute(query.order_by(col(Event.at)))).scalars())

    async def rows(self, enrollment_id: str) -> tuple[Enrollment, GrantRow]:
        async with self.hub.store.read() as session:
            enrollment = await session.get(Enrollment, enrollment_id)
            row = await session.get(GrantRow, enrollment_id)
        assert enrollment is not None
        assert row is not None
        return enrollment, row

    async def _do(self, kind: str, enrollment_id: str) -> None:
        seen = self.seen[enrollment_id]
        seen.tries += kind == refresh.KIND
        try:
            await WORK[kind](self.hub, enrollment_id)
        except (VendorError, Refusal) as error:
            await self._postpone(kind, enrollment_id, error)
            wait_s = RETRY_READ_S
        else:
            wait_s = seen.read_every_s or 0
        if kind == poll.KIND:  # thinned: the year is about tokens
            await self._due(kind, enrollment_id, self.at + wait_s)
        await self._note(enrollment_id)

    async def _note(self, enrollment_id: str) -> None:
        found = await self.hub.store.rows(_NOTE, {"id": enrollment_id})
        health, version, obtained_at, refresh_ends = found[0]
        seen = self.seen[enrollment_id]
        if health in ("needs_consent", "lost_in_flight") and health not in seen.lost:
            seen.lost.append(health)
        if version == seen.version:
            return
        if seen.version:
            seen.renewals += version - seen.version
            seen.longest_gap_s = max(seen.longest_gap_s, obtained_at - seen.renewed_at)
            if seen.refresh_life_s is not None:
                left_s = seen.renewed_at + seen.refresh_life_s - obtained_at
                seen.least_left_s = left_s if seen.least_left_s is None else min(seen.least_left_s, left_s)
        seen.version, seen.renewed_at = version, obtained_at
        if refresh_ends is not None:
            seen.refresh_life_s = refresh_ends - obtained_at

    async def _postpone(self, kind: str, enrollment_id: str, error: Exception) -> None:
        retry_after = error.retry_after if isinstance(error, TransientError) else None
        wait_s = int(retry_after.total_seconds()) if retry_after else int(BROKEN_WAIT_S)
        async with self.hub.store.write(enrollment_id) as session:
            row = await session.get(Due, (kind, enrollment_id))
            if row is not None and row.due_at <= self.at:
                row.due_at = self.at + max(1, wait_s)

    async def _due(self, kind: str, enrollment_id: str, at: int) -> None:
        async with self.hub.store.write(enrollment_id) as session:
            await leases.schedule(session, kind, enrollment_id, at)

    async def _credentials(self, account_id: str) -> str | None:
        given = self.stand.simulator.app_credentials
        if given is None:
            return None
        made = await vendor_credentials.create(self.hub, account_id, "test", name=None, credentials=dict(given))
        return made.id


@asynccontextmanager
async def beginning(name: str, at: int, database: Settings, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Year]:
    """A hub and the simulator of one vendor, both at `at`."""
    simulator = installed_simulators((name,))[0]
    simulator.clock.freeze(at)
    monkeypatch.setattr("joinder.clock.civil_time", simulator.clock.time)
    async with running([simulator]) as origins:
        settings = structs.replace(
            database,
            reroute=reroute_of([simulator], origins),
            allowed_networks=networks_of([simulator]),
        )
        async with open_hub(settings) as hub:
            hub.breakers._probe_after_s = 0.0  # they count on the real clock
            yield Year(hub, _stand(hub, simulator, origins[name]))


def _stand(hub: Hub, simulator: Simulator, origin: str) -> Stand:
    return Stand(
        vendor=hub.registry.vendor(simulator.vendor),
        registry=hub.registry,
        factory=hub.http,
        clock=simulator.clock,
        simulator=simulator,
        origin=origin,
    )
