"""What an integrator reads: enrollments, sites, devices, intervals, live power."""

from __future__ import annotations

from typing import Annotated, Any

from litestar import Controller, delete, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery, JSONBody, QueryParameter

from joinder.api import schemas, wire
from joinder.api.auth import require_caller
from joinder.api.deps import DeviceFilter, FromWhere, Paging
from joinder.energy import DeviceKind
from joinder.runtime.hub import Hub
from joinder.services.admin import pausing
from joinder.services.join import enrollments, reconnect, renewal
from joinder.services.readings import intervals, ledger, live, silence, sites
from joinder.services.readings.intervals import Window
from joinder.services.readings.provenance import Source, sources
from joinder.services.records import notices
from joinder.services.records.accounts import Caller
from joinder.store.sites import StoredDevice, read_devices

VendorID = Annotated[str | None, QueryParameter(name="vendorID")]
HubDep = NamedDependency[Hub]
CallerDep = NamedDependency[Caller]
WindowDep = NamedDependency[Window]


class EnrollmentController(Controller):
    """One consent each: what it opened, and how the connection is."""

    path = "/enrollments"
    tags = ["Enrollments"]  # noqa: RUF012
    guards = [require_caller]  # noqa: RUF012

    @get("/", opt={"scope": "read:enrollments"}, summary="List enrollments")
    async def list_all(
        self,
        hub: HubDep,
        caller: CallerDep,
        vendor: FromQuery[str | None] = None,
        status: FromQuery[str | None] = None,
        health: FromQuery[str | None] = None,
        program_id: Annotated[str | None, QueryParameter(name="programID")] = None,
        flow_id: Annotated[str | None, QueryParameter(name="flowID")] = None,
        *,
        paging: NamedDependency[Paging],
    ) -> schemas.EnrollmentPage:
        asked = {"vendor": vendor, "status": status, "health": health, "program_id": program_id, "flow_id": flow_id}
        filters = {name: value for name, value in asked.items() if value is not None}
        rows = await enrollments.list_page(hub, caller.account_id, filters, after=paging.after, limit=paging.limit)
        page, following = paging.cut(rows, lambda overview: overview.row.id)
        return schemas.EnrollmentPage(enrollments=[wire.enrollment(row) for row in page], next_page_token=following)

    @get("/{enrollment_id:str}", opt={"scope": "read:enrollments"}, summary="Show an enrollment")
    async def show(self, hub: HubDep, caller: CallerDep, enrollment_id: FromPath[str]) -> schemas.Enrollment:
        """With `warnings`: what was doubtful about its vendor's answers in the last week."""
        shown = await enrollments.get(hub, caller.account_id, enrollment_id)
        return wire.enrollment(shown, await notices.of_enrollment(hub, enrollment_id))

    @get("/{enrollment_id:str}/tokens", opt={"scope": "read:enrollments"}, summary="Show where its tokens came from")
    async def tokens(self, hub: HubDep, caller: CallerDep, enrollment_id: FromPath[str]) -> schemas.TokenList:
        """The lineage of the grant: the last twenty tokens, newest first, without the tokens."""
        return wire.tokens(await enrollments.lineage(hub, caller.account_id, enrollment_id))

    @delete("/{enrollment_id:str}", opt={"scope": "manage:enrollments"}, summary="End an enrollment")
    async def remove(self, hub: HubDep, caller: CallerDep, enrollment_id: FromPath[str]) -> None:
        """Erases its tokens, sites, devices and readings."""
        await enrollments.delete(hub, caller.account_id, enrollment_id, caller.client_id)

    @post(
        "/{enrollment_id:str}/refresh",
        opt={"scope": "manage:enrollments"},
        status_code=200,
        summary="Renew the connection now",
    )
    async def renew(self, hub: HubDep, caller: CallerDep, enrollment_id: FromPath[str]) -> schemas.Enrollment:
        """Renews the vendor token; asks whether a pending enrollment is approved; polls one that had stopped."""
        await enrollments.get(hub, caller.account_id, enrollment_id)
        await renewal.renew(hub, enrollment_id)
        return wire.enrollment(await enrollments.get(hub, caller.account_id, enrollment_id))

    @post("/{enrollment_id:str}/pause", opt={"scope": "manage:enrollments"}, status_code=200, summary="Stop reading it")
    async def pause(self, hub: HubDep, caller: CallerDep, enrollment_id: FromPath[str]) -> schemas.Enrollment:
        """Its token is kept alive; what is stored is served, `stale`. Twice is harmless."""
        await pausing.pause(hub, caller.account_id, enrollment_id, caller.client_id)
        return wire.enrollment(await enrollments.get(hub, caller.account_id, enrollment_id))

    @post("/{enrollment_id:str}/resume", opt={"scope": "manage:enrollments"}, status_code=200, summary="Read it again")
    async def resume(self, hub: HubDep, caller: CallerDep, enrollment_id: FromPath[str]) -> schemas.Enrollment:
        """From now on. Twice is harmless."""
        await pausing.resume(hub, caller.account_id, enrollment_id, caller.client_id)
        return wire.enrollment(await enrollments.get(hub, caller.account_id, enrollment_id))

    @post(
        "/{enrollment_id:str}/release",
        opt={"scope": "manage:enrollments"},
        status_code=200,
        summary="Let it out of quarantine",
    )
    async def release(self, hub: HubDep, caller: CallerDep, enrollment_id: FromPath[str]) -> schemas.Enrollment:
        """Everything that stood still is tried again now. 409 when it is not in quarantine."""
        await pausing.release(hub, caller.account_id, enrollment_id, caller.client_id)
        return wire.enrollment(await enrollments.get(hub, caller.account_id, enrollment_id))

    @post(
        "/{enrollment_id:str}/reconnect",
        opt={"scope": "manage:enrollments"},
        status_code=200,
        summary="Make a link for the owner to consent again",
    )
    async def reconnect(
        self,
        hub: HubDep,
        caller: CallerDep,
        enrollment_id: FromPath[str],
        data: JSONBody[schemas.Reconnect | None] = None,
    ) -> schemas.ReconnectLink:
        """The enrollment, its sites and history are kept. `redirectURI`: the join flow's, when left out."""
        redirect_uri = data.redirect_uri if data is not None else None
        return schemas.ReconnectLink(url=await reconnect.ask(hub, caller.account_id, enrollment_id, redirect_uri))


