"""The first screen as a board, an enrollment as a picture, and both at every size and in every theme."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import pytest
from joinder_tui import board, themes
from joinder_tui.pages import PAGES
from joinder_tui.screens.enrollment import Enrollment
from joinder_tui.screens.enrollments import Enrollments
from joinder_tui.screens.flows import Flows
from joinder_tui.screens.now import Now
from joinder_tui.widgets.glance import Glance
from joinder_tui.widgets.table import Table
from sqlalchemy import update
from textual.widgets import TabbedContent

from joinder.clock import now
from joinder.energy import Live, Reading
from joinder.runtime.hub import Hub
from joinder.services.calls.breaker_states import BELIEVED_S, Told
from joinder.services.calls.breakers import THRESHOLD, Breakers
from joinder.services.join import join_flows
from joinder.services.join.join_flows import FlowVendor
from joinder.store import readings
from joinder.store.tables import Breaker, GrantRow, SiteRow, Tally
from joinder.store.tables import Enrollment as Row
from services.conftest import Enroll
from services.strict_vendor import StrictVendor
from services.test_breakers import fail
from tui.pictured import BACK, tried
from tui.terminal import OpenTerminal


async def fill(hub: Hub, enrollment_id: str) -> None:
    """A home that gives power today, whose token was renewed, and a vendor that failed now and then."""
    ((site_id,),) = await hub.store.rows("SELECT id FROM site WHERE enrollment_id = :id", {"id": enrollment_id})
    moment = datetime.fromtimestamp(now(), UTC)
    midnight = moment.replace(hour=0, minute=0, second=0, microsecond=0)
    quarters = [midnight + timedelta(minutes=15 * index) for index in range(2)]  # of today, whatever the time is
    rows = [(str(site_id), Reading(start=at, end=at + timedelta(minutes=15), solar_wh=500.0)) for at in quarters]
    power = Live(measured_at=moment, solar_w=4200.0, battery_w=-1400.0, grid_w=-900.0, soc_percent=64.0)
    await hub.store.apply(readings.intervals("15mins", rows, now()), readings.live(str(site_id), power, now()))
    async with hub.store.write() as session:
        site = await session.get(SiteRow, site_id)
        grant = await session.get(GrantRow, enrollment_id)
        assert site is not None
        assert grant is not None
        site.name, site.timezone, site.fetched_at = "Müller, Hauptstraße 4", "UTC", now()
        grant.refresh_expires_at, grant.refresh_count = now() + 9 * 86400, 214
        for what, count in (("polled", 40), ("failed", 3)):
            session.add(Tally(hour=now() - now() % 3600, vendor="strict", what=what, count=count))


async def test_a_vendor_is_a_row_with_its_health_failures_quota_and_what_ran(
    hub: Hub, enroll: Enroll, open_terminal: OpenTerminal
) -> None:
    lost, _ = await enroll("ada"), await enroll("bob")
    await fill(hub, lost)
    async with hub.store.write() as session:
        row = await session.get(Row, lost)
        assert row is not None
        row.health, row.health_actor = "needs_consent", "owner"
    async with open_terminal(size=(140, 40)) as terminal:
        assert isinstance(terminal.page, Now)
        await terminal.sees("1 Now ▲1")
        [line] = [line for line in terminal.text().splitlines() if line.strip().startswith("strict  ")][:1]
        assert "▲1" in line
        assert " 3 " in line
        assert " 40" in line
        assert "no limit" in line
        await terminal.press("enter")
        assert isinstance(terminal.page, Enrollments)
        await terminal.sees("sorted by health")
        assert "Müller, Hauptstraße 4" in str(terminal.page.query_one(Table).get_row_at(0)[2])


async def test_a_vendor_that_is_down_is_seen_for_as_long_as_a_process_says_so(
    hub: Hub, enroll: Enroll, vendor: StrictVendor, open_terminal: OpenTerminal
) -> None:
    await enroll("ada")
    described = hub.registry.vendor(vendor.name)
    breakers = Breakers()
    async with breakers.calling(described, "refresh"):
        pass
    telling = Told(hub.store, breakers, "a worker")
    await telling.tell()
    async with open_terminal(size=(140, 40)) as terminal:
        await terminal.sees("● closed")
        await fail(breakers, THRESHOLD, vendor=described)
        await telling.tell()
        terminal.page.reload()
        await terminal.sees("✗ open")
        await terminal.press("5")
        await terminal.sees("fetch site did not answer five times in a row")
        await terminal.press("1")
        async with hub.store.write() as session:
            await session.execute(update(Breaker).values(told_at=now() - BELIEVED_S - 1))  # it was killed
        terminal.page.reload()
        await terminal.until(lambda: "✗ open" not in terminal.text())
        assert "● closed" not in terminal.text()


async def test_the_list_and_the_enrollment_are_pictures_under_the_name_of_the_site(
    hub: Hub, enroll: Enroll, open_terminal: OpenTerminal
) -> None:
    await fill(hub, await enroll("ada"))
    async with open_terminal(size=(140, 40)) as terminal:
        await terminal.press("2")
        await terminal.sees("4.2 kW")
        await terminal.sees("1.0 kWh")
        await terminal.press("enter")
        assert isinstance(terminal.page, Enrollment)
        await terminal.sees("Enrollments › Müller, Hauptstraße 4")
        for words in ("solar 4.2 kW", "battery ⇣1.4 kW 64 %", "grid ⇡0.9 kW", "refresh token ends in", "214 times"):
            await terminal.sees(words)
        await terminal.press("tab", "tab")
        assert terminal.page.query_one(TabbedContent).active == "day"
        await terminal.sees("█ used at home")
        await terminal.press("left")
        await terminal.sees("solar 2.0 kW")
        await terminal.press("tab", "right")
        await terminal.sees("solar 1.0 kWh")
        await terminal.press("shift+tab", "right_square_bracket", "left_square_bracket")
        await terminal.sees("Müller, Hauptstraße 4")


@pytest.mark.parametrize("theme", [theme.name for theme in themes.own()])
async def test_every_theme_has_a_plain_name(open_terminal: OpenTerminal, theme: str) -> None:
    async with open_terminal(size=(80, 24)) as terminal:
        terminal.app.theme = theme
        await terminal.settled()
        await terminal.sees("Needs you")


@pytest.mark.parametrize("size", [(200, 60), (80, 24), (60, 16), (40, 10)])
async def test_an_enrollment_is_drawn_in_any_room(
    hub: Hub, enroll: Enroll, open_terminal: OpenTerminal, size: tuple[int, int]
) -> None:
    await fill(hub, await enroll("ada"))
    async with open_terminal(size=size) as terminal:
        await terminal.press("2", "enter")
        for _ in range(6):
            await terminal.press("tab")
            assert all(len(line) <= size[0] for line in terminal.text().splitlines())
            await terminal.sees(" 2 Enro")


async def test_where_it_is_wide_the_home_under_the_cursor_is_drawn_beside_the_list(
    hub: Hub, enroll: Enroll, open_terminal: OpenTerminal
) -> None:
    ada, bob = await enroll("ada"), await enroll("bob")
    await fill(hub, ada)
    async with open_terminal(size=(180, 40)) as terminal:
        await terminal.press("2")
        glance = terminal.page.query_one(Glance)
        assert glance.display
        terminal.page.choose("#enrollments", bob)
        await terminal.until(lambda: not terminal.page.query_one("#glance-day").display)  # of bob nothing is stored
        terminal.page.choose("#enrollments", ada)
        await terminal.until(lambda: bool(terminal.page.query_one("#glance-day").display))
        await terminal.sees("battery ⇣1.4 kW 64 %")
        await terminal.sees("█ used at home")
        await terminal.pilot.resize_terminal(120, 40)
        await terminal.until(lambda: not glance.display)
        await terminal.until(lambda: "█ used at home" not in terminal.text())


async def test_where_there_is_room_an_enrollment_begins_with_its_day(
    hub: Hub, enroll: Enroll, open_terminal: OpenTerminal
) -> None:
    await fill(hub, await enroll("ada"))
    async with open_terminal(size=(120, 40)) as terminal:
        await terminal.press("2", "enter")
        await terminal.sees("█ used at home")
        await terminal.sees("Credentials")
        await terminal.press("left")
        await terminal.sees("solar 2.0 kW")
        assert terminal.page.query_one(TabbedContent).active == "health"
        await terminal.pilot.resize_terminal(80, 24)
        await terminal.until(lambda: "█ used at home" not in terminal.text())
        await terminal.press("right")
        assert terminal.page.query_one(TabbedContent).active == "sites"


async def test_owners_who_cannot_join_lead_to_the_flows_and_how_far_all_came_stands_below(
    hub: Hub, account_id: str, credentials_id: str, open_terminal: OpenTerminal
) -> None:
    offered = [FlowVendor(vendor="strict", credentials_id=credentials_id)]
    flow = await join_flows.create(hub, account_id, "test", vendors=offered, redirect_uri=BACK)
    await tried(hub, account_id, flow.id, now())
    async with open_terminal(size=(120, 40)) as terminal:
        await terminal.sees("acme joins: app secret refused 2")
        await terminal.sees("started ████████████ 12")
        await terminal.sees("2 app secret refused ■ you")
        await terminal.press("m")
        assert isinstance(terminal.page, Flows)


async def test_who_needs_the_owner_leads_to_those_alone_and_what_was_ended_needs_nobody(
    hub: Hub, enroll: Enroll, open_terminal: OpenTerminal
) -> None:
    lost, sold = await enroll("ada"), await enroll("bob")
    async with hub.store.write() as session:
        for enrollment_id, actor, status in ((lost, "owner", "enrolled"), (sold, "nobody", "unenrolled")):
            row = await session.get(Row, enrollment_id)
            assert row is not None
            row.health, row.health_actor, row.status = "needs_consent", actor, status
    async with open_terminal(size=(140, 40)) as terminal:
        await terminal.sees("▲ needs consent 1")
        assert "□ ended 1" in terminal.text()
        await terminal.press("o")
        await terminal.sees("1 enrollment")
        assert terminal.page.query_one(Table).selected == lost
        await terminal.press("2")
        await terminal.sees("□ ended")
        await terminal.press("f")
        await terminal.until(lambda: "□ ended" not in terminal.text())


async def test_before_anything_is_known_nothing_is_said_to_be_0(
    hub: Hub, enroll: Enroll, open_terminal: OpenTerminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    await enroll("ada")
    is_known = asyncio.Event()
    read = board.read

    async def late(hub: Hub) -> board.Board:
        await is_known.wait()
        return await read(hub)

    monkeypatch.setattr(board, "read", late)
    async with open_terminal(settled=False) as terminal:
        await terminal.sees("Consents that end next")
        await terminal.pilot.resize_terminal(120, 50)
        await terminal.pilot.pause()
        assert "Needs you" not in terminal.text()
        assert "▁" not in terminal.text()
        is_known.set()
        await terminal.sees("Needs you (m)")


@pytest.mark.parametrize("waiting", [0, 7, 123_456])
async def test_at_80_columns_the_names_of_all_screens_are_told(
    hub: Hub, open_terminal: OpenTerminal, waiting: int
) -> None:
    async with open_terminal(size=(80, 24)) as terminal:
        await terminal.press("2")
        terminal.app.waiting = waiting
        await terminal.pilot.pause()
        top = terminal.text().splitlines()[0]
        assert all(f"{page.key} {page.label[:3]}" in top for page in PAGES), top
