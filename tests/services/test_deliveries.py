"""Events on their way to endpoints: signed, in order, again after every failure, and never in another's way."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator

import pytest
from sqlmodel import col, select

from joinder import clock
from joinder.ids import new_id
from joinder.runtime.hub import Hub
from joinder.services.events import deliveries, replays, webhooks
from joinder.services.events.deliveries import DELIVERY, FAN_OUT, RETRY_AFTER_S
from joinder.services.events.webhooks import WithSecret
from joinder.services.grants import standing
from joinder.services.join import enrollments
from joinder.services.records import accounts, events
from joinder.services.refusals import Conflict
from joinder.store.tables import Delivery, Enrollment, Event, WebhookEndpoint
from services.conftest import Enroll
from services.receiver import Receiver, cut, endless, receiving, silent, status

DAY_S = 86400


class Time:
    """Moves what the services take for now; monotonic leases stay."""

    def __init__(self) -> None:
        self.ahead_s = 0

    def now(self) -> int:
        return _real_now() + self.ahead_s


_real_now = clock.now


@pytest.fixture
def time(monkeypatch: pytest.MonkeyPatch) -> Time:
    moved = Time()
    for module in (deliveries, webhooks, replays):
        monkeypatch.setattr(module, "now", moved.now)
    return moved


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with receiving() as made:
        yield made


@pytest.fixture
def short_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deliveries, "DEADLINE_S", 0.3)


async def listen(hub: Hub, account_id: str, receiver: Receiver, *types: str) -> WithSecret:
    return await webhooks.create(hub, account_id, "test", url=receiver.url, types=types)


async def add_events(hub: Hub, account_id: str, *kinds: str, start: int = 1_700_000_000) -> None:
    """One a second, written in reverse."""
    async with hub.store.write() as session:
        for index, kind in reversed(list(enumerate(kinds))):
            session.add(
                Event(
                    id=new_id("evnt"),
                    account_id=account_id,
                    enrollment_id="",
                    type=kind,
                    data={"n": index},
                    at=start + index,
                )
            )


async def work(hub: Hub) -> None:
    """What a worker does with everything that is due now."""
    for job in (FAN_OUT, DELIVERY):
        for key in await job.due(hub):
            await job.work(hub, key)


async def rows(hub: Hub) -> list[Delivery]:
    async with hub.store.read() as session:
        return list((await session.execute(select(Delivery).order_by(col(Delivery.due_at)))).scalars())


async def only(hub: Hub) -> Delivery:
    (row,) = await rows(hub)
    return row


async def endpoint_of(hub: Hub, made: WithSecret) -> WebhookEndpoint:
    return await webhooks.get(hub, made.row.account_id, made.row.id)


async def test_a_change_reaches_the_endpoint_signed_as_the_public_library_wants(
    hub: Hub, account_id: str, enroll: Enroll, receiver: Receiver
) -> None:
    made = await listen(hub, account_id, receiver)
    enrollment_id = await enroll("ada")
    await work(hub)
    (got,) = receiver.got
    assert got.verified_by(made.secret)
    assert not got.verified_by(webhooks._new_secret())
    assert got.json["type"] == "enrollment.created"
    assert got.json["data"] == {"enrollmentID": enrollment_id, "vendor": "strict"}
    assert set(got.json) == {"type", "timestamp", "data"}
    row = await only(hub)
    assert (row.status, row.attempts, row.answered, row.event_id) == ("delivered", 1, 204, got.event_id)
    assert await DELIVERY.due(hub) == await FAN_OUT.due(hub) == []


async def test_events_arrive_in_order_of_time(
    hub: Hub, account_id: str, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deliveries, "SEND_AT_ONCE", 1)
    monkeypatch.setattr(deliveries, "FAN_OUT_AT_ONCE", 7)
    await listen(hub, account_id, receiver)
    await add_events(hub, account_id, *["enrollment.health"] * 20)
    await work(hub)
    assert [got.json["data"]["n"] for got in receiver.got] == list(range(20))


async def test_events_of_one_second_keep_their_order(
    hub: Hub, account_id: str, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deliveries, "SEND_AT_ONCE", 1)
    await listen(hub, account_id, receiver)
    async with hub.store.write() as session:
        written = [events.write(session, account_id, "webhook.disabled", {"n": number}) for number in range(20)]
    page = await events.list_page(hub, account_id, enrollment_id=None, kind=None, after="", limit=50)
    assert [told.row.id for told in page] == written
    await work(hub)
    assert [got.event_id for got in receiver.got] == written


async def test_only_wanted_types_and_only_the_accounts_own(hub: Hub, account_id: str, receiver: Receiver) -> None:
    other = (await accounts.create_account(hub, "other")).id
    await listen(hub, account_id, receiver, "enrollment.deleted")
    await add_events(hub, account_id, "enrollment.created", "enrollment.deleted")
    await add_events(hub, other, "enrollment.deleted")
    await work(hub)
    assert receiver.types == ["enrollment.deleted"]
    assert len(await rows(hub)) == 1


async def test_two_fan_outs_at_once_make_one_delivery_each(hub: Hub, account_id: str, receiver: Receiver) -> None:
    await listen(hub, account_id, receiver)
    await add_events(hub, account_id, *["enrollment.health"] * 30)
    await asyncio.gather(*(deliveries.fan_out(hub) for _ in range(3)))
    assert len({row.event_id for row in await rows(hub)}) == len(await rows(hub)) == 30


async def test_two_workers_at_once_send_each_delivery_once(hub: Hub, account_id: str, receiver: Receiver) -> None:
    made = await listen(hub, account_id, receiver)
    await add_events(hub, account_id, *["enrollment.health"] * 20)
    await deliveries.fan_out(hub)
    await asyncio.gather(*(deliveries.deliver(hub, made.row.id) for _ in range(3)))
    assert sorted(got.json["data"]["n"] for got in receiver.got) == list(range(20))


async def test_a_crash_between_fan_out_and_delivery_loses_nothing(
    hub: Hub, account_id: str, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    await listen(hub, account_id, receiver)
    await add_events(hub, account_id, "enrollment.health")

    async def crash(*_: object) -> None:
        raise RuntimeError("killed")

    with monkeypatch.context() as patched:
        patched.setattr(deliveries, "enqueue", crash)
        with pytest.raises(RuntimeError):
            await deliveries.fan_out(hub)
    assert await FAN_OUT.due(hub) == ["events"]
    await deliveries.fan_out(hub)
    with monkeypatch.context() as patched:
        patched.setattr(deliveries, "LEASE_S", -1.0)  # as if its holder had died long ago
        patched.setattr(deliveries, "_finish", crash)
        with pytest.raises(ExceptionGroup):
            await deliveries.deliver(hub, (await DELIVERY.due(hub))[0])
    assert (await only(hub)).status == "pending"
    await work(hub)
    assert (await only(hub)).status == "delivered"
    first, second = receiver.got
    assert first.event_id == second.event_id  # what a receiver tells duplicates by


FAILURES = {
    "lost answer": (cut, None, "cut the connection"),
    "timeout": (silent, None, "No answer within"),
    "500": (status(500), 500, "It answered 500."),
    "400": (status(400), 400, "It answered 400."),
    "redirect": (status(302, "location: http://127.0.0.1:1/elsewhere"), 302, "redirects are not followed"),
    "permanent redirect": (status(308, "location: /elsewhere"), 308, "redirects are not followed"),
}


async def test_another_address_has_not_failed_yet(hub: Hub, account_id: str, receiver: Receiver) -> None:
    """Or the first failure of one that moved would end it, after days of failures of the other."""
    receiver.answer = status(500)
    made = await listen(hub, account_id, receiver)
    await add_events(hub, account_id, "enrollment.health")
    await work(hub)
    for url, is_failing in ((made.row.url, True), (f"{made.row.url}?moved", False)):
        await webhooks.change(hub, account_id, made.row.id, "client", patch={"url": url})
        assert ((await endpoint_of(hub, made)).failing_since is not None) == is_failing


@pytest.mark.parametrize("case", FAILURES)
async def test_what_is_no_2xx_is_tried_again(
    hub: Hub, account_id: str, receiver: Receiver, time: Time, short_deadline: None, case: str
) -> None:
    receiver.answer, answered, reason = FAILURES[case]
    made = await listen(hub, account_id, receiver)
    await add_events(hub, account_id, "enrollment.health")
    await work(hub)
    row = await only(hub)
    assert (row.status, row.attempts, row.answered, row.lease) == ("pending", 1, answered, None)
    assert reason in (row.reason or "")
    assert (await endpoint_of(hub, made)).failing_since is not None
    assert await DELIVERY.due(hub) == []
    receiver.answer = status(200)
    time.ahead_s += 60
    await work(hub)
    assert (await only(hub)).status == "delivered"
    assert (await endpoint_of(hub, made)).failing_since is None
    assert len({got.event_id for got in receiver.got}) == 1
    assert len(receiver.got) == 2


async def test_the_schedule_of_days_then_failed(hub: Hub, account_id: str, receiver: Receiver, time: Time) -> None:
    receiver.answer = status(500)
    await listen(hub, account_id, receiver)
    await add_events(hub, account_id, "enrollment.health")
    for wait_s in RETRY_AFTER_S:
        await work(hub)
        row = await only(hub)
        assert wait_s <= row.due_at - time.now() <= wait_s * 1.2 + 1
        time.ahead_s += row.due_at - time.now()
    assert (await only(hub)).status == "pending"
    await work(hub)
    row = await only(hub)
    assert (row.status, row.attempts, len(receiver.got)) == ("failed", 10, 10)
    assert await DELIVERY.due(hub) == []


async def test_retry_after_is_obeyed(hub: Hub, account_id: str, receiver: Receiver, time: Time) -> None:
    receiver.answer = status(503, "retry-after: 1000")
    await listen(hub, account_id, receiver)
    await add_events(hub, account_id, "enrollment.health")
    await work(hub)
    assert (await only(hub)).due_at >= time.now() + 1000


async def test_an_endless_answer_is_not_read(hub: Hub, account_id: str, receiver: Receiver) -> None:
    receiver.answer = endless
    await listen(hub, account_id, receiver)
    await add_events(hub, account_id, "enrollment.health")
    await work(hub)
    assert (await only(hub)).status == "delivered"


async def test_410_disables_at_once_and_the_others_hear_of_it(hub: Hub, account_id: str, receiver: Receiver) -> None:
    async with receiving() as gone:
        gone.answer = status(410)
        made = await listen(hub, account_id, gone, "enrollment.health")
        await listen(hub, account_id, receiver, "webhook.disabled")
        await add_events(hub, account_id, "enrollment.health", "enrollment.health")
        await work(hub)
        await work(hub)
    row = await endpoint_of(hub, made)
    assert row.disabled_at is not None
    assert "410" in (row.disabled_reason or "")
    assert [entry.status for entry in await rows(hub) if entry.endpoint_id == made.row.id] == ["failed", "failed"]
    assert receiver.got[0].json["data"] == {"webhookID": made.row.id, "reason": row.disabled_reason}


async def test_days_of_nothing_but_failures_disable_it(
    hub: Hub, account_id: str, receiver: Receiver, time: Time
) -> None:
    receiver.answer = status(500)
    made = await listen(hub, account_id, receiver)
    for day in range(6):
        assert (await endpoint_of(hub, made)).disabled_at is None, day
        await add_events(hub, account_id, "enrollment.health", start=1_700_000_000 + day)
        await work(hub)
        time.ahead_s += DAY_S
    row = await endpoint_of(hub, made)
    assert row.disabled_at is not None
    assert "5 days" in (row.disabled_reason or "")
    async with hub.store.read() as session:
        told = (await session.execute(select(Event).where(col(Event.type) == "webhook.disabled"))).scalar_one()
    assert told.data["webhookID"] == made.row.id


async def test_one_success_begins_the_days_anew(hub: Hub, account_id: str, receiver: Receiver, time: Time) -> None:
    made = await listen(hub, account_id, receiver)
    for day in range(8):
        receiver.answer = status(200 if day == 4 else 500)
        await add_events(hub, account_id, "enrollment.health", start=1_700_000_000 + day)
        await work(hub)
        time.ahead_s += DAY_S
    assert (await endpoint_of(hub, made)).disabled_at is None


async def test_a_disabled_endpoint_gets_nothing_until_it_is_replayed(
    hub: Hub, account_id: str, receiver: Receiver
) -> None:
    made = await listen(hub, account_id, receiver)
    await add_events(hub, account_id, "enrollment.created")
    await deliveries.fan_out(hub)  # in line, not sent
    await webhooks.change(hub, account_id, made.row.id, "test", patch={"disabled": True})
    await add_events(hub, account_id, "enrollment.deleted", start=1_700_000_100)
    await work(hub)
    assert receiver.got == []
    with pytest.raises(Conflict):
        await replays.send_test(hub, account_id, made.row.id, "test")
    with pytest.raises(Conflict):
        await replays.replay_since(hub, account_id, made.row.id, "test", since=0)
    await webhooks.change(hub, account_id, made.row.id, "test", patch={"disabled": False})
    assert await replays.replay_since(hub, account_id, made.row.id, "test", since=1_700_000_000) == 2
    assert await replays.replay_since(hub, account_id, made.row.id, "test", since=1_700_000_000) == 0
    await work(hub)
    assert sorted(receiver.types) == ["enrollment.created", "enrollment.deleted"]


async def test_what_was_put_in_line_while_it_was_being_disabled_is_not_sent(
    hub: Hub, account_id: str, receiver: Receiver
) -> None:
    made = await listen(hub, account_id, receiver)
    live = await endpoint_of(hub, made)
    await webhooks.change(hub, account_id, made.row.id, "test", patch={"disabled": True})
    await add_events(hub, account_id, "enrollment.health")
    async with hub.store.write() as session:
        event = (await session.execute(select(Event))).scalar_one()
        await deliveries.enqueue(session, [(event, live)])  # as a fan-out that read it before
    await work(hub)
    assert receiver.got == []
    assert (await only(hub)).status == "failed"
    assert await DELIVERY.due(hub) == []


async def test_a_replay_since_begins_at_its_time_and_pages(
    hub: Hub, account_id: str, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replays, "BATCH", 3)
    await add_events(hub, account_id, *["enrollment.health"] * 10)
    await deliveries.fan_out(hub)  # before there is any endpoint
    made = await listen(hub, account_id, receiver)
    assert await replays.replay_since(hub, account_id, made.row.id, "test", since=1_700_000_002) == 8
    await work(hub)
    assert sorted(got.json["data"]["n"] for got in receiver.got) == list(range(2, 10))


async def test_one_delivery_again(hub: Hub, account_id: str, receiver: Receiver) -> None:
    made = await listen(hub, account_id, receiver)
    await add_events(hub, account_id, "enrollment.health")
    await work(hub)
    row = await only(hub)
    await replays.replay(hub, account_id, made.row.id, row.id, "test")
    await work(hub)
    assert [got.event_id for got in receiver.got] == [row.event_id] * 2
    assert (await only(hub)).status == "delivered"


async def test_a_dead_endpoint_slows_no_other(
    hub: Hub, account_id: str, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The healthy one has everything while the dead one's first calls still hang."""
    monkeypatch.setattr(deliveries, "DEADLINE_S", 60.0)
    async with receiving() as dead:
        dead.answer = silent
        dead_id = (await listen(hub, account_id, dead)).row.id
        alive_id = (await listen(hub, account_id, receiver)).row.id
        await add_events(hub, account_id, *["enrollment.health"] * 30)
        await deliveries.fan_out(hub)
        assert set(await DELIVERY.due(hub)) == {dead_id, alive_id}
        hanging = asyncio.create_task(deliveries.deliver(hub, dead_id))
        await deliveries.deliver(hub, alive_id)
        assert len(receiver.got) == 30
        assert not hanging.done()
        assert len(dead.got) <= deliveries.SEND_AT_ONCE
        hanging.cancel()
        await asyncio.gather(hanging, return_exceptions=True)


