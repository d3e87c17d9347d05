from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import rich_click as click

from joinder.commands.answering import Columns, print_json, print_list
from joinder.commands.report import print_page
from joinder.commands.running import echo, json_option, on_hub
from joinder.plurals import counted

if TYPE_CHECKING:
    from joinder.commands.answers import Ending, FleetCount, JoinFault, OpenBreaker, Status
    from joinder.runtime.hub import Hub

_ACTORS = ("operator", "owner", "vendor")
_COUNTS: Columns[FleetCount] = {
    "vendor": lambda one: one.vendor,
    "health": lambda one: one.health,
    "enrollments": lambda one: one.count,
    "paused": lambda one: one.paused,
    "who must act": lambda one: one.actor,
}
_ENDINGS: Columns[Ending] = {
    "ends": lambda one: one.ends_at,
    "site": lambda one: one.site,
    "vendor": lambda one: one.vendor,
    "enrollment": lambda one: one.enrollment_id,
}
_FAULTS: Columns[JoinFault] = {
    "vendor": lambda one: one.vendor,
    "code": lambda one: one.code,
    "owners": lambda one: one.count,
    "last": lambda one: one.last_at,
    "what happened": lambda one: one.text,
}
_BREAKERS: Columns[OpenBreaker] = {
    "vendor": lambda one: one.vendor,
    "hook": lambda one: one.hook,
    "breaker": lambda one: one.state,
    "since": lambda one: one.since,
}


@click.command(name="status")
@click.option("--html", "as_html", is_flag=True, help="As one HTML file, for a wall or an e-mail.")
@click.option("--output", "-o", type=click.Path(dir_okay=False, path_type=Path), help="Write that file there.")
@json_option
def command(as_html: bool, output: Path | None, as_json: bool) -> None:
    """Show what needs whom now, over all accounts. Example:  joinder status

    Enrollments by vendor and health, who must act, owners who could not join, vendors that do not answer, consents that
    end next, and the last 24 hours.
    """
    status = on_hub(_status)
    if as_html or output is not None:
        print_page(_page(status), output)
    elif as_json:
        print_json(status)
    else:
        _tell(status)


async def _status(hub: Hub) -> Status:
    from joinder.commands.answers import Ending, FleetCount, Hours, JoinFault, OpenBreaker, Status
    from joinder.services.admin import enrollment_stats, join_attempts
    from joinder.services.calls import activity, breaker_states
    from joinder.wire.base import utc

    counts = await enrollment_stats.counts(hub)
    must_act: Counter[str] = Counter()
    for one in counts:
        must_act[one.actor] += one.count
    return Status(
        enrollments=sum(one.count for one in counts),
        paused=sum(one.paused for one in counts),
        must_act={actor: must_act[actor] for actor in _ACTORS},
        counts=[
            FleetCount(vendor=one.vendor, health=one.health, actor=one.actor, count=one.count, paused=one.paused)
            for one in counts
        ],
        endings=[
            Ending(
                enrollment_id=one.enrollment_id, vendor=one.vendor, ends_at=utc(one.ends_at) or "", site=one.site_name
            )
            for one in await enrollment_stats.ending(hub)
        ],
        join_faults=[
            JoinFault(vendor=one.vendor, code=one.code, text=one.text, count=one.count, last_at=utc(one.last_at) or "")
            for one in await join_attempts.faults(hub)
        ],
        open_breakers=[
            OpenBreaker(vendor=one.vendor, hook=one.hook, state=one.state, since=utc(one.since) or "")
            for one in await breaker_states.standing(hub.store)
            if not one.is_closed
        ],
        last_day=Hours(**await activity.last_day(hub.store)),
    )


def _page(status: Status) -> str:
    from joinder.reports import fleet, svg
    from joinder.reports.page import render

    day = status.last_day
    hours = [
        ("renewed", day.refreshed, "done"),
        ("read", day.polled, "done"),
        ("failed", day.failed, "failed"),
    ]
    rows = [(text, sum(counts), svg.bars(counts, css=css)) for text, counts, css in hours]
    return render("status.html", status=status, hours=rows, vendors=fleet.rows(status.counts))


def _tell(status: Status) -> None:
    waiting = ", ".join(f"{count} the {actor}" for actor, count in status.must_act.items() if count)
    known = counted(status.enrollments, "enrollment")
    echo(f"{known}, {status.paused} paused; waiting for: {waiting or 'nobody'}")
    day = status.last_day
    done = f"{sum(day.refreshed)} renewed, {sum(day.polled)} read, {sum(day.failed)} failed"
    echo(f"Last 24 hours: {done}\n")
    if status.join_faults:
        echo("Owners could not join in the last 24 hours, and you can end it (joinder flows attempts):")
        print_list(status.join_faults, _FAULTS, False)
        echo("")
    if status.open_breakers:
        echo("Not called now but by a probe, as the vendor did not answer the last calls:")
        print_list(status.open_breakers, _BREAKERS, False)
        echo("")
    print_list(status.counts, _COUNTS, False)
    if status.endings:
        echo("\nConsents that end next:")
        print_list(status.endings, _ENDINGS, False)
