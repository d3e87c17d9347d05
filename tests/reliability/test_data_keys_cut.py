"""S8: data keys are renewed beside workers that renew tokens, and killed in the middle, again and again: all opens.

The vendor revokes a grant when one of its tokens is used twice, so a token that does not open, or an older one that
was sealed again over a newer, shows.
"""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

import pytest

from joinder.clock import now
from joinder.runtime.hub import Hub, open_hub
from joinder.services.records import health
from joinder.settings import Settings
from joinder.store.vault import keys_of
from reliability.loads import load, settled, told
from reliability.processes import nursery, template_registry
from reliability.rotations import _PAUSED, hurried, seed, stop
from reliability.vendor_process import vendor_process
from services.test_data_keys import sealed_by

KILLS, ACCOUNTS, GRANTS, WORKERS = 24, 3, 20, 2
SCRIPT = Path(__file__).with_name("cut_data_keys.py")


@pytest.mark.timeout(900)
async def test_no_grant_is_lost_wherever_it_is_killed(fresh_database: Settings, tmp_path: Path) -> None:
    with vendor_process() as vendor, nursery(tmp_path / "processes") as nurse:
        vendor.rules(jitter_s=0.02, mode="strict")
        settings = hurried(fresh_database, vendor)
        async with open_hub(settings, template_registry()) as hub:
            owners = await _seeded(hub, tmp_path.name)
            before = vendor.state()
            workers = [nurse.worker(settings) for _ in range(WORKERS)]
            async with load(hub):
                killed, whole = await _cut_again_and_again(settings)
            await settled(hub)
            outcome = await told(hub, owners, vendor, before)
            newest = await _newest_keys(hub)
            assert await sealed_by(hub) == newest
            codes = await asyncio.to_thread(stop, workers, settings)
    print(f"\n{killed} kills, {whole} renewals of data keys to their end: {outcome}")
    assert (killed, len(newest)) == (KILLS, ACCOUNTS)
    assert whole >= 1
    assert outcome.exchanges > len(owners)
    assert outcome.healths <= set(health.WELL)
    assert (outcome.lost, outcome.reuse_seen, outcome.revoked) == (0, 0, 0)
    assert codes == [0] * WORKERS


async def _seeded(hub: Hub, name: str) -> dict[str, str]:
    owners: dict[str, str] = {}
    for account in range(ACCOUNTS):
        owners |= await seed(hub, [f"{name}-{account}-{number}" for number in range(GRANTS)])
    await hub.store.apply((_PAUSED, {"now": now()}))
    return owners


async def _cut_again_and_again(settings: Settings) -> tuple[int, int]:
    """Returns how often it was killed, and how often it came to its end."""
    asked = [settings.database_url, settings.key_file, settings.journal_folder or "", str(KILLS)]
    env = {**os.environ, "PYTHONPATH": str(SCRIPT.parent.parent)}
    process = await asyncio.create_subprocess_exec(
        sys.executable, str(SCRIPT), *asked, env=env, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    stdout, stderr = await process.communicate()
    assert process.returncode == 0, stderr.decode()[-3000:]
    killed, whole = map(int, stdout.split())
    return killed, whole


async def _newest_keys(hub: Hub) -> set[str]:
    async with hub.store.read() as session:
        accounts = [row[0] for row in await hub.store.rows("SELECT id FROM account", {})]
        return {(await keys_of(session, account_id))[-1].id for account_id in accounts}
