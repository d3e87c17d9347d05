"""Webhooks over all accounts, as the admin sees them."""

from __future__ import annotations

from joinder.services import accounts, outbox, webhooks
from joinder.services.hub import Hub
from services.sent import deliver, endpoint


async def test_endpoints_of_all_accounts_with_what_waits_and_what_failed(hub: Hub, account_id: str) -> None:
    other = (await accounts.create_account(hub, "other")).id
    well, off, theirs = [
        await endpoint(hub, owner, name) for owner, name in ((account_id, "well"), (account_id, "off"), (other, "else"))
    ]
    await deliver(hub, account_id, well, "pending", "failed", "failed", "delivered")
    await deliver(hub, other, theirs, "pending")
    await webhooks.change(hub, account_id, off, "test", patch={"disabled": True})
    found = await outbox.endpoints(hub)
    assert found[0].row.id == off
    assert {one.row.id: (one.waiting, one.failed) for one in found} == {well: (1, 2), off: (0, 0), theirs: (1, 0)}
    assert [one.row.id for one in await outbox.endpoints(hub, account_id=other)] == [theirs]
    assert "canary" not in repr(found)


async def test_the_latest_deliveries_failed_ones_first(hub: Hub, account_id: str) -> None:
    mine, second = await endpoint(hub, account_id, "mine"), await endpoint(hub, account_id, "second")
    first, broken, last = await deliver(hub, account_id, mine, "delivered", "failed", "pending")
    await deliver(hub, account_id, second, "failed")
    found = await outbox.sent(hub, account_id, mine, failed_only=False, limit=10)
    assert [row.id for row, _ in found] == [broken, last, first]
    found = await outbox.sent(hub, account_id, mine, failed_only=True, limit=10)
    assert [row.id for row, _ in found] == [broken]
    assert await outbox.count_sent(hub, mine) == 3


async def test_a_failure_that_is_no_longer_recent_is_found_among_the_failed(hub: Hub, account_id: str) -> None:
    mine = await endpoint(hub, account_id, "mine")
    old, *_ = await deliver(hub, account_id, mine, "failed", *["delivered"] * outbox.RECENT)
    latest = await outbox.sent(hub, account_id, mine, failed_only=False, limit=outbox.RECENT)
    assert old not in [row.id for row, _ in latest]
    assert [row.id for row, _ in await outbox.sent(hub, account_id, mine, failed_only=True, limit=10)] == [old]
