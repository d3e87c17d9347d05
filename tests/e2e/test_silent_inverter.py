"""A home where one of two inverters fell silent, as `joinder demo --silent-inverter` leaves it behind: its sum is
partial, and API, command line and terminal say which inverter and since when."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from joinder_tui.app import JoinderApp
from joinder_tui.pages import Page
from textual.widgets import TabbedContent

from joinder.runtime.hub import Hub, open_hub
from joinder.settings import Settings
from tui.terminal import Terminal

DATABASES = ("sqlite",)
NAME = "WR 2 (305560005)"
ZONE = ZoneInfo("Europe/Berlin")  # of the simulated home
SILENT_FOR = timedelta(hours=3)


async def joinder(*arguments: str, settings: Settings | None = None) -> tuple[str, str]:
    env = {name: value for name, value in os.environ.items() if not name.startswith(("JOINDER_", "COLUMNS"))}
    if settings is not None:
        env |= {"JOINDER_DATABASE_URL": settings.database_url, "JOINDER_KEY_FILE": settings.key_file}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "joinder", *arguments),
        env=env,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = (text.decode() for text in await process.communicate())
    assert process.returncode == 0, (arguments, out, err)
    return out, err


@asynccontextmanager
async def terminal_on(settings: Settings) -> AsyncIterator[Terminal]:
    @asynccontextmanager
    async def opened() -> AsyncIterator[Hub]:
        async with open_hub(settings) as hub:
            yield hub

    app = JoinderApp(opened)
    async with app.run_test(size=(140, 50)) as pilot:
        terminal = Terminal(app, pilot)
        await terminal.until(lambda: isinstance(app.screen, Page))
        await terminal.settled()
        yield terminal


async def test_api_command_line_and_terminal_tell_which_inverter_is_silent_since_when(tmp_path: Path) -> None:
    folder = tmp_path / "demo"
    out, _ = await joinder("demo", "--silent-inverter", "--once", "--json", "--folder", str(folder))
    (home,) = json.loads(out)["silent"]
    since = seen_by_api(home)
    settings = Settings(database_url=f"sqlite:///{folder}/joinder.sqlite3", key_file=str(folder / "joinder.key"))
    await seen_by_commands(home, since, settings)
    await seen_in_the_terminal(home, since, settings)


def seen_by_api(home: dict[str, Any]) -> datetime:
    since = datetime.fromisoformat(home["silentSince"])
    age = datetime.now(ZONE) - since
    assert SILENT_FOR <= age < SILENT_FOR + timedelta(minutes=20)
    assert (home["inverter"], home["rules"]) == (NAME, ["parts_missing"])
    assert (home["measured"] > 0, home["partial"] > 0) == (True, True)
    (warning,) = [one for one in home["warnings"] if NAME in one["text"]]
    assert (warning["rule"], warning["since"]) == ("parts_missing", home["silentSince"])
    return since


async def seen_by_commands(home: dict[str, Any], since: datetime, settings: Settings) -> None:
    start = (since - timedelta(minutes=30)).isoformat()
    span = ("--level", "15mins", "--start", start, "--end", (since + timedelta(minutes=30)).isoformat(), "--provenance")
    out, said = await joinder("sites", "intervals", home["siteID"], *span, settings=settings)
    rows = [line.split() for line in out.splitlines()[1:]]
    assert [row[2] for row in rows] == ["measured", "measured", "partial", "partial"]
    assert [row[3] for row in rows] == ["-", "-", "parts_missing", "parts_missing"]
    assert "joinder-sma" in out
    assert "Not complete: 2 intervals partial." in said
    assert f"Silent since {since.astimezone(ZONE).isoformat()}: {NAME}, {home['inverterID']}." in said
    shown, _ = await joinder("devices", "show", home["inverterID"], settings=settings)
    assert home["silentSince"] in shown
    shown, _ = await joinder("enrollments", "show", home["enrollmentID"], settings=settings)
    assert f"Inverter {NAME} tells nothing" in shown
    told = json.loads((await joinder("enrollments", "show", home["enrollmentID"], "--json", settings=settings))[0])
    assert [one["since"] for one in told["warnings"] if NAME in one["text"]] == [home["silentSince"]]
    spans, _ = await joinder("sites", "coverage", home["siteID"], settings=settings)
    assert "told" in spans


async def seen_in_the_terminal(home: dict[str, Any], since: datetime, settings: Settings) -> None:
    async with terminal_on(settings) as terminal:
        await terminal.press("2", "enter")
        await terminal.sees(f"Inverter {NAME} tells nothing")
        await terminal.press("tab")
        await terminal.sees("silent since")
        await terminal.press("tab")
        assert terminal.page.query_one(TabbedContent).active == "day"
        local, now = since.astimezone(ZONE), datetime.now(ZONE)
        if now.hour == 0 and now.minute < 30:
            await terminal.press("comma")  # nothing of today is partial yet
        await terminal.sees(f"partial: inverter {NAME} tells nothing since")
        shown = terminal.text()
        assert f"{local:%H:%M}" in shown
        assert "not every device told" in shown
