"""The SmartPVMS Northbound API as structs, its sessions and its calls. Energies kWh, powers kW, times in milliseconds.

Every call is a POST of JSON with the session's token in a header. Every answer is an envelope whose failCode is 0 when
it is well; the HTTP status says nothing. Numbers come as numbers, as texts, as null and as "N/A".
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Generic, NamedTuple, TypeVar

from msgspec import Struct, field

from joinder.errors import AuthorizationLost, NotSupported, RateLimited, TransientError, UnexpectedPayload
from joinder.grants import Context, Grant, MachineToken
from joinder.http import Answer, Api
from joinder.series import Number

T = TypeVar("T")
Figure = Number | str | None
MAX_PAGES = 100
SESSION = timedelta(minutes=30)
_SIGNED_OUT = 305
_NOT_ALLOWED = (401,)  # this account may not call this interface
_TOO_MUCH = (407, 429)
_UNKNOWN_ACCOUNT = (20001, 20002, 20003, 20400)  # not there, forbidden, expired, name or password wrong
_PASSING = (20004, 20200)


class Region(NamedTuple):
    label: str
    host: str


REGIONS = {
    "eu5": Region("eu5: Europe", "eu5.fusionsolar.huawei.com"),
    "intl": Region("intl: International", "intl.fusionsolar.huawei.com"),
    "sg5": Region("sg5: Asia Pacific, Middle East and Africa", "sg5.fusionsolar.huawei.com"),
    "la5": Region("la5: Latin America", "la5.fusionsolar.huawei.com"),
}


class SignedOut(TransientError):
    """The session ended: its half hour is over, or somebody signed in to the same account."""


class Told(Struct, rename="camel"):
    fail_code: int


class Envelope(Struct, Generic[T]):
    data: T


class Plant(Struct, rename="camel"):
    plant_code: str
    plant_name: str
    latitude: Figure = None
    longitude: Figure = None


class Plants(Struct, rename="camel"):
    plants: list[Plant] = field(name="list")
    page_count: int


class DeviceEntry(Struct, rename="camel"):
    id: int
    dev_type_id: int
    dev_name: str | None = None
    esn_code: str | None = None
    inv_type: str | None = None


class Energies(Struct):
    """Of one hour or day of a plant, kWh; a member it has none of is left out. `inverter` is `solar` of older clouds."""

    solar: Figure = field(name="PVYield", default=None)
    inverter: Figure = field(name="inverter_power", default=None)
    imported: Figure = field(name="buyPower", default=None)
    exported: Figure = field(name="ongrid_power", default=None)
    charged: Figure = field(name="chargeCap", default=None)
    discharged: Figure = field(name="dischargeCap", default=None)
    used: Figure = field(name="use_power", default=None)


class Row(Struct, rename="camel"):
    """`collect_time`: when the hour or day begins."""

    collect_time: int
    data_item_map: Energies


class Figures(Struct):
    """Of one device now: kW of an inverter's panels, % of a battery."""

    input_kw: Figure = field(name="mppt_power", default=None)
    soc: Figure = field(name="battery_soc", default=None)


class DeviceNow(Struct, rename="camel"):
    dev_id: int
    data_item_map: Figures


class Asked(Struct, rename="camel"):
    current_time: int


class Now(Struct):
    """Figures of devices of one type, and the cloud's own time."""

    data: list[DeviceNow]
    params: Asked


def _judge(answer: Answer, _: datetime) -> None:
    """Raises what a fail code says."""
    if not answer.ok or (code := answer.json(Told).fail_code) == 0:
        return
    if code == _SIGNED_OUT:
        raise SignedOut("FusionSolar ended the session; another program may use the same API account")
    if code in _UNKNOWN_ACCOUNT:
        raise AuthorizationLost("FusionSolar no longer accepts this API account")
    if code in _NOT_ALLOWED:
        raise NotSupported("FusionSolar does not show this to the API account")
    if code in _TOO_MUCH:
        raise RateLimited("FusionSolar allows no more calls for now")
    if code in _PASSING:
        raise TransientError("FusionSolar could not answer", detail=f"failCode {code}")
    raise UnexpectedPayload("FusionSolar refuses without a known reason", detail=f"failCode {code}")


API = Api(base="", judge=_judge, refusals={401: (AuthorizationLost, "FusionSolar no longer accepts this API account")})


async def log_in(ctx: Context, grant: Grant) -> MachineToken:
    """Opens a session, which ends the one before: an account has one at a time. Raises AuthorizationLost."""
    asked = {"userName": grant.facts["user"], "systemCode": grant.secrets["system_code"]}
    token = (await _send(ctx, grant, "login", asked)).headers.get("xsrf-token")
    if not token:
        raise UnexpectedPayload("FusionSolar opened a session without its token")
    return MachineToken(value=token, expires_at=ctx.now() + SESSION)


async def _send(ctx: Context, grant: Grant, call: str, asked: object, session: str | None = None) -> Answer:
    """Sends one call. Raises what API says, and as joinder.http does."""
    answer = await ctx.http.request(
        "POST",
        f"https://{REGIONS[grant.facts['region']].host}/thirdData/{call}",
        json=asked,
        headers={"xsrf-token": session} if session else None,
        deadline=API.deadline,
    )
    API.check(answer, ctx.now())
    return answer


async def _read(ctx: Context, grant: Grant, call: str, into: type[T], session: str | None = None, **asked: object) -> T:
    """Sends one call in the grant's session, and once more in a new one where that has ended."""
    if session is not None:
        return (await _send(ctx, grant, call, asked, session)).json(into)

    async def opened() -> MachineToken:
        return await log_in(ctx, grant)

    token = await ctx.grant_token(opened)
    try:
        return (await _send(ctx, grant, call, asked, token)).json(into)
    except SignedOut:
        token = await ctx.grant_token(opened, refused=token)
    return (await _send(ctx, grant, call, asked, token)).json(into)


async def plants(ctx: Context, grant: Grant, session: str | None = None) -> list[Plant]:
    found: list[Plant] = []
    for number in range(1, MAX_PAGES + 1):
        page = (await _read(ctx, grant, "stations", Envelope[Plants], session, pageNo=number)).data
        found += page.plants
        if number >= page.page_count:
            return found
    raise UnexpectedPayload(f"FusionSolar answered more than {MAX_PAGES} pages of plants")


async def devices(ctx: Context, grant: Grant, plant_id: str) -> list[DeviceEntry]:
    return (await _read(ctx, grant, "getDevList", Envelope[list[DeviceEntry]], stationCodes=plant_id)).data


async def rows(ctx: Context, grant: Grant, call: str, plant_id: str, at: datetime) -> list[Row]:
    """Reads the hours of the day, or the days of the month, in which the plant's clock shows `at`."""
    moment = int(at.timestamp() * 1000)
    asked = {"stationCodes": plant_id, "collectTime": moment}
    return (await _read(ctx, grant, call, Envelope[list[Row]], None, **asked)).data


async def now(ctx: Context, grant: Grant, dev_type_id: int, ids: Iterable[str]) -> Now:
    return await _read(ctx, grant, "getDevRealKpi", Now, None, devIds=",".join(ids), devTypeId=dev_type_id)
