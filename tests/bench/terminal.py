"""The admin's terminal on a store of many enrollments: first paint, filter, keys, queries per tick, memory.

    .venv/bin/python tests/bench/terminal.py [sqlite|postgresql] [--count 100000]

The application runs headless at 120×40 on a store of its own. `first paint` is from the start of the application to a
filled table; `filter` from the last letter to the filled table, over filters that hit and miss; `key` from a cursor key
to the idle application, while the ticks go on. Beside each figure a limit that this machine knows: an empty Textual
table of as many rows painted, and the same SQL run alone.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import resource
import statistics
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from intervals import database_url
from joinder_tui import app as module
from joinder_tui.app import JoinderApp
from joinder_tui.pages import Page
from joinder_tui.screens.enrollments import ROWS, Enrollments
from seeds import seed
from stub import template_vendor
from textual.app import App, ComposeResult
from textual.pilot import Pilot
from textual.widgets import DataTable, Input

from joinder.runtime.hub import Hub, open_hub
from joinder.services.admin import search
from joinder.settings import Settings
from joinder.store.key_file import create_key_file
from joinder.vendors.registry import Registry

FILTERS = ("health:needs_consent", "roof", "enrl-a", "!bench", "vendor:acme", "nothing-like-this", "health:quarantined")
FAULTS = ("needs_consent", "degraded", "operator_action", "quarantined")
ROUNDS, KEYS = 3, 100


def p95(values: Sequence[float]) -> float:
    return sorted(values)[int(0.95 * (len(values) - 1))]


async def settled(app: JoinderApp, pilot: Pilot[int]) -> None:
    await idle(app, "load")
    await pilot.pause()


async def idle(app: JoinderApp, group: str) -> None:
    while any(not worker.is_finished for worker in app.workers if worker.group == group):
        await asyncio.sleep(0.002)


async def first_paint(hub: Hub) -> tuple[float, JoinderApp]:
    app = JoinderApp(lambda: lent(hub))
    begun = time.perf_counter()
    async with app.run_test(size=(120, 40)) as pilot:
        while not isinstance(app.screen, Page):
            await asyncio.sleep(0.002)
        await settled(app, pilot)
        took = time.perf_counter() - begun
    return took, app


@asynccontextmanager
async def lent(hub: Hub) -> AsyncIterator[Hub]:
    yield hub


async def empty_paint() -> float:
    """Textual alone: a table with one page of rows."""

    class Bare(App[None]):
        def compose(self) -> ComposeResult:
            yield DataTable(cursor_type="row")

        def on_mount(self) -> None:
            table = self.query_one(DataTable)
            table.add_columns(*"abcdefgh")
            for number in range(ROWS):
                table.add_row(*(f"{column} {number}" for column in "abcdefgh"))

    begun = time.perf_counter()
    async with Bare().run_test(size=(120, 40)) as pilot:
        await pilot.pause()
        return time.perf_counter() - begun


class Counting:
    """Counts what a hub's store is asked."""

    def __init__(self, hub: Hub) -> None:
        self.queries = 0
        hub.store.rows = self._counted(hub.store.rows)  # type: ignore[method-assign]
        hub.store.scan = self._counted(hub.store.scan)  # type: ignore[method-assign]

    def _counted(self, ask: Any) -> Any:
        async def counted(sql: str, parameters: Any) -> Any:
            self.queries += 1
            return await ask(sql, parameters)

        return counted


async def measure(hub: Hub) -> None:
    paints = [(await first_paint(hub))[0] for _ in range(ROUNDS)]
    bare = statistics.median([await empty_paint() for _ in range(ROUNDS)])
    print(
        f"first paint {statistics.median(paints):.2f} s; ÷ a bare Textual table {statistics.median(paints) / bare:.1f}"
    )
    counting = Counting(hub)
    app = JoinderApp(lambda: lent(hub))
    async with app.run_test(size=(120, 40)) as pilot:
        while not isinstance(app.screen, Page):
            await asyncio.sleep(0.01)
        await settled(app, pilot)
        await per_tick(app, pilot, counting)
        await pilot.press("2")
        await settled(app, pilot)
        await per_tick(app, pilot, counting)
        await filters(app, pilot, hub)
        await keys(app, pilot)
    print(f"memory of the process {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MiB at most")


