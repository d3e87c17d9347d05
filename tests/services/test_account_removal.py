"""A deleted account leaves nothing but its audit; its neighbour loses nothing."""

from __future__ import annotations

import pytest
from sqlalchemy import select
from sqlmodel import SQLModel

from joinder.clock import now
from joinder.ids import new_id
from joinder.runtime.hub import Hub
from joinder.services.admin import account_removal, audit_proof
from joinder.services.events import webhooks
from joinder.services.join import stored_consents, vendor_credentials
from joinder.services.join.stored_consents import Origin
from joinder.services.records import accounts, brands
from joinder.services.refusals import NotFound, Unprocessable
from joinder.store.tables import (
    Application,
    Audit,
    Backfill,
    CounterRow,
    Coverage,
    Delivery,
    DeviceRow,
    Event,
    Idempotency,
    Interval,
    JoinFlow,
    JoinSession,
    LiveRow,
    Notice,
    Program,
    Quota,
    SiteRow,
)
from services.strict_vendor import StrictVendor

OF_NO_ACCOUNT = {  # a revocation outlives its own; a token that ended is known by its id alone
    "breaker", "reading_source", "revocation", "revoked_token", "signing_key", "store_state", "tally",
}  # fmt: skip
Rows = dict[str, list[str]]


async def filled(hub: Hub, vendor: StrictVendor, owners: tuple[str, ...]) -> str:
    """A row in every table that can hold one of an account."""
    account_id = (await accounts.create_account(hub, f"of {owners[0]}")).id
    given = {"vendor": vendor.name, "type": "app", "clientID": "an-id", "clientSecret": "a-secret"}
    credentials = await vendor_credentials.create(hub, account_id, "test", name=None, credentials=given)
    await accounts.create_client(hub, account_id, "backend")
    hook = await webhooks.create(hub, account_id, "test", url="https://hook.example/x", types=[])
    for owner in owners:
        async with hub.store.write() as session:
            enrollment = await stored_consents.store(
                hub,
                session,
                account_id,
                vendor.consent(owner),
                Origin(vendor=vendor.name, credentials_id=credentials.id),
            )
        await add_what_is_read(hub, account_id, enrollment.id)
    await add_what_is_under_way(hub, account_id, hook.row.id)
    async with hub.store.write() as session:
        session.add(Quota(app=credentials.id, span="day", window=1, used=1))
    return account_id


async def add_what_is_under_way(hub: Hub, account_id: str, endpoint_id: str) -> None:
    flow = JoinFlow(id=new_id("flow"), account_id=account_id, redirect_uri="x", vendors=[], created_at=1)
    consent = JoinSession(
        token_hash=account_id.encode(), account_id=account_id, flow_id=flow.id, vendor="strict", cookie_hash=b"",
        secrets_sealed=b"", client_redirect_uri="x", created_at=1, expires_at=1,
    )  # fmt: skip
    async with hub.store.write() as session:
        event = (await session.execute(select(Event).where(Event.account_id == account_id))).scalars().first()
        sent = Delivery(
            id=new_id("dlvy"), account_id=account_id, endpoint_id=endpoint_id, event_id=event.id, created_at=1, due_at=1
        )
        asked = Idempotency(
            client_id=f"clnt of {account_id}", key_hash="k", account_id=account_id, fingerprint="f", request_id="r",
            created_at=1, expires_at=1,
        )  # fmt: skip
        session.add_all([flow, consent, sent, asked])
    await brands.change(hub, account_id, "test", colour="#123456")


