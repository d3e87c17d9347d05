from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import rich_click as click

from joinder.clean import clean_line
from joinder.cli import EXIT_FAILED
from joinder.commands.answering import plain
from joinder.commands.asking import agreed_by_name, severe
from joinder.commands.running import echo, fail, json_option, on_hub, show

if TYPE_CHECKING:
    from joinder.runtime.hub import Hub


@click.group(name="accounts")
def command() -> None:
    """Accounts: tenants that never see each other's data. Example:  joinder accounts list"""


@command.command()
@click.argument("name")
@click.option("--virtual", is_flag=True, help="Its clients have virtual homes, and reach no vendor.")
@json_option
def create(name: str, virtual: bool, as_json: bool) -> None:
    """Create an account. Example:  joinder accounts create "Acme Energy" """
    from joinder.services.records import accounts

    mode = accounts.VIRTUAL if virtual else accounts.PRODUCTION
    account = on_hub(lambda hub: accounts.create_account(hub, name, mode=mode))
    show([{"id": account.id, "name": account.name, "mode": account.mode}], as_json)


@command.command(name="list")
@json_option
def list_all(as_json: bool) -> None:
    """List accounts. Example:  joinder accounts list --json"""
    from joinder.services.records import accounts

    rows = on_hub(accounts.list_accounts)
    show([{"id": row.id, "name": row.name, "mode": row.mode} for row in rows], as_json)


@command.command(name="show")
@click.argument("account_id", required=False)
@json_option
def show_one(account_id: str | None, as_json: bool) -> None:
    """Show how much an account has; without ACCOUNT_ID, the only one. Example:  joinder accounts show acct-…"""
    show([on_hub(lambda hub: _held(hub, account_id))], as_json)


@command.command()
@click.argument("account_id")
@click.argument("name")
def rename(account_id: str, name: str) -> None:
    """Give an account another name; owners read it. Example:  joinder accounts rename acct-… "Acme Energy" """
    from joinder.services.records import accounts

    on_hub(lambda hub: accounts.rename_account(hub, account_id, accounts.COMMAND_LINE, name))
    echo(f"{account_id} is renamed.")


@command.command()
@click.argument("account_id")
@click.option("--colour", metavar="#RRGGBB", help="Of buttons; moved where it could not be read. '' takes it away.")
@click.option("--logo", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="A PNG, JPEG or WebP file.")
@click.option("--no-logo", is_flag=True, help="Take the logo away.")
@json_option
def brand(account_id: str, colour: str | None, logo: Path | None, no_logo: bool, as_json: bool) -> None:
    """Set the look of an account's pages for owners. Example:  joinder accounts brand acct-… --colour "#0b5c3b"

    Without options it shows the look.
    """
    from joinder.services.records import accounts, brands

    if logo is not None and no_logo:
        raise click.UsageError("Give --logo, or --no-logo.")
    picture = b"" if no_logo else _picture(logo) if logo is not None else None

    async def set_or_look(hub: Hub) -> brands.Brand:
        account = await accounts.account_or_only(hub, account_id)
        if colour is None and picture is None:
            return await brands.of_account(hub, account.id) or brands.Brand(account_id=account.id, name=account.name)
        return await brands.change(hub, account.id, accounts.COMMAND_LINE, colour=colour, logo=picture)

    made = on_hub(set_or_look)
    show([{"id": made.account_id, "name": made.name, "colour": made.colour, "logo": made.has_logo}], as_json)


def _picture(file: Path) -> bytes:
    from joinder.small_files import Unreadable, content

    try:
        return content(file)
    except (FileNotFoundError, Unreadable) as why:
        fail(clean_line(f"{file} {why}"), EXIT_FAILED)


@command.command()
@click.argument("account_id")
@severe
def delete(account_id: str, confirm: str | None, dry_run: bool) -> None:
    """Erase an account with all it has; the audit stays. Example:  joinder accounts delete acct-… --dry-run

    What is cut goes on with the next run. Backups keep what they hold.
    """
    held, consents = on_hub(lambda hub: _ends(hub, account_id))
    counts = ", ".join(f"{count} {what}" for what, count in held.items() if isinstance(count, int))
    touches = [
        f"Erased: {counts}, with every token, key and reading of {held['name']} ({account_id}).",
        *map(plain, consents),
    ]
    if agreed_by_name(str(held["name"]), touches, confirm=confirm, dry_run=dry_run):
        on_hub(lambda hub: _remove(hub, account_id))
        echo(f"{account_id} is deleted.")


async def _ends(hub: Hub, account_id: str) -> tuple[dict[str, Any], list[str]]:
    """Returns what the account has, and what becomes of its consents at the vendors."""
    from joinder.services.grants import revocations

    return await _held(hub, account_id), await revocations.foretold_of_account(hub, account_id)


async def _held(hub: Hub, account_id: str | None) -> dict[str, Any]:
    from joinder.services.admin import account_removal
    from joinder.services.records import accounts

    account = await accounts.account_or_only(hub, account_id)
    return {"id": account.id, "name": account.name, **await account_removal.holdings(hub, account.id)}


async def _remove(hub: Hub, account_id: str) -> None:
    from joinder.services.admin import account_removal
    from joinder.services.records import accounts

    async for progress in account_removal.remove(hub, account_id, accounts.COMMAND_LINE):
        echo(f"{progress.done} of {progress.total} enrollments", err=True)
