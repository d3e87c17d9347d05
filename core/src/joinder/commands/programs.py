from __future__ import annotations

from typing import TYPE_CHECKING

import rich_click as click

from joinder.commands.admin import (
    ACTOR,
    MOMENT,
    account_option,
    chosen_account,
    new_account_option,
    over_accounts,
)
from joinder.commands.answering import Columns, print_deleted, print_list, print_one, print_owned, say
from joinder.commands.asking import agreed_by_name, severe
from joinder.commands.running import json_option, on_hub

if TYPE_CHECKING:
    from joinder.commands.admin import Owner
    from joinder.runtime.hub import Hub
    from joinder.wire.programs import Program

_PROGRAMS: Columns[Program] = {
    "id": lambda program: program.id,
    "name": lambda program: program.name,
    "vendors": lambda program: ", ".join(program.vendors),
    "from": lambda program: program.start,
    "to": lambda program: program.end,
}


@click.group(name="programs")
def command() -> None:
    """Programmes that enrollments are in. Example:  joinder programs list"""


@command.command()
@click.argument("name")
@click.option("--vendor", "vendors", multiple=True, required=True, metavar="NAME", help="Each once.")
@click.option(
    "--option", "options", multiple=True, metavar="VENDOR.NAME=VALUE", help="What a vendor asks of flows that name it."
)
@click.option("--start", type=MOMENT, help="Now, when left out.")
@click.option("--end", type=MOMENT, help="Twenty years later, when left out.")
@new_account_option
@json_option
def create(
    name: str,
    vendors: tuple[str, ...],
    options: tuple[str, ...],
    start: int | None,
    end: int | None,
    account_id: str | None,
    as_json: bool,
) -> None:
    """Create a programme. Example:  joinder programs create "North" --vendor acme --option acme.programID=P-1"""
    from joinder.commands.flows import entries_of
    from joinder.services.join import programs
    from joinder.wire.programs import Program

    given = {entry.vendor: entry.options for entry in entries_of(vendors, options) if entry.options}

    async def make(hub: Hub) -> Program:
        owner = await chosen_account(hub, account_id)
        row = await programs.create(hub, owner, ACTOR, name=name, vendors=vendors, start=start, end=end, options=given)
        return Program.of(row)

    print_one(on_hub(make), as_json)


@command.command(name="list")
@account_option
@json_option
def list_all(account_id: str | None, as_json: bool) -> None:
    """List programmes. Example:  joinder programs list"""
    from joinder.services.join import programs
    from joinder.wire.programs import Program

    async def look(hub: Hub) -> list[tuple[Owner, Program]]:
        rows = await over_accounts(
            hub,
            account_id,
            lambda one, after, limit: programs.list_page(hub, one, after=after, limit=limit),
            lambda row: row.id,
        )
        return [(owner, Program.of(row)) for owner, row in rows]

    print_owned(on_hub(look), _PROGRAMS, as_json)


@command.command()
@click.argument("program_id")
@json_option
def show(program_id: str, as_json: bool) -> None:
    """Show a programme. Example:  joinder programs show prog-…"""
    from joinder.services.join import programs
    from joinder.wire.programs import Program

    async def look(hub: Hub) -> Program:
        return Program.of(await programs.get(hub, await _account(hub, program_id), program_id))

    shown = on_hub(look)
    if as_json:
        print_one(shown, True)
    else:
        print_list([shown], _PROGRAMS, False)


@command.command()
@click.argument("program_id")
@severe
@json_option
def delete(program_id: str, confirm: str | None, dry_run: bool, as_json: bool) -> None:
    """Delete a programme nothing uses. Example:  joinder programs delete prog-… --dry-run"""
    from joinder.services.join import programs

    async def end(hub: Hub) -> None:
        await programs.delete(hub, await _account(hub, program_id), program_id, ACTOR)

    if agreed_by_name(program_id, [f"This deletes {program_id}."], confirm=confirm, dry_run=dry_run):
        on_hub(end)
        say(f"{program_id} is deleted.")
        if as_json:
            print_deleted(program_id)


async def _account(hub: Hub, program_id: str) -> str:
    from joinder.runtime.hub import account_of
    from joinder.store.tables import Program

    return await account_of(hub, Program, program_id)
