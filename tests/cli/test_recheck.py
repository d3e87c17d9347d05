"""`joinder readings recheck` as it is typed."""

from __future__ import annotations

import asyncio
import io
import sys
from datetime import UTC, datetime
from typing import Any

import pytest

from cli.world import World
from joinder.cli import EXIT_FAILED, EXIT_NOT_FOUND, EXIT_USAGE
from joinder.clock import now
from joinder.commands import readings as command
from joinder.services.recheck import recheck
from joinder.services.recheck.counts import RecheckProgress, RuleCount, VendorCount
from joinder.store.types import Upsert

START = (now() - 40 * 86400) // 900 * 900


@pytest.fixture
def world(world: World) -> World:
    """With three quarter hours of an earlier version, of which two are wrong."""

    async def write() -> None:
        async with world.open() as hub:
            rows = [(world.ids["site"], "15mins", START + n * 900, START + (n + 1) * 900, 5.0) for n in range(3)]
            told = [(*row, load, now()) for row, load in zip(rows, (7.0, -500.0, -501.0), strict=True)]
            key, columns = ("subject_id", "resolution", "start"), ("end", "solar_wh", "load_wh", "fetched_at")
            records = [(*row, "measured") for row in told]
            await hub.store.apply(
                Upsert("interval", key, (*columns, "quality"), records),
                ("DELETE FROM store_state WHERE name = :name", {"name": recheck.DONE}),
            )

    asyncio.run(write())
    return world


def loads(world: World) -> list[Any]:
    async def read() -> list[Any]:
        async with world.open() as hub:
            sql = "SELECT load_wh FROM interval WHERE start >= :start AND start < :end ORDER BY start"
            return [row[0] for row in await hub.store.rows(sql, {"start": START, "end": START + 2700})]

    return asyncio.run(read())


def test_a_dry_run_says_what_would_be_marked_and_marks_nothing(world: World) -> None:
    said = world.json("readings", "recheck", "--dry-run")
    assert said["dryRun"] is True
    (sunny,) = said["vendors"]
    assert (sunny["vendor"], sunny["sites"], sunny["marked"], sunny["dropped"]) == ("sunny", 1, 2, 0)
    assert sunny["rules"] == [{"rule": "number", "marked": 2, "dropped": 0}]
    assert loads(world) == [7.0, -500.0, -501.0]
    assert "Nothing was written." in world("readings", "recheck", "--dry-run").stderr


def test_the_run_itself_says_the_same(world: World) -> None:
    tried, done = world.json("readings", "recheck", "--dry-run"), world.json("readings", "recheck")
    assert done == {**tried, "dryRun": False}
    assert loads(world) == [7.0, None, None]
    assert world.json("readings", "recheck")["vendors"][0]["rules"] == []


def test_people_read_a_line_a_vendor_and_rule(world: World) -> None:
    lines = world("readings", "recheck").stdout.splitlines()
    assert [line.split()[:2] for line in lines] == [["vendor", "rule"], ["sunny", "all"], ["sunny", "number"]]


def test_a_vendor_nobody_knows_is_named_and_so_are_those_there_are(world: World) -> None:
    said = world("readings", "recheck", "--vendor", "sunnny", code=EXIT_NOT_FOUND).stderr
    assert "boxy, cloudy, sunny" in said


def test_a_day_to_come_is_refused(world: World) -> None:
    said = world("readings", "recheck", "--since", "2199-01-01", code=EXIT_FAILED).stderr
    assert "future" in said
    world("readings", "recheck", "--since", "yesterday", code=EXIT_USAGE)


def test_since_leaves_what_is_older(world: World) -> None:
    world("readings", "recheck", "--since", datetime.fromtimestamp(START + 1800, UTC).isoformat())
    assert loads(world) == [7.0, -500.0, None]


def test_a_backfill_is_started_where_it_is_asked_for(world: World) -> None:
    async def ask() -> None:
        async with world.open() as hub:
            record = (world.ids["site"], "15mins", START, START + 2700, now())
            key = ("subject_id", "resolution", "start")
            await hub.store.apply(Upsert("coverage", key, ("end", "fetched_at"), [record]))

    asyncio.run(ask())
    said = world.json("readings", "recheck", "--fetch")
    assert (said["backfillsStarted"], said["vendors"][0]["spansToFetch"]) == (1, 1)


def test_a_terminal_is_told_how_far_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    progress = RecheckProgress(
        total=9, done=3, vendors={"sunny": VendorCount(rows=70, rules={"number": RuleCount(2, 1)})}
    )
    for is_terminal, wanted in ((True, "3 of 9 sites, 70 rows, 3 marked or dropped\n"), (False, "")):
        screen = io.StringIO()
        monkeypatch.setattr(screen, "isatty", lambda is_terminal=is_terminal: is_terminal)
        monkeypatch.setattr(sys, "stderr", screen)
        monkeypatch.setattr(command, "TELL_EVERY_S", -1.0)
        command._Teller()(progress)
        assert screen.getvalue() == wanted
