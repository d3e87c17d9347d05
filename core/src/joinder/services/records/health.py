"""The words of an enrollment's health: who must act, what to do next. Its writer is services/grants/standing.py."""

from __future__ import annotations

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from joinder.clock import now
from joinder.errors import Actor, HealthState
from joinder.ids import next_id
from joinder.services.refusals import EnrollmentStatus
from joinder.store.tables import Enrollment, Event

FAILURES_UNTIL_DEGRADED = 3
FAILURES_UNTIL_QUARANTINED = 5
AWAITING = ("applied", "pendingvendor", "resubmitrequested")  # statuses: somebody is still to decide
DECLINED = ("rejected", "unenrolled")  # statuses: only another consent or application helps
OWNER_MUST_ACT = ("needs_consent", "lost_in_flight")

_ONE_READ = text(
    "SELECT 1 FROM site WHERE enrollment_id = :id AND fetched_at IS NOT NULL UNION ALL "
    "SELECT 1 FROM enrollment e CROSS JOIN site_right r CROSS JOIN site s "  # as in store/enrollments.py
    "WHERE e.id = :id AND r.enrollment_id = e.id AND s.account_id = e.account_id AND s.vendor = e.vendor "
    "AND s.vendor_id = r.vendor_site_id AND s.fetched_at IS NOT NULL LIMIT 1"
)
BY_URGENCY = (  # those that wait for the operator first, then for an owner
    "quarantined",
    "operator_action",
    "lost_in_flight",
    "needs_consent",
    "suspected",
    "degraded",
    "pending_approval",
    "connecting",
    "ok",
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
_REFUSED = (
    "If you decide of it yourself, a newer application (POST /enrollments/{id}/applications) begins anew. If the "
    "vendor does, and should have changed its mind, refresh the enrollment: it is asked again. Else send the owner "
    "through the join flow anew, which makes another application, and revoke this one."
)
_ENDED = (
    "Nothing, if it is to stay ended. A newer application or another consent of the owner brings it back; "
    "revoke it to be rid of it."
)
_DECIDE = "Decide about it: POST /enrollments/{id}/events, or joinder enrollments decide."
_APPLY_AGAIN = "Send the newer application: POST /enrollments/{id}/applications."
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


def is_unenrolled(status: str, actor: str | None) -> bool:
    """Tells whether the operator unenrolled it: it is read again after another application or consent alone."""
    return actor == "nobody" and status in DECLINED


def refuse_unenrolled(enrollment: Enrollment) -> None:
    """Raises EnrollmentStatus for one that the operator unenrolled."""
    if is_unenrolled(enrollment.status, enrollment.health_actor):
        raise EnrollmentStatus(
            f"It is {enrollment.status}, so it is not read: a newer application (POST "
            "/enrollments/{id}/applications) or another consent of the owner brings it back."
        )


def next_step(state: str, status: str, actor: str | None) -> str | None:
    """Says what leads on from a state of health; applications to programmes have ways of their own."""
    if (state, status) == ("operator_action", "rejected"):
        return _REFUSED
    if is_unenrolled(status, actor):
        return _ENDED
    if (state, actor) == ("pending_approval", "operator"):
        return _APPLY_AGAIN if status == "resubmitrequested" else _DECIDE
    return NEXT_STEP.get(state)


def actor_of(state: str) -> Actor:
    """Tells who must act in this state."""
    return _ACTOR.get(state, "nobody")


def is_ended(state: str, actor: str | None) -> bool:
    """Tells whether it waits for nobody in a state that else waits for somebody: its application was ended."""
    return actor == "nobody" and actor_of(state) != "nobody"


async def begun(session: AsyncSession, enrollment_id: str) -> HealthState:
    """Tells what an enrollment is when nothing is wrong: `ok` or `connecting`.

    It is `ok` once a site that it reads or may read was read, by whichever enrollment.
    """
    return "ok" if (await session.execute(_ONE_READ, {"id": enrollment_id})).first() is not None else "connecting"


def labels_of(enrollment: Enrollment) -> dict[str, object]:
    """Returns the caller's own words for it, as every event of it carries them."""
    words = {"reference": enrollment.reference, "state": enrollment.client_state}
    return {name: word for name, word in words.items() if word is not None}


def write_event(session: AsyncSession, enrollment: Enrollment, kind: str, data: dict[str, object]) -> None:
    session.add(
        Event(
            id=next_id("evnt"),
            account_id=enrollment.account_id,
            enrollment_id=enrollment.id,
            type=kind,
            data={**labels_of(enrollment), **data},
            at=now(),
        )
    )
