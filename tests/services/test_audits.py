"""The audit as the admin looks through it."""

from __future__ import annotations

from joinder.runtime.hub import Hub
from joinder.services.admin import audits
from joinder.services.records import accounts


async def test_by_action_target_and_account(hub: Hub, account_id: str) -> None:
    other = (await accounts.create_account(hub, "other")).id
    client = await accounts.create_client(hub, other, "backend")
    made = await audits.latest(hub, action="account.create", limit=10)
    assert {row.target for row in made} == {account_id, other}
    assert [row.target for row in await audits.latest(hub, action="account.create", account_id=other, limit=10)] == [
        other
    ]
    assert [row.action for row in await audits.latest(hub, target=client.client_id, limit=10)] == ["client.create"]
    first, *_ = await audits.latest(hub, limit=1)
    assert first.id not in [row.id for row in await audits.latest(hub, before=first, limit=10)]
