from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import rich_click as click

from joinder.clean import clean_line
from joinder.commands.admin import (
    ACTOR,
    account_option,
    chosen_account,
    new_account_option,
    over_accounts,
    pairs,
)
from joinder.commands.answering import (
    Columns,
    print_deleted,
    print_json,
    print_list,
    print_one,
    print_owned,
    say,
)
from joinder.commands.asking import agreed_by_name, severe
from joinder.commands.credential_quota import quota
from joinder.commands.fields import declared_fields, from_option, read_object, refuse_secrets
from joinder.commands.running import echo, json_option, on_hub
from joinder.plurals import counted

if TYPE_CHECKING:
    from joinder.commands.admin import Owner
    from joinder.runtime.hub import Hub
    from joinder.services.join.vendor_credentials import Dependents
    from joinder.wire.credentials import ActionInfo, Credentials

_CREDENTIALS: Columns[Credentials] = {
    "id": lambda one: one.id,
    "vendor": lambda one: one.credentials["vendor"],
    "type": lambda one: one.credentials["type"],
    "name": lambda one: one.name,
}
_ACTIONS: Columns[ActionInfo] = {
    "action": lambda one: one.name,
    "label": lambda one: one.label,
    "asks for": lambda one: ", ".join(entry.name for entry in one.fields),
}


@click.group(name="credentials")
def command() -> None:
    """Vendor credentials: the operator's apps at vendors. Example:  joinder credentials list"""


command.add_command(quota)


@command.command()
@click.argument("vendor")
@click.argument("type_name", metavar="TYPE")
@from_option
@click.option("--field", "fields", multiple=True, metavar="NAME=VALUE", help="A field that is no secret.")
@click.option("--name", help="A name for people.")
@new_account_option
@json_option
def create(
    vendor: str,
    type_name: str,
    file: Path | None,
    fields: tuple[str, ...],
    name: str | None,
    account_id: str | None,
    as_json: bool,
) -> None:
    """Store vendor credentials, sealed. Example:  joinder credentials create enphase developerapp --from app.json

    Secrets come out of the file or standard input; the fields a vendor asks for are in `joinder vendors VENDOR` and in
    its README.
    """
    from joinder.services.join import vendor_credentials

    plain = pairs(fields, "--field")
    secret = read_object(file) if file is not None else {}

    async def make(hub: Hub) -> vendor_credentials.CredentialsView:
        refuse_secrets("--field", declared_fields(hub, vendor, type_name), plain)
        given = {**plain, **secret, "vendor": vendor, "type": type_name}
        owner = await chosen_account(hub, account_id)
        return await vendor_credentials.create(hub, owner, ACTOR, name=name, credentials=given)

    made = on_hub(make)
    _print(made, as_json)
    say(f"Does the vendor know them?  joinder credentials test {made.id}")


@command.command(name="list")
@click.option("--vendor", help="Only of this vendor.")
@click.option("--name", help="Only of this name.")
@account_option
@json_option
def list_all(vendor: str | None, name: str | None, account_id: str | None, as_json: bool) -> None:
    """List vendor credentials, without secrets. Example:  joinder credentials list --vendor tesla"""
    from joinder.services.join import vendor_credentials
    from joinder.wire.credentials import Credentials

    async def look(hub: Hub) -> list[tuple[Owner, Credentials]]:
        rows = await over_accounts(
            hub,
            account_id,
            lambda one, after, limit: vendor_credentials.list_page(
                hub, one, vendor=vendor, name=name, after=after, limit=limit
            ),
            lambda row: row.id,
        )
        return [(owner, Credentials.of(row)) for owner, row in rows]

    print_owned(on_hub(look), _CREDENTIALS, as_json)


@command.command()
@click.argument("credentials_id")
@json_option
def show(credentials_id: str, as_json: bool) -> None:
    """Show vendor credentials, without secrets. Example:  joinder credentials show cred-…"""
    from joinder.services.join import vendor_credentials

    async def look(hub: Hub) -> vendor_credentials.CredentialsView:
        return await vendor_credentials.get(hub, await _account(hub, credentials_id), credentials_id, ACTOR)

    _print(on_hub(look), as_json)


@command.command()
@click.argument("credentials_id")
@json_option
def test(credentials_id: str, as_json: bool) -> None:
    """Ask the vendor whether it knows them, by one call. Example:  joinder credentials test cred-…"""
    from joinder.services.join import credential_test

    async def ask(hub: Hub) -> str:
        return await credential_test.test(hub, await _account(hub, credentials_id), credentials_id, ACTOR)

    _print_message(on_hub(ask), as_json)


@command.command()
@click.argument("credentials_id")
@click.option(
    "--from",
    "file",
    required=True,
    type=click.Path(path_type=Path, allow_dash=True),
    help="JSON object of what changes; - for stdin.",
)
@json_option
def rotate(credentials_id: str, file: Path, as_json: bool) -> None:
    """Replace secrets; fields left out stay. Example:  joinder credentials rotate cred-… --from new.json

    A JSON Merge Patch. Enrollments that waited for it are tried again at once.
    """
    patch = {"credentials": read_object(file)}
    if not patch["credentials"]:
        raise click.UsageError("There is nothing to change in --from.")
    _print(on_hub(lambda hub: _changed(hub, credentials_id, patch)), as_json)
    say(f"Does the vendor know them?  joinder credentials test {credentials_id}")


