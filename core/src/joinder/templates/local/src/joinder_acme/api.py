"""What the box answers as structs, and one GET by plain http. Energies Wh, powers W."""

from __future__ import annotations

from datetime import datetime
from typing import TypeVar

from msgspec import Struct

from joinder.errors import NotSupported
from joinder.grants import Context
from joinder.http import Api
from joinder.series import Number

T = TypeVar("T")
CALL_DEADLINE = 10.0


class DeviceEntry(Struct):
    serial: str
    kind: str  # inverter, battery, meter, charger
    model: str | None = None
    capacity_wh: Number | None = None


class Info(Struct):
    serial: str
    name: str
    timezone: str
    devices: list[DeviceEntry]


class Totals(Struct):
    """Lifetime registers at `at`."""

    at: datetime
    solar: Number | None = None
    charged: Number | None = None
    discharged: Number | None = None
    imported: Number | None = None
    exported: Number | None = None
    car: Number | None = None


class Power(Struct):
    """At `at`; battery + while charging, grid + while exporting."""

    at: datetime
    solar: Number | None = None
    battery: Number | None = None
    grid: Number | None = None
    soc: Number | None = None


async def get(ctx: Context, host: str, path: str, into: type[T]) -> T:
    """One GET of a box that is opened for it. Raises DeviceUnreachable, NotSupported, and as joinder.http does."""
    async with ctx.device(host) as box:
        answer = await box.request("GET", f"{box.origin}/v1{path}", deadline=CALL_DEADLINE)
    API.check(answer, ctx.now())
    return answer.json(into)


API = Api(base="", refusals={404: (NotSupported, "This box has no such page; its firmware may be too old")})
