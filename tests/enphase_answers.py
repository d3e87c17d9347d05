"""A home as Enphase's two APIs tell it, from bodies written by a test: each plugin's own hooks read them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from types import ModuleType, SimpleNamespace
from typing import Any

import joinder_enphase
import joinder_enphase_vpp
from joinder import Device, DeviceKind, Grant, GrantState, MeterRole, Readings, ReadingsQuery, Site
from joinder.http import Answer
from joinder.redact import Secrets

START = datetime(2026, 6, 10, 19, tzinfo=UTC)  # noon in US/Pacific
QUARTER = timedelta(minutes=15)
SOLAR = Device(vendor_id="1EIM1", kind=DeviceKind.METER, role=MeterRole.PRODUCTION)
SOLAR_2 = Device(vendor_id="2EIM1", kind=DeviceKind.METER, role=MeterRole.PRODUCTION)
NET = Device(vendor_id="1EIM2", kind=DeviceKind.METER, role=MeterRole.GRID)
TOTAL = Device(vendor_id="1EIM2", kind=DeviceKind.METER, role=MeterRole.LOAD)
BATTERIES = tuple(Device(vendor_id=f"b{index}", kind=DeviceKind.BATTERY) for index in (1, 2))
MICROS = tuple(Device(vendor_id=f"m{index}", kind=DeviceKind.INVERTER) for index in range(4))


@dataclass
class Enphase:
    """One of the two plugins; `bodies` by the end of their path, everything else is 404."""

    plugin: ModuleType
    imported: str
    exported: str
    nests: bool  # import and export rows lie one list deeper
    bodies: dict[str, object] = field(default_factory=dict)
    now: datetime = START + timedelta(hours=6)

    def grid(self, imported: list[Any], exported: list[Any]) -> dict[str, object]:
        def told(rows: list[Any]) -> object:
            return {"intervals": [rows] if self.nests else rows}

        return {self.imported: told(imported), self.exported: told(exported)}

    async def site(self) -> Site:
        found: Site = await self.plugin.fetch_site(self._context(), _GRANT, "1")
        return found

    async def read(self, *devices: Device, hours: float = 1, **query: Any) -> Readings:
        site = Site(vendor_id="1", name="Home", timezone="US/Pacific", devices=devices)
        asked = ReadingsQuery(**{"site": site, "start": START, "end": START + timedelta(hours=hours), **query})
        if self.plugin is joinder_enphase_vpp:
            return await joinder_enphase_vpp.fetch_readings(self._context(), _GRANT, asked)
        return await joinder_enphase.fetch_readings(self._context(), _GRANT, asked)

    async def live(self, *devices: Device) -> Readings:
        return await self.read(*devices, hours=0, live=True)

    def _context(self) -> Any:
        async def token(fetch: object, refused: str | None = None) -> str:
            return "token"

        app = {"apiKey": "key"}
        return SimpleNamespace(http=self, now=lambda: self.now, require_app=lambda: app, app_token=token)

    async def request(
        self, method: str, url: str, *, params: Mapping[str, object] | None = None, **_: object
    ) -> Answer:
        path = url.partition("/systems/")[2].removeprefix("1").strip("/")
        status, body = (200, self.bodies[path]) if path in self.bodies else (404, {})
        return Answer(status, {}, json.dumps(body).encode(), f"{method} {path}")


_GRANT = Grant(
    secrets=Secrets({"access_token": "token"}),
    site_ids=("1",),
    state=GrantState.ACTIVE,
    facts={"program_id": "p"},
)


def monitoring() -> Enphase:
    return Enphase(joinder_enphase, "energy_import_telemetry", "energy_export_telemetry", nests=True)


def grid_services() -> Enphase:
    return Enphase(joinder_enphase_vpp, "telemetry/import", "telemetry/export", nests=False)


def ends(number: int, minutes: int = 15, start: datetime = START) -> int:
    """When row `number` (from 1) ends."""
    return int(start.timestamp()) + 60 * minutes * number


def rows(member: str, *values: float | None, minutes: int = 15, reporting: tuple[float | None, ...] = ()) -> list[Any]:
    found: list[Any] = [{"end_at": ends(n, minutes), member: value} for n, value in enumerate(values, 1)]
    for row, count in zip(found, reporting, strict=False):
        row["devices_reporting"] = count
    return found


def stored(number: int, charge: tuple[float, int], discharge: tuple[float, int], soc: tuple[float, int]) -> object:
    return {
        "end_at": ends(number),
        "charge": {"enwh": charge[0], "devices_reporting": charge[1]},
        "discharge": {"enwh": discharge[0], "devices_reporting": discharge[1]},
        "soc": {"percent": soc[0], "devices_reporting": soc[1]},
    }


def power(
    kind: str, watts: float | None, *, device: int = 1, age_s: int | None = 0, **more: object
) -> dict[str, object]:
    """A row of latest_telemetry; `age_s` None: no time of report."""
    at = None if age_s is None else int(START.timestamp()) - age_s
    return {"id": device, "name": kind, "channel": 1, "power": watts, "last_report_at": at, **more}
