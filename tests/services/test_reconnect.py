"""A link for the owner: a new consent replaces the grant of exactly that enrollment, and nobody else's."""

from __future__ import annotations

import base64
from collections.abc import Awaitable, Callable
from urllib.parse import parse_qs, urlsplit

import pytest

from api.fakes import HOME, SUNNY, FakeVendor, Vendors
from joinder.errors import TransientError
from joinder.runtime.hub import Hub
from joinder.services.events import deliveries
from joinder.services.grants import standing
from joinder.services.join import enrollments, form_answers, intros, join_flows, join_sessions, reconnect
from joinder.services.join import vendor_credentials as credentials
from joinder.services.join.hosted_forms import FormRefused
from joinder.services.join.join_ends import JoinRefused
from joinder.services.join.join_flows import FlowVendor
from joinder.services.join.join_sessions import Started
from joinder.services.records import accounts
from joinder.services.refusals import Conflict, Invalid, NotFound, Unprocessable
from joinder.store.tables import Enrollment, Event, GrantRow, JoinFlow
from joinder.vendors.registry import Registry
from services.receiver import receiving
from services.test_deliveries import listen

BACK = "https://integrator.example/back?tenant=7"
SECOND = "https://integrator.example/second"
Join = Callable[[str], Awaitable[str]]


@pytest.fixture
def vendors() -> Vendors:
    return Vendors()


@pytest.fixture
def registry(vendors: Vendors) -> Registry:
    return vendors.registry()


@pytest.fixture
async def flow(hub: Hub, account_id: str) -> JoinFlow:
    given = {"vendor": "sunny", "type": "oauthclient", "clientID": "an-id", "clientSecret": "a-secret"}
    made = await credentials.create(hub, account_id, "test", name=None, credentials=given)
    offered = [
        FlowVendor(vendor="sunny", credentials_id=made.id, options={"region": "north"}),
        FlowVendor(vendor="boxy"),
    ]
    return await join_flows.create(hub, account_id, "test", vendors=offered, redirect_uri=BACK)


@pytest.fixture
def join(hub: Hub, flow: JoinFlow) -> Join:
    async def make(vendor: str) -> str:
        started = await join_sessions.start(hub, flow.id, vendor)
        assert isinstance(started, Started)
        return (await finish(hub, vendor, started))["enrollmentID"]

    return make


async def finish(hub: Hub, vendor: str, started: Started) -> dict[str, str]:
    """The owner consents; answers what the redirect to the integrator carries."""
    cookies = {started.cookie_name: started.cookie}
    if vendor == "boxy":
        session = started.url.rsplit("/", 1)[-1]
        form = await form_answers.show_form(hub, session, cookies)
        values = {"host": "192.0.2.9", "token": "canary-owner-token"}
        target = await form_answers.submit_form(hub, session, cookies, values, form.form_token)
    else:
        state = parse_qs(urlsplit(started.url).query)["state"][0]
        target = await join_sessions.finish_redirect(hub, vendor, {"state": state, "code": "c"}, cookies)
    return {name: values[0] for name, values in parse_qs(urlsplit(target).query).items()}


async def opened(hub: Hub, url: str) -> Started:
    assert url.startswith(f"{hub.settings.public_url}/join/reconnect?link=")
    return await join_sessions.start_reconnect(hub, parse_qs(urlsplit(url).query)["link"][0])


async def state_of(hub: Hub, enrollment_id: str) -> tuple[Enrollment, GrantRow]:
    async with hub.store.read() as session:
        row, grant = await session.get(Enrollment, enrollment_id), await session.get(GrantRow, enrollment_id)
    assert row is not None
    assert grant is not None
    return row, grant


async def lose(hub: Hub, enrollment_id: str) -> None:
    async with hub.store.write() as session:
        row = await session.get(Enrollment, enrollment_id)
        assert row is not None
        await standing.settle(hub, session, row, "needs_consent", reason="revoked")


async def types_of(hub: Hub, enrollment_id: str) -> list[str]:
    rows = await hub.store.rows("SELECT type FROM event WHERE enrollment_id = :id", {"id": enrollment_id})
    return [row[0] for row in rows]


async def change(hub: Hub, enrollment_id: str, **columns: object) -> None:
    async with hub.store.write() as session:
        row = await session.get(Enrollment, enrollment_id)
        assert row is not None
        for name, value in columns.items():
            setattr(row, name, value)


