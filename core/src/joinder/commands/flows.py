from __future__ import annotations

from typing import TYPE_CHECKING

import rich_click as click

from joinder.commands.admin import (
    ACTOR,
    account_option,
    chosen_account,
    limit_option,
    new_account_option,
    over_accounts,
    owners,
)
from joinder.commands.answering import (
    Columns,
    print_deleted,
    print_link,
    print_list,
    print_one,
    print_owned,
    qr_option,
    say,
    with_accounts,
)
from joinder.commands.asking import agreed_by_name, severe
from joinder.commands.running import json_option, on_hub
from joinder.plurals import counted

if TYPE_CHECKING:
    from joinder.commands.admin import Owner
    from joinder.commands.answers import Attempt, FlowFunnel
    from joinder.runtime.hub import Hub
    from joinder.services.admin.join_attempts import JoinAttempt
    from joinder.services.admin.join_funnel import Funnel
    from joinder.services.join.join_flows import Dependents, FlowVendor
    from joinder.store.tables import JoinFlow as FlowRow
    from joinder.wire.flows import JoinFlow

_FLOWS: Columns[JoinFlow] = {
    "id": lambda flow: flow.id,
    "vendors": lambda flow: ", ".join(entry.vendor for entry in flow.vendors),
    "goes back to": lambda flow: flow.redirect_uri,
}
_ATTEMPTS: Columns[Attempt] = {
    "began": lambda one: one.began_at,
    "vendor": lambda one: one.vendor,
    "outcome": lambda one: one.outcome,
    "code": lambda one: one.code,
    "tries": lambda one: one.tries,
    "enrollment": lambda one: one.enrollment_id or one.reconnects_id,
    "flow": lambda one: one.flow_id,
    "account": lambda one: one.account_id,
    "what happened": lambda one: one.text,
}
_FUNNELS: Columns[FlowFunnel] = {
    "flow": lambda one: one.flow_id,
    "started": lambda one: str(one.started),
    "consented": lambda one: str(one.consented),
    "connected": lambda one: str(one.connected),
    "left": lambda one: str(one.left),
    "under way": lambda one: str(one.under_way),
    "refused": lambda one: ", ".join(f"{count} {code}" for code, count in one.refused.items()),
    "account": lambda one: one.account_id,
}


@click.group(name="flows")
def command() -> None:
    """Join flows: links that owners are sent to. Example:  joinder flows list"""


@command.command()
@click.option("--vendor", "vendors", multiple=True, required=True, metavar="NAME[:CREDENTIALS_ID]", help="Each once.")
@click.option(
    "--option", "options", multiple=True, metavar="VENDOR.NAME=VALUE", help="What a vendor asks of its flows."
)
@click.option("--redirect-uri", required=True, metavar="URL", help="Where owners come back to.")
@click.option("--program", "program_id", metavar="PROGRAM_ID", help="The programme its enrollments are in.")
@click.option("--skip-intro", is_flag=True, help="Without the page that says who asks, before the vendor's.")
@click.option("--skip-landing", is_flag=True, help="Without the page that says how it went, after the vendor's.")
@new_account_option
@json_option
def create(
    vendors: tuple[str, ...],
    options: tuple[str, ...],
    redirect_uri: str,
    program_id: str | None,
    skip_intro: bool,
    skip_landing: bool,
    account_id: str | None,
    as_json: bool,
) -> None:
    """Create a join flow. Example:  joinder flows create --vendor enphase:cred-… --redirect-uri https://app.example/back

    It cannot be changed afterwards; owners see only the vendors it names.
    """
    from joinder.services.join import join_flows
    from joinder.wire.flows import JoinFlow

    entries = entries_of(vendors, options)

    async def make(hub: Hub) -> JoinFlow:
        owner = await chosen_account(hub, account_id)
        row = await join_flows.create(
            hub,
            owner,
            ACTOR,
            vendors=entries,
            redirect_uri=redirect_uri,
            program_id=program_id,
            skip_intro=skip_intro,
            skip_landing=skip_landing,
        )
        return JoinFlow.of(row)

    made = on_hub(make)
    print_one(made, as_json)
    say(f"The link for owners:  joinder flows link {made.id}")


@command.command(name="list")
@account_option
@json_option
def list_all(account_id: str | None, as_json: bool) -> None:
    """List join flows. Example:  joinder flows list"""
    from joinder.services.join import join_flows
    from joinder.wire.flows import JoinFlow

    async def look(hub: Hub) -> list[tuple[Owner, JoinFlow]]:
        rows = await over_accounts(
            hub,
            account_id,
            lambda one, after, limit: join_flows.list_page(hub, one, after=after, limit=limit),
            lambda row: row.id,
        )
        return [(owner, JoinFlow.of(row)) for owner, row in rows]

    print_owned(on_hub(look), _FLOWS, as_json)


@command.command()
@click.argument("flow_id")
@json_option
def show(flow_id: str, as_json: bool) -> None:
    """Show a join flow. Example:  joinder flows show flow-…"""
    from joinder.services.join import join_flows
    from joinder.wire.flows import JoinFlow

    async def look(hub: Hub) -> JoinFlow:
        return JoinFlow.of(await join_flows.get(hub, await _account(hub, flow_id), flow_id))

    print_one(on_hub(look), as_json)


