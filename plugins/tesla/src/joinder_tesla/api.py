"""Tesla's Fleet API on the wire: energy answers as structs, one authenticated GET, its failures by class.

Every answer is wrapped in {"response": …}. Powers W, energies Wh, times with offset. Shapes: endpoints/energy of
developer.tesla.com/docs/fleet-api, and recorded answers.
"""

from __future__ import annotations

import base64
import binascii
import re
from datetime import datetime, timedelta
from typing import Any, Generic, TypeVar
from urllib.parse import quote

import msgspec
from msgspec import Struct

from joinder.errors import AuthorizationLost, NotSupported, OperatorActionNeeded, RateLimited, TransientError
from joinder.grants import Context, Grant
from joinder.http import Answer, Api, bearer
from joinder.series import Number

T = TypeVar("T")
BASES = {  # the hosts of China are not confirmed, and left out
    "north america": "https://fleet-api.prd.na.vn.cloud.tesla.com",
    "europe": "https://fleet-api.prd.eu.vn.cloud.tesla.com",
}
CALL_DEADLINE = 20.0
_TRANSIENT = (408, 424, 499, 540)
_OTHER_REGION = re.compile(r"use base URL: (https://[\w.-]+)")
_RETRY_IN = re.compile(rb"Retry in (\d{1,6}) seconds")


class Wrapped(Struct, Generic[T]):
    response: T


class Region(Struct):
    fleet_api_base_url: str | None = None


class Product(Struct):
    """A car, or an energy site: only the latter has energy_site_id."""

    energy_site_id: int | str | None = None
    components: dict[str, Any] | None = None


class Part(Struct):
    """One inverter or battery of a site; only some installations list them."""

    din: str | None = None
    serial_number: str | None = None
    part_name: str | None = None
    nameplate_energy: Number | None = None
    nameplate_max_discharge_power: Number | None = None
    is_active: bool | None = None


class Components(Struct):
    solar: bool | None = None
    battery: bool | None = None
    grid: bool | None = None
    load_meter: bool | None = None
    inverters: list[Part] | None = None
    batteries: list[Part] | None = None


class Geolocation(Struct):
    """Only where the owner's consent includes it."""

    latitude: Number | None = None
    longitude: Number | None = None


class SiteInfo(Struct):
    site_name: str | None = None
    installation_date: str | None = None  # also with blanks inside
    installation_time_zone: str | None = None
    nameplate_power: Number | None = None
    nameplate_energy: Number | None = None
    default_real_mode: str | None = None
    geolocation: Geolocation | None = None
    components: Components | None = None


class LiveStatus(Struct):
    timestamp: datetime | None = None
    solar_power: Number | None = None
    battery_power: Number | None = None
    grid_power: Number | None = None
    load_power: Number | None = None
    generator_power: Number | None = None
    percentage_charged: Number | None = None
    grid_status: str | None = None  # Active, Inactive, Unknown
    island_status: str | None = None  # on_grid, off_grid, off_grid_(un)intentional, island_status_unknown


class Row(Struct):
    """Of kind=power (mean W from `timestamp` on), kind=energy (Wh of a day), or kind=soe (%).

    Recorded energy rows tell every member, also those that are 0; the newer totals are left out when they are 0.
    """

    timestamp: datetime
    soe: Number | None = None
    solar_power: Number | None = None
    battery_power: Number | None = None
    grid_power: Number | None = None
    generator_power: Number | None = None
    solar_energy_exported: Number | None = None
    grid_energy_imported: Number | None = None
    grid_energy_exported_from_solar: Number | None = None
    grid_energy_exported_from_battery: Number | None = None
    grid_energy_exported_from_generator: Number | None = None
    battery_energy_exported: Number | None = None
    battery_energy_imported_from_grid: Number | None = None
    battery_energy_imported_from_solar: Number | None = None
    battery_energy_imported_from_generator: Number | None = None
    consumer_energy_imported_from_grid: Number | None = None
    consumer_energy_imported_from_solar: Number | None = None
    consumer_energy_imported_from_battery: Number | None = None
    consumer_energy_imported_from_generator: Number | None = None
    total_battery_charge: Number | None = None
    total_grid_energy_exported: Number | None = None
    total_home_usage: Number | None = None


class History(Struct):
    """An empty day has no rows at all: null, or no member."""

    time_series: list[Row] | None = None


class _Error(Struct):
    error: str | None = None


def site_path(site_id: str, endpoint: str) -> str:
    return f"/api/1/energy_sites/{quote(site_id, safe='')}/{endpoint}"


def base_of_code(code: str) -> str:
    """Returns the base URL of a code's or refresh token's region, with which it begins: NA_…, EU_…"""
    return BASES["europe"] if code.startswith("EU_") else BASES["north america"]


