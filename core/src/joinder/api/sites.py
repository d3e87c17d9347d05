"""Sites: what they are, their history, their power now."""

from __future__ import annotations

from typing import Any

from litestar import Controller, Request, Response, get
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery

from joinder.api.auth import require_caller
from joinder.api.deps import (
    CallerDep,
    FromWhere,
    HubDep,
    OfEnrollment,
    Paging,
    StampDep,
    VendorID,
    VendorName,
    WindowDep,
    answered,
    known_errors,
    opened_by,
    source_of,
)
from joinder.api.formats import INTERVALS, LISTED
from joinder.energy import DeviceKind
from joinder.services.readings import intervals, ledger, list_errors, live, sites
from joinder.wire.base import listed
from joinder.wire.coverage import Coverage
from joinder.wire.intervals import BatteryIntervals, ChargerIntervals, MeterIntervals, SolarIntervals
from joinder.wire.live import Live
from joinder.wire.sites import ExpandedSitePage, Site, SitePage


class SiteController(Controller):
    path = "/sites"
    tags = ["Sites"]  # noqa: RUF012
    guards = [require_caller]  # noqa: RUF012

    @get("/", operation_id="listSites", opt=LISTED, summary="List sites")
    async def list_all(
        self,
        hub: HubDep,
        caller: CallerDep,
        vendor: VendorName = None,
        vendor_id: VendorID = None,
        enrollment_id: OfEnrollment = None,
        expand: FromQuery[bool] = False,
        *,
        paging: NamedDependency[Paging],
        stamp: StampDep,
    ) -> SitePage | ExpandedSitePage:
        found = await sites.site_ids(
            hub,
            caller.account_id,
            after=paging.after("site"),
            limit=paging.limit,
            known=caller.told.vendors,
            vendor=vendor,
            vendor_id=vendor_id,
            enrollment_id=opened_by(caller, enrollment_id),
        )
        page, rest = paging.cut(found, str)
        errors = known_errors(caller, await list_errors.of_vendors(hub, caller.account_id, vendor, stamp))
        if not expand:
            return SitePage(sites=listed(page), errors=errors, **rest)
        rows = await sites.get_sites(hub, caller.account_id, page)
        return ExpandedSitePage(sites=[Site.of(*row) for row in rows], errors=errors, **rest)

    @get("/{site_id:str}", operation_id="getSite", opt={"scope": "read:sites"}, summary="Show a site")
    async def show(self, hub: HubDep, caller: CallerDep, site_id: FromPath[str]) -> Site:
        site, devices = await sites.get_site(hub, caller.account_id, site_id)
        return Site.of(site, devices)

    @get(
        "/{site_id:str}/coverage",
        operation_id="getSiteCoverage",
        opt={"scope": "read:sites"},
        summary="What was asked of a site's history",
    )
    async def coverage(self, hub: HubDep, caller: CallerDep, site_id: FromPath[str]) -> Coverage:
        """Lists the ledger as stored: spans of each series that the vendor was asked for, newest first, at most 500."""
        return Coverage.of(site_id, await ledger.of_site(hub, caller.account_id, site_id))

    @get(
        "/{site_id:str}/live",
        operation_id="getSiteLivePower",
        opt={"scope": "read:sites"},
        summary="Latest power of a site",
    )
    async def live(self, hub: HubDep, caller: CallerDep, site_id: FromPath[str], provenance: FromWhere = False) -> Live:
        """Asks the vendor when the stored value is too old; when that fails, the old value with `stale: true`."""
        power = await live.get_live(hub, caller.account_id, site_id)
        return Live.of(site_id, power, await source_of(hub, power.source, provenance))

    @get(
        "/{site_id:str}/solar-intervals",
        operation_id="getSiteSolarIntervals",
        opt=INTERVALS,
        summary="Solar production of a site",
    )
    async def solar(
        self,
        request: Request[Any, Any, Any],
        hub: HubDep,
        caller: CallerDep,
        site_id: FromPath[str],
        window: WindowDep,
    ) -> Response[SolarIntervals]:
        """Lists [start, end), widened to whole periods of the site's time zone; the last day when left out."""
        page = await intervals.of_site(hub, caller.account_id, site_id, DeviceKind.INVERTER, window)
        return answered(request, window, SolarIntervals, site_id, page)

    @get(
        "/{site_id:str}/battery-intervals",
        operation_id="getSiteBatteryIntervals",
        opt=INTERVALS,
        summary="Battery energy of a site",
    )
    async def battery(
        self,
        request: Request[Any, Any, Any],
        hub: HubDep,
        caller: CallerDep,
        site_id: FromPath[str],
        window: WindowDep,
    ) -> Response[BatteryIntervals]:
        page = await intervals.of_site(hub, caller.account_id, site_id, DeviceKind.BATTERY, window)
        return answered(request, window, BatteryIntervals, site_id, page)

    @get(
        "/{site_id:str}/meter-intervals",
        operation_id="getSiteMeterIntervals",
        opt=INTERVALS,
        summary="Grid and load of a site",
    )
    async def meter(
        self,
        request: Request[Any, Any, Any],
        hub: HubDep,
        caller: CallerDep,
        site_id: FromPath[str],
        window: WindowDep,
    ) -> Response[MeterIntervals]:
        page = await intervals.of_site(hub, caller.account_id, site_id, DeviceKind.METER, window)
        return answered(request, window, MeterIntervals, site_id, page)

    @get(
        "/{site_id:str}/charger-intervals",
        operation_id="getSiteChargerIntervals",
        opt=INTERVALS,
        summary="What chargers of a site drew",
    )
    async def charger(
        self,
        request: Request[Any, Any, Any],
        hub: HubDep,
        caller: CallerDep,
        site_id: FromPath[str],
        window: WindowDep,
    ) -> Response[ChargerIntervals]:
        page = await intervals.of_site(hub, caller.account_id, site_id, DeviceKind.CHARGER, window)
        return answered(request, window, ChargerIntervals, site_id, page)
