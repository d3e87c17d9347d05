"""Acme for Joinder. What is said of the vendor here should name its source: a URL, or a section of a document."""

from __future__ import annotations

from dataclasses import replace
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
    History,
    Limits,
    Live,
    Reading,
    Readings,
    ReadingsQuery,
    Refresh,
    Secrets,
    Site,
    Support,
    Vendor,
    hookimpl,
)
from joinder.errors import AuthorizationLost, ConsentInvalid
from joinder.series import outwards
from joinder_acme import api, mapping

VENDOR = Vendor(
    name="acme",
    label="Acme",
    docs_url="https://developer.acme.example/",
    contract="1.0",  # the oldest contract that has all of this; what it promises: docs/contract.md
    flow=Flow.FORM,
    hosts=tuple(api.HOSTS.values()),
    consent_fields=(
        Field(
            name="region",
            label="Region",
            help="Where the account was made",
            choices=(("eu", "Europe"), ("us", "North America")),
        ),
        Field(name="apiKey", label="API key", secret=True, help="Of the owner's own account"),
    ),
    consent_steps=("Sign in at my.acme.example", "Open Account, then API access", "Make a key and copy it"),
    refresh=Refresh.STATIC_KEY,  # nothing expires
    # grant_version=2, migrate=…     when a release stores other secrets or facts than the one before
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
    """A key is tried before it is stored. Where Acme asks on, such as for a code it sends: ConsentContinues."""
    key, region = callback.values.get("apiKey", ""), callback.values.get("region", "")
    grant = Grant(secrets=Secrets({"api_key": key}), facts={"region": region if region in api.HOSTS else "eu"})
    try:
        account, sites = await api.sites(ctx, grant)
    except AuthorizationLost:
        wrong = "Acme does not know this API key in this region; copy it again"
        raise ConsentInvalid(wrong, fields={"apiKey": wrong}) from None
    if not sites:
        raise ConsentInvalid("This Acme account has no system; use the key of an account that has one")
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