@command.command()
@click.argument("credentials_id")
@click.argument("name")
@json_option
def rename(credentials_id: str, name: str, as_json: bool) -> None:
    """Give them another name for people; "" removes it. Example:  joinder credentials rename cred-… "Fleet 2" """
    _print(on_hub(lambda hub: _changed(hub, credentials_id, {"name": name or None})), as_json)


@command.command()
@click.argument("credentials_id")
@click.option("--reason", required=True, help="Why; it stands in the audit.")
@json_option
def reveal(credentials_id: str, reason: str, as_json: bool) -> None:
    """Print the secrets; audited. Example:  joinder credentials reveal cred-… --reason "moving to the new host" """
    import sys

    from joinder.services.join import vendor_credentials
    from joinder.services.refusals import Invalid

    async def look(hub: Hub) -> vendor_credentials.CredentialsView:
        if not reason.strip():
            raise Invalid("The reason is empty; it is what the audit will say.")
        owner = await _account(hub, credentials_id)
        return await vendor_credentials.get(hub, owner, credentials_id, ACTOR, reveal=True, reason=reason.strip())

    shown = on_hub(look)
    if sys.stdout.isatty():
        say("What follows is secret: it stays in this terminal's history until you clear it.")
    _print(shown, as_json)


@command.command()
@click.argument("credentials_id")
@json_option
def actions(credentials_id: str, as_json: bool) -> None:
    """Steps the vendor wants once for an app. Example:  joinder credentials actions cred-…"""
    from joinder.services.admin import operator_actions
    from joinder.wire.credentials import ActionInfo

    async def look(hub: Hub) -> list[ActionInfo]:
        found = await operator_actions.list_actions(hub, await _account(hub, credentials_id), credentials_id)
        return [ActionInfo.of(one) for one in found]

    print_list(on_hub(look), _ACTIONS, as_json)


@command.command()
@click.argument("credentials_id")
@click.argument("action")
@click.option("--set", "given", multiple=True, metavar="NAME=VALUE", help="A value the action asks for, no secret.")
@from_option
@json_option
def act(credentials_id: str, action: str, given: tuple[str, ...], file: Path | None, as_json: bool) -> None:
    """Run such a step. Example:  joinder credentials act cred-… register --set domain=hub.example.com"""
    from joinder.services.admin import operator_actions

    plain = pairs(given, "--set")
    secret = read_object(file) if file is not None else {}

    async def run(hub: Hub) -> str:
        owner = await _account(hub, credentials_id)
        known = await operator_actions.list_actions(hub, owner, credentials_id)
        fields = [entry for one in known if one.name == action for entry in one.fields]
        refuse_secrets("--set", fields, plain)
        values = {**plain, **secret}
        return await operator_actions.run(hub, owner, credentials_id, ACTOR, name=action, values=values)

    _print_message(on_hub(run), as_json)


@command.command()
@click.argument("credentials_id")
@severe
@json_option
def delete(credentials_id: str, confirm: str | None, dry_run: bool, as_json: bool) -> None:
    """Delete vendor credentials that nothing needs. Example:  joinder credentials delete cred-… --dry-run

    Refused while a join flow or an enrollment depends on them.
    """
    from joinder.services.join import vendor_credentials

    async def look(hub: Hub) -> Dependents:
        return await vendor_credentials.dependents(hub, await _account(hub, credentials_id), credentials_id)

    async def end(hub: Hub) -> None:

        await vendor_credentials.delete(hub, await _account(hub, credentials_id), credentials_id, ACTOR)

    used = on_hub(look)
    touches = [
        f"This deletes {credentials_id}: its secrets are erased.",
        f"  Depending on them: {counted(used.flows, 'join flow')}, {counted(used.enrollments, 'enrollment')}"
        + ("; end those first, or this will be refused" if used.flows or used.enrollments else ""),
    ]
    if agreed_by_name(credentials_id, touches, confirm=confirm, dry_run=dry_run):
        on_hub(end)
        say(f"{credentials_id} are deleted.")
        if as_json:
            print_deleted(credentials_id)


async def _changed(hub: Hub, credentials_id: str, patch: Mapping[str, object]) -> Any:
    from joinder.services.join import vendor_credentials

    owner = await _account(hub, credentials_id)
    return await vendor_credentials.change(hub, owner, credentials_id, ACTOR, patch=patch)


def _print(shown: Any, as_json: bool) -> None:
    from joinder.wire.credentials import Credentials

    print_one(Credentials.of(shown), as_json)


def _print_message(message: str, as_json: bool) -> None:
    from joinder.wire.credentials import ActionOutcome

    if as_json:
        print_json(ActionOutcome(message=message))
    else:
        echo(clean_line(message))


async def _account(hub: Hub, credentials_id: str) -> str:
    from joinder.runtime.hub import account_of
    from joinder.store.tables import VendorCredentials

    return await account_of(hub, VendorCredentials, credentials_id)
