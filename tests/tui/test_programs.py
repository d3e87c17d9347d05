"""Programmes and what is decided in them, by keys."""

from __future__ import annotations

from typing import Any

import pytest
from joinder_tui.screens.ask import Ask, Checklist
from joinder_tui.screens.confirm import ConfirmByName
from joinder_tui.screens.enrollment import Enrollment
from joinder_tui.screens.now import Now
from joinder_tui.screens.programs import Programs
from joinder_tui.widgets.table import Table

from joinder import virtual
from joinder.runtime.hub import Hub
from joinder.services.admin import program_list
from joinder.services.join import applications, programs
from joinder.services.records import accounts
from joinder.store.tables import Enrollment as Row
from joinder.vendors.registry import Registry
from services.strict_vendor import StrictVendor
from tui.terminal import OpenTerminal, Terminal


@pytest.fixture
def registry(vendor: StrictVendor) -> Registry:
    made = Registry()
    for name, one in ((vendor.name, vendor), (virtual.NAME, virtual)):
        assert made.add(name, one).problem is None
    return made


@pytest.fixture
async def account_id(hub: Hub) -> str:
    return (await accounts.create_account(hub, "Virtual tenant", mode=accounts.VIRTUAL)).id


@pytest.fixture
async def program_id(hub: Hub, account_id: str) -> str:
    ((found),) = await program_list.listed(hub)
    return found.row.id


async def member(hub: Hub, account_id: str, program_id: str, status: applications.Status) -> str:
    made = await applications.enroll_virtual(
        hub, account_id, "test", program_id, site_id=None, status=status, customer=None
    )
    return made.row.id


async def status(hub: Hub, enrollment_id: str) -> tuple[str, str | None]:
    async with hub.store.read() as session:
        row = await session.get(Row, enrollment_id)
        assert row is not None
        return row.status, row.status_reason


async def say(terminal: Terminal, reason: str) -> None:
    await terminal.until(lambda: isinstance(terminal.app.screen, Ask))
    await terminal.enter(reason)
    await terminal.press("ctrl+s")


async def test_who_waits_stands_first_and_each_decision_has_a_key(
    hub: Hub, account_id: str, program_id: str, open_terminal: OpenTerminal
) -> None:
    names = ("applied", "enrolled", "applied", "applied")
    first, enrolled, second, third = [await member(hub, account_id, program_id, name) for name in names]  # type: ignore[arg-type]
    async with open_terminal() as terminal:
        await terminal.press("0")
        assert isinstance(terminal.page, Programs)
        await terminal.sees("Virtual Program")
        below = terminal.page.query_one("#below", Table)
        assert str(list(below.rows)[-1].value) == enrolled
        await terminal.press("tab")
        below.choose(first)
        await terminal.press("y")
        await terminal.until(lambda: f"{first} is approved." in terminal.said())
        below.choose(second)
        await terminal.press("n")
        await say(terminal, "No meter.")
        await terminal.until(lambda: f"{second} is rejected." in terminal.said())
        below.choose(third)
        await terminal.press("b")
        await say(terminal, "Which street?")
        await terminal.until(lambda: f"{third} is asked to apply again." in terminal.said())
        below.choose(enrolled)
        await terminal.press("x")
        await say(terminal, "Sold.")
        await terminal.until(lambda: f"{enrolled} is unenrolled." in terminal.said())
        assert [await status(hub, one) for one in (first, second, third, enrolled)] == [
            ("enrolled", None),
            ("rejected", "No meter."),
            ("resubmitrequested", "Which street?"),
            ("unenrolled", "Sold."),
        ]
        await terminal.sees("No meter.")
        await terminal.press("enter")
        assert isinstance(terminal.app.screen, Enrollment)


async def test_a_reason_that_is_too_long_is_asked_for_again(
    hub: Hub, account_id: str, program_id: str, open_terminal: OpenTerminal
) -> None:
    enrollment_id = await member(hub, account_id, program_id, "applied")
    async with open_terminal() as terminal:
        await terminal.press("0", "tab", "n")
        await say(terminal, "x" * 501)
        await terminal.sees("at most 500 characters")
        assert await status(hub, enrollment_id) == ("applied", None)
        await terminal.press("escape", "escape")
        assert isinstance(terminal.page, Now)


async def test_a_programme_is_made_and_deleted_by_its_id(
    hub: Hub, account_id: str, program_id: str, open_terminal: OpenTerminal
) -> None:
    async with open_terminal() as terminal:
        await terminal.press("0", "a")
        await terminal.until(lambda: isinstance(terminal.app.screen, Ask))
        await terminal.enter("Summer peaks")
        await terminal.press("ctrl+s")
        await terminal.sees("name at least one vendor")
        terminal.app.screen.query_one(Checklist).select_all()
        await terminal.press("ctrl+s")
        await terminal.sees("Summer peaks")
        made = next(one.row for one in await program_list.listed(hub) if one.row.name == "Summer peaks")
        assert made.vendors == [virtual.NAME]
        await terminal.until(lambda: terminal.page.query_one("#above", Table).selected == made.id)
        await terminal.press("i")
        assert terminal.app.clipboard == made.id
        await terminal.press("I")
        assert terminal.app.clipboard == account_id
        await terminal.press("d")
        await terminal.until(lambda: isinstance(terminal.app.screen, ConfirmByName))
        await terminal.enter(made.id)
        await terminal.press("enter")
        await terminal.until(lambda: "Deleted." in terminal.said())
        assert [one.row.id for one in await program_list.listed(hub)] == [program_id]


async def test_what_is_to_decide_is_counted_by_programme_and_account(
    hub: Hub, account_id: str, program_id: str
) -> None:
    other = await programs.create(hub, account_id, "test", name="A quiet one", vendors=[virtual.NAME])
    for name in ("applied", "pendingvendor", "enrolled", "rejected"):
        await member(hub, account_id, program_id, name)  # type: ignore[arg-type]
    counts: dict[str, Any] = {
        one.row.id: (one.undecided, one.enrolled, one.enrollments) for one in await program_list.listed(hub, account_id)
    }
    assert list(counts.items()) == [(program_id, (2, 1, 4)), (other.id, (0, 0, 0))]
    assert await program_list.listed(hub, "acct-aaaaaaaaaaaaaaaa") == []
    (only,) = await program_list.members(hub, program_id, limit=1)
    assert only.row.status in program_list.UNDECIDED
    assert only.site_name
