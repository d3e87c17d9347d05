"""Events and the audit, by keys."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from joinder_tui import event_log
from joinder_tui.screens.ask import Ask
from joinder_tui.screens.enrollment import Enrollment
from joinder_tui.screens.events import Events
from joinder_tui.screens.now import Now
from joinder_tui.screens.whole import Whole
from joinder_tui.widgets.table import Table
from textual.widgets import Input, TabbedContent

from joinder.ids import new_id
from joinder.runtime.hub import Hub
from joinder.services.admin import pausing
from joinder.services.grants import standing
from joinder.services.records import accounts
from joinder.store.tables import Enrollment as EnrollmentRow
from joinder.store.tables import Event
from services.conftest import Enroll
from tui.terminal import OpenTerminal, Terminal

KIND = "webhook.disabled"


async def happen(hub: Hub, account_id: str, *, at: int, kind: str = KIND, **data: str) -> str:
    async with hub.store.write() as session:
        row = Event(id=new_id("evnt"), account_id=account_id, enrollment_id="", type=kind, data=data, at=at)
        session.add(row)
        return row.id


def table(terminal: Terminal, tab: str = "happened") -> Table:
    return terminal.page.query_one(f"#table-{tab}", Table)


def keys(terminal: Terminal, tab: str = "happened") -> list[str]:
    return [str(row.value) for row in table(terminal, tab).rows]


async def look_for(terminal: Terminal, text: str) -> None:
    terminal.page.query_one("#filter", Input).value = text
    await terminal.settled()


async def test_what_happens_appears_by_itself_until_it_is_held(
    hub: Hub, account_id: str, open_terminal: OpenTerminal
) -> None:
    first = await happen(hub, account_id, at=1_700_000_000)
    async with open_terminal() as terminal:
        await terminal.press("7")
        assert isinstance(terminal.page, Events)
        await terminal.sees("following")
        second = await happen(hub, account_id, at=1_700_000_001, reason="It answered 410.")
        terminal.page.tick()
        await terminal.settled()
        assert keys(terminal) == [second, first]
        assert table(terminal).selected == second
        await terminal.sees("It answered 410.")

        await terminal.press("space")
        await terminal.sees("held")
        third = await happen(hub, account_id, at=1_700_000_002)
        terminal.page.tick()
        await terminal.settled()
        assert keys(terminal) == [second, first]
        await terminal.press("space")
        assert keys(terminal) == [third, second, first]


async def test_the_audit_tells_by_name_who_did_what_to_whom(
    hub: Hub, account_id: str, enroll: Enroll, open_terminal: OpenTerminal
) -> None:
    enrollment_id = await enroll("ada")
    made = await accounts.create_client(hub, account_id, "night shift")
    await pausing.pause(hub, account_id, enrollment_id, made.client_id)
    async with open_terminal(size=(200, 40)) as terminal:
        await terminal.press("7", "tab")
        await terminal.sees("enrollment.pause")
        (told,) = [line for line in terminal.text().splitlines() if "enrollment.pause" in line]
        assert re.search(r"night shift +enrollment.pause +site-of-ada ", told)
        assert told.index("site-of-ada") < told.index(enrollment_id) < told.index(made.client_id)


async def test_a_change_of_health_is_told_in_words(enroll: Enroll, hub: Hub, open_terminal: OpenTerminal) -> None:
    enrollment_id = await enroll("ada")
    async with hub.store.write() as session:
        row = await session.get(EnrollmentRow, enrollment_id)
        assert row is not None
        await standing.settle(hub, session, row, "needs_consent", reason="The owner said no.")
    async with open_terminal() as terminal:
        await terminal.press("7")
        await terminal.sees("→ needs consent  The owner said no.")


async def test_a_cursor_that_was_moved_stays_on_its_row(hub: Hub, account_id: str, open_terminal: OpenTerminal) -> None:
    first, _ = [await happen(hub, account_id, at=1_700_000_000 + n) for n in range(2)]
    async with open_terminal() as terminal:
        await terminal.press("7", "down")
        await happen(hub, account_id, at=1_700_000_009)
        terminal.page.tick()
        await terminal.settled()
        assert len(keys(terminal)) == 3
        assert table(terminal).selected == first


async def test_pages_meet_without_gap_or_overlap(
    hub: Hub, account_id: str, open_terminal: OpenTerminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(event_log, "ROWS", 2)
    made = sorted([await happen(hub, account_id, at=1_700_000_000) for _ in range(5)], reverse=True)
    async with open_terminal() as terminal:
        await terminal.press("7")
        seen = keys(terminal)
        for _ in range(2):
            await terminal.press("right_square_bracket")
            seen += keys(terminal)
        assert seen == made
        await terminal.press("right_square_bracket")
        assert keys(terminal) == made[4:]
        await terminal.sees("page 3")
        await terminal.press("left_square_bracket", "left_square_bracket", "left_square_bracket")
        assert keys(terminal) == made[:2]


async def test_the_filter_takes_an_enrollment_a_type_and_an_account(
    hub: Hub, account_id: str, enroll: Enroll, open_terminal: OpenTerminal
) -> None:
    enrollment_id = await enroll("ada")
    other = (await accounts.create_account(hub, "other")).id
    mine, theirs = await happen(hub, account_id, at=1_700_000_000), await happen(hub, other, at=1_700_000_000)
    async with open_terminal() as terminal:
        await terminal.press("7")
        everything = keys(terminal)
        await look_for(terminal, KIND)
        assert set(keys(terminal)) == {mine, theirs}
        await look_for(terminal, f"{KIND} {other}")
        assert keys(terminal) == [theirs]
        await look_for(terminal, f"{KIND} {other[:-1]}")
        terminal.page.tick()
        await terminal.settled()
        await terminal.sees("is neither an id nor a type")
        assert keys(terminal) == [theirs]
        await look_for(terminal, enrollment_id)
        assert keys(terminal) != []
        assert not {mine, theirs} & set(keys(terminal))
        await look_for(terminal, "enrollment.health")
        await terminal.sees("nothing fits")
        await terminal.press("escape")
        await terminal.settled()
        assert sorted(keys(terminal)) == sorted(everything)
        await terminal.press("slash")
        assert isinstance(terminal.app.focused, Input)
        await terminal.press("enter", "escape")
        assert isinstance(terminal.page, Now)


async def test_an_account_is_told_by_its_name_and_its_id_is_copied(hub: Hub, open_terminal: OpenTerminal) -> None:
    account = await accounts.create_account(hub, "Sunny Roofs")
    await happen(hub, account.id, at=1_700_000_000)
    async with open_terminal(size=(160, 40)) as terminal:
        await terminal.press("7")
        await terminal.sees("Sunny Roofs")
        assert account.id not in terminal.text()
        await terminal.press("I")
        assert terminal.app.clipboard == account.id
        await terminal.press("tab")
        await terminal.sees("account.create")
        await terminal.sees("Sunny Roofs")


async def test_enter_leads_to_the_enrollment_or_shows_the_whole_event(
    hub: Hub, account_id: str, enroll: Enroll, open_terminal: OpenTerminal
) -> None:
    enrollment_id = await enroll("ada")
    row_id = await happen(hub, account_id, at=1_700_000_000, reason="It answered 410.")
    async with open_terminal() as terminal:
        await terminal.press("7", "down", "enter")
        assert isinstance(terminal.app.screen, Whole)
        await terminal.press("c")
        assert json.loads(terminal.app.clipboard) == {
            "id": row_id,
            "accountID": account_id,
            "type": KIND,
            "timestamp": "2023-11-14T22:13:20Z",
            "data": {"reason": "It answered 410."},
        }
        assert "JSON copied." in terminal.said()
        await terminal.press("escape", "up", "J")
        assert isinstance(terminal.app.screen, Whole)
        await terminal.sees(enrollment_id)
        await terminal.press("escape", "enter")
        assert isinstance(terminal.page, Enrollment)
        assert terminal.page.enrollment_id == enrollment_id


async def test_the_audit_has_a_filter_of_its_own(
    hub: Hub, account_id: str, enroll: Enroll, open_terminal: OpenTerminal
) -> None:
    enrollment_id = await enroll("ada")
    await pausing.pause(hub, account_id, enrollment_id, "somebody")
    async with open_terminal() as terminal:
        await terminal.press("7")
        await look_for(terminal, KIND)
        await terminal.press("tab")
        assert terminal.page.query_one(TabbedContent).active == "changed"
        assert terminal.page.query_one("#filter", Input).value == ""
        await terminal.sees("somebody")
        await terminal.sees("account.create")
        await look_for(terminal, "account.create")
        assert len(keys(terminal, "changed")) == 1
        await look_for(terminal, enrollment_id)
        await terminal.sees("somebody")
        assert "account.create" not in terminal.text()
        await terminal.press("tab")
        assert terminal.page.query_one("#filter", Input).value == KIND
        await terminal.press("tab", "enter")
        assert isinstance(terminal.page, Enrollment)


async def test_what_is_shown_is_exported_and_no_file_is_overwritten(
    hub: Hub, account_id: str, open_terminal: OpenTerminal, tmp_path: Path
) -> None:
    rows = [await happen(hub, account_id, at=1_700_000_000 + n) for n in range(3)]
    taken, fresh = tmp_path / "taken.json", tmp_path / "fresh.json"
    taken.write_text("mine")
    async with open_terminal() as terminal:
        await terminal.press("7")
        await look_for(terminal, KIND)
        await terminal.press("x")
        await terminal.until(lambda: isinstance(terminal.app.screen, Ask))
        for path, answer in ((taken, "is there already"), (tmp_path / "no" / "folder", "cannot be written")):
            await terminal.enter(str(path), "#path")
            await terminal.press("enter")
            await terminal.until(lambda answer=answer: answer in " ".join(terminal.text().split()))  # type: ignore[misc]
        await terminal.enter(str(fresh), "#path")
        await terminal.press("enter")
        await terminal.until(lambda: any(note.startswith("3 rows written to") for note in terminal.said()))
    assert taken.read_text() == "mine"
    assert [row["id"] for row in json.loads(fresh.read_text())] == rows[::-1]


@pytest.mark.parametrize("size", [(80, 24), (60, 16)])
async def test_small_terminals(hub: Hub, enroll: Enroll, open_terminal: OpenTerminal, size: tuple[int, int]) -> None:
    await enroll("ada")
    async with open_terminal(size=size) as terminal:
        await terminal.press("7")
        for wanted in ("Events", "Audit", "enrollment.created", "1 shown"):
            await terminal.sees(wanted)
        await terminal.press("tab")
        await terminal.sees("account.create")
        await terminal.press("J")
