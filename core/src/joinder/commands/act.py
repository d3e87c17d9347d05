from __future__ import annotations

from typing import TYPE_CHECKING

import rich_click as click

from joinder.commands.running import fail, json_option, on_hub, show

if TYPE_CHECKING:
    from joinder.services.hub import Hub


@click.command(name="act")
@click.argument("credentials_id")
@click.argument("action", required=False)
@click.option("--set", "given", multiple=True, metavar="NAME=VALUE", help="A value the action asks for.")
@json_option
def command(credentials_id: str, action: str | None, given: tuple[str, ...], as_json: bool) -> None:
    """Run a vendor's operator action; without ACTION, list them.
    Example:  joinder act cred-… register --set domain=hub.example.com
    """
    if any("=" not in pair for pair in given):
        fail("--set takes NAME=VALUE", 2)
    values = dict(pair.split("=", 1) for pair in given)
    if action is None:
        show(on_hub(lambda hub: _listed(hub, credentials_id)), as_json)
    else:
        message = on_hub(lambda hub: _run(hub, credentials_id, action, values))
        show([{"message": message}], True) if as_json else click.echo(message)


async def _listed(hub: Hub, credentials_id: str) -> list[dict[str, str]]:
    from joinder.services import operator_actions
    from joinder.services.hub import account_of
    from joinder.store.tables import VendorCredentials

    account_id = await account_of(hub, VendorCredentials, credentials_id)
    actions = await operator_actions.list_actions(hub, account_id, credentials_id)
    return [
        {"action": one.name, "label": one.label, "asks for": ", ".join(entry.name for entry in one.fields)}
        for one in actions
    ]


async def _run(hub: Hub, credentials_id: str, action: str, values: dict[str, str]) -> str:
    from joinder.services import operator_actions
    from joinder.services.hub import account_of
    from joinder.store.tables import VendorCredentials

    account_id = await account_of(hub, VendorCredentials, credentials_id)
    return await operator_actions.run(hub, account_id, credentials_id, "command line", name=action, values=dict(values))
