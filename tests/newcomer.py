"""A newcomer at an empty folder: from nothing to the first enrollment of one's own, counting what was typed."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx

from joinder.demo.owner import consent
from joinder.demo.processes import free_ports
from joinder.simulate import installed_simulators

BACK = "https://integrator.example/connected"


class Newcomer:
    """Counts the commands that were typed into a shell of its own, in an empty folder. `joinder`: what runs it."""

    def __init__(self, folder: Path, joinder: tuple[str, ...] = (sys.executable, "-m", "joinder")) -> None:
        self.folder = folder
        self.commands = 0
        self._joinder = joinder
        self._env = {name: value for name, value in os.environ.items() if not name.startswith("JOINDER_")}
        self._env |= {"HOME": str(folder), "XDG_CONFIG_HOME": str(folder)}

    async def types(self, *arguments: str) -> str:
        process = await self._begin(arguments)
        out, err = await process.communicate()
        assert process.returncode == 0, err.decode()
        return out.decode()

    @asynccontextmanager
    async def keeps_running(self, *arguments: str) -> AsyncIterator[asyncio.subprocess.Process]:
        process = await self._begin(arguments)
        try:
            yield process
        finally:
            if process.returncode is None:
                process.terminate()
            await process.communicate()

    async def _begin(self, arguments: tuple[str, ...]) -> asyncio.subprocess.Process:
        self.commands += 1
        pipe = asyncio.subprocess.PIPE
        return await asyncio.create_subprocess_exec(
            *(*self._joinder, *arguments), cwd=self.folder, env=self._env, stdout=pipe, stderr=pipe
        )


async def answers(process: asyncio.subprocess.Process, url: str) -> None:
    """Waits as long as the process lives."""
    async with httpx.AsyncClient(trust_env=False) as client:
        while True:
            try:
                if (await client.get(url)).status_code == 200:
                    return
            except httpx.TransportError:
                if process.returncode is not None:
                    _, err = await process.communicate()
                    raise AssertionError(err.decode()) from None
            await asyncio.sleep(0.05)


async def first_enrollment(newcomer: Newcomer) -> int:
    """Types what `joinder init` itself names, until the simulated owner of a vendor has joined, and counts it."""
    first, port = free_ports(2)
    url = f"http://127.0.0.1:{port}"
    where = ("--public-url", url, "--redirect-uri", BACK, "--simulator-port", str(first))
    made = json.loads(await newcomer.types("init", "--simulators", "--account", "Acme", *where, "--json"))
    async with newcomer.keeps_running("simulate") as simulators, newcomer.keeps_running("serve") as server:
        assert simulators.stdout is not None
        while b"Running until" not in (line := await simulators.stdout.readline()):
            assert line, "the simulators ended"
        await answers(server, f"{url}/health/ready")
        link = (await newcomer.types("open", "--no-browser")).strip()
        typed = newcomer.commands
        simulator = next(one for one in installed_simulators() if one.app_credentials and not one.flow_options)
        landed = await consent(
            f"{link}?vendor={simulator.vendor}&state=mine", until=BACK, entries=dict(simulator.owner_choice)
        )
        assert "state=mine" in landed
        listed = json.loads(await newcomer.types("enrollments", "list", "--json"))
    assert [row["vendor"] for row in listed] == [simulator.vendor]
    assert listed[0]["id"] in landed
    assert made["flowID"] in link
    return typed
