"""The screen of join flows and its form, by keys: what each leaves in the store."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from joinder_tui.screens.confirm import Confirm, ConfirmByName
from joinder_tui.screens.enrollment import Enrollment
from joinder_tui.screens.enrollments import Enrollments
from joinder_tui.screens.flow_form import FlowForm
from joinder_tui.screens.flows import Flows
from joinder_tui.screens.link import Link
from joinder_tui.screens.now import Now
from joinder_tui.widgets.form import Ticked
from joinder_tui.widgets.table import Table
from textual.widgets import Checkbox, Select

from joinder import virtual
from joinder.clock import now
from joinder.runtime.hub import Hub
from joinder.services.admin import audits, flow_list
from joinder.services.join import join_flows, vendor_credentials
from joinder.services.join.join_flows import FlowVendor
from joinder.services.records import accounts
from joinder.store.tables import Account, JoinFlow, JoinSession
from joinder.store.tables import Enrollment as Row
from joinder.vendors.registry import Registry
from services.conftest import Enroll
from services.strict_vendor import StrictVendor
from tui.forms import entry, shown, wrong
from tui.talking_vendor import KeyVendor, TalkingVendor
from tui.terminal import OpenTerminal, Terminal

BACK = "https://app.example/joined"


@pytest.fixture
def vendor() -> TalkingVendor:
    return TalkingVendor()


@pytest.fixture
def registry(vendor: TalkingVendor) -> Registry:
    made = Registry()
    for one in (vendor, KeyVendor(), StrictVendor(name="bare")):
        assert made.add(one.name, one).problem is None
    return made


async def make_flow(hub: Hub, account_id: str, *vendors: FlowVendor) -> str:
    entries = vendors or (FlowVendor(vendor="keyed"),)
    return (await join_flows.create(hub, account_id, "test", vendors=entries, redirect_uri=BACK)).id


async def attempt(hub: Hub, account_id: str, flow_id: str, token: bytes, **columns: Any) -> None:
    values = {"created_at": now() - 60, "expires_at": now() + 600, "vendor": "keyed", **columns}
    async with hub.store.write() as session:
        session.add(
            JoinSession(
                token_hash=token,
                account_id=account_id,
                flow_id=flow_id,
                cookie_hash=b"c",
                secrets_sealed=b"s",
                client_redirect_uri=BACK,
                **values,
            )
        )


def tick(terminal: Terminal, vendor: str) -> None:
    ticked = next(one for one in terminal.app.screen.query(Ticked) if one.place == f"/vendors/{vendor}")
    ticked.query_one(Checkbox).value = True


async def flows(hub: Hub) -> list[JoinFlow]:
    return [one.row for one in await flow_list.flows(hub)]


async def test_a_flow_of_two_vendors_is_made_with_credentials_and_options(
    hub: Hub, account_id: str, credentials_id: str, open_terminal: OpenTerminal
) -> None:
    async with open_terminal() as terminal:
        await terminal.press("3")
        await terminal.sees("none yet")
        await terminal.press("a")
        await shown(terminal, FlowForm)
        await terminal.sees("needs credentials first")
        assert "Programme" not in terminal.text()
        entry(terminal, "/redirectURI").value = BACK
        tick(terminal, "strict")
        tick(terminal, "keyed")
        await terminal.settled()
        entry(terminal, "/vendors/strict/options/programID").value = "P-1"
        await terminal.press("ctrl+s")
        await shown(terminal, Flows)
        await terminal.until(lambda: BACK in terminal.text())
    (flow,) = await flows(hub)
    assert (flow.account_id, flow.redirect_uri) == (account_id, BACK)
    assert flow.vendors == [
        {"vendor": "keyed"},
        {"vendor": "strict", "credentialsID": credentials_id, "options": {"programID": "P-1"}},
    ]
    assert [one.actor for one in await audits.latest(hub, target=flow.id, limit=2)] == ["terminal"]


async def test_what_cannot_work_stands_beside_what_it_is_about(
    hub: Hub, account_id: str, credentials_id: str, open_terminal: OpenTerminal
) -> None:
    async with open_terminal() as terminal:
        await terminal.press("3")
        await terminal.press("a")
        await shown(terminal, FlowForm)
        entry(terminal, "/redirectURI").value = "ftp://app.example"
        await terminal.press("ctrl+s")
        await terminal.until(lambda: bool(wrong(terminal, "/redirectURI")))
        await terminal.sees("vendors: must name at least one vendor")
        entry(terminal, "/redirectURI").value = BACK
        tick(terminal, "keyed")
        tick(terminal, "strict")
        await terminal.press("ctrl+s")
        await terminal.until(lambda: bool(wrong(terminal, "/vendors/strict/options/programID")))
        assert wrong(terminal, "/redirectURI") == ""
        assert entry(terminal, "/redirectURI").value == BACK
        await terminal.press("escape")
        await shown(terminal, Confirm)
        await terminal.press("y")
        await shown(terminal, Flows)
    assert await flows(hub) == []


async def test_only_credentials_with_which_owners_join_are_offered(
    hub: Hub, account_id: str, credentials_id: str, open_terminal: OpenTerminal
) -> None:
    station = {"vendor": "strict", "type": "station", "apiKey": "good-key"}
    await vendor_credentials.create(hub, account_id, "test", name="Station", credentials=station)
    async with open_terminal() as terminal:
        await terminal.press("3")
        await terminal.press("a")
        await shown(terminal, FlowForm)
        (select,) = terminal.app.screen.query(Select)
        assert [value for _, value in select._options] == [credentials_id]


async def test_with_several_accounts_credentials_are_those_of_the_chosen_one(
    hub: Hub, account_id: str, credentials_id: str, open_terminal: OpenTerminal
) -> None:
    other = (await accounts.create_account(hub, "Other")).id
    given = {"vendor": "strict", "type": "app", "clientID": "b", "clientSecret": "b-secret"}
    theirs = (await vendor_credentials.create(hub, other, "test", name="Theirs", credentials=given)).id
    async with open_terminal() as terminal:
        await terminal.press("3")
        await terminal.press("a")
        await shown(terminal, FlowForm)
        account = terminal.app.screen.query(Select).first()
        for chosen, offered in ((other, theirs), (account_id, credentials_id), (other, theirs)):
            account.value = chosen
            await terminal.until(
                lambda offered=offered: [s.value for s in terminal.app.screen.query(Select)][1:] == [offered]  # type: ignore[misc]
            )
        entry(terminal, "/redirectURI").value = BACK
        tick(terminal, "strict")
        entry(terminal, "/vendors/strict/options/programID").value = "P-1"
        await terminal.press("ctrl+s")
        await shown(terminal, Flows)
    (flow,) = await flows(hub)
    assert (flow.account_id, flow.vendors[0]["credentialsID"]) == (other, theirs)


async def test_the_link_is_copied_and_shown_as_a_code(hub: Hub, account_id: str, open_terminal: OpenTerminal) -> None:
    flow_id = await make_flow(hub, account_id)
    async with open_terminal() as terminal:
        await terminal.press("3")
        await terminal.press("c")
        await shown(terminal, Link)
        url = f"{hub.settings.public_url}/join/flows/{flow_id}/authorize"
        assert terminal.app.clipboard == url
        await terminal.sees(url)
        assert "Link copied." in terminal.said()
        await terminal.sees("█")


async def test_a_deletion_says_whom_it_sends_away_and_wants_the_id(
    hub: Hub, account_id: str, enroll: Enroll, open_terminal: OpenTerminal
) -> None:
    flow_id, enrollment_id = await make_flow(hub, account_id), await enroll("ada")
    async with hub.store.write() as session:
        row = await session.get(Row, enrollment_id)
        assert row is not None
        row.flow_id = flow_id
    await attempt(hub, account_id, flow_id, b"1")
    async with open_terminal() as terminal:
        await terminal.press("3")
        await terminal.press("d")
        await shown(terminal, ConfirmByName)
        await terminal.sees("1 owner under way must begin again")
        await terminal.sees("What it made stays: 1 enrollment.")
        await terminal.press("escape")
        await shown(terminal, Flows)
        assert len(await flows(hub)) == 1
        await terminal.press("d")
        await shown(terminal, ConfirmByName)
        await terminal.enter(flow_id, "#name")
        await terminal.press("enter")
        await terminal.until(lambda: "Deleted." in terminal.said())
    assert await flows(hub) == []
    async with hub.store.read() as session:
        assert await session.get(Row, enrollment_id) is not None


async def test_enter_leads_to_the_enrollments_of_the_flow(
    hub: Hub, account_id: str, enroll: Enroll, open_terminal: OpenTerminal
) -> None:
    flow_id, made, other = await make_flow(hub, account_id), await enroll("ada"), await enroll("bob")
    async with hub.store.write() as session:
        row = await session.get(Row, made)
        assert row is not None
        row.flow_id = flow_id
    async with open_terminal() as terminal:
        await terminal.press("3", "enter")
        assert isinstance(terminal.app.screen, Enrollments)
        await terminal.until(lambda: "1 enrollment" in terminal.text())
        await terminal.sees(made)
        await terminal.until(lambda: other not in terminal.text())


async def test_owners_are_seen_joining_and_enter_leads_to_what_came_of_it(
    hub: Hub, account_id: str, enroll: Enroll, open_terminal: OpenTerminal
) -> None:
    flow_id, enrollment_id = await make_flow(hub, account_id), await enroll("ada")
    for token in (b"1", b"2"):
        await attempt(hub, account_id, flow_id, token, created_at=now() - 60)
    await attempt(hub, account_id, flow_id, b"3", created_at=now() - 3000, expires_at=now() - 1200)
    async with open_terminal(size=(80, 24)) as terminal:
        await terminal.press("3")
        attempts = terminal.page.query_one("#attempts", Table)
        assert attempts.row_count == 3
        await terminal.until(lambda: terminal.text().count("◐ under way") == 2)
        assert terminal.text().count("not finished in time") == 1
        async with hub.store.write() as session:
            row = await session.get(JoinSession, b"1")
            assert row is not None
            row.enrollment_id = enrollment_id
        for _ in range(2):
            terminal.page.tick()
            await terminal.settled()
        await terminal.sees("joined")
        await terminal.press("tab", "home")
        while "joined" not in str(attempts.get_row_at(attempts.cursor_row)):
            await terminal.press("down")
        await terminal.press("enter")
        assert isinstance(terminal.app.screen, Enrollment)


async def test_the_attempts_of_one_flow_are_seen_alone_and_its_page_is_opened(
    hub: Hub, account_id: str, open_terminal: OpenTerminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = [await make_flow(hub, account_id) for _ in range(2)]
    ended = {"used_at": now(), "ended_at": now(), "expires_at": now() + 60, "end_code": "user_denied"}
    await attempt(hub, account_id, first, b"1", **ended)
    for token in (b"2", b"3"):
        await attempt(hub, account_id, second, token, **ended)
    opened: list[str] = []
    async with open_terminal() as terminal:
        monkeypatch.setattr(terminal.app, "open_url", opened.append)
        await terminal.press("3")
        flows, attempts = terminal.page.query_one("#flows", Table), terminal.page.query_one("#attempts", Table)
        assert attempts.row_count == 3
        await terminal.press("f")
        await terminal.until(lambda: attempts.row_count == (1 if flows.selected == first else 2))
        await terminal.press("j")
        await terminal.until(lambda: attempts.row_count == (1 if flows.selected == first else 2))
        assert flows.cursor_row == 1
        await terminal.press("f")
        await terminal.until(lambda: attempts.row_count == 3)
        await terminal.press("v")
        await terminal.until(lambda: len(opened) == 1)
        assert f"/join/flows/{flows.selected}/authorize" in opened[0]


async def test_why_owners_fail_is_read_and_what_is_the_apps_fault_needs_the_admin(
    hub: Hub, account_id: str, open_terminal: OpenTerminal
) -> None:
    flow_id = await make_flow(hub, account_id)
    ended = {"used_at": now(), "ended_at": now(), "expires_at": now() + 60}
    refused = {"end_code": "app_refused", "end_text": "The vendor refuses this app"}
    for token in (b"1", b"2"):
        await attempt(hub, account_id, flow_id, token, **ended, **refused)
    await attempt(hub, account_id, flow_id, b"3", **ended, end_code="user_denied", end_text="The owner said no")
    async with open_terminal(size=(120, 40)) as terminal:
        await terminal.sees("keyed joins: app secret refused 2")
        assert "joins: the owner said no" not in terminal.text()
        await terminal.press("3")
        await terminal.sees("The vendor refuses this app")
        await terminal.sees("the owner said no")


async def test_the_form_tells_its_keys_and_has_nothing_to_load_where_nothing_is_typed(
    hub: Hub, account_id: str, open_terminal: OpenTerminal
) -> None:
    async with open_terminal() as terminal:
        await terminal.press("3", "a")
        await shown(terminal, FlowForm)
        await terminal.press("f1")
        await terminal.sees("joinder flows create")
        await terminal.press("escape", "tab", "ctrl+x", "ctrl+o")
        assert "Put the cursor into the field that the file is for." in terminal.said()
        assert isinstance(terminal.app.screen, FlowForm)


async def test_an_id_is_copied_and_escape_leads_to_the_first_screen(
    hub: Hub, account_id: str, open_terminal: OpenTerminal
) -> None:
    flow_id = await make_flow(hub, account_id)
    async with open_terminal() as terminal:
        await terminal.press("3", "i")
        assert terminal.app.clipboard == flow_id
        await terminal.sees("Goes back to")
        assert account_id not in terminal.text()
        await terminal.press("I")
        assert terminal.app.clipboard == account_id
        await terminal.press("escape")
        assert isinstance(terminal.app.screen, Now)


async def test_read_only_makes_and_deletes_nothing(hub: Hub, account_id: str, open_terminal: OpenTerminal) -> None:
    await make_flow(hub, account_id)
    async with open_terminal(readonly=True) as terminal:
        await terminal.press("3", "a", "d")
        await asyncio.sleep(0.1)
        assert isinstance(terminal.app.screen, Flows)
        await terminal.press("c")
        await shown(terminal, Link)
    assert len(await flows(hub)) == 1


@pytest.mark.parametrize("size", [(80, 24), (60, 16)])
async def test_both_tables_and_the_form_fit(
    hub: Hub, account_id: str, open_terminal: OpenTerminal, size: tuple[int, int]
) -> None:
    await attempt(hub, account_id, await make_flow(hub, account_id), b"1")
    async with open_terminal(size=size) as terminal:
        await terminal.press("3")
        await terminal.sees("Goes back to")
        await terminal.sees("under way")
        await terminal.press("a")
        await shown(terminal, FlowForm)
        await terminal.sees("Redirect URI")
        assert "✓" not in terminal.text()
        tick(terminal, "keyed")
        await terminal.settled()
        await terminal.sees("✓")


async def test_how_far_owners_of_the_flow_under_the_cursor_came_and_why_others_did_not(
    hub: Hub, account_id: str, open_terminal: OpenTerminal
) -> None:
    older = await make_flow(hub, account_id)
    flow = await make_flow(hub, account_id)
    for number, code in enumerate(("joined", "joined", "session_expired", "app_refused", "app_refused")):
        await attempt(hub, account_id, flow, str(number).encode(), ended_at=now() - 5, end_code=code)
    await attempt(hub, account_id, flow, b"at it")
    async with open_terminal() as terminal:
        await terminal.press("3")
        terminal.page.choose("#flows", flow)
        await terminal.sees("started ████████████ 6 → consented ████ 2 → connected ████ 2")
        await terminal.sees("◐ 1 under way")
        await terminal.sees("lost: 1 left before the end · 2 app secret refused ■ you")
        terminal.page.choose("#flows", older)
        await terminal.sees("Nobody has opened the link of this flow yet")


@pytest.mark.parametrize(("mode", "offered"), [("production", {"strict", "keyed"}), ("virtual", {"virtual"})])
async def test_the_virtual_vendor_is_offered_to_virtual_accounts_only(
    hub: Hub, account_id: str, open_terminal: OpenTerminal, mode: str, offered: set[str]
) -> None:
    assert hub.registry.add(virtual.NAME, virtual).problem is None
    async with hub.store.write() as session:
        account = await session.get(Account, account_id)
        assert account is not None
        account.mode = mode
    async with open_terminal() as terminal:
        await terminal.press("3")
        await terminal.press("a")
        await shown(terminal, FlowForm)
        await terminal.sees("Redirect URI")
        places = {one.place for one in terminal.app.screen.query(Ticked)}
        names = {place.removeprefix("/vendors/") for place in places if place.startswith("/vendors/")}
        assert names >= offered
        assert (virtual.NAME in names) == (mode == "virtual")


@pytest.mark.parametrize(
    ("url", "is_whole"), [("https://a.example/" + "a" * 60, True), ("https://a.example/" + "a" * 300, False)]
)
async def test_a_code_is_whole_at_80_by_24_or_says_that_it_is_not(
    open_terminal: OpenTerminal, url: str, is_whole: bool
) -> None:
    async with open_terminal(size=(80, 24)) as terminal:
        await terminal.app.push_screen(Link("For owners.", url))
        await terminal.sees("████")
        code = terminal.app.screen.query_one("#qr")
        await terminal.until(lambda: terminal.app.screen.has_class("-low"))
        await terminal.until(lambda: code.region.x > 0 and code.region.y <= 3)
        assert (code.region.bottom <= 24) == is_whole
        assert terminal.app.screen.query_one("#too-tall").display != is_whole
