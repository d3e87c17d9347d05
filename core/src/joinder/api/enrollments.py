"""Enrollments: one consent each, what it opened, and what is done to it."""

from __future__ import annotations

from typing import Annotated

from litestar import Controller, delete, get, patch, post
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery, JSONBody, QueryParameter

from joinder.api.auth import require_caller
from joinder.api.deps import NO_STORE, CallerDep, HubDep, OfFlow, OfProgram, Paging, VendorName
from joinder.errors import HealthState
from joinder.services.admin import pausing
from joinder.services.join import applications, enrollments, labels, owner_links, reconnect, renewal
from joinder.services.records import notices
from joinder.wire.enrollments import (
    Enrollment,
    EnrollmentPage,
    EnrollmentPatch,
    EnrollmentStatus,
    OwnerLink,
    Reconnect,
    ReconnectLink,
    TokenList,
)


class EnrollmentController(Controller):
    """One consent each: what it opened, and how the connection is."""

    path = "/enrollments"
    tags = ["Enrollments"]  # noqa: RUF012
    guards = [require_caller]  # noqa: RUF012

    @get(
        "/", operation_id="listEnrollments", opt={"scope": "read:enrollments", "list": True}, summary="List enrollments"
    )
    async def list_all(
        self,
        hub: HubDep,
        caller: CallerDep,
        vendor: VendorName = None,
        status: FromQuery[EnrollmentStatus | None] = None,
        health: FromQuery[HealthState | None] = None,
        program_id: OfProgram = None,
        flow_id: OfFlow = None,
        reference: FromQuery[str | None] = None,
        join_state: Annotated[str | None, QueryParameter(name="state")] = None,
        *,
        paging: NamedDependency[Paging],
    ) -> EnrollmentPage:
        asked: dict[str, str | None] = {
            "vendor": vendor,
            "status": status,
            "health": health,
            "program_id": program_id,
            "flow_id": flow_id,
            "reference": reference,
            "client_state": join_state,
        }
        filters = {name: value for name, value in asked.items() if value is not None}
        rows = await enrollments.list_page(
            hub, caller.account_id, filters, after=paging.after("enrl"), limit=paging.limit, known=caller.told.vendors
        )
        page, rest = paging.cut(rows, lambda overview: overview.row.id)
        return EnrollmentPage(enrollments=[Enrollment.of(row) for row in page], **rest)

    @get(
        "/{enrollment_id:str}",
        operation_id="getEnrollment",
        opt={"scope": "read:enrollments"},
        summary="Show an enrollment",
    )
    async def show(self, hub: HubDep, caller: CallerDep, enrollment_id: FromPath[str]) -> Enrollment:
        """Returns it with `warnings`: what was doubtful about its vendor's answers in the last week."""
        shown = await enrollments.get(hub, caller.account_id, enrollment_id)
        info = await applications.additional_info(hub, enrollment_id)
        return Enrollment.of(shown, await notices.of_enrollment(hub, enrollment_id), info)

    @patch(
        "/{enrollment_id:str}",
        operation_id="updateEnrollment",
        opt={"scope": "manage:enrollments"},
        summary="Change your reference of an enrollment",
    )
    async def change(
        self, hub: HubDep, caller: CallerDep, enrollment_id: FromPath[str], data: JSONBody[EnrollmentPatch]
    ) -> Enrollment:
        """Applies a JSON Merge Patch: `reference` is your own word for it, at most 256 characters of one line."""
        if isinstance(data.reference, str | None):
            await labels.change(hub, caller.account_id, enrollment_id, caller.client_id, reference=data.reference)
        return Enrollment.of(await enrollments.get(hub, caller.account_id, enrollment_id))

    @get(
        "/{enrollment_id:str}/tokens",
        operation_id="listEnrollmentTokens",
        opt={"scope": "read:enrollments"},
        summary="Show where its tokens came from",
    )
    async def tokens(self, hub: HubDep, caller: CallerDep, enrollment_id: FromPath[str]) -> TokenList:
        """Lists the lineage of the grant: the last twenty tokens, newest first, without the tokens."""
        return TokenList.of(await enrollments.lineage(hub, caller.account_id, enrollment_id))

    @delete(
        "/{enrollment_id:str}",
        operation_id="deleteEnrollment",
        opt={"scope": "manage:enrollments"},
        summary="End an enrollment",
    )
    async def remove(self, hub: HubDep, caller: CallerDep, enrollment_id: FromPath[str]) -> None:
        """Erases its tokens, sites, devices and readings."""
        await enrollments.delete(hub, caller.account_id, enrollment_id, caller.client_id)

    @post(
        "/{enrollment_id:str}/refresh",
        operation_id="refreshEnrollment",
        opt={"scope": "manage:enrollments"},
        status_code=200,
        summary="Renew the connection now",
    )
    async def renew(self, hub: HubDep, caller: CallerDep, enrollment_id: FromPath[str]) -> Enrollment:
        """Renews the vendor token; asks whether a pending enrollment is approved; polls one that had stopped."""
        await enrollments.get(hub, caller.account_id, enrollment_id)
        await renewal.renew(hub, enrollment_id, caller.client_id)
        return Enrollment.of(await enrollments.get(hub, caller.account_id, enrollment_id))

    @post(
        "/{enrollment_id:str}/pause",
        operation_id="pauseEnrollment",
        opt={"scope": "manage:enrollments"},
        status_code=200,
        summary="Stop reading it",
    )
    async def pause(self, hub: HubDep, caller: CallerDep, enrollment_id: FromPath[str]) -> Enrollment:
        """Stops reading it: its token is kept alive; what is stored is served. Twice is harmless.

        What the vendor would be asked for again is `stale`, and live power; history that has settled is not.
        """
        await pausing.pause(hub, caller.account_id, enrollment_id, caller.client_id)
        return Enrollment.of(await enrollments.get(hub, caller.account_id, enrollment_id))

    @post(
        "/{enrollment_id:str}/resume",
        operation_id="resumeEnrollment",
        opt={"scope": "manage:enrollments"},
        status_code=200,
        summary="Read it again",
    )
    async def resume(self, hub: HubDep, caller: CallerDep, enrollment_id: FromPath[str]) -> Enrollment:
        """Reads it again from now on. Twice is harmless."""
        await pausing.resume(hub, caller.account_id, enrollment_id, caller.client_id)
        return Enrollment.of(await enrollments.get(hub, caller.account_id, enrollment_id))

    @post(
        "/{enrollment_id:str}/release",
        operation_id="releaseEnrollment",
        opt={"scope": "manage:enrollments"},
        status_code=200,
        summary="Let it out of quarantine",
    )
    async def release(self, hub: HubDep, caller: CallerDep, enrollment_id: FromPath[str]) -> Enrollment:
        """Tries everything that stood still again now. 409 when it is not in quarantine."""
        await pausing.release(hub, caller.account_id, enrollment_id, caller.client_id)
        return Enrollment.of(await enrollments.get(hub, caller.account_id, enrollment_id))

    @post(
        "/{enrollment_id:str}/reconnect",
        operation_id="createReconnectLink",
        cache_control=NO_STORE,
        opt={"scope": "manage:enrollments"},
        status_code=200,
        summary="Make a link for the owner to consent again",
    )
    async def reconnect(
        self,
        hub: HubDep,
        caller: CallerDep,
        enrollment_id: FromPath[str],
        data: JSONBody[Reconnect | None] = None,
    ) -> ReconnectLink:
        """Makes a link; the enrollment, its sites and history stay. `redirectURI`: the join flow's, when left out."""
        redirect_uri = data.redirect_uri if data is not None else None
        url = await reconnect.ask(hub, caller.account_id, enrollment_id, redirect_uri, caller.client_id)
        return ReconnectLink(url=url)

    @post(
        "/{enrollment_id:str}/owner-link",
        operation_id="createOwnerLink",
        cache_control=NO_STORE,
        opt={"scope": "manage:enrollments"},
        status_code=200,
        summary="Make a link to the owner's own page",
    )
    async def owner_link(self, hub: HubDep, caller: CallerDep, enrollment_id: FromPath[str]) -> OwnerLink:
        """Makes a link by which the owner sees what is read, and can end it; the landing page has one, too."""
        url = await owner_links.ask(hub, caller.account_id, enrollment_id, caller.client_id)
        return OwnerLink(url=url)
