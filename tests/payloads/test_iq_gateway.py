"""Recorded gateways, read over TLS through the registry, against what pyenphase makes of the same bytes.

Oracle: EXPECTED.json, block `pyenphase` (the library's own figures) and `ours` (computed from the bytes alone).
"""

from __future__ import annotations

import asyncio
import json
import tempfile
from collections import Counter as Tally
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

import pytest

import joinder_iq_gateway
from joinder import Callback, Device, DeviceKind, MeterRole, Readings, ReadingsQuery, Secrets, Site
from joinder.errors import ConsentInvalid
from joinder.http import HttpFactory
from joinder.physics import NO_LOAD, home_load
from joinder.simulate.tls import self_signed
from joinder.vendors.registry import Registry
from joinder_iq_gateway.info import TOO_OLD
from payloads.gateway_server import Pages, Recorded, info_of, mint, pages_of, serving
from support import SHARED, make_context, shared

FOLDER = SHARED / "payloads/iq_gateway"
SETS = sorted(path.name for path in FOLDER.glob("[0-9]*")) if FOLDER.exists() else ["none on this machine"]
ADDRESS = "192.168.77.10"
SAME_BYTES = 1e-9  # the same field of the same answer
ROUNDED = 0.51  # pyenphase rounds W and Wh
OTHER_MOMENT = 1e-4  # /ivp/meters/readings here, /production.json there: seconds apart
CONTRADICTIONS = ("by more than a factor of two", NO_LOAD)  # what a recording may say of itself beside its figures
OTHER_REGISTER = 5e-3  # the box keeps total consumption as a register of its own; ours is solar + import − export


@cache
def expected() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(shared("payloads/iq_gateway/EXPECTED.json").read_text())
    return found


@cache
def certificate() -> tuple[Path, Path]:
    return self_signed(Path(tempfile.mkdtemp()), name="envoy.local")


async def read(pages: Pages) -> tuple[Site, Readings, Secrets]:
    """Join, site, readings, through the same door as the server, at the time of the recording."""
    serial, at = info_of(pages)
    token = mint(serial, at)
    registry = Registry()
    assert registry.add("iqgateway", joinder_iq_gateway).problem is None
    with serving(pages, token, certificate()) as port:
        factory = HttpFactory(allowed_networks=("192.168.77.0/24",), reroute={ADDRESS: f"https://127.0.0.1:{port}"})
        ctx = make_context(joinder_iq_gateway.VENDOR, factory, now=lambda: datetime.fromtimestamp(at, UTC))
        form = Callback(values=Secrets({"host": ADDRESS, "token": token}))
        grant = (await registry.handle_callback("iqgateway", ctx, form)).grant
        site = await registry.fetch_site("iqgateway", ctx, grant, grant.site_ids[0])
        now = ctx.now()
        query = ReadingsQuery(site=site, start=now, end=now, live=True)
        readings = await registry.fetch_readings("iqgateway", ctx, grant, query)
        await factory.close()
    return site, readings, grant.facts


WARNINGS: dict[str, tuple[str, ...]] = {}  # of each set that was read


@cache
def outcome(name: str) -> tuple[str, list[str]]:
    """What became of one set: ("agree" | "refused" | "differ", the differences)."""
    oracle = expected()["fixtures"][name]
    try:
        site, readings, facts = asyncio.run(read(pages_of(FOLDER / name)))
    except ConsentInvalid as error:
        return "refused", [] if error.fields == {"host": TOO_OLD} else [str(error)]
    WARNINGS[name] = readings.warnings
    comparison = Comparison(oracle, site, readings, spliced=oracle["ours"]["spliced"])
    comparison.equal("serial", site.vendor_id, f"iqgw:{oracle['pyenphase']['serial']}")
    comparison.equal("firmware", facts["firmware"], oracle["pyenphase"]["firmware"])
    comparison.everything()
    return "differ" if comparison.differences else "agree", comparison.differences


