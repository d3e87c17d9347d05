"""Enphase IQ Gateway (Envoy), read in the owner's own network with the token of its owner. Firmware 7 and newer."""

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
    Site,
    Support,
    Vendor,
    hookimpl,
)
from joinder_iq_gateway.join import join_gateway
from joinder_iq_gateway.read import read_readings, read_site

VENDOR = Vendor(
    name="iqgateway",
    label="Enphase IQ Gateway",
    docs_url="https://enphase.com/download/accessing-iq-gateway-local-apis-or-local-ui-token-based-authentication",
    flow=Flow.FORM,
    device_access="pinned",
    consent_fields=(
        Field(
            name="host",
            label="Address of your IQ Gateway",
            help="Its IP address in your home network, as your router or the Enphase app shows it.",
            example="192.168.1.50",
            max_length=253,
        ),
        Field(
            name="token",
            label="Access token",
            secret=True,
            multiline=True,
            help="One long line with two dots in it. It works for one year and for this one gateway.",
        ),
        Field(name="name", label="Name of this system", required=False, example="Roof south", max_length=80),
    ),
    consent_steps=(
        "Open entrez.enphaseenergy.com in your browser and log in with your Enphase account.",
        "Choose your system, then your IQ Gateway; if there are several, one token is needed for each.",
        "Press “Create access token” and copy the whole text that appears.",
        "Paste it below, together with your gateway's address in your home network.",
    ),
    key_page="https://entrez.enphaseenergy.com/",
    texts=__name__,
    data_read=(
        "solar production, and each microinverter's",
        "grid import and export, where your gateway has consumption meters",
        "charge level and power of batteries",
        "names and state of these devices, and your gateway's time zone",
    ),
    limits=Limits(
        poll_every=timedelta(seconds=60),
        live_max_age=timedelta(seconds=60),
        max_concurrency=1,
    ),
    capabilities={
        Capability.SOLAR_INVERTERS: Support.YES,
        Capability.BATTERIES: Support.YES,
        Capability.METERS: Support.YES,
        Capability.SOLAR_INTERVALS: Support.YES,
        Capability.BATTERY_INTERVALS: Support.YES,
        Capability.METER_INTERVALS: Support.YES,
        Capability.LIVE: Support.YES,
    },
)


@hookimpl
def describe_vendor() -> Vendor:
    return VENDOR


@hookimpl
async def handle_callback(ctx: Context, callback: Callback) -> Consent:
    return await join_gateway(ctx, callback)


@hookimpl
async def fetch_site(ctx: Context, grant: Grant, site_id: str) -> Site:
    return await read_site(ctx, grant, site_id)


@hookimpl
async def fetch_readings(ctx: Context, grant: Grant, query: ReadingsQuery) -> Readings:
    return await read_readings(ctx, grant, query)
