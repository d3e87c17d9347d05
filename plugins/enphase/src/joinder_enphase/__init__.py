"""Enphase for Joinder: home owners by OAuth (developerapp), an installer's fleet by its login (partnerapp).

Facts come from the Monitoring API v4 quickstart, plans and Swagger pages; README.md lists what is not confirmed.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from joinder import (
    SOLAR_AND_STORAGE,
    AppCredentialType,
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
from joinder.errors import AppCredentialsRejected, AuthorizationLost, ConsentInvalid
from joinder_enphase import api, mapping, shapes
from joinder_enphase.polling import MonitoringReader

_APP_FIELDS = (
    Field(name="clientID", label="Client ID", help="On the app's page at developer-v4.enphase.com"),
    Field(name="clientSecret", label="Client secret", secret=True),
    Field(name="apiKey", label="API key", secret=True, help="Of the same app as the client ID"),
)
_INSTALLER_FIELDS = (
    Field(name="username", label="Installer's Enlighten e-mail address", secret=True),
    Field(name="password", label="Installer's Enlighten password", secret=True, password=True),
)
_OAUTH2 = OAuth2(
    authorize_url="https://api.enphaseenergy.com/oauth/authorize",
    token_url="https://api.enphaseenergy.com/oauth/token",  # noqa: S106 - an address
    parameters_in="query",  # every sample in the quickstart does
    refresh_token_life=timedelta(seconds=2_629_746),  # a twelfth of a mean year, decoded from a real token of 2025
)
VENDOR = Vendor(
    name="enphase",
    label="Enphase",
    docs_url="https://developer-v4.enphase.com/docs/quickstart.html",
    texts=__name__,
    flow=Flow.REDIRECT,
    hosts=("api.enphaseenergy.com",),
    app_credentials=(
        AppCredentialType(type="developerapp", compatible=True, label="Developer app", fields=_APP_FIELDS),
        AppCredentialType(
            type="partnerapp",
            compatible=True,
            label="Partner app (installers)",
            fields=_APP_FIELDS + _INSTALLER_FIELDS,
            flow=Flow.OPERATOR,
        ),
    ),
    oauth2=_OAUTH2,
    refresh=Refresh.ROTATING,
    refresh_grace=None,  # whether the old refresh token survives is not documented
    refresh_margin=timedelta(minutes=30),
    refresh_at_least_every=timedelta(days=7),
    limits=Limits(  # the free Watt plan; one app's quota is shared by all its owners
        poll_every=timedelta(hours=6),
        live_max_age=timedelta(hours=1),
        calls_per_minute=10,
        calls_per_month=1000,
        history=(
            History(resolution="15mins", window=timedelta(days=7), reach=timedelta(days=730)),
            History(resolution="day", window=timedelta(days=365)),
        ),
    ),
    capabilities=dict.fromkeys(SOLAR_AND_STORAGE, Support.YES),
    compatible=True,
)


@hookimpl
def describe_vendor() -> Vendor:
    return VENDOR


@hookimpl
async def handle_callback(ctx: Context, callback: Callback) -> Consent:
    if ctx.require_app().type == "partnerapp":
        token = await _installer_token(ctx)
    else:
        token = await oauth.exchange_code(ctx, _OAUTH2, callback)
    grant = oauth.granted(_OAUTH2, token, ctx.now())
    site_ids = await api.all_system_ids(ctx, grant)
    if not site_ids:
        raise ConsentInvalid("This Enphase account shares no system; the owner of a system must give the consent")
    return Consent(grant=replace(grant, site_ids=site_ids), account_id=token.extra.get("enl_uid") or None)


@hookimpl
async def refresh(ctx: Context, grant: Grant) -> Grant:
    """Renews the grant; an installer's token is fetched anew by the login.

    That works for ever and loses nothing when cut off.
    """
    if ctx.require_app().type == "partnerapp":
        return oauth.granted(_OAUTH2, await _installer_token(ctx), ctx.now(), grant)
    return await oauth.renewed(ctx, _OAUTH2, grant)


@hookimpl
async def fetch_site(ctx: Context, grant: Grant, site_id: str) -> Site:
    path = api.system_path(site_id)
    system = await api.get(ctx, grant, path, shapes.System)
    lists = (await api.get(ctx, grant, f"{path}/devices", shapes.Devices)).devices
    capacity_wh = None
    if lists.encharges or lists.acbs:
        capacity_wh = (await api.get(ctx, grant, f"{path}/summary", shapes.Summary)).battery_capacity_wh
    return mapping.site(system, lists, capacity_wh)


@hookimpl
async def fetch_readings(ctx: Context, grant: Grant, query: ReadingsQuery) -> Readings:
    return await MonitoringReader(ctx=ctx, query=query, grant=grant).read()


async def _installer_token(ctx: Context) -> oauth.Token:
    app = ctx.require_app()
    parameters = {"grant_type": "password", "username": app["username"], "password": app["password"]}
    try:
        return await oauth.token_call(ctx, _OAUTH2, parameters)
    except AuthorizationLost as error:
        raise AppCredentialsRejected("Enphase refuses the installer's login", detail=error.detail) from None
