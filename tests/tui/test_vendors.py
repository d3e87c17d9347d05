"""The screen of vendor plugins, by keys, and the conformance kit it runs beside itself."""

from __future__ import annotations

import asyncio
import json
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from types import SimpleNamespace

import pytest
from joinder_tui import conformance
from joinder_tui.screens.enrollments import Enrollments
from joinder_tui.screens.now import Now
from joinder_tui.screens.vendors import Vendors
from joinder_tui.widgets.table import Table

from joinder.runtime.hub import Hub
from joinder.store.tables import Enrollment
from joinder.vendors.registry import ENTRY_POINT_GROUP, Registry
from services.conftest import Enroll
from tui.talking_vendor import TalkingVendor
from tui.terminal import OpenTerminal, Terminal

ROWS = [
    {"check": "entry_point", "state": "passed", "reason": ""},
    {"check": "hook_signatures", "state": "failed", "reason": "fetch_site takes [grant] by keyword"},
    {"check": "pkce", "state": "n/a", "reason": "only OAuth"},
]


@pytest.fixture
def vendor() -> TalkingVendor:
    return TalkingVendor()


@pytest.fixture
def registry(vendor: TalkingVendor) -> Registry:
    (solis,) = entry_points(group=ENTRY_POINT_GROUP, name="solis")
    absent = EntryPoint("absent", "no_such_module:plugin", ENTRY_POINT_GROUP)
    made = Registry.load(found=[absent, solis])
    assert made.add(vendor.name, vendor).problem is None
    made.installed += Registry.load(allow=["other"], found=[EntryPoint("idle", "nothing", ENTRY_POINT_GROUP)]).installed
    return made


def instead_of_python(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, script: str) -> None:
    program = tmp_path / "program"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    monkeypatch.setattr(conformance, "sys", SimpleNamespace(executable=str(program)))


def select(terminal: Terminal, vendor: str) -> None:
    table = terminal.page.query_one(Table)
    table.move_cursor(row=table.get_row_index(vendor))


async def test_every_plugin_is_listed_with_what_is_wrong_with_it(
    hub: Hub, enroll: Enroll, open_terminal: OpenTerminal
) -> None:
    enrollment_id = await enroll("ada")
    await enroll("bob")
    async with hub.store.write() as session:
        row = await session.get(Enrollment, enrollment_id)
        assert row is not None
        row.vendor = "forgotten"
    async with open_terminal(size=(80, 24)) as terminal:
        await terminal.press("5")
        assert isinstance(terminal.page, Vendors)
        for name, shown in (
            ("absent", "import failed: ModuleNotFoundError"),
            ("solis", "joinder-solis"),
            ("strict", "10 calls a minute; 100 calls a day"),
            ("idle", "add ? to JOINDER_PLUGINS"),
            ("forgotten", "no plugin of it is installed"),
        ):
            select(terminal, name)
            await terminal.settled()
            assert shown in terminal.text().replace("\n ", " "), name
        lines = {line.split()[0]: line for line in terminal.text().splitlines() if line.split()}
        assert "■ broken" in lines["absent"]
        assert "○ not enabled" in lines["idle"]
        assert "▲ no plugin" in lines["forgotten"]
        assert "● ok" in lines["strict"]
        assert lines["strict"].split()[3] == lines["forgotten"].split()[4] == "1"


async def test_what_a_vendor_can_is_seen_without_colours(open_terminal: OpenTerminal) -> None:
    async with open_terminal() as terminal:
        await terminal.press("5")
        select(terminal, "strict")
        await terminal.settled()
        await terminal.sees("● can: solar inverters\n")
        await terminal.sees("○ not yet: ")
        await terminal.sees("– vendor has none: live\n")


async def test_a_check_is_run_beside_and_its_result_stays_for_this_session(
    open_terminal: OpenTerminal, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    instead_of_python(monkeypatch, tmp_path, f"echo '{json.dumps(ROWS)}'; exit 1")
    async with open_terminal() as terminal:
        await terminal.press("5")
        select(terminal, "solis")
        await terminal.press("t")
        await terminal.until(lambda: "✗ 1 of 2 failed" in terminal.text())
        await terminal.sees("hook signatures: fetch_site takes [grant] by keyword")
        await terminal.sees("1 passed, 1 failed, 0 skipped, 1 do not apply")
        await terminal.press("4", "5")
        await terminal.sees("✗ 1 of 2 failed")


async def test_keys_go_on_while_a_check_hangs_and_its_process_ends_with_the_waiting(
    open_terminal: OpenTerminal, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    instead_of_python(monkeypatch, tmp_path, f"echo $$ > {tmp_path}/pid; exec sleep 60")
    async with open_terminal() as terminal:
        await terminal.press("5")
        select(terminal, "solis")
        await terminal.press("t")
        await terminal.until((tmp_path / "pid").exists)
        await terminal.press("up")
        assert terminal.page.query_one(Table).selected == "absent"
        await terminal.sees("Checking solis")
        await terminal.press("ctrl+x")
        await terminal.until(lambda: any("not waited for" in said for said in terminal.said()))
        process = Path("/proc") / (tmp_path / "pid").read_text().strip()
        await terminal.until(lambda: not process.exists())


async def test_a_kit_that_cannot_run_says_why(
    open_terminal: OpenTerminal, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    instead_of_python(monkeypatch, tmp_path, "echo 'no [testing] extra' >&2; exit 3")
    async with open_terminal() as terminal:
        await terminal.press("5")
        select(terminal, "solis")
        await terminal.press("t")
        await terminal.until(lambda: any("no [testing] extra" in said for said in terminal.said()))
        assert "solis" not in terminal.app.checked


async def test_enter_leads_to_the_enrollments_of_the_vendor(enroll: Enroll, open_terminal: OpenTerminal) -> None:
    await enroll("ada")
    async with open_terminal() as terminal:
        await terminal.press("5")
        select(terminal, "strict")
        await terminal.press("enter")
        assert isinstance(terminal.app.screen, Enrollments)
        await terminal.until(lambda: "1 enrollment" in terminal.text())
        await terminal.press("5", "escape")
        assert isinstance(terminal.app.screen, Now)


@pytest.mark.proof
async def test_the_kit_itself_runs_on_an_installed_plugin() -> None:
    async with asyncio.timeout(100):
        result = await conformance.check("solis")
    assert result.failed == 0, result.reasons
    assert result.passed > 20


@pytest.mark.parametrize("size", [(60, 16)])
async def test_it_fits_a_small_terminal(open_terminal: OpenTerminal, size: tuple[int, int]) -> None:
    async with open_terminal(size=size) as terminal:
        await terminal.press("5")
        select(terminal, "strict")
        await terminal.settled()
        await terminal.sees("Homes")
        await terminal.sees("Talking [strict]")
