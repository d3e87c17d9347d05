"""Who waits for the line that tells the address is answered at it."""

from __future__ import annotations

import asyncio
import os
import signal
import sys

import httpx
import pytest
from msgspec import structs

from e2e.conftest import free_port
from joinder.demo.processes import environment
from joinder.settings import Settings

DATABASES = ("sqlite",)


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0", "localhost", "::1"])  # noqa: S104 - while the test runs
async def test_the_address_is_told_once_it_answers(fresh_database: Settings, host: str) -> None:
    port = free_port()
    written = f"[{host}]" if ":" in host else host
    url = f"http://{written if host == '::1' else '127.0.0.1'}:{port}"
    settings = structs.replace(fresh_database, port=port, public_url=url, ballast_mib=0)
    kept = {name: value for name, value in os.environ.items() if not name.startswith("JOINDER_")}
    server = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "joinder", "serve"),
        env={**kept, **environment(settings), "JOINDER_HOST": host},
        stderr=-1,
    )
    try:
        assert server.stderr is not None
        async for line in server.stderr:
            if f"Joinder on http://{written}:{port}".encode() in line:
                break
        async with httpx.AsyncClient(trust_env=False) as client:
            assert (await client.get(f"{url}/health/live")).status_code == 200
    finally:
        server.send_signal(signal.SIGTERM)
        await server.communicate()
    assert server.returncode == 0
