"""joinder quota"""

from __future__ import annotations

import asyncio
from datetime import timedelta

from cli.conftest import Shell
from joinder.services import accounts, vendor_credentials
from joinder.services.hub import open_hub
from joinder.settings import Settings


async def _prepared(joinder: Shell) -> list[str]:
    """Credentials of a vendor that declares limits, and of one that declares none and is blocked."""
    env = joinder.env
    async with open_hub(Settings(database_url=env["JOINDER_DATABASE_URL"], key_file=env["JOINDER_KEY_FILE"])) as hub:
        account = await accounts.create_account(hub, "Acme")
        found = []
        for vendor in hub.registry.vendors:
            kind = next((one for one in vendor.app_credentials if one.flow == "redirect"), None)
            if kind is None or vendor.name not in ("enphase", "enphasevpp"):
                continue
            values = {one.name: "https://a.example" if one.endpoint else "x" for one in kind.fields}
            given = {"vendor": vendor.name, "type": kind.type, **values}
            found.append((await vendor_credentials.create(hub, account.id, "t", name=None, credentials=given)).id)
            meter = hub.budgets.meter(found[-1], vendor.limits)
            async with meter.call(exchange=False):
                pass
            await meter.limited(timedelta(hours=1))
        return found


def lasting(rows: list[dict[str, object]]) -> list[dict[str, object]]:
    """Without the minutes, one of which may end between two commands."""
    return [row for row in rows if row["span"] != "minute"]


def test_it_prints_what_is_left(joinder: Shell) -> None:
    ids = asyncio.run(_prepared(joinder))
    rows = joinder.json("quota")
    assert {row["credentials"] for row in rows} == set(ids)
    assert {row["span"] for row in rows} == {"minute", "month", "-"}
    limited = [row for row in lasting(rows) if row["vendor"] == "enphase"]
    assert [(row["span"], row["limit"], row["used"]) for row in limited] == [("month", 1000, 1)]
    assert all(str(row["blocked until"]).endswith("Z") for row in rows)
    assert lasting(joinder.json("quota", ids[0])) == [row for row in lasting(rows) if row["credentials"] == ids[0]]
    assert "resets at" in joinder("quota").stdout


def test_what_does_not_exist_is_said(joinder: Shell) -> None:
    assert joinder("quota", "cred-aaaaaaaaaaaaaaaa").returncode == 3
    assert joinder("quota").stdout == "none\n"
