from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any, TypedDict

import rich_click as click

from joinder.commands.admin import account_ids, account_option, limit_option
from joinder.commands.answering import Columns, encoded, plain, print_list
from joinder.commands.running import echo, json_option, on_hub

if TYPE_CHECKING:
    from joinder.runtime.hub import Hub
    from joinder.services.records.events import EventView
    from joinder.wire.events import Event

LOOK_EVERY_S = 1.0
OVERLAP_S = 30  # a transaction that ended late wrote its events' time when it began
COLUMNS: Columns[Event] = {
    "at": lambda one: one.timestamp,
    "type": lambda one: one.type,
    "enrollment": lambda one: one.data.get("enrollmentID"),
    "vendor": lambda one: one.data.get("vendor"),
    "what": lambda one: _what(one.data),
}


class Wanted(TypedDict):
    account_id: str | None
    enrollment_id: str | None
    kind: str | None


@click.group(name="events")
def command() -> None:
    """Events: what happened. Example:  joinder events list --follow"""


@command.command(name="list")
@click.option("--enrollment", "enrollment_id", metavar="ENROLLMENT_ID", help="Only of this enrollment.")
@click.option("--type", "kind", metavar="TYPE", help="Only of this type, such as enrollment.health.")
@account_option
@limit_option
@click.option("--follow", is_flag=True, help="Go on with what happens; with --json a line each.")
@json_option
def list_all(
    enrollment_id: str | None, kind: str | None, account_id: str | None, limit: int, follow: bool, as_json: bool
) -> None:
    """List the latest events, the newest last. Example:  joinder events list --type enrollment.health --follow"""
    wanted = Wanted(account_id=account_id, enrollment_id=enrollment_id, kind=kind)

    async def look(hub: Hub) -> None:
        from joinder.services.records import events
        from joinder.wire.events import Event

        await account_ids(hub, account_id)
        seen = await _recent(hub, wanted)
        found = (await events.latest(hub, **wanted, limit=limit))[::-1]
        if not follow:
            print_list([Event.of(one) for one in found], COLUMNS, as_json)
            return
        for one in found:
            _print_line(Event.of(one), as_json)
        await _follow(hub, wanted, {*seen, *(one.row.id for one in found)}, as_json)

    with contextlib.suppress(KeyboardInterrupt):
        on_hub(look)


async def _follow(hub: Hub, wanted: Wanted, seen: set[str], as_json: bool) -> None:
    from joinder.wire.events import Event

    while True:
        recent = await _recent(hub, wanted)
        for row_id, one in recent.items():
            if row_id not in seen:
                _print_line(Event.of(one), as_json)
        seen = set(recent)
        await pause(LOOK_EVERY_S)


async def pause(seconds: float) -> None:
    import asyncio

    await asyncio.sleep(seconds)


async def _recent(hub: Hub, wanted: Wanted) -> dict[str, EventView]:
    """Returns recent events by id. One that is no longer among them does not come back."""
    from joinder.clock import now
    from joinder.services.records import events

    return {one.row.id: one for one in await events.since(hub, now() - OVERLAP_S, **wanted)}


def _print_line(event: Event, as_json: bool) -> None:
    """Prints an event as a line; one that is too long for a column is still whole."""
    if as_json:
        echo(encoded(event))
    else:
        echo("  ".join(plain(read(event)) for read in COLUMNS.values()))


def _what(data: dict[str, Any]) -> str:
    rest = {name: value for name, value in data.items() if name not in ("enrollmentID", "vendor")}
    if set(rest) >= {"from", "to"}:
        way = f"{rest.pop('from')} → {rest.pop('to')}"
        return f"{way}: {rest['reason']}" if rest.get("reason") else way
    return ", ".join(f"{name}: {value}" for name, value in rest.items())