async def test_a_turn_at_a_dead_endpoint_is_a_few_calls(hub: Hub, account_id: str, receiver: Receiver) -> None:
    receiver.answer = status(500)
    await listen(hub, account_id, receiver)
    await add_events(hub, account_id, *["enrollment.health"] * 30)
    await work(hub)
    assert len(receiver.got) <= deliveries.SEND_AT_ONCE


async def test_after_a_rotation_both_secrets_sign_for_a_day(
    hub: Hub, account_id: str, receiver: Receiver, time: Time
) -> None:
    made = await listen(hub, account_id, receiver)
    rotated = await webhooks.rotate(hub, account_id, made.row.id, "test")
    await add_events(hub, account_id, "enrollment.health")
    await work(hub)
    assert receiver.got[0].verified_by(made.secret)
    assert receiver.got[0].verified_by(rotated.secret)
    assert len(receiver.got[0].headers["webhook-signature"].split(" ")) == 2
    async with hub.store.write() as session:
        row = await session.get(WebhookEndpoint, made.row.id)
        assert row is not None
        row.old_secret_until = clock.now() - 1
    await add_events(hub, account_id, "enrollment.deleted")
    await work(hub)
    assert not receiver.got[1].verified_by(made.secret)
    assert receiver.got[1].verified_by(rotated.secret)


