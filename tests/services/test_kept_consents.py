"""A grant is durable the moment its code is exchanged: whatever fails in passing after that loses nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import timedelta

import pytest
from msgspec import structs

from api.fakes import FakeVendor, Vendors
from halts import Halt
from joinder import clock
from joinder.clock import now
from joinder.errors import (
    AppCredentialsRejected,
    AuthorizationLost,
    ConsentDenied,
    ConsentInvalid,
    DeviceUnreachable,
    OperatorActionNeeded,
    RateLimited,
    TransientError,
    UnexpectedPayload,
    VendorTimeout,
)
from joinder.runtime import worker
from joinder.runtime.hub import Hub, open_hub
from joinder.services.admin import pausing
from joinder.services.grants import barrier, standing
from joinder.services.join import (
    enrollments,
    join_flows,
    kept_consents,
    late_consents,
    placed_consents,
    reconnect,
    renewal,
)
from joinder.services.join.hosted_forms import FormRefused
from joinder.services.join.join_ends import JoinRefused
from joinder.services.records.opened_grant import open_grant
from joinder.services.work import leases
from joinder.settings import Settings
from joinder.store.tables import Enrollment, JoinFlow, JoinSession
from joinder.trouble import StoreTrouble
from joinder.vendors import hook_answers
from joinder.vendors.registry import Registry
from services.code_vendor import CODED, CodeVendor
from services.join_fixtures import coded, flow, registry, vendors
from services.joining import (
    Way,
    change_session,
    come_back,
    due_of,
    enrollment_of,
    events_of,
    flow_with,
    leave,
    leave_by,
    send_form,
    session_of,
)

__all__ = ["coded", "flow", "registry", "vendors"]


KEEPS = "SET kept_sealed"  # what keeps a consent says so


@pytest.fixture
def clocked(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Civil time, which a test moves."""
    moment = [clock.civil_time()]
    monkeypatch.setattr(clock, "civil_time", lambda: moment[0])
    return moment


async def joined(hub: Hub, flow: JoinFlow, code: str) -> str:
    return (await come_back(hub, await leave(hub, flow), code=code))["enrollmentID"]


async def work(hub: Hub, enrollment_id: str) -> None:
    """As the worker does when it is due."""
    await late_consents.work(hub, enrollment_id)


async def only_enrollment(hub: Hub, account_id: str) -> enrollments.Overview:
    (found,) = await enrollments.list_page(hub, account_id, {}, after="", limit=9)
    return found


PASSING = [
    TransientError("503"),
    VendorTimeout("slow"),
    RateLimited("429", retry_after=timedelta(minutes=40)),
    UnexpectedPayload("html"),
    RuntimeError("a bug in listing"),
    AuthorizationLost("a 401 that may not last"),
    AppCredentialsRejected("the data API's key"),
    OperatorActionNeeded("register first"),
]


@pytest.mark.parametrize("error", PASSING, ids=lambda error: type(error).__name__)
async def test_sites_that_cannot_be_listed_yet_cost_nobody_the_grant(
    hub: Hub, account_id: str, coded: CodeVendor, flow: JoinFlow, error: Exception
) -> None:
    coded.listing = [error, TransientError("still away")]
    way = await leave(hub, flow, "customer 7")
    result = await come_back(hub, way, code="ada:1", site_id="7")
    enrollment_id = result["enrollmentID"]
    assert result == {"state": "customer 7", "enrollmentID": enrollment_id}
    shown = await only_enrollment(hub, account_id)
    assert (shown.row.id, shown.grant, shown.site_ids, shown.row.status) == (enrollment_id, None, [], "enrolled")
    wanted = "operator_action" if isinstance(error, AppCredentialsRejected | OperatorActionNeeded) else "connecting"
    assert shown.row.health == wanted
    row = await session_of(hub, way)
    assert (row.end_code, row.kept_sealed is None, row.secrets_sealed) == ("sites_later", False, b"")
    assert b"canary" not in (row.kept_sealed or b"")
    due = await due_of(hub, placed_consents.KIND, enrollment_id)
    assert due is not None
    assert due.app == flow.vendors[0]["credentialsID"]
    assert due.due_at - now() >= (40 * 60 - 5 if isinstance(error, RateLimited) else 5)
    await work(hub, enrollment_id)
    assert (await enrollment_of(hub, enrollment_id))[1] is None
    await work(hub, enrollment_id)
    enrollment, grant = await enrollment_of(hub, enrollment_id)
    assert enrollment is not None
    assert grant is not None
    assert (enrollment.health, enrollment.vendor_account_id) == ("connecting", "ada")
    assert (await enrollments.get(hub, account_id, enrollment_id)).site_ids
    row = await session_of(hub, way)
    assert (row.end_code, row.kept_sealed) == ("joined", None)
    assert len(coded.spent) == len(coded.exchanges) == 1
    assert coded.kept_values == [{"site_id": "7"}] * 2  # never the code
    await work(hub, enrollment_id)
    assert coded.calls.count("handle_callback") == 3
    due = await due_of(hub, placed_consents.KIND, enrollment_id)
    assert due is not None
    assert due.due_at == leases.NEVER
    assert [event.type for event in await events_of(hub, "enrollment.created", "enrollment.reconnected")] == [
        "enrollment.created"
    ]


