"""After a restore: which of the copy's single-use tokens still work. One probe at a time, under a brake."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import groupby
from typing import Literal

from joinder.clock import now
from joinder.errors import AppCredentialsRejected, AuthorizationLost, HealthState, UnknownVendor, VendorError
from joinder.runtime.hub import Hub, account_of, audited
from joinder.services.grants import barrier, site_rights, standing
from joinder.services.grants.barrier import Restored
from joinder.services.grants.refresh import refresh
from joinder.services.refusals import Conflict
from joinder.services.work import leases
from joinder.store.tables import Enrollment, GrantRow, StoreState
from joinder.vendor import Refresh, Vendor

REFUSALS = 5  # in a row; a vendor in trouble refuses everybody, and must not cost every grant
SPREAD_S = 900.0
PATIENCE_S = 60.0
_ALONE = "reconciling"


@dataclass(kw_only=True)
class ReconcileOutcome:
    """One vendor's grants, by enrollment id. `stopped` says why some are still waiting."""

    vendor: str
    released: list[str] = field(default_factory=list)  # renewed without a probe, within minutes
    alive: list[str] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)
    waiting: list[str] = field(default_factory=list)
    stopped: str | None = None


async def reconcile(
    hub: Hub, actor: str, *, vendor: str | None = None, probe: bool = False, refusals: int = REFUSALS
) -> list[ReconcileOutcome]:
    """Releases what is safe, probes the rest when `probe` is set. Raises Conflict while another process probes."""
    async with hub.store.read() as session:
        origin = await barrier.restored(session)
        behind = await barrier.waiting(session, vendor)
    if origin is None:
        return []
    groups = {name: [one.enrollment_id for one in ones] for name, ones in groupby(behind, lambda one: one.vendor)}
    if not probe:
        return [await _without_probe(hub, origin, name, ids, actor) for name, ids in groups.items()]
    async with _alone(hub, actor) as lease:
        return [await _with_probe(hub, origin, name, ids, lease, refusals) for name, ids in groups.items()]


async def _without_probe(hub: Hub, origin: Restored, name: str, ids: list[str], actor: str) -> ReconcileOutcome:
    try:
        spread_s = _safe_for_s(hub.registry.vendor(name), origin)
    except UnknownVendor as error:
        return ReconcileOutcome(vendor=name, waiting=ids, stopped=str(error))
    if spread_s is None:
        return ReconcileOutcome(vendor=name, waiting=ids, stopped="a probe decides: joinder reconcile --probe")
    await barrier.release_all(hub, ids, actor, spread_s)
    return ReconcileOutcome(vendor=name, released=ids)


def _safe_for_s(vendor: Vendor, origin: Restored) -> float | None:
    """Returns over how many seconds renewals may be spread without a probe; None: a spent token would do harm."""
    if vendor.refresh is not Refresh.ROTATING:
        return SPREAD_S
    if vendor.refresh_grace is None:
        return None
    left_s = origin.taken_at + vendor.refresh_grace.total_seconds() - now()
    return min(SPREAD_S, left_s / 4) if left_s > 0 else None


async def _with_probe(
    hub: Hub, origin: Restored, name: str, ids: list[str], lease: Lease, refusals: int
) -> ReconcileOutcome:
    outcome = await _without_probe(hub, origin, name, ids, lease.actor)
    if not outcome.waiting or name not in {one.name for one in hub.registry.vendors}:
        return outcome
    outcome.waiting, outcome.stopped = [], None
    in_a_row = 0
    for index, enrollment_id in enumerate(ids):
        await lease.renew()
        told = await _probe(hub, origin, enrollment_id, lease.actor)
        if isinstance(told, VendorError):
            outcome.waiting.append(enrollment_id)
            outcome.stopped = str(told)
        else:
            (outcome.alive if told == "alive" else outcome.lost).append(enrollment_id)
            in_a_row = in_a_row + 1 if told == "lost" else 0
        braked = in_a_row >= refusals
        if braked:
            outcome.stopped = f"{in_a_row} refusals in a row; where they are to be expected: --refusals {len(ids)}"
        if braked or isinstance(told, AppCredentialsRejected):
            outcome.waiting += ids[index + 1 :]
            break
    return outcome


async def _probe(hub: Hub, origin: Restored, enrollment_id: str, actor: str) -> Literal["alive", "lost"] | VendorError:
    """Renews once. A refusal is final here: the token that followed is nowhere else."""
    account_id = await account_of(hub, Enrollment, enrollment_id)
    await audited(hub, account_id, actor, "enrollment.probe", enrollment_id)
    try:
        with barrier.probing(enrollment_id):
            await refresh(hub, enrollment_id, wait_s=hub.settings.refresh_deadline_s + PATIENCE_S)
    except AuthorizationLost:
        await _settle(hub, enrollment_id, origin)
        return "lost"
    except VendorError as error:
        await _settle(hub, enrollment_id, None)
        return error
    return "alive"


async def _settle(hub: Hub, enrollment_id: str, refused: Restored | None) -> None:
    """Puts it back behind the barrier after a probe without a token, for good when it was refused."""
    async with hub.store.write(enrollment_id) as session:
        grant = await session.get(GrantRow, enrollment_id)
        enrollment = await session.get(Enrollment, enrollment_id)
        if grant is None or enrollment is None or grant.obtained_by != barrier.MARK:
            return  # a new consent came meanwhile
        reason = None
        if refused is not None:
            grant.refused_at = grant.refused_at or now()
            reason = f"The database was {refused}; the vendor has replaced that token since."
        state: HealthState | None = "needs_consent" if refused is not None else None
        await standing.settle(hub, session, enrollment, state, reason=reason, due={"refresh": leases.NEVER})
    await site_rights.hand_over(hub, enrollment_id)


@dataclass(frozen=True)
class Lease:
    """The right to probe, of one process at a time, and who asked for it."""

    hub: Hub
    holder: str
    actor: str

    async def renew(self) -> None:
        """Takes the lease, or goes on holding it. Raises Conflict when another process has it."""
        async with self.hub.store.write(_ALONE) as session:
            clock, moment = await leases.read_clock(session)
            row = await session.get(StoreState, _ALONE)
            held = row.value if row else {}
            if held.get("holder") not in (None, self.holder) and held["clock"] == clock and held["until"] > moment:
                raise Conflict("Another process is probing; see what it reports, or try again when it has ended.")
            until = moment + self.hub.settings.refresh_deadline_s + 2 * PATIENCE_S
            await session.merge(StoreState(name=_ALONE, value={"holder": self.holder, "clock": clock, "until": until}))

    async def give_back(self) -> None:
        async with self.hub.store.write(_ALONE) as session:
            row = await session.get(StoreState, _ALONE)
            if row is not None and row.value["holder"] == self.holder:
                await session.delete(row)


@asynccontextmanager
async def _alone(hub: Hub, actor: str) -> AsyncIterator[Lease]:
    lease = Lease(hub, secrets.token_hex(8), actor)
    await lease.renew()
    try:
        yield lease
    finally:
        await lease.give_back()
