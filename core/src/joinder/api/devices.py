"""Solar inverters, batteries, meters and chargers: resources of one shape."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
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
    source_of,
)
from joinder.api.formats import INTERVALS, LISTED
from joinder.energy import DeviceKind
from joinder.runtime.hub import Hub
from joinder.services.readings import intervals, list_errors, recent, silence, sites
from joinder.services.readings.provenance import Source
from joinder.services.records.accounts import Caller
from joinder.store.sites import StoredDevice, read_devices
from joinder.store.types import Stamp
from joinder.wire.base import ListPage, Reference, Rest, listed
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

READ = {"scope": "read:sites"}


class DevicePage(Struct, frozen=True):
    """One page of device ids, whatever their kind."""

    references: list[Reference]
    errors: dict[str, str]
    rest: Rest


Show = Callable[[Hub, StoredDevice, Source | None, int | None], Awaitable[Struct]]


@dataclass(frozen=True, kw_only=True)
class Resource:
    """What is told of devices of one kind, and by which names. `show` takes since when the device is silent, too."""

    kind: DeviceKind
    path: str
    word: str
    one: str  # in operation ids
    many: str
    listing: Callable[..., ListPage]
    shown: type[Struct]
    show: Show
    intervals: type[Any]  # one of joinder.wire.intervals
    energy: str  # what its intervals are of

    @property
    def words(self) -> str:
        """Returns its plural, as a person says it."""
        return self.path.strip("/").replace("-", " ")

    @property
    def member(self) -> str:
        """Returns the member of a page that holds its ids."""
        return self.path.strip("/").replace("-", "_")


def plainly(shown: type[Battery] | type[Meter] | type[Charger]) -> Show:
    """Shows what is stored of the device itself."""

    async def show(_: Hub, row: StoredDevice, source: Source | None, silent_since: int | None) -> Struct:
        return shown.of(row, source, silent_since)

    return show


async def _with_today(hub: Hub, row: StoredDevice, source: Source | None, silent_since: int | None) -> SolarInverter:
    return SolarInverter.of(row, source, silent_since, await recent.production(hub, row))


RESOURCES = (
    Resource(
        kind=DeviceKind.INVERTER,
        path="/solar-inverters",
        word="solar inverter",
        one="SolarInverter",
        many="SolarInverters",
        listing=SolarInverterPage,
        shown=SolarInverter,
        show=_with_today,
        intervals=SolarIntervals,
        energy="Production of a solar inverter",
    ),
    Resource(
        kind=DeviceKind.BATTERY,
        path="/batteries",
        word="battery",
        one="Battery",
        many="Batteries",
        listing=BatteryPage,
        shown=Battery,
        show=plainly(Battery),
        intervals=BatteryIntervals,
        energy="Charge and discharge of a battery",
    ),
    Resource(
        kind=DeviceKind.METER,
        path="/meters",
        word="meter",
        one="Meter",
        many="Meters",
        listing=MeterPage,
        shown=Meter,
        show=plainly(Meter),
        intervals=MeterIntervals,
        energy="Energy through a meter",
    ),
    Resource(
        kind=DeviceKind.CHARGER,
        path="/chargers",
        word="charger",
        one="Charger",
        many="Chargers",
        listing=ChargerPage,
        shown=Charger,
        show=plainly(Charger),
        intervals=ChargerIntervals,
        energy="What a charger drew",
    ),
)


def controllers() -> list[type[Controller]]:
    """Makes one for each kind of device."""
    return [_controller(resource) for resource in RESOURCES]


def _controller(of: Resource) -> type[Controller]:
    async def list_all(
        self: Controller,
        hub: HubDep,
        caller: CallerDep,
        asked: NamedDependency[DeviceFilter],
        paging: NamedDependency[Paging],
        stamp: StampDep,
    ) -> ListPage:
        page = await _device_page(hub, caller, of.kind, asked, paging, stamp)
        return of.listing(**{of.member: page.references}, errors=page.errors, **page.rest)

    async def show(
        self: Controller, hub: HubDep, caller: CallerDep, device_id: FromPath[str], provenance: FromWhere = False
    ) -> Struct:
        row = await sites.get_device(hub, caller.account_id, device_id, of.kind)
        source = await source_of(hub, row.source, provenance)
        return await of.show(hub, row, source, await _silent_since(hub, row))

    async def energy(
        self: Controller,
        request: Request[Any, Any, Any],
        hub: HubDep,
        caller: CallerDep,
        device_id: FromPath[str],
        window: WindowDep,
    ) -> Response[Any]:
        page = await intervals.of_device(hub, caller.account_id, device_id, of.kind, window)
        return answered(request, window, of.intervals, device_id, page)

    # The document tells what each answers: Litestar reads it from what the function says that it returns.
    list_all.__annotations__["return"] = of.listing
    show.__annotations__["return"] = of.shown
    energy.__annotations__["return"] = Response[of.intervals]  # type: ignore[name-defined]
    handlers = {
        "list_all": get("/", operation_id=f"list{of.many}", opt=LISTED, summary=f"List {of.words}")(list_all),
        "show": get("/{device_id:str}", operation_id=f"get{of.one}", opt=READ, summary=f"Show a {of.word}")(show),
        "energy": get(
            "/{device_id:str}/intervals", operation_id=f"get{of.one}Intervals", opt=INTERVALS, summary=of.energy
        )(energy),
    }
    told = {"path": of.path, "tags": [of.words.capitalize()], "guards": [require_caller]}
    return type(f"{of.one}Controller", (Controller,), told | handlers)


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
        known=caller.told.vendors,
        vendor=asked.vendor,
        vendor_id=asked.vendor_id,
        vendor_site_id=asked.vendor_site_id,
        site_id=asked.site_id,
        enrollment_id=opened_by(caller, asked.enrollment_id),
    )
    page, rest = paging.cut(found, str)
    errors = known_errors(caller, await list_errors.of_vendors(hub, caller.account_id, asked.vendor, stamp))
    return DevicePage(references=listed(page), errors=errors, rest=rest)
