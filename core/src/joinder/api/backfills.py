"""Fetching the history of an enrollment, as a job."""

from __future__ import annotations

from typing import Any

from litestar import Controller, Response, delete, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery, JSONBody

from joinder.api.auth import require_caller
from joinder.api.deps import AboutEnrollment, CallerDep, HubDep, Paging
from joinder.services.readings import backfill
from joinder.services.readings.backfill import BackfillProgress
from joinder.wire.backfills import Backfill, BackfillPage, BackfillStatus, NewBackfill


class EnrollmentBackfillController(Controller):
    path = "/enrollments/{enrollment_id:str}/backfill"
    tags = ["Backfills"]  # noqa: RUF012
    guards = [require_caller]  # noqa: RUF012

    @post(
        "/",
        operation_id="startBackfill",
        opt={"scope": "manage:enrollments"},
        status_code=201,
        summary="Fetch the history of an enrollment",
    )
    async def start(
        self,
        hub: HubDep,
        caller: CallerDep,
        enrollment_id: FromPath[str],
        data: JSONBody[NewBackfill | None] = None,
    ) -> Response[Backfill]:
        """Starts a backfill: 201. One that runs is widened to the range and answered: 200."""
        asked = data or NewBackfill()
        job, is_new = await backfill.start(
            hub,
            caller.account_id,
            caller.client_id,
            enrollment_id,
            start=asked.start.epoch if asked.start is not None else None,
            end=asked.end.epoch if asked.end is not None else None,
        )
        return Response(Backfill.of(BackfillProgress(job=job)), status_code=201 if is_new else 200)


class BackfillController(Controller):
    path = "/backfills"
    tags = ["Backfills"]  # noqa: RUF012
    guards: list[Any] = [require_caller]  # noqa: RUF012

    @get("/", operation_id="listBackfills", opt={"scope": "read:enrollments"}, summary="List backfills")
    async def list_all(
        self,
        hub: HubDep,
        caller: CallerDep,
        enrollment_id: AboutEnrollment = None,
        status: FromQuery[BackfillStatus | None] = None,
        *,
        paging: NamedDependency[Paging],
    ) -> BackfillPage:
        asked: dict[str, str | None] = {"enrollment_id": enrollment_id, "status": status}
        filters = {name: value for name, value in asked.items() if value is not None}
        rows = await backfill.list_page(
            hub, caller.account_id, filters, after=paging.after("fill"), limit=paging.limit, told=caller.told
        )
        page, rest = paging.cut(rows, lambda progress: progress.job.id)
        return BackfillPage(backfills=[Backfill.of(row) for row in page], **rest)

    @get("/{backfill_id:str}", operation_id="getBackfill", opt={"scope": "read:enrollments"}, summary="Show a backfill")
    async def show(self, hub: HubDep, caller: CallerDep, backfill_id: FromPath[str]) -> Backfill:
        return Backfill.of(await backfill.get(hub, caller.account_id, backfill_id))

    @delete(
        "/{backfill_id:str}",
        operation_id="cancelBackfill",
        opt={"scope": "manage:enrollments"},
        summary="Cancel a backfill",
    )
    async def cancel(self, hub: HubDep, caller: CallerDep, backfill_id: FromPath[str]) -> None:
        """Cancels it; what it fetched stays."""
        await backfill.cancel(hub, caller.account_id, caller.client_id, backfill_id)
