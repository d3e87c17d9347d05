"""A rotated client secret: the old one for a day, tokens untouched, revoked as a whole."""

from __future__ import annotations

import hmac

import pytest
from sqlmodel import select

from joinder.runtime.hub import Hub
from joinder.services.records import access_tokens, accounts
from joinder.services.records.access_tokens import InvalidClient, Tokens
from joinder.services.records.accounts import NewClient
from joinder.services.refusals import Conflict, NotFound, Unprocessable
from joinder.store import vault
from joinder.store.tables import ApiClient, Audit

DATABASES = ("sqlite",)
UNKNOWN = "clnt-aaaaaaaaaaaaaaaa"


@pytest.fixture
async def client(hub: Hub, account_id: str) -> NewClient:
    return await accounts.create_client(hub, account_id, "backend", ("read:sites",))


async def works(hub: Hub, client: NewClient) -> bool:
    try:
        await Tokens(hub).issue(client.client_id, client.client_secret, None)
    except InvalidClient:
        return False
    return True


async def rotated(hub: Hub, client: NewClient, *, at_once: bool = False) -> NewClient:
    return await accounts.rotate_client(hub, client.account_id, client.client_id, at_once=at_once)


async def test_the_old_secret_works_for_a_day_more(
    hub: Hub, client: NewClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    new = await rotated(hub, client)
    assert (new.client_id, new.scopes, new.client_secret == client.client_secret) == (
        client.client_id,
        client.scopes,
        False,
    )
    assert [await works(hub, each) for each in (client, new)] == [True, True]
    moment = access_tokens.now()
    for later, valid in ((accounts.OLD_SECRET_S - 60, True), (accounts.OLD_SECRET_S, False)):
        monkeypatch.setattr(access_tokens, "now", lambda later=later: moment + later)
        assert [await works(hub, each) for each in (client, new)] == [valid, True]


async def test_it_ends_at_once_where_that_is_asked(hub: Hub, client: NewClient) -> None:
    second = await rotated(hub, client)
    third = await rotated(hub, second, at_once=True)
    assert [await works(hub, each) for each in (client, second, third)] == [False, False, True]


async def test_only_the_secret_before_the_last_rotation_is_kept(hub: Hub, client: NewClient) -> None:
    second = await rotated(hub, client)
    third = await rotated(hub, second)
    assert [await works(hub, each) for each in (client, second, third)] == [False, True, True]


async def test_tokens_that_were_issued_live_on(hub: Hub, client: NewClient) -> None:
    token = (await Tokens(hub).issue(client.client_id, client.client_secret, None)).access_token
    await rotated(hub, client, at_once=True)
    assert (await Tokens(hub).verify(token))[0].client_id == client.client_id


async def test_a_revoked_client_has_neither_secret(hub: Hub, client: NewClient) -> None:
    new = await rotated(hub, client)
    await accounts.revoke_client(hub, client.account_id, client.client_id)
    assert [await works(hub, each) for each in (client, new)] == [False, False]
    with pytest.raises(Conflict, match="revoked"):
        await rotated(hub, client)


async def test_another_accounts_client_is_not_found(hub: Hub, client: NewClient) -> None:
    other = (await accounts.create_account(hub, "other")).id
    with pytest.raises(NotFound):
        await accounts.rotate_client(hub, other, client.client_id)


async def test_both_secrets_are_always_compared(hub: Hub, client: NewClient, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else the time of an answer told whether there is a client, or whether it was rotated lately."""
    new = await rotated(hub, client)
    plain = await accounts.create_client(hub, client.account_id, "plain")
    compared = []
    real = hmac.compare_digest
    monkeypatch.setattr(vault.hmac, "compare_digest", lambda a, b: compared.append((a, b)) or real(a, b))
    tried = [new, client, plain, NewClient(client_id=UNKNOWN, client_secret="x", account_id="", scopes=())]
    told = []
    for each in tried:
        compared.clear()
        told.append((await works(hub, each), len(compared), {len(side) for pair in compared for side in pair}))
    assert told == [(True, 2, {32}), (True, 2, {32}), (True, 2, {32}), (False, 2, {32})]


async def test_it_is_audited_and_no_secret_is_stored_or_shown(hub: Hub, client: NewClient) -> None:
    new = await rotated(hub, client)
    assert new.client_secret not in repr(new)
    async with hub.store.read() as session:
        row = await session.get(ApiClient, client.client_id)
        actions = (await session.execute(select(Audit.action).where(Audit.target == client.client_id))).scalars().all()
    assert new.client_secret.encode() not in row.secret_hash + row.old_secret_hash
    assert actions == ["client.create", "client.rotate"]


async def test_the_only_account_needs_no_name(hub: Hub) -> None:
    with pytest.raises(NotFound, match="joinder accounts create"):
        await accounts.account_or_only(hub, None)
    first = await accounts.create_account(hub, "first")
    assert (await accounts.account_or_only(hub, None)).id == first.id
    second = await accounts.create_account(hub, "second")
    assert (await accounts.account_or_only(hub, second.id)).id == second.id
    with pytest.raises(Conflict, match="--account"):
        await accounts.account_or_only(hub, None)
    with pytest.raises(NotFound):
        await accounts.account_or_only(hub, "acct-aaaaaaaaaaaaaaaa")


async def test_a_client_has_a_name_and_a_scope(hub: Hub, account_id: str) -> None:
    for name, scopes in ((" ", accounts.SCOPES), ("backend", ())):
        with pytest.raises(Unprocessable):
            await accounts.create_client(hub, account_id, name, scopes)
    assert await accounts.list_clients(hub, account_id) == []
