"""The screen of credentials, by keys: what each leaves in the store, and where secrets never stand."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from joinder_tui.screens.confirm import Confirm, ConfirmByName
from joinder_tui.screens.credential_forms import ActionForm, CredentialForm, RotateForm
from joinder_tui.screens.credentials import Credentials
from joinder_tui.screens.enrollments import Enrollments
from joinder_tui.screens.now import Now
from joinder_tui.screens.one_line import OneLine
from joinder_tui.screens.reveal import Reveal
from joinder_tui.widgets.form import Entry, Typed
from textual import events
from textual.screen import Screen
from textual.widgets import Input, Select

from joinder.clock import now
from joinder.runtime.hub import Hub
from joinder.services.admin import audits, flow_list
from joinder.services.join import vendor_credentials
from joinder.services.records import accounts
from joinder.store.audit_chain import SYSTEM
from joinder.store.tables import Quota, VendorCredentials
from services.conftest import Enroll
from tui.forms import choose, entry, shown, wrong
from tui.talking_vendor import CANARY, TalkingVendor
from tui.terminal import OpenTerminal, Terminal

PEM = "\n".join(("-----BEGIN " + "PRIVATE KEY-----", "MC4CAQAwBQYDK2VwBCIEIA", "-----END " + "PRIVATE KEY-----"))


@pytest.fixture
def vendor() -> TalkingVendor:
    return TalkingVendor()


async def open_by(terminal: Terminal, key: str, screen: type[Screen[Any]]) -> None:
    await terminal.press("4")
    await terminal.press(key)
    await shown(terminal, screen)


async def stored(hub: Hub, credentials_id: str) -> VendorCredentials | None:
    async with hub.store.read() as session:
        return await session.get(VendorCredentials, credentials_id)


async def secrets_of(hub: Hub, account_id: str, credentials_id: str) -> dict[str, str]:
    shown = await vendor_credentials.get(hub, account_id, credentials_id, "test", reveal=True)
    return dict(shown.secrets or {})


async def test_credentials_are_stored_sealed_and_their_secrets_are_nowhere_on_the_screen(
    hub: Hub, account_id: str, open_terminal: OpenTerminal, caplog: pytest.LogCaptureFixture
) -> None:
    async with open_terminal() as terminal:
        await terminal.press("4")
        await terminal.sees("none yet")
        await terminal.press("a")
        await shown(terminal, CredentialForm)
        await terminal.sees("For example a1b2")
        entry(terminal, "/credentials/clientID").value = "an-id"
        entry(terminal, "/credentials/clientSecret").value = CANARY
        entry(terminal, "/name").value = "North"
        await terminal.settled()
        assert CANARY not in terminal.text()
        assert CANARY not in terminal.app.export_screenshot()
        assert CANARY not in repr(terminal.app.screen.query(Entry))
        await terminal.press("ctrl+s")
        await shown(terminal, Credentials)
        await terminal.until(lambda: "North" in terminal.text())
        assert CANARY not in "".join([terminal.text(), *terminal.said(), caplog.text])
    (one,) = await flow_list.credentials(hub)
    assert (one.row.vendor, one.row.type, one.row.name) == ("strict", "app", "North")
    assert await secrets_of(hub, account_id, one.row.id) == {"clientID": "an-id", "clientSecret": CANARY}
    assert {audit.actor for audit in await audits.latest(hub, target=one.row.id, limit=9)} == {"terminal", "test"}


async def test_what_is_refused_stands_beside_its_field_and_nothing_typed_is_lost(
    hub: Hub, account_id: str, open_terminal: OpenTerminal
) -> None:
    async with open_terminal() as terminal:
        await open_by(terminal, "a", CredentialForm)
        entry(terminal, "/credentials/clientSecret").value = CANARY
        await terminal.press("ctrl+s")
        await terminal.until(lambda: bool(wrong(terminal, "/credentials/clientID")))
        assert "is needed" in wrong(terminal, "/credentials/clientID")
        assert wrong(terminal, "/credentials/clientSecret") == ""
        assert entry(terminal, "/credentials/clientSecret").value == CANARY
        await terminal.until(lambda: entry(terminal, "/credentials/clientID").has_focus_within)
        await terminal.press("a", "b", "enter")
        assert entry(terminal, "/credentials/clientSecret").has_focus_within
        await terminal.press("ctrl+s")
        await shown(terminal, Credentials)
    (one,) = await flow_list.credentials(hub)
    assert (await secrets_of(hub, account_id, one.row.id))["clientID"] == "ab"


async def test_leaving_asks_only_when_something_was_typed(
    hub: Hub, account_id: str, open_terminal: OpenTerminal
) -> None:
    async with open_terminal() as terminal:
        await open_by(terminal, "a", CredentialForm)
        await terminal.press("escape")
        await shown(terminal, Credentials)
        await terminal.press("a")
        await shown(terminal, CredentialForm)
        await terminal.press("tab", "x")
        await terminal.press("escape")
        await shown(terminal, Confirm)
        await terminal.press("n")
        await shown(terminal, CredentialForm)
        assert entry(terminal, "/credentials/clientID").value == "x"
        await terminal.press("escape")
        await shown(terminal, Confirm)
        await terminal.press("y")
        await shown(terminal, Credentials)
    assert await flow_list.credentials(hub) == []


async def test_an_app_that_opens_its_sites_by_itself_is_tried_at_the_vendor_first(
    hub: Hub, account_id: str, open_terminal: OpenTerminal
) -> None:
    async with open_terminal() as terminal:
        await open_by(terminal, "a", CredentialForm)
        await choose(terminal, "strict station", "/credentials/apiKey")
        entry(terminal, "/credentials/apiKey").value = "bad-key"
        await terminal.press("ctrl+s")
        await terminal.until(lambda: "is not known there" in terminal.text())
        assert await flow_list.credentials(hub) == []
        entry(terminal, "/credentials/apiKey").value = "good-key"
        await terminal.press("ctrl+s")
        await shown(terminal, Credentials)
    (one,) = await flow_list.credentials(hub)
    assert one.enrollments == 1


@pytest.mark.parametrize("size", [(80, 24), (60, 16)])
async def test_a_vendor_that_hangs_is_waited_for_no_longer_and_what_was_typed_stays(
    hub: Hub, vendor: TalkingVendor, account_id: str, open_terminal: OpenTerminal, size: tuple[int, int]
) -> None:
    vendor.hangs = True
    async with open_terminal(size=size) as terminal:
        await terminal.press("4", "a")
        await shown(terminal, CredentialForm)
        await choose(terminal, "strict station", "/credentials/apiKey")
        entry(terminal, "/credentials/apiKey").value = "good-key"
        await terminal.press("ctrl+s")
        await terminal.until(lambda: "Storing the credentials …" in terminal.text())
        await terminal.press("ctrl+s", "x", "escape")
        assert any("Still saving" in said for said in terminal.said())
        await terminal.press("ctrl+x")
        await terminal.until(lambda: "not waited for any more" in terminal.text())
        assert entry(terminal, "/credentials/apiKey").value == "good-key"
        assert await flow_list.credentials(hub) == []


async def test_a_key_comes_from_a_file_with_all_its_lines(
    hub: Hub, account_id: str, open_terminal: OpenTerminal, tmp_path: Path
) -> None:
    (tmp_path / "key.pem").write_text(PEM + "\n")
    (tmp_path / "disk").write_bytes(b"\xff" * 70_000)
    async with open_terminal() as terminal:
        await open_by(terminal, "a", CredentialForm)
        entry(terminal, "/credentials/clientID").value = "an-id"
        entry(terminal, "/credentials/clientSecret").value = CANARY
        key = entry(terminal, "/credentials/key")
        for path, said in (("absent", "No such file"), (".", "no file"), ("disk", "longer than"), ("key.pem", "")):
            key.query_one(Input).focus()
            await terminal.press("ctrl+o")
            await shown(terminal, OneLine)
            await terminal.enter(str(tmp_path / path))
            await terminal.press("enter")
            await shown(terminal, CredentialForm)
            await terminal.until(lambda said=said: said in wrong(terminal, "/credentials/key"))  # type: ignore[misc]
        await terminal.until(lambda: key.value == PEM)
        assert "PRIVATE KEY" not in terminal.text()
        await terminal.press("ctrl+s")
        await shown(terminal, Credentials)
    (one,) = await flow_list.credentials(hub)
    assert (await secrets_of(hub, account_id, one.row.id))["key"] == PEM


async def test_a_pasted_key_keeps_its_lines_and_a_secret_is_never_copied(
    account_id: str, open_terminal: OpenTerminal
) -> None:
    async with open_terminal() as terminal:
        await open_by(terminal, "a", CredentialForm)
        key = entry(terminal, "/credentials/key").query_one(Input)
        key.focus()
        await terminal.settled()
        key.post_message(events.Paste(PEM))
        await terminal.until(lambda: key.value == PEM)
        key.select_all()
        await terminal.press("ctrl+c")
        assert terminal.app.clipboard == ""
        assert key.value == PEM


async def test_with_several_accounts_the_form_asks_whose_it_is(
    hub: Hub, account_id: str, open_terminal: OpenTerminal
) -> None:
    other = (await accounts.create_account(hub, "Other [one]")).id
    async with open_terminal() as terminal:
        await open_by(terminal, "a", CredentialForm)
        terminal.app.screen.query(Select).first().value = other
        await terminal.settled()
        entry(terminal, "/credentials/clientID").value = "an-id"
        entry(terminal, "/credentials/clientSecret").value = CANARY
        await terminal.press("ctrl+s")
        await shown(terminal, Credentials)
    assert [one.row.account_id for one in await flow_list.credentials(hub)] == [other]


async def test_new_secrets_replace_what_was_typed_and_leave_the_rest(
    hub: Hub, account_id: str, credentials_id: str, open_terminal: OpenTerminal
) -> None:
    async with open_terminal() as terminal:
        await open_by(terminal, "o", RotateForm)
        assert all(not one.value for one in terminal.app.screen.query(Typed))
        await terminal.press("ctrl+s")
        await terminal.until(lambda: "everything stays as it is" in terminal.text())
        entry(terminal, "/credentials/clientSecret").value = CANARY
        await terminal.press("ctrl+s")
        await shown(terminal, Credentials)
    assert await secrets_of(hub, account_id, credentials_id) == {"clientID": "an-id", "clientSecret": CANARY}


async def test_a_rename_changes_the_name_alone(
    hub: Hub, account_id: str, credentials_id: str, open_terminal: OpenTerminal
) -> None:
    async with open_terminal() as terminal:
        await open_by(terminal, "n", OneLine)
        await terminal.enter("South [roof]")
        await terminal.press("enter")
        await shown(terminal, Credentials)
        await terminal.until(lambda: "South [roof]" in terminal.text())
        row = await stored(hub, credentials_id)
        assert row is not None
        assert row.name == "South [roof]"
        await terminal.press("n")
        await shown(terminal, OneLine)
        await terminal.enter("")
        await terminal.press("enter")
        await shown(terminal, Credentials)
        await terminal.until(lambda: "South" not in terminal.text())
    assert await secrets_of(hub, account_id, credentials_id) == {"clientID": "an-id", "clientSecret": "a-secret"}


async def test_the_vendor_is_asked_whether_it_knows_them(
    hub: Hub, vendor: TalkingVendor, credentials_id: str, open_terminal: OpenTerminal
) -> None:
    async with open_terminal() as terminal:
        await terminal.press("4", "t")
        await terminal.until(lambda: any("accepts these credentials" in said for said in terminal.said()))
        vendor.knows_app = False
        await terminal.press("t")
        await terminal.until(lambda: any("refused the app" in said for said in terminal.said()))
    assert "credentials.test" in {audit.action for audit in await audits.latest(hub, target=credentials_id, limit=9)}


async def test_secrets_are_shown_for_a_reason_and_hidden_again(
    hub: Hub, account_id: str, open_terminal: OpenTerminal
) -> None:
    given = {"vendor": "strict", "type": "app", "clientID": "an-id", "clientSecret": CANARY}
    credentials_id = (await vendor_credentials.create(hub, account_id, "test", name=None, credentials=given)).id
    async with open_terminal() as terminal:
        await open_by(terminal, "v", OneLine)
        await terminal.press("enter")
        assert isinstance(terminal.app.screen, OneLine)
        await terminal.enter("support case 7")
        await terminal.press("enter")
        await shown(terminal, Reveal)
        await terminal.sees(CANARY)
        assert terminal.app.clipboard == ""
        assert isinstance(terminal.app.screen, Reveal)
        terminal.app.screen._until = 0.0  # its half minute is over
        await shown(terminal, Credentials)
        assert CANARY not in terminal.text()
    (audit,) = [one for one in await audits.latest(hub, target=credentials_id, limit=9) if "reveal" in one.action]
    assert (audit.actor, audit.reason) == ("terminal", "support case 7")


@pytest.mark.parametrize("leaves", ["focus", "palette"])
async def test_secrets_go_as_soon_as_nobody_looks(
    hub: Hub, account_id: str, open_terminal: OpenTerminal, leaves: str
) -> None:
    async with open_terminal() as terminal:
        await terminal.app.push_screen(Reveal("strict", {"clientSecret": CANARY}))
        await terminal.until(lambda: CANARY in terminal.text())
        if leaves == "focus":
            terminal.app.post_message(events.AppBlur())
            await terminal.until(lambda: not isinstance(terminal.app.screen, Reveal))
        else:
            terminal.app.action_command_palette()
            await terminal.until(lambda: not isinstance(terminal.app.screen, Reveal))
            await terminal.settled()
            assert CANARY not in terminal.app.export_screenshot()
            await terminal.press("escape")
            await terminal.until(lambda: not isinstance(terminal.app.screen, Reveal))
        assert CANARY not in terminal.text()


async def test_an_action_at_the_vendor_is_run_with_what_it_asks_for(
    hub: Hub, vendor: TalkingVendor, credentials_id: str, open_terminal: OpenTerminal
) -> None:
    async with open_terminal() as terminal:
        await open_by(terminal, "x", ActionForm)
        await terminal.press("ctrl+s")
        await terminal.until(lambda: bool(wrong(terminal, "/domain")))
        entry(terminal, "/domain").value = "hub.example.com"
        await terminal.press("ctrl+s")
        await terminal.until(lambda: "hub.example.com is registered." in terminal.said())
    assert vendor.acted == [("an-id", {"domain": "hub.example.com"})]


async def test_what_something_depends_on_is_not_deleted_nor_asked_about(
    hub: Hub, account_id: str, enroll: Enroll, credentials_id: str, open_terminal: OpenTerminal
) -> None:
    await enroll("ada")
    async with open_terminal() as terminal:
        await terminal.press("4", "d")
        await terminal.until(lambda: any("and 1 enrollment" in said for said in terminal.said()))
        assert isinstance(terminal.app.screen, Credentials)
        await terminal.press("enter")
        assert isinstance(terminal.app.screen, Enrollments)
        await terminal.sees(f"credentials:{credentials_id}")
        await terminal.until(lambda: "1 enrollment" in terminal.text())
    assert await stored(hub, credentials_id) is not None


async def test_a_deletion_wants_the_id(hub: Hub, credentials_id: str, open_terminal: OpenTerminal) -> None:
    async with open_terminal() as terminal:
        await open_by(terminal, "d", ConfirmByName)
        await terminal.press("enter")
        assert await stored(hub, credentials_id) is not None
        await terminal.enter(credentials_id, "#name")
        await terminal.press("enter")
        await terminal.until(lambda: "Deleted." in terminal.said())
        await terminal.until(lambda: "none yet" in terminal.text())
    assert await stored(hub, credentials_id) is None


async def test_quotas_and_refusals_are_seen(hub: Hub, credentials_id: str, open_terminal: OpenTerminal) -> None:
    day = now() - now() % 86400
    async with hub.store.write() as session:
        session.add(Quota(app=credentials_id, span="day", window=day, used=93))
        session.add(Quota(app=credentials_id, span="blocked", window=0, used=0, until=now() + 600))
    async with open_terminal(size=(80, 24)) as terminal:
        await terminal.press("4")
        await terminal.sees("93% day")
        await terminal.sees("93 of 100 calls this day, 7 left")
        await terminal.sees("blocked")
        async with hub.store.write() as session:
            row = await session.get(VendorCredentials, credentials_id)
            assert row is not None
            row.rejected_at = now() - 120
        for _ in range(2):
            terminal.page.tick()
            await terminal.settled()
        await terminal.sees("rejected 2 min")


async def test_a_form_tells_its_keys_and_keeps_what_was_typed_under_them(
    account_id: str, open_terminal: OpenTerminal
) -> None:
    async with open_terminal() as terminal:
        await terminal.press("4", "a")
        await shown(terminal, CredentialForm)
        await terminal.press("tab", "x", "f1")
        await terminal.sees("joinder credentials")
        await terminal.press("escape")
        await shown(terminal, CredentialForm)
        assert entry(terminal, "/credentials/clientID").value == "x"


async def test_an_id_is_copied_and_escape_leads_to_the_first_screen(
    credentials_id: str, open_terminal: OpenTerminal
) -> None:
    async with open_terminal() as terminal:
        await terminal.press("4", "i")
        assert terminal.app.clipboard == credentials_id
        await terminal.press("escape")
        assert isinstance(terminal.app.screen, Now)


async def test_read_only_has_none_of_it(hub: Hub, credentials_id: str, open_terminal: OpenTerminal) -> None:
    async with open_terminal(readonly=True) as terminal:
        await terminal.press("4", "a", "t", "o", "n", "v", "x", "d")
        assert isinstance(terminal.app.screen, Credentials)
        await asyncio.sleep(0.1)
        assert isinstance(terminal.app.screen, Credentials)
    done = {one.action for one in await audits.latest(hub, limit=20) if one.account_id != SYSTEM}
    assert done == {"account.create", "credentials.create"}


async def test_a_form_fits_a_small_terminal(account_id: str, open_terminal: OpenTerminal) -> None:
    async with open_terminal(size=(60, 16)) as terminal:
        await open_by(terminal, "a", CredentialForm)
        await terminal.sees("Client ID")
        await terminal.sees("Store")