class Comparison:
    def __init__(self, oracle: dict[str, Any], site: Site, readings: Readings, *, spliced: bool) -> None:
        self.differences: list[str] = []
        self._theirs, self._ours = oracle["pyenphase"], oracle["ours"]
        self._site, self._readings, self._spliced = site, readings, spliced
        assert readings.live is not None
        self._live = readings.live
        (self._total,) = [counter for counter in readings.counters if counter.device_id is None]

    def equal(self, what: str, ours: object, theirs: object) -> None:
        if ours != theirs:
            self.differences.append(f"{what}: {ours} is not {theirs}")

    def near(self, what: str, ours: float | None, theirs: float | None, *, share: float, by: float = 0.0) -> None:
        """A None of one side only is a difference: unknown must be unknown."""
        if ours is None or theirs is None:
            self.equal(what, ours, theirs)
        elif abs(ours - theirs) > by + share * abs(theirs):
            self.differences.append(f"{what}: {ours} is not {theirs}")

    def everything(self) -> None:
        expected_ones = ("clock", *CONTRADICTIONS)
        unexpected = [text for text in self._readings.warnings if not any(part in text for part in expected_ones)]
        self.equal("warnings", unexpected, [])
        self.production()
        self.grid()
        self.storage()
        self.consumption()
        self.inverters()
        self.batteries()
        self.equal("time zone", self._site.timezone, self._theirs.get("interface", {}).get("timezone"))

    def production(self) -> None:
        theirs, ct = self._theirs["system_production"], self._ours.get("production_ct")
        if ct:
            night_is_zero = max(ct["power_w"], 0.0)  # a site's production is never negative here
            self.near("solar W", self._live.solar_w, night_is_zero, share=SAME_BYTES)
            self.near("solar Wh", self._total.solar_wh, ct["delivered_wh"], share=SAME_BYTES)
        else:
            self.near("solar W", self._live.solar_w, theirs["watts_now"], share=0, by=ROUNDED)
        if not (ct and self._spliced):  # spliced: /production.json is another capture
            self.near("solar Wh", self._total.solar_wh, theirs["watt_hours_lifetime"], share=OTHER_MOMENT, by=ROUNDED)

    def grid(self) -> None:
        ct, net = self._ours.get("grid"), self._theirs.get("system_net_consumption")
        if ct:
            self.near("grid W", self._live.grid_w, ct["power_w"], share=SAME_BYTES)
            self.near("import Wh", self._total.import_wh, ct["import_wh"], share=SAME_BYTES)
            self.near("export Wh", self._total.export_wh, ct["export_wh"], share=SAME_BYTES)
            return
        # Without the meters page only the balance of import and export is there: power, and no energy by direction.
        self.near("grid W", self._live.grid_w, net["watts_now"] if net else None, share=0, by=ROUNDED)
        self.equal("import Wh", self._total.import_wh, None)
        self.equal("export Wh", self._total.export_wh, None)

    def storage(self) -> None:
        ct = self._ours.get("storage_ct", {})
        self.near("charge Wh", self._total.charge_wh, ct.get("charged_wh"), share=SAME_BYTES)
        self.near("discharge Wh", self._total.discharge_wh, ct.get("discharged_wh"), share=SAME_BYTES)
        if "acb_power" in self._theirs:
            self.ac_batteries()
            return
        units = self._ours.get("battery_power_w", {}).get("value")
        self.near("battery W", self._live.battery_w, ct.get("power_w", units), share=SAME_BYTES)

    def ac_batteries(self) -> None:
        """pyenphase adds /production.json storage[] of any age; ours is by unit, or that segment below an hour old."""
        acb = self._theirs["acb_power"]
        is_old = self._theirs["firmware"] == "8.2.4382"  # its readingTime is 41 hours before the others
        known = None if is_old else self._ours.get("battery_power_w", {}).get("value", 0.0) + acb["power"]
        self.near("battery W", self._live.battery_w, known, share=0, by=ROUNDED)

    def consumption(self) -> None:
        """pyenphase's includes what a battery charges, as the box's total does; ours is what the home uses."""
        theirs, rule = self._theirs.get("system_consumption"), self._ours.get("house_load_w")
        has_battery = bool(self._batteries) or "storage_ct" in self._ours
        if theirs is None:
            self.equal("load W", self._live.load_w, None)
            self.equal("load Wh", self._total.load_wh, None)
            return
        if rule:
            used_at_night = min(self._ours["production_ct"]["power_w"], 0.0)  # of the inverters: load here, not there
            self.near("load W", self._live.load_w, rule["value"] - used_at_night, share=1e-6)
        elif self._live.load_w is not None and not self._ours.get("production_ct"):
            without_charging = theirs["watts_now"] + (self._live.battery_w or 0.0)
            self.near("load W", self._live.load_w, without_charging, share=0, by=2 * ROUNDED)
        parts = (self._live.solar_w, 0.0 if not has_battery else self._live.battery_w, self._live.grid_w)
        known = home_load(parts)
        self.equal("warns of its load", NO_LOAD in self._readings.warnings, known.is_impossible)
        self.near("load = solar + battery + grid", self._live.load_w, known.watts, share=1e-9, by=1e-6)
        self.consumed_energy(theirs["watt_hours_lifetime"], has_battery=has_battery)

    def consumed_energy(self, theirs_wh: float, *, has_battery: bool) -> None:
        stored_wh = (self._total.discharge_wh or 0.0) - (self._total.charge_wh or 0.0)
        if has_battery and self._total.charge_wh is None:
            self.equal("load Wh", self._total.load_wh, None)  # only a storage CT tells what a battery kept
        elif self._spliced:
            self.equal("load Wh is known", self._total.load_wh is not None, True)
        else:
            self.near("load Wh", self._total.load_wh, theirs_wh + stored_wh, share=OTHER_REGISTER)

    def inverters(self) -> None:
        mine = {device.serial: device for device in self._site.devices if device.kind is DeviceKind.INVERTER}
        registers = {counter.device_id: counter for counter in self._readings.counters}
        theirs = self._theirs.get("inverters", {})
        self.equal("inverter serials", sorted(mine, key=str), sorted(theirs))
        for serial in mine.keys() & theirs.keys():
            device, other = mine[serial], theirs[serial]
            seen = (device.power_w, device.max_power_w, device.reported_at and device.reported_at.timestamp())
            self.equal(serial, seen, (other["last_report_watts"], other["max_report_watts"], other["last_report_date"]))
            lifetime_wh = other["lifetime_energy"]
            self.near(f"{serial} Wh", device.lifetime_wh, lifetime_wh, share=0, by=1.0)
            counter = registers.get(serial)
            self.equal(f"{serial} counter", counter and counter.solar_wh, device.lifetime_wh)

    def batteries(self) -> None:
        units, power = self._theirs.get("encharge_inventory", {}), self._theirs.get("encharge_power", {})
        mine = {device.serial: device for device in self._batteries if device.name != "AC Battery"}
        self.equal("battery serials", sorted(mine, key=str), sorted(units))
        for serial, device in mine.items():
            told = power.get(serial)
            capacity_wh = units[str(serial)]["encharge_capacity"]
            self.equal(f"{serial} capacity", device.nameplate_wh, capacity_wh)
            self.equal(f"{serial} %", device.soc_percent, told["soc"] if told else units[str(serial)]["percent_full"])
            self.equal(f"{serial} W", device.power_w, told and told["real_power_mw"] / 1000)
        whole = self._theirs.get("battery_aggregate") or (self._theirs.get("encharge_aggregate") if mine else None)
        soc = whole["state_of_charge"] if whole else self._theirs.get("acb_power", {}).get("state_of_charge")
        self.near("state of charge", self._live.soc_percent, soc, share=0, by=0.5)
        ac_units = [device for device in self._batteries if device.name == "AC Battery"]
        self.equal("AC Batteries", len(ac_units), self._theirs["acb_count"])

    @property
    def _batteries(self) -> list[Device]:
        return [device for device in self._site.devices if device.kind is DeviceKind.BATTERY]


