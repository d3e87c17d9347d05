"""Site and readings from the simulator: figures, clocks, faults, refusals."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import httpx
import pytest

from joinder import Counter, DeviceKind, MeterRole, Readings
from joinder.errors import AuthorizationLost, DeviceUnreachable, TransientError, UnexpectedPayload, VendorError
from joinder_iq_gateway.simulator import SERIAL, SHARES, TIMEZONE
from plugins.iqgateway.gateway import MIDNIGHT, NOON, bench


def total(readings: Readings) -> Counter:
    (counter,) = [counter for counter in readings.counters if counter.device_id is None]
    return counter


async def test_site_names_every_device() -> None:
    async with bench() as one:
        site = await one.site((await one.join()).grant)
    kinds = [device.kind for device in site.devices]
    assert (site.vendor_id, site.name, site.timezone) == (f"iqgw:{SERIAL}", f"IQ Gateway {SERIAL}", TIMEZONE)
    assert kinds.count(DeviceKind.INVERTER) == len(SHARES)
    assert kinds.count(DeviceKind.BATTERY) == 2
    roles = {device.role for device in site.devices if device.kind is DeviceKind.METER}
    assert roles == {MeterRole.PRODUCTION, MeterRole.GRID, MeterRole.STORAGE}
    assert {device.model for device in site.devices if device.kind is DeviceKind.INVERTER} == {"800-01736-r02"}


async def test_live_power_is_the_homes() -> None:
    async with bench() as one:
        live = (await one.readings((await one.join()).grant)).live
        home = one.box.home.power(NOON)
    assert live is not None
    figures = (live.solar_w, live.battery_w, live.grid_w, live.load_w)
    assert figures == (home.solar_w, home.battery_w, home.grid_w, home.load_w)
    assert live.soc_percent == round(home.soc_percent)
    assert live.measured_at == datetime.fromtimestamp(NOON, UTC)


async def test_no_live_power_unless_asked() -> None:
    async with bench() as one:
        assert (await one.readings((await one.join()).grant, live=False)).live is None


async def test_counters_follow_the_clock() -> None:
    async with bench() as one:
        grant = (await one.join()).grant
        first = await one.readings(grant)
        one.simulator.clock.freeze(NOON + 900)
        second = await one.readings(grant)
        energy = one.box.home.energy(NOON, NOON + 900)
    before, after = total(first), total(second)
    assert after.at - before.at == timedelta(minutes=15)
    for name in ("solar_wh", "import_wh", "export_wh", "charge_wh", "discharge_wh", "load_wh"):
        difference = getattr(after, name) - getattr(before, name)
        assert difference == pytest.approx(getattr(energy, name), abs=0.01)
    inverters = [counter for counter in second.counters if counter.device_id]
    assert len(inverters) == len(SHARES)
    assert all(counter.solar_wh for counter in inverters)


async def test_night_has_zero_power_and_full_counters() -> None:
    async with bench(MIDNIGHT) as one:
        readings = await one.readings((await one.join()).grant)
    assert readings.live is not None
    assert readings.live.solar_w == 0.0
    assert (total(readings).solar_wh or 0) > 0
    assert readings.warnings == ()


async def test_one_failing_page_is_a_warning() -> None:
    async with bench() as one:
        grant = (await one.join()).grant
        for fault in ("5xx", "html", "cut", "lost"):
            await one.fault(fault, "/ivp/ensemble/power", times=1)
            readings = await one.readings(grant)
            (warning,) = readings.warnings
            assert "/ivp/ensemble/power" in warning
            assert readings.live is not None
            assert readings.live.solar_w
            batteries = [device for device in readings.devices if device.kind is DeviceKind.BATTERY]
            assert [device.power_w for device in batteries] == [None, None]


async def test_failing_battery_list_leaves_the_load_unknown() -> None:
    """A storage CT answers for the site; without the list there could be AC Batteries beside it, so no zero is put."""
    async with bench() as one:
        grant = (await one.join()).grant
        await one.fault("5xx", "/ivp/ensemble/inventory", times=1)
        readings = await one.readings(grant)
    assert readings.live is not None
    assert readings.live.battery_w is not None
    assert not [device for device in readings.devices if device.kind is DeviceKind.BATTERY]


async def test_failing_meters_never_fall_back_to_another_source() -> None:
    async with bench() as one:
        grant = (await one.join()).grant
        one.box.requests.clear()
        await one.fault("5xx", "/ivp/meters")
        readings = await one.readings(grant)
        assert "/api/v1/production" not in one.box.requests
        assert "/production.json" not in one.box.requests
    assert not [counter for counter in readings.counters if counter.device_id is None]
    assert readings.live is not None
    assert (readings.live.solar_w, readings.live.grid_w, readings.live.load_w) == (None, None, None)
    assert len([device for device in readings.devices if device.kind is DeviceKind.INVERTER]) == len(SHARES)


@pytest.mark.parametrize(("fault", "error"), [("5xx", TransientError), ("html", UnexpectedPayload)])
async def test_nothing_readable_raises_what_stopped_it(fault: str, error: type[VendorError]) -> None:
    async with bench() as one:
        grant = (await one.join()).grant
        await one.fault(fault)
        with pytest.raises(error):
            await one.readings(grant)


async def test_silent_box_is_unreachable() -> None:
    async with bench() as one:
        grant = (await one.join()).grant
        await one.fault("lost")
        with pytest.raises(DeviceUnreachable):
            await one.readings(grant)


async def test_slow_page_does_not_take_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("joinder_iq_gateway.api.QUICK_S", 0.3)
    async with bench() as one:
        grant = (await one.join()).grant
        one.box.home.lifetime(NOON)  # simulates half a year of days once
        await one.fault("slow", "/ivp/ensemble", seconds=1.0)
        readings = await one.readings(grant)
    assert readings.live is not None
    assert readings.live.solar_w
    assert len(readings.warnings) == 1


async def test_session_lost_in_between_is_opened_again(monkeypatch: pytest.MonkeyPatch) -> None:
    async with bench() as one:
        grant = (await one.join()).grant
        opens = one.box._token_opens
        refusals = iter([True, False])  # check_jwt passes, then one page is refused once
        monkeypatch.setattr(one.box, "_session_opens", lambda headers: False)
        monkeypatch.setattr(one.box, "_token_opens", lambda headers: next(refusals, True) and opens(headers))
        one.box.requests.clear()
        readings = await one.readings(grant)
        assert one.box.requests["/auth/check_jwt"] == 2
    assert readings.warnings == ()


async def test_page_closed_to_the_role_is_absent_not_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    """7.3.130 answers 401 to some pages while the token is good for the others."""
    async with bench() as one:
        grant = (await one.join()).grant
        answer = one.box._answer

        def closed(method: str, path: str, headers: dict[str, str]) -> tuple[int, bytes, dict[str, str]]:
            return (401, b"<html>401</html>", {}) if path == "/ivp/pdm/device_data" else answer(method, path, headers)

        monkeypatch.setattr(one.box, "_answer", closed)
        readings = await one.readings(grant)
        assert one.box.requests["/auth/check_jwt"] == 3  # join, cycle, and once for the closed page
    assert readings.warnings == ()
    assert len([device for device in readings.devices if device.kind is DeviceKind.INVERTER]) == len(SHARES)


async def test_expired_or_revoked_token_asks_the_owner() -> None:
    async with bench() as one:
        grant = (await one.join()).grant
        one.simulator.clock.freeze(NOON + 366 * 86400)
        with pytest.raises(AuthorizationLost, match="expired"):
            await one.readings(grant)
    async with bench() as one:
        grant = (await one.join()).grant
        one.box.serial = "122300000043"  # the box no longer accepts it
        with pytest.raises(AuthorizationLost, match="no longer accepted"):
            await one.readings(grant)


async def test_box_that_wants_the_cookie_gets_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Early 7.x answered 401 to a token alone."""
    async with bench() as one:
        grant = (await one.join()).grant
        answer, opens = one.box._answer, one.box._token_opens

        def only_at_the_door(method: str, path: str, headers: dict[str, str]) -> tuple[int, bytes, dict[str, str]]:
            at_door = path == "/auth/check_jwt"
            monkeypatch.setattr(one.box, "_token_opens", opens if at_door else lambda headers: False)
            return answer(method, path, headers)

        monkeypatch.setattr(one.box, "_answer", only_at_the_door)
        readings = await one.readings(grant)
    assert readings.warnings == ()
    assert readings.live is not None


