"""Virtual mode: sites, inverters and batteries that exist only here, and the page on which a virtual owner decides."""

from __future__ import annotations

from typing import Annotated, Any

from litestar import Controller, Request, Response, delete, get, post
from litestar.connection import ASGIConnection
from litestar.di import NamedDependency
from litestar.handlers.base import BaseRouteHandler
from litestar.params import FromPath, JSONBody, QueryParameter

from joinder import virtual
from joinder.api.auth import require_caller
from joinder.api.deps import CallerDep, HubDep, Paging
from joinder.api.owner_answers import look_of
from joinder.api.pages import render
from joinder.energy import DeviceKind
from joinder.runtime.hub import Hub
from joinder.services.join import virtual_homes
from joinder.services.join.consents import callback_url
from joinder.services.readings import sites
from joinder.services.records.accounts import Caller
from joinder.services.refusals import NotFound
from joinder.wire.base import Rest
from joinder.wire.virtual import (
    NewVirtualBattery,
    NewVirtualSite,
    NewVirtualSolarInverter,
    VirtualBattery,
    VirtualBatteryPage,
    VirtualSite,
    VirtualSitePage,
    VirtualSolarInverter,
    VirtualSolarInverterPage,
)


async def require_virtual(connection: ASGIConnection[Any, Any, Any, Any], _: BaseRouteHandler) -> None:
    """A guard, after `require_caller`: for others there is nothing here, whatever the id."""
    if not connection.scope["state"]["caller"].is_virtual:
        raise NotFound(
            "This belongs to virtual clients; an operator makes one with `joinder accounts create --virtual`."
        )


class VirtualSiteController(Controller):
    """Homes to try things with; GET /sites and all else show them as any other."""

    path = "/virtual/sites"
    tags = ["Virtual mode"]  # noqa: RUF012
    guards = [require_caller, require_virtual]  # noqa: RUF012

    @post("/", operation_id="createVirtualSite", opt={"scope": "manage:enrollments"}, summary="Make a virtual site")
    async def create(self, hub: HubDep, caller: CallerDep, data: JSONBody[NewVirtualSite]) -> VirtualSite:
        """Makes a site; `{}` is enough. It has a meter at the grid, and what is added to it."""
        return VirtualSite.of(*await virtual_homes.create(hub, caller.account_id, caller.client_id, data.home()))

    @get("/", operation_id="listVirtualSites", opt={"scope": "read:sites"}, summary="List virtual sites")
    async def list_all(self, hub: HubDep, caller: CallerDep, *, paging: NamedDependency[Paging]) -> VirtualSitePage:
        ids, rows = await virtual_homes.list_page(
            hub, caller.account_id, after=paging.after("site"), limit=paging.limit
        )
        _, rest = paging.cut(ids, str)
        return VirtualSitePage(virtual_sites=[VirtualSite.of(*row) for row in rows[: paging.size]], **rest)

    @get("/{site_id:str}", operation_id="getVirtualSite", opt={"scope": "read:sites"}, summary="Show a virtual site")
    async def show(self, hub: HubDep, caller: CallerDep, site_id: FromPath[str]) -> VirtualSite:
        return VirtualSite.of(*await virtual_homes.get(hub, caller.account_id, site_id))

    @delete(
        "/{site_id:str}",
        operation_id="deleteVirtualSite",
        opt={"scope": "manage:enrollments"},
        summary="Delete a virtual site",
    )
    async def remove(self, hub: HubDep, caller: CallerDep, site_id: FromPath[str]) -> None:
        """Ends the enrollments that open it, and erases it with its devices and readings."""
        await virtual_homes.delete(hub, caller.account_id, site_id, caller.client_id)


