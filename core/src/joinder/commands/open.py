from __future__ import annotations

from typing import TYPE_CHECKING

import rich_click as click

from joinder.commands.admin import account_option
from joinder.commands.answering import print_link, qr_option, say
from joinder.commands.running import json_option, on_hub

if TYPE_CHECKING:
    from joinder.runtime.hub import Hub


@click.command(name="open")
@click.argument("flow_id", required=False)
@click.option("--vendor", metavar="NAME", help="Skip the choice of a vendor.")
@click.option("--state", metavar="TEXT", help="Comes back with the owner, such as a customer's number.")
@click.option("--no-browser", is_flag=True, help="Only print the link.")
@account_option
@qr_option
@json_option
def command(
    flow_id: str | None,
    vendor: str | None,
    state: str | None,
    no_browser: bool,
    account_id: str | None,
    qr: bool,
    as_json: bool,
) -> None:
    """Open a join flow's link in this machine's browser, to see what owners see. Example:  joinder open

    Without FLOW_ID the newest flow. The link is printed as well.
    """
    import webbrowser

    from joinder.commands.answers import FlowLink

    url = on_hub(lambda hub: _link(hub, flow_id, account_id, vendor, state))
    print_link(FlowLink(url=url), url, qr=qr, as_json=as_json)
    if not (no_browser or as_json or webbrowser.open(url)):
        say("No browser could be started here; open the link yourself.")


async def _link(hub: Hub, flow_id: str | None, account_id: str | None, vendor: str | None, state: str | None) -> str:
    """Returns the link. Raises NotFound where there is no such flow, or Invalid."""
    from joinder.commands.admin import account_ids
    from joinder.services.admin import flow_list
    from joinder.services.join import join_sessions
    from joinder.services.join.labels import Labels
    from joinder.services.refusals import NotFound

    await account_ids(hub, account_id)
    for listed in await flow_list.flows(hub, account_id):
        if flow_id in (None, listed.row.id):
            return await join_sessions.link(hub, listed.row.account_id, listed.row.id, vendor, Labels(state=state))
    raise NotFound("There is no such join flow: joinder flows list, joinder flows create")
