from __future__ import annotations

from typing import TYPE_CHECKING, Any

import rich_click as click

from joinder.commands.answering import print_json, print_list
from joinder.commands.running import json_option, on_hub

if TYPE_CHECKING:
    from joinder.commands.answers import CredentialsQuota
    from joinder.runtime.hub import Hub

_QUOTA = ("credentials", "vendor", "span", "limit", "used", "resets at", "blocked until")


@click.command()
@click.argument("credentials_id", required=False)
@json_option
def quota(credentials_id: str | None, as_json: bool) -> None:
    """Show how many calls are left, of one or of all. Example:  joinder credentials quota cred-…"""
    found = on_hub(lambda hub: _quotas(hub, credentials_id))
    if as_json:
        print_json(found)
    else:
        print_list(
            [line for one in found for line in _quota_lines(one)], {name: _member(name) for name in _QUOTA}, False
        )


def _member(name: str) -> Any:
    return lambda line: line[name]


def _quota_lines(one: CredentialsQuota) -> list[dict[str, object]]:
    """Returns a line for each limit; one alone where the vendor declares none."""
    shared = {"credentials": one.credentials_id, "vendor": one.vendor, "blocked until": one.blocked_until}
    known: list[dict[str, object]] = [
        {"span": each.span, "limit": each.limit, "used": each.used, "resets at": each.resets_at} for each in one.quotas
    ]
    return [{**shared, **each} for each in known or [dict.fromkeys(_QUOTA[2:6])]]


async def _quotas(hub: Hub, credentials_id: str | None) -> list[CredentialsQuota]:
    from joinder.commands.answers import CredentialsQuota
    from joinder.services.admin import flow_list
    from joinder.services.refusals import NotFound
    from joinder.wire.credentials import Quotas

    rows = [one.row for one in await flow_list.credentials(hub) if credentials_id in (None, one.row.id)]
    left = await flow_list.quotas(hub, rows)
    if credentials_id is not None and credentials_id not in left:
        raise NotFound("No credentials of an installed vendor have this id.")
    found = []
    for row in (row for row in rows if row.id in left):
        told = Quotas.of(left[row.id])
        found.append(
            CredentialsQuota(
                credentials_id=row.id, vendor=row.vendor, quotas=told.quotas, blocked_until=told.blocked_until
            )
        )
    return found