async def per_tick(app: JoinderApp, pilot: Pilot[int], counting: Counting) -> None:
    assert isinstance(app.screen, Page)
    await idle(app, "count")
    most = 0
    for _ in range(8):
        before = counting.queries
        app.screen.tick()
        await settled(app, pilot)
        most = max(most, counting.queries - before)
    print(f"{type(app.screen).__name__}: at most {most} queries a tick, one tick in {module.TICK_S:.0f} s")


async def filters(app: JoinderApp, pilot: Pilot[int], hub: Hub) -> None:
    took, alone = [], []
    line = app.screen.query_one("#filter", Input)
    for text in FILTERS * ROUNDS:
        begun = time.perf_counter()
        painted = painting(app.screen)
        line.value = text
        took.append(await painted - begun)
        await idle(app, "count")
        query = search.parse(text)
        begun = time.perf_counter()
        await search.page(hub, query, limit=ROWS + 1)
        alone.append(time.perf_counter() - begun)
    line.value = ""
    await settled(app, pilot)
    print(
        f"filter p50 {statistics.median(took) * 1000:.0f} ms, p95 {p95(took) * 1000:.0f} ms; "
        f"its SQL alone p50 {statistics.median(alone) * 1000:.0f}, p95 {p95(alone) * 1000:.0f} ms"
    )


def painting(page: Any) -> asyncio.Future[float]:
    """When the next answer has been drawn."""
    painted: asyncio.Future[float] = asyncio.get_running_loop().create_future()
    show = type(page).show

    def drawn() -> None:
        if not painted.done():
            painted.set_result(time.perf_counter())

    def shown(answer: Any) -> None:
        show(page, answer)
        page.call_after_refresh(drawn)

    page.show = shown
    return painted


async def keys(app: JoinderApp, pilot: Pilot[int]) -> None:
    assert isinstance(app.screen, Enrollments)
    app.screen.query_one("#enrollments").focus()
    took = []
    for number in range(KEYS):
        begun = time.perf_counter()
        await pilot.press("down" if number % 2 else "pagedown")
        while not app.keyboard.is_at_rest:
            await asyncio.sleep(0)
        took.append(time.perf_counter() - begun)
    print(f"key p50 {statistics.median(took) * 1000:.0f} ms, p95 {p95(took) * 1000:.0f} ms")


async def break_some(hub: Hub) -> None:
    """One in fifty is not well, spread over the states."""
    for index, health in enumerate(FAULTS):
        await hub.store.apply(
            (
                "UPDATE enrollment SET health = :health, health_reason = 'bench' WHERE id LIKE :some",
                {"health": health, "some": f"enrl-{'aceg'[index]}{random.choice('abcdefgh')}%"},  # noqa: S311
            )
        )


async def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("kind", nargs="?", default="sqlite", choices=("sqlite", "postgresql"))
    parser.add_argument("--count", type=int, default=100_000)
    asked = parser.parse_args()
    registry = Registry()
    assert registry.add("acme", template_vendor()).problem is None
    with tempfile.TemporaryDirectory() as name, database_url(asked.kind, Path(name)) as url:
        create_key_file(Path(name) / "key")
        async with open_hub(Settings(database_url=url, key_file=f"{name}/key"), registry) as hub:
            await seed(hub, asked.count)
            await break_some(hub)
            print(f"{asked.kind}, {asked.count:,} enrollments, pages of {ROWS}")
            await measure(hub)


if __name__ == "__main__":
    asyncio.run(main())
