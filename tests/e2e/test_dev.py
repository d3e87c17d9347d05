"""An author sees the first enrollment of their vendor, and the server starts again when they change a file."""

from __future__ import annotations

import asyncio
import os
import re
import sys
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from joinder.commands import dev
from joinder.demo.owner import consent
from joinder.demo.processes import free_ports

LINK = re.compile(r"Open as an owner:  (\S+)")


async def until(holds: Callable[[], bool]) -> None:
    """The test's own timeout is the deadline."""
    while not holds():
        await asyncio.sleep(0.1)


@pytest.mark.proof
@pytest.mark.timeout(300)
async def test_an_author_opens_the_link_and_sees_the_enrollment(tmp_path: Path) -> None:
    port = free_ports(3)[0]
    log = tmp_path / "log"
    env = {name: value for name, value in os.environ.items() if not name.startswith("JOINDER_")}
    arguments = ("dev", "solis", "--port", str(port), "--folder", str(tmp_path / "dev"))
    with log.open("w") as out:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "joinder", *arguments, stdout=out, stderr=out, env=env
        )
    try:
        await until(lambda: LINK.search(log.read_text()) is not None)
        link = LINK.search(log.read_text())
        assert link is not None
        entered = dict(re.findall(r"enter (\w+): (\S+)", log.read_text()))
        ended = await consent(link[1], until=f"http://127.0.0.1:{port}/health/live", entries=entered)
        enrollment = ended.partition("enrollmentID=")[2]
        await until(lambda: f"{enrollment}: ok" in log.read_text())
        assert (tmp_path / "dev/.gitignore").read_text() == "*\n", "its key must be in no sdist"
    finally:
        process.terminate()
        await process.wait()
    with pytest.raises(httpx.ConnectError):
        await consent(link[1], until="http://127.0.0.1/", entries={})  # nothing is left running


def test_a_changed_file_is_named(tmp_path: Path) -> None:
    file = tmp_path / "mapping.py"
    file.write_text("a = 1\n")
    before = dev._stamps(tmp_path)
    assert dev._changed(before, dev._stamps(tmp_path)) is None
    os.utime(file, ns=(1, 1))
    assert dev._changed(before, dev._stamps(tmp_path)) == "mapping.py"
    file.unlink()
    assert dev._changed(before, dev._stamps(tmp_path)) == "mapping.py"
