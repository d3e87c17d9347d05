"""iSolarCloud's OpenAPI as structs, and its calls. Energies Wh, powers W; numbers may come as texts.

Every call is a POST of JSON with the app's key inside and its secret in a header. Every answer is an envelope whose
result_code is "1" when it is well; the HTTP status says nothing.
"""

from __future__ import annotations

from datetime import datetime
from typing import Generic, NamedTuple, TypeVar

from msgspec import Struct, field

from joinder.errors import AuthorizationLost, NotSupported, RateLimited, UnexpectedPayload
from joinder.grants import Context, Grant
from joinder.http import Answer, Api, bearer
from joinder.series import Number

T = TypeVar("T")
PAGE_SIZE, MAX_PAGES = 100, 100
STAMP = "%Y%m%d%H%M%S"
WELL = "1"
_LOST = ("E00003",)  # the token is invalid or has expired
_TOO_MUCH = ("E998", "E999")
_HAS_NONE = ("E994", "E996")  # of this account: no such plant, no such interface


class Region(NamedTuple):
    """One of Sungrow's clouds: where owners consent, where calls go, and the number its consent page wants."""

    label: str
    pages: str
    gateway: str
    cloud_id: str


REGIONS = {
    "eu": Region("Europe", "web3.isolarcloud.eu", "gateway.isolarcloud.eu", "3"),
    "int": Region("International", "web3.isolarcloud.com.hk", "gateway.isolarcloud.com.hk", "2"),
    "au": Region("Australia", "auweb3.isolarcloud.com", "augateway.isolarcloud.com", "7"),
    "cn": Region("China", "web3.isolarcloud.com", "gateway.isolarcloud.com", "1"),
}


class Told(Struct):
    result_code: str


class Envelope(Struct, Generic[T]):
    result_data: T


class Page(Struct, Generic[T], rename="camel"):
    page_list: list[T]
    row_count: int


class PlantId(Struct):
    ps_id: int


class Plant(Struct):
    """`latitude` and `longitude` are in place of a zone: the one it tells is an offset."""

    ps_id: int
    ps_name: str
    latitude: Number | None = None
    longitude: Number | None = None


class Plants(Struct):
    data_list: list[Plant]


class DeviceEntry(Struct):
    device_type: int
    ps_key: str
    device_sn: str | None = None
    device_name: str | None = None
    device_model_code: str | None = None


class Sample(Struct):
    """Registers of a whole plant at `time_stamp`, wall time of the plant; a member it has none of is left out."""

    time_stamp: str
    solar: Number | None = field(name="p83024", default=None)
    imported: Number | None = field(name="p83105", default=None)
    exported: Number | None = field(name="p83075", default=None)
    charged: Number | None = field(name="p83324", default=None)
    discharged: Number | None = field(name="p83325", default=None)
    load: Number | None = field(name="p83124", default=None)


class Now(Struct):
    """Power of a whole plant, of some moment of the last minutes; `charge` from 0 to 1."""

    ps_id: int
    solar: Number | None = field(name="p83067", default=None)
    load: Number | None = field(name="p83106", default=None)
    charge: Number | None = field(name="p83252", default=None)


class NowOfPlants(Struct):
    device_point_list: list[Now]


SAMPLED = ("p83024", "p83105", "p83075", "p83324", "p83325", "p83124")
ASKED_NOW = ("83067", "83106", "83252")


def region_of(ctx: Context) -> Region:
    return REGIONS[ctx.require_app()["region"]]


def _judge(answer: Answer, _: datetime) -> None:
    """Raises what a result code says."""
    if not answer.ok or (code := answer.json(Told).result_code) == WELL:
        return
    if code in _LOST:
        raise AuthorizationLost("iSolarCloud no longer accepts this consent")
    if code in _TOO_MUCH:
        raise RateLimited("iSolarCloud allows no more calls for now")
    if code in _HAS_NONE:
        raise NotSupported("iSolarCloud does not show this to the account")
    raise UnexpectedPayload("iSolarCloud refuses without a known reason", detail=f"result_code {code}")


API = Api(base="", judge=_judge, refusals={401: (AuthorizationLost, "iSolarCloud no longer accepts this consent")})


async def _post(ctx: Context, grant: Grant, call: str, into: type[T], **asked: object) -> T:
    """Sends one call. Raises what API says, and as joinder.http does."""
    app = ctx.require_app()
    answer = await ctx.http.request(
        "POST",
        f"https://{region_of(ctx).gateway}/openapi/platform/{call}",
        json={"appkey": app["appKey"], "lang": "_en_US", **asked},
        headers={"x-access-key": app["clientSecret"], **bearer(grant)},
        deadline=API.deadline,
    )
    API.check(answer, ctx.now())
    told: Envelope[T] = answer.json(Envelope[into])  # type: ignore[valid-type]
    return told.result_data


async def _pages(ctx: Context, grant: Grant, call: str, entry: type[T], **asked: object) -> list[T]:
    found: list[T] = []
    for number in range(1, MAX_PAGES + 1):
        told: Page[T] = await _post(ctx, grant, call, Page[entry], page=number, size=PAGE_SIZE, **asked)  # type: ignore[valid-type]
        found += told.page_list
        if len(found) >= told.row_count or not told.page_list:
            return found
    raise UnexpectedPayload(f"iSolarCloud answered more than {MAX_PAGES} pages")


async def plants(ctx: Context, grant: Grant) -> list[str]:
    return [str(one.ps_id) for one in await _pages(ctx, grant, "queryPowerStationList", PlantId)]


async def plant(ctx: Context, grant: Grant, plant_id: str) -> Plant:
    """Raises NotSupported where the consent does not open it."""
    told = await _post(ctx, grant, "getPowerStationDetail", Plants, ps_ids=plant_id)
    found = next((one for one in told.data_list if str(one.ps_id) == plant_id), None)
    if found is None:
        raise NotSupported("iSolarCloud does not show this plant to the account")
    return found


async def devices(ctx: Context, grant: Grant, plant_id: str) -> list[DeviceEntry]:
    return await _pages(ctx, grant, "getDeviceListByPsId", DeviceEntry, ps_id=plant_id)


async def samples(ctx: Context, grant: Grant, plant_id: str, start: datetime, end: datetime) -> list[Sample]:
    """Reads a sample every quarter hour of [start, end], three hours at most, wall times of the plant."""
    told = await _post(
        ctx,
        grant,
        "getPowerStationPointMinuteDataList",
        dict[str, list[Sample]],
        ps_id_list=[plant_id],
        points=",".join(SAMPLED),
        start_time_stamp=start.strftime(STAMP),
        end_time_stamp=end.strftime(STAMP),
        minute_interval="15",
    )
    return told.get(plant_id, [])


async def now(ctx: Context, grant: Grant, plant_id: str) -> Now | None:
    told = await _post(
        ctx, grant, "getPowerStationRealTimeData", NowOfPlants, ps_id_list=[plant_id], point_id_list=list(ASKED_NOW)
    )
    return next((one for one in told.device_point_list if str(one.ps_id) == plant_id), None)
