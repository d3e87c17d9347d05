from __future__ import annotations

from typing import TYPE_CHECKING, Any

import rich_click as click

from joinder.commands.asking import agreed, moderate
from joinder.commands.running import echo, json_option, on_hub, show

if TYPE_CHECKING:
    from joinder.runtime.hub import Hub
    from joinder.services.records.accounts import NewClient
    from joinder.store.tables import ApiClient

_account = click.option("--account", "account_id", metavar="ACCOUNT_ID", help="Whose; not needed when there is one.")


@click.group(name="clients")
def command() -> None:
    """API clients: who may call the REST API for an account. Example:  joinder clients create backend"""


@command.command()
@click.argument("name")
@_account
@click.option("--scope", "scopes", multiple=True, help="A scope it gets; all but reveal:credentials when left out.")
@click.option("--compatible", is_flag=True, help="A client of Derapi: it is told of no vendor it would not know.")
@json_option
def create(name: str, account_id: str | None, scopes: tuple[str, ...], compatible: bool, as_json: bool) -> None:
    """Create a client; its secret is shown once. Example:  joinder clients create backend --account acct-…"""
    _show_once(on_hub(lambda hub: _create(hub, account_id, name, scopes, compatible)), as_json)


@command.command(name="list")
@click.option("--account", "account_id", metavar="ACCOUNT_ID", help="Only its clients.")
@json_option
def list_all(account_id: str | None, as_json: bool) -> None:
    """List clients. Example:  joinder clients list --account acct-…"""
    from joinder.services.records import accounts

    show([_row(client) for client in on_hub(lambda hub: accounts.list_clients(hub, account_id))], as_json)


@command.command()
@click.argument("client_id")
@click.option("--now", "at_once", is_flag=True, help="The old secret ends at once, not in 24 hours.")
@json_option
def rotate(client_id: str, at_once: bool, as_json: bool) -> None:
    """Give a client a new secret, shown once. Example:  joinder clients rotate clnt-…

    The old one works for 24 hours more. Access tokens that were issued live on.
    """
    _show_once(on_hub(lambda hub: _rotate(hub, client_id, at_once)), as_json)


@command.command()
@click.argument("client_id")
@moderate
def revoke(client_id: str, yes: bool, dry_run: bool) -> None:
    """Revoke a client; its tokens end within 30 seconds. Example:  joinder clients revoke clnt-… --yes"""
    client = on_hub(lambda hub: _client(hub, client_id))
    if agreed([f"{client_id} ({client.name}) can no longer call the API."], yes=yes, dry_run=dry_run):
        on_hub(lambda hub: _revoke(hub, client_id))
        echo(f"{client_id} is revoked.")


def _show_once(made: NewClient, as_json: bool) -> None:
    show([{"clientID": made.client_id, "clientSecret": made.client_secret, "accountID": made.account_id}], as_json)


def _row(client: ApiClient) -> dict[str, Any]:
    return {
        "id": client.id,
        "account": client.account_id,
        "name": client.name,
        "scopes": client.scopes,
        "compatible": client.compatible,
        "revoked": client.revoked_at is not None,
    }


async def _create(hub: Hub, account_id: str | None, name: str, scopes: tuple[str, ...], compatible: bool) -> NewClient:
    from joinder.services.records import accounts

    account = await accounts.account_or_only(hub, account_id)
    return await accounts.create_client(hub, account.id, name, scopes or accounts.SCOPES, compatible=compatible)


async def _client(hub: Hub, client_id: str) -> ApiClient:
    from joinder.services.records import accounts

    return await accounts.get_client(hub, client_id)


async def _rotate(hub: Hub, client_id: str, at_once: bool) -> NewClient:
    from joinder.services.records import accounts

    client = await accounts.get_client(hub, client_id)
    return await accounts.rotate_client(hub, client.account_id, client_id, at_once=at_once)


async def _revoke(hub: Hub, client_id: str) -> None:
    from joinder.services.records import accounts

    client = await accounts.get_client(hub, client_id)
    await accounts.revoke_client(hub, client.account_id, client_id)