async def add_what_is_read(hub: Hub, account_id: str, enrollment_id: str) -> None:
    async with hub.store.write() as session:
        site = (await session.execute(select(SiteRow).where(SiteRow.enrollment_id == enrollment_id))).scalar_one()
        device = DeviceRow(
            id=new_id("devc"), account_id=account_id, site_id=site.id, vendor=site.vendor, kind="meter",
            vendor_id="m", state={}, fetched_at=now(),
        )  # fmt: skip
        session.add(device)
        session.add(
            Backfill(
                id=new_id("fill"), account_id=account_id, enrollment_id=enrollment_id, start=0, end=1, created_at=1,
                updated_at=1,
            )
        )  # fmt: skip
        session.add(
            Program(
                id=new_id("prog"), account_id=account_id, name="P", start_at=0, end_at=1, resource_types=[],
                vendors=[], options={}, created_at=1,
            )
        )  # fmt: skip
        session.add(Application(enrollment_id=enrollment_id, account_id=account_id, applied_at=1, sealed=b""))
        session.add(LiveRow(site_id=site.id, measured_at=1, fetched_at=1))
        session.add(Notice(enrollment_id=enrollment_id, key="k", text="Something", since=1, last_at=1))
        for subject in (site.id, device.id):
            session.add(Interval(subject_id=subject, resolution="15m", start=0, end=900, fetched_at=1))
            session.add(CounterRow(subject_id=subject, at=1))
            session.add(Coverage(subject_id=subject, resolution="15m", start=0, end=900, fetched_at=1))


async def rows_of_all_tables(hub: Hub) -> Rows:
    async with hub.store.read() as session:
        return {
            table.name: sorted(repr(tuple(row)) for row in (await session.execute(select(table))).all())
            for table in SQLModel.metadata.sorted_tables
            if table.name not in OF_NO_ACCOUNT
        }


async def removed(hub: Hub, account_id: str) -> list[tuple[int, int]]:
    return [(step.done, step.total) async for step in account_removal.remove(hub, account_id, "test")]


async def test_nothing_of_it_is_left_and_nothing_of_another_is_touched(hub: Hub, vendor: StrictVendor) -> None:
    await filled(hub, vendor, ("neighbour",))
    before = await rows_of_all_tables(hub)
    assert [name for name, rows in before.items() if not rows] == []
    account_id = await filled(hub, vendor, ("ada", "bob"))
    assert await account_removal.holdings(hub, account_id) == {
        "enrollments": 2, "sites": 2, "vendor credentials": 1, "join flows": 1, "webhooks": 1, "API clients": 1,
    }  # fmt: skip
    assert await removed(hub, account_id) == [(1, 2), (2, 2)]
    after = await rows_of_all_tables(hub)
    audit, heads = after.pop("audit"), after.pop("audit_head")
    assert set(before.pop("audit")) <= set(audit)
    assert len(heads) == len(before.pop("audit_head")) + 1
    assert (await audit_proof.verify(hub)).findings == []
    assert after == before
    async with hub.store.read() as session:
        kept = (await session.execute(select(Audit.action).where(Audit.account_id == account_id))).scalars().all()
    assert kept[-1] == "account.delete"
    assert kept.count("enrollment.delete") == 2
    with pytest.raises(NotFound):
        await removed(hub, account_id)


async def test_a_cut_removal_lets_nobody_in_and_goes_on(hub: Hub, vendor: StrictVendor) -> None:
    account_id = await filled(hub, vendor, ("ada", "bob", "cyd"))
    async for _ in account_removal.remove(hub, account_id, "test"):
        break
    left = await account_removal.holdings(hub, account_id)
    assert (left["enrollments"], left["API clients"], left["join flows"]) == (2, 0, 0)
    assert await removed(hub, account_id) == [(1, 2), (2, 2)]
    assert [row.id for row in await accounts.list_accounts(hub)] == []


async def test_a_consent_that_ended_meanwhile_goes_too(hub: Hub, vendor: StrictVendor) -> None:
    account_id = await filled(hub, vendor, ("ada",))
    seen = []
    async for step in account_removal.remove(hub, account_id, "test"):
        if not seen:
            async with hub.store.write() as session:
                await stored_consents.store(
                    hub, session, account_id, vendor.consent("late"), Origin(vendor=vendor.name, credentials_id=None)
                )
        seen.append((step.done, step.total))
    assert seen == [(1, 1), (2, 2)]
    assert await accounts.list_accounts(hub) == []


async def test_an_account_is_renamed(hub: Hub, account_id: str) -> None:
    await accounts.rename_account(hub, account_id, "test", " Acme Energy ")
    assert [row.name for row in await accounts.list_accounts(hub)] == ["Acme Energy"]
    with pytest.raises(Unprocessable):
        await accounts.rename_account(hub, account_id, "test", "two\nlines")
    with pytest.raises(NotFound):
        await accounts.rename_account(hub, "acct-aaaaaaaaaaaaaaaa", "test", "x")
