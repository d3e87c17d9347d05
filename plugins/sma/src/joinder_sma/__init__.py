"""SMA for Joinder: the Monitoring API, in production (`sma`) and in SMA's sandbox (`smasbox`).

Facts come from clients that run against it and from recorded answers; README.md lists what is not confirmed.
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
from joinder.errors import ConsentInvalid, NotSupported, TransientError, UnexpectedPayload
from joinder.http import path
from joinder.series import zone
from joinder_sma import api, mapping, measurements

UNKNOWN_CAPACITY = "SMA does not show the page of a battery, so its capacity is unknown"


def _oauth2(auth_host: str) -> OAuth2:
    return OAuth2(
        authorize_url=f"https://{auth_host}/oauth2/auth",
        token_url=f"https://{auth_host}/oauth2/token",
        scopes=("offline_access",),  # without it a refresh token ends after two days, and the answer says when
        token_endpoint_auth_method="client_secret_post",  # noqa: S106 - a method of RFC 7591
        revocation_url=f"https://{auth_host}/oauth2/logout",  # as clients call it, and SMA's page on access control
        revocation_parameter="refresh_token",
    )


def _described(name: str, label: str, auth_host: str, data_host: str) -> Vendor:
    return Vendor(
        name=name,
        label=label,
        docs_url="https://developer.sma.de/sma-apis.html",
        texts=__name__,
        flow=Flow.REDIRECT,
        hosts=(auth_host, data_host),
        app_credentials=(
            AppCredentialType(
                type="oauthclient",
                compatible=True,
                label="Code grant client",
                fields=(
                    Field(name="clientID", label="Client ID", help="SMA sends it with the redirect URI it registered"),
                    Field(name="clientSecret", label="Client secret", secret=True),
                ),
            ),
        ),
        oauth2=_oauth2(auth_host),
        refresh=Refresh.ROTATING,  # answers bring a new token; whether the old one lives on is not documented
        refresh_margin=timedelta(seconds=60),
        refresh_at_least_every=timedelta(days=1),
        limits=Limits(
            poll_every=timedelta(minutes=15),
            live_max_age=timedelta(minutes=10),
            calls_per_minute=60,
            history=(
                History(resolution="15mins", window=timedelta(days=2)),
                History(resolution="day", window=timedelta(days=62)),
            ),
        ),
        capabilities=dict.fromkeys(SOLAR_AND_STORAGE, Support.YES),
        compatible=True,
    )


class Sma:
    """The hooks of one of SMA's two worlds, which differ in their addresses only."""

    def __init__(self, name: str, label: str, auth_host: str, data_host: str, data_path: str = "") -> None:
        self._vendor = _described(name, label, auth_host, data_host)
        self._auth_host = auth_host
        self._api = api.described(f"https://{data_host}{data_path}/v1")

    @hookimpl
    def describe_vendor(self) -> Vendor:
        return self._vendor

    @hookimpl
    async def handle_callback(self, ctx: Context, callback: Callback) -> Consent:
        grant = await oauth.consented(ctx, _oauth2(self._auth_host), callback)
        plants = (await self._client(ctx, grant).get("/plants", api.Plants)).plants
        if not plants:
            raise ConsentInvalid("This SMA account opens no plant; the plant's owner in Sunny Portal must consent")
        site_ids = tuple(dict.fromkeys(plant.plant_id for plant in plants))
        return Consent(grant=replace(grant, site_ids=site_ids))

    @hookimpl
    async def fetch_site(self, ctx: Context, grant: Grant, site_id: str) -> Site:
        client = self._client(ctx, grant)
        plant = await client.get(path("plants", site_id), api.Plant)
        listed = await client.get(path("plants", site_id, "devices", "lean"), api.Devices)
        active = [entry for entry in listed.devices if entry.is_active]
        sets = {entry.device_id: await client.sets("devices", entry.device_id) for entry in active}
        batteries = [of for of, offered in sets.items() if mapping.BATTERY in offered]
        warnings: list[str] = []
        capacities = {of: await _capacity(client, of, warnings) for of in batteries}
        location = await _location(client, plant)
        return mapping.site(plant, active, sets, capacities=capacities, location=location, warnings=warnings)

    @hookimpl
    async def fetch_readings(self, ctx: Context, grant: Grant, query: ReadingsQuery) -> Readings:
        where = zone(query.site.timezone)
        if where is None:
            return Readings(warnings=("SMA's times have no offset, and this plant's time zone is unknown",))
        return await measurements.Reader(self._client(ctx, grant), query, where, ctx.now()).readings()

    def _client(self, ctx: Context, grant: Grant) -> api.Client:
        return api.Client(ctx, grant, self._api)


async def _capacity(client: api.Client, battery: str, warnings: list[str]) -> float | None:
    """Asks for a battery's capacity in Wh; None, with a warning, where its page cannot be read.

    The site counts without it.
    """
    try:
        return (await client.get(path("devices", battery), api.DevicePage)).details.battery_capacity
    except (NotSupported, TransientError, UnexpectedPayload):
        warnings[:] = [UNKNOWN_CAPACITY]
        return None


async def _location(client: api.Client, plant: api.Plant) -> api.Location | None:
    """Asks for the plant's place only where the plant tells no time zone: the page holds the owner's address."""
    if zone(plant.timezone) is not None:
        return None
    try:
        return await client.get(path("plants", plant.plant_id, "location"), api.Location)
    except NotSupported:
        return None


PRODUCTION = Sma("sma", "SMA", "auth.smaapis.de", "monitoring.smaapis.de")
SANDBOX = Sma("smasbox", "SMA sandbox", "sandbox-auth.smaapis.de", "sandbox.smaapis.de", "/monitoring")
