"""Accounts with how much each has."""

from __future__ import annotations

from joinder.runtime.hub import Hub
from joinder.services.admin import account_list
from joinder.services.records import accounts
from services.conftest import Enroll


async def test_counts_of_each_account(hub: Hub, account_id: str, enroll: Enroll) -> None:
    for owner in ("ada", "bob"):
        await enroll(owner)
    other = (await accounts.create_account(hub, "other")).id
    _, gone = [await accounts.create_client(hub, other, name) for name in ("kept", "gone")]
    await accounts.revoke_client(hub, other, gone.client_id)
    found = await account_list.listed(hub)
    assert [(one.row.id, one.enrollments, one.clients) for one in found] == [(other, 0, 1), (account_id, 2, 0)]
    assert [one.row.id for one in await account_list.listed(hub, limit=1)] == [other]
