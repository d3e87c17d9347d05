"""Pages for others: whole, without scripts or anything from elsewhere, without secrets, safe from hostile names."""

from __future__ import annotations

import asyncio
import math
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from cli.world import SECRETS, World
from hostile import HOSTILE
from joinder.commands.answers import FleetCount
from joinder.reports import fleet, svg
from joinder.services.grants import standing
from joinder.store.tables import Enrollment, SiteRow

DATABASES = ("sqlite",)
EVIL = "<script>alert(1)</script>\"'><img src=x onerror=alert(1)>"


class Seen(HTMLParser):
    """The tags and addresses of a page; each tag that opens is closed."""

    VOID = ("meta", "link", "br", "hr", "img", "input", "rect", "line")

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.addresses: list[str] = []
        self._open: list[str] = []
        self.feed(html)
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.addresses += [value or "" for name, value in attrs if name in ("src", "href", "action", "data")]
        assert not [name for name, _ in attrs if name.startswith("on")]
        if tag not in self.VOID:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in self.VOID:
            assert self._open.pop() == tag


def checked(page: str) -> Seen:
    seen = Seen(page)
    assert page.startswith("<!doctype html>")
    assert seen.tags.isdisjoint({"script", "img", "iframe", "object", "form", "link"})
    assert seen.addresses == []
    assert re.search(r"url\(|@import", page.split("<style>")[1].split("</style>")[0]) is None
    assert [secret for secret in SECRETS if secret in page] == []
    return seen


def test_a_report_shows_what_is_read_the_tokens_life_and_days(world: World) -> None:
    page = world("report", "{enrollment}", "--html").stdout
    seen = checked(page)
    assert {"svg", "rect", "table"} <= seen.tags
    assert world.ids["enrollment"] in page
    for words in (
        "The token's life",
        "What happened",
        "Today",
        "Yesterday",
        "30 days",
        "access until",
        'class="solar_wh"',
    ):
        assert words in page, words


def test_a_report_says_who_must_act_and_holds_no_link_of_an_owner(world: World) -> None:
    async def lose() -> None:
        async with world.open() as hub, hub.store.write() as session:
            row = await session.get(Enrollment, world.ids["enrollment"])
            assert row is not None
            await standing.settle(hub, session, row, "needs_consent", reason="the vendor refused it twice")

    asyncio.run(lose())
    page = world("report", "{enrollment}").stdout
    checked(page)
    assert "it is for the owner to act" in page
    assert "the vendor refused it twice" in page
    assert "/join/" not in page


@pytest.mark.parametrize("name", [EVIL, *HOSTILE.values()], ids=range(1 + len(HOSTILE)))
def test_a_hostile_name_is_text(world: World, name: str) -> None:
    async def rename() -> None:
        async with world.open() as hub, hub.store.write() as session:
            row = await session.get(SiteRow, world.ids["site"])
            assert row is not None
            row.name = name

    asyncio.run(rename())
    checked(world("report", "{enrollment}").stdout)


def test_a_status_page_is_for_a_wall(world: World, tmp_path: Path) -> None:
    page = world("status", "--html").stdout
    checked(page)
    assert 'http-equiv="refresh"' in page
    assert "sunny" in page
    done = world("status", "--output", str(tmp_path / "wall.html"))
    assert (done.stdout, [path.name for path in tmp_path.glob("*.html*")]) == ("", ["wall.html"])
    assert (tmp_path / "wall.html").read_text()[:15] == "<!doctype html>"
    world("status", "--html", "-o", str(tmp_path / "nowhere/wall.html"), code=1)
    world("report", "enrl-aaaaaaaaaaaaaaaa", code=3)


def test_a_vendor_stands_in_one_row_where_most_is_to_be_done_first() -> None:
    def count(vendor: str, state: str, actor: str, number: int, paused: int = 0) -> FleetCount:
        return FleetCount(vendor=vendor, health=state, actor=actor, count=number, paused=paused)

    told = fleet.rows(
        [
            count("acme", "degraded", "nobody", 4),
            count("acme", "ok", "nobody", 81, 2),
            count("bare", "ok", "nobody", 1),
            count("bare", "needs_consent", "nobody", 2),
            count("bare", "operator_action", "operator", 3),
        ]
    )
    assert [(row.vendor, row.count, row.paused) for row in told] == [("bare", 6, 0), ("acme", 85, 2)]
    assert [[(part.sign, part.words, part.count) for part in row.parts] for row in told] == [
        [("●", "ok", 1), ("□", "ended", 2), ("■", "operator action, for us", 3)],
        [("●", "ok", 81), ("◐", "degraded", 4)],
    ]
    widths = [float(width) for width in re.findall(r'width="([0-9.]+)" height="12"', str(told[1].picture))]
    assert sum(widths) == pytest.approx(160, abs=0.2)
    assert min(widths) >= 3


@pytest.mark.parametrize("highest", [3.0, 10.0, 99.9, 100.0, 4321.0, 25000.0, 1e6])
def test_ticks_are_round_and_few(highest: float) -> None:
    tick = svg.round_tick(highest)
    assert round(tick / 10 ** math.floor(math.log10(tick)), 9) in (1, 2, 5)
    assert 1 < highest / tick <= 4
