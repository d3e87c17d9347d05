"""The Solar API V1 as structs, and one GET by plain http. Energies Wh, powers W.

Every answer is Body.Data beside a Head, whose Status.Code is 0 when it is well; the HTTP status says nothing.
"""

from __future__ import annotations

from datetime import datetime
from typing import Generic, TypeVar

from msgspec import Struct, field

from joinder.errors import NotSupported, TransientError, UnexpectedPayload
from joinder.grants import Context
from joinder.http import Api
from joinder.series import Number

T = TypeVar("T")
CALL_DEADLINE = 15.0  # of an older datalogger; four calls, the most of one hook, stay inside the hook's 90 s
# Common response header: 0 well, 1 not implemented, 2 uninitialised, 4 to 6 a parameter, 7 and 8 not supported,
# 9 and 12 the device, 10 and 11 too much at once.
_HAS_NONE = (1, 4, 5, 6, 7, 8)
_PASSING = (2, 3, 9, 10, 11, 12)


class Status(Struct, rename="pascal"):
    code: int


class Head(Struct, rename="pascal"):
    status: Status
    timestamp: datetime


class Body(Struct, Generic[T], rename="pascal"):
    data: T


class Wrapped(Struct, Generic[T], rename="pascal"):
    head: Head
    body: Body[T]


class _Told(Struct, rename="pascal"):
    head: Head


class Inverter(Struct):
    unique_id: str = field(name="UniqueID")
    custom_name: str | None = field(name="CustomName", default=None)
    pv_power: Number | None = field(name="PVPower", default=None)  # W of connected panels, 0 where nobody entered it


class Details(Struct, rename="pascal"):
    manufacturer: str | None = None
    model: str | None = None
    serial: str | None = None


class Meter(Struct):
    details: Details = field(name="Details", default_factory=Details)
    location: Number | None = field(name="Meter_Location_Current", default=None)  # 0: at the grid connection
    consumed: Number | None = field(name="EnergyReal_WAC_Sum_Consumed", default=None)
    produced: Number | None = field(name="EnergyReal_WAC_Sum_Produced", default=None)


class Controller(Struct):
    details: Details = field(name="Details", default_factory=Details)
    designed_wh: Number | None = field(name="DesignedCapacity", default=None)
    soc: Number | None = field(name="StateOfCharge_Relative", default=None)


class Store(Struct, rename="pascal"):
    controller: Controller


class Flows(Struct):
    """Grid + while importing, battery + while discharging, load - while consuming; null where nothing measures it."""

    solar: Number | None = field(name="P_PV", default=None)
    battery: Number | None = field(name="P_Akku", default=None)
    grid: Number | None = field(name="P_Grid", default=None)
    load: Number | None = field(name="P_Load", default=None)
    total: Number | None = field(name="E_Total", default=None)  # AC energy of all inverters, since installation


class FlowInverter(Struct):
    soc: Number | None = field(name="SOC", default=None)


class PowerFlow(Struct, rename="pascal"):
    site: Flows
    inverters: dict[str, FlowInverter] = {}


class At(Struct, Generic[T]):
    """An answer, and the moment the inverter says it is of."""

    at: datetime
    told: T


API = Api(base="", refusals={404: (NotSupported, "This inverter has no such page; its firmware may be too old")})


async def get(ctx: Context, host: str, page: str, into: type[T], **params: str) -> At[T]:
    """One GET of an inverter that is opened for it. Raises NotSupported, TransientError, and as joinder.http does."""
    async with ctx.device(host) as box:
        url = f"{box.origin}/solar_api/v1/{page}"
        answer = await box.request("GET", url, params=params, deadline=CALL_DEADLINE)
    API.check(answer, ctx.now())
    code = answer.json(_Told).head.status.code
    if code in _HAS_NONE:
        raise NotSupported("This inverter's Solar API does not know that page")
    if code in _PASSING:
        raise TransientError("The inverter cannot answer now", detail=f"Status.Code {code}")
    if code != 0:
        raise UnexpectedPayload("The inverter answered an unknown status", detail=f"Status.Code {code}")
    wrapped: Wrapped[T] = answer.json(Wrapped[into])  # type: ignore[valid-type]
    return At(wrapped.head.timestamp, wrapped.body.data)


async def inverters(ctx: Context, host: str) -> dict[str, Inverter]:
    return (await get(ctx, host, "GetInverterInfo.cgi", dict[str, Inverter])).told


async def meters(ctx: Context, host: str) -> dict[str, Meter]:
    """Empty where there is none, or the inverter has no such page."""
    try:
        return (await get(ctx, host, "GetMeterRealtimeData.cgi", dict[str, Meter], Scope="System")).told
    except NotSupported:
        return {}


async def stores(ctx: Context, host: str) -> dict[str, Store]:
    """Empty where there is none, or the inverter has no such page."""
    try:
        return (await get(ctx, host, "GetStorageRealtimeData.cgi", dict[str, Store], Scope="System")).told
    except NotSupported:
        return {}


async def power_flow(ctx: Context, host: str) -> At[PowerFlow]:
    return await get(ctx, host, "GetPowerFlowRealtimeData.fcgi", PowerFlow)
