"""Acme's answers as structs, one authenticated GET, and its refusals by who must act. Energies Wh, powers W."""

from __future__ import annotations

from datetime import datetime
from typing import TypeVar
from urllib.parse import quote

from msgspec import Struct

from joinder.errors import AuthorizationLost, NotSupported, UnexpectedPayload
from joinder.grants import Context, Grant
from joinder.http import raise_for_status
from joinder.series import Number

T = TypeVar("T")
WITHDRAWN = "consent_withdrawn"
BASE = "https://api.acme.example/v1"
MAX_PAGES = 100


class Refused(Struct):
    """What Acme may say in place of an answer."""

    error: str | None = None


class SiteEntry(Struct):
    id: str


class Sites(Struct):
    """One page of the account's sites, of `pages`."""

    account: str
    sites: list[SiteEntry]
    pages: int


class DeviceEntry(Struct):
    serial: str
    kind: str  # inverter, battery, meter
    model: str | None = None
    capacity_wh: Number | None = None


class SiteDetails(Struct):
    id: str
    name: str
    timezone: str
    devices: list[DeviceEntry]


class Row(Struct):
    """Energy from `start` to `end`, ISO 8601 with offset; `silent` are serials the solar sum lacks."""

    start: datetime
    end: datetime
    solar: Number | None = None
    charged: Number | None = None
    discharged: Number | None = None
    imported: Number | None = None
    exported: Number | None = None
    soc: Number | None = None
    silent: list[str] = []


class Energy(Struct):
    rows: list[Row]


class Power(Struct):
    """At `at`; battery + while charging, grid + while exporting."""

    at: datetime
    solar: Number | None = None
    battery: Number | None = None
    grid: Number | None = None
    soc: Number | None = None


def site_path(site_id: str) -> str:
    return f"/sites/{quote(site_id, safe='')}"


def energy_path(site_id: str, device_id: str | None) -> str:
    """Returns the path of the whole site's energy, or of one device's."""
    device = f"/devices/{quote(device_id, safe='')}" if device_id is not None else ""
    return f"{site_path(site_id)}{device}/energy"


async def sites(ctx: Context, grant: Grant) -> tuple[str, list[str]]:
    """The account and the ids of all its sites, page by page."""
    found: list[str] = []
    for number in range(1, MAX_PAGES + 1):
        page = await get(ctx, grant, "/sites", Sites, page=str(number))
        found += [entry.id for entry in page.sites]
        if number >= page.pages:
            return page.account, found
    raise UnexpectedPayload(f"Acme answered more than {MAX_PAGES} pages of sites")


async def get(ctx: Context, grant: Grant, path: str, into: type[T], **params: str) -> T:
    """One GET. Raises AuthorizationLost, NotSupported, and what joinder.http raises for every vendor."""
    headers = {"authorization": f"Bearer {grant.secrets['access_token']}"}
    answer = await ctx.http.request("GET", BASE + path, params=params, headers=headers)
    if answer.status == 401:
        raise AuthorizationLost("Acme no longer accepts this consent")
    if answer.status in (403, 404):
        raise NotSupported("Acme does not show this to the account")
    raise_for_status(answer)
    said = answer.json(Refused)
    if said.error == WITHDRAWN:  # Acme says so with status 200
        raise AuthorizationLost("Acme's owner took this consent back")
    return answer.json(into)