@pytest.mark.parametrize("vendor", ["sunny", "boxy"])
async def test_the_grant_is_replaced_and_everything_else_stays(
    hub: Hub, account_id: str, join: Join, flow: JoinFlow, vendor: str
) -> None:
    enrollment_id = await join(vendor)
    before = await enrollments.get(hub, account_id, enrollment_id)
    assert before.reconnect_url is None
    await lose(hub, enrollment_id)
    shown = await enrollments.get(hub, account_id, enrollment_id)
    (listed,) = await enrollments.list_page(hub, account_id, {}, after="", limit=5)
    assert shown.reconnect_url
    assert listed.reconnect_url
    was, old = await state_of(hub, enrollment_id)
    result = await finish(hub, vendor, await opened(hub, shown.reconnect_url))
    assert result == {"tenant": "7", "enrollmentID": enrollment_id}
    after = await enrollments.get(hub, account_id, enrollment_id)
    row, grant = await state_of(hub, enrollment_id)
    assert (row.health, row.flow_id, row.created_at) == ("connecting", flow.id, before.row.created_at)
    assert (after.site_ids, row.options) == (before.site_ids, was.options)
    assert grant.version == old.version + 1
    assert grant.sealed != old.sealed
    assert (await types_of(hub, enrollment_id)).count("enrollment.reconnected") == 1
    assert len(await enrollments.list_page(hub, account_id, {}, after="", limit=5)) == 1


async def test_it_is_this_enrollment_even_where_another_has_the_same_owner(
    hub: Hub, account_id: str, join: Join, vendors: Vendors
) -> None:
    first = await join("sunny")
    vendors.sunny.account_id, vendors.sunny.homes = "owner-2", {"site-2": HOME}
    second = await join("sunny")
    assert first != second
    await change(hub, second, vendor_account_id="owner-1")  # now two of owner-1
    vendors.sunny.account_id, vendors.sunny.homes = "owner-1", {"site-2": HOME}
    _, untouched = await state_of(hub, first)
    result = await finish(hub, "sunny", await opened(hub, await reconnect.ask(hub, account_id, second, None)))
    assert result["enrollmentID"] == second
    assert (await state_of(hub, first))[1].sealed == untouched.sealed


@pytest.mark.parametrize(
    ("known", "consenting", "site", "same"),
    [
        ("owner-1", "owner-1", "site-1", True),
        ("owner-1", "owner-1", "site-9", True),
        ("owner-1", "owner-2", "site-1", False),
        (None, "owner-2", "site-1", True),
        (None, "owner-2", "site-9", False),
        ("owner-1", None, "site-1", True),
        ("owner-1", None, "site-9", False),
        (None, None, "site-9", False),
    ],
)
@pytest.mark.parametrize("vendor", ["sunny", "boxy"])
async def test_only_the_same_owner(
    hub: Hub,
    account_id: str,
    join: Join,
    vendors: Vendors,
    vendor: str,
    known: str | None,
    consenting: str | None,
    site: str,
    same: bool,
) -> None:
    fake: FakeVendor = getattr(vendors, vendor)
    enrollment_id = await join(vendor)
    await change(hub, enrollment_id, vendor_account_id=known)
    await lose(hub, enrollment_id)
    before = await state_of(hub, enrollment_id)
    fake.account_id, fake.homes = consenting, {site: HOME}
    started = await opened(hub, await reconnect.ask(hub, account_id, enrollment_id, None))
    if same:
        assert (await finish(hub, vendor, started))["enrollmentID"] == enrollment_id
        assert (await state_of(hub, enrollment_id))[0].vendor_account_id == (consenting or known)
        return
    if vendor == "boxy":
        with pytest.raises(FormRefused, match="another account"):
            await finish(hub, vendor, started)
    else:
        result = await finish(hub, vendor, started)
        assert result["error"] == "access_denied"
        assert "another account" in result["error_description"]
        assert "enrollmentID" not in result
    assert await state_of(hub, enrollment_id) == before
    assert "enrollment.reconnected" not in await types_of(hub, enrollment_id)
    assert len(await enrollments.list_page(hub, account_id, {}, after="", limit=5)) == 1


async def test_a_link_that_is_changed_old_or_for_nothing_opens_nothing(
    hub: Hub, account_id: str, join: Join, vendors: Vendors, monkeypatch: pytest.MonkeyPatch
) -> None:
    enrollment_id, other = await join("sunny"), await join("boxy")
    link = parse_qs(urlsplit(await reconnect.ask(hub, account_id, enrollment_id, None)).query)["link"][0]
    content, _, signature = link.partition(".")
    said = base64.urlsafe_b64decode(content + "==")
    forged = [said.replace(enrollment_id.encode(), other.encode()), said.replace(b"integrator", b"elsewhere")]
    tampered = [f"{base64.urlsafe_b64encode(text).decode().rstrip('=')}.{signature}" for text in forged]
    broken = [
        "",
        ".",
        link[:-1],
        f"{link}A",
        content,
        f".{signature}",
        f"{content}.",
        "é",
        "x" * 100_000,
        f"{content}.é",
    ]
    vendors.sunny.calls.clear()
    for text in tampered + broken:
        with pytest.raises(JoinRefused) as caught:
            await join_sessions.start_reconnect(hub, text)
        assert caught.value.code == "link_invalid"
    real = reconnect.now
    with monkeypatch.context() as patched:
        patched.setattr(intros, "now", lambda: real() + reconnect.LIFE_S)
        with pytest.raises(JoinRefused) as caught:
            await join_sessions.start_reconnect(hub, link)
        assert caught.value.code == "link_expired"
    await enrollments.delete(hub, account_id, enrollment_id, "test")
    with pytest.raises(JoinRefused) as caught:
        await join_sessions.start_reconnect(hub, link)
    assert caught.value.code == "connection_ended"
    assert vendors.sunny.calls == []


