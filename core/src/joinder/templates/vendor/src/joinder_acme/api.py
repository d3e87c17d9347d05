"""Acme's answers as structs, one authenticated GET, and its refusals by who must act. Energies Wh, powers W."""

from __future__ import annotations

from datetime import datetime
from typing import TypeVar
from urllib.parse import quote

from msgspec import Struct

from joinder.errors import AuthorizationLost, NotSupported
from joinder.grants import Context, Grant
from joinder.http import raise_for_status
from joinder.series import Number

T = TypeVar("T")
BASE = "https://api.acme.example/v1"


class SiteEntry(Struct):
    id: str


class Sites(Struct):
    account: str
    sites: list[SiteEntry]


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
    """Energy from `start` to `end`, ISO 8601 with offset."""

    start: datetime
    end: datetime
    solar: Number | None = None
    charged: Number | None = None
    discharged: Number | None = None
    imported: Number | None = None
    exported: Number | None = None
    soc: Number | None = None


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


async def get(ctx: Context, grant: Grant, path: str, into: type[T], **params: str) -> T:
    """One GET. Raises AuthorizationLost, NotSupported, and what joinder.http raises for every vendor."""
    headers = {"authorization": f"Bearer {grant.secrets['access_token']}"}
    answer = await ctx.http.request("GET", BASE + path, params=params, headers=headers)
    if answer.status == 401:
        raise AuthorizationLost("Acme no longer accepts this consent")
    if answer.status in (403, 404):
        raise NotSupported("Acme does not show this to the account")
    raise_for_status(answer)
    return answer.json(into)
