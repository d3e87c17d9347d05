"""Prints a table and what is wrong; its status is 1 where anything is."""

from __future__ import annotations

import asyncio
import sys
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

from joinder.plurals import counted
from pages import proof, states, terminal, walks
from pages.chromium import chromium
from pages.lookout import Seen
from pages.vendors import everything

HEADS = ("path", "language", "pages", "keys", "looks of axe", "violations", "other faults")


def say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def line(*cells: object) -> str:
    first, *others = cells
    return f"{first!s:<12}" + "".join(f"{cell!s:>14}" for cell in others)


async def main() -> int:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        async with chromium() as browser:
            missed = await proof.missed(browser)
            say(f"a bad page: {len(proof.MUST_FIND) - len(missed)} of {counted(len(proof.MUST_FIND), 'check')} see it")
            wrong = [f"a bad page: nothing sees {check}" for check in missed]
            say(line(*HEADS))
            wrong += await _owners(states.looked_at(browser, made(folder, "states")))
            async with everything(made(folder, "vendors")) as running:
                wrong += await _owners(walks.walked(running, browser))
            async for one in terminal.tried(browser, made(folder, "terminal")):
                say(f"the terminal: {one.what}: {'no' if one.faults else 'yes'}")
                wrong += [f"the terminal: {fault}" for fault in one.faults]
    for fault in wrong:
        say(f"WRONG {fault}")
    return 1 if wrong else 0


def made(folder: Path, name: str) -> Path:
    (folder / name).mkdir()
    return folder / name


async def _owners(rows: AsyncIterator[Seen]) -> list[str]:
    """Prints each row and their sum; returns what is wrong."""
    all_seen = []
    async for one in rows:
        all_seen.append(one)
        others = len(one.faults) - one.violations
        say(line(one.path, one.language, one.pages, one.keys, one.looks, one.violations, others))
    looks, violations = sum(one.looks for one in all_seen), sum(one.violations for one in all_seen)
    say(f"axe: {counted(violations, 'violation')} in {looks} looks (pages × themes × languages)")
    return [f"{one.path}, {one.language}, {fault}" for one in all_seen for fault in one.faults]


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
