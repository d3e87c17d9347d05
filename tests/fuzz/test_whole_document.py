"""S18, S23: a small budget of `make fuzz`, and that it sees what it is there to see."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from fuzz.whole_document import KINDS, following, run
from fuzz.world import World, opened
from joinder.runtime.hub import Hub
from joinder.services.readings import sites

pytestmark = [pytest.mark.proof, pytest.mark.timeout(900)]
SMALL = ("--phases", "coverage,fuzzing,stateful", "--max-examples", "3", "--seed", "1")
ONE_PATH = ("--phases", "fuzzing", "--max-examples", "20", "--seed", "1", "--include-path")


async def told(world: World, folder: Path, *budget: str) -> tuple[int, str]:
    """Exit code and report."""
    with (folder / "report").open("w+") as report:
        code = await run(world, folder, *budget, into=report)
        report.seek(0)
        return code, report.read()


async def test_every_operation_keeps_what_the_document_promises(tmp_path: Path) -> None:
    async with opened(tmp_path) as world:
        code, report = await told(world, tmp_path, *SMALL)
    assert code == 0, report[-6000:]
    assert "No issues found" in report
    print(report[report.index("Test cases:") :].split("\n")[1])


async def test_what_was_made_is_followed_by_the_links_of_the_document(tmp_path: Path) -> None:
    async with opened(tmp_path) as world:
        code, report = await told(world, tmp_path, *following(KINDS[0]), "--max-examples", "20", "--seed", "1")
    assert code == 0, report[-6000:]
    followed = re.search(r"API Links: +(\d+) covered", report)
    assert followed is not None, report
    print(followed[0])
    assert int(followed[1]) >= 3


async def test_a_site_that_another_account_can_read_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    careful = sites.get_site

    async def careless(hub: Hub, account_id: str, site_id: str) -> Any:
        rows = await hub.store.rows("SELECT account_id FROM site WHERE id = :id", {"id": site_id})
        return await careful(hub, rows[0][0] if rows else account_id, site_id)

    monkeypatch.setattr(sites, "get_site", careless)
    async with opened(tmp_path) as world:
        code, report = await told(world, tmp_path, *ONE_PATH, "/sites/{site_id}", "--include-path", "/sites")
    assert code == 1, report
    assert re.search("nothing_of_another_account|object", report), report


async def test_a_server_error_is_found(tmp_path: Path) -> None:
    async with opened(tmp_path) as world:
        await world.hub.store.apply(("DROP TABLE site", {}))
        code, report = await told(world, tmp_path, *ONE_PATH, "/sites")
    assert code == 1
    assert "erver error" in report