async def test_nightly_stall_leaves_the_hanging_page_alone() -> None:
    async with bench(NOON + 11 * 3600) as one:  # 23:00 in Los Angeles
        grant = (await one.join()).grant
        readings = await one.readings(grant, timezone=TIMEZONE)
        assert "/ivp/pdm/device_data" not in one.box.requests
    assert readings.warnings == ()
    assert len([device for device in readings.devices if device.kind is DeviceKind.INVERTER]) == len(SHARES)


async def test_wrong_clock_is_told() -> None:
    async with bench() as one:
        grant = (await one.join()).grant
        late = datetime.fromtimestamp(NOON + 3600, UTC)
        one.ctx = replace(one.ctx, now=lambda: late)
        readings = await one.readings(grant)
    assert any("60 min off" in warning for warning in readings.warnings)
    assert total(readings).at == datetime.fromtimestamp(NOON, UTC)


async def test_only_get_and_only_known_pages() -> None:
    async with bench() as one:
        grant = (await one.join()).grant
        await one.site(grant)
        await one.readings(grant)
        async with httpx.AsyncClient(verify=False) as client:  # noqa: S501 - our own simulator's certificate
            state = (await client.get(f"{one.origin}/_state")).json()
        known = {"/info", "/auth/check_jwt", "/home", "/inventory.json", "/ivp/meters", "/ivp/meters/readings"}
        known |= {"/ivp/pdm/device_data", "/ivp/ensemble/inventory", "/ivp/ensemble/power"}
        assert set(state["requests"]) == known
        assert state["with_token"] == sum(state["requests"].values()) - state["requests"]["/info"]
