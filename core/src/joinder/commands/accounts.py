from __future__ import annotations

import rich_click as click

from joinder.commands.running import json_option, on_hub, show


@click.group(name="accounts")
def command() -> None:
    """Accounts: tenants that never see each other's data. Example:  joinder accounts list"""


@command.command()
@click.argument("name")
@json_option
def create(name: str, as_json: bool) -> None:
    """Create an account. Example:  joinder accounts create "Acme Energy" """
    from joinder.services import accounts

    account = on_hub(lambda hub: accounts.create_account(hub, name))
    show([{"id": account.id, "name": account.name}], as_json)


@command.command(name="list")
@json_option
def list_all(as_json: bool) -> None:
    """List accounts. Example:  joinder accounts list --json"""
    from joinder.services import accounts

    show([{"id": row.id, "name": row.name} for row in on_hub(accounts.list_accounts)], as_json)
