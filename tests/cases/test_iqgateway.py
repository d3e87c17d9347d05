"""Kinds of wrong figures that IQ Gateways have given, each from inputs written for this test."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from joinder import DeviceKind
from joinder.physics import NO_LOAD
from joinder_iq_gateway import mapping
from joinder_iq_gateway.cts import NOT_INSTALLED, STARTED, STOPPED, UNKNOWN_KIND
from joinder_iq_gateway.simulator import ODDITIES, OTHER_LIFETIME_WH
from plugins.iqgateway.gateway import MIDNIGHT, NOON, bench
from plugins.iqgateway.pages import (
    AT,
    NET,
    PRODUCTION,
    PV3P,
    STORAGE,
    TOTAL,
    ct,
    cts,
    meter,
    powers,
    read,
    site,
    source_of,
)

EVSE, STRANGE = 704644864, 704699999


def inverters(count: int, watts: float, peak: float = 300, *, age_s: int = 300) -> list[dict[str, object]]:
    return [
        {
            "serialNumber": f"12230000{index:04}",
            "lastReportDate": AT - age_s,
            "devType": 1,
            "lastReportWatts": watts,
            "maxReportWatts": peak,
        }
        for index in range(count)
    ]


def summed(watts: float, wh: float, *, active: int = 12) -> dict[str, object]:
    entry = {"type": "inverters", "activeCount": active, "readingTime": AT - 300, "wNow": watts, "whLifetime": wh}
    return {"production": [entry]}


def batteries(*powers_w: float | None, silent: int | None = None, soc: float = 50) -> dict[str, object]:
    """Pages of IQ Batteries; None: the power page leaves that one out."""
    units = [
        {
            "serial_num": f"b{index}",
            "encharge_capacity": 5000,
            "percentFull": soc,
            "communicating": index != silent,
            "last_rpt_date": AT - 60,
        }
        for index in range(len(powers_w))
    ]
    told = [
        {"serial_num": f"b{index}", "real_power_mw": watts * 1000, "soc": soc}
        for index, watts in enumerate(powers_w)
        if watts is not None
    ]
    groups = [{"type": "ENCHARGE", "devices": units}]
    return {"/ivp/ensemble/inventory": groups, "/ivp/ensemble/power": {"devices:": told}}


def controller(**state: object) -> dict[str, object]:
    return {"/ivp/ensemble/inventory": [{"type": "ENPOWER", "devices": [{"serial_num": "c", **state}]}]}


class TestEveryPartOfTheBalance:
    async def test_another_makers_solar_power_counts_as_solar(self) -> None:
        found, _ = await read(
            cts(ct(PRODUCTION, 2100, 700_000, 3), ct(NET, -2600, 90_000, 400_000), ct(PV3P, 1400, 500_000, 8))
        )
        assert powers(found) == (3500, None, -2600, 900)
        assert (site(found).solar_wh, site(found).load_wh) == (1_200_000, 890_000)
        assert found.warnings == ()

    @pytest.mark.parametrize("third", [ct(PV3P, 0, 0, 0), ct(PV3P, -900, 10, 500_000)])
    async def test_solar_is_unknown_without_one_of_its_two_meters(self, third: dict[str, object]) -> None:
        found, _ = await read(cts(ct(PRODUCTION, 2100, 700_000, 3), ct(NET, -1600, 90_000, 400_000), third))
        assert powers(found) == (None, None, -1600, None)
        assert (site(found).solar_wh, site(found).load_wh) == (None, None)
        assert len(found.warnings) == 1

    async def test_a_combiners_unused_place_for_a_meter_is_no_part(self) -> None:
        never = ct(PV3P, 0, 0, 0) | {"timestamp": 0}
        found, _ = await read(cts(ct(PRODUCTION, 2100, 700_000, 3), ct(NET, -1600, 90_000, 400_000), never))
        assert powers(found) == (2100, None, -1600, 500)

    async def test_a_box_without_production_ct_adds_the_other_makers_meter(self) -> None:
        pages = cts(ct(PV3P, 500, 40_000, 2)) | {"/production.json": summed(700, 90_000)}
        found, _ = await read(pages)
        assert (powers(found)[0], site(found).solar_wh) == (1200, 130_000)
        assert found.warnings == ()

    @pytest.mark.parametrize("kind", ["", "hydro"])
    async def test_an_enabled_meter_of_an_unknown_kind_leaves_the_load_unknown(self, kind: str) -> None:
        pages = cts(ct(PRODUCTION, 2100, 700_000, 3), ct(NET, -1600, 90_000, 40_000), ct(STRANGE, 300, 1000, 0))
        pages["/ivp/meters"][2]["measurementType"] = kind  # type: ignore[index]
        found, _ = await read(pages)
        assert powers(found) == (2100, None, -1600, None)
        assert site(found).load_wh is None
        assert found.warnings == (UNKNOWN_KIND,)

    @pytest.mark.parametrize("kind", ["backfeed", "load", "evse"])
    async def test_meters_of_flows_inside_the_home_change_nothing(self, kind: str) -> None:
        pages = cts(ct(PRODUCTION, 2100, 700_000, 3), ct(NET, -1600, 90_000, 40_000), ct(EVSE, -7000, 0, 900))
        pages["/ivp/meters"][2]["measurementType"] = kind  # type: ignore[index]
        found, _ = await read(pages)
        assert powers(found) == (2100, None, -1600, 500)
        assert found.warnings == ()


class TestLoad:
    async def test_a_load_below_zero_is_unknown_and_said(self) -> None:
        """dlmcpaul/EnphaseCollector#44: a second inverter that no meter sees."""
        found, _ = await read(cts(ct(PRODUCTION, 1410, 700_000, 3), ct(NET, -1730, 90_000, 40_000)))
        assert powers(found) == (1410, None, -1730, None)
        assert site(found).load_wh == 750_000
        assert found.warnings == (NO_LOAD,)

    async def test_a_load_a_little_below_zero_is_noise(self) -> None:
        found, _ = await read(cts(ct(PRODUCTION, 4000, 700_000, 3), ct(NET, -4030, 90_000, 40_000)))
        assert powers(found)[3] == 0
        assert found.warnings == ()

    async def test_registers_that_leave_a_home_less_than_nothing_are_no_load(self) -> None:
        found, _ = await read(cts(ct(PRODUCTION, 900, 700_000, 3), ct(NET, 100, 90_000, 940_000)))
        assert powers(found)[3] == 1000
        assert (site(found).load_wh, site(found).export_wh) == (None, 940_000)
        assert found.warnings == (NO_LOAD,)

    async def test_a_total_meter_below_zero_gives_neither_load_nor_grid(self) -> None:
        found, _ = await read(cts(ct(PRODUCTION, 1410, 700_000, 3), ct(TOTAL, -310, 5_000, 90_000)))
        assert powers(found) == (1410, None, None, None)
        assert site(found).load_wh is None
        assert found.warnings == (NO_LOAD,)

    async def test_the_boxes_own_flag_of_a_negative_total_is_believed(self) -> None:
        pages = cts(ct(PRODUCTION, 1410, 700_000, 3), ct(NET, -1000, 90_000, 40_000))
        pages["/ivp/meters"] = [meter(PRODUCTION), meter(NET, flags=("negative-total-consumption",))]
        found, _ = await read(pages)
        assert powers(found) == (1410, None, -1000, None)
        assert found.warnings == (NO_LOAD,)

    async def test_a_total_made_of_a_reversed_ct_is_no_load(self) -> None:
        """Without the meters page: the box adds production and net itself."""
        entry = {"type": "eim", "activeCount": 1, "readingTime": AT}
        segments = {
            "production": [entry | {"measurementType": "production", "wNow": -2900, "whLifetime": 0.02}],
            "consumption": [
                entry | {"measurementType": "total-consumption", "wNow": -2500, "whLifetime": 800_000},
                entry | {"measurementType": "net-consumption", "wNow": 400, "whLifetime": 800_000},
            ],
        }
        found, _ = await read({"/production.json": segments})
        assert powers(found) == (None, None, 400, None)
        assert found.counters == ()


