"""Acme's box for Joinder, read in the owner's own network. What is said of it here should name its source."""

from __future__ import annotations

from datetime import timedelta

from joinder import (
    SOLAR_AND_STORAGE,
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
from joinder_acme import api, mapping

VENDOR = Vendor(
    name="acme",
    label="Acme",
    docs_url="https://developer.acme.example/",
    contract="1.0",  # the oldest contract that has all of this; what it promises: docs/contract.md
    flow=Flow.FORM,
    device_access="plain",  # "pinned" where the box speaks https; then a secret may go to it
    device_ports=(80,),  # the only ones; the first where ctx.device names none
    consent_fields=(Field(name="host", label="Address of the box", example="192.168.1.60"),),
    consent_steps=("Open your router's list of devices", "Copy the address of the one named acme"),
    refresh=Refresh.STATIC_KEY,  # nothing expires
    limits=Limits(poll_every=timedelta(minutes=15)),  # no history: intervals come from the registers
    capabilities={
        **dict.fromkeys(SOLAR_AND_STORAGE, Support.YES),
        Capability.CHARGERS: Support.YES,  # of cars; what is not named here is not read yet
        Capability.CHARGER_INTERVALS: Support.YES,
    },
)


@hookimpl
def describe_vendor() -> Vendor:
    return VENDOR


@hookimpl
async def handle_callback(ctx: Context, callback: Callback) -> Consent:
    """The box is asked who it is: its serial is the site, wherever it moves."""
    host = callback.values.get("host", "").strip()
    try:
        info = await api.get(ctx, host, "/info", api.Info)
    except (DeviceUnreachable, NotSupported, UnexpectedPayload):
        nobody = "No Acme box answers at this address; check it, and that this server may reach that network"
        raise ConsentInvalid(nobody, fields={"host": nobody}) from None
    return Consent(
        grant=Grant(secrets=Secrets({}), facts={"host": host, "serial": info.serial}, site_ids=(info.serial,)),
        account_id=info.serial,
    )


@hookimpl
async def fetch_site(ctx: Context, grant: Grant, site_id: str) -> Site:
    return mapping.site(await _info(ctx, grant))


@hookimpl
async def fetch_readings(ctx: Context, grant: Grant, query: ReadingsQuery) -> Readings:
    """Registers on every poll, which core turns into intervals; live power when it is asked for."""
    if query.device_id is not None:
        raise NotSupported("An Acme box has no intervals of one device alone")
    await _info(ctx, grant)
    totals = await api.get(ctx, grant.facts["host"], "/totals", api.Totals)
    if not query.live:
        return Readings(counters=mapping.counters(totals))
    power = await api.get(ctx, grant.facts["host"], "/power", api.Power)
    live, warnings = mapping.live(power)
    return Readings(counters=mapping.counters(totals), live=live, warnings=warnings)


async def _info(ctx: Context, grant: Grant) -> api.Info:
    """Another box at the address is nobody's: routers hand addresses on."""
    info = await api.get(ctx, grant.facts["host"], "/info", api.Info)
    if info.serial != grant.facts["serial"]:
        raise DeviceUnreachable("Another box answers at this address; the owner must enter the new one")
    return info
