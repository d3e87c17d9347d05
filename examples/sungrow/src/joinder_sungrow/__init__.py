"""Sungrow inverters for Joinder, by iSolarCloud's OpenAPI: owners consent on pages that return no `state`.

Facts come from the documents README.md names; it lists what is not confirmed.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from msgspec import structs

from joinder import (
    SOLAR_AND_STORAGE,
    AppCredentialType,
    AuthorizeRequest,
    Callback,
    Consent,
    Context,
    Field,
    Flow,
    Grant,
    History,
    Limits,
    OAuth2,
    Readings,
    ReadingsQuery,
    Refresh,
    Site,
    Support,
    Vendor,
    hookimpl,
    oauth,
)
from joinder.errors import ConsentInvalid, NotSupported
from joinder_sungrow import api, mapping, tokens

_OAUTH2 = OAuth2(  # of the European cloud; another region's pages lie at the same path of its own host
    authorize_url=f"https://{api.REGIONS['eu'].pages}/#/authorized-app",
    token_url=f"https://{api.REGIONS['eu'].gateway}/openapi/apiManage/token",
    client_id_parameter="applicationId",
    redirect_parameter="redirectUrl",
    state_in="redirect_uri",
    fragment=True,
)
VENDOR = Vendor(
    name="sungrow",
    label="Sungrow",
    docs_url="https://developer-api.isolarcloud.com/",
    contract="1.0",
    flow=Flow.REDIRECT,
    hosts=tuple(host for region in api.REGIONS.values() for host in (region.pages, region.gateway)),
    app_credentials=(
        AppCredentialType(
            type="oauth",
            label="App of the iSolarCloud developer portal",
            fields=(
                Field(
                    name="region",
                    label="Region",
                    help="Of the developer portal's account: its owners' systems are in that cloud",
                    choices=tuple((name, region.label) for name, region in api.REGIONS.items()),
                ),
                Field(name="clientID", label="Application ID", help="In the app's Authorize URL, as applicationId"),
                Field(name="appKey", label="Appkey", secret=True),
                Field(name="clientSecret", label="Secret key", secret=True),
            ),
        ),
    ),
    oauth2=_OAUTH2,
    refresh=Refresh.ROTATING,
    limits=Limits(
        poll_every=timedelta(minutes=15),  # new figures come every five minutes
        history=(History(resolution="15mins", window=timedelta(days=1)),),
    ),
    capabilities=dict.fromkeys(SOLAR_AND_STORAGE, Support.YES),
)


@hookimpl
def describe_vendor() -> Vendor:
    return VENDOR


@hookimpl
async def build_authorize_url(ctx: Context, request: AuthorizeRequest) -> str:
    """Sends the owner to the pages of the app's region, which want that region's number as well."""
    region = api.region_of(ctx)
    there = structs.replace(_OAUTH2, authorize_url=f"https://{region.pages}/#/authorized-app")
    return oauth.authorize_url(there, ctx.require_app(), request, cloudId=region.cloud_id)


@hookimpl
async def handle_callback(ctx: Context, callback: Callback) -> Consent:
    """Lists the plants the owner chose. Nobody says who the owner is, so the consent has no account."""
    grant = await tokens.consented(ctx, _OAUTH2, callback)
    plants = await api.plants(ctx, grant)
    if not plants:
        raise ConsentInvalid("This consent opens no iSolarCloud plant; choose one on Sungrow's page")
    return Consent(grant=replace(grant, site_ids=tuple(plants)))


@hookimpl
async def refresh(ctx: Context, grant: Grant) -> Grant:
    return await tokens.renewed(ctx, _OAUTH2, grant)


@hookimpl
async def fetch_site(ctx: Context, grant: Grant, site_id: str) -> Site:
    plant = await api.plant(ctx, grant, site_id)
    return mapping.site(site_id, plant, await api.devices(ctx, grant, site_id))


@hookimpl
async def fetch_readings(ctx: Context, grant: Grant, query: ReadingsQuery) -> Readings:
    if query.device_id is not None:
        raise NotSupported("Only the figures of whole iSolarCloud plants are read")
    plant_id = query.site.vendor_id
    live = await api.now(ctx, grant, plant_id) if query.live else None
    if query.start >= query.end:
        return Readings(live=mapping.live(live, ctx.now()) if live else None)
    where = mapping.zone_of(query.site)
    samples = [
        sample
        for start, end in mapping.spans(query, where)
        for sample in mapping.timed(await api.samples(ctx, grant, plant_id, start, end), where)
    ]
    return Readings(
        intervals=mapping.readings(samples, query),
        live=mapping.live(live, ctx.now()) if live else None,
    )
