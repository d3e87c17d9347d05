from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import rich_click as click

from joinder.commands.admin import (
    ACTOR,
    MOMENT,
    account_option,
    chosen_account,
    limit_option,
    new_account_option,
    over_accounts,
)
from joinder.commands.answering import Columns, print_deleted, print_list, print_one, print_owned, say
from joinder.commands.asking import agreed_by_name, secret_from, severe
from joinder.commands.running import json_option, on_hub

if TYPE_CHECKING:
    from joinder.commands.admin import Owner
    from joinder.runtime.hub import Hub
    from joinder.wire.webhooks import Delivery, Replayed, Webhook

_WEBHOOKS: Columns[Webhook] = {
    "id": lambda one: one.id,
    "url": lambda one: one.url,
    "types": lambda one: ", ".join(one.types or ["all"]),
    "state": lambda one: f"disabled: {one.disabled_reason}" if one.disabled else "on",
    "failing since": lambda one: one.failing_since,
}
_DELIVERIES: Columns[Delivery] = {
    "id": lambda one: one.id,
    "type": lambda one: one.type,
    "status": lambda one: one.status,
    "attempts": lambda one: one.attempts,
    "answered": lambda one: one.answered,
    "reason": lambda one: one.reason,
    "next": lambda one: one.due_at,
    "created": lambda one: one.created_at,
}
_types_option = click.option("--type", "types", multiple=True, metavar="TYPE", help="Only events of this type.")


@click.group(name="webhooks")
def command() -> None:
    """Webhooks: where an account's events are sent. Example:  joinder webhooks list"""


@command.command()
@click.argument("url")
@_types_option
@new_account_option
@json_option
def create(url: str, types: tuple[str, ...], account_id: str | None, as_json: bool) -> None:
    """Create a webhook; its signing secret is shown once. Example:  joinder webhooks create https://app.example/hook

    URL may be - to read it from standard input, where it holds a secret itself.
    """
    from joinder.services.events import webhooks
    from joinder.wire.webhooks import Webhook

    async def make(hub: Hub) -> Webhook:
        owner = await chosen_account(hub, account_id)
        return Webhook.of_secret(await webhooks.create(hub, owner, ACTOR, url=_url(url), types=types))

    made = on_hub(make)
    print_one(made, as_json)
    say(f"The secret is not shown again. Try it:  joinder webhooks test {made.id}")


@command.command(name="list")
@account_option
@json_option
def list_all(account_id: str | None, as_json: bool) -> None:
    """List webhooks. Example:  joinder webhooks list"""
    from joinder.services.events import webhooks
    from joinder.wire.webhooks import Webhook

    async def look(hub: Hub) -> list[tuple[Owner, Webhook]]:
        rows = await over_accounts(
            hub,
            account_id,
            lambda one, after, limit: webhooks.list_page(hub, one, after=after, limit=limit),
            lambda row: row.id,
        )
        return [(owner, Webhook.of(row)) for owner, row in rows]

    print_owned(on_hub(look), _WEBHOOKS, as_json)


@command.command()
@click.argument("webhook_id")
@json_option
def show(webhook_id: str, as_json: bool) -> None:
    """Show a webhook. Example:  joinder webhooks show whep-…"""
    from joinder.services.events import webhooks
    from joinder.wire.webhooks import Webhook

    async def look(hub: Hub) -> Webhook:
        return Webhook.of(await webhooks.get(hub, await _account(hub, webhook_id), webhook_id))

    print_one(on_hub(look), as_json)


@command.command()
@click.argument("webhook_id")
@click.option("--url", help="Where events go from now on; - reads it from stdin.")
@_types_option
@click.option("--all-types", is_flag=True, help="Events of every type again.")
@click.option("--enable/--disable", "is_enabled", default=None, help="Switch it on, which starts anew, or off.")
@json_option
def change(
    webhook_id: str, url: str | None, types: tuple[str, ...], all_types: bool, is_enabled: bool | None, as_json: bool
) -> None:
    """Change a webhook. Example:  joinder webhooks change whep-… --disable

    While it is disabled nothing is put in line for it; a replay brings that.
    """
    from joinder.services.events import webhooks
    from joinder.wire.webhooks import Webhook

    patch = _patch(url and _url(url), types, all_types, is_enabled)

    async def alter(hub: Hub) -> Webhook:
        owner = await _account(hub, webhook_id)
        return Webhook.of(await webhooks.change(hub, owner, webhook_id, ACTOR, patch=patch))

    print_one(on_hub(alter), as_json)


