"""Solar inverters, batteries, meters and chargers: resources of one shape."""

from __future__ import annotations

from typing import Any

from litestar import Controller, Request, Response, get
from litestar.di import NamedDependency
from litestar.params import FromPath
from msgspec import Struct

from joinder.api.auth import require_caller
from joinder.api.deps import (
    CallerDep,
    DeviceFilter,
    FromWhere,
    HubDep,
    Paging,
    StampDep,
    WindowDep,
    answered,
    known_errors,
    opened_by,
    refuse_unknown,
    source_of,
)
from joinder.api.formats import INTERVALS, LISTED
from joinder.energy import DeviceKind
from joinder.runtime.hub import Hub
from joinder.services.readings import intervals, list_errors, recent, silence, sites
from joinder.services.records.accounts import Caller
from joinder.store.sites import StoredDevice, read_devices
from joinder.store.types import Stamp
from joinder.wire.base import Reference, Rest, listed
from joinder.wire.devices import (
    Battery,
    BatteryPage,
    Charger,
    ChargerPage,
    Meter,
    MeterPage,
    SolarInverter,
    SolarInverterPage,
)
from joinder.wire.intervals import BatteryIntervals, ChargerIntervals, MeterIntervals, SolarIntervals


class DevicePage(Struct, frozen=True):
    """One page of device ids, whatever their kind."""

    references: list[Reference]
    errors: dict[str, str]
    rest: Rest


class SolarInverterController(Controller):
    path = "/solar-inverters"
    tags = ["Solar inverters"]  # noqa: RUF012
    guards = [require_caller]  # noqa: RUF012

    @get("/", operation_id="listSolarInverters", opt=LISTED, summary="List solar inverters")
    async def list_all(
        self,
        hub: HubDep,
        caller: CallerDep,
        asked: NamedDependency[DeviceFilter],
        paging: NamedDependency[Paging],
        stamp: StampDep,
    ) -> SolarInverterPage:
        page = await _device_page(hub, caller, DeviceKind.INVERTER, asked, paging, stamp)
        return SolarInverterPage(solar_inverters=page.references, errors=page.errors, **page.rest)

    @get(
        "/{device_id:str}",
        operation_id="getSolarInverter",
        opt={"scope": "read:sites"},
        summary="Show a solar inverter",
    )
    async def show(
        self, hub: HubDep, caller: CallerDep, device_id: FromPath[str], provenance: FromWhere = False
    ) -> SolarInverter:
        row = await _device(hub, caller, device_id, DeviceKind.INVERTER)
        source = await source_of(hub, row.source, provenance)
        return SolarInverter.of(row, source, await _silent_since(hub, row), await recent.production(hub, row))

    @get(
        "/{device_id:str}/intervals",
        operation_id="getSolarInverterIntervals",
        opt=INTERVALS,
        summary="Production of a solar inverter",
    )
    async def production(
        self,
        request: Request[Any, Any, Any],
        hub: HubDep,
        caller: CallerDep,
        device_id: FromPath[str],
        window: WindowDep,
    ) -> Response[SolarIntervals]:
        page = await intervals.of_device(hub, caller.account_id, device_id, DeviceKind.INVERTER, window)
        return answered(request, window, SolarIntervals, device_id, page)


class BatteryController(Controller):
    path = "/batteries"
    tags = ["Batteries"]  # noqa: RUF012
    guards = [require_caller]  # noqa: RUF012

    @get("/", operation_id="listBatteries", opt=LISTED, summary="List batteries")
    async def list_all(
        self,
        hub: HubDep,
        caller: CallerDep,
        asked: NamedDependency[DeviceFilter],
        paging: NamedDependency[Paging],
        stamp: StampDep,
    ) -> BatteryPage:
        page = await _device_page(hub, caller, DeviceKind.BATTERY, asked, paging, stamp)
        return BatteryPage(batteries=page.references, errors=page.errors, **page.rest)

    @get("/{device_id:str}", operation_id="getBattery", opt={"scope": "read:sites"}, summary="Show a battery")
    async def show(
        self, hub: HubDep, caller: CallerDep, device_id: FromPath[str], provenance: FromWhere = False
    ) -> Battery:
        row = await _device(hub, caller, device_id, DeviceKind.BATTERY)
        source = await source_of(hub, row.source, provenance)
        return Battery.of(row, source, await _silent_since(hub, row))

    @get(
        "/{device_id:str}/intervals",
        operation_id="getBatteryIntervals",
        opt=INTERVALS,
        summary="Charge and discharge of a battery",
    )
    async def energy(
        self,
        request: Request[Any, Any, Any],
        hub: HubDep,
        caller: CallerDep,
        device_id: FromPath[str],
        window: WindowDep,
    ) -> Response[BatteryIntervals]:
        page = await intervals.of_device(hub, caller.account_id, device_id, DeviceKind.BATTERY, window)
        return answered(request, window, BatteryIntervals, device_id, page)