class VirtualSolarInverterController(Controller):
    path = "/virtual/solar-inverters"
    tags = ["Virtual mode"]  # noqa: RUF012
    guards = [require_caller, require_virtual]  # noqa: RUF012

    @post(
        "/",
        operation_id="createVirtualSolarInverter",
        opt={"scope": "manage:enrollments"},
        summary="Make a virtual solar inverter",
    )
    async def create(
        self, hub: HubDep, caller: CallerDep, data: JSONBody[NewVirtualSolarInverter]
    ) -> VirtualSolarInverter:
        """Adds one to `siteID`, or to a new site. The site's past is then what it would have been with it."""
        made = await virtual_homes.add_device(hub, caller.account_id, caller.client_id, data.device(), data.site_id)
        return VirtualSolarInverter.of(made)

    @get("/", operation_id="listVirtualSolarInverters", opt={"scope": "read:sites"}, summary="List virtual inverters")
    async def list_all(
        self, hub: HubDep, caller: CallerDep, *, paging: NamedDependency[Paging]
    ) -> VirtualSolarInverterPage:
        page, rest = await _devices(hub, caller, DeviceKind.INVERTER, paging)
        return VirtualSolarInverterPage(virtual_solar_inverters=[VirtualSolarInverter.of(one) for one in page], **rest)

    @get(
        "/{device_id:str}",
        operation_id="getVirtualSolarInverter",
        opt={"scope": "read:sites"},
        summary="Show a virtual solar inverter",
    )
    async def show(self, hub: HubDep, caller: CallerDep, device_id: FromPath[str]) -> VirtualSolarInverter:
        shown = await virtual_homes.get_device(hub, caller.account_id, device_id, DeviceKind.INVERTER)
        return VirtualSolarInverter.of(shown)

    @delete(
        "/{device_id:str}",
        operation_id="deleteVirtualSolarInverter",
        opt={"scope": "manage:enrollments"},
        summary="Delete a virtual solar inverter",
    )
    async def remove(self, hub: HubDep, caller: CallerDep, device_id: FromPath[str]) -> None:
        """Takes it out of its site."""
        await virtual_homes.remove_device(hub, caller.account_id, device_id, DeviceKind.INVERTER, caller.client_id)


class VirtualBatteryController(Controller):
    path = "/virtual/batteries"
    tags = ["Virtual mode"]  # noqa: RUF012
    guards = [require_caller, require_virtual]  # noqa: RUF012

    @post(
        "/", operation_id="createVirtualBattery", opt={"scope": "manage:enrollments"}, summary="Make a virtual battery"
    )
    async def create(self, hub: HubDep, caller: CallerDep, data: JSONBody[NewVirtualBattery]) -> VirtualBattery:
        """Adds one to `siteID`, or to a new site. The site's past is then what it would have been with it."""
        made = await virtual_homes.add_device(hub, caller.account_id, caller.client_id, data.device(), data.site_id)
        return VirtualBattery.of(made)

    @get("/", operation_id="listVirtualBatteries", opt={"scope": "read:sites"}, summary="List virtual batteries")
    async def list_all(self, hub: HubDep, caller: CallerDep, *, paging: NamedDependency[Paging]) -> VirtualBatteryPage:
        page, rest = await _devices(hub, caller, DeviceKind.BATTERY, paging)
        return VirtualBatteryPage(virtual_batteries=[VirtualBattery.of(one) for one in page], **rest)

    @get(
        "/{device_id:str}",
        operation_id="getVirtualBattery",
        opt={"scope": "read:sites"},
        summary="Show a virtual battery",
    )
    async def show(self, hub: HubDep, caller: CallerDep, device_id: FromPath[str]) -> VirtualBattery:
        shown = await virtual_homes.get_device(hub, caller.account_id, device_id, DeviceKind.BATTERY)
        return VirtualBattery.of(shown)

    @delete(
        "/{device_id:str}",
        operation_id="deleteVirtualBattery",
        opt={"scope": "manage:enrollments"},
        summary="Delete a virtual battery",
    )
    async def remove(self, hub: HubDep, caller: CallerDep, device_id: FromPath[str]) -> None:
        """Takes it out of its site."""
        await virtual_homes.remove_device(hub, caller.account_id, device_id, DeviceKind.BATTERY, caller.client_id)


@get("/virtual/consent", media_type="text/html", include_in_schema=False)
async def virtual_consent(
    request: Request[Any, Any, Any],
    hub: HubDep,
    session: Annotated[str, QueryParameter(name="state", description="Of the join session.")] = "",
    redirect_uri: Annotated[str, QueryParameter(description="Ours; it is not looked at.")] = "",
) -> Response[str]:
    """Public. Stands for a vendor's consent page: grants, denies, fails, or lets the vendor decide later."""
    owner = await virtual_homes.owner_of(hub, session)
    return render.virtual_owner(await look_of(request, hub), callback_url(hub, virtual.NAME), session, owner)


async def _devices(
    hub: Hub, caller: Caller, kind: DeviceKind, paging: Paging
) -> tuple[list[virtual_homes.ShownDevice], Rest]:
    ids, shown = await virtual_homes.list_devices(
        hub, caller.account_id, kind, after=paging.after(sites.TAGS[kind]), limit=paging.limit
    )
    _, rest = paging.cut(ids, str)
    return shown[: paging.size], rest
