"""`joinder serve` and `joinder worker` whose log cannot be written live on, work, and end well."""

from __future__ import annotations

import asyncio
import os
import signal
import sys

import httpx
import pytest
from msgspec import structs

from e2e.conftest import free_port
from effort import late
from joinder.demo.processes import environment
from joinder.settings import Settings

DATABASES = ("sqlite",)
LIVES_S = 3.0
AWAY = {"a full disk": ">/dev/full 2>&1", "no stderr": "2>&-", "a reader that has gone": "2> >(exec true)"}


async def ready(url: str) -> bool:
    async with httpx.AsyncClient(trust_env=False) as client:
        for _ in range(600):
            try:
                if (await client.get(url)).is_success:
                    return True
            except httpx.TransportError:
                await asyncio.sleep(0.1)
    return False


@pytest.mark.parametrize("command", ["serve", late("worker")])
@pytest.mark.parametrize("kind", AWAY)
async def test_it_lives_on(fresh_database: Settings, kind: str, command: str) -> None:
    port, figures = free_port(), free_port()
    settings = structs.replace(
        fresh_database, port=port, public_url=f"http://127.0.0.1:{port}", metrics_port=figures, ballast_mib=0
    )
    kept = {name: value for name, value in os.environ.items() if not name.startswith("JOINDER_")}
    env = {**kept, **environment(settings), "JOINDER_LOG_LEVEL": "DEBUG"}
    asked = f"exec {sys.executable} -m joinder {command} {AWAY[kind]}"
    process = await asyncio.create_subprocess_exec("bash", "-c", asked, env=env)
    try:
        page = f"http://127.0.0.1:{port}/health/ready" if command == "serve" else f"http://127.0.0.1:{figures}/metrics"
        assert await ready(page)
        await asyncio.sleep(LIVES_S)
        assert process.returncode is None
        assert await ready(page)
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGTERM)
    assert await process.wait() == 0
