"""Enrollments: one consent each, what it opened, and what is done to it."""

from __future__ import annotations

from typing import Annotated

from litestar import Controller, delete, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery, JSONBody, QueryParameter

from joinder.api import schemas, wire
from joinder.api.auth import require_caller
from joinder.api.deps import CallerDep, HubDep, Paging
from joinder.services.admin import pausing
from joinder.services.join import enrollments, owner_links, reconnect, renewal
from joinder.services.records import notices


class EnrollmentController(Controller):
    """One consent each: what it opened, and how the connection is."""

    path = "/enrollments"
    tags = ["Enrollments"]  # noqa: RUF012
    guards = [require_caller]  # noqa: RUF012

    @get("/", operation_id="listEnrollments", opt={"scope": "read:enrollments"}, summary="List enrollments")
    async def list_all(
        self,
        hub: HubDep,
        caller: CallerDep,
        vendor: FromQuery[str | None] = None,
        status: FromQuery[str | None] = None,
        health: FromQuery[str | None] = None,
        program_id: Annotated[str | None, QueryParameter(name="programID")] = None,
        flow_id: Annotated[str | None, QueryParameter(name="flowID")] = None,
        *,
        paging: NamedDependency[Paging],
    ) -> schemas.EnrollmentPage:
        asked = {"vendor": vendor, "status": status, "health": health, "program_id": program_id, "flow_id": flow_id}
        filters = {name: value for name, value in asked.items() if value is not None}
        rows = await enrollments.list_page(hub, caller.account_id, filters, after=paging.after, limit=paging.limit)
        page, following = paging.cut(rows, lambda overview: overview.row.id)
        return schemas.EnrollmentPage(enrollments=[wire.enrollment(row) for row in page], next_page_token=following)

    @get(
        "/{enrollment_id:str}",
        operation_id="getEnrollment",
        opt={"scope": "read:enrollments"},
        summary="Show an enrollment",
    )
    async def show(self, hub: HubDep, caller: CallerDep, enrollment_id: FromPath[str]) -> schemas.Enrollment:
        """Returns it with `warnings`: what was doubtful about its vendor's answers in the last week."""
        shown = await enrollments.get(hub, caller.account_id, enrollment_id)
        return wire.enrollment(shown, await notices.of_enrollment(hub, enrollment_id))

    @get(
        "/{enrollment_id:str}/tokens",
        operation_id="listEnrollmentTokens",
        opt={"scope": "read:enrollments"},
        summary="Show where its tokens came from",
    )
    async def tokens(self, hub: HubDep, caller: CallerDep, enrollment_id: FromPath[str]) -> schemas.TokenList:
        """Lists the lineage of the grant: the last twenty tokens, newest first, without the tokens."""
        return wire.tokens(await enrollments.lineage(hub, caller.account_id, enrollment_id))

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
    async def renew(self, hub: HubDep, caller: CallerDep, enrollment_id: FromPath[str]) -> schemas.Enrollment:
        """Renews the vendor token; asks whether a pending enrollment is approved; polls one that had stopped."""
        await enrollments.get(hub, caller.account_id, enrollment_id)
        await renewal.renew(hub, enrollment_id, caller.client_id)
        return wire.enrollment(await enrollments.get(hub, caller.account_id, enrollment_id))

    @post(
        "/{enrollment_id:str}/pause",
        operation_id="pauseEnrollment",
        opt={"scope": "manage:enrollments"},
        status_code=200,
        summary="Stop reading it",
    )
    async def pause(self, hub: HubDep, caller: CallerDep, enrollment_id: FromPath[str]) -> schemas.Enrollment:
        """Stops reading it: its token is kept alive; what is stored is served, `stale`. Twice is harmless."""
        await pausing.pause(hub, caller.account_id, enrollment_id, caller.client_id)
        return wire.enrollment(await enrollments.get(hub, caller.account_id, enrollment_id))

    @post(
        "/{enrollment_id:str}/resume",
        operation_id="resumeEnrollment",
        opt={"scope": "manage:enrollments"},
        status_code=200,
        summary="Read it again",
    )
    async def resume(self, hub: HubDep, caller: CallerDep, enrollment_id: FromPath[str]) -> schemas.Enrollment:
        """Reads it again from now on. Twice is harmless."""
        await pausing.resume(hub, caller.account_id, enrollment_id, caller.client_id)
        return wire.enrollment(await enrollments.get(hub, caller.account_id, enrollment_id))

    @post(
        "/{enrollment_id:str}/release",
        operation_id="releaseEnrollment",
        opt={"scope": "manage:enrollments"},
        status_code=200,
        summary="Let it out of quarantine",
    )
    async def release(self, hub: HubDep, caller: CallerDep, enrollment_id: FromPath[str]) -> schemas.Enrollment:
        """Tries everything that stood still again now. 409 when it is not in quarantine."""
        await pausing.release(hub, caller.account_id, enrollment_id, caller.client_id)
        return wire.enrollment(await enrollments.get(hub, caller.account_id, enrollment_id))

    @post(
        "/{enrollment_id:str}/reconnect",
        operation_id="createReconnectLink",
        opt={"scope": "manage:enrollments"},
        status_code=200,
        summary="Make a link for the owner to consent again",
    )
    async def reconnect(
        self,
        hub: HubDep,
        caller: CallerDep,
        enrollment_id: FromPath[str],
        data: JSONBody[schemas.Reconnect | None] = None,
    ) -> schemas.ReconnectLink:
        """Makes a link; the enrollment, its sites and history stay. `redirectURI`: the join flow's, when left out."""
        redirect_uri = data.redirect_uri if data is not None else None
        url = await reconnect.ask(hub, caller.account_id, enrollment_id, redirect_uri, caller.client_id)
        return schemas.ReconnectLink(url=url)

    @post(
        "/{enrollment_id:str}/owner-link",
        operation_id="createOwnerLink",
        opt={"scope": "manage:enrollments"},
        status_code=200,
        summary="Make a link to the owner's own page",
    )
    async def owner_link(self, hub: HubDep, caller: CallerDep, enrollment_id: FromPath[str]) -> schemas.OwnerLink:
        """Makes a link by which the owner sees what is read, and can end it; the landing page has one, too."""
        url = await owner_links.ask(hub, caller.account_id, enrollment_id, caller.client_id)
        return schemas.OwnerLink(url=url)