class TestWiring:
    @pytest.mark.parametrize(
        ("power_w", "flags", "status"),
        [
            (-5400, ("negative-production",), "check-wiring"),
            (-5400, (), "normal"),
            (-3, ("negative-production",), "normal"),
            (0.2, (), "check-wiring"),
            (-3, (), "normal"),  # at night only the registers tell
        ],
    )
    async def test_energy_of_a_reversed_ct_is_refused_with_its_power(
        self, power_w: float, flags: tuple[str, ...], status: str
    ) -> None:
        """home-assistant/core#101354"""
        pages = cts(ct(PRODUCTION, power_w, 0.02, 7_100_000), ct(NET, 700, 90_000, 40_000))
        pages["/ivp/meters"] = [meter(PRODUCTION, flags=flags) | {"meteringStatus": status}, meter(NET)]
        found, _ = await read(pages | {"/production.json": summed(5400, 7_200_000)})
        assert powers(found) == (None, None, 700, None)
        assert (site(found).solar_wh, site(found).load_wh, site(found).import_wh) == (None, None, 90_000)
        assert len(found.warnings) == 1

    @pytest.mark.parametrize("kind", [PRODUCTION, NET, STORAGE])
    @pytest.mark.parametrize("status", ["check-wiring", "not-metering"])
    async def test_a_meter_the_box_does_not_trust_gives_nothing(self, kind: int, status: str) -> None:
        pages = cts(ct(PRODUCTION, 900, 500_000, 0), ct(NET, 100, 90_000, 40_000), ct(STORAGE, 50, 9000, 9900))
        pages["/ivp/meters"] = [
            meter(one) | {"meteringStatus": status if one == kind else "normal"} for one in (PRODUCTION, NET, STORAGE)
        ]
        found, _ = await read(pages)
        assert powers(found)[(PRODUCTION, STORAGE, NET).index(kind)] is None
        assert (powers(found)[3], site(found).load_wh) == (None, None)
        assert len(found.warnings) == 1

    @pytest.mark.parametrize(("production", "expected"), [(ct(PRODUCTION, 0.4, 0.02, 0.01), 1300), (None, 1300)])
    async def test_an_enabled_ct_that_is_not_installed_gives_way_to_the_inverters(
        self, production: dict[str, object] | None, expected: float
    ) -> None:
        """home-assistant/core#127593; a box that shows it as plain zeros is no other."""
        pages = cts(production or ct(PRODUCTION, 0, 0, 0), ct(NET, 200, 90_000, 40_000))
        pages |= {"/api/v1/production/inverters": inverters(10, 130), "/production.json": summed(1300, 4_000_000)}
        found, asked = await read(pages)
        assert powers(found) == (expected, None, 200, expected + 200)
        assert site(found).solar_wh == 4_000_000
        assert NOT_INSTALLED in found.warnings
        assert "/api/v1/production" not in asked

    async def test_without_a_sum_over_inverters_a_missing_ct_leaves_solar_unknown(self) -> None:
        pages = cts(ct(PRODUCTION, 0.4, 0.02, 0.01)) | {"/api/v1/production/inverters": inverters(10, 130)}
        found, _ = await read(pages)
        assert (powers(found)[0], found.counters) == (None, ())
        assert NOT_INSTALLED in found.warnings

    async def test_a_ct_that_stops_while_inverters_generate_is_not_believed(self) -> None:
        pages = cts(ct(PRODUCTION, 1.2, 6_000_000, 900), ct(NET, 200, 90_000, 40_000))
        pages |= {"/api/v1/production/inverters": inverters(10, 130), "/production.json": summed(1300, 6_000_000)}
        found, _ = await read(pages)
        assert powers(found) == (None, None, 200, None)
        assert site(found).solar_wh is None
        assert STOPPED in found.warnings

    async def test_a_new_system_is_believed_from_its_first_hour(self) -> None:
        pages = cts(ct(PRODUCTION, 1280, 40, 0)) | {"/api/v1/production/inverters": inverters(10, 130)}
        found, _ = await read(pages)
        assert (powers(found)[0], site(found).solar_wh, found.warnings) == (1280, 40, ())

    async def test_dusk_makes_no_ct_suspect(self) -> None:
        pages = cts(ct(PRODUCTION, 4, 6_000_000, 900)) | {"/api/v1/production/inverters": inverters(10, 9)}
        found, _ = await read(pages)
        assert (powers(found)[0], found.warnings) == (4, ())

    async def test_a_grid_ct_that_never_moved_is_not_installed(self) -> None:
        found, _ = await read(cts(ct(PRODUCTION, 900, 5_000_000, 0), ct(NET, -4.9, 0, 1900)))
        assert powers(found) == (900, None, None, None)
        assert (site(found).import_wh, site(found).load_wh) == (None, None)
        assert found.warnings == (mapping.NET_NOT_INSTALLED,)