async def test_what_needs_the_owner_carries_no_link_without_a_flow(
    hub: Hub, account_id: str, enroll: Enroll, receiver: Receiver
) -> None:
    enrollment_id = await enroll("ada")
    await deliveries.fan_out(hub)
    await listen(hub, account_id, receiver)
    async with hub.store.write() as session:
        row = await session.get(Enrollment, enrollment_id)
        assert row is not None
        await standing.settle(hub, session, row, "needs_consent", reason="revoked")
    await work(hub)
    assert receiver.got[0].json["data"] == {
        "enrollmentID": enrollment_id,
        "vendor": "strict",
        "from": "connecting",
        "to": "needs_consent",
        "reason": "revoked",
    }


async def test_an_event_outlives_its_enrollment(hub: Hub, account_id: str, enroll: Enroll, receiver: Receiver) -> None:
    await listen(hub, account_id, receiver, "enrollment.deleted")
    enrollment_id = await enroll("ada")
    await enrollments.delete(hub, account_id, enrollment_id, "test")
    await work(hub)
    said = {"enrollmentID": enrollment_id, "vendor": "strict", "revocation": "none"}
    assert receiver.got[0].json["data"] == said


async def test_no_secret_in_any_log_exception_or_event(
    hub: Hub, account_id: str, receiver: Receiver, caplog: pytest.LogCaptureFixture, short_deadline: None
) -> None:
    caplog.set_level(logging.DEBUG)
    made = await listen(hub, account_id, receiver)
    for answer in (cut, silent, status(500), status(302, "location: /x"), status(410)):
        receiver.answer = answer
        await replays.send_test(hub, account_id, made.row.id, "test")
        await work(hub)
    everything = caplog.text + repr(made) + "".join(f"{row.reason}" for row in await rows(hub))
    assert len(receiver.got) >= 5
    for canary in (made.secret, made.secret.removeprefix("whsec_"), "canary-in-url-31c4"):
        assert canary not in everything
    async with hub.store.read() as session:
        row = await session.get(WebhookEndpoint, made.row.id)
    assert row is not None
    assert made.secret.encode() not in row.secret_sealed
