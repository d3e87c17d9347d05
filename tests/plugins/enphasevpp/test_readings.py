"""The calls a reading of Grid Services costs, its list of sites, and what becomes of it without an enrolment."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from joinder import MeterRole
from joinder.errors import ApprovalPending
from joinder_enphase_vpp.simulator_cloud import SITES
from joinder_enphase_vpp.simulator_sites import SimulatedSite

NOON = datetime(2026, 11, 20, 20, 0, tzinfo=UTC)  # 12:00 in US/Pacific
QUARTER = timedelta(minutes=15)
SITE = SITES["grants"].system_id


async def test_a_site_is_found_on_any_page_of_a_long_list(open_stand: Any) -> None:
    for offset in (-100_000_000, 0, 178_500):
        async with open_stand(neighbours=350) as stand:
            stand.cloud._neighbours = [replaced(site, offset) for site in stand.cloud._neighbours]
            grant = await stand.approved()
            before = (await stand.state())["calls"].get("GET systems/search/{program_id}", 0)
            assert (await stand.site(grant)).vendor_id == str(SITE)
            assert (await stand.state())["calls"]["GET systems/search/{program_id}"] - before <= 3


def replaced(site: SimulatedSite, offset: int) -> SimulatedSite:
    return SimulatedSite(system_id=site.system_id + offset, name=site.name)


async def test_a_week_is_four_calls(stand: Any) -> None:
    stand.freeze(NOON)
    grant, site = await stand.home()
    before = await stand.calls()
    found = await stand.readings(grant, site, NOON - timedelta(days=7), NOON)
    assert len(found.intervals) == 7 * 96
    assert await stand.calls() - before == 4


async def test_a_total_meter_shows_the_load(stand: Any) -> None:
    stand.freeze(NOON)
    grant, site = await stand.home("auto-approved")
    assert [device.role for device in site.devices if device.role] == [MeterRole.PRODUCTION, MeterRole.LOAD]
    found = await stand.readings(grant, site, NOON - timedelta(hours=1), NOON, live=True)
    home = SITES["auto-approved"].home
    power = home.power(NOON.timestamp())
    assert (found.live.grid_w, found.live.load_w) == (power.grid_w, power.load_w)
    first = home.energy(NOON.timestamp() - 3600, NOON.timestamp() - 2700)
    assert found.intervals[0].load_wh == pytest.approx(first.load_wh, abs=1)
    days = await stand.readings(grant, site, NOON - timedelta(hours=36), NOON - timedelta(hours=12), resolution="day")
    whole = home.energy(NOON.timestamp() - 36 * 3600, NOON.timestamp() - 12 * 3600)
    assert days.intervals[0].load_wh == pytest.approx(whole.load_wh, abs=1)


async def test_the_batterys_answer_is_read_once(stand: Any) -> None:
    stand.freeze(NOON)
    grant, site = await stand.home()
    before = (await stand.state())["calls"]
    found = await stand.readings(grant, site, NOON - timedelta(hours=1), NOON, live=True)
    assert found.live.soc_percent == stand.truth.power(NOON.timestamp() - 1).soc_percent
    after = (await stand.state())["calls"]
    assert after["GET systems/{id}/telemetry/battery"] == 1
    assert sum(after.values()) - sum(before.values()) == 5


async def test_not_enrolled_among_the_reads_is_asked_about_once(stand: Any) -> None:
    stand.freeze(NOON)
    grant, site = await stand.home()
    stand.cloud.applications[SITE].steps = ("Site_Submitted",)
    before = (await stand.state())["calls"]
    with pytest.raises(ApprovalPending):
        await stand.readings(grant, site, NOON - QUARTER, NOON, live=True)
    after = (await stand.state())["calls"]
    assert sum(after.values()) - sum(before.values()) == 2  # one read, and the application


async def test_many_reads_at_once_share_one_machine_token(stand: Any) -> None:
    stand.freeze(NOON)
    grant, site = await stand.home()
    found = await asyncio.gather(*(stand.readings(grant, site, NOON - timedelta(days=1), NOON) for _ in range(20)))
    assert all(len(readings.intervals) == 96 for readings in found)
    assert (await stand.state())["machine_tokens"] == 1
