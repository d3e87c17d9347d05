"""SMA's Monitoring API on the wire: its answers as structs, one authenticated GET, its refusals by class.

Member names are those of recorded answers. `time` is the plant's wall time without offset, the END of its interval.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TypeVar
from urllib.parse import quote

from msgspec import Struct, field

from joinder.errors import AuthorizationLost, NotSupported, RateLimited
from joinder.grants import Context
from joinder.http import raise_for_status
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
    base: str
    token: str

    async def get(self, path: str, into: type[T], **params: str) -> T:
        """Sends one GET and returns its body as `into`.

        SMA publishes no error bodies, so only the status decides what is raised: AuthorizationLost (401, 403),
        NotSupported (404), RateLimited (429), else as `raise_for_status`.
        """
        headers = {"authorization": f"Bearer {self.token}"}
        answer = await self.ctx.http.request(
            "GET", self.base + path, params=params, headers=headers, deadline=CALL_DEADLINE
        )
        if answer.status in (401, 403):
            raise AuthorizationLost("SMA no longer shows this plant; its owner may have withdrawn the consent")
        if answer.status == 404:
            raise NotSupported("SMA has no such plant, device or measurement")
        if answer.status == 429:
            wait = answer.retry_after(self.ctx.now()) or UNSTATED_WAIT
            raise RateLimited("SMA allows no more calls of this app for now", retry_after=wait)
        raise_for_status(answer)
        return answer.json(into)

    async def sets(self, kind: str, of: str) -> frozenset[str]:
        """Asks which sets a plant or device offers, empty where it has none; asking for any other set is an error."""
        try:
            return frozenset((await self.get(path(kind, of, "measurements", "sets"), Sets)).sets)
        except NotSupported:
            return frozenset()


def path(*parts: str) -> str:
    return "".join(f"/{quote(part, safe='')}" for part in parts)
