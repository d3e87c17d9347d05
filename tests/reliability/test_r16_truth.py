"""Truthful when it hurts: what `/health/ready`, answers and the log say while our own database is in trouble (R16).

Real `joinder serve` processes on a loopback port, and a PostgreSQL that goes away beneath them.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx
import pytest

from e2e.conftest import World, free_port
from e2e.serving import serving
from joinder.demo.postgres import LocalPostgres
from joinder.demo.processes import environment
from joinder.runtime.hub import open_hub
from joinder.services.join import vendor_credentials
from joinder.services.records import accounts
from joinder.settings import Settings
from joinder.simulate.run import reroute_of, running
from joinder.store.key_file import create_key_file
from joinder_enphase.simulator import Cloud, simulator
from reliability.test_r16_database_faults import fresh_url

GIVES_UP_S = 90.0
LINES_A_MINUTE = 10
ASKED = [
    ("GET", "/health/ready"),
    ("GET", "/sites"),
    ("GET", "/enrollments"),
    ("GET", "/events"),
    ("GET", "/vendor-credentials"),
    ("POST", "/enrollments/{enrollment}/refresh"),
]
_ALL_DUE = "UPDATE due SET due_at = 0 WHERE kind IN ('refresh', 'poll')"


@pytest.fixture
async def world(server: LocalPostgres, tmp_path: Path) -> AsyncIterator[World]:
    create_key_file(tmp_path / "key")
    cloud = Cloud()
    simulated = simulator(cloud)
    async with running([simulated]) as origins:
        port = free_port()
        settings = Settings(
            database_url=await fresh_url(server, f"truth_{port}"),
            key_file=str(tmp_path / "key"),
            public_url=f"http://127.0.0.1:{port}",
            port=port,
            reroute=reroute_of([simulated], origins),
            refresh_deadline_s=5.0,
            log_format="json",
        )
        async with open_hub(settings) as hub:
            account = await accounts.create_account(hub, "test")
            client = await accounts.create_client(hub, account.id, "test")
            assert simulated.app_credentials is not None
            made = await vendor_credentials.create(
                hub, account.id, "test", name=None, credentials=dict(simulated.app_credentials)
            )
            yield World(settings, hub, cloud, origins["enphase"], account.id, made.id, client)


@pytest.mark.timeout(300)
async def test_a_database_that_goes_away_is_told_as_what_it_is(
    server: LocalPostgres, world: World, tmp_path: Path
) -> None:
    ids = await world.enroll(20)
    url = world.settings.public_url
    async with serving(world.settings, tmp_path):
        headers = {"authorization": f"Bearer {await world.token(url)}"}
        async with httpx.AsyncClient(base_url=url, headers=headers, timeout=GIVES_UP_S) as api:
            assert (await api.get("/sites")).status_code == 200
            await world.hub.store.apply((_ALL_DUE, {}))
            await asyncio.to_thread(server.stop, "immediate")
            try:
                async with asyncio.timeout(GIVES_UP_S):  # an outcome holds for a second
                    while (await api.get("/health/ready")).is_success:
                        await asyncio.sleep(0.1)
                for _ in range(12):
                    for method, path in ASKED:
                        told = await api.request(method, path.format(enrollment=ids[0]))
                        assert_ours(told, path)
                    await assert_a_page(api)
                    await asyncio.sleep(0.5)
            finally:
                await asyncio.to_thread(server.start)
            async with asyncio.timeout(GIVES_UP_S):
                while not (await api.get("/health/ready")).is_success:
                    await asyncio.sleep(0.2)
                while not any("answers again" in line["event"] for line in told_in(tmp_path)):
                    await asyncio.sleep(0.2)
            assert (await api.post(f"/enrollments/{ids[0]}/refresh")).is_success
    lines = told_in(tmp_path)
    first = next(index for index, line in enumerate(lines) if "in trouble" in line["event"])
    print(*(f"{line['timestamp']} {line['event']}" for line in lines[first:]), sep="\n")
    assert most_in_a_minute(lines[first:]) <= LINES_A_MINUTE
    assert [line["event"] for line in lines if "lines left out" in line["event"]]
    assert {row[0] for row in await world.hub.store.rows("SELECT DISTINCT health FROM enrollment", {})} <= {
        "connecting",
        "ok",
    }


def assert_ours(told: httpx.Response, path: str) -> None:
    assert told.status_code == 503, (path, told.status_code, told.text)
    body = told.json()
    assert body["type"] == "urn:joinder:problem#store-unavailable", (path, body)
    assert (body["actor"], told.headers["retry-after"]) == ("operator", "5"), path
    assert body["detail"].startswith("The database cannot be used ("), body


async def assert_a_page(api: httpx.AsyncClient) -> None:
    page = await api.get("/join/flows/flow-aaaaaaaaaaaaaaaa/authorize")
    assert (page.status_code, page.headers["content-type"]) == (503, "text/html; charset=utf-8")
    assert "neither your fault" in page.text
    assert page.headers["retry-after"]


def told_in(folder: Path) -> list[dict[str, Any]]:
    """Everything but a line for each request."""
    lines = [json.loads(line) for line in (folder / "server.log").read_text().splitlines()]
    return [line for line in lines if line["logger"] != "joinder.access"]


def most_in_a_minute(lines: list[dict[str, Any]]) -> int:
    moments = [datetime.fromisoformat(line["timestamp"]).timestamp() for line in lines]
    return max(sum(start <= moment < start + 60 for moment in moments) for start in moments)


@pytest.mark.timeout(300)
@pytest.mark.parametrize("command", ["serve", "worker"])
async def test_a_database_that_is_away_at_the_start_is_waited_for(
    server: LocalPostgres, tmp_path: Path, command: str
) -> None:
    create_key_file(tmp_path / "key")
    port = free_port()
    settings = Settings(
        database_url=await fresh_url(server, f"start_{port}"),
        key_file=str(tmp_path / "key"),
        public_url=f"http://127.0.0.1:{port}",
        port=port,
    )
    await asyncio.to_thread(server.stop, "fast")
    try:
        first = await started(settings, tmp_path / "first.log", command)
        await says(tmp_path / "first.log", "the database is in trouble: ConnectionRefusedError at 127.0.0.1/")
        first.send_signal(signal.SIGTERM)
        assert await asyncio.wait_for(first.wait(), GIVES_UP_S) == 0
        second = await started(settings, tmp_path / "second.log", command)
        await says(tmp_path / "second.log", "the database is in trouble")
    finally:
        await asyncio.to_thread(server.start)
    await says(tmp_path / "second.log", "the database answers again after")
    if command == "serve":
        await answers(f"{settings.public_url}/health/ready")
    else:
        await says(tmp_path / "second.log", "working on")
    second.send_signal(signal.SIGTERM)
    assert await asyncio.wait_for(second.wait(), GIVES_UP_S) == 0
    assert "Traceback" not in (tmp_path / "second.log").read_text()


async def started(settings: Settings, log: Path, command: str) -> asyncio.subprocess.Process:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("JOINDER_")}
    with log.open("ab") as file:
        return await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "joinder", command), env={**kept, **environment(settings)}, stdout=file, stderr=file
        )


async def answers(url: str) -> None:
    async with asyncio.timeout(GIVES_UP_S), httpx.AsyncClient() as client:
        while True:
            with contextlib.suppress(httpx.TransportError):
                if (await client.get(url)).is_success:
                    return
            await asyncio.sleep(0.1)


async def says(log: Path, what: str) -> None:
    async with asyncio.timeout(GIVES_UP_S):
        while what not in log.read_text():
            await asyncio.sleep(0.1)
