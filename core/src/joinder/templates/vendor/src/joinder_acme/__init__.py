"""Acme for Joinder. What is said of the vendor here should name its source: a URL, or a section of a document."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from joinder import (
    SOLAR_AND_STORAGE,
    AppCredentialType,
    Callback,
    Capability,
    Consent,
    Context,
    Field,
    Flow,
    Grant,
    History,
    Limits,
    Live,
    OAuth2,
    Reading,
    Readings,
    ReadingsQuery,
    Refresh,
    Site,
    Support,
    Vendor,
    hookimpl,
    oauth,
)
from joinder.errors import ConsentInvalid
from joinder.series import outwards
from joinder_acme import api, mapping

_OAUTH2 = OAuth2(  # consent URL and renewal come from it; write build_authorize_url or refresh where Acme differs
    authorize_url="https://auth.acme.example/authorize",
    token_url="https://auth.acme.example/token",  # noqa: S106 - an address
    scopes=("energy", "offline_access"),
    pkce=True,
    # redirect_parameter=, state_in=, fragment=     where the consent page wants other names, or returns no state
    revocation_url="https://auth.acme.example/revoke",
)
VENDOR = Vendor(
    name="acme",
    label="Acme",
    docs_url="https://developer.acme.example/",
    contract="1.0",  # the oldest contract that has all of this; what it promises: docs/contract.md
    flow=Flow.REDIRECT,
    hosts=("auth.acme.example", "api.acme.example"),
    app_credentials=(
        AppCredentialType(
            type="oauth",
            label="OAuth app",
            fields=(
                Field(name="clientID", label="Client ID"),
                Field(name="clientSecret", label="Client secret", secret=True),
            ),
        ),
    ),
    oauth2=_OAUTH2,
    refresh=Refresh.ROTATING,  # single use: each refresh answers a new refresh token
    limits=Limits(
        poll_every=timedelta(minutes=15),
        # calls=(Rate(60, "minute"), Rate(1440, "day", "grant")),     where Acme's documents name limits
        history=(
            History(resolution="15mins", window=timedelta(days=7)),
            History(resolution="day", window=timedelta(days=31)),
        ),
    ),
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
    grant = await oauth.consented(ctx, _OAUTH2, callback)
    account, sites = await api.sites(ctx, grant)
    if not sites:
        raise ConsentInvalid("This Acme account has no system; the owner of a system must give the consent")
    return Consent(grant=replace(grant, site_ids=tuple(sites)), account_id=account)


@hookimpl
async def fetch_site(ctx: Context, grant: Grant, site_id: str) -> Site:
    return mapping.site(await api.get(ctx, grant, api.site_path(site_id), api.SiteDetails))


@hookimpl
async def fetch_readings(ctx: Context, grant: Grant, query: ReadingsQuery) -> Readings:
    site_id = query.site.vendor_id
    intervals: tuple[Reading, ...] = ()
    live: Live | None = None
    warnings: tuple[str, ...] = ()
    if query.start < query.end:
        start, end = outwards(query.start, query.end)  # to Acme's own rows: a span begins and ends on any second
        span = {"start": start.isoformat(), "end": end.isoformat(), "step": query.resolution}
        path = api.energy_path(site_id, query.device_id)
        intervals = mapping.readings(await api.get(ctx, grant, path, api.Energy, **span), query)
    if query.live:
        live, warnings = mapping.live(await api.get(ctx, grant, f"{api.site_path(site_id)}/power", api.Power))
    return Readings(intervals=intervals, live=live, warnings=warnings)