class MeterController(Controller):
    path = "/meters"
    tags = ["Meters"]  # noqa: RUF012
    guards = [require_caller]  # noqa: RUF012

    @get("/", operation_id="listMeters", opt=LISTED, summary="List meters")
    async def list_all(
        self,
        hub: HubDep,
        caller: CallerDep,
        asked: NamedDependency[DeviceFilter],
        paging: NamedDependency[Paging],
        stamp: StampDep,
    ) -> MeterPage:
        page = await _device_page(hub, caller, DeviceKind.METER, asked, paging, stamp)
        return MeterPage(meters=page.references, errors=page.errors, **page.rest)

    @get("/{device_id:str}", operation_id="getMeter", opt={"scope": "read:sites"}, summary="Show a meter")
    async def show(
        self, hub: HubDep, caller: CallerDep, device_id: FromPath[str], provenance: FromWhere = False
    ) -> Meter:
        row = await _device(hub, caller, device_id, DeviceKind.METER)
        source = await source_of(hub, row.source, provenance)
        return Meter.of(row, source, await _silent_since(hub, row))

    @get(
        "/{device_id:str}/intervals",
        operation_id="getMeterIntervals",
        opt=INTERVALS,
        summary="Energy through a meter",
    )
    async def energy(
        self,
        request: Request[Any, Any, Any],
        hub: HubDep,
        caller: CallerDep,
        device_id: FromPath[str],
        window: WindowDep,
    ) -> Response[MeterIntervals]:
        page = await intervals.of_device(hub, caller.account_id, device_id, DeviceKind.METER, window)
        return answered(request, window, MeterIntervals, device_id, page)


class ChargerController(Controller):
    path = "/chargers"
    tags = ["Chargers"]  # noqa: RUF012
    guards = [require_caller]  # noqa: RUF012

    @get("/", operation_id="listChargers", opt=LISTED, summary="List chargers")
    async def list_all(
        self,
        hub: HubDep,
        caller: CallerDep,
        asked: NamedDependency[DeviceFilter],
        paging: NamedDependency[Paging],
        stamp: StampDep,
    ) -> ChargerPage:
        page = await _device_page(hub, caller, DeviceKind.CHARGER, asked, paging, stamp)
        return ChargerPage(chargers=page.references, errors=page.errors, **page.rest)

    @get("/{device_id:str}", operation_id="getCharger", opt={"scope": "read:sites"}, summary="Show a charger")
    async def show(
        self, hub: HubDep, caller: CallerDep, device_id: FromPath[str], provenance: FromWhere = False
    ) -> Charger:
        row = await _device(hub, caller, device_id, DeviceKind.CHARGER)
        source = await source_of(hub, row.source, provenance)
        return Charger.of(row, source, await _silent_since(hub, row))

    @get(
        "/{device_id:str}/intervals",
        operation_id="getChargerIntervals",
        opt=INTERVALS,
        summary="What a charger drew",
    )
    async def energy(
        self,
        request: Request[Any, Any, Any],
        hub: HubDep,
        caller: CallerDep,
        device_id: FromPath[str],
        window: WindowDep,
    ) -> Response[ChargerIntervals]:
        page = await intervals.of_device(hub, caller.account_id, device_id, DeviceKind.CHARGER, window)
        return answered(request, window, ChargerIntervals, device_id, page)


async def _device(hub: Hub, caller: Caller, device_id: str, kind: DeviceKind) -> StoredDevice:
    row = await sites.get_device(hub, caller.account_id, device_id, kind)
    refuse_unknown(caller, row.vendor)
    return row


async def _silent_since(hub: Hub, row: StoredDevice) -> int | None:
    """Returns since when a device is silent, in epoch seconds, or None.

    The other devices are read only where its last report is old.
    """
    others = await read_devices(hub.store, row.site_id) if silence.is_late(row) else []
    return silence.since(row, others)


async def _device_page(
    hub: Hub, caller: Caller, kind: DeviceKind, asked: DeviceFilter, paging: Paging, stamp: Stamp | None
) -> DevicePage:
    found = await sites.device_ids(
        hub,
        caller.account_id,
        kind,
        after=paging.after(sites.TAGS[kind]),
        limit=paging.limit,
        known=caller.vendors,
        vendor=asked.vendor,
        vendor_id=asked.vendor_id,
        vendor_site_id=asked.vendor_site_id,
        site_id=asked.site_id,
        enrollment_id=opened_by(caller, asked.enrollment_id),
    )
    page, rest = paging.cut(found, str)
    errors = known_errors(caller, await list_errors.of_vendors(hub, caller.account_id, asked.vendor, stamp))
    return DevicePage(references=listed(page), errors=errors, rest=rest)
