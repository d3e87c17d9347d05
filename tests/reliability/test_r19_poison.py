"""One row that breaks whatever works it is put aside with a reason, and the others never notice (R19)."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

import httpx
import pytest
from msgspec import structs

from joinder.api.app import create_app
from joinder.runtime import due, worker
from joinder.runtime.hub import Hub
from joinder.services.records import accounts
from joinder.services.records.health import WELL
from joinder.services.work import leases
from joinder.settings import Settings
from joinder.vendors import hook_answers
from reliability import poisoned_worker
from reliability.simulated import RENEWALS, Clock, due_of, move_due, rows_of, well_and_not
from services.conftest import Enroll
from services.strict_vendor import StrictVendor

OTHERS = 100
WORKER = Path(poisoned_worker.__file__)
_DUE = "UPDATE due SET due_at = :at WHERE kind = 'refresh'"
_RENEWED = 'SELECT count(*) FROM "grant" WHERE version = 2'


class Boom(BaseException):
    """As pytest's and trio's own: no Exception."""


@pytest.fixture
def settings(fresh_database: Settings) -> Settings:
    return structs.replace(fresh_database, refresh_deadline_s=1.0, refreshes_per_second=10_000.0)


@pytest.fixture
def vendor() -> StrictVendor:
    return StrictVendor(grace=True)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr("joinder.clock.civil_time", made.time)
    monkeypatch.setattr(worker, "LOOK_EVERY_S", 0.02)
    return made


def poisoned(vendor: StrictVendor, error: BaseException) -> None:
    async def break_it(owner: str) -> None:
        if owner == "poison":
            raise error

    vendor.before = break_it


async def others_renewed(hub: Hub) -> None:
    async with asyncio.timeout(60), worker.working(hub):
        while (await hub.store.rows(_RENEWED, {}))[0][0] < OTHERS:
            await asyncio.sleep(0.02)
    hub.stopping.clear()  # the same process goes on


async def released(hub: Hub, account_id: str, enrollment_id: str) -> str:
    """By POST /enrollments/{id}/refresh; the health it answers."""
    client = await accounts.create_client(hub, account_id, "test", accounts.SCOPES)
    transport = httpx.ASGITransport(create_app(hub))
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:8080") as api:
        login = (client.client_id, client.client_secret)
        token = (await api.post("/oauth2/token", data={"grant_type": "client_credentials"}, auth=login)).json()
        headers = {"authorization": f"Bearer {token['access_token']}"}
        answer = await api.post(f"/enrollments/{enrollment_id}/refresh", headers=headers)
    assert answer.status_code == 200, answer.text
    return str(answer.json()["health"]["state"])


@pytest.mark.parametrize(
    "error", [Boom("x"), asyncio.CancelledError(), SystemExit(3), MemoryError(), RecursionError()], ids=repr
)
async def test_whatever_a_hook_raises_stays_with_its_row(
    hub: Hub, vendor: StrictVendor, clock: Clock, enroll: Enroll, account_id: str, error: BaseException
) -> None:
    poison = await enroll("poison")
    for number in range(OTHERS):
        await enroll(f"owner-{number}")
    poisoned(vendor, error)
    await hub.store.apply((_DUE, {"at": int(clock.at) - 1}))
    await others_renewed(hub)
    while (failures := (await rows_of(hub, poison))[0].failures) < 5:
        row = await due_of(hub, poison)
        assert row.lease is None
        assert row.due_at <= clock.at + 900, "put off, and tried again"
        assert failures == 0 or row.due_at > clock.at
        clock.at = max(clock.at, row.due_at)
        await due.run_one(hub, RENEWALS, due.DueRow(poison, row.strikes))
    enrollment, grant = await rows_of(hub, poison)
    assert (enrollment.health, enrollment.health_actor, grant.version) == ("quarantined", "operator", 1)
    assert "plugin strict failed in refresh" in (enrollment.health_reason or "")
    assert await well_and_not(hub) == {"well": OTHERS, "quarantined": 1}
    vendor.before = None
    assert await released(hub, account_id, poison) in WELL
    assert (await rows_of(hub, poison))[1].version == 2


async def test_a_hook_that_hangs_holds_up_nobody(
    hub: Hub, vendor: StrictVendor, clock: Clock, enroll: Enroll, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may be the vendor that is slow: such a row is degraded and tried again, later each time, for ever."""
    monkeypatch.setattr(hook_answers, "HOOK_DEADLINE", 0.3)
    poison = await enroll("poison")
    for number in range(OTHERS):
        await enroll(f"owner-{number}")

    async def hang(owner: str) -> None:
        if owner == "poison":
            await asyncio.sleep(3600)

    vendor.before = hang
    await hub.store.apply((_DUE, {"at": int(clock.at) - 1}))
    await others_renewed(hub)
    for _ in range(4):
        row = await due_of(hub, poison)
        clock.at = max(clock.at, row.due_at)
        await due.run_one(hub, RENEWALS, due.DueRow(poison, row.strikes))
    enrollment, _ = await rows_of(hub, poison)
    assert enrollment.health == "degraded"
    assert "did not finish refresh" in (enrollment.health_reason or "")
    assert (await due_of(hub, poison)).due_at - clock.at <= 900
    assert await well_and_not(hub) == {"well": OTHERS, "degraded": 1}


@pytest.mark.timeout(180)
async def test_a_row_that_kills_its_worker_five_times(
    hub: Hub, vendor: StrictVendor, settings: Settings, enroll: Enroll, account_id: str, database_kind: str
) -> None:
    if database_kind == "postgresql":
        pytest.skip("the same statements; SQLite is the quicker")
    poison = await enroll("poison")
    for number in range(OTHERS):
        await enroll(f"owner-{number}")
    await hub.store.apply((_DUE, {"at": 0}))
    killed, ahead_s = 0, 0.0
    while (await rows_of(hub, poison))[0].health != "quarantined":
        killed += await worker_ends(settings, ahead_s) == -9
        assert killed <= due.STRIKES
        ahead_s += 1000.0  # beyond every postponement
        await asyncio.sleep(1.0)  # beyond its lease
    assert killed == due.STRIKES
    enrollment, _ = await rows_of(hub, poison)
    assert (enrollment.health, (await due_of(hub, poison)).due_at) == ("quarantined", leases.NEVER)
    assert "took its worker down" in (enrollment.health_reason or "")
    assert await well_and_not(hub) == {"well": OTHERS, "quarantined": 1}
    assert await released(hub, account_id, poison) in WELL


async def worker_ends(settings: Settings, ahead_s: float) -> int:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, str(WORKER), settings.database_url, settings.key_file, str(ahead_s)),
        env={**os.environ, "PYTHONPATH": str(WORKER.parent.parent)},
    )
    return await process.wait()


async def test_a_lease_that_a_live_worker_renewed_is_no_strike(hub: Hub, enroll: Enroll) -> None:
    enrollment_id = await enroll("ada")
    async with hub.store.write() as session:
        lease = await leases.take(session, "refresh", enrollment_id, 60)
    await due._bury(hub, "refresh", due.DueRow(enrollment_id, 0, lease))
    row = await due_of(hub, enrollment_id)
    assert (row.lease, row.strikes) == (lease, 0)
    await move_due(hub, enrollment_id, 0)
    assert await RENEWALS._next(hub, row.app, 0) == []
