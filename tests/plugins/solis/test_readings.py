"""Sites and readings through the registry, against the simulated homes, whose power always adds up."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from joinder import Grant, Readings, Site
from joinder.errors import AuthorizationLost, RateLimited, TransientError, VendorError
from joinder_solis.simulator import HOME, OLDER, TWO, Plant

NOON = datetime(2026, 6, 15, 12, tzinfo=UTC)
R0000 = json.dumps({"success": True, "code": "R0000", "msg": "No authority", "data": None})


async def home(stand: Any, index: int = 0) -> tuple[Grant, Site]:
    stand.cloud.clock.freeze(NOON.timestamp())
    grant = (await stand.consent(TWO)).grant
    return grant, await stand.site(grant, index)


async def last_day(stand: Any, grant: Grant, site: Site) -> Readings:
    return await stand.readings(grant, site, NOON - timedelta(days=1), NOON, live=True)


@pytest.mark.parametrize(("index", "plant"), [(0, HOME), (1, OLDER)])
async def test_quarter_hours_are_the_homes(stand: Any, index: int, plant: Plant) -> None:
    """With signed and with unsigned battery power."""
    grant, site = await home(stand, index)
    readings = await last_day(stand, grant, site)
    assert len(readings.intervals) == 96
    for reading in readings.intervals:
        energy = plant.home.energy(reading.start.timestamp(), reading.end.timestamp())
        for metric in ("solar_wh", "charge_wh", "discharge_wh", "import_wh", "export_wh", "load_wh"):
            assert getattr(reading, metric) == pytest.approx(getattr(energy, metric), abs=0.01)
    assert any(reading.discharge_wh for reading in readings.intervals)
    assert any(reading.charge_wh for reading in readings.intervals)


@pytest.mark.parametrize(("index", "plant"), [(0, HOME), (1, OLDER)])
@pytest.mark.parametrize("hour", [3, 9, 12, 19, 22])
async def test_live_power_is_the_homes(stand: Any, index: int, plant: Plant, hour: int) -> None:
    grant, site = await home(stand, index)
    at = NOON.replace(hour=hour)
    stand.cloud.clock.freeze(at.timestamp())
    live = (await stand.readings(grant, site, at, at, live=True)).live
    power = plant.home.power(at.timestamp())
    assert live is not None
    assert (live.solar_w, live.battery_w, live.grid_w, live.load_w) == (
        *(pytest.approx(power.solar_w), pytest.approx(power.battery_w)),
        *(pytest.approx(power.grid_w), pytest.approx(power.load_w)),
    )


async def test_calls_of_a_poll(stand: Any) -> None:
    grant, site = await home(stand)
    stand.cloud.calls.clear()
    await stand.readings(grant, site, NOON - timedelta(hours=1), NOON, live=True)
    assert dict(stand.cloud.calls) == {"stationDetail": 1, "stationDay": 1}


async def test_the_longest_windows_end_before_their_hook(stand: Any) -> None:
    """Five calls at most; each ends after 17 s, the registry gives the hook 90 s."""
    grant, site = await home(stand)
    for start, days, resolution in (
        (datetime(2026, 1, 10, 23, tzinfo=UTC), 2, "15mins"),
        (datetime(2026, 1, 30, 23, tzinfo=UTC), 62, "day"),
    ):
        stand.cloud.calls.clear()
        await stand.readings(grant, site, start, start + timedelta(days=days), resolution=resolution, live=True)
        assert sum(stand.cloud.calls.values()) == 5


async def test_quarter_hours_outlive_live_power(stand: Any) -> None:
    grant, site = await home(stand)
    await stand.fault("5xx", "stationDetail")
    readings = await last_day(stand, grant, site)
    assert (len(readings.intervals), readings.live, len(readings.warnings)) == (96, None, 1)
    with pytest.raises(TransientError):
        await stand.readings(grant, site, NOON, NOON, live=True)


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"fault": "answer", "status": 200, "body": R0000}, AuthorizationLost),
        ({"fault": "answer", "status": 403, "body": "<html>"}, AuthorizationLost),
        ({"fault": "429"}, RateLimited),
        ({"fault": "cut"}, TransientError),
    ],
)
async def test_quarter_hours_that_fail_are_a_failure(
    stand: Any, settings: dict[str, object], expected: type[VendorError]
) -> None:
    grant, site = await home(stand)
    await stand.fault(endpoint="stationDay", **settings)
    with pytest.raises(expected):
        await last_day(stand, grant, site)


async def test_a_key_without_export_managers_still_opens_its_plant(stand: Any) -> None:
    await stand.fault("answer", "epmList", status=200, body=R0000)
    _, site = await home(stand)
    assert [device.kind for device in site.devices] == ["inverter", "battery", "meter"]


async def test_an_export_manager_list_that_fails_is_asked_again(stand: Any) -> None:
    await stand.fault("5xx", "epmList")
    with pytest.raises(TransientError):
        await home(stand)


@pytest.mark.parametrize(
    "data",
    [
        [],
        None,
        [{}],
        [None, 3, "x"],
        [{"time": 1781524800000}],
        [{"time": "NaN", "power": 1, "powerStr": "kW"}],
        [{"time": 1781524800000, "power": "NaN", "powerStr": "kW", "psum": [], "batteryPower": {}}],
        [{"time": 1781524800000, "power": 5, "powerStr": "horse", "powerPec": None}],
        [{"time": 10**30, "power": -5, "powerStr": "kW", "powerPec": -1}],
    ],
)
async def test_nonsense_rows_are_no_readings(stand: Any, data: object) -> None:
    grant, site = await home(stand)
    body = json.dumps({"success": True, "code": "0", "msg": "success", "data": data})
    await stand.fault("answer", "stationDay", status=200, body=body)
    assert (await last_day(stand, grant, site)).intervals == ()


@pytest.mark.parametrize("data", [{}, "x", 7])
async def test_an_answer_of_another_kind_is_named(stand: Any, data: object) -> None:
    grant, site = await home(stand)
    await stand.fault("answer", "stationDay", status=200, body=json.dumps({"code": "0", "data": data}))
    with pytest.raises(VendorError, match="no list"):
        await last_day(stand, grant, site)


async def test_calls_beyond_the_vendors_pace_are_a_rate_limit(open_stand: Any) -> None:
    """The clock stands still, so the third day call comes within the same second."""
    async with open_stand(per_second=2) as stand:
        grant, site = await home(stand)
        with pytest.raises(RateLimited):
            await stand.readings(grant, site, NOON - timedelta(days=2), NOON)
