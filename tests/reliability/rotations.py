"""Many processes renew the same grants at a vendor that forgives nothing, as fast as grants come due (R1).

A driver lets time pass for grants that are not being renewed: it makes them due again, and counts how often it did.
So the vendor must see exactly as many exchanges of a grant as it came due.
"""

from __future__ import annotations

import asyncio
import random
import signal
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from msgspec import structs

from joinder import Consent, Grant, Secrets
from joinder.clock import now
from joinder.runtime.hub import Hub, open_hub
from joinder.services.join import stored_consents, vendor_credentials
from joinder.services.join.stored_consents import Origin
from joinder.services.records import accounts
from joinder.services.work import leases
from joinder.settings import Settings
from reliability.processes import Nursery, Worker, template_registry
from reliability.vendor_process import VendorProcess

GRANTS, PROCESSES = 500, 8
DEADLINE_S = 30.0  # no call meets it, on a busy machine either; test_r02_slow_vendor.py is of those that do
SLOW = {"jitter_s": 0.02, "slow_share": 0.003, "slow_s": 9.0}
SEEDED_AT_ONCE = 8
TICK_S = 0.1
SHARE = 0.6  # of the grants that could come due at a tick, those that do: their lives differ
STILL_S = 300.0
# A grant that was renewed rests for longer than one whose renewal was only put off, which came due once and is to come.
_RESTING = "SELECT enrollment_id FROM due WHERE kind = 'refresh' AND due_at > :now + 600 AND lease IS NULL"
_PUT_OFF = "UPDATE due SET due_at = :now WHERE kind = 'refresh' AND due_at BETWEEN :now + 1 AND :now + 600"
_TIME_PASSES = (
    "UPDATE due SET due_at = :past WHERE kind = 'refresh' AND enrollment_id = :id AND due_at > :now AND lease IS NULL"
)
_LEFT = "SELECT count(*) FROM due WHERE kind = 'refresh' AND (due_at <= :now + 600 OR lease IS NOT NULL)"
_REFRESH_ONLY = "UPDATE due SET due_at = :never WHERE kind <> 'refresh'"
_PAUSED = "UPDATE enrollment SET paused_at = :now"  # or the workers repair that nothing reads them
_STATES = "SELECT e.health, count(*) FROM enrollment e GROUP BY e.health"


@dataclass(frozen=True, kw_only=True)
class Figures:
    """`expiries` and `exchanges` are by owner."""

    healths: Mapping[str, int]
    expiries: Mapping[str, int]
    exchanges: Mapping[str, int]
    vendor: Mapping[str, Any]
    codes: list[int]
    seconds: float

    @property
    def rotations(self) -> int:
        return sum(self.exchanges.values())

    def __str__(self) -> str:
        return (
            f"{self.rotations} rotations of {len(self.exchanges)} grants by {len(self.codes)} processes in "
            f"{self.seconds:.0f} s ({self.rotations / self.seconds:.0f}/s): healths {dict(self.healths)}, "
            f"reuse seen {self.vendor['reuse_seen']}, families revoked {self.vendor['families_revoked']}, "
            f"overlaps {self.vendor['overlaps']}, expiries {sum(self.expiries.values())}"
        )


async def seed(hub: Hub, owners: list[str]) -> dict[str, str]:
    """Enrollment → owner. Nothing but renewals will come due."""
    account = await accounts.create_account(hub, "test")
    app = {"vendor": "acme", "type": "oauth", "clientID": "id", "clientSecret": "secret"}
    credentials = await vendor_credentials.create(hub, account.id, "test", name=None, credentials=app)

    async def enrolled(owner: str) -> tuple[str, str]:
        async with hub.store.write() as session:
            row = await stored_consents.store(
                hub, session, account.id, first_consent(owner), Origin(vendor="acme", credentials_id=credentials.id)
            )
            return row.id, owner

    made: dict[str, str] = {}
    for at in range(0, len(owners), SEEDED_AT_ONCE):
        made |= dict(await asyncio.gather(*(enrolled(owner) for owner in owners[at : at + SEEDED_AT_ONCE])))
    await hub.store.apply((_REFRESH_ONLY, {"never": leases.NEVER}))
    return made


def first_consent(owner: str) -> Consent:
    secrets = Secrets({"access_token": f"access-{owner}", "refresh_token": f"{owner}#1"})
    grant = Grant(secrets=secrets, expires_at=datetime.now(UTC) + timedelta(hours=1), site_ids=(f"site-{owner}",))
    return Consent(grant=grant, account_id=owner)


def hurried(settings: Settings, vendor: VendorProcess) -> Settings:
    """Nothing paces the renewals but the cap on exchanges in flight."""
    return structs.replace(
        settings, reroute=vendor.reroute, refresh_deadline_s=DEADLINE_S, refreshes_per_second=1e6, ballast_mib=0
    )


async def rotations(
    settings: Settings, vendor: VendorProcess, nurse: Nursery, *, at_least: int, grants: int, processes: int
) -> Figures:
    """`settings` of an empty, migrated database that the vendor is rerouted in."""
    async with open_hub(settings, template_registry()) as hub:
        owners = await seed(hub, [f"owner-{number}" for number in range(grants)])
        await hub.store.apply((_PAUSED, {"now": now()}))
        began = time.monotonic()
        workers = [nurse.worker(settings) for _ in range(processes)]
        expiries = await _let_time_pass(hub, owners, at_least)
        await settled(hub)
        took = time.monotonic() - began
        codes = stop(workers, settings)
        seen = vendor.state()
        healths = {row[0]: row[1] for row in await hub.store.rows(_STATES, {})}
        return Figures(
            healths=healths, expiries=expiries, exchanges=seen["by_owner"], vendor=seen, codes=codes, seconds=took
        )


def stop(workers: list[Worker], settings: Settings) -> list[int]:
    """Their exit codes."""
    for worker in workers:
        worker.signal(signal.SIGTERM)
    return [worker.wait(settings.refresh_deadline_s + 30) for worker in workers]


async def _let_time_pass(hub: Hub, owners: Mapping[str, str], at_least: int) -> Counter[str]:
    expiries: Counter[str] = Counter()
    while sum(expiries.values()) < at_least:
        resting = [row[0] for row in await hub.store.rows(_RESTING, {"now": now()})]
        chosen = [row for row in resting if random.random() < SHARE]  # noqa: S311 - jitter
        for enrollment_id, changed in zip(chosen, await make_due(hub, chosen), strict=True):
            expiries[owners[enrollment_id]] += changed
        await asyncio.sleep(TICK_S)
    return expiries


async def make_due(hub: Hub, ids: list[str]) -> list[int]:
    """1 for each that was made due, 0 for one that was so already or is being renewed."""
    values = {"now": now(), "past": now() - 1}
    return await hub.store.apply(*((_TIME_PASSES, {**values, "id": one}) for one in ids)) if ids else []


async def settled(hub: Hub) -> None:
    """Waits until nothing is due, put off or held. Raises TimeoutError."""
    async with asyncio.timeout(STILL_S):
        while (await hub.store.rows(_LEFT, {"now": now()}))[0][0]:
            await hub.store.apply((_PUT_OFF, {"now": now()}))
            await asyncio.sleep(TICK_S)
