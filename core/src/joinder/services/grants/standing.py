"""Writes an enrollment's health and its due work, always together: `ok` means that it is being read.

For every state there is one plan of what is due (PLANS). Whoever changes a state, pauses or resumes goes through
`settle`; nobody else writes `health` or the due times of renewals, polls and questions but the work that ends well
(services/grants/invariant.py checks it).
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, replace

from sqlalchemy.ext.asyncio import AsyncSession

from joinder.clock import now
from joinder.errors import Actor, HealthState, PluginBug, UnknownVendor, VendorError
from joinder.runtime.hub import Hub
from joinder.services.calls.breakers import BreakerOpen
from joinder.services.records import health
from joinder.services.work import leases
from joinder.store.tables import Due, Enrollment, GrantRow

RESTORED = "restored"  # in grant.obtained_by: behind the barrier (services/grants/barrier.py)
KINDS = ("refresh", "poll", "approval")


class Want(enum.Enum):
    """When one kind of work is due in a state."""

    DUE = enum.auto()  # at a finite time
    NEVER = enum.auto()
    EITHER = enum.auto()


@dataclass(frozen=True, kw_only=True)
class Plan:
    refresh: Want
    poll: Want
    approval: Want = Want.NEVER

    def of(self, kind: str) -> Want:
        want: Want = getattr(self, kind)
        return want


_READ = Plan(refresh=Want.DUE, poll=Want.DUE)
_STOPPED = Plan(refresh=Want.NEVER, poll=Want.NEVER)
PLANS: Mapping[str, Plan] = {
    "ok": _READ,
    "connecting": _READ,
    "degraded": _READ,
    "suspected": _READ,
    "operator_action": _READ,  # tried again now and then: what stood in the way may be gone
    "needs_consent": Plan(refresh=Want.NEVER, poll=Want.EITHER),  # an access token that is still valid serves
    "lost_in_flight": Plan(refresh=Want.NEVER, poll=Want.EITHER),
    "quarantined": Plan(refresh=Want.EITHER, poll=Want.EITHER),  # the kind that broke stands still, the others go on
    "pending_approval": Plan(refresh=Want.NEVER, poll=Want.NEVER, approval=Want.DUE),
}


@dataclass(frozen=True, kw_only=True)
class Subject:
    """What a plan depends on. `is_renewable` None: its plugin is not there."""

    health: str
    status: str
    is_paused: bool
    is_renewable: bool | None
    obtained_by: str | None  # None: it has no grant yet


def plan_of(subject: Subject) -> Plan:
    """Says what must be due."""
    if subject.obtained_by is None:
        return Plan(refresh=Want.EITHER, poll=Want.EITHER, approval=Want.EITHER)
    if subject.status in health.DECLINED:
        return _STOPPED
    plan = PLANS[subject.health]
    if subject.status in health.AWAITING:
        asked = Want.DUE if plan.refresh is Want.DUE or plan.approval is Want.DUE else Want.EITHER
        return Plan(refresh=Want.NEVER, poll=Want.NEVER, approval=asked)
    if subject.is_paused:
        plan = replace(plan, poll=Want.NEVER)
    if subject.is_renewable is False:
        plan = replace(plan, refresh=Want.NEVER)
    elif subject.is_renewable is None or subject.obtained_by == RESTORED:
        plan = replace(plan, refresh=Want.EITHER)
    return plan


def planned(want: Want, at: int, asked: int | None) -> int:
    """Returns the due time, in epoch seconds, that keeps a plan.

    That is `asked` where the plan allows it, else what stands (`at`), else now or never.
    """
    if want is Want.NEVER:
        return leases.NEVER
    wanted = at if asked is None else asked
    return now() if want is Want.DUE and wanted >= leases.NEVER else wanted


async def settle(
    hub: Hub,
    session: AsyncSession,
    enrollment: Enrollment,
    state: HealthState | None = None,
    *,
    reason: str | None = None,
    actor: Actor | None = None,
    due: Mapping[str, int] | None = None,
    app: str | None = None,
) -> None:
    """Sets the state (None: it stays, with its reason) and what is due in it.

    `due`: when, by kind; the plan of the state overrides it. `app`: whose due work it is, where that is new. A real
    change of the state writes one event. The caller's transaction holds both.
    """
    if state is not None:
        _change(session, enrollment, state, reason, actor)
    grant = await session.get(GrantRow, enrollment.id)
    plan = plan_of(subject_of(hub, enrollment, grant))
    for kind in KINDS:
        row = await session.get(Due, (kind, enrollment.id))
        asked = (due or {}).get(kind)
        at = planned(plan.of(kind), leases.NEVER if row is None else row.due_at, asked)
        if row is None:
            if at < leases.NEVER or asked is not None:
                session.add(Due(kind=kind, enrollment_id=enrollment.id, due_at=at, app=app or enrollment.app))
            continue
        row.due_at = at
        if app is not None:
            row.app = app


def subject_of(hub: Hub, enrollment: Enrollment, grant: GrantRow | None) -> Subject:
    return Subject(
        health=enrollment.health,
        status=enrollment.status,
        is_paused=enrollment.paused_at is not None,
        is_renewable=is_renewable(hub, enrollment.vendor),
        obtained_by=grant.obtained_by if grant is not None else None,
    )


def is_renewable(hub: Hub, vendor: str) -> bool | None:
    """Tells whether the vendor's grants are renewed; None while its plugin is not there."""
    try:
        return hub.registry.vendor(vendor).is_renewable
    except UnknownVendor:
        return None


async def troubled(
    hub: Hub, session: AsyncSession, enrollment: Enrollment, error: VendorError, due: Mapping[str, int]
) -> None:
    """Notes trouble that asks nothing of the owner. It shows after the third time in a row, and hides nothing worse."""
    if isinstance(error, BreakerOpen) and enrollment.health not in health.WELL:  # what is known says more
        await settle(hub, session, enrollment, due=due)
        return
    enrollment.last_attempt_at = now()
    enrollment.failures += 1
    is_told = error.health in ("operator_action", "pending_approval")
    state: HealthState | None = error.health if is_told else None
    reason: str | None = str(error)
    if state is None and enrollment.failures >= health.FAILURES_UNTIL_DEGRADED and not _says_more(enrollment.health):
        stuck = enrollment.failures >= health.FAILURES_UNTIL_QUARANTINED and isinstance(error, PluginBug)
        state = "quarantined" if stuck else "degraded"
    if enrollment.health in (*health.OWNER_MUST_ACT, "quarantined"):
        state = None
    await settle(hub, session, enrollment, state, reason=reason, actor=error.actor, due=due)


def _says_more(state: str) -> bool:
    """Tells whether passing trouble must not hide this state."""
    return state in ("suspected", "operator_action", *health.OWNER_MUST_ACT)


def _change(
    session: AsyncSession, enrollment: Enrollment, state: HealthState, reason: str | None, actor: Actor | None
) -> None:
    before = enrollment.health
    enrollment.health_reason = reason
    enrollment.health_actor = None if state in health.WELL else actor or health.actor_of(state)
    if before == state:
        return
    enrollment.health = state
    enrollment.health_since = now()
    health.write_event(session, enrollment, "enrollment.health", {"from": before, "to": state, "reason": reason})
