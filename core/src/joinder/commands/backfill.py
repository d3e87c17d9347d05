from __future__ import annotations

from typing import TYPE_CHECKING, Any

import rich_click as click

from joinder.cli import EXIT_FAILED
from joinder.commands.running import json_option, on_hub, show

if TYPE_CHECKING:
    from datetime import datetime

    from joinder.services.backfill import Progress
    from joinder.services.hub import Hub

LOOK_EVERY_S = 1.0
_day = click.DateTime(["%Y-%m-%d"])


@click.command(name="backfill")
@click.argument("enrollment_id")
@click.option("--start", type=_day, metavar="YYYY-MM-DD", help="The first day (UTC); without: all the vendor keeps.")
@click.option("--end", type=_day, metavar="YYYY-MM-DD", help="The day after the last (UTC); without: up to now.")
@click.option("--wait", is_flag=True, help="Fetch here until it is done, within the vendor's quota.")
@json_option
def command(enrollment_id: str, start: datetime | None, end: datetime | None, wait: bool, as_json: bool) -> None:
    """Fetch the history of an enrollment; a second time goes on. Example:  joinder backfill enrl-… --wait

    Without --wait a running server or worker fetches it. Ctrl-C with --wait loses nothing: the job goes on.
    """
    progress = on_hub(lambda hub: _run(hub, enrollment_id, (_epoch(start), _epoch(end)), wait, quiet=as_json))
    show([_row(progress)], as_json)
    if progress.job.status == "failed":
        raise SystemExit(EXIT_FAILED)


def _epoch(day: datetime | None) -> int | None:
    from datetime import UTC

    return None if day is None else int(day.replace(tzinfo=UTC).timestamp())


async def _run(
    hub: Hub, enrollment_id: str, span: tuple[int | None, int | None], wait: bool, *, quiet: bool
) -> Progress:
    from joinder.services import backfill
    from joinder.services.hub import account_of
    from joinder.store.tables import Enrollment

    account_id = await account_of(hub, Enrollment, enrollment_id)
    job, _ = await backfill.start(hub, account_id, "command line", enrollment_id, start=span[0], end=span[1])
    if wait:
        await _work(hub, account_id, job.id, enrollment_id, quiet=quiet)
    return await backfill.get(hub, account_id, job.id)


async def _work(hub: Hub, account_id: str, job_id: str, enrollment_id: str, *, quiet: bool) -> None:
    """Works the job here, as the worker does, whenever it is due."""
    import asyncio

    from joinder.clock import now
    from joinder.services import backfill, backfill_steps

    shown = ""
    while True:
        is_due = await backfill.due_at(hub, enrollment_id) <= now()
        if not (is_due and await backfill_steps.work_one(hub, enrollment_id)):
            await asyncio.sleep(LOOK_EVERY_S)
        progress = await backfill.get(hub, account_id, job_id)
        line = _line(progress)
        if line != shown and not quiet:
            click.echo(line, err=True)
            shown = line
        if progress.job.status != "running":
            return


def _line(progress: Progress) -> str:
    job = progress.job
    reason = f"; waits: {job.reason}" if job.reason else ""
    return f"{progress.percent:5.1f} %  {job.windows_done} of {job.windows_total} windows{reason}"


def _row(progress: Progress) -> dict[str, Any]:
    from datetime import UTC, datetime

    job, reached = progress.job, progress.reached
    return {
        "id": job.id,
        "status": job.status,
        "percent": progress.percent,
        "windows": f"{job.windows_done}/{job.windows_total}",
        "complete since": datetime.fromtimestamp(reached, UTC).date().isoformat() if reached is not None else "-",
        "reason": job.reason or "-",
    }
