"""Enphase Grid Services on the wire: the app's own token, one authenticated call, its answers as structs.

Shapes follow the vendor's OpenAPI document 1.1.0; only members that are read are named. Energies are Wh, powers W,
times epoch seconds; an interval row carries its END.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import TypeVar
from urllib.parse import quote

from msgspec import Struct

from joinder import oauth
from joinder.grants import Context
from joinder.http import Answer
from joinder.series import Number
from joinder.vendor import OAuth2
from joinder_enphase.shapes import Meta, Row
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


class Telemetry(Struct):
    intervals: list[Row]
    soc: Number | None = None  # battery: percent over all batteries at last_report_at
    last_report_at: Number | None = None
    total_devices: Number | None = None
    meta: Meta | None = None


async def get(ctx: Context, path: str, into: type[T], **params: str | int) -> T:
    """Sends `GET BASE + path` and returns its body as `into`.

    Raises as refusals.check says, UnexpectedPayload when the body does not decode.
    """
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
    """Sends one call with the app's own token, which is fetched once more when it is refused.

    Raises as refusals.check.
    """
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