async def test_the_worker_asks_until_the_vendor_answers(
    hub: Hub, coded: CodeVendor, flow: JoinFlow, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker, "LOOK_EVERY_S", 0.02)
    monkeypatch.setattr(placed_consents, "after_failure", lambda *_: now())
    monkeypatch.setattr(late_consents, "after_failure", lambda *_: now())
    coded.listing = [TransientError("away")] * 3
    enrollment_id = await joined(hub, flow, "ada:1")
    async with worker.working(hub):
        for _ in range(500):
            if (await enrollment_of(hub, enrollment_id))[1] is not None:
                break
            await asyncio.sleep(0.02)
    assert (await enrollment_of(hub, enrollment_id))[1] is not None
    assert len(coded.spent) == 1


@pytest.mark.parametrize("error", [ConsentInvalid("no site"), ConsentDenied("not this"), AuthorizationLost("revoked")])
async def test_a_final_refusal_later_needs_the_owner(
    hub: Hub, account_id: str, coded: CodeVendor, flow: JoinFlow, error: Exception, clocked: list[float]
) -> None:
    coded.listing = [TransientError("away"), error, error, error]
    way = await leave(hub, flow)
    enrollment_id = (await come_back(hub, way, code="ada:1"))["enrollmentID"]
    await work(hub, enrollment_id)
    if isinstance(error, AuthorizationLost):  # one refusal proves nothing, two at once neither
        await work(hub, enrollment_id)
        assert (await only_enrollment(hub, account_id)).row.health == "connecting"
        clocked[0] += 301
        await work(hub, enrollment_id)
    shown = await only_enrollment(hub, account_id)
    assert (shown.row.health, shown.row.health_reason) == ("needs_consent", str(error))
    row = await session_of(hub, way)
    code = "user_denied" if isinstance(error, ConsentDenied) else "consent_unusable"
    assert (row.end_code, row.kept_sealed) == (code, None)
    (failed,) = await events_of(hub, "join.failed")
    assert (failed.data["code"], failed.data["enrollmentID"]) == (code, enrollment_id)
    # and the owner's new consent, by the link the enrollment shows, fills the very enrollment
    coded.listing.clear()
    assert shown.reconnect_url
    again = await leave_by(hub, shown.reconnect_url, "coded")
    assert (await come_back(hub, again, code="ada:2"))["enrollmentID"] == enrollment_id
    assert (await only_enrollment(hub, account_id)).grant is not None


async def test_of_an_owner_who_has_an_enrollment_the_older_one_gets_the_grant(
    hub: Hub, account_id: str, coded: CodeVendor, flow: JoinFlow
) -> None:
    older = await joined(hub, flow, "ada:1")
    sites = (await enrollments.get(hub, account_id, older)).site_ids
    coded.listing = [TransientError("away")]
    way = await leave(hub, flow)
    provisional = (await come_back(hub, way, code="ada:2"))["enrollmentID"]
    assert provisional != older
    await work(hub, provisional)
    shown = await only_enrollment(hub, account_id)
    assert (shown.row.id, shown.site_ids) == (older, sites)
    assert shown.grant is not None
    assert shown.grant.version == 2
    (ended,) = await events_of(hub, "enrollment.deleted")
    assert (ended.enrollment_id, ended.data["continuesAs"]) == (provisional, older)
    assert await due_of(hub, placed_consents.KIND, provisional) is None
    assert (await session_of(hub, way)).enrollment_id == older
    assert (await come_back(hub, way, code="ada:2"))["enrollmentID"] == older


