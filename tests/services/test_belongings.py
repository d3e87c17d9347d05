"""What a deletion takes along, and what the admin's commands ask on top of what integrators do, on both databases."""

from __future__ import annotations

import pytest

from joinder.clock import now
from joinder.runtime.hub import Hub
from joinder.services.admin import removal
from joinder.services.events import replays, webhooks
from joinder.services.join import enrollments, join_flows, join_sessions, vendor_credentials
from joinder.services.join.intros import MAX_STATE
from joinder.services.join.join_flows import FlowVendor
from joinder.services.join.labels import Labels
from joinder.services.records import events
from joinder.services.records.event_types import TEST
from joinder.services.refusals import Invalid, NotFound
from joinder.store.tables import Coverage, Delivery, DeviceRow, Enrollment, Interval, JoinSession, Quota
from services.conftest import Enroll

OTHER = "acct-bbbbbbbbbbbbbbbb"


async def filled(hub: Hub, account_id: str, enrollment_id: str) -> str:
    """A device, and an interval of the site and of the device. Answers the site's id."""
    (site_id,) = (await enrollments.get(hub, account_id, enrollment_id)).site_ids
    device_id = site_id.replace("site", "solr")
    values = {"account_id": account_id, "site_id": site_id, "vendor": "strict", "kind": "inverter", "vendor_id": "d"}
    async with hub.store.write() as session:
        session.add(DeviceRow(id=device_id, state={}, fetched_at=1, **values))
        for subject in (site_id, device_id):
            session.add(Interval(subject_id=subject, resolution="15mins", start=0, end=900, fetched_at=1))
            session.add(Coverage(subject_id=subject, resolution="15mins", start=0, end=900, fetched_at=1))
    return site_id


async def test_what_ends_with_an_enrollment(hub: Hub, account_id: str, enroll: Enroll) -> None:
    ada, bob = await enroll("ada"), await enroll("bob")
    await filled(hub, account_id, ada)
    await filled(hub, account_id, bob)
    ends = await removal.belongings(hub, [ada])
    assert (ends.site_names, ends.devices, ends.intervals) == (["site-of-ada"], 1, 2)
    both = await removal.belongings(hub, [ada, bob])
    assert (sorted(both.site_names), both.devices, both.intervals) == (["site-of-ada", "site-of-bob"], 2, 4)
    await enrollments.delete(hub, account_id, ada, "test")
    left = await removal.belongings(hub, [ada, bob])
    assert (left.site_names, left.devices, left.intervals) == (["site-of-bob"], 1, 2)
    for table in ("interval", "coverage"):
        assert (await hub.store.rows(f"SELECT count(*) FROM {table}", {}))[0][0] == 2, table  # noqa: S608


async def test_calls_counted_for_an_owners_own_key_or_for_an_app_end_with_it(
    hub: Hub, account_id: str, credentials_id: str, enroll: Enroll
) -> None:
    ada = await enroll("ada")
    async with hub.store.write() as session:
        for app in (ada, credentials_id, "another"):
            session.add(Quota(app=app, span="day", window=0, used=7))
    await enrollments.delete(hub, account_id, ada, "test")
    await vendor_credentials.delete(hub, account_id, credentials_id, "test")
    assert [row[0] for row in await hub.store.rows("SELECT app FROM quota WHERE used = 7", {})] == ["another"]


async def test_enrollments_of_any_account_in_the_order_asked_for(hub: Hub, enroll: Enroll) -> None:
    ada, bob = await enroll("ada"), await enroll("bob")
    found = await enrollments.of_ids(hub, [bob, "enrl-aaaaaaaaaaaaaaaa", ada])
    assert [one.row.id for one in found] == [bob, ada]
    assert all(one.grant is not None and one.site_ids for one in found)
    assert await enrollments.of_ids(hub, []) == []


async def new_flow(hub: Hub, account_id: str, credentials_id: str) -> str:
    entry = FlowVendor(vendor="strict", credentials_id=credentials_id)
    made = await join_flows.create(hub, account_id, "test", vendors=[entry], redirect_uri="https://a.example/")
    return made.id


