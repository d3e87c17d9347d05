"""Huawei FusionSolar for Joinder, by the SmartPVMS Northbound API: a chosen region, a session token, hourly rows.

Facts come from the documents README.md names; it lists what is not confirmed.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from joinder import (
    SOLAR_AND_STORAGE,
    Callback,
    Consent,
    Context,
    Field,
    Flow,
    Grant,
    History,
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
from joinder.errors import AuthorizationLost, ConsentInvalid, NotSupported
from joinder_huawei import api, mapping

VENDOR = Vendor(
    name="huawei",
    label="Huawei FusionSolar",
    docs_url="https://support.huawei.com/enterprise/en/doc/EDOC1100465337",
    contract="1.0",
    flow=Flow.FORM,
    hosts=tuple(region.host for region in api.REGIONS.values()),
    consent_fields=(
        Field(
            name="region",
            label="Region",
            help="The address you sign in at begins with it",
            choices=tuple((name, region.label) for name, region in api.REGIONS.items()),
        ),
        Field(name="userName", label="Name of the API account", help="Not your own sign-in"),
        Field(name="systemCode", label="Password of the API account", secret=True),
    ),
    consent_steps=(
        "Ask your installer, or sign in to FusionSolar as the company that owns the plant",
        "Open System, Company Management, Northbound Management",
        "Add an API account for basic data of this plant, and copy its name and password",
    ),
    refresh=Refresh.STATIC_KEY,  # nothing expires but sessions, which Joinder makes anew
    limits=Limits(
        poll_every=timedelta(hours=2),  # some 25 calls a day of one interface; a new row comes each hour
        max_concurrency=1,
        history=(
            History(resolution="15mins", window=timedelta(days=1)),
            History(resolution="day", window=timedelta(days=31)),
        ),
    ),
    capabilities=dict.fromkeys(SOLAR_AND_STORAGE, Support.YES),
)


@hookimpl
def describe_vendor() -> Vendor:
    return VENDOR


@hookimpl
async def handle_callback(ctx: Context, callback: Callback) -> Consent:
    """Tries the account before it is stored, in one session: there is no grant yet that another could be kept for."""
    entered = callback.values
    region = entered.get("region", "")
    if region not in api.REGIONS:
        raise ConsentInvalid("Choose a region", fields={"region": "Choose one of the list"})
    grant = Grant(
        secrets=Secrets({"system_code": entered.get("systemCode", "")}),
        facts={"region": region, "user": entered.get("userName", "")},
    )
    try:
        session = await api.log_in(ctx, grant)
        plants = await api.plants(ctx, grant, session.value)
    except AuthorizationLost:
        wrong = "FusionSolar does not know this API account in this region; check its name and password"
        raise ConsentInvalid(wrong, fields={"systemCode": wrong}) from None
    if not plants:
        raise ConsentInvalid("This API account opens no plant; choose the plant where the account was made")
    ids = tuple(plant.plant_code for plant in plants)
    return Consent(grant=replace(grant, site_ids=ids), account_id=f"{region}:{grant.facts['user']}")


@hookimpl
async def fetch_site(ctx: Context, grant: Grant, site_id: str) -> Site:
    plant = next((one for one in await api.plants(ctx, grant) if one.plant_code == site_id), None)
    if plant is None:
        raise NotSupported("FusionSolar does not show this plant to the API account")
    return mapping.site(plant, await api.devices(ctx, grant, site_id))


@hookimpl
async def fetch_readings(ctx: Context, grant: Grant, query: ReadingsQuery) -> Readings:
    """Rows of whole hours or days, and power by devices, of each kind in one call."""
    if query.device_id is not None:
        raise NotSupported("Only the figures of whole FusionSolar plants are read")
    live = None
    if query.live:
        told = [await api.now(ctx, grant, kind, ids) for kind, ids in mapping.asked_now(query.site)]
        live = mapping.live(told, query.site)
    if query.start >= query.end:
        return Readings(live=live)
    call, moments = mapping.moments(query)
    rows = [row for at in moments for row in await api.rows(ctx, grant, call, query.site.vendor_id, at)]
    return Readings(intervals=mapping.readings(rows, query, ctx.now()), live=live)
