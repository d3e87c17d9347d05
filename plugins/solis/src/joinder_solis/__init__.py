"""SolisCloud for Joinder: an owner's API ID and secret sign every call.

Facts come from "SolisCloud Platform API Document V2.0" and from clients that run against it; README.md lists what is
not confirmed.
"""

from __future__ import annotations

import re
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
from joinder.errors import AuthorizationLost, ConsentInvalid, NotSupported, TransientError, UnexpectedPayload
from joinder.series import Span
from joinder_solis import api, doubt, mapping
from joinder_solis.doubt import Say

_KEY_ID = re.compile(r"[0-9A-Za-z_-]+", re.ASCII)  # it travels in a header; a paste may bring invisible characters

_KEY = (
    Field(name="keyID", label="API ID", help="19 digits", example="1300386381676488475"),
    Field(name="keySecret", label="API secret", secret=True, help="32 letters and digits"),
)
VENDOR = Vendor(
    name="solis",
    label="SolisCloud",
    docs_url="https://solis-service.solisinverters.com/en/support/solutions/articles/44002212561",
    flow=Flow.FORM,
    hosts=(api.HOST,),
    app_credentials=(
        AppCredentialType(
            type="apikeysecret",
            label="Key of one SolisCloud account",
            fields=_KEY,
            flow=Flow.OPERATOR,
            compatible=True,
        ),
    ),
    consent_fields=_KEY,
    consent_steps=(
        "Sign in at www.soliscloud.com",
        "Open Account, then Basic Settings, then API Management",
        "Activate the API, confirm the code sent to your e-mail address, and open View Key",
        "Copy the API ID and the API secret",
    ),
    key_page="https://www.soliscloud.com/",
    texts=__name__,
    refresh=Refresh.STATIC_KEY,
    limits=Limits(
        poll_every=timedelta(minutes=15),
        live_max_age=timedelta(minutes=5),  # the vendor's data is renewed every five minutes
        max_concurrency=1,
        calls_per_minute=60,
        history=(
            History(resolution="15mins", window=timedelta(days=2)),
            History(resolution="day", window=timedelta(days=62)),
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
    """Opens the account of a key, which its owner enters, or the operator stored."""
    entered = callback.values if ctx.app is None else ctx.app.secrets
    key_id, secret = entered.get("keyID", "").strip(), entered.get("keySecret", "").strip()
    if not _KEY_ID.fullmatch(key_id):
        wrong = "This is not an API ID; copy its digits again, without spaces"
        raise ConsentInvalid(wrong, fields={"keyID": wrong})
    grant = Grant(secrets=Secrets({"key_secret": secret}), facts={"key_id": key_id})
    try:
        stations = await api.pages(ctx, grant, "userStationList")
    except AuthorizationLost:
        refused = "SolisCloud refuses this API ID and secret; copy both again, and check that the API is activated"
        raise ConsentInvalid(refused, fields={"keySecret": refused}) from None
    site_ids = tuple(dict.fromkeys(found for station in stations if (found := station.text("id"))))
    if not site_ids:
        raise ConsentInvalid("This SolisCloud account has no plant", fields={"keyID": "An account without a plant"})
    return Consent(grant=replace(grant, site_ids=site_ids), account_id=key_id)


@hookimpl
async def fetch_site(ctx: Context, grant: Grant, site_id: str) -> Site:
    station = await api.one(ctx, grant, "stationDetail", id=site_id)
    inverters = await api.pages(ctx, grant, "inverterList", stationId=site_id)
    try:
        meters = await api.pages(ctx, grant, "epmList", stationId=site_id)
    except (AuthorizationLost, NotSupported):  # the key just read the plant: this list alone is closed to it
        meters = []
    return mapping.site(station, inverters, meters, ctx.now())


@hookimpl
async def fetch_readings(ctx: Context, grant: Grant, query: ReadingsQuery) -> Readings:
    said: list[str] = []
    station = await _station(ctx, grant, query, said.append) if query.live and query.device_id is None else None
    live = mapping.live(station, query.site, said.append) if station else None
    if query.start < query.end:
        lacking = doubt.lacking(station, query.site, live.measured_at if live else None)
        intervals = await _intervals(ctx, grant, query, said.append, lacking)
    else:
        intervals = ()
    return Readings(intervals=intervals, live=live, warnings=tuple(dict.fromkeys(said)))


async def _station(ctx: Context, grant: Grant, query: ReadingsQuery, say: Say) -> api.Record | None:
    """Asks for the station, for its live power, which may fail alone where intervals are asked for too: None then."""
    try:
        return await api.one(ctx, grant, "stationDetail", id=query.site.vendor_id)
    except (TransientError, UnexpectedPayload) as error:
        if query.start >= query.end:
            raise
        say(f"Live power: {error}")
        return None


async def _intervals(
    ctx: Context, grant: Grant, query: ReadingsQuery, say: Say, lacking: Span | None
) -> tuple[Reading, ...]:
    by_day = query.resolution == "day"
    asked = mapping.months_to_ask(query) if by_day else mapping.days_to_ask(query)
    rows = [row for path, body in asked for row in await api.rows(ctx, grant, path, **body)]
    read = mapping.days if by_day else mapping.quarters
    return read(rows, query, say, lacking)
