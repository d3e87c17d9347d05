"""SolarEdge's Monitoring API V2 on the wire: its answers as structs, one GET by token or key, its failures by class.

Units stand beside the values (WH, KWH, W, KW, PERCENTAGE); stamps carry an offset and name the START of a bucket.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any, TypeVar
from urllib.parse import quote

from msgspec import Struct, field

from joinder.errors import AppCredentialsRejected, AuthorizationLost, NotSupported, OperatorActionNeeded, RateLimited
from joinder.grants import Context, Grant
from joinder.http import Answer, raise_for_status
from joinder.redact import Secrets
from joinder.series import Number, is_datable

T = TypeVar("T")
HOST = "monitoringapi.solaredge.com"
BASE = f"https://{HOST}/v2"
CALL_DEADLINE = 9.0  # nine calls, the most of one reading, stay inside the registry's 90 s
PAGE_SIZE = 1000
_MAX_PAGES = 9
_MONTHLY_WAIT = timedelta(days=1)  # the billing cycle's start is told nowhere: asked again each day
_MINUTE = timedelta(minutes=1)


class SiteEntry(Struct, rename="camel"):
    site_id: int | str


class _SiteList(Struct):
    site: list[SiteEntry]


class _Sites(Struct):
    sites: _SiteList


class Location(Struct):
    """Coordinates are documented nowhere; they are read where they stand, whatever their type."""

    timezone: str | None = None
    latitude: Any = None
    longitude: Any = None


class SiteDetails(Struct, rename="camel"):
    site_id: int | str
    name: str | None = None
    installation_date: str | None = None
    location: Location | str | None = None  # a text where it was blotted out


class DeviceEntry(Struct, rename="camel"):
    type: str
    serial_number: str
    model: str | None = None
    part_number: str | None = None
    name: str | None = None
    active: bool | None = None
    meter_type: str | None = None
    nameplate: Any = None  # a number, or a value with its unit


class Value(Struct):
    timestamp: datetime
    value: Number | None = None


class Series(Struct):
    """One metric; `unit` decides what its numbers mean."""

    unit: str | None = None
    values: list[Value] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.values = [row for row in self.values if is_datable(row.timestamp)]


class Inverters(Struct):
    devices: dict[str, dict[str, Series]] = field(name="inverters")


class Meters(Struct):
    devices: dict[str, dict[str, Series]] = field(name="meters")


class Storage(Struct):
    devices: dict[str, dict[str, Series]] = field(name="storage")


def site_path(site_id: str, rest: str = "") -> str:
    return f"/sites/{quote(site_id, safe='')}{rest}"


async def get(ctx: Context, grant: Grant, path: str, into: type[T], **params: str | int) -> T:
    """Sends one GET with the owner's token or the fleet's key, and returns its body as `into`. Raises as `check`."""
    answer = await ctx.http.request(
        "GET", BASE + path, params=params or None, headers=_headers(ctx, grant), deadline=CALL_DEADLINE
    )
    check(answer, by_key="access_token" not in grant.secrets, now=ctx.now())
    return answer.json(into)


def _headers(ctx: Context, grant: Grant) -> dict[str, str]:
    token = grant.secrets.get("access_token")
    if token is not None:
        return {"authorization": f"Bearer {token}"}
    app = ctx.require_app()
    account_key = app.secrets.get("accountKey")
    return {"x-api-key": app["apiKey"], **({"x-account-key": account_key} if account_key else {})}


async def all_site_ids(ctx: Context) -> tuple[str, ...]:
    """Asks for every site of a fleet's key; the last page is a short one. Older answers are a bare array."""
    grant = Grant(secrets=Secrets({}))
    found: list[str] = []
    for page in range(1, _MAX_PAGES + 1):
        params: dict[str, str | int] = {"page": page, "sites-in-page": PAGE_SIZE}
        answer: object = await get(ctx, grant, "/sites", _Sites | list[SiteEntry], **params)  # type: ignore[arg-type]
        entries: list[SiteEntry] = answer.sites.site if isinstance(answer, _Sites) else answer  # type: ignore[assignment]
        found += [str(entry.site_id) for entry in entries]
        if len(entries) < PAGE_SIZE:
            break
    return tuple(dict.fromkeys(found))


def check(answer: Answer, *, by_key: bool, now: datetime) -> None:
    """Raises what a refusal means; bodies are problem+json and decide nothing beyond their status."""
    if answer.status == 401:
        if by_key:
            raise AppCredentialsRejected("SolarEdge refuses this API key")
        raise AuthorizationLost("SolarEdge no longer accepts this consent")
    if answer.status in (403, 404):
        raise NotSupported("SolarEdge does not show this with the present consent or plan")
    if answer.status == 410:
        raise OperatorActionNeeded(RETIRED)
    if answer.status == 429:
        raise _limited(answer, now)
    raise_for_status(answer)


RETIRED = (
    "SolarEdge retired this API: V1 keys ended on 2026-11-03. Connect the site through V2, with an OAuth app "
    "(oauthclient) or a Fleet Access key (accountkey)"
)


def _limited(answer: Answer, now: datetime) -> RateLimited:
    if _credits_gone(answer):
        return RateLimited("SolarEdge's monthly credits of this app are used up", retry_after=_MONTHLY_WAIT)
    return RateLimited("SolarEdge allows no more calls for now", retry_after=answer.retry_after(now) or _MINUTE)


def _credits_gone(answer: Answer) -> bool:
    """Tells whether the month's calls are used up: some are left in this minute, and no wait is named."""
    left = answer.headers.get("x-ratelimit-remaining-minute", "0")
    return "retry-after" not in answer.headers and left.isascii() and left.isdigit() and int(left) > 0
