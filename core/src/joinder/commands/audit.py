from __future__ import annotations

from typing import TYPE_CHECKING

import rich_click as click

from joinder.commands.admin import account_ids, account_option, limit_option
from joinder.commands.answering import Columns, print_list
from joinder.commands.running import json_option, on_hub

if TYPE_CHECKING:
    from joinder.commands.answers import Audit
    from joinder.runtime.hub import Hub

_COLUMNS: Columns[Audit] = {
    "at": lambda one: one.at,
    "actor": lambda one: one.actor,
    "action": lambda one: one.action,
    "target": lambda one: one.target,
    "reason": lambda one: one.reason,
    "account": lambda one: one.account_id,
}


@click.group(name="audit")
def command() -> None:
    """The audit: who changed what. Example:  joinder audit list --limit 20"""


@command.command(name="list")
@click.option("--target", metavar="ID", help="Only what was done to this.")
@account_option
@limit_option
@json_option
def list_all(target: str | None, account_id: str | None, limit: int, as_json: bool) -> None:
    """List what was changed, newest first. Example:  joinder audit list --target cred-…"""

    async def look(hub: Hub) -> list[Audit]:
        from joinder.commands.answers import Audit
        from joinder.services.admin import audits
        from joinder.wire.base import utc

        await account_ids(hub, account_id)
        return [
            Audit(
                id=row.id,
                account_id=row.account_id,
                at=utc(row.at) or "",
                actor=row.actor,
                action=row.action,
                target=row.target,
                reason=row.reason,
            )
            for row in await audits.latest(hub, account_id=account_id, target=target, limit=limit)
        ]

    print_list(on_hub(look), _COLUMNS, as_json)
