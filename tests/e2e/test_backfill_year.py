"""A year of twenty sites through a plugin's simulator over HTTP: refused calls, spent quotas, a restart in the middle.

Prints its figures with `pytest -s`. Time moves only where somebody waits for it.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections import Counter
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any, ClassVar

import msgspec
import pytest
from sqlalchemy import text

import joinder_enphase
from joinder import clock
from joinder.runtime.hub import Hub, open_hub
from joinder.services.join import vendor_credentials
from joinder.services.readings import backfill, history
from joinder.services.readings.backfill_steps import work_one
from joinder.services.records import accounts
from joinder.settings import Settings
from joinder.simulate.home import SLOT_S, Home
from joinder.simulate.run import reroute_of, running
from joinder.store.key_file import create_key_file
from joinder.store.tables import Enrollment
from joinder.vendor import History
from joinder_enphase import simulator as enphase
from joinder_enphase.simulator_systems import QUARTER_S, SimulatedSystem

pytestmark = pytest.mark.proof

SITES, DAYS, PER_MINUTE = 20, 365, 100
QUARTER_DAYS = int(os.environ.get("JOINDER_TEST_QUARTER_DAYS", "21"))  # 365: some minutes
_HOME = Home(seed=1, timezone="US/Pacific", battery_wh=0)


class Twin(SimulatedSystem):
    """All of them have the same sun: what is measured is the hub, not the simulator."""

    @property
    def home(self) -> Home:  # type: ignore[override]
        return _HOME


def sun_wh(first: int, last: int) -> float:
    """What the vendor has from the quarter hour `first` to `last`."""
    return sum(_HOME.power(at).solar_w * SLOT_S / 3600 for at in range(first, last + QUARTER_S, SLOT_S))


class MovedTime:
    """Stands in for `joinder.clock.civil_time`."""

    offset_s: ClassVar[float] = 0.0

    @classmethod
    def time(cls) -> float:
        return time.time() + cls.offset_s


@dataclass
class Counted:
    """Requests as they arrive at the vendor, by the minute of its clock; the next `refusing` of them get a 429."""

    app: Any
    cloud: enphase.Cloud
    by_minute: Counter[int]
    refusing: int = 0
    refused: int = 0

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http" and scope["path"].startswith("/api/"):
            self.by_minute[int(self.cloud.clock.time()) // 60] += 1
            if self.refusing:
                self.refusing, self.refused = self.refusing - 1, self.refused + 1
                headers = [(b"retry-after", b"30"), (b"content-length", b"2")]
                await send({"type": "http.response.start", "status": 429, "headers": headers})
                await send({"type": "http.response.body", "body": b"{}"})
                return

        async def noting(message: Any) -> None:
            if message["type"] == "http.response.start" and message["status"] == 429:
                self.refused += 1
            await send(message)

        await self.app(scope, receive, noting)


@pytest.fixture
def moved(monkeypatch: pytest.MonkeyPatch) -> type[MovedTime]:
    MovedTime.offset_s = 0.0
    monkeypatch.setattr("joinder.clock.civil_time", MovedTime.time)
    return MovedTime


@pytest.fixture
def fleet(monkeypatch: pytest.MonkeyPatch) -> None:
    """An installer with twenty systems that are a year old, on a plan of so many calls a minute."""
    installed = datetime.now(UTC).date() - timedelta(days=DAYS)
    twins = tuple(_twin(number, installed) for number in range(SITES))
    monkeypatch.setitem(enphase.OWNERS, enphase.PARTNER_APP["username"], twins)  # type: ignore[arg-type]
    for twin in twins:
        monkeypatch.setitem(enphase.SYSTEMS, str(twin.system_id), twin)
    vendor = joinder_enphase.VENDOR
    kept = (
        History(resolution="15mins", window=timedelta(days=7), reach=timedelta(days=QUARTER_DAYS)),
        History(resolution="day", window=timedelta(days=31)),
    )
    limits = msgspec.structs.replace(vendor.limits, calls_per_minute=PER_MINUTE, calls_per_month=None, history=kept)
    monkeypatch.setattr(joinder_enphase, "VENDOR", msgspec.structs.replace(vendor, limits=limits))


def _twin(number: int, installed: date) -> Twin:
    return Twin(
        system_id=4_900_000 + number,
        name=f"Twin {number}",
        battery_wh=0,
        config_type="Total",
        micros=1,
        installed=installed,
    )


REFUSED = 3


async def test_a_year_of_twenty_sites(tmp_path: Path, fleet: None, moved: type[MovedTime]) -> None:
    create_key_file(tmp_path / "key")
    cloud = enphase.Cloud(per_minute=PER_MINUTE)
    simulated = enphase.simulator(cloud)
    counted = Counted(simulated.app, cloud, Counter())
    simulated = replace(simulated, app=counted)
    begun = time.monotonic()
    async with running([simulated]) as origins:
        settings = Settings(
            database_url=f"sqlite:///{tmp_path}/joinder.sqlite3",
            key_file=str(tmp_path / "key"),
            reroute=reroute_of([simulated], origins),
        )
        async with open_hub(settings) as hub:
            account = await accounts.create_account(hub, "test")
            given = dict(enphase.PARTNER_APP)
            await vendor_credentials.create(hub, account.id, "test", name=None, credentials=given)
            (row,) = await hub.store.rows("SELECT id FROM enrollment", {})
            enrollment_id = str(row[0])
            job, _ = await backfill.start(hub, account.id, "test", enrollment_id)
            await _until(hub, account.id, job.id, moved, cloud, percent=10)
            counted.refusing = REFUSED
            await _until(hub, account.id, job.id, moved, cloud, percent=40)
            task = asyncio.create_task(work_one(hub, enrollment_id))
            await asyncio.sleep(0.05)
            task.cancel()  # in the middle of a window
            with contextlib.suppress(asyncio.CancelledError):
                await task
        async with open_hub(settings) as hub:
            waits = await _until(hub, account.id, job.id, moved, cloud, percent=100)
            progress = await backfill.get(hub, account.id, job.id)
            assert progress.job.status == "done"
            await _assert_whole(hub, enrollment_id, job.id)
            (found,) = await hub.store.rows("SELECT count(*) FROM interval", {})
            (spans,) = await hub.store.rows("SELECT count(*) FROM coverage", {})
    over = sum(max(0, count - PER_MINUTE) for count in counted.by_minute.values())
    calls = sum(counted.by_minute.values())
    print(
        f"\n{SITES} sites, {DAYS} days ({QUARTER_DAYS} in quarter hours): "
        f"{progress.job.windows_done} windows, {calls} calls, "
        f"{found[0]} rows, {spans[0]} coverage rows; {counted.refused} calls refused, {over} beyond the quota, "
        f"{waits} waits after the restart, busiest minute {max(counted.by_minute.values())} of {PER_MINUTE}; "
        f"{time.monotonic() - begun:.1f} s"
    )
    assert counted.refused == REFUSED, "the vendor never had to refuse a call itself"
    assert over == 0


async def _until(
    hub: Hub, account_id: str, job_id: str, moved: type[MovedTime], cloud: enphase.Cloud, *, percent: float
) -> int:
    """Works as the worker does; where it waits, time goes on."""
    waits = 0
    for _ in range(2000):
        progress = await backfill.get(hub, account_id, job_id)
        if progress.job.status != "running" or progress.percent >= percent:
            return waits
        wait_s = await backfill.due_at(hub, progress.job.enrollment_id) - clock.now()
        if wait_s > 0:
            waits += 1
            moved.offset_s += wait_s
            cloud.clock.shift(moved.offset_s)
        await work_one(hub, progress.job.enrollment_id)
    raise AssertionError("it does not end")


async def _assert_whole(hub: Hub, enrollment_id: str, job_id: str) -> None:
    """Every quarter hour and every day of every site, once, as the vendor has it."""
    async with hub.store.read() as session:
        enrollment = await session.get(Enrollment, enrollment_id)
        job = await session.get(history.Backfill, job_id)
        assert enrollment is not None
        assert job is not None
        by_site = (
            await session.execute(
                text(
                    "SELECT subject_id, resolution, count(*), count(DISTINCT start), min(start), max(start), "
                    "sum(solar_wh) FROM interval WHERE subject_id IN (SELECT id FROM site) "
                    "GROUP BY subject_id, resolution"
                )
            )
        ).all()
    sites = await history.sites_of(hub, enrollment, ask=False)
    left = await history.missing(hub, job, hub.registry.vendor("enphase").limits, sites)
    assert left == []
    assert len(by_site) == 2 * SITES
    for _, resolution, rows, starts, first, last, solar_wh in by_site:
        assert rows == starts
        if resolution == "15mins":
            assert rows == (last - first) // QUARTER_S + 1
            assert solar_wh == pytest.approx(sun_wh(first, last), rel=1e-3)  # the vendor rounds each row
            assert last - first > (QUARTER_DAYS - 2) * 86400
        else:
            assert DAYS - 1 <= rows <= DAYS + 1
