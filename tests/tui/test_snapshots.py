"""Every screen as it was looked at: three sizes, two themes. `make snapshots` records them anew.

A snapshot is the grid of characters with its styles (grids.py), a file a screen: an SVG of Textual's would be 100 kB
each, and tell nobody what changed. `make snapshots` draws those as well, into dist/snapshots, to be looked at.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from joinder_tui.app import JoinderApp
from joinder_tui.pages import PAGES, Page
from textual.widgets import Input

from effort import late
from joinder.runtime.hub import Hub, open_hub
from joinder.settings import Settings
from joinder.vendors.registry import Registry
from tui import grids
from tui.pictured import VENDORS, fill, still
from tui.terminal import Terminal

__all__ = ["still"]

DATABASES = ("sqlite",)
FOLDER = Path(__file__).parent / "snapshots"
DRAWN = Path(__file__).parents[2] / "dist/snapshots"
RECORDS = "RECORD_SNAPSHOTS" in os.environ
SIZES = ((120, 40), (80, 24), (60, 16))
THEMES = ("dark", "light")
FIRST = ("2", "end", "enter")  # the home with readings
STEPS: dict[str, tuple[str, ...]] = {
    **{page.name: (page.key,) for page in PAGES},
    "faults": ("2", "f"),
    "marked": ("2", "space", "down", "space"),
    "enrollment": FIRST,
    "sites": (*FIRST, "tab"),
    "day": (*FIRST, "tab", "tab"),
    "day_read": (*FIRST, "tab", "tab", *["left"] * 20),
    "day_before": (*FIRST, "comma"),
    "month": (*FIRST, "tab", "tab", "tab"),
    "tokens": (*FIRST, "tab", "tab", "tab", "tab"),
    "happened": (*FIRST, "shift+tab"),
    "help": ("2", "question_mark"),
    "pause": ("2", "p"),
    "revoke": ("2", "d"),
    "flow_form": ("3", "a"),
    "credential_form": ("4", "a"),
    "webhook_form": ("6", "a"),
    "account_form": ("8", "a"),
}
BY_DAY = ("now",)  # in `make test`; all of them in `make terminal`
SHOWN = [name if name in BY_DAY else late(name) for name in STEPS]


@pytest.fixture
async def pictured(still: None, tmp_path: Path) -> AsyncIterator[Hub]:
    key = tmp_path / "key"
    key.touch(mode=0o600)
    key.write_text("c25hcHNob3RzIG9mIHRoZSB0ZXJtaW5hbCwgMzIgYnk=\n")
    registry = Registry()
    for vendor in VENDORS:
        assert registry.add(vendor.name, vendor).problem is None
    settings = Settings(database_url=f"sqlite:///{tmp_path}/joinder.sqlite3", key_file=str(key))
    async with open_hub(settings, registry) as hub:
        await fill(hub)
        yield hub


@asynccontextmanager
async def opened(hub: Hub, size: tuple[int, int]) -> AsyncIterator[Terminal]:
    @asynccontextmanager
    async def lent() -> AsyncIterator[Hub]:
        yield hub

    app = JoinderApp(lent)
    app.animation_level = "none"
    async with app.run_test(size=size) as pilot:
        terminal = Terminal(app, pilot)
        await terminal.until(lambda: isinstance(app.screen, Page))
        await terminal.settled()
        yield terminal


async def come_to_rest(terminal: Terminal) -> None:
    """What the next ticks would bring is there, and nothing blinks or fades."""
    for _ in range(3):
        if isinstance(terminal.app.screen, Page):
            terminal.page.tick()
        await terminal.settled()
    for box in terminal.app.screen.query(Input):
        box.cursor_blink = False
    terminal.app.clear_notifications()
    await terminal.settled()


async def snapshot(hub: Hub, name: str) -> str:
    """One screen, in every size and theme."""
    parts: list[str] = []
    names: dict[str, str] = {}
    for size in SIZES:
        async with opened(hub, size) as terminal:
            await terminal.press(*STEPS[name])
            await come_to_rest(terminal)
            for theme in THEMES:
                terminal.app.theme = theme
                await terminal.settled()
                screen = grids.rows(terminal.app)
                title = f"{size[0]}x{size[1]}"
                if theme == THEMES[0]:
                    parts.append(f"=== {title}\n{grids.characters(screen)}")
                parts.append(f"=== {title} {theme}\n{grids.styles(screen, names)}")
                if RECORDS:
                    draw(terminal, f"{name}-{title}-{theme}")
    legend = "\n".join(f"{short} {style}" for style, short in names.items())
    return "\n".join([*parts, f"=== styles\n{legend}\n"])


def draw(terminal: Terminal, name: str) -> None:
    DRAWN.mkdir(parents=True, exist_ok=True)
    (DRAWN / f"{name}.svg").write_text(terminal.app.export_screenshot(title="joinder tui"))


@pytest.mark.parametrize("name", SHOWN)
async def test_a_screen_looks_as_it_did_when_it_was_looked_at(pictured: Hub, name: str) -> None:
    path = FOLDER / f"{name}.txt"
    found = await snapshot(pictured, name)
    if RECORDS:
        path.write_text(found)
    assert path.exists(), "Nobody has looked at this screen: make snapshots"
    assert found == path.read_text(), f"{name} looks another way: if it is meant, make snapshots, and look at it"


def test_no_snapshot_is_of_a_screen_that_is_gone() -> None:
    assert {path.stem for path in FOLDER.glob("*.txt")} == set(STEPS)
    assert len(STEPS) * len(SIZES) * len(THEMES) >= 150
