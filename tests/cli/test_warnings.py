"""What commands say of answers that are not right: warnings, what is missing and why, what was asked."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime

from msgspec.structs import replace

from cli.world import World
from joinder.clock import now
from joinder.energy import Readings, ReadingsQuery, Refusal
from joinder.services.readings.coverage import QUARTER_S
from joinder.services.records import notices

DATABASES = ("sqlite",)


def note(world: World) -> None:
    async def work() -> None:
        async with world.open() as hub:
            refused = [Refusal(rule="spike", text="Solar power far above was left out", count=3)]
            said = notices.writes(world.ids["enrollment"], world.ids["site"], ["A meter \x1b[2J is turned"], refused)
            await hub.store.apply(*said)

    asyncio.run(work())


def test_an_enrollment_is_shown_with_its_warnings(world: World) -> None:
    assert world.json("enrollments", "show", "{enrollment}")["warnings"] == []
    assert "Warnings" not in world("enrollments", "show", "{enrollment}").stdout
    note(world)
    shown = world("enrollments", "show", "{enrollment}").stdout
    told, refused = (line for line in shown.splitlines() if "A meter" in line or "Solar power" in line)
    assert "A meter \N{REPLACEMENT CHARACTER}[2J is turned" in told + refused
    assert "\x1b" not in shown
    found = {one["text"]: one for one in world.json("enrollments", "show", "{enrollment}")["warnings"]}
    one = found["Solar power far above was left out"]
    assert (one["rule"], one["count"], one["siteID"]) == ("spike", 3, world.ids["site"])
    assert "warnings" not in world.json("enrollments", "list")[0]


def iso(at: int) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat()


def test_intervals_say_whether_they_are_complete_what_is_missing_and_where_they_came_from(world: World) -> None:
    end = now() // QUARTER_S * QUARTER_S - 86400 * 5
    hole = range(end - 4 * QUARTER_S, end - 2 * QUARTER_S)
    whole = world.vendors.sunny.readings

    def with_hole(query: ReadingsQuery) -> Readings:
        rows = [row for row in whole(query).intervals if int(row.start.timestamp()) not in hole]
        return Readings(intervals=tuple(replace(row, quality="partial", rule="rows_missing") for row in rows))

    span = ("--level", "15mins", "--start", iso(end - 8 * QUARTER_S), "--end", iso(end))
    done = world("sites", "intervals", "{site}", *span)
    assert "Complete." in done.stderr
    assert "rule" not in done.stdout
    end -= 86400 * 20
    world.vendors.sunny.readings, hole = with_hole, range(end - 4 * QUARTER_S, end - 2 * QUARTER_S)
    span = ("--level", "15mins", "--start", iso(end - 8 * QUARTER_S), "--end", iso(end))
    done = world("sites", "intervals", "{site}", *span, "--provenance")
    assert "Not complete: 6 intervals partial." in done.stderr
    assert "the vendor has none." in done.stderr
    assert len([line for line in done.stdout.splitlines() if "rows_missing" in line]) == 6
    answer = world.json("sites", "intervals", "{site}", *span, "--provenance")
    assert answer["complete"] is False
    assert [one["why"] for one in answer["missing"]] == ["vendor_has_none"]
    assert {row["provenance"]["rule"] for row in answer["intervals"]} == {"rows_missing"}


def test_the_ledger_of_a_site(world: World) -> None:
    done = world("sites", "coverage", "{site}")
    assert "15mins" in done.stdout
    assert "told" in done.stdout
    assert f"Nothing was asked of {world.ids['site']} at day yet." in done.stderr
    series = json.loads(world("sites", "coverage", "{site}", "--json").stdout)["series"]
    assert [one["kind"] for one in series] == ["site", "site"]
