"""SolarEdge for Joinder: the Monitoring API V2 by the owner's consent or a fleet's key; V1 keys as a legacy.

V1 ended on 2026-11-03; its credential type is kept for those who still get answers. Facts come from clients that run
against V2 and from recorded answers; README.md lists what is not confirmed.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

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
    Secrets,
    Site,
    Support,
    Vendor,
    hookimpl,
    oauth,
)
from joinder.errors import AuthorizationLost, ConsentInvalid, NotSupported, Unexplained
from joinder_solaredge import api, mapping, telemetry, v1

_OAUTH2 = OAuth2(
    authorize_url="https://connect.solaredge.com/authorize",
    token_url=f"https://{api.HOST}/v2/oauth2/token",
    token_endpoint_auth_method="client_secret_post",  # noqa: S106 - a method of RFC 7591
    parameters_in="json",
    state_returned_as=("state", "external_id"),
    extra_authorize_params={"access_duration": "24"},  # months, the most there is
    refresh_token_life=timedelta(days=30),  # unused
    revocation_url=f"https://{api.HOST}/v2/oauth2/revoke-token",  # in the V2 documentation, as {"token": …}
)
_KEY = Field(name="apiKey", label="API key", secret=True)
VENDOR = Vendor(
    name="solaredge",
    label="SolarEdge",
    docs_url="https://developer.solaredge.com/",
    texts=__name__,
    flow=Flow.REDIRECT,
    hosts=("connect.solaredge.com", api.HOST),
    app_credentials=(
        AppCredentialType(
            type="oauthclient",
            label="Site Access app (V2, owners)",
            fields=(
                Field(name="clientID", label="Client ID", help="Of the app at developer.solaredge.com"),
                Field(name="clientSecret", label="Client secret", secret=True),
            ),
        ),
        AppCredentialType(
            type="accountkey",
            label="Fleet Access key (V2, installers)",
            fields=(_KEY, Field(name="accountKey", label="Account key", secret=True, required=False)),
            flow=Flow.OPERATOR,
        ),
        AppCredentialType(
            type="apikey",
            compatible=True,
            label="Monitoring key (V1, ended 2026-11-03)",
            fields=(_KEY,),
            flow=Flow.OPERATOR,
        ),
    ),
    oauth2=_OAUTH2,
    refresh=Refresh.ROTATING,  # the old token ends at once
    refresh_margin=timedelta(minutes=10),
    refresh_at_least_every=timedelta(days=7),
    limits=Limits(  # the free tier
        poll_every=timedelta(hours=6),
        live_max_age=timedelta(hours=1),
        max_concurrency=2,
        calls_per_minute=10,
        calls_per_month=2000,
        history=(
            History(resolution="15mins", window=timedelta(hours=24)),
            History(resolution="day", window=timedelta(days=28)),
        ),
    ),
    capabilities=dict.fromkeys(SOLAR_AND_STORAGE, Support.YES),
    compatible=True,
)


@hookimpl
def describe_vendor() -> Vendor:
    return VENDOR


@hookimpl
async def build_authorize_url(ctx: Context, request: AuthorizeRequest) -> str:
    """Builds the URL with the state as `external_id` too: which of the two comes back is not documented."""
    return oauth.authorize_url(_OAUTH2, ctx.require_app(), request, external_id=request.state)


@hookimpl
async def handle_callback(ctx: Context, callback: Callback) -> Consent:
    kind = ctx.require_app().type
    if kind == "apikey":
        return Consent(grant=Grant(secrets=Secrets({}), site_ids=await v1.all_site_ids(ctx)))
    if kind == "accountkey":
        return Consent(grant=Grant(secrets=Secrets({}), site_ids=await api.all_site_ids(ctx)))
    consented = await _consented(ctx, callback)
    site_id = callback.values.get("site_id", "").strip()
    if not site_id:
        raise ConsentInvalid("SolarEdge did not say which site the consent is for; start again and choose a site")
    grant = replace(consented, site_ids=(site_id,))
    try:
        await api.get(ctx, grant, api.site_path(site_id), api.SiteDetails)
    except (AuthorizationLost, NotSupported):
        raise ConsentInvalid("SolarEdge does not open the chosen site with this consent") from None
    return Consent(grant=grant)


async def _consented(ctx: Context, callback: Callback) -> Grant:
    """Exchanges the code. The redirect URI is fixed in the console and not sent again.

    A bad code is answered {"error": "Error"}: ConsentInvalid.
    """
    try:
        return await oauth.consented(ctx, _OAUTH2, replace(callback, redirect_uri=None))
    except Unexplained as error:
        if error.code == "400 error":
            raise ConsentInvalid("SolarEdge refused the authorization code", detail=error.detail) from None
        raise


@hookimpl
async def refresh(ctx: Context, grant: Grant) -> Grant:
    """Renews a consent's token; keys do not end."""
    if ctx.require_app().type != "oauthclient":
        return grant
    return await oauth.renewed(ctx, _OAUTH2, grant)


@hookimpl
async def fetch_site(ctx: Context, grant: Grant, site_id: str) -> Site:
    if ctx.require_app().type == "apikey":
        return await v1.site(ctx, site_id)
    details = await api.get(ctx, grant, api.site_path(site_id), api.SiteDetails)
    types = "?types=INVERTER&types=METER&types=BATTERY"  # inverters alone without it
    devices = await api.get(ctx, grant, api.site_path(site_id, f"/devices{types}"), list[api.DeviceEntry])
    return mapping.site(details, devices)


@hookimpl
async def fetch_readings(ctx: Context, grant: Grant, query: ReadingsQuery) -> Readings:
    if ctx.require_app().type == "apikey":
        return await v1.readings(ctx, query)
    return await telemetry.Reader(ctx, grant, query).readings()