async def test_a_kill_between_keeping_and_storing_loses_nothing(
    settings: Settings, hub: Hub, registry: Registry, coded: CodeVendor, flow: JoinFlow, clocked: list[float]
) -> None:
    arrived, coded.before_listing = hanging()
    way = await leave(hub, flow)
    await killed(hub, way, "ada:1", arrived)
    row = await session_of(hub, way)
    assert row.kept_sealed is not None
    assert (row.enrollment_id, row.ended_at) == (None, None)
    coded.before_listing = None
    async with open_hub(settings, registry) as other:
        await late_consents.sweep(other)
        assert (await session_of(other, way)).enrollment_id is None  # its request might still be running
        clocked[0] += late_consents.HELD_MOST_S + 2
        await late_consents.sweep(other)
        await late_consents.sweep(other)
        enrollment_id = (await session_of(other, way)).enrollment_id or ""
        await work(other, enrollment_id)
        assert (await enrollment_of(other, enrollment_id))[1] is not None
        assert (await come_back(other, way, code="ada:1"))["enrollmentID"] == enrollment_id
    assert len(coded.spent) == 1


async def test_the_owner_who_reloads_after_a_kill_has_joined_without_waiting_for_the_sweep(
    hub: Hub, coded: CodeVendor, flow: JoinFlow, clocked: list[float]
) -> None:
    arrived, coded.before_listing = hanging()
    way = await leave(hub, flow)
    await killed(hub, way, "ada:1", arrived)
    coded.before_listing = None
    clocked[0] += late_consents.HELD_MOST_S + 2
    result = await come_back(hub, way, code="ada:1")
    await work(hub, result["enrollmentID"])
    assert (await enrollment_of(hub, result["enrollmentID"]))[1] is not None
    assert len(coded.spent) == 1