@pytest.mark.parametrize("name", SETS)
def test_recorded_gateway(name: str) -> None:
    result, differences = outcome(name) if expected() else ("", [])
    assert not differences
    too_old = int(expected()["fixtures"][name]["pyenphase"]["firmware"].split(".")[0]) < 7
    assert result == ("refused" if too_old else "agree")


def test_summary(capsys: pytest.CaptureFixture[str]) -> None:
    """Every set has an oracle, every oracle a set, and each ends as one of two."""
    assert sorted(expected()["fixtures"]) == SETS
    tally = Tally(outcome(name)[0] for name in SETS)
    with capsys.disabled():
        print(f"\niq_gateway recordings: {tally['agree']} agree, {tally['refused']} refused as too old, 0 skipped")
        for name, warnings in sorted(WARNINGS.items()):
            print("\n".join(f"  {name}: {text}" for text in warnings if "clock" not in text) or f"  {name}: no warning")
    assert tally["agree"] + tally["refused"] == len(SETS)


def test_sets_that_contradict_themselves_say_so() -> None:
    """A list of two inverters beside a sum of 38; a cloud between a CT and reports of 15 minutes; three CTs of one
    second that leave a home less than nothing. Each keeps what it is told, and no other set warns."""
    shared("payloads/iq_gateway/EXPECTED.json")
    assert {outcome(name)[0] for name in SETS} == {"agree", "refused"}
    warned = {name for name, warnings in WARNINGS.items() if any("clock" not in text for text in warnings)}
    split = "8.2.127_with_3cts_and_battery_split"
    assert warned == {split, "8.2.4264_metered_noct", "8.2.4345_with_device_data"}
    assert NO_LOAD in WARNINGS[split]


