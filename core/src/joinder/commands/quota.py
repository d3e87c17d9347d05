from __future__ import annotations

from typing import TYPE_CHECKING, Any

import rich_click as click

from joinder.commands.running import json_option, on_hub, show

if TYPE_CHECKING:
    from joinder.services.hub import Hub


@click.command(name="quota")
@click.argument("credentials_id", required=False)
@json_option
def command(credentials_id: str | None, as_json: bool) -> None:
    """Show how many calls vendor credentials have left; without CREDENTIALS_ID, all of them.
    Example:  joinder quota cred-…
    """
    show(on_hub(lambda hub: _rows(hub, credentials_id)), as_json)


async def _rows(hub: Hub, credentials_id: str | None) -> list[dict[str, Any]]:
    """One for each limit; one with "-" where the vendor declares none."""
    from joinder.services import vendor_credentials

    rows = []
    for row, left in await vendor_credentials.all_quotas(hub, credentials_id):
        known = [
            {"span": one.span, "limit": one.limit, "used": one.used, "resets at": _utc(one.resets_at)}
            for one in left.quotas
        ]
        for shown in known or [dict.fromkeys(("span", "limit", "used", "resets at"), "-")]:
            blocked = _utc(left.blocked_until)
            rows.append({"credentials": row.id, "vendor": row.vendor, **shown, "blocked until": blocked})
    return rows


def _utc(at: int | None) -> str:
    from joinder.clock import from_epoch

    moment = from_epoch(at)
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ") if moment else "-"