class SiteController(Controller):
    path = "/sites"
    tags = ["Sites"]  # noqa: RUF012
    guards = [require_caller]  # noqa: RUF012

    @get("/", opt={"scope": "read:sites"}, summary="List sites")
    async def list_all(
        self,
        hub: HubDep,
        caller: CallerDep,
        vendor: FromQuery[str | None] = None,
        vendor_id: VendorID = None,
        expand: FromQuery[bool] = False,
        *,
        paging: NamedDependency[Paging],
    ) -> schemas.SitePage | schemas.ExpandedSitePage:
        found = await sites.site_ids(
            hub, caller.account_id, after=paging.after, limit=paging.limit, vendor=vendor, vendor_id=vendor_id
        )
        page, following = paging.cut(found, str)
        errors = await sites.troubled_vendors(hub, caller.account_id)
        if not expand:
            return schemas.SitePage(sites=wire.references(page), errors=errors, next_page_token=following)
        rows = await sites.get_sites(hub, caller.account_id, page)
        return schemas.ExpandedSitePage(
            sites=[wire.site(*row) for row in rows], errors=errors, next_page_token=following
        )

    @get("/{site_id:str}", opt={"scope": "read:sites"}, summary="Show a site")
    async def show(self, hub: HubDep, caller: CallerDep, site_id: FromPath[str]) -> schemas.Site:
        return wire.site(*await sites.get_site(hub, caller.account_id, site_id))

    @get("/{site_id:str}/coverage", opt={"scope": "read:sites"}, summary="What was asked of a site's history")
    async def coverage(self, hub: HubDep, caller: CallerDep, site_id: FromPath[str]) -> schemas.Coverage:
        """The ledger, as stored: spans of each series that the vendor was asked for, the newest first, at most 500."""
        return wire.coverage(site_id, await ledger.of_site(hub, caller.account_id, site_id))

    @get("/{site_id:str}/live", opt={"scope": "read:sites"}, summary="Latest power of a site")
    async def live(
        self, hub: HubDep, caller: CallerDep, site_id: FromPath[str], provenance: FromWhere = False
    ) -> schemas.Live:
        """Asks the vendor when the stored value is too old; when that fails, the old value with `stale: true`."""
        power = await live.get_live(hub, caller.account_id, site_id)
        return wire.live(site_id, power, await _source(hub, power.source, provenance))

    @get("/{site_id:str}/solar-intervals", opt={"scope": "read:sites"}, summary="Solar production of a site")
    async def solar(
        self,
        hub: HubDep,
        caller: CallerDep,
        site_id: FromPath[str],
        window: WindowDep,
    ) -> schemas.SolarIntervals:
        """[start, end), widened to whole periods of the site's time zone; the last day when left out."""
        page = await intervals.of_site(hub, caller.account_id, site_id, DeviceKind.INVERTER, window)
        return wire.solar_intervals(site_id, window.level, page)

    @get("/{site_id:str}/battery-intervals", opt={"scope": "read:sites"}, summary="Battery energy of a site")
    async def battery(
        self,
        hub: HubDep,
        caller: CallerDep,
        site_id: FromPath[str],
        window: WindowDep,
    ) -> schemas.BatteryIntervals:
        page = await intervals.of_site(hub, caller.account_id, site_id, DeviceKind.BATTERY, window)
        return wire.battery_intervals(site_id, window.level, page)

    @get("/{site_id:str}/meter-intervals", opt={"scope": "read:sites"}, summary="Grid and load of a site")
    async def meter(
        self,
        hub: HubDep,
        caller: CallerDep,
        site_id: FromPath[str],
        window: WindowDep,
    ) -> schemas.MeterIntervals:
        page = await intervals.of_site(hub, caller.account_id, site_id, DeviceKind.METER, window)
        return wire.meter_intervals(site_id, window.level, page)


