from __future__ import annotations

import rich_click as click

from joinder.commands.running import json_option, on_hub, show


@click.group(name="clients")
def command() -> None:
    """API clients: who may call the REST API for an account. Example:  joinder clients create backend"""


@command.command()
@click.argument("account_id")
@click.argument("name")
@click.option("--scope", "scopes", multiple=True, help="A scope it gets; all but reveal:credentials when left out.")
@json_option
def create(account_id: str, name: str, scopes: tuple[str, ...], as_json: bool) -> None:
    """Create a client; its secret is shown once. Example:  joinder clients create acct-… backend"""
    from joinder.services import accounts

    made = on_hub(lambda hub: accounts.create_client(hub, account_id, name, scopes or accounts.SCOPES))
    show([{"clientID": made.client_id, "clientSecret": made.client_secret, "accountID": made.account_id}], as_json)


@command.command(name="list")
@click.argument("account_id")
@json_option
def list_all(account_id: str, as_json: bool) -> None:
    """List an account's clients. Example:  joinder clients list acct-…"""
    from joinder.services import accounts

    rows = on_hub(lambda hub: accounts.list_clients(hub, account_id))
    shown = [
        {"id": row.id, "name": row.name, "scopes": row.scopes, "revoked": row.revoked_at is not None} for row in rows
    ]
    show(shown, as_json)


@command.command()
@click.argument("account_id")
@click.argument("client_id")
def revoke(account_id: str, client_id: str) -> None:
    """Revoke a client; its tokens end within 30 seconds. Example:  joinder clients revoke acct-… clnt-…"""
    from joinder.services import accounts

    on_hub(lambda hub: accounts.revoke_client(hub, account_id, client_id))
    click.echo(f"{client_id} is revoked.")
