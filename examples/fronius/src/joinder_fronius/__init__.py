"""Fronius inverters for Joinder, by the Solar API V1 in the owner's own network: plain http, no secret, no history.

Facts come from "Fronius Solar API V1", operating instructions 42,0410,2012; README.md lists what is not confirmed.
"""

from __future__ import annotations

from datetime import timedelta

from joinder import (
    Callback,
    Capability,
    Consent,
    Context,
    Field,
    Flow,
    Grant,
    Limits,
    Readings,
    ReadingsQuery,
    Refresh,
    Secrets,
    Site,
    Support,
    Vendor,
    hookimpl,
)
from joinder.errors import ConsentInvalid, DeviceUnreachable, NotSupported, UnexpectedPayload
from joinder.series import zone
from joinder_fronius import api, mapping

VENDOR = Vendor(
    name="fronius",
    label="Fronius",
    docs_url="https://www.fronius.com/en/solar-energy/installers-partners/technical-data/all-products/"
    "system-monitoring/open-interfaces/fronius-solar-api-json-",
    contract="1.0",
    flow=Flow.FORM,
    device_access="plain",
    device_ports=(80,),
    consent_fields=(
        Field(name="host", label="Address of the inverter", example="192.168.1.60"),
        Field(
            name="timezone",
            label="Time zone",
            help="Of the house, as in the IANA list: the inverter does not tell it",
            example="Europe/Vienna",
        ),
    ),
    consent_steps=(
        "Open the inverter's own web page as its technician",
        "Switch on the Solar API, under Communication",
        "Copy the inverter's address from the list of devices of your router",
    ),
    refresh=Refresh.STATIC_KEY,  # nothing expires
    limits=Limits(poll_every=timedelta(minutes=15), live_max_age=timedelta(minutes=1)),
    capabilities={
        Capability.SOLAR_INVERTERS: Support.YES,
        Capability.BATTERIES: Support.YES,
        Capability.METERS: Support.YES,
        Capability.SOLAR_INTERVALS: Support.YES,  # without a battery: see README.md
        Capability.BATTERY_INTERVALS: Support.VENDOR_HAS_NONE,
        Capability.METER_INTERVALS: Support.YES,
        Capability.LIVE: Support.YES,
    },
)


@hookimpl
def describe_vendor() -> Vendor:
    return VENDOR


@hookimpl
async def handle_callback(ctx: Context, callback: Callback) -> Consent:
    """The inverter is asked who it is: the unique id of the first one names the site, wherever it moves."""
    host, where = callback.values.get("host", "").strip(), callback.values.get("timezone", "").strip()
    if zone(where) is None:
        unknown = "This is no time zone of the IANA list; Europe/Vienna is one"
        raise ConsentInvalid(unknown, fields={"timezone": unknown})
    try:
        site_id = mapping.site_id(await api.inverters(ctx, host))
    except (DeviceUnreachable, NotSupported, UnexpectedPayload):
        nobody = "No Fronius Solar API answers at this address; check it, and that the Solar API is switched on"
        raise ConsentInvalid(nobody, fields={"host": nobody}) from None
    facts = {"host": host, "timezone": where, "site": site_id}
    return Consent(grant=Grant(secrets=Secrets({}), facts=facts, site_ids=(site_id,)), account_id=site_id)


@hookimpl
async def fetch_site(ctx: Context, grant: Grant, site_id: str) -> Site:
    host = grant.facts["host"]
    inverters = await _own_inverters(ctx, grant)
    meters, stores = await api.meters(ctx, host), await api.stores(ctx, host)
    return mapping.site(site_id, grant.facts["timezone"], inverters, meters, stores)


@hookimpl
async def fetch_readings(ctx: Context, grant: Grant, query: ReadingsQuery) -> Readings:
    """Registers on every poll, which core turns into intervals; live power when it is asked for."""
    if query.device_id is not None:
        raise NotSupported("The Solar API has no intervals of one device alone")
    host = grant.facts["host"]
    await _own_inverters(ctx, grant)
    flow, meters = await api.power_flow(ctx, host), await api.meters(ctx, host)
    live, warnings = mapping.live(flow, query.site) if query.live else (None, ())
    return Readings(counters=mapping.counters(flow, meters, query.site), live=live, warnings=warnings)


async def _own_inverters(ctx: Context, grant: Grant) -> dict[str, api.Inverter]:
    """Another inverter at the address is nobody's: routers hand addresses on."""
    found = await api.inverters(ctx, grant.facts["host"])
    if mapping.site_id(found) != grant.facts["site"]:
        raise DeviceUnreachable("Another inverter answers at this address; the owner must enter the new one")
    return found
