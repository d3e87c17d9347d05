"""A real `joinder serve` process against simulators in this one."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx

from joinder.demo.processes import environment
from joinder.settings import Settings


class Server:
    """Started, killed, started again."""

    def __init__(self, settings: Settings, folder: Path, log_level: str = "INFO") -> None:
        self.settings = settings
        self._log = folder / "server.log"
        self._level = log_level
        self._process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("JOINDER_")}
        env = {**kept, **environment(self.settings), "JOINDER_LOG_LEVEL": self._level}
        env["JOINDER_REFRESH_DEADLINE_S"] = str(self.settings.refresh_deadline_s)
        with self._log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "joinder", "serve", env=env, stdout=log, stderr=log
            )
        async with httpx.AsyncClient(base_url=self.settings.public_url) as client:
            for _ in range(2400):  # two minutes: other tests keep the cores busy
                try:
                    if (await client.get("/health/ready")).is_success:
                        return
                except httpx.TransportError:
                    assert self._process.returncode is None, self._log.read_text()
                await asyncio.sleep(0.05)
        raise AssertionError(self._log.read_text())

    async def kill(self) -> None:
        """No warning, no clean-up."""
        await self._end(signal.SIGKILL)

    async def stop(self) -> int:
        return await self._end(signal.SIGTERM)

    async def _end(self, how: signal.Signals) -> int:
        assert self._process is not None
        if self._process.returncode is None:
            self._process.send_signal(how)
        return await self._process.wait()


@asynccontextmanager
async def serving(settings: Settings, folder: Path, log_level: str = "INFO") -> AsyncIterator[Server]:
    server = Server(settings, folder, log_level)
    await server.start()
    try:
        yield server
    finally:
        await server.kill()