async def test_a_kill_before_keeping_lets_the_owner_start_again_and_never_replays_the_code(
    hub: Hub, coded: CodeVendor, flow: JoinFlow, clocked: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    arrived, hang = hanging()
    way = await leave(hub, flow)
    with monkeypatch.context() as patched:
        patched.setattr(kept_consents, "put", hang)
        await killed(hub, way, "ada:1", arrived)
    assert (await session_of(hub, way)).kept_sealed is None
    clocked[0] += late_consents.HELD_MOST_S + 2
    with pytest.raises(JoinRefused) as caught:
        await come_back(hub, way, code="ada:1")
    assert caught.value.code == "interrupted"
    assert caught.value.restart_url == f"/join/flows/{flow.id}/authorize?vendor=coded"
    assert coded.spent == ["ada:1"]
    assert coded.calls.count("handle_callback") == 1
    assert (await session_of(hub, way)).end_code == "interrupted"


async def killed(hub: Hub, way: Way, code: str, arrived: asyncio.Event) -> None:
    """Ends the request where it has `arrived`, as kill -9 does: nothing of it runs any more."""
    request = asyncio.create_task(come_back(hub, way, code=code))
    await arrived.wait()
    for task in (*hub.joins, request):
        task.cancel()
    await asyncio.gather(request, return_exceptions=True)


def hanging() -> tuple[asyncio.Event, Callable[..., Awaitable[bool]]]:
    """A call that never ends, and the event of its having begun."""
    arrived = asyncio.Event()

    async def hang(*_: object, **__: object) -> bool:
        arrived.set()
        return await asyncio.Event().wait()

    return arrived, hang


async def test_a_slow_request_that_was_taken_for_dead_still_stores_its_consent_once(
    hub: Hub, account_id: str, coded: CodeVendor, flow: JoinFlow
) -> None:
    coded.before_listing = halt = Halt()
    way = await leave(hub, flow)
    slow = asyncio.create_task(come_back(hub, way, code="ada:1"))
    await halt.arrived.wait()
    await change_session(hub, way, used_at=now() - late_consents.HELD_MOST_S - 2)
    await late_consents.sweep(hub)
    provisional = (await session_of(hub, way)).enrollment_id
    assert provisional
    coded.before_listing = None
    halt.go.set()
    assert (await slow)["enrollmentID"] == provisional
    shown = await only_enrollment(hub, account_id)
    assert shown.row.id == provisional
    assert shown.grant is not None
    assert (await session_of(hub, way)).end_code == "joined"
    await work(hub, provisional)
    assert coded.calls.count("handle_callback") == 1


async def test_a_disk_that_takes_the_token_late_takes_it(
    hub: Hub, coded: CodeVendor, flow: JoinFlow, monkeypatch: pytest.MonkeyPatch
) -> None:
    coded.listing = [TransientError("away")]
    way = await leave(hub, flow)
    real, tries = hub.store.apply, [0]

    async def failing(*writes: object, **options: str) -> list[int]:
        tries[0] += KEEPS in str(writes[0])
        if KEEPS in str(writes[0]) and tries[0] <= 2:
            raise StoreTrouble("busy")
        return await real(*writes, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(hub.store, "apply", failing)
    result = await come_back(hub, way, code="ada:1")
    monkeypatch.undo()
    await work(hub, result["enrollmentID"])
    assert (await enrollment_of(hub, result["enrollmentID"]))[1] is not None


async def test_an_access_token_that_ends_meanwhile_is_renewed_once(
    hub: Hub, coded: CodeVendor, flow: JoinFlow, clocked: list[float]
) -> None:
    coded.life = timedelta(minutes=5)
    coded.listing = [TransientError("away")] * 2
    enrollment_id = await joined(hub, flow, "ada:1")
    clocked[0] += 3600
    await work(hub, enrollment_id)
    assert coded.renewals == ["refresh-canary-ada:1"]
    clocked[0] += 60
    await work(hub, enrollment_id)
    assert coded.renewals == ["refresh-canary-ada:1"]
    enrollment, grant = await enrollment_of(hub, enrollment_id)
    assert grant is not None
    assert enrollment is not None
    async with hub.store.read() as session:
        await hub.vault.unlock(session, enrollment.account_id)
    assert open_grant(hub, enrollment.account_id, grant).secrets["refresh_token"].endswith("renewed-1")


async def test_a_renewal_that_was_cut_off_is_told_as_such(
    hub: Hub, coded: CodeVendor, flow: JoinFlow, clocked: list[float]
) -> None:
    hub.settings = structs.replace(hub.settings, refresh_deadline_s=600.0)  # beyond any backoff here
    coded.life, coded.cut_renewals = timedelta(minutes=5), True
    coded.listing = [TransientError("away")]
    enrollment_id = await joined(hub, flow, "ada:1")
    clocked[0] += 3600
    await work(hub, enrollment_id)
    due = await due_of(hub, placed_consents.KIND, enrollment_id)
    assert due is not None
    assert due.due_at >= now() + hub.settings.refresh_deadline_s + 5  # no late answer can come any more
    coded.cut_renewals = False
    for after_s, health in ((0, "connecting"), (301, "lost_in_flight")):  # one refusal proves nothing
        clocked[0] += after_s
        await work(hub, enrollment_id)
        enrollment, _ = await enrollment_of(hub, enrollment_id)
        assert enrollment is not None
        assert enrollment.health == health


async def test_nobody_asks_for_ever(hub: Hub, coded: CodeVendor, flow: JoinFlow, clocked: list[float]) -> None:
    coded.listing = [TransientError("away")]
    way = await leave(hub, flow)
    enrollment_id = (await come_back(hub, way, code="ada:1"))["enrollmentID"]
    clocked[0] += late_consents.GIVE_UP_AFTER_S + 1
    await work(hub, enrollment_id)
    enrollment, _ = await enrollment_of(hub, enrollment_id)
    assert enrollment is not None
    assert enrollment.health == "needs_consent"
    assert (await session_of(hub, way)).kept_sealed is None
    assert coded.calls.count("handle_callback") == 1


async def test_deleting_the_enrollment_erases_what_is_kept(
    hub: Hub, account_id: str, coded: CodeVendor, flow: JoinFlow
) -> None:
    coded.listing = [TransientError("away")]
    way = await leave(hub, flow)
    enrollment_id = (await come_back(hub, way, code="ada:1"))["enrollmentID"]
    await enrollments.delete(hub, account_id, enrollment_id, "test")
    assert (await session_of(hub, way)).kept_sealed is None
    await change_session(hub, way, used_at=now() - 1000)
    await late_consents.sweep(hub)
    assert await enrollments.list_page(hub, account_id, {}, after="", limit=5) == []


async def test_deleting_the_flow_while_sites_are_awaited_changes_nothing(
    hub: Hub, account_id: str, coded: CodeVendor, flow: JoinFlow
) -> None:
    coded.listing = [TransientError("away")]
    enrollment_id = await joined(hub, flow, "ada:1")
    await join_flows.delete(hub, account_id, flow.id, "test")
    await work(hub, enrollment_id)
    assert (await only_enrollment(hub, account_id)).grant is not None


async def test_deleting_the_flow_during_the_exchange_sends_strangers_away_and_renews_who_is_known(
    hub: Hub, account_id: str, coded: CodeVendor, flow: JoinFlow
) -> None:
    ada = await joined(hub, flow, "ada:1")
    known, stranger = await leave(hub, flow), await leave(hub, flow)
    gone = []

    async def delete() -> None:
        if not gone:
            gone.append(await join_flows.delete(hub, account_id, flow.id, "test"))

    coded.before_listing = delete
    assert (await come_back(hub, known, code="ada:2"))["enrollmentID"] == ada
    shown = await only_enrollment(hub, account_id)
    assert shown.grant is not None
    assert (shown.grant.version, shown.row.flow_id) == (2, flow.id)
    with pytest.raises(JoinRefused) as caught:
        await come_back(hub, stranger, code="bob:1")
    assert caught.value.code == "flow_gone"
    assert (await session_of(hub, stranger)).end_code == "flow_gone"
    assert coded.spent == ["ada:1", "ada:2"]


async def test_two_workers_ask_once(hub: Hub, coded: CodeVendor, flow: JoinFlow) -> None:
    coded.listing = [TransientError("away")]
    enrollment_id = await joined(hub, flow, "ada:1")
    coded.before_listing = halt = Halt()
    first = asyncio.create_task(work(hub, enrollment_id))
    await halt.arrived.wait()
    await work(hub, enrollment_id)
    halt.go.set()
    await first
    assert coded.calls.count("handle_callback") == 2


async def test_a_paused_enrollment_waits_and_refreshing_one_by_hand_asks_now(
    hub: Hub, account_id: str, coded: CodeVendor, flow: JoinFlow
) -> None:
    coded.listing = [TransientError("away")]
    enrollment_id = await joined(hub, flow, "ada:1")
    await pausing.pause(hub, account_id, enrollment_id, "test")
    await renewal.renew(hub, enrollment_id)
    assert coded.calls.count("handle_callback") == 1
    await pausing.resume(hub, account_id, enrollment_id, "test")
    await renewal.renew(hub, enrollment_id)
    assert (await enrollment_of(hub, enrollment_id))[1] is not None


async def test_what_broke_five_times_is_asked_again_after_the_release(
    hub: Hub, account_id: str, coded: CodeVendor, flow: JoinFlow
) -> None:
    coded.listing = [RuntimeError("a bug")] * 6
    enrollment_id = await joined(hub, flow, "ada:1")
    for _ in range(5):
        await work(hub, enrollment_id)
    assert (await only_enrollment(hub, account_id)).row.health == "quarantined"
    await pausing.release(hub, account_id, enrollment_id, "test")
    due = await due_of(hub, placed_consents.KIND, enrollment_id)
    assert due is not None
    assert due.due_at <= now()
    await work(hub, enrollment_id)
    assert (await only_enrollment(hub, account_id)).row.health == "connecting"


async def test_a_restored_copy_uses_no_kept_token_of_a_rotating_vendor(
    hub: Hub, coded: CodeVendor, flow: JoinFlow
) -> None:
    coded.listing = [TransientError("away")]
    enrollment_id = await joined(hub, flow, "ada:1")
    async with hub.store.write() as session:
        await barrier.put_up(session, taken_at=now(), not_rotating=[])
    await work(hub, enrollment_id)
    enrollment, _ = await enrollment_of(hub, enrollment_id)
    assert enrollment is not None
    assert enrollment.health == "needs_consent"
    assert "restored" in (enrollment.health_reason or "")
    assert coded.calls.count("handle_callback") == 1


async def test_a_vendor_that_asked_for_a_pause_lets_owners_in(hub: Hub, coded: CodeVendor, flow: JoinFlow) -> None:
    app = flow.vendors[0]["credentialsID"]
    await hub.budgets.meter(app, CODED.limits).limited(timedelta(hours=1))

    async def spends_a_call() -> None:
        async with hub.budgets.meter(app, CODED.limits).call(exchange=False):
            pass

    coded.before_listing = spends_a_call
    enrollment_id = await joined(hub, flow, "ada:1")
    due = await due_of(hub, placed_consents.KIND, enrollment_id)
    assert due is not None
    assert due.due_at > now() + 3000
    enrollment, _ = await enrollment_of(hub, enrollment_id)
    assert enrollment is not None
    assert enrollment.health == "connecting"


async def test_an_outage_that_opened_the_breaker_lets_owners_in(hub: Hub, coded: CodeVendor, flow: JoinFlow) -> None:
    coded.listing = [TransientError("away")] * 8
    for number in range(8):
        assert "enrollmentID" in await come_back(hub, await leave(hub, flow), code=f"owner{number}:1")
    assert len(coded.spent) == 8


# Reconnect links


async def lose(hub: Hub, enrollment_id: str) -> None:
    async with hub.store.write() as session:
        row = await session.get(Enrollment, enrollment_id)
        assert row is not None
        await standing.settle(hub, session, row, "needs_consent", reason="revoked")


async def test_a_consent_by_a_reconnect_link_is_kept_too(
    hub: Hub, account_id: str, coded: CodeVendor, flow: JoinFlow
) -> None:
    enrollment_id = await joined(hub, flow, "ada:1")
    await lose(hub, enrollment_id)
    coded.listing = [TransientError("away")]
    way = await leave_by(hub, await reconnect.ask(hub, account_id, enrollment_id, None), "coded")
    assert (await come_back(hub, way, code="ada:2")) == {"enrollmentID": enrollment_id}
    shown = await only_enrollment(hub, account_id)
    assert shown.grant is not None
    assert (shown.row.health, shown.grant.version) == ("needs_consent", 1)
    await work(hub, enrollment_id)
    shown = await only_enrollment(hub, account_id)
    assert shown.grant is not None
    assert (shown.row.health, shown.grant.version) == ("connecting", 2)


async def test_somebody_elses_link_renews_the_enrollment_the_consent_belongs_to(
    hub: Hub, account_id: str, coded: CodeVendor, flow: JoinFlow
) -> None:
    ada, bob = await joined(hub, flow, "ada:1"), await joined(hub, flow, "bob:1")
    for code, is_late in (("bob:2", False), ("bob:3", True)):
        coded.listing = [TransientError("away")] if is_late else []
        way = await leave_by(hub, await reconnect.ask(hub, account_id, ada, None), "coded")
        result = await come_back(hub, way, code=code)
        await work(hub, ada)
        assert result == {"enrollmentID": ada if is_late else bob}
        assert (await session_of(hub, way)).enrollment_id == bob
    _, of_ada = await enrollment_of(hub, ada)
    _, of_bob = await enrollment_of(hub, bob)
    assert of_ada is not None
    assert of_bob is not None
    assert (of_ada.version, of_bob.version) == (1, 3)


async def test_somebody_elses_link_knows_the_other_enrollment_by_its_site(
    hub: Hub, account_id: str, coded: CodeVendor, flow: JoinFlow
) -> None:
    coded.names_accounts = False
    ada, bob = await joined(hub, flow, "ada:1"), await joined(hub, flow, "bob:1")
    way = await leave_by(hub, await reconnect.ask(hub, account_id, ada, None), "coded")
    assert await come_back(hub, way, code="bob:2") == {"enrollmentID": bob}


async def test_who_belongs_to_no_enrollment_is_refused(
    hub: Hub, account_id: str, coded: CodeVendor, flow: JoinFlow
) -> None:
    ada = await joined(hub, flow, "ada:1")
    for is_late in (False, True):
        coded.listing = [TransientError("away")] if is_late else []
        way = await leave_by(hub, await reconnect.ask(hub, account_id, ada, None), "coded")
        result = await come_back(hub, way, code=f"cem:{is_late}")
        await work(hub, ada)
        assert result.get("error_code") == (None if is_late else "wrong_account")
        row = await session_of(hub, way)
        assert (row.end_code, row.kept_sealed) == ("wrong_account", None)
    enrollment, grant = await enrollment_of(hub, ada)
    assert enrollment is not None
    assert grant is not None
    assert (enrollment.health, grant.version) == ("connecting", 1)


# Forms


async def test_a_form_whose_vendor_is_away_is_kept_and_tried_again(hub: Hub, account_id: str, vendors: Vendors) -> None:
    boxy: FakeVendor = vendors.boxy
    way = await leave(hub, await flow_with(hub, account_id, "boxy"))
    boxy.failures["handle_callback"] = TransientError("away")
    result = await send_form(hub, way, host="192.0.2.9", token="canary-token")
    row = await session_of(hub, way)
    assert row.end_code == "sites_later"
    assert b"canary" not in (row.kept_sealed or b"")
    boxy.failures.clear()
    await work(hub, result["enrollmentID"])
    assert (await only_enrollment(hub, account_id)).grant is not None
    assert dict(boxy.exchanges[0].values) == {"host": "192.0.2.9", "token": "canary-token"}
    assert (await session_of(hub, way)).kept_sealed is None


async def test_a_form_whose_entries_turn_out_wrong_later_needs_the_owner(
    hub: Hub, account_id: str, vendors: Vendors
) -> None:
    way = await leave(hub, await flow_with(hub, account_id, "boxy"))
    vendors.boxy.failures["handle_callback"] = UnexpectedPayload("maintenance page")
    enrollment_id = (await send_form(hub, way, host="h", token="t"))["enrollmentID"]
    vendors.boxy.failures["handle_callback"] = ConsentInvalid("The token is refused")
    await work(hub, enrollment_id)
    shown = await only_enrollment(hub, account_id)
    assert (shown.row.health, shown.row.health_reason) == ("needs_consent", "The token is refused")
    assert shown.reconnect_url


async def test_a_form_that_the_owner_can_correct_keeps_nothing(hub: Hub, account_id: str, vendors: Vendors) -> None:
    way = await leave(hub, await flow_with(hub, account_id, "boxy"))
    for error in (ConsentInvalid("wrong"), DeviceUnreachable("off")):
        vendors.boxy.failures["handle_callback"] = error
        with pytest.raises(FormRefused):
            await send_form(hub, way, host="h", token="t")
        row = await session_of(hub, way)
        assert (row.kept_sealed, row.used_at, row.ended_at) == (None, None, None)


async def test_no_row_of_a_session_is_left_with_a_secret(hub: Hub, coded: CodeVendor, flow: JoinFlow) -> None:
    ways = [await leave(hub, flow) for _ in range(3)]
    await come_back(hub, ways[0], code="ada:1")
    await come_back(hub, ways[1], error="access_denied")
    coded.listing = [ConsentInvalid("no site")]
    await come_back(hub, ways[2], code="bob:1")
    async with hub.store.read() as session:
        for way in ways:
            row = await session.get(JoinSession, way.row_id)
            assert row is not None
            assert (row.secrets_sealed, row.kept_sealed) == (b"", None)


async def test_a_database_that_is_away_for_longer_than_a_hook_may_take_loses_no_consent(
    hub: Hub, coded: CodeVendor, flow: JoinFlow, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And keeps no renewal of this process waiting for ever."""
    real, is_away = hub.store.apply, [True]

    async def maybe(*writes: object, serialize_on: str = "") -> list[int]:
        if is_away[0] and KEEPS in str(writes[0]):
            raise StoreTrouble("busy")
        return await real(*writes, serialize_on=serialize_on)  # type: ignore[arg-type]

    monkeypatch.setattr(hub.store, "apply", maybe)
    monkeypatch.setattr(hook_answers, "HOOK_DEADLINE", 0.1)
    way = await leave(hub, flow)
    with suppress(Exception):
        await come_back(hub, way, code="ada:1")
    is_away[0] = False
    await hub.drain()
    assert (await session_of(hub, way)).kept_sealed is not None
    assert hub.unsaved == {}
