"""Flows and credentials as the admin lists them, and that the filters to what they made are read by an index."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from joinder.clock import now
from joinder.runtime.hub import Hub
from joinder.services.admin import flow_list, search
from joinder.services.join import join_flows
from joinder.services.join.join_flows import FlowVendor
from joinder.services.records import accounts
from joinder.store.sqlite import SqliteStore
from joinder.store.tables import Enrollment, JoinSession, VendorCredentials
from services.conftest import Enroll

NOW = now()


async def make_flow(hub: Hub, account_id: str, credentials_id: str | None) -> str:
    entry = FlowVendor(vendor="strict", credentials_id=credentials_id)
    made = await join_flows.create(hub, account_id, "test", vendors=[entry], redirect_uri="https://app.example/back")
    return made.id


def attempt(flow_id: str, account_id: str, token: bytes, **columns: object) -> JoinSession:
    values: dict[str, Any] = {"created_at": NOW - 60, "expires_at": NOW + 600, **columns}
    return JoinSession(
        token_hash=token,
        account_id=account_id,
        flow_id=flow_id,
        vendor="strict",
        cookie_hash=b"c",
        secrets_sealed=b"s",
        client_redirect_uri="https://app.example/back",
        **values,
    )


async def test_flows_and_credentials_are_listed_with_what_hangs_on_them(
    hub: Hub, account_id: str, credentials_id: str, enroll: Enroll, monkeypatch: pytest.MonkeyPatch
) -> None:
    flow_id = await make_flow(hub, account_id, credentials_id)
    enrollment_id = await enroll("ada")
    monkeypatch.setattr(flow_list, "now", lambda: NOW)
    async with hub.store.write() as session:
        row = await session.get(Enrollment, enrollment_id)
        assert row is not None
        row.flow_id = flow_id
        session.add(attempt(flow_id, account_id, b"under way"))
        session.add(attempt(flow_id, account_id, b"given up", expires_at=NOW - 1))
        session.add(attempt(flow_id, account_id, b"answered", used_at=NOW - 1))
    (flow,) = await flow_list.flows(hub)
    assert (flow.row.id, flow.under_way, flow.enrollments) == (flow_id, 1, 1)
    (credentials,) = await flow_list.credentials(hub)
    assert (credentials.row.id, credentials.flows, credentials.enrollments) == (credentials_id, 1, 1)


async def test_of_one_account_only(hub: Hub, account_id: str, credentials_id: str) -> None:
    other = (await accounts.create_account(hub, "other")).id
    await make_flow(hub, account_id, credentials_id)
    assert len(await flow_list.flows(hub, account_id)) == len(await flow_list.credentials(hub, account_id)) == 1
    assert await flow_list.flows(hub, other) == await flow_list.credentials(hub, other) == []


async def test_quotas_of_many_by_one_query(hub: Hub, credentials_id: str, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    rows = hub.store.rows

    async def counted(sql: str, parameters: Mapping[str, Any]) -> Sequence[Any]:
        asked.append(sql)
        return await rows(sql, parameters)

    monkeypatch.setattr(hub.store, "rows", counted)
    known = [one.row for one in await flow_list.credentials(hub)]
    gone = VendorCredentials(
        id="cred-x", account_id="", vendor="gone", type="", secrets_sealed=b"", created_at=0, updated_at=0
    )
    assert set(await flow_list.quotas(hub, [*known, gone])) == {credentials_id}
    assert len(asked) == 1


@pytest.mark.parametrize(
    ("word", "index"),
    [
        ("flow:flow-a", "enrollment_by_flow"),
        ("credentials:cred-a", "enrollment_by_app"),
        ("health:quarantined", "enrollment_by_state"),
    ],
)
async def test_the_enrollments_of_a_flow_of_credentials_or_in_a_state_are_read_by_an_index(
    hub: Hub, word: str, index: str
) -> None:
    if not isinstance(hub.store, SqliteStore):
        pytest.skip("PostgreSQL chooses by what is stored")
    query = search.parse(word)
    sql = search._PAGE.format(where=query.where("sqlite"), way="DESC", key=search.NEWEST.key)
    plan = await hub.store.rows(f"EXPLAIN QUERY PLAN {sql}", {**query.values, "limit": 10})
    steps = [str(row[3]) for row in plan]
    assert any(f"SEARCH e USING INDEX {index}" in step for step in steps), steps
    assert not any("TEMP B-TREE FOR ORDER BY" in step for step in steps), steps
