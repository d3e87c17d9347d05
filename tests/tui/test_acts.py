"""Each act on enrollments, from the list and from the screen of one, by what it leaves in the store."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
from joinder_tui.screens.enrollment import Enrollment as Detail
from joinder_tui.screens.enrollments import Enrollments
from joinder_tui.screens.help import Help
from joinder_tui.screens.link import Link
from joinder_tui.screens.now import Now
from textual.widgets import TabbedContent

from joinder.clock import now
from joinder.runtime.hub import Hub
from joinder.services.admin import audits, pausing
from joinder.services.grants import standing
from joinder.services.join import join_flows
from joinder.services.join.join_flows import FlowVendor
from joinder.services.work import leases
from joinder.store.tables import Due, Enrollment
from services.conftest import Enroll
from services.strict_vendor import StrictVendor
from tui.terminal import OpenTerminal, Terminal

PLACES = {"list": ("2",), "detail": ("2", "enter")}


@pytest.fixture(params=PLACES)
def place(request: pytest.FixtureRequest) -> tuple[str, ...]:
    return PLACES[request.param]


async def row(hub: Hub, enrollment_id: str) -> Enrollment:
    async with hub.store.read() as session:
        found = await session.get(Enrollment, enrollment_id)
        assert found is not None
        return found


async def due_at(hub: Hub, kind: str, enrollment_id: str) -> int:
    async with hub.store.read() as session:
        found = await session.get(Due, (kind, enrollment_id))
        return found.due_at if found else leases.NEVER


async def said(terminal: Terminal, text: str) -> None:
    await terminal.until(lambda: any(text in each for each in terminal.said()))


async def test_renew(vendor: StrictVendor, enroll: Enroll, open_terminal: OpenTerminal, place: tuple[str, ...]) -> None:
    await enroll("ada")
    async with open_terminal() as terminal:
        await terminal.press(*place, "r")
        await said(terminal, "Refreshed")
    assert vendor.exchanges == 1


async def test_read(hub: Hub, enroll: Enroll, open_terminal: OpenTerminal, place: tuple[str, ...]) -> None:
    enrollment_id = await enroll("ada")
    async with open_terminal() as terminal:
        await terminal.press(*place, "l")
        await said(terminal, "Polled")
    assert (await row(hub, enrollment_id)).last_success_at is not None


async def test_pause_and_resume(hub: Hub, enroll: Enroll, open_terminal: OpenTerminal, place: tuple[str, ...]) -> None:
    enrollment_id = await enroll("ada")
    async with open_terminal() as terminal:
        await terminal.press(*place, "p")
        await terminal.press("n")
        assert (await row(hub, enrollment_id)).paused_at is None
        await terminal.press("p")
        await terminal.press("y")
        await said(terminal, "Paused")
        assert (await row(hub, enrollment_id)).paused_at is not None
        await terminal.press("u")
        await said(terminal, "Resumed")
        assert (await row(hub, enrollment_id)).paused_at is None


async def test_release(hub: Hub, enroll: Enroll, open_terminal: OpenTerminal, place: tuple[str, ...]) -> None:
    enrollment_id = await enroll("ada")
    async with open_terminal() as terminal:
        await terminal.press(*place, "e")
        await said(terminal, "not in quarantine")
        async with hub.store.write() as session:
            found = await session.get(Enrollment, enrollment_id)
            assert found is not None
            await standing.settle(hub, session, found, "quarantined", reason="broken")
        await terminal.press("e")
        await said(terminal, "Released")
    assert (await row(hub, enrollment_id)).health == "connecting"
    assert await due_at(hub, "poll", enrollment_id) <= now()


async def test_backfill_of_a_vendor_without_history_is_refused_in_a_sentence(
    enroll: Enroll, open_terminal: OpenTerminal, place: tuple[str, ...]
) -> None:
    await enroll("ada")
    async with open_terminal() as terminal:
        await terminal.press(*place, "b")
        await said(terminal, "keeps no history")


async def test_links_of_all_marked_owners_are_copied_and_written_as_a_table(
    hub: Hub, account_id: str, credentials_id: str, enroll: Enroll, open_terminal: OpenTerminal, tmp_path: Path
) -> None:
    owners = {owner: await enroll(owner) for owner in ("ada", "bob", "cyd")}
    offered = FlowVendor(vendor="strict", credentials_id=credentials_id)
    flow = await join_flows.create(hub, account_id, "test", vendors=[offered], redirect_uri="https://app.example/back")
    async with hub.store.write() as session:
        for owner in ("ada", "bob"):  # nobody knows where the third would go afterwards
            found = await session.get(Enrollment, owners[owner])
            assert found is not None
            found.flow_id, found.reference = flow.id, f"=4711-{owner}"
    path = tmp_path / "links.csv"
    async with open_terminal(size=(160, 40)) as terminal:
        await terminal.press("2", "ctrl+a", "c")
        await terminal.sees("Make 3 links for owners to consent again?")
        await terminal.press("y")
        await terminal.sees("2 links, copied as a table")
        await terminal.enter(str(path), "#path")
        await terminal.press("enter")
        await said(terminal, f"2 links written to {path}")
        await said(terminal, "Nobody knows where the owner would go afterwards")
        assert terminal.app.clipboard == path.read_text()
    head, *rows = csv.reader(path.read_text().splitlines())
    assert head == ["site", "vendor", "reference", "enrollment", "link"]
    assert {row[3]: (row[0], row[1], row[2]) for row in rows} == {
        owners[owner]: (f"site-of-{owner}", "strict", f"'=4711-{owner}") for owner in ("ada", "bob")
    }
    assert all(row[4].startswith(f"{hub.settings.public_url}/join/reconnect?link=") for row in rows)
    done = await audits.latest(hub, action="enrollment.reconnect-link", limit=9)
    assert {one.target for one in done} == {owners["ada"], owners["bob"]}


async def test_reconnect_copies_and_draws_the_link(
    hub: Hub,
    vendor: StrictVendor,
    account_id: str,
    credentials_id: str,
    enroll: Enroll,
    open_terminal: OpenTerminal,
    place: tuple[str, ...],
) -> None:
    enrollment_id = await enroll("ada")
    offered = FlowVendor(vendor=vendor.name, credentials_id=credentials_id)
    flow = await join_flows.create(
        hub, account_id, "test", vendors=[offered], redirect_uri="https://integrator.example/back"
    )
    async with hub.store.write() as session:
        found = await session.get(Enrollment, enrollment_id)
        assert found is not None
        found.flow_id = flow.id
    async with open_terminal() as terminal:
        await terminal.press(*place, "c")
        await terminal.until(lambda: isinstance(terminal.app.screen, Link))
        await terminal.settled()
        assert terminal.app.clipboard.startswith(f"{hub.settings.public_url}/join/reconnect?link=")
        await terminal.until(lambda: "▄" in terminal.text() or "█" in terminal.text())
        terminal.app.copy_to_clipboard("")
        await terminal.press("c")
        assert terminal.app.clipboard.startswith("http")
        await terminal.press("escape")
        assert not isinstance(terminal.app.screen, Link)


async def test_revoke_wants_the_id(
    hub: Hub, enroll: Enroll, open_terminal: OpenTerminal, place: tuple[str, ...]
) -> None:
    enrollment_id = await enroll("ada")
    async with open_terminal() as terminal:
        await terminal.press(*place, "d")
        await terminal.until(lambda: bool(terminal.app.screen.query("#name")))
        await terminal.press("escape")
        assert await row(hub, enrollment_id)
        await terminal.press("d")
        await terminal.until(lambda: bool(terminal.app.screen.query("#name")))
        await terminal.enter(enrollment_id, "#name")
        await terminal.press("enter")
        await said(terminal, "Revoked")
    async with hub.store.read() as session:
        assert await session.get(Enrollment, enrollment_id) is None


async def test_the_tabs_of_one_enrollment(enroll: Enroll, open_terminal: OpenTerminal) -> None:
    enrollment_id = await enroll("ada")
    async with open_terminal() as terminal:
        await terminal.press("2", "enter")
        tabs = terminal.page.query_one(TabbedContent)
        seen = [tabs.active]
        for _ in range(5):
            await terminal.press("right")
            seen.append(tabs.active)
        assert seen == ["health", "sites", "day", "month", "tokens", "happened"]
        await terminal.sees("enrollment.created")
        await terminal.press("left")
        assert tabs.active == "tokens"
        await terminal.press("comma")
        assert tabs.active == "day"
        await terminal.press("full_stop", "i")
        assert terminal.app.clipboard == enrollment_id
        await terminal.press("escape")
        assert isinstance(terminal.page, Enrollments)


async def test_marks_pages_and_the_way_back(
    hub: Hub, enroll: Enroll, open_terminal: OpenTerminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("joinder_tui.screens.enrollments.ROWS", 2)
    ids = {await enroll(owner) for owner in ("ada", "bob", "cyd")}
    async with open_terminal() as terminal:
        await terminal.press("2")
        await terminal.until(lambda: "1–2 of 3" in terminal.text())
        first = {each for each in ids if each in terminal.text()}
        await terminal.press("right_square_bracket")
        await terminal.until(lambda: {each for each in ids if each in terminal.text()} == ids - first)
        await terminal.press("left_square_bracket")
        await terminal.until(lambda: {each for each in ids if each in terminal.text()} == first)
        await terminal.press("ctrl+a")
        await terminal.sees("2 marked")
        await terminal.press("escape")
        await terminal.until(lambda: "marked" not in terminal.text())
        await terminal.press("f")
        await terminal.until(lambda: "nothing fits" in terminal.text())
        await terminal.press("f", "slash")
        await terminal.enter("vendor:nobody", "#filter")
        await terminal.until(lambda: "nothing fits" in terminal.text())
        await terminal.press("enter", "escape")
        await terminal.until(lambda: "of 3" in terminal.text())
        await terminal.press("escape")
        assert isinstance(terminal.page, Now)


async def test_from_the_first_screen_to_what_needs_whom(hub: Hub, enroll: Enroll, open_terminal: OpenTerminal) -> None:
    enrollment_id = await enroll("ada")
    async with hub.store.write() as session:
        found = await session.get(Enrollment, enrollment_id)
        assert found is not None
        await standing.settle(hub, session, found, "operator_action", reason="The app was refused.")
    async with open_terminal() as terminal:
        await terminal.press("m")
        await terminal.sees(enrollment_id)
        await terminal.press("1")
        await terminal.press("enter")
        assert isinstance(terminal.page, Enrollments)
        await terminal.sees(enrollment_id)
        await terminal.press("enter")
        assert isinstance(terminal.page, Detail)
        await terminal.until(lambda: "The app was refused." in terminal.text())


async def test_help_and_leaving(open_terminal: OpenTerminal) -> None:
    async with open_terminal() as terminal:
        await terminal.press("question_mark")
        assert isinstance(terminal.app.screen, Help)
        await terminal.press("escape", "q")
        await terminal.until(lambda: not terminal.app.is_running)


async def test_a_paused_one_is_shown_as_such(
    hub: Hub, account_id: str, enroll: Enroll, open_terminal: OpenTerminal
) -> None:
    enrollment_id = await enroll("ada")
    await pausing.pause(hub, account_id, enrollment_id, "test")
    async with open_terminal() as terminal:
        await terminal.press("2")
        await terminal.sees("‖ paused")
