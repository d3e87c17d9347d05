"""The shell of docs/virtual.md and docs/programs.md does what it says there, for who has a virtual client."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from joinder.runtime.hub import Hub
from joinder.runtime.worker import working
from served import output_of

DATABASES = ("sqlite",)  # nothing here depends on the database
DOCS = Path(__file__).parents[2] / "docs"
BLOCK = re.compile(r"<!-- run by tests/clients/test_documented\.py -->\n```sh\n(.*?)```", re.DOTALL)


def shell(*pages: str) -> str:
    blocks = [block for page in pages for block in BLOCK.findall((DOCS / page).read_text())]
    assert len(blocks) >= len(pages)
    return "set -eu\n" + "\necho\n".join(blocks)


@pytest.fixture(autouse=True)
def with_curl() -> None:
    if shutil.which("curl") is None:
        pytest.skip("curl is not installed here")


async def test_homes_joins_and_programmes(hub: Hub, environment: dict[str, str], tmp_path: Path) -> None:
    async with working(hub):  # a site is listed once a worker has read it
        printed = await output_of("sh", "-c", shell("virtual.md", "programs.md"), env=environment, cwd=tmp_path)
    assert "urn:joinder:problem" not in printed
    for said in (
        '"nameplateKwh":13.5',
        '"summaryLevel":"day","complete":',
        '"loadKw":',
        "https://app.example/back?state=mine&enrollmentID=enrl-",
        "https://app.example/back?state=mine&error=access_denied",
        '"status":"pendingvendor"',
        "POST /enrollments/{id}/events",
        '"status":"enrolled"',
        '"name":"Home in Virtual Program"',
        '"type":"enrollment.unenrolled"',
    ):
        assert said in printed, said
