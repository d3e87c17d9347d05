"""The list of enrollments and the screen of one, by keys."""

from __future__ import annotations

from typing import Any

from joinder_tui.screens.confirm import Confirm, ConfirmByName
from joinder_tui.screens.enrollment import Enrollment
from joinder_tui.screens.enrollments import Enrollments
from joinder_tui.screens.link import Link
from joinder_tui.screens.now import Now
from joinder_tui.widgets.table import Table
from sqlmodel import select

from joinder.runtime.hub import Hub
from joinder.services.grants import standing
from joinder.services.records import notices
from joinder.store.tables import Enrollment as Row
from joinder.store.tables import SiteRow
from services.conftest import Enroll
from services.strict_vendor import StrictVendor
from tui.terminal import OpenTerminal, Terminal


async def row(hub: Hub, enrollment_id: str) -> Row | None:
    async with hub.store.read() as session:
        return await session.get(Row, enrollment_id)


async def break_down(hub: Hub, enrollment_id: str, state: Any, reason: str) -> None:
    async with hub.store.write() as session:
        found = await session.get(Row, enrollment_id)
        assert found is not None
        await standing.settle(hub, session, found, state, reason=reason)


async def test_two_keys_from_the_first_screen_to_what_needs_the_owner(
    hub: Hub, enroll: Enroll, open_terminal: OpenTerminal
) -> None:
    well, lost = await enroll("ada"), await enroll("bob")
    await break_down(hub, lost, "needs_consent", "The vendor refused it twice.")
    async with open_terminal() as terminal:
        assert isinstance(terminal.page, Now)
        await terminal.sees("Needs the owner")
        await terminal.press("o")
        assert isinstance(terminal.page, Enrollments)
        await terminal.sees(lost)
        await terminal.until(lambda: well not in terminal.text())
        await terminal.press("enter")
        await terminal.until(lambda: "The vendor refused it twice." in terminal.text())


async def test_a_filter_is_followed_as_it_is_typed_and_half_a_word_waits(
    hub: Hub, enroll: Enroll, open_terminal: OpenTerminal
) -> None:
    ids = [await enroll(owner) for owner in ("ada", "bob")]
    async with open_terminal() as terminal:
        await terminal.press("2", "slash")
        for letter in "vendor":
            await terminal.pilot.press(letter)
        await terminal.press("colon")
        await terminal.sees("vendor: is no filter")
        terminal.page.tick()
        await terminal.settled()
        await terminal.sees("vendor: is no filter")
        await terminal.enter(f"!{ids[0]}", "#filter")
        await terminal.settled()
        await terminal.sees(ids[1])
        await terminal.until(lambda: f" {ids[0]}" not in terminal.text())


async def test_pause_asks_and_revoke_wants_the_id(hub: Hub, enroll: Enroll, open_terminal: OpenTerminal) -> None:
    enrollment_id = await enroll("ada")
    async with open_terminal() as terminal:
        await terminal.press("2", "p")
        assert isinstance(terminal.app.screen, Confirm)
        await terminal.press("n")
        assert (await row(hub, enrollment_id)).paused_at is None  # type: ignore[union-attr]
        await terminal.press("p", "y")
        await terminal.until(lambda: "Paused: site-of-ada" in terminal.said())
        assert (await row(hub, enrollment_id)).paused_at is not None  # type: ignore[union-attr]

        await terminal.press("d")
        await terminal.until(lambda: isinstance(terminal.app.screen, ConfirmByName))
        await terminal.sees("1 site, 0 devices and 0 intervals of readings are erased")
        await terminal.sees("cannot be told: the owner ends the consent there")
        await terminal.enter("something else", "#name")
        await terminal.press("enter")
        assert await row(hub, enrollment_id) is not None
        await terminal.enter(enrollment_id, "#name")
        await terminal.press("enter")
        await terminal.until(lambda: "Revoked: site-of-ada" in terminal.said())
        assert await row(hub, enrollment_id) is None
        await terminal.until(lambda: "no enrollment: press 3 for a flow" in terminal.text())


async def test_renew_says_what_came_of_it(
    hub: Hub, vendor: StrictVendor, enroll: Enroll, open_terminal: OpenTerminal
) -> None:
    await enroll("ada")
    async with open_terminal() as terminal:
        await terminal.press("2", "r")
        await terminal.until(lambda: "Refreshed: site-of-ada" in terminal.said())
        assert vendor.exchanges == 1


async def test_marked_ones_are_done_together(hub: Hub, enroll: Enroll, open_terminal: OpenTerminal) -> None:
    ids = [await enroll(owner) for owner in ("ada", "bob", "cyd")]
    async with open_terminal() as terminal:
        await terminal.press("2", "space", "space", "p")
        await terminal.sees("2 enrollments")
        await terminal.press("y")
        await terminal.until(lambda: "Paused: 2 of 2" in terminal.said())
        rows = [await row(hub, each) for each in ids]
        assert sum(each is not None and each.paused_at is not None for each in rows) == 2


async def test_read_only_changes_nothing(
    hub: Hub, vendor: StrictVendor, enroll: Enroll, open_terminal: OpenTerminal
) -> None:
    enrollment_id = await enroll("ada")
    async with open_terminal(readonly=True) as terminal:
        await terminal.press("2", "p", "r", "d")
        assert isinstance(terminal.page, Enrollments)
        assert vendor.exchanges == 0
        assert (await row(hub, enrollment_id)).paused_at is None  # type: ignore[union-attr]


