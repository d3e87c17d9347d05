"""Programmes, applications to them, and an operator's decisions."""

from __future__ import annotations

from typing import Annotated

from litestar import Controller, Response, delete, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, HeaderParameter, JSONBody

from joinder.api.auth import require_caller
from joinder.api.deps import CallerDep, HubDep, Paging
from joinder.api.idempotent import key_of
from joinder.api.virtual import require_virtual
from joinder.clock import utc_now
from joinder.services.join import applications, programs
from joinder.wire.enrollments import Enrollment
from joinder.wire.programs import (
    NewApplication,
    NewEnrollmentEvent,
    NewProgram,
    NewVirtualEnrollment,
    Program,
    ProgramPage,
    Submission,
)

Key = Annotated[
    str | None,
    HeaderParameter(
        name="Idempotency-Key",
        min_length=1,
        max_length=255,
        description="One per customer, without personal data: a second submission answers the first enrollment.",
    ),
]


class ProgramController(Controller):
    """What enrollments are in."""

    path = "/programs"
    tags = ["Programmes"]  # noqa: RUF012
    guards = [require_caller]  # noqa: RUF012

    @post("/", operation_id="createProgram", opt={"scope": "manage:flows"}, summary="Create a programme")
    async def create(self, hub: HubDep, caller: CallerDep, data: JSONBody[NewProgram]) -> Program:
        row = await programs.create(
            hub,
            caller.account_id,
            caller.client_id,
            name=data.name,
            vendors=data.vendors,
            start=data.start.epoch if data.start is not None else None,
            end=data.end.epoch if data.end is not None else None,
            resource_types=data.resource_types,
            options=data.options,
            told=caller.told,
        )
        return Program.of(row, caller.told)

    @get("/", operation_id="listPrograms", opt={"scope": "read:flows"}, summary="List programmes")
    async def list_all(self, hub: HubDep, caller: CallerDep, *, paging: NamedDependency[Paging]) -> ProgramPage:
        rows = await programs.list_page(
            hub, caller.account_id, after=paging.after("prog"), limit=paging.limit, told=caller.told
        )
        page, rest = paging.cut(rows, lambda row: row.id)
        return ProgramPage(programs=[Program.of(row, caller.told) for row in page], **rest)

    @get("/{program_id:str}", operation_id="getProgram", opt={"scope": "read:flows"}, summary="Show a programme")
    async def show(self, hub: HubDep, caller: CallerDep, program_id: FromPath[str]) -> Program:
        return Program.of(await programs.get(hub, caller.account_id, program_id), caller.told)

    @delete(
        "/{program_id:str}", operation_id="deleteProgram", opt={"scope": "manage:flows"}, summary="Delete a programme"
    )
    async def remove(self, hub: HubDep, caller: CallerDep, program_id: FromPath[str]) -> None:
        """Deletes it. 409 while a join flow names it or an enrollment is in it."""
        await programs.delete(hub, caller.account_id, program_id, caller.client_id)


class ApplicationController(Controller):
    """Applications to programmes, and what is decided of them."""

    path = "/enrollments"
    tags = ["Programmes"]  # noqa: RUF012
    guards = [require_caller]  # noqa: RUF012

    @post(
        "/submit",
        operation_id="submitEnrollment",
        opt={"scope": "manage:enrollments", "own_keys": True},
        summary="Apply for a customer",
    )
    async def submit(
        self, hub: HubDep, caller: CallerDep, data: JSONBody[Submission], key: Key = None
    ) -> Response[Enrollment]:
        """Applies without a browser, where the programme's vendor takes that; the status begins as `pendingvendor`.

        The same `Idempotency-Key` and body answer the first enrollment as long as it lives, as it is by then, to every
        client of the account; another body is 422.
        """
        named = key_of(key) if key is not None else None
        shown, is_known = await applications.submit(
            hub, caller.account_id, caller.client_id, data.program_id, data.customers(), named, caller.told
        )
        headers = {"idempotency-replayed": "true"} if is_known else {}
        return Response(Enrollment.of(shown, info=data.additional_info), headers=headers)

    @post(
        "/{enrollment_id:str}/applications",
        operation_id="createEnrollmentApplication",
        opt={"scope": "manage:enrollments"},
        status_code=204,
        summary="Apply again",
    )
    async def apply(
        self, hub: HubDep, caller: CallerDep, enrollment_id: FromPath[str], data: JSONBody[NewApplication]
    ) -> None:
        """Takes a newer application of an enrollment that is not enrolled; it is `applied` again."""
        await applications.apply(hub, caller.account_id, enrollment_id, caller.client_id, data.customers())

    @post(
        "/{enrollment_id:str}/events",
        operation_id="createEnrollmentEvent",
        opt={"scope": "manage:enrollments"},
        status_code=204,
        summary="Decide about an enrollment",
    )
    async def decide(
        self, hub: HubDep, caller: CallerDep, enrollment_id: FromPath[str], data: JSONBody[NewEnrollmentEvent]
    ) -> None:
        """Approves, rejects, asks the customer to apply again, or unenrolls. 409 where the status does not allow it."""
        await applications.decide(hub, caller.account_id, enrollment_id, caller.client_id, data.type, data.why())


class VirtualEnrollmentController(Controller):
    path = "/virtual/enrollments"
    tags = ["Virtual mode"]  # noqa: RUF012
    guards = [require_caller, require_virtual]  # noqa: RUF012

    @post(
        "/",
        operation_id="createVirtualEnrollment",
        opt={"scope": "manage:enrollments"},
        summary="Make a virtual enrollment",
    )
    async def create(self, hub: HubDep, caller: CallerDep, data: JSONBody[NewVirtualEnrollment]) -> Enrollment:
        """Makes one in a programme, in any status. Without `siteID` a home is made for it."""
        shown = await applications.enroll_virtual(
            hub,
            caller.account_id,
            caller.client_id,
            data.program_id,
            site_id=data.site_id,
            status=data.status,
            customer=data.customers(utc_now()),
        )
        return Enrollment.of(shown, info=data.additional_info)
