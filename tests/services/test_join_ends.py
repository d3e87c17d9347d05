"""How joins end: refused by name, the same for every arrival, and written down with who must act."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from msgspec import structs
from sqlmodel import col, select

from api.fakes import FakeVendor, Vendors
from halts import Halt
from joinder import Consent, Grant, Secrets
from joinder.clock import now
from joinder.errors import ConsentInvalid, TransientError
from joinder.runtime.hub import Hub, open_hub
from joinder.services.admin import account_removal, join_attempts
from joinder.services.events import deliveries
from joinder.services.join import (
    enrollments,
    form_answers,
    join_ends,
    join_flows,
    late_consents,
    vendor_credentials,
)
from joinder.services.join.hosted_forms import FormRefused
from joinder.services.join.join_ends import ENDS, JoinRefused
from joinder.services.join.session_claims import MAX_ATTEMPTS
from joinder.settings import Settings
from joinder.store.tables import JoinFlow, JoinSession, VendorCredentials
from joinder.vendors.registry import Registry
from services.code_vendor import CODED, CodeVendor
from services.join_fixtures import coded, flow, registry, vendors
from services.joining import (
    APP,
    Way,
    change_session,
    come_back,
    events_of,
    flow_with,
    leave,
    send_form,
    session_of,
)
from services.receiver import receiving
from services.test_deliveries import listen

__all__ = ["coded", "flow", "registry", "vendors"]

ISSUER = "https://issuer.example"


@pytest.fixture
async def other(settings: Settings, registry: Registry) -> AsyncIterator[Hub]:
    """Another process on the same database."""
    async with open_hub(settings, registry) as opened:
        yield opened


async def refusal(hub: Hub, way: Way, **query: str) -> JoinRefused:
    with pytest.raises(JoinRefused) as caught:
        await come_back(hub, way, **query)
    return caught.value


async def enrolled(hub: Hub, account_id: str) -> int:
    return len(await enrollments.list_page(hub, account_id, {}, after="", limit=9))


def counted(hub: Hub, vendor: str, code: str) -> float:
    return hub.metrics.registry.get_sample_value("joinder_joins_total", {"vendor": vendor, "code": code}) or 0


# What a consent lacks


@pytest.mark.parametrize("is_away", [False, True])
async def test_a_consent_without_a_refresh_token_is_refused_by_name(
    hub: Hub, account_id: str, coded: CodeVendor, flow: JoinFlow, is_away: bool
) -> None:
    coded.gives_refresh_token = False
    coded.listing = [TransientError("away")] if is_away else []
    way = await leave(hub, flow)
    result = await come_back(hub, way, code="ada:1")
    assert (result["error"], result["error_code"]) == ("server_error", "scope_missing")
    assert "refresh_token" in result["error_description"]
    assert "scopes" in result["error_description"]
    assert await enrolled(hub, account_id) == 0
    assert (await session_of(hub, way)).kept_sealed is None
    assert len(coded.listing) == is_away  # the vendor was asked nothing more


async def test_a_grant_without_a_refresh_token_is_refused_where_the_plugin_exchanges_by_itself(
    hub: Hub, account_id: str, vendors: Vendors, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def bare(*_: object) -> Consent:
        return Consent(grant=Grant(secrets=Secrets({"access_token": "canary-token"}), site_ids=("site-1",)))

    monkeypatch.setattr(hub.registry, "handle_callback", bare)
    result = await come_back(hub, await leave(hub, await flow_with(hub, account_id, "sunny", APP)), code="c")
    assert result["error_code"] == "scope_missing"
    lasting = await come_back(hub, await leave(hub, await flow_with(hub, account_id, "cloudy")), code="c")
    assert "enrollmentID" in lasting  # its grants are not renewed


async def test_a_consent_without_sites_is_taken(hub: Hub, account_id: str, coded: CodeVendor, flow: JoinFlow) -> None:
    coded.sites["ada"] = ()
    assert "enrollmentID" in await come_back(hub, await leave(hub, flow), code="ada:1")


# A second arrival


@pytest.mark.parametrize("error", [None, ConsentInvalid("no site"), TransientError("away")], ids=str)
async def test_a_second_callback_waits_in_another_process_and_leads_to_the_same_end(
    hub: Hub, other: Hub, account_id: str, coded: CodeVendor, flow: JoinFlow, error: Exception | None
) -> None:
    coded.before_listing = halt = Halt()
    coded.listing = [error] if error else []
    way = await leave(hub, flow, "customer 7")
    first = asyncio.create_task(come_back(hub, way, code="ada:1"))
    await halt.arrived.wait()
    others = [asyncio.create_task(come_back(each, way, code="ada:1")) for each in (other, hub, other)]
    await asyncio.sleep(0.3)
    assert not any(task.done() for task in others)
    halt.go.set()
    result = await first
    assert [await task for task in others] == [result] * 3
    assert await come_back(other, way, code="ada:1") == result
    assert coded.spent == ["ada:1"]
    assert await enrolled(hub, account_id) == (0 if isinstance(error, ConsentInvalid) else 1)


async def test_a_form_sent_twice_to_two_processes_is_checked_once(
    hub: Hub, other: Hub, account_id: str, vendors: Vendors
) -> None:
    boxy: FakeVendor = vendors.boxy
    way = await leave(hub, await flow_with(hub, account_id, "boxy"))
    form = await form_answers.show_form(hub, way.token, way.cookies)
    values = {"host": "h", "token": "t"}

    async def send(to: Hub) -> str:
        return await form_answers.submit_form(to, way.token, way.cookies, values, form.form_token)

    for error in (ConsentInvalid("The token is refused"), None):
        boxy.before_consent = halt = Halt(error)
        calls = len(boxy.calls)
        first = asyncio.create_task(send(hub))
        await halt.arrived.wait()
        second = asyncio.create_task(send(other))
        await asyncio.sleep(0.3)
        assert not second.done()
        halt.go.set()
        done = await asyncio.gather(first, second, return_exceptions=True)
        assert len(boxy.calls) == calls + 1
        if error is None:
            assert done[0] == done[1]
            continue
        for refused in done:
            assert isinstance(refused, FormRefused)
            assert isinstance(refused.error, ConsentInvalid)
            assert str(refused.error) == str(error)
    assert await enrolled(hub, account_id) == 1


async def test_a_process_that_stops_tells_a_waiting_owner_to_load_the_page_again(
    hub: Hub, other: Hub, coded: CodeVendor, flow: JoinFlow
) -> None:
    coded.before_listing = halt = Halt()
    way = await leave(hub, flow)
    first = asyncio.create_task(come_back(hub, way, code="ada:1"))
    await halt.arrived.wait()
    other.stopping.set()
    refused = await refusal(other, way, code="ada:1")
    assert (refused.code, refused.status) == ("still_running", 503)
    halt.go.set()
    assert "enrollmentID" in await first


async def test_a_stop_waits_for_a_consent_whose_owner_has_left(
    settings: Settings, registry: Registry, hub: Hub, account_id: str, coded: CodeVendor, flow: JoinFlow
) -> None:
    coded.before_listing = halt = Halt()
    way = await leave(hub, flow)
    async with open_hub(settings, registry) as stopping:
        request = asyncio.create_task(come_back(stopping, way, code="ada:1"))
        await halt.arrived.wait()
        request.cancel()
        await asyncio.gather(request, return_exceptions=True)
        asyncio.get_running_loop().call_later(0.2, halt.go.set)
    assert await enrolled(hub, account_id) == 1
    assert (await session_of(hub, way)).end_code == "joined"


async def test_answers_that_come_late_or_in_another_order_change_nothing(
    hub: Hub, account_id: str, coded: CodeVendor, flow: JoinFlow
) -> None:
    yes, no = await leave(hub, flow), await leave(hub, flow)
    result = await come_back(hub, yes, code="ada:1")
    assert await come_back(hub, yes, error="access_denied") == result
    denied = await come_back(hub, no, error="access_denied")
    assert denied["error_code"] == "user_denied"
    assert await come_back(hub, no, code="ada:2") == denied
    assert await enrolled(hub, account_id) == 1
    assert coded.spent == ["ada:1"]
    late = await leave(hub, flow)
    await change_session(hub, late, expires_at=now() - 1)
    assert (await refusal(hub, late, code="ada:3")).code == "session_expired"
    assert coded.spent == ["ada:1"]
    assert (await session_of(hub, late)).end_code == "session_expired"


# The app, and the issuer


async def app_of(hub: Hub, flow: JoinFlow) -> VendorCredentials:
    async with hub.store.read() as session:
        row = await session.get(VendorCredentials, flow.vendors[0]["credentialsID"])
    assert row is not None
    return row


async def change_app(hub: Hub, flow: JoinFlow, **columns: object) -> None:
    async with hub.store.write() as session:
        row = await session.get(VendorCredentials, flow.vendors[0]["credentialsID"])
        assert row is not None
        for name, value in columns.items():
            setattr(row, name, value)


async def test_a_code_is_not_shown_to_an_app_that_was_changed_meanwhile(
    hub: Hub, account_id: str, coded: CodeVendor, flow: JoinFlow
) -> None:
    app = await app_of(hub, flow)
    way = await leave(hub, flow, "s")
    await vendor_credentials.change(hub, account_id, app.id, "test", patch={"name": "renamed"})
    assert "enrollmentID" in await come_back(hub, way, code="ada:1")
    way = await leave(hub, flow, "s")
    patch = {"credentials": {"clientID": "another-app"}}
    await vendor_credentials.change(hub, account_id, app.id, "test", patch=patch)
    refused = await refusal(hub, way, code="ada:2")
    assert (refused.code, refused.status) == ("app_changed", 409)
    assert refused.restart_url == f"/join/flows/{flow.id}/authorize?vendor=coded&state=s"
    assert coded.spent == ["ada:1"]
    assert (await session_of(hub, way)).end_code == "app_changed"
    assert (await refusal(hub, way, code="ada:2")).code == "app_changed"
    assert "enrollmentID" in await come_back(hub, await leave(hub, flow, "s"), code="ada:2")


async def test_an_app_changed_while_the_code_is_exchanged_does_not_lose_the_grant(
    hub: Hub, account_id: str, coded: CodeVendor, flow: JoinFlow
) -> None:
    app = await app_of(hub, flow)

    async def change() -> None:
        patch = {"credentials": {"clientSecret": "canary-next-secret"}}
        await vendor_credentials.change(hub, account_id, app.id, "test", patch=patch)

    coded.before_listing = change
    assert "enrollmentID" in await come_back(hub, await leave(hub, flow), code="ada:1")


@pytest.mark.parametrize(
    ("promised", "sent", "code"),
    [
        (False, None, "joined"),
        (False, ISSUER, "joined"),
        (False, "https://evil.example", "issuer_mismatch"),
        (False, f"{ISSUER}/", "issuer_mismatch"),
        (True, ISSUER, "joined"),
        (True, None, "issuer_mismatch"),
        (True, "", "issuer_mismatch"),
    ],
)
async def test_an_answer_of_another_issuer_is_never_exchanged(
    hub: Hub, account_id: str, promised: bool, sent: str | None, code: str
) -> None:
    assert CODED.oauth2 is not None
    oauth2 = structs.replace(CODED.oauth2, issuer=ISSUER, sends_issuer=promised)
    named = CodeVendor(structs.replace(CODED, name="named", oauth2=oauth2))
    assert hub.registry.add("named", named).problem is None
    way = await leave(hub, await flow_with(hub, account_id, "named", APP))
    result = await come_back(hub, way, code="ada:1", **({} if sent is None else {"iss": sent}))
    assert result.get("error_code", "joined") == code
    assert named.spent == (["ada:1"] if code == "joined" else [])


async def test_an_issuer_nobody_declared_is_ignored(hub: Hub, coded: CodeVendor, flow: JoinFlow) -> None:
    assert "enrollmentID" in await come_back(hub, await leave(hub, flow), code="ada:1", iss="https://any.example")


@pytest.mark.parametrize(
    ("error", "code"),
    [
        ("user_cancelled", "user_denied"),
        ("consent_required", "user_denied"),
        ("login_required", "user_denied"),
        ("interaction_required", "user_denied"),
        ("access_denied", "user_denied"),
        ("invalid_scope", "app_refused"),
        ("unauthorized_client", "app_refused"),
        ("invalid_request", "app_refused"),
        ("server_error", "vendor_unavailable"),
        ("of_its_own", "vendor_answer"),
    ],
)
async def test_whose_fault_an_error_on_the_way_back_is(hub: Hub, flow: JoinFlow, error: str, code: str) -> None:
    way = await leave(hub, flow)
    result = await come_back(hub, way, error=error)
    assert result["error_code"] == code
    text = (await session_of(hub, way)).end_text or ""
    assert (f"({error})" in text) == (code != "vendor_answer")
    assert (await app_of(hub, flow)).rejected_at is None  # anybody may have written it into the browser


async def test_owners_are_not_sent_to_a_vendor_that_refuses_the_app(
    hub: Hub, account_id: str, coded: CodeVendor, flow: JoinFlow
) -> None:
    await change_app(hub, flow, suspected_at=now())
    assert "enrollmentID" in await come_back(hub, await leave(hub, flow), code="ada:1")
    await change_app(hub, flow, rejected_at=now())
    coded.calls.clear()
    with pytest.raises(JoinRefused) as caught:
        await leave(hub, flow)
    assert (caught.value.code, caught.value.status, caught.value.restart_url) == ("app_refused", 503, None)
    assert coded.calls == []
    (failed,) = await events_of(hub, "join.failed")
    assert failed.account_id == account_id
    assert failed.data == {
        "vendor": "coded",
        "flowID": flow.id,
        "code": "app_refused",
        "reason": "The vendor refuses the app's credentials; they must be corrected first",
        "actor": "operator",
    }
    (attempt,) = await join_attempts.latest(hub, flow_id=flow.id, code="app_refused")
    assert attempt.outcome == "unfinished"
    assert counted(hub, "coded", "app_refused") == 1
    assert (await join_flows.dependents(hub, account_id, flow.id)).under_way == 0


async def test_a_vendor_whose_plugin_is_gone_ends_the_attempt(
    settings: Settings, hub: Hub, flow: JoinFlow, vendors: Vendors
) -> None:
    async with open_hub(settings, vendors.registry()) as without:
        with pytest.raises(JoinRefused, match="vendor_missing"):
            await leave(without, flow)
        (attempt,) = await join_attempts.latest(without, flow_id=flow.id)
    assert attempt.code == "vendor_missing"


# What is kept of the ends


async def test_a_failed_join_is_told_counted_and_sent_to_the_integrator(
    hub: Hub, account_id: str, coded: CodeVendor, flow: JoinFlow
) -> None:
    await deliveries.fan_out(hub)
    coded.listing = [ConsentInvalid("This account has no site")]
    async with receiving() as receiver:
        made = await listen(hub, account_id, receiver, "join.failed")
        await come_back(hub, await leave(hub, flow, "canary-state"), code="ada:1")
        await deliveries.fan_out(hub)
        await deliveries.deliver(hub, made.row.id)
    (got,) = receiver.got
    assert got.json["type"] == "join.failed"
    assert got.json["data"] == {
        "vendor": "coded",
        "flowID": flow.id,
        "code": "consent_unusable",
        "reason": "This account has no site",
        "actor": "owner",
        "state": "canary-state",
    }
    assert counted(hub, "coded", "consent_unusable") == 1


async def test_sessions_nobody_came_back_to_end_as_expired_once(hub: Hub, account_id: str, flow: JoinFlow) -> None:
    unused, tried = await leave(hub, flow), await leave(hub, await flow_with(hub, account_id, "boxy"))
    await change_session(hub, tried, end_code="wrong_entries", end_text="The token is refused", attempts=2)
    for way in (unused, tried):
        await change_session(hub, way, expires_at=now() - 1)
    shown = {one.vendor: (one.code, one.outcome) for one in await join_attempts.latest(hub)}
    wanted = {"coded": ("session_expired", "unfinished"), "boxy": ("wrong_entries", "unfinished")}
    assert shown == wanted
    assert len(await join_attempts.latest(hub, code="session_expired")) == 1
    for _ in range(2):
        await late_consents.sweep(hub)
    assert {one.vendor: (one.code, one.outcome) for one in await join_attempts.latest(hub)} == wanted
    assert sorted(event.data["code"] for event in await events_of(hub, "join.failed")) == [
        "session_expired",
        "wrong_entries",
    ]
    assert (await session_of(hub, unused)).secrets_sealed == b""


async def test_attempts_are_kept_for_thirty_days_after_their_time(hub: Hub, flow: JoinFlow) -> None:
    young, old = await leave(hub, flow), await leave(hub, flow)
    await change_session(hub, young, expires_at=now() - 29 * 86400, ended_at=1, end_code="user_denied")
    await change_session(hub, old, expires_at=now() - 31 * 86400, ended_at=1, end_code="user_denied")
    await late_consents.sweep(hub)
    async with hub.store.read() as session:
        kept = (await session.execute(select(col(JoinSession.token_hash)))).scalars().all()
    assert kept == [young.row_id]


async def test_the_fifth_wrong_form_is_the_last(hub: Hub, account_id: str, vendors: Vendors) -> None:
    way = await leave(hub, await flow_with(hub, account_id, "boxy"))
    vendors.boxy.failures["handle_callback"] = ConsentInvalid("no")
    for _ in range(MAX_ATTEMPTS):
        with pytest.raises(FormRefused):
            await send_form(hub, way, host="h", token="t")
    vendors.boxy.failures.clear()
    with pytest.raises(JoinRefused) as caught:
        await send_form(hub, way, host="h", token="t")
    assert caught.value.code == "too_many_tries"
    assert (await session_of(hub, way)).end_code == "too_many_tries"
    (event,) = await events_of(hub, "join.failed")
    assert event.data["code"] == "too_many_tries"


async def test_attempts_are_found_by_flow_vendor_and_code(
    hub: Hub, account_id: str, coded: CodeVendor, flow: JoinFlow
) -> None:
    await come_back(hub, await leave(hub, flow), code="ada:1")
    await come_back(hub, await leave(hub, flow), error="access_denied")
    await leave(hub, flow)
    await leave(hub, await flow_with(hub, account_id, "boxy"))
    assert [one.code for one in await join_attempts.latest(hub, vendor="coded", code="user_denied")] == ["user_denied"]
    assert len(await join_attempts.latest(hub, vendor="coded")) == 3
    assert {one.outcome for one in await join_attempts.latest(hub, flow_id=flow.id)} == {
        "joined",
        "under way",
        "unfinished",
    }
    assert await join_attempts.latest(hub, code="plugin_bug") == []


async def test_the_apps_fault_needs_the_operator_until_somebody_joins_again(
    hub: Hub, account_id: str, flow: JoinFlow
) -> None:
    ways = [await leave(hub, flow) for _ in range(3)]
    for way in ways[:2]:
        await come_back(hub, way, error="invalid_scope")
    await come_back(hub, ways[2], error="access_denied")  # an owner's no is no fault
    (fault,) = await join_attempts.faults(hub)
    assert (fault.vendor, fault.code, fault.count) == ("coded", "app_refused", 2)
    assert "invalid_scope" in fault.text
    for way in ways[:2]:
        await change_session(hub, way, ended_at=now() - 60)
    elsewhere = await flow_with(hub, account_id, "coded", APP)
    await come_back(hub, await leave(hub, elsewhere), code="bob:1")
    assert len(await join_attempts.faults(hub)) == 1  # another app
    await come_back(hub, await leave(hub, flow), code="ada:1")
    assert await join_attempts.faults(hub) == []


async def test_requests_that_end_no_session_are_counted(hub: Hub, flow: JoinFlow) -> None:
    way = await leave(hub, flow)
    stranger = Way(way.vendor, way.token, {})
    assert (await refusal(hub, stranger, code="c")).code == "wrong_browser"
    assert (await refusal(hub, Way("coded", "x" * 43, {}), code="c")).code == "link_invalid"
    assert counted(hub, "coded", "wrong_browser") == 1
    assert counted(hub, "unknown", "link_invalid") == 1
    assert (await session_of(hub, way)).ended_at is None


async def test_an_account_that_is_removed_meanwhile_leaves_nothing(
    hub: Hub, account_id: str, coded: CodeVendor, flow: JoinFlow
) -> None:
    async def remove() -> None:
        async for _ in account_removal.remove(hub, account_id, "test"):
            pass

    coded.before_listing = remove
    way = await leave(hub, flow)
    with pytest.raises(JoinRefused) as caught:
        await come_back(hub, way, code="ada:1")
    assert caught.value.code == "link_invalid"  # its session is erased with the rest
    for table in ("account", "join_session", "enrollment", '"grant"', "due"):
        assert await hub.store.rows(f"SELECT 1 FROM {table}", {}) == [], table  # noqa: S608


def test_codes_are_plain_words_and_the_apps_faults_are_the_operators() -> None:
    assert all(code.replace("_", "").isalpha() and code.islower() for code in ENDS)
    named = [end.words for end in ENDS.values()]
    assert len(set(named)) == len(ENDS)
    assert not [words for words in named if "_" in words or len(words) > 26]
    assert join_ends.words_of("of_a_later_version") == "of a later version"
    assert set(join_ends.APP_AT_FAULT) == {
        *("app_refused", "scope_missing", "issuer_mismatch", "operator_action"),
        *("vendor_missing", "plugin_bug", "vendor_answer", "internal_error", "store_unavailable"),
    }
