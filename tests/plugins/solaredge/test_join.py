"""Ways into SolarEdge: the owner's consent with either echo, a fleet's key, and V1 that is gone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from joinder import DeviceKind, ReadingsQuery, Secrets
from joinder.errors import AuthorizationLost, ConsentInvalid, OperatorActionNeeded, RateLimited, VendorError
from joinder.testing.flow import whole_flow
from joinder.testing.subject import Subject, standing
from joinder_solaredge.simulator import APP, FIRST, FLEET, LEGACY, SECOND, Cloud, simulator


def subject(cloud: Cloud | None = None, app: Mapping[str, str] = APP) -> Subject:
    found = Subject.installed("solaredge")
    found.make_simulator = lambda: simulator(cloud or Cloud(), app)
    return found


@pytest.mark.parametrize("echo", ["state", "external_id"])
async def test_the_state_comes_back_under_either_name(echo: str) -> None:
    async with standing(subject(Cloud(echo=echo))) as stand:
        assert (await stand.consent()).grant.site_ids == (str(FIRST.id),)


async def test_the_owner_chooses_the_site() -> None:
    async with standing(subject()) as stand:
        grant = (await stand.consent(await stand.callback(owner="two-sites"))).grant
        site = await stand.registry.fetch_site("solaredge", stand.context(), grant, grant.site_ids[0])
        assert (site.name, site.timezone) == (SECOND.name, "America/Chicago")


@pytest.mark.parametrize("site_id", ["", "1000002", "../sites", "7"])
async def test_a_site_that_is_not_the_owners_is_no_consent(site_id: str) -> None:
    async with standing(subject()) as stand:
        callback = await stand.callback()
        values = Secrets({**callback.values, "site_id": site_id})
        with pytest.raises(ConsentInvalid, match="site"):
            await stand.registry.handle_callback("solaredge", stand.context(), replace(callback, values=values))


async def test_a_bad_code_in_solaredges_own_words() -> None:
    async with standing(subject()) as stand:
        callback = await stand.callback()
        await stand.fault("answer", status=400, body='{"error": "Error", "error_description": "Invalid code"}')
        with pytest.raises(ConsentInvalid):
            await stand.registry.handle_callback("solaredge", stand.context(), callback)


async def test_an_old_refresh_token_is_dead_at_once() -> None:
    async with standing(subject()) as stand:
        grant = (await stand.consent()).grant
        assert grant.refresh_expires_at == stand.clock.now() + timedelta(days=30)
        await stand.registry.refresh("solaredge", stand.context(), grant)
        with pytest.raises(AuthorizationLost):
            await stand.registry.refresh("solaredge", stand.context(), grant)


async def test_a_fleets_key_opens_every_site_and_needs_no_refresh() -> None:
    async with standing(subject(app=FLEET)) as stand:
        grant = (await stand.consent()).grant
        assert grant.site_ids == (str(FIRST.id), str(SECOND.id))
        assert await stand.registry.refresh("solaredge", stand.context(), grant) == grant
        cabin = await stand.registry.fetch_site("solaredge", stand.context(), grant, str(SECOND.id))
        assert {device.kind for device in cabin.devices} == {DeviceKind.INVERTER, DeviceKind.METER}


async def test_a_poll_of_a_whole_site_costs_six_credits_for_a_day() -> None:
    async with standing(subject()) as stand:
        seen = await whole_flow(stand)
        assert len(seen.quarters.intervals) == 96
        before = sum((await stand.state())["calls"].values())
        await stand.registry.fetch_readings("solaredge", stand.context(), seen.grants[-1], seen.quarters_of)
        assert sum((await stand.state())["calls"].values()) - before == 6


async def test_a_plan_without_storage_still_reads_the_rest() -> None:
    async with standing(subject(Cloud(plan_lacks=("/storage",)))) as stand:
        seen_grant = (await stand.consent()).grant
        site = await stand.registry.fetch_site("solaredge", stand.context(), seen_grant, seen_grant.site_ids[0])
        end = datetime(2026, 10, 28, 11, tzinfo=UTC)
        query = ReadingsQuery(site=site, start=end - timedelta(hours=2), end=end)
        found = await stand.registry.fetch_readings("solaredge", stand.context(), seen_grant, query)
        assert [(row.charge_wh, row.load_wh) for row in found.intervals] == [(None, None)] * 8
        assert all(row.solar_wh is not None for row in found.intervals)
        assert len(found.warnings) == 1
        assert found.warnings[0].startswith("Storage/telemetry")


async def test_the_months_credits_end_a_poll() -> None:
    async with standing(subject(Cloud(credits=4))) as stand:
        with pytest.raises(RateLimited, match="monthly credits"):
            await whole_flow(stand)


async def test_one_device_alone() -> None:
    async with standing(subject()) as stand:
        grant = (await stand.consent()).grant
        site = await stand.registry.fetch_site("solaredge", stand.context(), grant, grant.site_ids[0])
        end = datetime(2026, 10, 28, 11, tzinfo=UTC)
        for device in site.devices:
            query = ReadingsQuery(
                site=site, start=end - timedelta(hours=1), end=end, device_id=device.vendor_id, live=True
            )
            found = await stand.registry.fetch_readings("solaredge", stand.context(), grant, query)
            assert len(found.intervals) == 4
            assert found.live is None


async def test_v1_is_gone() -> None:
    async with standing(subject(app=LEGACY)) as stand:
        with pytest.raises(OperatorActionNeeded, match="retired"):
            await stand.consent()


async def test_v1_where_it_still_answers() -> None:
    async with standing(subject(Cloud(legacy=True), LEGACY)) as stand:
        grant = (await stand.consent()).grant
        site = await stand.registry.fetch_site("solaredge", stand.context(), grant, grant.site_ids[0])
        start = datetime(2026, 10, 24, 22, tzinfo=UTC)  # Rome, the day of 25 hours
        query = ReadingsQuery(site=site, start=start, end=start + timedelta(hours=25))
        found = await stand.registry.fetch_readings("solaredge", stand.context(), grant, query)
        truth = FIRST.home.energy(start.timestamp(), start.timestamp() + 25 * 3600).solar_wh
        assert len(found.intervals) == 100
        assert sum(row.solar_wh or 0 for row in found.intervals) == pytest.approx(truth, abs=1)


async def test_the_key_of_v1_stands_in_no_error() -> None:
    async with standing(subject(Cloud(legacy=True), LEGACY)) as stand:
        grant = (await stand.consent()).grant
        for fault in ({"fault": "5xx"}, {"fault": "html"}, {"fault": "answer", "status": 400}, {"fault": "lost"}):
            await stand.heal()
            await stand.fault(**fault)  # type: ignore[arg-type]
            with pytest.raises(VendorError) as caught:
                await stand.registry.fetch_site("solaredge", stand.context(), grant, grant.site_ids[0])
            assert LEGACY["apiKey"] not in f"{caught.value!r}{caught.value}{caught.value.detail}"
        assert LEGACY["apiKey"] not in "\n".join(stand.told)