async def test_ending_the_enrollment_meanwhile_stores_nothing(
    hub: Hub, account_id: str, join: Join, vendors: Vendors
) -> None:
    enrollment_id = await join("sunny")
    started = await opened(hub, await reconnect.ask(hub, account_id, enrollment_id, None))

    async def end() -> None:
        await enrollments.delete(hub, account_id, enrollment_id, "test")

    vendors.sunny.before_consent = end
    with pytest.raises(JoinRefused) as caught:
        await finish(hub, "sunny", started)
    assert caught.value.code == "flow_gone"
    assert await enrollments.list_page(hub, account_id, {}, after="", limit=5) == []


async def test_a_session_that_is_over_offers_the_way_back(hub: Hub, account_id: str, join: Join) -> None:
    enrollment_id = await join("boxy")
    started = await opened(hub, await reconnect.ask(hub, account_id, enrollment_id, None))
    with pytest.raises(JoinRefused) as caught:
        await form_answers.show_form(hub, started.url.rsplit("/", 1)[-1], {})
    again = caught.value.restart_url or ""
    assert again.startswith("/join/reconnect?link=")
    restarted = await opened(hub, hub.settings.public_url + again)
    assert (await finish(hub, "boxy", restarted))["enrollmentID"] == enrollment_id


async def test_where_the_owner_goes_afterwards(hub: Hub, account_id: str, join: Join, flow: JoinFlow) -> None:
    enrollment_id = await join("boxy")
    await join_flows.create(hub, account_id, "test", vendors=[FlowVendor(vendor="boxy")], redirect_uri=SECOND)
    other = (await accounts.create_account(hub, "other")).id
    theirs = "https://theirs.example/"
    await join_flows.create(hub, other, "test", vendors=[FlowVendor(vendor="boxy")], redirect_uri=theirs)
    for uri in (theirs, "https://evil.example/", f"{SECOND}/", f"{BACK}&x=1", "javascript:alert(1)", "", "http://a.b/"):
        with pytest.raises(Invalid) as caught:
            await reconnect.ask(hub, account_id, enrollment_id, uri)
        assert set(caught.value.errors) == {"/redirectURI"}, uri
    await join_flows.delete(hub, account_id, flow.id, "test")
    with pytest.raises(Unprocessable):
        await reconnect.ask(hub, account_id, enrollment_id, None)
    with pytest.raises(Invalid):
        await reconnect.ask(hub, account_id, enrollment_id, BACK)
    await lose(hub, enrollment_id)
    assert (await enrollments.get(hub, account_id, enrollment_id)).reconnect_url is None
    result = await finish(hub, "boxy", await opened(hub, await reconnect.ask(hub, account_id, enrollment_id, SECOND)))
    assert result == {"enrollmentID": enrollment_id}
    with pytest.raises(NotFound):
        await reconnect.ask(hub, other, enrollment_id, theirs)


async def test_operator_credentials_have_no_owner(hub: Hub, account_id: str, flow: JoinFlow) -> None:
    given = {"vendor": "sunny", "type": "customgrant", "clientID": "an-id", "clientSecret": "a-secret"}
    await credentials.create(hub, account_id, "test", name=None, credentials=given)
    (found,) = await enrollments.list_page(hub, account_id, {}, after="", limit=5)
    with pytest.raises(Conflict):
        await reconnect.ask(hub, account_id, found.row.id, BACK)
    await lose(hub, found.row.id)
    assert (await enrollments.get(hub, account_id, found.row.id)).reconnect_url is None


async def test_a_vendor_that_is_away_changes_nothing(hub: Hub, account_id: str, join: Join, vendors: Vendors) -> None:
    enrollment_id = await join("sunny")
    before = await state_of(hub, enrollment_id)
    vendors.sunny.failures["handle_callback"] = TransientError("away")
    result = await finish(hub, "sunny", await opened(hub, await reconnect.ask(hub, account_id, enrollment_id, None)))
    assert result["error"] == "temporarily_unavailable"
    assert await state_of(hub, enrollment_id) == before


async def test_a_webhook_carries_the_link_and_the_event_row_does_not(hub: Hub, account_id: str, join: Join) -> None:
    enrollment_id = await join("sunny")
    await deliveries.fan_out(hub)
    async with receiving() as receiver:
        made = await listen(hub, account_id, receiver, "enrollment.health")
        await lose(hub, enrollment_id)
        await deliveries.fan_out(hub)
        await deliveries.deliver(hub, made.row.id)
    data = receiver.got[0].json["data"]
    assert (data["vendor"], data["to"]) == (SUNNY.name, "needs_consent")
    async with hub.store.read() as session:
        event = await session.get(Event, receiver.got[0].event_id)
    assert event is not None
    assert "reconnectURL" not in event.data
    assert (await finish(hub, "sunny", await opened(hub, data["reconnectURL"])))["enrollmentID"] == enrollment_id