@command.command()
@click.argument("webhook_id")
@json_option
def rotate(webhook_id: str, as_json: bool) -> None:
    """Make a new signing secret, shown once. Example:  joinder webhooks rotate whep-…

    The old one signs beside it for a day.
    """
    from joinder.services.events import webhooks
    from joinder.wire.webhooks import Webhook

    async def turn(hub: Hub) -> Webhook:
        return Webhook.of_secret(await webhooks.rotate(hub, await _account(hub, webhook_id), webhook_id, ACTOR))

    print_one(on_hub(turn), as_json)
    say("The secret is not shown again.")


@command.command()
@click.argument("webhook_id")
@json_option
def test(webhook_id: str, as_json: bool) -> None:
    """Put a test event in line; a server or worker sends it. Example:  joinder webhooks test whep-…"""
    from joinder.services.events import replays
    from joinder.wire.webhooks import Delivery

    async def send(hub: Hub) -> Delivery:
        return Delivery.of(await replays.send_test(hub, await _account(hub, webhook_id), webhook_id, ACTOR))

    print_one(on_hub(send), as_json)
    say(f"What became of it:  joinder webhooks deliveries {webhook_id}")


@command.command()
@click.argument("webhook_id")
@click.option("--status", help="Only pending, delivered or failed ones.")
@limit_option
@json_option
def deliveries(webhook_id: str, status: str | None, limit: int, as_json: bool) -> None:
    """List deliveries, newest first. Example:  joinder webhooks deliveries whep-… --status failed"""
    from joinder.services.events import replays
    from joinder.wire.webhooks import Delivery

    async def look(hub: Hub) -> list[Delivery]:
        owner = await _account(hub, webhook_id)
        rows = await replays.latest(hub, owner, webhook_id, status=status, limit=limit)
        return [Delivery.of(row) for row in rows]

    print_list(on_hub(look), _DELIVERIES, as_json)


@command.command()
@click.argument("webhook_id")
@click.argument("delivery_id", required=False)
@click.option("--since", type=MOMENT, help="All since then that was not delivered, or never put in line.")
@json_option
def replay(webhook_id: str, delivery_id: str | None, since: int | None, as_json: bool) -> None:
    """Send again: one delivery, or what failed. Example:  joinder webhooks replay whep-… --since 2026-06-01"""
    from joinder.services.events import replays
    from joinder.wire.webhooks import Delivery, Replayed

    if (delivery_id is None) == (since is None):
        raise click.UsageError("Give a DELIVERY_ID, or --since.")

    async def again(hub: Hub) -> Delivery | Replayed:
        owner = await _account(hub, webhook_id)
        if delivery_id is not None:
            return Delivery.of(await replays.replay(hub, owner, webhook_id, delivery_id, ACTOR))
        return Replayed(deliveries=await replays.replay_since(hub, owner, webhook_id, ACTOR, since=since or 0))

    print_one(on_hub(again), as_json)


@command.command()
@click.argument("webhook_id")
@severe
@json_option
def delete(webhook_id: str, confirm: str | None, dry_run: bool, as_json: bool) -> None:
    """Delete a webhook with its deliveries. Example:  joinder webhooks delete whep-… --dry-run"""
    from joinder.services.events import replays, webhooks

    async def look(hub: Hub) -> tuple[str, int]:
        owner = await _account(hub, webhook_id)
        row = await webhooks.get(hub, owner, webhook_id)
        waiting = await replays.list_page(hub, owner, webhook_id, status="pending", after="", limit=1000)
        return row.url, len(waiting)

    async def end(hub: Hub) -> None:

        await webhooks.delete(hub, await _account(hub, webhook_id), webhook_id, ACTOR)

    url, waiting = on_hub(look)
    touches = [f"This deletes {webhook_id}: {url} gets no event any more.", f"  Waiting to be sent: {waiting}"]
    if agreed_by_name(webhook_id, touches, confirm=confirm, dry_run=dry_run):
        on_hub(end)
        say(f"{webhook_id} is deleted.")
        if as_json:
            print_deleted(webhook_id)


def _url(given: str) -> str:
    """Returns the URL, read from standard input for `-`: it may hold a secret itself."""
    return secret_from(Path(given)) if given == "-" else given


def _patch(url: str | None, types: tuple[str, ...], all_types: bool, is_enabled: bool | None) -> dict[str, Any]:
    """Builds the change. Raises UsageError when nothing would change, or types are given twice."""
    patch: dict[str, Any] = {"url": url} if url is not None else {}
    if types and all_types:
        raise click.UsageError("Give --type or --all-types.")
    if types or all_types:
        patch["types"] = list(types) or None
    if is_enabled is not None:
        patch["disabled"] = not is_enabled
    if not patch:
        raise click.UsageError("Nothing to change: give --url, --type, --all-types, --enable or --disable.")
    return patch


async def _account(hub: Hub, webhook_id: str) -> str:
    from joinder.runtime.hub import account_of
    from joinder.store.tables import WebhookEndpoint

    return await account_of(hub, WebhookEndpoint, webhook_id)