class SolarInverterController(Controller):
    path = "/solar-inverters"
    tags = ["Solar inverters"]  # noqa: RUF012
    guards = [require_caller]  # noqa: RUF012

    @get("/", opt={"scope": "read:sites"}, summary="List solar inverters")
    async def list_all(
        self,
        hub: HubDep,
        caller: CallerDep,
        asked: NamedDependency[DeviceFilter],
        paging: NamedDependency[Paging],
    ) -> schemas.SolarInverterPage:
        page = await _device_page(hub, caller, DeviceKind.INVERTER, asked, paging)
        return schemas.SolarInverterPage(
            solar_inverters=page.references, errors=page.errors, next_page_token=page.following
        )

    @get("/{device_id:str}", opt={"scope": "read:sites"}, summary="Show a solar inverter")
    async def show(
        self, hub: HubDep, caller: CallerDep, device_id: FromPath[str], provenance: FromWhere = False
    ) -> schemas.SolarInverter:
        row = await sites.get_device(hub, caller.account_id, device_id, DeviceKind.INVERTER)
        source = await _source(hub, row.source, provenance)
        return wire.solar_inverter(row, source, await _silent_since(hub, row))

    @get("/{device_id:str}/intervals", opt={"scope": "read:sites"}, summary="Production of a solar inverter")
    async def production(
        self,
        hub: HubDep,
        caller: CallerDep,
        device_id: FromPath[str],
        window: WindowDep,
    ) -> schemas.SolarIntervals:
        page = await intervals.of_device(hub, caller.account_id, device_id, DeviceKind.INVERTER, window)
        return wire.solar_intervals(device_id, window.level, page)