class TestPhasesAndTwins:
    @pytest.mark.parametrize("kind", [PRODUCTION, NET, STORAGE])
    @pytest.mark.parametrize("listed", [3, 2])
    async def test_a_sum_without_one_of_three_phases_is_unknown(self, kind: int, listed: int) -> None:
        alive = {"actEnergyDlvd": 20_000, "actEnergyRcvd": 300}
        dead = {"actEnergyDlvd": 0, "actEnergyRcvd": 0}
        short = ct(kind, 700, 40_000, 600, [alive, alive, dead][:listed])
        others = [ct(one, 100, 30_000, 200) for one in (PRODUCTION, NET, STORAGE) if one != kind]
        pages = cts(short, *others)
        pages["/ivp/meters"][0]["phaseCount"] = 3  # type: ignore[index]
        found, _ = await read(pages)
        assert powers(found)[(PRODUCTION, STORAGE, NET).index(kind)] is None
        assert (powers(found)[3], site(found).load_wh) == (None, None)
        assert len(found.warnings) == 1

    async def test_a_total_with_more_than_the_phases_listed_is_whole(self) -> None:
        alive, dead = {"actEnergyDlvd": 20_000, "actEnergyRcvd": 0}, {"actEnergyDlvd": 0, "actEnergyRcvd": 0}
        pages = cts(ct(PRODUCTION, 700, 61_000, 0, [alive, alive, dead]))
        pages["/ivp/meters"][0]["phaseCount"] = 3  # type: ignore[index]
        found, _ = await read(pages)
        assert powers(found)[0] == 700

    @pytest.mark.parametrize("second", [ct(7, -900, 4000, 6000), ct(7, 0, 0, 0), None])
    async def test_two_storage_cts_are_one_sum_or_none(self, second: dict[str, object] | None) -> None:
        pages = cts(ct(PRODUCTION, 3000, 500_000, 0), ct(NET, 200, 90_000, 40_000), ct(STORAGE, -1100, 5000, 7000))
        pages["/ivp/meters"].append(meter(7) | {"measurementType": "storage"})  # type: ignore[attr-defined]
        if second:
            pages["/ivp/meters/readings"].append(second)  # type: ignore[attr-defined]
        found, _ = await read(pages)
        is_whole = second is not None and second["activePower"] == -900
        assert powers(found) == ((3000, -2000, 200, 1200) if is_whole else (3000, None, 200, None))
        assert (site(found).charge_wh, site(found).discharge_wh) == ((13_000, 9000) if is_whole else (None, None))
        assert len(found.warnings) == (0 if is_whole else 1)

    async def test_power_and_charge_are_unknown_while_one_battery_is_silent(self) -> None:
        home = cts(ct(PRODUCTION, 3000, 500_000, 0), ct(NET, 200, 90_000, 40_000))
        for pages in (batteries(-800, -700, silent=1), batteries(-800, None)):
            found, _ = await read(home | pages)
            assert powers(found) == (3000, None, 200, None)
        found, _ = await read(home | batteries(-800, -700, silent=1))
        assert found.live is not None
        assert found.live.soc_percent is None
        assert found.warnings == (mapping.BATTERY_SILENT,)
        found, _ = await read(home | batteries(-800, -700))
        assert powers(found)[1] == -1500

    @pytest.mark.parametrize("soc", [-1, 255])
    async def test_a_charge_that_is_none_is_in_no_mean(self, soc: float) -> None:
        pages = batteries(-800, -700)
        pages["/ivp/ensemble/power"]["devices:"][1]["soc"] = soc  # type: ignore[index]
        found, _ = await read(cts(ct(PRODUCTION, 3000, 500_000, 0), ct(NET, 200, 90_000, 40_000)) | pages)
        assert found.live is not None
        assert found.live.soc_percent is None

    async def test_a_meter_listed_twice_counts_once(self) -> None:
        home = cts(ct(PRODUCTION, 3000, 500_000, 0), ct(NET, 200, 90_000, 40_000))
        once, _ = await read(home)
        twice, _ = await read(home | {"/ivp/meters": [*home["/ivp/meters"], *home["/ivp/meters"]]})  # type: ignore[misc]
        assert (powers(twice), site(twice)) == (powers(once), site(once))

    @pytest.mark.parametrize(("ct_w", "believed"), [(-1450, True), (1450, False), (2, False), (-4000, True)])
    async def test_a_storage_ct_against_its_batteries_is_not_believed(self, ct_w: float, believed: bool) -> None:
        home = cts(ct(PRODUCTION, 5000, 500_000, 0), ct(NET, 200, 90_000, 40_000), ct(STORAGE, ct_w, 5000, 7000))
        found, _ = await read(home | batteries(-800, -700))
        assert powers(found)[1] == (ct_w if believed else None)
        assert site(found).charge_wh == (7000 if believed else None)
        assert bool(found.warnings) == (ct_w != -1450)

    async def test_a_sum_over_inverters_says_when_some_are_silent_and_is_unknown_when_most_are(self) -> None:
        v1 = {"wattHoursToday": 900, "wattHoursSevenDays": 9000, "wattHoursLifetime": 90_000, "wattsNow": 1500}
        pages: dict[str, object] = {"/ivp/meters": [], "/api/v1/production": v1}
        for silent, solar_w in ((0, 1500), (2, 1500), (10, None)):
            quiet = [one | {"serialNumber": f"q{one['serialNumber']}"} for one in inverters(silent, 150, age_s=7200)]
            reports = [*inverters(10 - silent // 2, 150), *quiet]
            found, _ = await read(pages | {"/api/v1/production/inverters": reports})
            assert powers(found)[0] == solar_w
            assert bool(found.warnings) == bool(silent)


class TestTwoPages:
    @pytest.mark.parametrize(("ct_w", "warned"), [(1300, False), (2500, False), (3100, True), (400, True)])
    async def test_pages_that_differ_by_a_factor_are_told_and_named(self, ct_w: float, warned: bool) -> None:
        """Reports are up to 15 minutes old and a cloud does the same, so the figure stays."""
        pages = cts(ct(PRODUCTION, ct_w, 6_000_000, 900)) | {"/api/v1/production/inverters": inverters(10, 130)}
        found, _ = await read(pages)
        assert powers(found)[0] == ct_w
        assert len(found.warnings) == warned
        assert all("production meter" in text and "micro-inverters" in text for text in found.warnings)


class TestState:
    async def test_zeros_of_a_box_that_has_just_started_are_no_figure(self) -> None:
        """home-assistant/core#120091, pyenphase#168"""
        zeros = {"wattHoursToday": 0, "wattHoursSevenDays": 0, "wattHoursLifetime": 0, "wattsNow": 0}
        none = summed(0, 0, active=0)
        none["production"][0]["readingTime"] = 0  # type: ignore[index]
        for meters in ([], None):
            pages: dict[str, Any] = {"/api/v1/production": zeros, "/production.json": none}
            pages |= {"/api/v1/production/inverters": []} | ({} if meters is None else {"/ivp/meters": meters})
            found, _ = await read(pages)
            assert (found.live, found.counters, found.devices) == (None, (), ())
            assert found.warnings == (STARTED,)

    async def test_cts_at_zero_say_so_once(self) -> None:
        found, _ = await read(cts(ct(PRODUCTION, 0, 0, 0), ct(NET, 0, 0, 0)))
        assert (found.live, found.counters, found.warnings) == (None, (), (STARTED,))
        assert {device.power_w for device in found.devices} == {None}

    @pytest.mark.parametrize(
        "state", [{"mains_oper_state": "open"}, {"Enpwr_grid_mode": "multimode-offgrid"}, {"grid_state": "off_grid"}]
    )
    async def test_off_the_grid_nothing_comes_from_it(self, state: dict[str, object]) -> None:
        home = cts(ct(PRODUCTION, 900, 500_000, 0), ct(STORAGE, 300, 9000, 9900))
        found, _ = await read(home | controller(**state))
        assert powers(found) == (900, 300, 0, 1200)
        assert found.warnings == (mapping.OFF_GRID,)
        with_net = cts(ct(PRODUCTION, 900, 500_000, 0), ct(NET, 1400, 90_000, 40_000))
        found, _ = await read(with_net | controller(**state))
        assert powers(found) == (900, None, None, None)
        assert found.warnings == (mapping.OFF_GRID_CONTRADICTED,)

    @pytest.mark.parametrize(
        "state",
        [
            {"mains_oper_state": "closed", "Enpwr_grid_mode": "multimode-ongrid"},
            {"grid_state": "on_grid", "mid_state": "close"},
            {"mains_oper_state": "open", "communicating": False},
        ],
    )
    async def test_on_the_grid_or_not_known_the_meter_counts(self, state: dict[str, object]) -> None:
        home = cts(ct(PRODUCTION, 900, 500_000, 0), ct(NET, 1400, 90_000, 40_000))
        found, _ = await read(home | controller(**state))
        assert powers(found) == (900, None, 1400, 2300)
        assert found.warnings == ()

    async def test_a_running_generator_leaves_the_load_unknown(self) -> None:
        home = cts(ct(PRODUCTION, 900, 500_000, 0), ct(NET, 0.3, 90_000, 40_000)) | controller(mains_oper_state="open")
        found, _ = await read(home | {"/ivp/ensemble/generator": {"oper_state": "closed", "present": 1}})
        assert powers(found) == (900, None, 0, None)
        assert site(found).load_wh is None
        assert mapping.GENERATOR_RUNS in found.warnings
        found, _ = await read(home | {"/ivp/ensemble/generator": {"oper_state": "open", "present": 1}})
        assert powers(found)[3] == 900

    async def test_homes_without_a_system_controller_are_not_asked_for_a_generator(self) -> None:
        _, asked = await read(cts(ct(PRODUCTION, 900, 500_000, 0)) | batteries(100))
        assert "/ivp/ensemble/generator" not in asked


class TestSource:
    async def test_a_counter_names_the_registers_it_is_made_of(self) -> None:
        """pyenphase#471, home-assistant/core#118729: lifetimes of one site lie hundreds of kWh apart."""
        v1 = {"wattHoursToday": 900, "wattHoursSevenDays": 9000, "wattHoursLifetime": 90_000, "wattsNow": 1500}
        pages = {
            "ct": cts(ct(PRODUCTION, 900, 500_000, 0)),
            "ct and net": cts(ct(PRODUCTION, 900, 500_000, 0), ct(NET, 100, 90_000, 40_000)),
            "ct and pv3p": cts(ct(PRODUCTION, 900, 500_000, 0), ct(PV3P, 100, 90_000, 0)),
            "v1": {"/ivp/meters": [], "/api/v1/production": v1},
            "inverters": {"/ivp/meters": [], "/production.json": summed(900, 70_000)},
        }
        sources = {name: source_of((await read(page))[0]) for name, page in pages.items()}
        assert len(set(sources.values())) == len(pages)
        assert None not in sources.values()

    async def test_a_figure_missing_for_once_is_no_change_of_source(self) -> None:
        whole = cts(ct(PRODUCTION, 900, 500_000, 0), ct(NET, 100, 90_000, 40_000), ct(STORAGE, 9, 900, 990))
        part = cts(ct(PRODUCTION, 900, 500_000, 0), ct(NET, 100, 90_000, 40_000), ct(STORAGE, 0, 0, 0))
        assert source_of((await read(whole))[0]) == source_of((await read(part))[0])


class TestSimulator:
    @pytest.mark.parametrize(
        ("oddity", "known", "has_energy"),
        [
            ("ct-reversed", (False, True, True, False), False),
            ("ct-missing", (True, True, True, True), True),
            ("pv3p", (True, True, True, True), True),
            ("unseen-solar", (True, True, True, False), True),
            ("phase-lost", (False, True, True, False), False),
            ("battery-silent", (True, True, True, True), True),
            ("off-grid", (True, True, True, True), True),
            ("generator", (True, True, True, False), True),
        ],
    )
    async def test_an_odd_box_is_read_without_a_wrong_figure(
        self, oddity: str, known: tuple[bool, ...], has_energy: bool
    ) -> None:
        async with bench() as one:
            grant = (await one.join()).grant
            one.box.oddity = oddity
            found = await one.readings(grant)
            home = one.box.home.power(NOON)
        assert tuple(figure is not None for figure in powers(found)) == known
        assert powers(found)[1] == home.battery_w
        assert (site(found).solar_wh is not None) == has_energy
        assert bool(found.warnings) == (oddity != "pv3p")
        if oddity == "pv3p":
            assert powers(found) == pytest.approx((home.solar_w, home.battery_w, home.grid_w, home.load_w), abs=0.01)

    async def test_a_box_that_has_just_started_keeps_what_its_batteries_say(self) -> None:
        async with bench() as one:
            grant = (await one.join()).grant
            one.box.oddity = "just-started"
            found = await one.readings(grant)
        assert powers(found) == (None, None, None, None)
        assert found.counters == ()
        assert STARTED in found.warnings
        assert [device.kind for device in found.devices].count(DeviceKind.BATTERY) == 2

    async def test_a_power_cut_changes_the_source_not_the_energy(self) -> None:
        async with bench() as one:
            grant = (await one.join()).grant
            before = await one.readings(grant)
            one.box.oddity = "source-change"
            one.simulator.clock.freeze(NOON + 60)
            after = await one.readings(grant)
        assert (site(after).solar_wh or 0) - (site(before).solar_wh or 0) > OTHER_LIFETIME_WH - 100
        assert source_of(before) != source_of(after)

    async def test_oddities_are_set_over_the_wire_and_ended(self) -> None:
        async with bench(MIDNIGHT) as one, httpx.AsyncClient(verify=False) as client:  # noqa: S501 - our own simulator's
            for name in (*ODDITIES, "none"):
                assert (await client.post(f"{one.origin}/_oddity/{name}")).status_code == 200
                assert one.box.oddity == (None if name == "none" else name)
            assert (await client.post(f"{one.origin}/_oddity/unheard-of")).status_code == 404
            assert (await one.readings((await one.join()).grant)).warnings == ()