async def test_what_a_flow_leaves_behind(hub: Hub, account_id: str, credentials_id: str, enroll: Enroll) -> None:
    flow_id, ada = await new_flow(hub, account_id, credentials_id), await enroll("ada")
    async with hub.store.write() as session:
        row = await session.get(Enrollment, ada)
        assert row is not None
        row.flow_id = flow_id
        for number, (used_at, expires_in) in enumerate([(None, 60), (None, -1), (1, 60)]):
            session.add(
                JoinSession(
                    token_hash=bytes([number]),
                    account_id=account_id,
                    flow_id=flow_id,
                    vendor="strict",
                    cookie_hash=b"",
                    secrets_sealed=b"",
                    client_redirect_uri="",
                    used_at=used_at,
                    created_at=1,
                    expires_at=now() + expires_in,
                )
            )
    used = await join_flows.dependents(hub, account_id, flow_id)
    assert (used.under_way, used.enrollments) == (1, 1)
    with pytest.raises(NotFound):
        await join_flows.dependents(hub, OTHER, flow_id)


async def test_the_link_of_a_flow(hub: Hub, account_id: str, credentials_id: str) -> None:
    flow_id = await new_flow(hub, account_id, credentials_id)
    base = f"{hub.settings.public_url}/join/flows/{flow_id}/authorize"
    assert await join_sessions.link(hub, account_id, flow_id, None) == base
    labels = Labels(state="a b&c", reference="7 north")
    told = await join_sessions.link(hub, account_id, flow_id, "strict", labels)
    assert told == f"{base}?vendor=strict&state=a+b%26c&reference=7+north"
    too_long = (Labels(state="x" * (MAX_STATE + 1)), Labels(reference="x" * 257), Labels(reference=""))
    for vendor, refused in (("other", Labels()), *((None, labels) for labels in too_long)):
        with pytest.raises(Invalid):
            await join_sessions.link(hub, account_id, flow_id, vendor, refused)
    with pytest.raises(NotFound):
        await join_sessions.link(hub, OTHER, flow_id, None)


async def test_events_as_they_come(hub: Hub, account_id: str, enroll: Enroll) -> None:
    ada, _ = await enroll("ada"), await enroll("bob")
    async with hub.store.write() as session:
        events.write(session, account_id, TEST, {})
        events.write(session, OTHER, TEST, {})
    assert len(await events.since(hub, now() - 60)) == 4
    assert await events.since(hub, now() + 60) == []
    assert [one.data["enrollmentID"] for one in await events.since(hub, 0, enrollment_id=ada)] == [ada]
    assert len(await events.since(hub, 0, kind=TEST)) == 2
    assert len(await events.since(hub, 0, kind=TEST, account_id=OTHER)) == 1
    assert len(await events.latest(hub, kind=TEST, account_id=account_id, limit=9)) == 1


async def test_deliveries_newest_first(hub: Hub, account_id: str) -> None:
    made = await webhooks.create(hub, account_id, "test", url="https://a.example/", types=[])
    ids = [(await replays.send_test(hub, account_id, made.row.id, "test"))[0].id for _ in range(5)]
    found = await replays.latest(hub, account_id, made.row.id, status=None, limit=3)
    assert [row.id for row, _ in found] == ids[:1:-1]
    assert {event.type for _, event in found} == {TEST}
    assert await replays.latest(hub, account_id, made.row.id, status="failed", limit=3) == []
    async with hub.store.write() as session:
        for row_id in ids[:2]:
            row = await session.get(Delivery, row_id)
            assert row is not None
            row.status = "failed"
    failed = await replays.latest(hub, account_id, made.row.id, status="failed", limit=3)
    assert [row.id for row, _ in failed] == [ids[1], ids[0]]
    with pytest.raises(Invalid, match="Unknown status"):
        await replays.latest(hub, account_id, made.row.id, status="x", limit=3)
    with pytest.raises(NotFound):
        await replays.latest(hub, OTHER, made.row.id, status=None, limit=3)