async def test_a_change_elsewhere_shows_under_an_open_screen(
    hub: Hub, enroll: Enroll, open_terminal: OpenTerminal
) -> None:
    enrollment_id = await enroll("ada")
    async with open_terminal() as terminal:
        await terminal.press("2", "enter")
        assert isinstance(terminal.page, Enrollment)
        await break_down(hub, enrollment_id, "operator_action", "The app was refused.")
        terminal.page.tick()
        await terminal.settled()
        await terminal.sees("The app was refused.")
        async with hub.store.write() as session:
            await session.delete(await session.get(Row, enrollment_id))
        terminal.page.tick()
        await terminal.settled()
        await terminal.sees("has ended")


async def test_one_that_comes_meanwhile_is_counted(enroll: Enroll, open_terminal: OpenTerminal) -> None:
    async with open_terminal() as terminal:
        await terminal.press("2")
        await terminal.sees("no enrollment: press 3")
        for owner, count in (("ada", "1 enrollment"), ("bob", "1–2 of 2")):
            await enroll(owner)
            terminal.page.reload()
            await terminal.sees(count)


async def test_the_cursor_stays_on_its_row(hub: Hub, enroll: Enroll, open_terminal: OpenTerminal) -> None:
    for owner in ("ada", "bob", "cyd"):
        await enroll(owner)
    async with open_terminal() as terminal:
        await terminal.press("2", "down")
        table = terminal.page.query_one(Table)
        selected = table.selected
        await enroll("dan")
        terminal.page.reload()
        await terminal.settled()
        assert table.row_count == 4
        assert table.selected == selected


async def test_a_reconnect_link_is_copied_and_shown(hub: Hub, enroll: Enroll, open_terminal: OpenTerminal) -> None:
    await enroll("ada")
    async with open_terminal() as terminal:
        await terminal.press("2", "c")
        await terminal.until(lambda: bool(terminal.said()) or isinstance(terminal.app.screen, Link))
        assert "Nobody knows where the owner would go afterwards" in terminal.said()[0]


async def test_names_are_shown_as_they_are_and_longer_ones_widen_their_column(
    hub: Hub, enroll: Enroll, open_terminal: OpenTerminal
) -> None:
    enrollment_id = await enroll("ada")
    async with open_terminal(size=(160, 24)) as terminal:
        await terminal.press("2")
        for name in ("[/]", "Roof [south] of the house by the lake"):
            async with hub.store.write() as session:
                site = (
                    await session.execute(select(SiteRow).where(SiteRow.enrollment_id == enrollment_id))
                ).scalar_one()
                site.name = name
            terminal.page.reload()
            await terminal.settled()
            await terminal.sees(name)


async def test_warnings_appear_by_themselves_and_steer_nothing(
    hub: Hub, enroll: Enroll, open_terminal: OpenTerminal
) -> None:
    enrollment_id = await enroll("ada")
    (site_id,) = (await hub.store.rows("SELECT id FROM site", {}))[0]
    async with open_terminal(size=(120, 60)) as terminal:
        await terminal.press("2", "enter")
        await terminal.sees("Failures in a row")
        assert "Warning" not in terminal.text()
        said = notices.writes(enrollment_id, str(site_id), ["The [/] meter \x1b[31mturned round"], [])
        await hub.store.apply(*said)
        terminal.page.tick()
        await terminal.sees("The [/] meter \N{REPLACEMENT CHARACTER}[31mturned round")
        await hub.store.apply(*said)
        terminal.page.tick()
        await terminal.until(lambda: any("turned round" in line and " 2 " in line for line in lines(terminal)))


async def test_the_reason_and_what_has_no_room_stand_below_the_list(
    hub: Hub, enroll: Enroll, open_terminal: OpenTerminal
) -> None:
    enrollment_id = await enroll("ada")
    await break_down(hub, enrollment_id, "needs_consent", "The vendor refused it twice.")
    async with hub.store.write() as session:
        site = (await session.execute(select(SiteRow))).scalar_one()
        site.name = "Hauptstraße 4, the long house behind the church"
    async with open_terminal(size=(60, 16)) as terminal:
        await terminal.press("2")
        await terminal.sees("refused it twice.")
        heads = next(line for line in lines(terminal) if "Health" in line)
        assert "Site" in heads
        assert "Enrollment" not in heads
        await terminal.sees("needs consent")
    async with open_terminal(size=(80, 24)) as terminal:
        await terminal.press("2")
        await terminal.sees("c Reconnect link")  # where the line of keys has no room for it
    async with open_terminal(size=(160, 40)) as terminal:
        await terminal.press("2")
        await terminal.sees("Send the owner the reconnect link")
        await terminal.sees("1 enrollment")


async def test_the_list_is_sorted_over_every_page(hub: Hub, enroll: Enroll, open_terminal: OpenTerminal) -> None:
    first, second, third = [await enroll(owner) for owner in ("ada", "bob", "cyd")]
    await break_down(hub, second, "operator_action", "The app was refused.")
    await break_down(hub, third, "needs_consent", "The vendor refused it twice.")
    async with open_terminal() as terminal:
        await terminal.press("2", "s")
        await terminal.sees("sorted by health")
        await terminal.sees("Health ▲")
        table = terminal.page.query_one(Table)
        assert [str(table.get_row_at(at)[-1]) for at in range(3)] == [second, third, first]
        await terminal.press("s")
        await terminal.sees("sorted by site")


async def test_an_application_the_vendor_refused_has_a_way_on(
    hub: Hub, enroll: Enroll, open_terminal: OpenTerminal
) -> None:
    enrollment_id = await enroll("ada")
    await break_down(hub, enrollment_id, "operator_action", "The vendor rejected the application.")
    async with hub.store.write() as session:
        found = await session.get(Row, enrollment_id)
        assert found is not None
        found.status = "rejected"
    async with open_terminal() as terminal:
        await terminal.press("2", "enter")
        await terminal.sees("through the join flow anew")


def lines(terminal: Terminal) -> list[str]:
    return terminal.text().splitlines()
