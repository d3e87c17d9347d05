"""Gathers what is known beside an answer, for the table of verdicts (verdict.py)."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from sqlmodel import col, select

from joinder.clock import now
from joinder.errors import Unexplained
from joinder.services.grants import apps, mass_refusal
from joinder.services.grants.case import APP_DOOR, Case, is_old
from joinder.services.grants.verdict import (
    PROOF_AFTER,
    SITE_PROOF_AFTER,
    UNEXPLAINED_PROOF_AFTER,
    Door,
    Evidence,
    Others,
    Said,
    heard,
)
from joinder.services.records import health
from joinder.store.tables import Enrollment, SiteRow
from joinder.vendor import Refresh, Vendor

if TYPE_CHECKING:
    from joinder.services.records.opened_grant import OpenedRow

OTHERS_TURN = timedelta(minutes=20)  # at least, to be polled as well
SITES_TO_TELL = 2  # so many sites refused, and none read since, are not about one site


async def evidence_of(case: Case) -> Evidence:
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


async def _unexplained(case: Case) -> tuple[bool, Others]:
    """Tells whether the very same was said for a day, and whether others of the app were renewed meanwhile."""
    error, grant = case.answer.error, case.grant
    if not isinstance(error, Unexplained) or grant.odd_code != error.code or grant.odd_since is None:
        return False, Others.UNKNOWN
    others_renew = await apps.have_others_renewed(case.session, case.answer.row, grant.odd_since)
    return is_old(grant.odd_since, UNEXPLAINED_PROOF_AFTER), Others.WELL if others_renew else Others.UNKNOWN


async def _of_the_app(case: Case) -> tuple[bool, Others]:
    """Tells whether the app's refusal is old enough to prove, and how its other grants fare.

    The app is well where it has served others since this grant was refused first.
    """
    by_data = case.answer.door is Door.DATA
    first_at = case.grant.denied_at if by_data else case.grant.refused_at
    if first_at is not None:
        serves = apps.have_others_been_read if by_data else apps.have_others_renewed
        if await serves(case.session, case.answer.row, first_at):
            return is_old(first_at, PROOF_AFTER), Others.WELL
    app = case.app
    if app is None or app.suspected_by != APP_DOOR[case.answer.door]:  # the other door proves nothing of this one
        return False, Others.UNKNOWN
    return is_old(app.suspected_at, PROOF_AFTER), Others.UNKNOWN


async def _of_the_grant(case: Case, *, is_one_site: bool) -> tuple[bool, Others]:
    grant, by_data = case.grant, case.answer.door is Door.DATA
    if is_one_site and case.site is not None:
        read_since = (case.enrollment.last_success_at or 0) > (case.site.denied_at or now())
        return read_since and is_old(case.site.denied_at, SITE_PROOF_AFTER), Others.UNKNOWN
    proved = is_old(grant.denied_at if by_data else grant.refused_at, PROOF_AFTER)
    if proved and by_data:
        proved = await _had_others_their_turn(case)
    if proved:
        await case.session.flush()
        if await mass_refusal.holds(case.session, case.enrollment.vendor, grant.suspected_at):
            return True, Others.REFUSED
    return proved, Others.UNKNOWN


async def _had_others_their_turn(case: Case) -> bool:
    """Tells whether others would show by now that the vendor refuses everybody's data.

    They would once one was read since, or all were polled.
    """
    first_at = case.grant.denied_at
    if first_at is None or is_old(first_at, max(case.vendor.limits.poll_every, OTHERS_TURN)):
        return True
    if await apps.have_others_been_read(case.session, case.answer.row, first_at):
        return True
    query = select(Enrollment.id).where(
        col(Enrollment.vendor) == case.enrollment.vendor,
        col(Enrollment.id) != case.enrollment.id,
        col(Enrollment.health).in_((*health.WELL, "suspected", "degraded")),
    )
    return (await case.session.execute(query.limit(1))).first() is None


async def _is_one_site(case: Case) -> bool:
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


def _can_be_spent(vendor: Vendor, row: OpenedRow) -> bool:
    """Tells whether an exchange that was cut off can have spent the token: not a reusable one, not inside its grace."""
    if vendor.refresh is not Refresh.ROTATING:
        return False
    grace = vendor.refresh_grace
    cut_at = row.intent_at if row.intent_at is not None else row.refused_at  # a refusal takes the intent away
    return grace is None or cut_at is None or is_old(cut_at, grace)
