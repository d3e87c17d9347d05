"""Writes down what follows from each verdict: health, reason, when it is tried next."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from joinder.clock import now, utc_now
from joinder.errors import ApprovalRefused, HealthState, RateLimited, Unexplained
from joinder.services.calls.call_refusals import BudgetSpent
from joinder.services.grants import apps, mass_refusal, standing
from joinder.services.grants.case import Case
from joinder.services.grants.verdict import PROOF_AFTER, Door, Said, Verdict, heard
from joinder.services.records import health
from joinder.services.work import leases
from joinder.services.work.schedule import after_failure, after_operator_trouble
from joinder.vendor import Flow

NOTED_EVERY_S = 60  # a read that went well, where nothing else changes
LATE_ANSWER_S = 5.0  # beyond the deadline, a late answer can no longer come
UNEXPLAINED_EVERY = timedelta(hours=1)
FIRST_PAUSE_S = 60  # of an app's renewals after one grant's 429; a second grant's makes it the whole of Retry-After
_DIED_AGAIN = "The vendor refused the token once; Joinder checks again in five minutes."
_CUT_AND_REFUSED = (
    "The connection was cut while the token was renewed, and the vendor refused it once; Joinder checks again in five "
    "minutes."
)
_LOST = "The connection was cut while the token was renewed."
_DENIED = "The vendor refused to give this owner's data once; Joinder checks again in five minutes."


async def carry_out(verdict: Verdict, case: Case) -> None:
    """Writes down what follows from the verdict, in the case's own transaction."""
    await _CARRY_OUT[verdict](case)


async def _says_nothing(case: Case) -> None:
    if heard(case.answer.error, case.answer.door) is Said.NOTHING:
        await _plan(case, after_failure(case.enrollment.failures, utc_now(), case.answer.error.retry_after))
    else:  # of an older token or secret: what is stored was not asked about
        await _plan(case, now() + 1)


async def _passing(case: Case) -> None:
    error = case.answer.error
    if isinstance(error, Unexplained) and case.grant.odd_code != error.code:
        case.grant.odd_since, case.grant.odd_code = now(), error.code
    wait = case.answer.error.retry_after or _longer(case)
    if case.answer.door is Door.TOKEN:
        _hold_renewals(case, wait)
    due_at = after_failure(case.enrollment.failures + 1, utc_now(), wait, ends_at=case.grant.refresh_expires_at)
    await standing.troubled(case.hub, case.session, case.enrollment, error, _due(case, due_at))


def _longer(case: Case) -> timedelta | None:
    """Returns a wait that grows with how long a refusal without a reason lasts, up to an hour; None for any other."""
    if not isinstance(case.answer.error, Unexplained) or case.grant.odd_since is None:
        return None
    return min(timedelta(seconds=(now() - case.grant.odd_since) / 4), UNEXPLAINED_EVERY) or None


async def _maybe_spent(case: Case) -> None:
    late = timedelta(seconds=case.hub.settings.refresh_deadline_s + LATE_ANSWER_S)
    failures = case.enrollment.failures + 1
    due_at = after_failure(failures, utc_now(), late, ends_at=case.grant.refresh_expires_at)
    await standing.troubled(case.hub, case.session, case.enrollment, case.answer.error, {case.kind: due_at})


async def _operator(case: Case) -> None:
    if isinstance(case.answer.error, ApprovalRefused):
        _decided_against(case)
    due = {case.kind: after_operator_trouble(case.enrollment.failures, utc_now())}
    await standing.troubled(case.hub, case.session, case.enrollment, case.answer.error, due)


def _decided_against(case: Case) -> None:
    """Writes down once that the vendor wants an enrollment no more: one that was in its programme has left it."""
    enrollment, reason = case.enrollment, str(case.answer.error)
    if enrollment.status in ("rejected", "unenrolled"):
        return
    enrollment.status_reason = reason
    if enrollment.status == "enrolled":
        enrollment.status = "unenrolled"
        health.write_event(case.session, enrollment, "enrollment.unenrolled", {"reason": reason})
    else:
        enrollment.status = "rejected"
        health.write_event(case.session, enrollment, "enrollment.rejected", {"reason": reason})


async def _grant_suspected(case: Case) -> None:
    first_at = _mark_refused(case)
    proof_s = int(PROOF_AFTER.total_seconds())
    ask_at = first_at + proof_s if first_at + proof_s > now() else now() + proof_s  # later, where others come first
    state: HealthState | None = None if case.enrollment.health in ("suspected", "quarantined") else "degraded"
    reason = _DENIED if case.answer.door is Door.DATA else _DIED_AGAIN
    if case.answer.row.intent_count and case.answer.door is Door.TOKEN:
        reason = _CUT_AND_REFUSED
    await case.settle(state, reason, ask_at)


