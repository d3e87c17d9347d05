"""The connection's health: one state, who must act, and what to do next."""

from __future__ import annotations

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from joinder.clock import now
from joinder.errors import Actor, HealthState, PluginBug, VendorError
from joinder.ids import next_id
from joinder.store.tables import Enrollment, Event

FAILURES_UNTIL_DEGRADED = 3
FAILURES_UNTIL_QUARANTINED = 5
OWNER_MUST_ACT = ("needs_consent", "lost_in_flight")

_ONE_READ = text(
    "SELECT 1 FROM site WHERE enrollment_id = :id AND fetched_at IS NOT NULL UNION ALL "
    "SELECT 1 FROM enrollment e JOIN site_right r ON r.enrollment_id = e.id "
    "JOIN site s ON s.account_id = e.account_id AND s.vendor = e.vendor AND s.vendor_id = r.vendor_site_id "
    "WHERE e.id = :id AND s.fetched_at IS NOT NULL LIMIT 1"
)
WELL = ("ok", "connecting")  # nobody must act, and nothing has gone wrong
NEXT_STEP: dict[str, str] = {
    "connecting": "Wait: its sites are being read for the first time.",
    "pending_approval": "Wait: the vendor has not approved this enrollment yet.",
    "degraded": "Nothing to do yet: Joinder keeps trying.",
    "suspected": "Nothing to do yet: the vendor refused many grants at once, and Joinder asks it again.",
    "needs_consent": (
        "Send the owner the reconnect link (reconnectURL), or through the join flow again; the enrollment, its ids and "
        "history are kept."
    ),
    "operator_action": (
        "Do what the reason says. Corrected credentials are tried at once; after anything else, refresh the enrollment."
    ),
    "lost_in_flight": (
        "Send the owner the reconnect link (reconnectURL), or through the join flow again: the connection was cut "
        "while its token was renewed."
    ),
    "quarantined": "It keeps failing; look at the log, then release it.",
}
_ACTOR: dict[str, Actor] = {
    "connecting": "nobody",
    "pending_approval": "vendor",
    "degraded": "nobody",
    "suspected": "vendor",
    "needs_consent": "owner",
    "operator_action": "operator",
    "lost_in_flight": "owner",
    "quarantined": "operator",
}
_WORSE = ("suspected", "needs_consent", "lost_in_flight", "operator_action")  # passing trouble does not hide these


def actor_of(state: str) -> Actor:
    """Who must act in this state."""
    return _ACTOR.get(state, "nobody")


async def begun(session: AsyncSession, enrollment_id: str) -> HealthState:
    """What an enrollment is when nothing is wrong: `ok` once a site that it reads or may read was read, by whichever
    enrollment; `connecting` until then."""
    return "ok" if (await session.execute(_ONE_READ, {"id": enrollment_id})).first() is not None else "connecting"


async def renewed(session: AsyncSession, enrollment: Enrollment) -> None:
    """A token was renewed: what was wrong is over, though nothing may have been read yet."""
    enrollment.last_success_at = enrollment.last_attempt_at = now()
    enrollment.failures = 0
    if enrollment.health not in WELL:
        change(session, enrollment, await begun(session, enrollment.id))


def succeeded(session: AsyncSession, enrollment: Enrollment) -> None:
    """The vendor answered a read: whatever was wrong is over."""
    moment = now()
    enrollment.last_success_at = enrollment.last_attempt_at = moment
    enrollment.failures = 0
    if enrollment.health != "ok":
        change(session, enrollment, "ok")


def failed(session: AsyncSession, enrollment: Enrollment, error: VendorError) -> None:
    """The error's class decides; passing trouble shows only after the third time in a row."""
    enrollment.last_attempt_at = now()
    enrollment.failures += 1
    state = error.health
    if state in ("needs_consent", "operator_action", "pending_approval"):
        change(session, enrollment, state, str(error), error.actor)
    elif state == "degraded" and enrollment.failures >= FAILURES_UNTIL_DEGRADED and enrollment.health not in _WORSE:
        stuck = enrollment.failures >= FAILURES_UNTIL_QUARANTINED and isinstance(error, PluginBug)
        change(session, enrollment, "quarantined" if stuck else "degraded", str(error), error.actor)


def change(
    session: AsyncSession,
    enrollment: Enrollment,
    state: HealthState,
    reason: str | None = None,
    actor: Actor | None = None,
) -> None:
    """Sets the state; a real change writes one event in the same transaction."""
    before = enrollment.health
    enrollment.health_reason = reason
    enrollment.health_actor = None if state in WELL else actor or actor_of(state)
    if before == state:
        return
    enrollment.health = state
    enrollment.health_since = now()
    write_event(session, enrollment, "enrollment.health", {"from": before, "to": state, "reason": reason})


def write_event(session: AsyncSession, enrollment: Enrollment, kind: str, data: dict[str, object]) -> None:
    session.add(
        Event(
            id=next_id("evnt"),
            account_id=enrollment.account_id,
            enrollment_id=enrollment.id,
            type=kind,
            data=data,
            at=now(),
        )
    )
