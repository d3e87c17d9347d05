"""kill -9 in the middle of 200 refreshes, more than once: no enrollment is lost where the vendor has grace."""

from __future__ import annotations

import asyncio
import collections
from pathlib import Path

import httpx
import pytest
from msgspec import structs

from e2e.conftest import World, free_port
from e2e.serving import serving

pytestmark = pytest.mark.proof

GRANTS, KILLS = 200, 2


async def dial(world: World, path: str, body: dict[str, object]) -> None:
    async with httpx.AsyncClient() as client:
        (await client.post(world.vendor_url + path, json=body)).raise_for_status()


@pytest.mark.timeout(240)
async def test_killed_in_the_middle_of_200_refreshes(world: World, tmp_path: Path) -> None:
    await dial(world, "/_rotation", {"mode": "grace", "grace_seconds": 86400})
    ids = await world.enroll(GRANTS)
    url = world.settings.public_url
    await dial(world, "/_faults", {"fault": "slow", "path": "/oauth/token", "seconds": 0.03})
    async with serving(world.settings, tmp_path) as server:
        for _ in range(KILLS):
            before = world.cloud.state()["refreshes"]
            running = asyncio.create_task(world.refresh_all(url, ids))
            while world.cloud.state()["refreshes"] < before + 40:
                await asyncio.sleep(0.005)
            await server.kill()
            outcome = await running
            assert 0 in outcome.values(), "the server was gone before every refresh had ended"
            await server.start()
        left = set(ids)
        for _ in range(30):
            outcome = await world.refresh_all(url, sorted(left))
            left -= {one for one, status in outcome.items() if status == 200}
            if not left:
                break
            await asyncio.sleep(1)
        assert not left
        async with httpx.AsyncClient(
            base_url=url, headers={"authorization": f"Bearer {await world.token(url)}"}
        ) as api:
            states: collections.Counter[str] = collections.Counter()
            path = "/enrollments?pageSize=200"
            for enrollment in (await api.get(path)).json()["enrollments"]:
                states[enrollment["health"]["state"]] += 1
        assert states == {"ok": GRANTS}
        print(f"\n{GRANTS} grants, {KILLS} kills: 0 lost; vendor: {world.cloud.state()}")
        assert world.cloud.state()["families_revoked"] == 0
        assert await server.stop() == 0


@pytest.mark.timeout(180)
async def test_two_servers_and_a_vendor_that_revokes_on_reuse(world: World, tmp_path: Path) -> None:
    ids = await world.enroll(20)
    port = free_port()
    other_settings = structs.replace(world.settings, port=port, public_url=f"http://127.0.0.1:{port}")
    (tmp_path / "other").mkdir()
    async with serving(world.settings, tmp_path) as one, serving(other_settings, tmp_path / "other") as other:
        for _ in range(5):
            outcomes = await asyncio.gather(
                *(world.refresh_all(server.settings.public_url, ids) for server in (one, other))
            )
            assert {status for outcome in outcomes for status in outcome.values()} == {200}
        state = world.cloud.state()
        assert (state["reuse_seen"], state["families_revoked"]) == (0, 0)
        assert await one.stop() == 0
        assert await other.stop() == 0
