"""Joinder's own processes, started and stopped by the demo."""

from __future__ import annotations

import asyncio
import os
import socket
import sys
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
from prometheus_client.parser import text_string_to_metric_families

from joinder.settings import Settings, call_limits_text

START_MOST_S, STOP_MOST_S = 180.0, 60.0


class StepFailed(Exception):
    """`step` names what failed; the text says how."""

    def __init__(self, step: str, why: str) -> None:
        super().__init__(why)
        self.step = step


class Process:
    """One `joinder serve` or `joinder worker`; its log is in `folder`."""

    def __init__(self, name: str, arguments: Sequence[str], settings: Settings, folder: Path) -> None:
        self.name = name
        self.serves = arguments[0] == "serve"
        self.url = f"http://127.0.0.1:{settings.port}"
        self.log = folder / f"{name}.log"
        self._arguments = arguments
        self._settings = settings
        self._handle: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        """Starts it and returns before it answers; what it prints goes to its log."""
        with self.log.open("wb") as log:
            self._handle = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "joinder", *self._arguments),
                env={**_inherited(), **environment(self._settings)},
                stdout=log,
                stderr=log,
            )

    @property
    def runs(self) -> bool:
        return self._handle is not None and self._handle.returncode is None

    async def ready(self) -> None:
        """Waits until it answers. Raises StepFailed."""
        asked = f"{self.url}/health/ready" if self.serves else self._metrics_url
        give_up = time.monotonic() + START_MOST_S
        async with httpx.AsyncClient(trust_env=False) as client:
            while time.monotonic() < give_up and self.runs:
                try:
                    if (await client.get(asked)).status_code == 200:
                        return
                except httpx.TransportError:
                    pass
                await asyncio.sleep(0.1)
        raise StepFailed(self.name, f"it did not start; see {self.log}")

    async def figure(self, name: str, **labels: str) -> int:
        """Sums what its /metrics tells of this counter, over all its series with these labels. Raises StepFailed."""
        try:
            async with httpx.AsyncClient(trust_env=False) as client:
                page = (await client.get(self._metrics_url)).text
        except httpx.TransportError as error:
            raise StepFailed(
                self.name, f"its figures cannot be read ({type(error).__name__}); see {self.log}"
            ) from None
        samples = (sample for family in text_string_to_metric_families(page) for sample in family.samples)
        return int(sum(one.value for one in samples if one.name == name and labels.items() <= one.labels.items()))

    async def ended(self) -> None:
        if self._handle is not None:
            await self._handle.wait()

    async def kill(self) -> None:
        """Kills it without warning or clean-up."""
        if self._handle is not None and self.runs:
            self._handle.kill()
        await self.ended()

    def ask_to_stop(self) -> None:
        if self._handle is not None and self.runs:
            self._handle.terminate()

    async def stopped(self) -> None:
        """Waits for its end after `ask_to_stop`; one that does not listen is killed."""
        try:
            async with asyncio.timeout(STOP_MOST_S):
                await self.ended()
        except TimeoutError:
            await self.kill()

    @property
    def _metrics_url(self) -> str:
        return f"http://127.0.0.1:{self._settings.metrics_port}/metrics"


@asynccontextmanager
async def running(processes: Sequence[Process]) -> AsyncIterator[None]:
    """Starts all of them, ready inside the block; they stop in whatever way it ends. Raises StepFailed."""
    try:
        for process in processes:
            await process.start()
        await asyncio.gather(*(process.ready() for process in processes))
        yield
    finally:
        for process in processes:
            process.ask_to_stop()
        await asyncio.gather(*(process.stopped() for process in processes))


def environment(settings: Settings) -> dict[str, str]:
    """Returns the JOINDER_ variables that tell a process these settings."""
    told = {
        "JOINDER_CONFIG": os.devnull,  # no file of somebody else's settings
        "JOINDER_DATABASE_URL": settings.database_url,
        "JOINDER_KEY_FILE": settings.key_file,
        "JOINDER_PUBLIC_URL": settings.public_url,
        "JOINDER_PORT": str(settings.port),
        "JOINDER_ALLOWED_NETWORKS": ",".join(settings.allowed_networks),
        "JOINDER_REROUTE": ",".join(f"{host}={origin}" for host, origin in settings.reroute.items()),
        "JOINDER_CALL_LIMITS": call_limits_text(settings.call_limits),
    }
    if settings.plugins is not None:
        told["JOINDER_PLUGINS"] = ",".join(settings.plugins)
    if settings.journal_folder is not None:
        told["JOINDER_JOURNAL_FOLDER"] = settings.journal_folder
    if settings.metrics_port is not None:
        told["JOINDER_METRICS_PORT"] = str(settings.metrics_port)
    return told


def free_ports(count: int) -> list[int]:
    """Finds free ports, all different."""
    probes = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    try:
        return [probe.getsockname()[1] for probe in probes]
    finally:
        for probe in probes:
            probe.close()


def _inherited() -> Mapping[str, str]:
    return {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("JOINDER_") or name == "JOINDER_LOG_LEVEL"
    }