class BatteryController(Controller):
    path = "/batteries"
    tags = ["Batteries"]  # noqa: RUF012
    guards = [require_caller]  # noqa: RUF012

    @get("/", opt={"scope": "read:sites"}, summary="List batteries")
    async def list_all(
        self,
        hub: HubDep,
        caller: CallerDep,
        asked: NamedDependency[DeviceFilter],
        paging: NamedDependency[Paging],
    ) -> schemas.BatteryPage:
        page = await _device_page(hub, caller, DeviceKind.BATTERY, asked, paging)
        return schemas.BatteryPage(batteries=page.references, errors=page.errors, next_page_token=page.following)

    @get("/{device_id:str}", opt={"scope": "read:sites"}, summary="Show a battery")
    async def show(
        self, hub: HubDep, caller: CallerDep, device_id: FromPath[str], provenance: FromWhere = False
    ) -> schemas.Battery:
        row = await sites.get_device(hub, caller.account_id, device_id, DeviceKind.BATTERY)
        source = await _source(hub, row.source, provenance)
        return wire.battery(row, source, await _silent_since(hub, row))

    @get("/{device_id:str}/intervals", opt={"scope": "read:sites"}, summary="Charge and discharge of a battery")
    async def energy(
        self,
        hub: HubDep,
        caller: CallerDep,
        device_id: FromPath[str],
        window: WindowDep,
    ) -> schemas.BatteryIntervals:
        page = await intervals.of_device(hub, caller.account_id, device_id, DeviceKind.BATTERY, window)
        return wire.battery_intervals(device_id, window.level, page)


class MeterController(Controller):
    path = "/meters"
    tags = ["Meters"]  # noqa: RUF012
    guards = [require_caller]  # noqa: RUF012

    @get("/", opt={"scope": "read:sites"}, summary="List meters")
    async def list_all(
        self,
        hub: HubDep,
        caller: CallerDep,
        asked: NamedDependency[DeviceFilter],
        paging: NamedDependency[Paging],
    ) -> schemas.MeterPage:
        page = await _device_page(hub, caller, DeviceKind.METER, asked, paging)
        return schemas.MeterPage(meters=page.references, errors=page.errors, next_page_token=page.following)

    @get("/{device_id:str}", opt={"scope": "read:sites"}, summary="Show a meter")
    async def show(
        self, hub: HubDep, caller: CallerDep, device_id: FromPath[str], provenance: FromWhere = False
    ) -> schemas.Meter:
        row = await sites.get_device(hub, caller.account_id, device_id, DeviceKind.METER)
        source = await _source(hub, row.source, provenance)
        return wire.meter(row, source, await _silent_since(hub, row))

    @get("/{device_id:str}/intervals", opt={"scope": "read:sites"}, summary="Energy through a meter")
    async def energy(
        self,
        hub: HubDep,
        caller: CallerDep,
        device_id: FromPath[str],
        window: WindowDep,
    ) -> schemas.MeterIntervals:
        page = await intervals.of_device(hub, caller.account_id, device_id, DeviceKind.METER, window)
        return wire.meter_intervals(device_id, window.level, page)


async def _silent_since(hub: Hub, row: StoredDevice) -> int | None:
    """The other devices are read only where its last report is old."""
    others = await read_devices(hub.store, row.site_id) if silence.is_late(row) else []
    return silence.since(row, others)


async def _source(hub: Hub, source_id: int | None, is_asked: bool) -> Source | None:
    """None where it was not asked for, or nothing is known."""
    if not is_asked or source_id is None:
        return None
    return (await sources(hub, [source_id])).get(source_id)


async def _device_page(
    hub: Hub, caller: Caller, kind: DeviceKind, asked: DeviceFilter, paging: Paging
) -> wire.DevicePage:
    found = await sites.device_ids(
        hub,
        caller.account_id,
        kind,
        after=paging.after,
        limit=paging.limit,
        vendor=asked.vendor,
        vendor_id=asked.vendor_id,
        vendor_site_id=asked.vendor_site_id,
    )
    page, following = paging.cut(found, str)
    errors = await sites.troubled_vendors(hub, caller.account_id)
    return wire.DevicePage(references=wire.references(page), errors=errors, following=following)


CONTROLLERS: list[Any] = [
    EnrollmentController,
    SiteController,
    SolarInverterController,
    BatteryController,
    MeterController,
]
