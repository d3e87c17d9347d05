from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import rich_click as click

from joinder.commands.admin import (
    ACTOR,
    account_option,
    chosen_account,
    new_account_option,
    over_accounts,
    pairs,
)
from joinder.commands.answering import Columns, counted, print_json, print_list, print_one, print_owned, say
from joinder.commands.answers import CredentialsQuota, Deleted
from joinder.commands.asking import agreed_by_name, secret_from, severe
from joinder.commands.running import json_option, on_hub

if TYPE_CHECKING:
    from joinder.api.schemas import ActionInfo, Credentials
    from joinder.services.hub import Hub
    from joinder.services.vendor_credentials import Dependents
    from joinder.vendor import Field

_from_option = click.option(
    "--from", "file", type=click.Path(path_type=Path, allow_dash=True), help="JSON object of fields; - for stdin."
)
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


@command.command()
@click.argument("vendor")
@click.argument("type_name", metavar="TYPE")
@_from_option
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

    Secrets come out of the file or standard input; the fields a vendor asks for are in `joinder vendors --json` and in
    its README.
    """
    from joinder.services import vendor_credentials

    plain = pairs(fields, "--field")
    secret = _object(file) if file is not None else {}

    async def make(hub: Hub) -> vendor_credentials.Shown:
        _refuse_secrets("--field", _declared(hub, vendor, type_name), plain)
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
    from joinder.api import wire
    from joinder.services import vendor_credentials

    async def look(hub: Hub) -> list[tuple[str, Credentials]]:
        rows = await over_accounts(
            hub,
            account_id,
            lambda one, after, limit: vendor_credentials.list_page(
                hub, one, vendor=vendor, name=name, after=after, limit=limit
            ),
            lambda row: row.id,
        )
        return [(owner, wire.credentials(row)) for owner, row in rows]

    print_owned(on_hub(look), _CREDENTIALS, as_json)


@command.command()
@click.argument("credentials_id")
@json_option
def show(credentials_id: str, as_json: bool) -> None:
    """Show vendor credentials, without secrets. Example:  joinder credentials show cred-…"""
    from joinder.services import vendor_credentials

    async def look(hub: Hub) -> vendor_credentials.Shown:
        return await vendor_credentials.get(hub, await _account(hub, credentials_id), credentials_id, ACTOR)

    _print(on_hub(look), as_json)


@command.command()
@click.argument("credentials_id")
@json_option
def test(credentials_id: str, as_json: bool) -> None:
    """Ask the vendor whether it knows them, by one call. Example:  joinder credentials test cred-…"""
    from joinder.services import credential_test

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
    patch = {"credentials": _object(file)}
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
@click.argument("credentials_id", required=False)
@json_option
def quota(credentials_id: str | None, as_json: bool) -> None:
    """How many calls are left, of one or of all. Example:  joinder credentials quota cred-…"""
    found = on_hub(lambda hub: _quotas(hub, credentials_id))
    if as_json:
        print_json(found)
    else:
        print_list(
            [line for one in found for line in _quota_lines(one)], {name: _member(name) for name in _QUOTA}, False
        )


@command.command()
@click.argument("credentials_id")
@click.option("--reason", required=True, help="Why; it stands in the audit.")
@json_option
def reveal(credentials_id: str, reason: str, as_json: bool) -> None:
    """Print the secrets; audited. Example:  joinder credentials reveal cred-… --reason "moving to the new host" """
    import sys

    from joinder.services import vendor_credentials
    from joinder.services.refusals import Invalid

    async def look(hub: Hub) -> vendor_credentials.Shown:
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
    from joinder.api import wire
    from joinder.services import operator_actions

    async def look(hub: Hub) -> list[ActionInfo]:
        found = await operator_actions.list_actions(hub, await _account(hub, credentials_id), credentials_id)
        return [wire.action(one) for one in found]

    print_list(on_hub(look), _ACTIONS, as_json)


@command.command()
@click.argument("credentials_id")
@click.argument("action")
@click.option("--set", "given", multiple=True, metavar="NAME=VALUE", help="A value the action asks for, no secret.")
@_from_option
@json_option
def act(credentials_id: str, action: str, given: tuple[str, ...], file: Path | None, as_json: bool) -> None:
    """Run such a step. Example:  joinder credentials act cred-… register --set domain=hub.example.com"""
    from joinder.services import operator_actions

    plain = pairs(given, "--set")
    secret = _object(file) if file is not None else {}

    async def run(hub: Hub) -> str:
        owner = await _account(hub, credentials_id)
        known = await operator_actions.list_actions(hub, owner, credentials_id)
        fields = [entry for one in known if one.name == action for entry in one.fields]
        _refuse_secrets("--set", fields, plain)
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
    from joinder.services import vendor_credentials

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
            print_json(Deleted(deleted=credentials_id))


_QUOTA = ("credentials", "vendor", "span", "limit", "used", "resets at", "blocked until")


def _member(name: str) -> Any:
    return lambda line: line[name]


def _quota_lines(one: CredentialsQuota) -> list[dict[str, object]]:
    """One for each limit; one alone where the vendor declares none."""
    shared = {"credentials": one.credentials_id, "vendor": one.vendor, "blocked until": one.blocked_until}
    known: list[dict[str, object]] = [
        {"span": each.span, "limit": each.limit, "used": each.used, "resets at": each.resets_at} for each in one.quotas
    ]
    return [{**shared, **each} for each in known or [dict.fromkeys(_QUOTA[2:6])]]


async def _quotas(hub: Hub, credentials_id: str | None) -> list[CredentialsQuota]:
    from joinder.api import wire
    from joinder.services import vendor_credentials

    found = []
    for row, left in await vendor_credentials.all_quotas(hub, credentials_id):
        told = wire.quotas(left)
        found.append(
            CredentialsQuota(
                credentials_id=row.id, vendor=row.vendor, quotas=told.quotas, blocked_until=told.blocked_until
            )
        )
    return found


async def _changed(hub: Hub, credentials_id: str, patch: Mapping[str, object]) -> Any:
    from joinder.services import vendor_credentials

    owner = await _account(hub, credentials_id)
    return await vendor_credentials.change(hub, owner, credentials_id, ACTOR, patch=patch)


def _object(file: Path) -> dict[str, Any]:
    """A JSON object out of the file. What is wrong with it is told without any of it: it holds secrets."""
    import msgspec

    try:
        return msgspec.json.decode(secret_from(file), type=dict[str, Any])
    except (msgspec.DecodeError, UnicodeEncodeError):
        raise click.UsageError(
            '--from must hold a JSON object such as {"clientID": "…", "clientSecret": "…"}'
        ) from None


def _declared(hub: Hub, vendor: str, type_name: str) -> Sequence[Field]:
    """Empty for what is unknown: the service says so better."""
    from joinder.errors import UnknownVendor

    try:
        kind = hub.registry.vendor(vendor).app_credential(type_name)
    except UnknownVendor:
        return ()
    return kind.fields if kind is not None else ()


def _refuse_secrets(option: str, declared: Sequence[Field], plain: Mapping[str, str]) -> None:
    """Others on this machine see a command line, and the shell remembers it. Raises Invalid."""
    from joinder.services.refusals import Invalid

    if hidden := [entry.name for entry in declared if entry.secret and entry.name in plain]:
        raise Invalid(f"{option} takes no secret: give {', '.join(hidden)} with --from.")


def _print(shown: Any, as_json: bool) -> None:
    from joinder.api import wire

    print_one(wire.credentials(shown), as_json)


def _print_message(message: str, as_json: bool) -> None:
    from joinder.api.schemas import ActionOutcome

    if as_json:
        print_json(ActionOutcome(message=message))
    else:
        click.echo(message)


async def _account(hub: Hub, credentials_id: str) -> str:
    from joinder.services.hub import account_of
    from joinder.store.tables import VendorCredentials

    return await account_of(hub, VendorCredentials, credentials_id)
