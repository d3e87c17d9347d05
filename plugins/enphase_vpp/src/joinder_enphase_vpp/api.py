"""Enphase Grid Services on the wire: the app's own token, one authenticated call, its answers as structs.

Shapes follow the vendor's OpenAPI document 1.1.0; only members that are read are named. Energies are Wh, powers W,
times epoch seconds; an interval row carries its END.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import TypeVar
from urllib.parse import quote

from msgspec import Struct, field

from joinder import oauth
from joinder.grants import Context
from joinder.http import Answer
from joinder.series import Number
from joinder.vendor import OAuth2
from joinder_enphase_vpp.refusals import MachineTokenRefused, check

T = TypeVar("T")
HOST = "vpp.enphaseenergy.com"
BASE = f"https://{HOST}/api/v1"
CALL_DEADLINE = 7.0  # eight calls, the most of one fetch_readings, and a token of 30 s stay inside the hook's 90 s
_MACHINE = OAuth2(
    authorize_url="",
    # The vendor wants grant_type in the query AND the content type of a form, which a body of a form brings along.
    token_url=f"https://{HOST}/auth/oauth2/token?grant_type=client_credentials",
)


class Application(Struct):
    application_status: str
    program_id: str | None = None
    application_id: int | str | None = None
    application_type: str | None = None  # enrollment, unenrollment


class System(Struct):
    system_id: int
    name: str | None = None
    timezone: str | None = None
    operational_at: Number | None = None
    status: str | None = None


class SystemPage(Struct):
    systems: list[System]
    total: int = 0


class DeviceEntry(Struct):
    id: int | str | None = None
    serial_number: str | None = None
    name: str | None = None
    model: str | None = None
    product_name: str | None = None
    part_number: str | None = None
    last_report_at: Number | None = None
    status: str | None = None
    state: str | None = None  # meters: enabled, disabled
    config_type: str | None = None  # meters: Production, Net, Total


class DeviceLists(Struct):
    """Keys of kinds the system has none of are missing."""

    micros: list[DeviceEntry] | None = None
    meters: list[DeviceEntry] | None = None
    encharges: list[DeviceEntry] | None = None
    acbs: list[DeviceEntry] | None = None
    generators: list[DeviceEntry] | None = None


class Devices(Struct):
    devices: DeviceLists


class Summary(Struct):
    """Of enrolled sites only."""

    current_power: Number | None = None
    last_interval_end_at: Number | None = None  # a string in the schema, a number in its example
    battery_capacity_wh: Number | None = None


class Meta(Struct):
    status: str | None = None  # of the system, now
    last_energy_at: Number | None = None


class Energy(Struct):
    enwh: Number | None = None
    devices_reporting: Number | None = None


class Percent(Struct):
    percent: Number | None = None
    devices_reporting: Number | None = None


class Row(Struct):
    """One interval row of any telemetry call; each call fills its own members."""

    end_at: Number | None = None
    devices_reporting: Number | None = None  # battery rows tell it metric by metric
    wh_del: Number | None = None  # production_meter
    enwh: Number | None = None  # production_micro, consumption_meter
    wh_imported: Number | None = None
    wh_exported: Number | None = None
    charge: Energy | None = None
    discharge: Energy | None = None
    soc: Percent | None = None


class Telemetry(Struct):
    intervals: list[Row]
    soc: Number | None = None  # battery: percent over all batteries at last_report_at
    last_report_at: Number | None = None
    total_devices: Number | None = None
    meta: Meta | None = None


class Lifetime(Struct):
    """One value per local day from start_date, without gaps."""

    start_date: str | None = None
    production: list[Number | None] | None = None
    charge: list[Number | None] | None = None
    discharge: list[Number | None] | None = None
    imported: list[Number | None] | None = field(name="import", default=None)
    exported: list[Number | None] | None = field(name="export", default=None)
    consumption: list[Number | None] | None = None
    meta: Meta | None = None


class PowerRow(Struct):
    id: int | str | None = None  # of the device: a meter has a row for each channel
    name: str | None = None  # meters: production, consumption, storage
    power: Number | None = None
    last_report_at: Number | None = None
    operational_mode: str | None = None  # encharges: Idle, Charging, Discharging


class PowerLists(Struct):
    meters: list[PowerRow] | None = None
    encharges: list[PowerRow] | None = None


class Latest(Struct):
    devices: PowerLists


async def get(ctx: Context, path: str, into: type[T], **params: str | int) -> T:
    """`GET BASE + path` as `into`. Raises as refusals.check says, UnexpectedPayload when the body does not decode."""
    return (await call(ctx, "GET", path, params=params)).json(into)


async def call(
    ctx: Context,
    method: str,
    path: str,
    *,
    params: Mapping[str, str | int] | None = None,
    multipart: Mapping[str, str] | None = None,
    headers: Mapping[str, str] | None = None,
) -> Answer:
    """One call with the app's own token, which is fetched once more when it is refused. Raises as refusals.check."""
    fetch = partial(oauth.client_token, ctx, _MACHINE)

    async def send(token: str) -> Answer:
        access = {"authorization": f"Bearer {token}", "x-api-key": ctx.require_app()["apiKey"]}
        answer = await ctx.http.request(
            method,
            BASE + path,
            params=params,
            multipart=multipart,
            headers={**(headers or {}), **access},
            deadline=CALL_DEADLINE,
        )
        check(answer)
        return answer

    token = await ctx.app_token(fetch)
    try:
        return await send(token)
    except MachineTokenRefused:
        return await send(await ctx.app_token(fetch, refused=token))


def site_path(site_id: str, rest: str = "") -> str:
    return f"/systems/{quote(site_id, safe='')}{rest}"
