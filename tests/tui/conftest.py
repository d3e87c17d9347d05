"""The terminal on a hub of one strict vendor, driven by keys."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from joinder_tui import app as app_module
from joinder_tui.app import JoinderApp
from joinder_tui.pages import Page

from joinder.runtime.hub import Hub
from services.conftest import account_id, credentials_id, enroll, hub, registry, settings, vendor
from tui.drawing import drawn_when_looked_at
from tui.terminal import OpenTerminal, Terminal

__all__ = ["account_id", "credentials_id", "drawn_when_looked_at", "enroll", "hub", "registry", "settings", "vendor"]


QUICK = (
    "test_command.py",
    "test_every_key.py",
    "test_plain.py",
    "test_serving.py",
    "test_snapshots.py",
    "test_table.py",
)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keys that are pressed wait for what they begin, which takes as long as the machine likes: `make terminal`."""
    for item in items:
        if item.path.parent == Path(__file__).parent and item.path.name not in QUICK:
            item.add_marker(pytest.mark.proof)


@pytest.fixture(autouse=True)
def asks_when_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """A screen asks the store when a test says so, however slow the machine."""
    monkeypatch.setattr(app_module, "TICK_S", 3600.0)


@pytest.fixture
def open_terminal(hub: Hub) -> OpenTerminal:
    @asynccontextmanager
    async def lent() -> AsyncIterator[Hub]:
        yield hub

    @asynccontextmanager
    async def opened(
        *, size: tuple[int, int] = (120, 40), readonly: bool = False, notifications: bool = False, settled: bool = True
    ) -> AsyncIterator[Terminal]:
        app = JoinderApp(lent, readonly=readonly)
        async with app.run_test(size=size, notifications=notifications) as pilot:
            terminal = Terminal(app, pilot)
            await terminal.until(lambda: isinstance(app.screen, Page))
            if settled:
                await terminal.settled()
            yield terminal

    return opened
