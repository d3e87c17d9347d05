"""Acme's answers as structs, its API, and its refusals by who must act. Energies Wh, powers W."""

from __future__ import annotations

from datetime import datetime
from typing import TypeVar

from msgspec import Struct

from joinder.errors import AuthorizationLost, NotSupported, UnexpectedPayload
from joinder.grants import Context, Grant
from joinder.http import Answer, Api, path
from joinder.series import Number

T = TypeVar("T")
HOSTS = {"eu": "eu.acme.example", "us": "us.acme.example"}
WITHDRAWN = "key_withdrawn"
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
    kind: str  # inverter, battery, meter, charger
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
    car: Number | None = None
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
    return path("sites", site_id)


def energy_path(site_id: str, device_id: str | None) -> str:
    """Returns the path of the whole site's energy, or of one device's."""
    device = path("devices", device_id) if device_id is not None else ""
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


def _judge(answer: Answer, _: datetime) -> None:
    """Raises what a body says. Acme takes a key back with status 200."""
    if answer.ok and answer.json(Refused).error == WITHDRAWN:
        raise AuthorizationLost("Acme's owner took this key back")


APIS = {
    region: Api(
        base=f"https://{host}/v1",
        judge=_judge,
        refusals={  # beside those that all vendors share: 429, 5xx
            401: (AuthorizationLost, "Acme no longer accepts this key"),
            403: (NotSupported, "Acme does not show this to the account"),
            404: (NotSupported, "Acme does not show this to the account"),
        },
    )
    for region, host in HOSTS.items()
}


async def get(ctx: Context, grant: Grant, path: str, into: type[T], **params: str) -> T:
    """One GET with the owner's key. Raises what the API says, and what joinder.http raises for every vendor.

    Where Acme wants a log-in first: `ctx.grant_token` keeps its session for this grant.
    """
    answer = await APIS[grant.facts["region"]].send(
        ctx, "GET", path, headers={"x-api-key": grant.secrets["api_key"]}, params=params
    )
    return answer.json(into)
