"""A site's way into a programme: one application, its approval, and the list of enrolled sites."""

from __future__ import annotations

import math
import re
from dataclasses import replace
from urllib.parse import quote

import msgspec

from joinder.errors import ApprovalPending, ApprovalRefused, AuthorizationLost, UnexpectedPayload, VendorError
from joinder.grants import Context, Grant, GrantState
from joinder.redact import Secrets
from joinder_enphase import shapes
from joinder_enphase_vpp import api
from joinder_enphase_vpp.refusals import AlreadyEnrolled, AlreadySubmitted, NoApplication, NobodyEnrolled

PAGE_SIZE = 100  # the documented maximum
_CREATED = re.compile(r"Application ID : (\d+) for site with site_id = \d+ created successfully")
_APPROVED = re.compile(r"Application for site_id = \d+ approved successfully")  # the programme approves by itself
_WAITING = ("Application_Drafted", "Application_Submitted", "Site_Submitted")
_REFUSED = {
    "Application_Rejected": "Enphase or the utility rejected the application for this site",
    "Site_Rejected": "Enphase rejected this site for the programme",
    "Application_Withdrawn": "The application for this site was withdrawn",
}


async def submit(ctx: Context, program_id: str, site_id: str, owner_token: str) -> Grant:
    """Applies once. An application that exists already counts as this one, so that doing it again is harmless.

    The grant holds no secret: the owner's token is for the application alone, reads use the app's own.
    Raises ConsentInvalid when the vendor refuses the owner's token, ApprovalRefused when the site cannot be enrolled.
    """
    grant = Grant(secrets=Secrets({}), facts={"site_id": site_id, "program_id": program_id}, site_ids=(site_id,))
    form = msgspec.json.encode({"site_id": int(site_id), "program_id": program_id}).decode()
    owner = {"ho-access-token": owner_token}
    try:
        answer = await api.call(ctx, "POST", "/applications", multipart={"application_form": form}, headers=owner)
    except AlreadySubmitted:
        return await _submitted_before(ctx, grant)
    except AlreadyEnrolled:
        if await enrolled_system(ctx, program_id, site_id) is None:
            raise
        return grant
    said = answer.content.decode(errors="replace")  # a plain string, not JSON
    if _APPROVED.search(said):
        return grant
    created = _CREATED.search(said)
    if created is None:
        raise UnexpectedPayload("Enphase answered an application with an unknown sentence; joining again is harmless")
    facts = {**grant.facts, "application_id": created[1]}
    return replace(grant, facts=facts, state=GrantState.PENDING_APPROVAL)


async def _submitted_before(ctx: Context, grant: Grant) -> Grant:
    try:
        return await judged(ctx, grant)
    except AuthorizationLost as error:
        foreign = "This site has an application that the account cannot see, of another account perhaps"
        raise ApprovalRefused(foreign, detail=error.detail) from None


async def judged(ctx: Context, grant: Grant) -> Grant:
    """Returns the grant as the vendor's decision now has it, active or pending. Raises ApprovalRefused for a no."""
    application = await _application(ctx, grant)
    state = GrantState.ACTIVE if await _ready(ctx, grant, application) else GrantState.PENDING_APPROVAL
    known = {"application_id": str(application.application_id)} if application.application_id else {}
    return replace(grant, facts={**grant.facts, **known}, state=state)


async def _ready(ctx: Context, grant: Grant, application: api.Application) -> bool:
    """Tells whether the site is approved: Site_Approved, or Application_Approved of a site that is listed.

    That is our reading of a review in two tiers. Raises ApprovalRefused when it is refused or leaves the programme.
    """
    status = application.application_status
    if application.application_type == "unenrollment":
        if status not in _REFUSED:
            raise ApprovalRefused("This site leaves the programme: an unenrolment application was made for it")
    elif status in _REFUSED:
        raise ApprovalRefused(_REFUSED[status])
    elif status in _WAITING:
        return False
    elif status == "Site_Approved":
        return True
    elif status != "Application_Approved":
        raise UnexpectedPayload("Enphase answered an application status that is not documented")
    return await enrolled_system(ctx, grant.facts["program_id"], grant.facts["site_id"]) is not None


async def why_not_enrolled(ctx: Context, grant: Grant) -> VendorError:
    """Returns the reason for "not enrolled": ApprovalPending, unless the application says otherwise (raised)."""
    await judged(ctx, grant)
    return ApprovalPending("Enphase does not show this site as enrolled in the programme yet")


async def enrolled_system(ctx: Context, program_id: str, site_id: str) -> shapes.System | None:
    """Finds the site's entry in the programme's list, sorted by id, by halving it: no call answers a single entry.

    None where it is not listed.
    """
    wanted, low, high = int(site_id), 1, 1
    page_no = 1
    while low <= high:
        page = await _page(ctx, program_id, page_no)
        for system in page.systems:
            if _number(system) == wanted:
                return system
        if page_no == 1:
            high = math.ceil(page.total / PAGE_SIZE)
        if page.systems and _number(page.systems[0]) < wanted:
            low = page_no + 1
        else:
            high = page_no - 1
        page_no = (low + high) // 2
    return None


def _number(system: shapes.System) -> int:
    """Returns the id that the list is sorted by."""
    try:
        return int(system.system_id)
    except ValueError:
        raise UnexpectedPayload("Enphase listed a system whose id is no number") from None


async def _page(ctx: Context, program_id: str, number: int) -> shapes.SystemPage:
    path = f"/systems/search/{quote(program_id, safe='')}"
    try:
        return await api.get(ctx, path, shapes.SystemPage, page=number, size=PAGE_SIZE, sort_by="id")
    except NobodyEnrolled:
        return shapes.SystemPage(systems=[])


async def _application(ctx: Context, grant: Grant) -> api.Application:
    """Reads the site's application.

    Raises AuthorizationLost when there is none, as only the owner's consent can make one, and ApprovalRefused when it
    is one in another programme.
    """
    try:
        application = await api.get(ctx, f"/applications/{grant.facts['site_id']}", api.Application)
    except NoApplication as error:
        lost = "Enphase has no application for this site; the owner must give the consent again"
        raise AuthorizationLost(lost, detail=error.detail) from None
    if application.program_id not in (None, grant.facts["program_id"]):
        raise ApprovalRefused("This site has an application in another programme of the account")
    return application