def subject(access_token: str) -> str | None:
    """Reads the account's id from the access token, a JWT straight from the token endpoint; None for another form."""
    try:
        part = access_token.split(".")[1]
        claims = msgspec.json.decode(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)), type=dict[str, Any])
    except (IndexError, binascii.Error, ValueError, msgspec.DecodeError):
        return None
    found = claims.get("sub")
    return found if isinstance(found, str) and found else None


async def get(
    ctx: Context, grant: Grant, path: str, into: type[T], *, deadline: float = CALL_DEADLINE, **params: str
) -> T:
    """Sends a GET and returns its `response`; sends it again where Tesla names the account's own region (421).

    Raises as API says.
    """
    answer = await _send(ctx, grant.facts["base"], grant, path, params, deadline)
    elsewhere = _own_region(answer) if answer.status == 421 else None
    if elsewhere is not None:
        ctx.log.info("this account's region is served by %s", elsewhere)
        answer = await _send(ctx, elsewhere, grant, path, params, deadline)
    API.check(answer, ctx.now())
    wrapped: Wrapped[T] = answer.json(Wrapped[into])  # type: ignore[valid-type]
    return wrapped.response


async def _send(ctx: Context, base: str, grant: Grant, path: str, params: dict[str, str], deadline: float) -> Answer:
    return await ctx.http.request("GET", base + path, params=params, headers=bearer(grant), deadline=deadline)


def _own_region(answer: Answer) -> str | None:
    found = _OTHER_REGION.search(error_of(answer))
    return found.group(1) if found and found.group(1) in BASES.values() else None


async def register(ctx: Context, base: str, partner_token: str, domain: str) -> None:
    """Sends POST partner_accounts (authentication/partner-tokens). Raises OperatorActionNeeded with what to mend."""
    headers = {"authorization": f"Bearer {partner_token}"}
    url = f"{base}/api/1/partner_accounts"
    answer = await ctx.http.request("POST", url, json={"domain": domain}, headers=headers, deadline=CALL_DEADLINE)
    if answer.status == 424:
        raise OperatorActionNeeded(
            f"Tesla could not fetch the public key from {domain}: put it into JOINDER_PUBLIC_FILES, and check that the "
            "domain reaches this server over https"
        )
    if answer.status in (400, 403, 412, 422):
        raise OperatorActionNeeded(
            f"Tesla refuses {domain}: it must be an allowed origin of the app at developer.tesla.com",
            detail=str(answer.status),
        )
    API.check(answer, ctx.now())


def error_of(answer: Answer) -> str:
    try:
        return msgspec.json.decode(answer.content, type=_Error).error or ""
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return ""


def _judge(answer: Answer, now: datetime) -> None:
    """Raises what depends on more than the status (getting-started/conventions, and bodies users report)."""
    said = error_of(answer).lower()
    if answer.status == 401 and "unknown" in said:
        raise AuthorizationLost("Tesla no longer accepts this consent", detail="unknown user")
    if answer.status == 412 and "registered" in said:
        raise OperatorActionNeeded(
            "Tesla does not know this app in the owner's region: run the operator action `register`"
        )
    if answer.status == 429:
        raise RateLimited("Tesla allows no more calls for now", retry_after=_wait(answer, now))


API = Api(
    base="",  # the account's own region
    judge=_judge,
    refusals={
        401: (AuthorizationLost, "Tesla no longer accepts this consent"),
        402: (OperatorActionNeeded, "Tesla wants a payment method or a higher billing limit for this app"),
        403: (AuthorizationLost, "The owner's consent does not include energy data; it must be given again"),
        404: (NotSupported, "Tesla has no such site for this account"),
        412: (OperatorActionNeeded, "Tesla refuses this endpoint"),
        423: (OperatorActionNeeded, "Tesla has locked this app's account"),
        451: (NotSupported, "The owner's privacy settings at Tesla forbid it"),
        **{status: (TransientError, f"Tesla answered {status}") for status in _TRANSIENT},
    },
)


def _wait(answer: Answer, now: datetime) -> timedelta | None:
    """Reads the wait from Retry-After, the reset of a RateLimit header, or the plain body; None without any."""
    stated = answer.retry_after(now)
    resets = [
        value for name, value in answer.headers.items() if name.startswith("ratelimit") and name.endswith("reset")
    ]
    seconds = [int(value[:6]) for value in resets if value.isascii() and value.isdigit()]
    body = _RETRY_IN.search(answer.content[:200])
    if stated is None and (seconds or body):
        return timedelta(seconds=min(max(seconds) if seconds else int(body.group(1)) if body else 60, 86400))
    return stated