@command.command()
@click.argument("flow_id")
@click.option("--vendor", metavar="NAME", help="Skip the choice of a vendor.")
@click.option("--state", metavar="TEXT", help="Comes back with the owner, such as a random number of your session.")
@click.option("--reference", metavar="TEXT", help="Your own word for the enrollment, such as a customer's number.")
@qr_option
@json_option
def link(flow_id: str, vendor: str | None, state: str | None, reference: str | None, qr: bool, as_json: bool) -> None:
    """Print the link to send an owner to. Example:  joinder flows link flow-… --reference customer-7 --qr"""
    from joinder.commands.answers import FlowLink
    from joinder.services.join import join_sessions
    from joinder.services.join.labels import Labels

    async def look(hub: Hub) -> str:
        labels = Labels(reference=reference, state=state)
        return await join_sessions.link(hub, await _account(hub, flow_id), flow_id, vendor, labels)

    url = on_hub(look)
    print_link(FlowLink(url=url), url, qr=qr, as_json=as_json)


@command.command()
@click.argument("flow_id", required=False)
@click.option("--vendor", metavar="NAME", help="Of this vendor only.")
@click.option("--code", metavar="CODE", help="That ended with this code; docs/errors.md lists them.")
@account_option
@limit_option
@json_option
def attempts(
    flow_id: str | None, vendor: str | None, code: str | None, account_id: str | None, limit: int, as_json: bool
) -> None:
    """Owners who are at it, and why others did not finish. Example:  joinder flows attempts --code app_refused

    The newest first. An attempt is kept for 30 days after its end.
    """
    from joinder.services.admin import join_attempts
    from joinder.services.join.join_ends import ENDS

    if code is not None and code not in ENDS:
        raise click.UsageError(f"--code is one of: {', '.join(ENDS)}")

    async def look(hub: Hub) -> tuple[list[Attempt], dict[str, Owner]]:
        known = await owners(hub, account_id)
        if flow_id is not None:
            await _account(hub, flow_id)
        found = await join_attempts.latest(
            hub, account_id=account_id, flow_id=flow_id, vendor=vendor, code=code, limit=limit
        )
        return [_attempt(one) for one in found], known

    found, known = on_hub(look)
    print_list(found, with_accounts(_ATTEMPTS, known), as_json)


@command.command()
@click.argument("flow_id", required=False)
@account_option
@json_option
def funnel(flow_id: str | None, account_id: str | None, as_json: bool) -> None:
    """How far owners came, and what they were refused for. Example:  joinder flows funnel flow-…

    Of the last 30 days. `left`: they closed the page, or came back too late.
    """
    from joinder.services.admin import flow_list, join_funnel

    async def look(hub: Hub) -> tuple[list[FlowFunnel], dict[str, Owner]]:
        known = await owners(hub, account_id)
        if flow_id is not None:
            await _account(hub, flow_id)
        found = await join_funnel.of_flows(hub, account_id)
        flows = [one.row for one in await flow_list.flows(hub, account_id) if flow_id in (None, one.row.id)]
        return [_funnel(flow, found.get(flow.id, join_funnel.NOBODY)) for flow in flows], known

    found, known = on_hub(look)
    print_list(found, with_accounts(_FUNNELS, known), as_json)


@command.command()
@click.argument("flow_id")
@severe
@json_option
def delete(flow_id: str, confirm: str | None, dry_run: bool, as_json: bool) -> None:
    """Delete a join flow; enrollments it made stay. Example:  joinder flows delete flow-… --dry-run"""
    from joinder.services.join import join_flows

    async def look(hub: Hub) -> Dependents:
        return await join_flows.dependents(hub, await _account(hub, flow_id), flow_id)

    async def end(hub: Hub) -> None:

        await join_flows.delete(hub, await _account(hub, flow_id), flow_id, ACTOR)

    if agreed_by_name(flow_id, _touches(flow_id, on_hub(look)), confirm=confirm, dry_run=dry_run):
        on_hub(end)
        say(f"{flow_id} is deleted.")
        if as_json:
            print_deleted(flow_id)


def _touches(flow_id: str, used: Dependents) -> list[str]:
    return [
        f"This deletes {flow_id}; its link leads nowhere any more.",
        f"  {counted(used.under_way, 'owner')} under way with it will be sent away",
        f"  {counted(used.enrollments, 'enrollment')} it made will stay; their reconnect links need --redirect-uri",
    ]


def entries_of(vendors: tuple[str, ...], options: tuple[str, ...]) -> list[FlowVendor]:
    """Parses vendors and their options. Raises UsageError for an option of a vendor that is not named."""
    from joinder.services.join.join_flows import FlowVendor

    named = [name.partition(":")[::2] for name in vendors]
    given: dict[str, dict[str, str]] = {vendor: {} for vendor, _ in named}
    for option in options:
        place, equals, value = option.partition("=")
        vendor, dot, name = place.partition(".")
        if not (equals and dot) or vendor not in given:
            raise click.UsageError("--option takes VENDOR.NAME=VALUE, of a vendor named with --vendor")
        given[vendor][name] = value
    return [FlowVendor(vendor=vendor, credentials_id=ref or None, options=given[vendor]) for vendor, ref in named]


def _attempt(one: JoinAttempt) -> Attempt:
    from joinder.commands.answers import Attempt
    from joinder.wire.base import utc

    return Attempt(
        account_id=one.account_id,
        flow_id=one.flow_id,
        vendor=one.vendor,
        began_at=utc(one.began_at) or "",
        expires_at=utc(one.expires_at) or "",
        tries=one.tries,
        outcome=one.outcome,
        code=one.code,
        text=one.text,
        enrollment_id=one.enrollment_id,
        reconnects_id=one.reconnects_id,
    )


def _funnel(flow: FlowRow, found: Funnel) -> FlowFunnel:
    from dataclasses import asdict

    from joinder.commands.answers import FlowFunnel

    return FlowFunnel(account_id=flow.account_id, flow_id=flow.id, **asdict(found))


async def _account(hub: Hub, flow_id: str) -> str:
    from joinder.runtime.hub import account_of
    from joinder.store.tables import JoinFlow

    return await account_of(hub, JoinFlow, flow_id)