OTHER = "payloads/iq_gateway/_other/vincentwolsink_envoy_metered"
OTHER_PAGES = {
    "/info": "info.xml",
    "/home": "home_json.json",
    "/inventory.json": "inventory.json",
    "/ivp/meters": "meters.json",
    "/ivp/meters/readings": "meters_readings.json",
    "/ivp/pdm/device_data": "device_data.json",
    "/api/v1/production": "production_v1.json",
    "/api/v1/production/inverters": "production_inverters.json",
    "/production.json": "production_json.json",
    "/ivp/ensemble/inventory": "ensemble_inventory.json",
    "/ivp/ensemble/power": "ensemble_power.json",
    "/ivp/ensemble/secctrl": "ensemble_secctrl.json",
}
OTHER_UNREAD = {
    "admin_lib_tariff.json": "tariff and battery mode: not read",
    "consumption_report.json": "import and export are wrong there on 8.3: readings serve",
    "production_report.json": "readings serve",
    "pdm_energy.json": "installers only",
    "devstatus.json": "installers only",
    "dpel.json": "installers only",
    "installer_agf_index_json.json": "installers only",
    "pcu_comm_check.json": "installers only",
    "peb_newscan.json": "installers only",
    "production_power.json": "installers only",
}


def test_other_recording_is_accounted_for() -> None:
    """Files of several moments and firmwares: compared file by file, never with each other."""
    folder = shared(OTHER)
    files = {path.name.removeprefix("endpoint_") for path in folder.glob("endpoint_*")}
    assert files == set(OTHER_PAGES.values()) | set(OTHER_UNREAD)

    def pages(path: str) -> Recorded | None:
        name = OTHER_PAGES.get(path)
        return Recorded(200, None, (folder / f"endpoint_{name}").read_bytes()) if name else None

    site, readings, _ = asyncio.run(read(pages))
    wire = {
        name: json.loads((folder / f"endpoint_{file}").read_bytes()) for name, file in list(OTHER_PAGES.items())[1:]
    }
    assert site.timezone == wire["/home"]["timezone"]
    meters = {device.vendor_id: device for device in site.devices if device.kind is DeviceKind.METER}
    enabled = {str(meter["eid"]) for meter in wire["/ivp/meters"] if meter["state"] == "enabled"}
    powers = {str(entry["eid"]): entry["activePower"] for entry in wire["/ivp/meters/readings"]}
    assert {eid: meter.power_w for eid, meter in meters.items()} == {eid: powers.get(eid) for eid in enabled}
    assert {meter.role for meter in meters.values()} >= {MeterRole.PRODUCTION, MeterRole.GRID}
    pcus = [
        unit for unit in wire["/ivp/pdm/device_data"].values() if isinstance(unit, dict) and unit["devName"] == "pcu"
    ]
    inverters = {device.serial: device.power_w for device in site.devices if device.kind is DeviceKind.INVERTER}
    assert inverters == {unit["sn"]: unit["channels"][0]["watts"]["now"] for unit in pcus if unit["active"]}
    units = [
        unit
        for group in wire["/ivp/ensemble/inventory"]
        if group.get("type") == "ENCHARGE"
        for unit in group["devices"]
    ]
    batteries = [device for device in site.devices if device.kind is DeviceKind.BATTERY]
    assert {device.serial for device in batteries} == {unit["serial_num"] for unit in units}
    assert readings.live is not None
