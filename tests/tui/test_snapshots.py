"""Every screen as it was looked at: three sizes, two themes. `make snapshots` records them anew.

A snapshot is the grid of characters with its styles (grids.py), a file a screen: an SVG of Textual's would be 100 kB
each, and tell nobody what changed. `make snapshots` draws those as well, into dist/snapshots, to be looked at.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Sequence
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
PATHS: tuple[dict[str, tuple[str, ...]], ...] = (  # each in one terminal: screen → keys that lead there from the last
    {"now": ("1",)},
    {page.name: (page.key,) for page in PAGES if page.name != "now"},
    {
        "enrollment": FIRST,
        "sites": ("tab",),
        "day": ("tab",),
        "day_read": ("left",) * 20,
        "month": ("tab",),
        "tokens": ("tab",),
        "happened": ("tab",),
        "day_before": ("comma",),
    },
    {
        "help": ("2", "question_mark"),
        "pause": ("escape", "p"),
        "revoke": ("escape", "d"),
        "faults": ("escape", "f"),
        "marked": ("f", "home", "space", "down", "space"),
    },
    {
        "flow_form": ("3", "a"),
        "credential_form": ("escape", "4", "a"),
        "webhook_form": ("escape", "6", "a"),
        "account_form": ("escape", "8", "a"),
    },
)
SHOWN = [PATHS[0], *map(late, PATHS[1:])]  # the first in `make test`; all of them in `make terminal`
Pictures = dict[tuple[str, tuple[int, int], str], Sequence[grids.Row]]  # by screen, size and theme


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


async def walked(hub: Hub, path: dict[str, tuple[str, ...]]) -> Pictures:
    """Each screen of a path, in every size and theme."""
    found: Pictures = {}
    for size in SIZES:
        async with opened(hub, size) as terminal:
            for name, keys in path.items():
                await terminal.press(*keys)
                await come_to_rest(terminal)
                for theme in themes_from(terminal.app.theme):
                    terminal.app.theme = theme
                    await terminal.settled()
                    found[name, size, theme] = grids.rows(terminal.app)
                    if RECORDS:
                        draw(terminal, f"{name}-{size[0]}x{size[1]}-{theme}")
    return found


def themes_from(theme: str) -> Sequence[str]:
    """Begins with what is shown: another theme styles every widget anew."""
    return THEMES[::-1] if theme == THEMES[-1] else THEMES


def told(found: Pictures, name: str) -> str:
    """One screen as its file tells it."""
    parts: list[str] = []
    names: dict[str, str] = {}
    for size in SIZES:
        title = f"{size[0]}x{size[1]}"
        parts.append(f"=== {title}\n{grids.characters(found[name, size, THEMES[0]])}")
        parts += [f"=== {title} {theme}\n{grids.styles(found[name, size, theme], names)}" for theme in THEMES]
    legend = "\n".join(f"{short} {style}" for style, short in names.items())
    return "\n".join([*parts, f"=== styles\n{legend}\n"])


def draw(terminal: Terminal, name: str) -> None:
    DRAWN.mkdir(parents=True, exist_ok=True)
    (DRAWN / f"{name}.svg").write_text(terminal.app.export_screenshot(title="joinder tui"))


@pytest.mark.parametrize("path", SHOWN, ids="+".join)
async def test_screens_look_as_when_they_were_looked_at(pictured: Hub, path: dict[str, tuple[str, ...]]) -> None:
    found = await walked(pictured, path)
    for name in path:
        file = FOLDER / f"{name}.txt"
        if RECORDS:
            file.write_text(told(found, name))
        assert file.exists(), "Nobody has looked at this screen: make snapshots"
        look = f"{name} looks another way: if it is meant, make snapshots, and look at it"
        assert told(found, name) == file.read_text(), look


def test_no_snapshot_is_of_a_screen_that_is_gone() -> None:
    names = [name for path in PATHS for name in path]
    assert {path.stem for path in FOLDER.glob("*.txt")} == set(names)
    assert len(names) * len(SIZES) * len(THEMES) >= 150
