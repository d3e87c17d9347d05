"""SMA's Monitoring API on the wire: its answers as structs, one authenticated GET, its refusals by class.

Member names are those of recorded answers. `time` is the plant's wall time without offset, the END of its interval.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TypeVar

from msgspec import Struct, field

from joinder.errors import AuthorizationLost, NotSupported, RateLimited
from joinder.grants import Context, Grant
from joinder.http import Api, path
from joinder.series import Number, is_datable

T = TypeVar("T")
CALL_DEADLINE = 12.0  # the seven calls of a large plant's hook stay inside the registry's 90 s
UNSTATED_WAIT = timedelta(seconds=60)  # SMA's 429 carries no Retry-After; its window is five minutes


class PlantEntry(Struct, rename="camel"):
    plant_id: str


class Plants(Struct):
    plants: list[PlantEntry]


class Plant(Struct, rename="camel"):
    plant_id: str
    name: str | None = None
    timezone: str | None = None


class Address(Struct):
    """Of the plant's location page; the rest of it is whose home it is, and not read."""

    latitude: Number | None = None
    longitude: Number | None = None


class Location(Struct):
    timezone: str | None = None
    address: Address | None = None

    def coordinates(self) -> tuple[float | None, float | None]:
        """Returns latitude and longitude, or None for both; 0 and 0 is a form that nobody filled in."""
        lat, lon = (self.address.latitude, self.address.longitude) if self.address else (None, None)
        return (None, None) if lat is None or lon is None or lat == lon == 0 else (lat, lon)


class DeviceEntry(Struct, rename="camel"):
    device_id: str
    name: str | None = None
    product: str | None = None
    serial: str | None = None
    generator_power: Number | None = None  # W; 0 where nobody entered it
    is_active: bool = True


class Devices(Struct):
    devices: list[DeviceEntry]


class Details(Struct, rename="camel"):
    battery_capacity: Number | None = None  # Wh; 0 or absent where nobody entered it


class DevicePage(Struct):
    details: Details = field(default_factory=Details)


class Sets(Struct):
    sets: list[str]


class Row(Struct, rename="camel"):
    """One row of any set; each set fills its own members, and leaves out what the plant has not."""

    time: datetime
    pv_generation: Number | None = None
    battery_charging: Number | None = None
    battery_discharging: Number | None = None
    battery_state_of_charge: Number | None = None
    grid_feed_in: Number | None = None
    grid_consumption: Number | None = None
    total_consumption: Number | None = None
    diesel_generation: Number | None = None


class Measurements(Struct):
    rows: list[Row] = field(name="set")
    resolution: str | None = None

    def __post_init__(self) -> None:
        self.rows = [row for row in self.rows if is_datable(row.time)]


@dataclass(frozen=True)
class Client:
    ctx: Context
    grant: Grant
    api: Api

    async def get(self, path: str, into: type[T], **params: str) -> T:
        """Sends one GET and returns its body as `into`. Raises as `described` says."""
        return await self.api.get(self.ctx, self.grant, path, into, **params)

    async def sets(self, kind: str, of: str) -> frozenset[str]:
        """Asks which sets a plant or device offers, empty where it has none; asking for any other set is an error."""
        try:
            return frozenset((await self.get(path(kind, of, "measurements", "sets"), Sets)).sets)
        except NotSupported:
            return frozenset()


def described(base: str) -> Api:
    """Describes the API of one of SMA's worlds. It publishes no error bodies: the status alone decides."""
    withdrawn = (AuthorizationLost, "SMA no longer shows this plant; its owner may have withdrawn the consent")
    return Api(
        base=base,
        refusals={
            401: withdrawn,
            403: withdrawn,
            404: (NotSupported, "SMA has no such plant, device or measurement"),
            429: (RateLimited, "SMA allows no more calls of this app for now"),
        },
        deadline=CALL_DEADLINE,
        unstated_wait=UNSTATED_WAIT,
    )
