"""Prints a table and what is wrong; its status is 1 where anything is."""

from __future__ import annotations

import asyncio
import signal
import sys
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

from playwright.async_api import Browser

from joinder.plurals import counted
from pages import proof, states, terminal, walks
from pages.chromium import chromium
from pages.lookout import Seen
from pages.vendors import everything, left_out

WIDTH = 18
HEADS = ("path", "language", "landing", "pages", "keys", "looks of axe", "violations", "other faults")


def say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def line(*cells: object) -> str:
    first, *others = cells
    return f"{first!s:<12}" + "".join(f"{cell!s:>{WIDTH}}" for cell in others)


async def main() -> int:
    task = asyncio.current_task()
    if task is not None:  # SIGTERM, as SIGINT, stops every process and the browser too
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    with tempfile.TemporaryDirectory() as name:
        async with chromium() as browser:
            wrong = [
                *await _checks(browser),
                *await _owners(browser, Path(name)),
                *await _terminal(browser, Path(name)),
            ]
    for fault in wrong:
        say(f"WRONG {fault}")
    return 1 if wrong else 0


async def _checks(browser: Browser) -> list[str]:
    missed = await proof.missed(browser)
    say(f"a bad page: {len(proof.MUST_FIND) - len(missed)} of {counted(len(proof.MUST_FIND), 'check')} see it")
    return [f"a bad page: nothing sees {check}" for check in missed]


async def _owners(browser: Browser, folder: Path) -> list[str]:
    """Prints what is seen of the pages of owners, row by row, and the sum; returns what is wrong."""
    say(line(*HEADS))
    rows = await _shown(states.looked_at(browser, made(folder, "states")))
    async with everything(made(folder, "vendors")) as running:
        rows += await _shown(walks.walked(running, browser))
        absent = [f"{name} is not walked" for name in left_out(running)]
    looks, violations = sum(one.looks for one in rows), sum(one.violations for one in rows)
    say(f"axe: {counted(violations, 'violation')} in {looks} looks (pages × themes × languages)")
    return [*absent, *(f"{one.path}, {one.language}, {fault}" for one in rows for fault in one.faults)]


async def _shown(rows: AsyncIterator[Seen]) -> list[Seen]:
    shown = []
    async for one in rows:
        shown.append(one)
        others = len(one.faults) - one.violations
        say(line(one.path, one.language, one.landing, one.pages, one.keys, one.looks, one.violations, others))
    return shown


async def _terminal(browser: Browser, folder: Path) -> list[str]:
    wrong = []
    async for one in terminal.tried(browser, made(folder, "terminal")):
        say(f"the terminal: {one.what}: {'no' if one.faults else 'yes'}")
        wrong += [f"the terminal: {fault}" for fault in one.faults]
    return wrong


def made(folder: Path, name: str) -> Path:
    (folder / name).mkdir()
    return folder / name


if __name__ == "__main__":
    try:
        sys.exit(asyncio.run(main()))
    except (asyncio.CancelledError, KeyboardInterrupt):
        sys.exit("stopped")
