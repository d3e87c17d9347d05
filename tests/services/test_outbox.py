"""Webhooks over all accounts, as the admin sees them."""

from __future__ import annotations

from joinder.runtime.hub import Hub
from joinder.services.events import webhook_list, webhooks
from joinder.services.records import accounts
from services.sent import deliver, endpoint


async def test_endpoints_of_all_accounts_with_what_waits_and_what_failed(hub: Hub, account_id: str) -> None:
    other = (await accounts.create_account(hub, "other")).id
    well, off, theirs = [
        await endpoint(hub, owner, name) for owner, name in ((account_id, "well"), (account_id, "off"), (other, "else"))
    ]
    await deliver(hub, account_id, well, "pending", "failed", "failed", "delivered")
    await deliver(hub, other, theirs, "pending")
    await webhooks.change(hub, account_id, off, "test", patch={"disabled": True})
    found = await webhook_list.endpoints(hub)
    assert found[0].row.id == off
    assert {one.row.id: (one.waiting, one.failed) for one in found} == {well: (1, 2), off: (0, 0), theirs: (1, 0)}
    assert [one.row.id for one in await webhook_list.endpoints(hub, account_id=other)] == [theirs]
    assert "canary" not in repr(found)


async def test_how_many_go_with_an_endpoint(hub: Hub, account_id: str) -> None:
    mine, second = await endpoint(hub, account_id, "mine"), await endpoint(hub, account_id, "second")
    await deliver(hub, account_id, mine, "delivered", "failed", "pending")
    await deliver(hub, account_id, second, "failed")
    assert await webhook_list.count_sent(hub, mine) == 3
