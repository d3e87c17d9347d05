"""Gathers what is known beside an answer, asks the table (verdict.py) and carries its verdict out."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col, select

from joinder.clock import now, utc_now
from joinder.errors import (
    ApprovalRefused,
    HealthState,
    RateLimited,
    TransientError,
    Unexplained,
    VendorError,
)
from joinder.runtime.hub import Hub
from joinder.services.calls.call_refusals import BudgetSpent
from joinder.services.grants import apps, mass_refusal, site_rights, standing
from joinder.services.grants.verdict import (
    PROOF_AFTER,
    SITE_PROOF_AFTER,
    UNEXPLAINED_PROOF_AFTER,
    Door,
    Evidence,
    Others,
    Said,
    Verdict,
    heard,
    judge,
)
from joinder.services.records import health
from joinder.services.work import leases
from joinder.services.work.schedule import after_failure, after_operator_trouble
from joinder.store.tables import Enrollment, GrantRow, SiteRow, VendorCredentials
from joinder.vendor import Flow, Refresh, Vendor

if TYPE_CHECKING:
    from joinder.services.grants.attempt import Attempt
    from joinder.services.records.opened_grant import OpenedRow

NOTED_EVERY_S = 60  # a read that went well, where nothing else changes
OTHERS_TURN = timedelta(minutes=20)  # at least, to be polled as well
LATE_ANSWER_S = 5.0  # beyond the deadline, a late answer can no longer come
UNEXPLAINED_EVERY = timedelta(hours=1)
FIRST_PAUSE_S = 60  # of an app's renewals after one grant's 429; a second grant's makes it the whole of Retry-After
SITES_TO_TELL = 2  # so many sites refused, and none read since, are not about one site
_KIND = {Door.TOKEN: "refresh", Door.DATA: "poll", Door.QUESTION: "approval"}
_APP_DOOR: dict[Door, apps.Door] = {Door.TOKEN: "token", Door.JOIN: "token", Door.DATA: "data", Door.QUESTION: "token"}
_DIED_AGAIN = "The vendor refused the token once; Joinder checks again in five minutes."
_CUT_AND_REFUSED = (
    "The connection was cut while the token was renewed, and the vendor refused it once; Joinder checks again in five "
    "minutes."
)
_LOST = "The connection was cut while the token was renewed."
_DENIED = "The vendor refused to give this owner's data once; Joinder checks again in five minutes."


@dataclass(frozen=True, kw_only=True)
class Answer:
    """A refusal or trouble, by which door it came, and with what it was asked."""

    row: OpenedRow
    door: Door
    error: VendorError
    site_id: str | None = None  # the one it was about
    is_over: bool = False  # not heard at all: the grant has ended by its own date


@dataclass(kw_only=True)
class _Case:
    """One answer before the judge, in the transaction of its enrollment."""

    hub: Hub
    session: AsyncSession
    answer: Answer
    enrollment: Enrollment
    grant: GrantRow
    app: VendorCredentials | None
    site: SiteRow | None

    @property
    def kind(self) -> str:
        return _KIND[self.answer.door]

    @property
    def vendor(self) -> Vendor:
        return self.hub.registry.vendor(self.enrollment.vendor)

    async def settle(self, state: HealthState | None, reason: str | None, due_at: int) -> None:
        due = {self.kind: due_at}
        await standing.settle(self.hub, self.session, self.enrollment, state, reason=reason, due=due)


async def failed(hub: Hub, answer: Answer) -> Verdict:
    """Writes down what a failed read or question means."""
    if answer.door is Door.DATA and heard(answer.error, answer.door) is Said.NOTHING:
        return Verdict.SAYS_NOTHING
    async with hub.store.write(answer.row.id) as session:
        verdict, before = await _judged(hub, session, answer)
    await _afterwards(hub, answer, verdict, before)
    return verdict


async def renewal_failed(hub: Hub, attempt: Attempt, error: VendorError) -> None:
    """Judges a failed renewal as `failed` does, and gives the lease back in the same transaction.

    The intent goes too, unless the token may be spent.
    """
    row = attempt.held.row
    answer = Answer(row=row, door=Door.TOKEN, error=error)
    async with hub.store.write(row.id) as session:
        grant = await session.get(GrantRow, row.id)
        if grant is not None and grant.version == attempt.version and _tells_outcome(attempt.vendor, error):
            grant.intent_id = grant.intent_at = None
            grant.intent_count = row.intent_count
        elif grant is not None and grant.intent_id == attempt.intent_id:
            grant.intent_id = None  # nobody is at it any more; when it began still counts (services/grants/holders.py)
        verdict, before = await _judged(hub, session, answer)
        await leases.release(session, "refresh", row.id, attempt.lease, None)
    await _afterwards(hub, answer, verdict, before)


async def join_failed(hub: Hub, credentials_id: str, version: int, error: VendorError) -> None:
    """Judges what a vendor's answer to an owner's code or form means for the app it came through."""
    if heard(error, Door.JOIN) is not Said.APP_REFUSED:
        return
    async with hub.store.read() as session:
        app = await session.get(VendorCredentials, credentials_id)
        if app is None:
            return
        works = app.suspected_at is None and await _renewed_lately(session, credentials_id)
    evidence = Evidence(
        said=Said.APP_REFUSED,
        door=Door.JOIN,
        is_of_stored=app.version == version,
        is_proved=app.suspected_by == "token" and _is_old(app.suspected_at, PROOF_AFTER),
        others=Others.WELL if works else Others.UNKNOWN,
    )
    verdict = judge(evidence).verdict
    if verdict in (Verdict.APP_SUSPECTED, Verdict.APP_REFUSED):
        await apps.refused(hub, credentials_id, version, "token", is_proved=verdict is Verdict.APP_REFUSED)


async def _judged(hub: Hub, session: AsyncSession, answer: Answer) -> tuple[Verdict, str]:
    """Carries out the verdict; returns it, and the health before it."""
    enrollment = await session.get(Enrollment, answer.row.id)
    grant = await session.get(GrantRow, answer.row.id)
    if enrollment is None or grant is None:
        return Verdict.SAYS_NOTHING, ""
    if answer.door is not Door.DATA and grant.version != answer.row.version:
        return Verdict.SAYS_NOTHING, enrollment.health  # a newer consent has replaced this grant, and planned its own
    before = enrollment.health
    case = _Case(
        hub=hub,
        session=session,
        answer=answer,
        enrollment=enrollment,
        grant=grant,
        app=await session.get(VendorCredentials, enrollment.credentials_id or ""),
        site=await session.get(SiteRow, answer.site_id or ""),
    )
    verdict = judge(await _evidence(case)).verdict
    enrollment.last_attempt_at = now()
    await _CARRY_OUT[verdict](case)
    return verdict, before


async def _evidence(case: _Case) -> Evidence:
    answer, grant, row = case.answer, case.grant, case.answer.row
    said = heard(answer.error, answer.door)
    is_of_stored = grant.version == row.version
    if said is Said.APP_REFUSED and case.app is None:  # no app of the operator's to be suspected: the plugin's own
        said = Said.MUST_BE_MENDED
    if said is Said.APP_REFUSED:
        is_of_stored = case.app is not None and case.app.version == row.app_version
    proved, others, is_one_site = False, Others.UNKNOWN, False
    if said is Said.NO_REASON:
        proved, others = await _unexplained(case)
    elif said is Said.APP_REFUSED:
        proved, others = await _of_the_app(case)
    elif said is Said.GRANT_REFUSED:
        is_one_site = answer.door is Door.DATA and await _is_one_site(case)
        proved, others = await _of_the_grant(case, is_one_site=is_one_site)
    return Evidence(
        said=said,
        door=answer.door,
        is_of_stored=is_of_stored,
        is_proved=proved,
        others=others,
        can_be_spent=_can_be_spent(case.vendor, row),
        follows_cut_off=row.intent_count > 0,
        is_one_site=is_one_site,
        is_over=answer.is_over,
    )


async def _unexplained(case: _Case) -> tuple[bool, Others]:
    """Tells whether the very same was said for a day, and whether others of the app were renewed meanwhile."""
    error, grant = case.answer.error, case.grant
    if not isinstance(error, Unexplained) or grant.odd_code != error.code or grant.odd_since is None:
        return False, Others.UNKNOWN
    others_renew = await apps.have_others_renewed(case.session, case.answer.row, grant.odd_since)
    return _is_old(grant.odd_since, UNEXPLAINED_PROOF_AFTER), Others.WELL if others_renew else Others.UNKNOWN


async def _of_the_app(case: _Case) -> tuple[bool, Others]:
    """Tells whether the app's refusal is old enough to prove, and how its other grants fare.

    The app is well where it has served others since this grant was refused first.
    """
    by_data = case.answer.door is Door.DATA
    first_at = case.grant.denied_at if by_data else case.grant.refused_at
    if first_at is not None:
        serves = apps.have_others_been_read if by_data else apps.have_others_renewed
        if await serves(case.session, case.answer.row, first_at):
            return _is_old(first_at, PROOF_AFTER), Others.WELL
    app = case.app
    if app is None or app.suspected_by != _APP_DOOR[case.answer.door]:  # the other door proves nothing of this one
        return False, Others.UNKNOWN
    return _is_old(app.suspected_at, PROOF_AFTER), Others.UNKNOWN


async def _of_the_grant(case: _Case, *, is_one_site: bool) -> tuple[bool, Others]:
    grant, by_data = case.grant, case.answer.door is Door.DATA
    if is_one_site and case.site is not None:
        read_since = (case.enrollment.last_success_at or 0) > (case.site.denied_at or now())
        return read_since and _is_old(case.site.denied_at, SITE_PROOF_AFTER), Others.UNKNOWN
    proved = _is_old(grant.denied_at if by_data else grant.refused_at, PROOF_AFTER)
    if proved and by_data:
        proved = await _had_others_their_turn(case)
    if proved:
        await case.session.flush()
        if await mass_refusal.holds(case.session, case.enrollment.vendor, grant.suspected_at):
            return True, Others.REFUSED
    return proved, Others.UNKNOWN


async def _had_others_their_turn(case: _Case) -> bool:
    """Tells whether others would show by now that the vendor refuses everybody's data.

    They would once one was read since, or all were polled.
    """
    first_at = case.grant.denied_at
    if first_at is None or _is_old(first_at, max(case.vendor.limits.poll_every, OTHERS_TURN)):
        return True
    if await apps.have_others_been_read(case.session, case.answer.row, first_at):
        return True
    query = select(Enrollment.id).where(
        col(Enrollment.vendor) == case.enrollment.vendor,
        col(Enrollment.id) != case.enrollment.id,
        col(Enrollment.health).in_((*health.WELL, "suspected", "degraded")),
    )
    return (await case.session.execute(query.limit(1))).first() is None


async def _is_one_site(case: _Case) -> bool:
    """Tells whether this site alone is refused, as far as is known: another one of the enrollment is not."""
    if case.site is None:
        return False
    query = select(SiteRow.denied_at).where(
        col(SiteRow.enrollment_id) == case.enrollment.id,
        col(SiteRow.gone_at).is_(None),
        col(SiteRow.id) != case.site.id,
    )
    others = (await case.session.execute(query)).scalars().all()
    denied = [at for at in (*others, case.site.denied_at) if at is not None]
    if len(denied) >= SITES_TO_TELL and (case.enrollment.last_success_at or 0) < min(denied):
        return False
    return any(at is None for at in others)


def _tells_outcome(vendor: Vendor, error: VendorError) -> bool:
    """Tells whether the old token is known not to be spent by this exchange."""
    return heard(error, Door.TOKEN) is not Said.CUT_OFF or vendor.refresh is Refresh.REUSABLE


def _can_be_spent(vendor: Vendor, row: OpenedRow) -> bool:
    """Tells whether an exchange that was cut off can have spent the token: not a reusable one, not inside its grace."""
    if vendor.refresh is not Refresh.ROTATING:
        return False
    grace = vendor.refresh_grace
    cut_at = row.intent_at if row.intent_at is not None else row.refused_at  # a refusal takes the intent away
    return grace is None or cut_at is None or _is_old(cut_at, grace)


def _is_old(at: int | None, age: timedelta) -> bool:
    return at is not None and now() - at >= age.total_seconds()


async def _renewed_lately(session: AsyncSession, credentials_id: str) -> bool:
    query = (
        select(GrantRow.obtained_at)
        .join(Enrollment, col(Enrollment.id) == col(GrantRow.enrollment_id))
        .where(col(Enrollment.credentials_id) == credentials_id, col(GrantRow.obtained_by) == "refresh")
        .where(col(GrantRow.obtained_at) > now() - int(PROOF_AFTER.total_seconds()))
    )
    return (await session.execute(query.limit(1))).first() is not None


# What follows from each verdict.


async def _says_nothing(case: _Case) -> None:
    if heard(case.answer.error, case.answer.door) is Said.NOTHING:
        await _plan(case, after_failure(case.enrollment.failures, utc_now(), _told_wait(case)))
    else:  # of an older token or secret: what is stored was not asked about
        await _plan(case, now() + 1)


async def _passing(case: _Case) -> None:
    error = case.answer.error
    if isinstance(error, Unexplained) and case.grant.odd_code != error.code:
        case.grant.odd_since, case.grant.odd_code = now(), error.code
    wait = _told_wait(case) or _longer(case)
    if case.answer.door is Door.TOKEN:
        _hold_renewals(case, wait)
    due_at = after_failure(case.enrollment.failures + 1, utc_now(), wait, ends_at=case.grant.refresh_expires_at)
    await standing.troubled(case.hub, case.session, case.enrollment, error, _due(case, due_at))


def _longer(case: _Case) -> timedelta | None:
    """Returns a wait that grows with how long a refusal without a reason lasts, up to an hour; None for any other."""
    if not isinstance(case.answer.error, Unexplained) or case.grant.odd_since is None:
        return None
    return min(timedelta(seconds=(now() - case.grant.odd_since) / 4), UNEXPLAINED_EVERY) or None


async def _maybe_spent(case: _Case) -> None:
    late = timedelta(seconds=case.hub.settings.refresh_deadline_s + LATE_ANSWER_S)
    failures = case.enrollment.failures + 1
    due_at = after_failure(failures, utc_now(), late, ends_at=case.grant.refresh_expires_at)
    await standing.troubled(case.hub, case.session, case.enrollment, case.answer.error, {case.kind: due_at})


async def _operator(case: _Case) -> None:
    if isinstance(case.answer.error, ApprovalRefused):
        case.enrollment.status = "rejected"
        data: dict[str, object] = {"reason": str(case.answer.error)}
        health.write_event(case.session, case.enrollment, "enrollment.rejected", data)
    due = {case.kind: after_operator_trouble(case.enrollment.failures, utc_now())}
    await standing.troubled(case.hub, case.session, case.enrollment, case.answer.error, due)


async def _grant_suspected(case: _Case) -> None:
    first_at = _mark_refused(case)
    proof_s = int(PROOF_AFTER.total_seconds())
    ask_at = first_at + proof_s if first_at + proof_s > now() else now() + proof_s  # later, where others come first
    state: HealthState | None = None if case.enrollment.health in ("suspected", "quarantined") else "degraded"
    reason = _DENIED if case.answer.door is Door.DATA else _DIED_AGAIN
    if case.answer.row.intent_count and case.answer.door is Door.TOKEN:
        reason = _CUT_AND_REFUSED
    await case.settle(state, reason, ask_at)


def _mark_refused(case: _Case) -> int:
    """Marks the grant as refused by this door, and returns when it was first, in epoch seconds."""
    if case.answer.door is Door.DATA:
        case.grant.denied_at = case.grant.denied_at or now()
        return case.grant.denied_at
    case.grant.refused_at = case.grant.refused_at or now()
    return case.grant.refused_at


async def _grant_dead(case: _Case) -> None:
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


async def _lost_in_flight(case: _Case) -> None:
    _mark_refused(case)
    await case.settle("lost_in_flight", _LOST, leases.NEVER)


async def _vendors_fault(case: _Case) -> None:
    _mark_refused(case)
    await mass_refusal.suspect(case.hub, case.session, case.enrollment, case.grant)


async def _site_suspected(case: _Case) -> None:
    """Marks the site as refused, and has another site's next success noted however soon it comes.

    That success tells the two apart (vendor_calls.py).
    """
    if case.site is not None:
        case.site.denied_at = case.site.denied_at or now()
        case.enrollment.last_success_at = min(case.enrollment.last_success_at or 0, now() - NOTED_EVERY_S) or None


async def _site_withdrawn(case: _Case) -> None:
    if case.site is not None:
        case.site.gone_at = now()
        reason = "The vendor has refused this site for a day, and reads the enrollment's others."
        data: dict[str, object] = {"siteID": case.site.id, "reason": reason}
        health.write_event(case.session, case.enrollment, "site.gone", data)


async def _app_refused(case: _Case) -> None:
    """Writes the enrollment's share; the app's is written afterwards, in a transaction of its own (`_afterwards`)."""
    case.grant.refused_at = case.grant.refused_at if case.answer.door is Door.DATA else case.grant.refused_at or now()
    await _plan(case, now() + apps.WAITS_S[-1])


async def _plan(case: _Case, due_at: int) -> None:
    """Plans the next try. A reader's call moves no poll unless the verdict is about the grant."""
    await standing.settle(case.hub, case.session, case.enrollment, due=_due(case, due_at))


def _due(case: _Case, due_at: int) -> dict[str, int]:
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


async def _afterwards(hub: Hub, answer: Answer, verdict: Verdict, before: str) -> None:
    """Does what concerns more than this enrollment."""
    row = answer.row
    if verdict is Verdict.LOST_IN_FLIGHT and before != "lost_in_flight":
        hub.metrics.lost_in_flight(row.vendor)
    if verdict in (Verdict.GRANT_DEAD, Verdict.LOST_IN_FLIGHT):
        await site_rights.hand_over(hub, row.id)
    if verdict is Verdict.VENDORS_FAULT:
        await mass_refusal.undo_hasty(hub, row.vendor)
    if verdict in (Verdict.APP_SUSPECTED, Verdict.APP_REFUSED) and row.credentials_id and row.app_version:
        door = _APP_DOOR[answer.door]
        proved = verdict is Verdict.APP_REFUSED
        await apps.refused(hub, row.credentials_id, row.app_version, door, is_proved=proved, by=row.id)


def _told_wait(case: _Case) -> timedelta | None:
    error = case.answer.error
    return error.retry_after if isinstance(error, TransientError) else None


def _hold_renewals(case: _Case, wait: timedelta | None) -> None:
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
