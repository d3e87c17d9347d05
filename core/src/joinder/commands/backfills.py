from __future__ import annotations

from typing import TYPE_CHECKING

import rich_click as click

from joinder.cli import EXIT_FAILED
from joinder.commands.admin import ACTOR, MOMENT, account_option, over_accounts
from joinder.commands.answering import Columns, print_one, print_owned, say
from joinder.commands.asking import agreed, moderate
from joinder.commands.running import json_option, on_hub

if TYPE_CHECKING:
    from joinder.commands.admin import Owner
    from joinder.runtime.hub import Hub
    from joinder.services.readings.backfill import BackfillProgress
    from joinder.wire.backfills import Backfill

LOOK_EVERY_S = 1.0
_COLUMNS: Columns[Backfill] = {
    "id": lambda one: one.id,
    "enrollment": lambda one: one.enrollment_id,
    "status": lambda one: one.status,
    "percent": lambda one: one.percent,
    "windows": lambda one: f"{one.windows_done}/{one.windows_total}",
    "reason": lambda one: one.reason,
}


@click.group(name="backfills")
def command() -> None:
    """Backfills: jobs that fetch history. Example:  joinder backfills list --status running"""


@command.command()
@click.argument("enrollment_id")
@click.option("--start", type=MOMENT, help="From when on; without: all the vendor keeps.")
@click.option("--end", type=MOMENT, help="Up to when; without: up to now.")
@click.option("--wait", is_flag=True, help="Fetch here until it is done, within the vendor's quota.")
@json_option
def start(enrollment_id: str, start: int | None, end: int | None, wait: bool, as_json: bool) -> None:
    """Fetch an enrollment's history; a second time goes on. Example:  joinder backfills start enrl-… --wait

    Without --wait a running server or worker fetches it. Ctrl-C with --wait loses nothing: the job goes on.
    """
    from joinder.wire.backfills import Backfill

    progress = on_hub(lambda hub: _run(hub, enrollment_id, (start, end), wait))
    print_one(Backfill.of(progress), as_json)
    if progress.job.status == "failed":
        raise SystemExit(EXIT_FAILED)


@command.command(name="list")
@click.option("--enrollment", "enrollment_id", metavar="ENROLLMENT_ID", help="Only of this enrollment.")
@click.option("--status", help="Only running, done, cancelled or failed ones.")
@account_option
@json_option
def list_all(enrollment_id: str | None, status: str | None, account_id: str | None, as_json: bool) -> None:
    """List backfills. Example:  joinder backfills list --status running"""
    from joinder.services.readings import backfill
    from joinder.wire.backfills import Backfill

    asked = {"enrollment_id": enrollment_id, "status": status}
    filters = {name: value for name, value in asked.items() if value is not None}

    async def look(hub: Hub) -> list[tuple[Owner, Backfill]]:
        rows = await over_accounts(
            hub,
            account_id,
            lambda one, after, limit: backfill.list_page(hub, one, filters, after=after, limit=limit),
            lambda row: row.job.id,
        )
        return [(owner, Backfill.of(row)) for owner, row in rows]

    print_owned(on_hub(look), _COLUMNS, as_json)


@command.command()
@click.argument("backfill_id")
@json_option
def show(backfill_id: str, as_json: bool) -> None:
    """Show a backfill and how far it is. Example:  joinder backfills show fill-…"""
    from joinder.wire.backfills import Backfill

    print_one(Backfill.of(on_hub(lambda hub: _shown(hub, backfill_id))), as_json)


@command.command()
@click.argument("backfill_id")
@moderate
@json_option
def cancel(backfill_id: str, yes: bool, dry_run: bool, as_json: bool) -> None:
    """Cancel a backfill; what it fetched stays. Example:  joinder backfills cancel fill-… --yes"""
    from joinder.services.readings import backfill
    from joinder.wire.backfills import Backfill

    async def end(hub: Hub) -> BackfillProgress:
        await backfill.cancel(hub, await _account(hub, backfill_id), ACTOR, backfill_id)
        return await _shown(hub, backfill_id)

    job = on_hub(lambda hub: _shown(hub, backfill_id)).job
    touches = [
        f"This ends {backfill_id} of {job.enrollment_id}: {job.windows_done} of {job.windows_total} windows read."
    ]
    if agreed(touches, yes=yes, dry_run=dry_run):
        print_one(Backfill.of(on_hub(end)), as_json)


async def _run(hub: Hub, enrollment_id: str, span: tuple[int | None, int | None], wait: bool) -> BackfillProgress:
    from joinder.runtime.hub import account_of
    from joinder.services.readings import backfill
    from joinder.store.tables import Enrollment

    account_id = await account_of(hub, Enrollment, enrollment_id)
    job, _ = await backfill.start(hub, account_id, ACTOR, enrollment_id, start=span[0], end=span[1])
    if wait:
        await _work(hub, account_id, job.id, enrollment_id)
    return await backfill.get(hub, account_id, job.id)


async def _work(hub: Hub, account_id: str, job_id: str, enrollment_id: str) -> None:
    """Works the job here, as the worker does, whenever it is due."""
    import asyncio

    from joinder.clock import now
    from joinder.services.readings import backfill, backfill_steps

    shown = ""
    while True:
        is_due = await backfill.due_at(hub, enrollment_id) <= now()
        if not (is_due and await backfill_steps.work_one(hub, enrollment_id)):
            await asyncio.sleep(LOOK_EVERY_S)
        progress = await backfill.get(hub, account_id, job_id)
        line = _line(progress, await backfill.due_at(hub, enrollment_id))
        if line != shown:
            say(line)
            shown = line
        if progress.job.status != "running":
            return


def _line(progress: BackfillProgress, due_at: int) -> str:
    from joinder.clock import now
    from joinder.services.work.leases import NEVER
    from joinder.wire.base import utc

    job = progress.job
    when = "" if due_at <= now() else " until it is resumed" if due_at == NEVER else f" until {utc(due_at)}"
    waits = f"; waits{when}: {job.reason}" if job.status == "running" and job.reason else ""
    return f"{progress.percent:5.1f} %  {job.windows_done} of {job.windows_total} windows{waits}"


async def _shown(hub: Hub, backfill_id: str) -> BackfillProgress:
    from joinder.services.readings import backfill

    return await backfill.get(hub, await _account(hub, backfill_id), backfill_id)


async def _account(hub: Hub, backfill_id: str) -> str:
    from joinder.runtime.hub import account_of
    from joinder.store.tables import Backfill

    return await account_of(hub, Backfill, backfill_id)