def _mark_refused(case: Case) -> int:
    """Marks the grant as refused by this door, and returns when it was first, in epoch seconds."""
    if case.answer.door is Door.DATA:
        case.grant.denied_at = case.grant.denied_at or now()
        return case.grant.denied_at
    case.grant.refused_at = case.grant.refused_at or now()
    return case.grant.refused_at


async def _grant_dead(case: Case) -> None:
    _mark_refused(case)
    error = case.answer.error
    reason = str(error)
    if isinstance(error, Unexplained) and case.grant.odd_since is not None:
        since = datetime.fromtimestamp(case.grant.odd_since, UTC)
        reason = (
            f"The vendor has refused every renewal since {since:%Y-%m-%d %H:%M} UTC ({error.code}), while it renews "
            "others; a new consent may help."
        )
    if case.app is not None and case.vendor.flow_with(case.app.type) is Flow.OPERATOR:
        reason = f"{reason}; no owner is behind these app credentials, so look at them at the vendor"
        await case.settle("operator_action", reason, now() + apps.REFUSED_WAIT_S)
        return
    await case.settle("needs_consent", reason, leases.NEVER)


async def _lost_in_flight(case: Case) -> None:
    _mark_refused(case)
    await case.settle("lost_in_flight", _LOST, leases.NEVER)


async def _vendors_fault(case: Case) -> None:
    _mark_refused(case)
    await mass_refusal.suspect(case.hub, case.session, case.enrollment, case.grant)


async def _site_suspected(case: Case) -> None:
    """Marks the site as refused, and has another site's next success noted however soon it comes.

    That success tells the two apart (vendor_calls.py).
    """
    if case.site is not None:
        case.site.denied_at = case.site.denied_at or now()
        case.enrollment.last_success_at = min(case.enrollment.last_success_at or 0, now() - NOTED_EVERY_S) or None


async def _site_withdrawn(case: Case) -> None:
    if case.site is not None:
        case.site.gone_at = now()
        reason = "The vendor has refused this site for a day, and reads the enrollment's others."
        data: dict[str, object] = {"siteID": case.site.id, "reason": reason}
        health.write_event(case.session, case.enrollment, "site.gone", data)


async def _app_refused(case: Case) -> None:
    """Writes the enrollment's share; the app's is written afterwards, in a transaction of its own (`_afterwards`)."""
    case.grant.refused_at = case.grant.refused_at if case.answer.door is Door.DATA else case.grant.refused_at or now()
    await _plan(case, now() + apps.WAITS_S[-1])


async def _plan(case: Case, due_at: int) -> None:
    """Plans the next try. A reader's call moves no poll unless the verdict is about the grant."""
    await standing.settle(case.hub, case.session, case.enrollment, due=_due(case, due_at))


def _due(case: Case, due_at: int) -> dict[str, int]:
    return {} if case.answer.door is Door.DATA else {case.kind: due_at}


_CARRY_OUT = {
    Verdict.SAYS_NOTHING: _says_nothing,
    Verdict.PASSING: _passing,
    Verdict.MAYBE_SPENT: _maybe_spent,
    Verdict.PENDING: _passing,
    Verdict.OPERATOR: _operator,
    Verdict.GRANT_SUSPECTED: _grant_suspected,
    Verdict.GRANT_DEAD: _grant_dead,
    Verdict.LOST_IN_FLIGHT: _lost_in_flight,
    Verdict.VENDORS_FAULT: _vendors_fault,
    Verdict.SITE_SUSPECTED: _site_suspected,
    Verdict.SITE_WITHDRAWN: _site_withdrawn,
    Verdict.APP_SUSPECTED: _app_refused,
    Verdict.APP_REFUSED: _app_refused,
}


def _hold_renewals(case: Case, wait: timedelta | None) -> None:
    """Keeps a pause the token endpoint asked for: for this grant, and for the app once a second one is told it."""
    error, grant, app = case.answer.error, case.grant, case.app
    if wait is None or isinstance(error, BudgetSpent):
        return
    until = now() + int(wait.total_seconds())
    if grant.refresh_expires_at is not None:  # a token must not end in a pause
        until = min(until, max(now() + 30, now() + (grant.refresh_expires_at - now()) // 4))
    grant.wait_until = until
    if app is None or not isinstance(error, RateLimited):
        return
    is_second = app.exchanges_wait_until is not None and now() - app.exchanges_wait_until < FIRST_PAUSE_S * 10
    app.exchanges_wait_until = until if is_second else min(until, now() + FIRST_PAUSE_S)
