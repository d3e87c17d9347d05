"""SolisCloud on the wire: signed POSTs, one envelope, members whose case and unit differ by endpoint.

Source: "SolisCloud Platform API Document V2.0", and the clients named in README.md where it is wrong or silent.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import math
from collections.abc import Mapping
from datetime import datetime, timedelta
from email.utils import format_datetime
from typing import Any

import msgspec
from msgspec import Struct

from joinder.errors import (
    AuthorizationLost,
    NotSupported,
    OperatorActionNeeded,
    RateLimited,
    TransientError,
    UnexpectedPayload,
)
from joinder.grants import Context, Grant
from joinder.http import Answer, raise_for_status

HOST = "www.soliscloud.com:13333"
PATH = "/v1/api/"
SIGNED_TYPE = "application/json"  # signed without a charset, whatever the document's table says: every client does
CALL_DEADLINE = 17.0  # answers of 10 to 30 s happen, but the five calls of the longest hook must end within 90 s
PAGE_SIZE = 100  # the documented maximum
_MAX_PAGES = 50
_POWER_UNITS = {"W": 1.0, "kW": 1e3, "MW": 1e6, "kWp": 1e3, "Wp": 1.0, "MWp": 1e6}
_ENERGY_UNITS = {"Wh": 1.0, "kWh": 1e3, "MWh": 1e6, "GWh": 1e9}
_LOST = ("B0011", "I0012")  # user unknown, wrong account or password
_FOREIGN = ("B0001", "B0049")  # bound to another user, no permission for this logger
_OUR_REQUEST = ("I0000", "I0003")  # a parameter is empty


class _Envelope(Struct):
    """`success` is true for failures too, and missing in samples: only `code` tells."""

    code: str | int
    msg: str | None = None
    data: Any = None


class Record:
    """One object of an answer. Members are found whatever their case: psum and pSum, etoday and eToday."""

    def __init__(self, members: Mapping[str, Any]) -> None:
        self._members = {name.lower(): value for name, value in members.items()}

    def text(self, name: str) -> str | None:
        value = self._members.get(name.lower())
        if isinstance(value, int) and not isinstance(value, bool):
            return str(value)  # ids of 19 digits come as texts, and as numbers in the document
        return value.strip() or None if isinstance(value, str) else None

    def number(self, name: str) -> float | None:
        """Returns the number as it stands, without unit or multiplier; None where there is none."""
        value = self._members.get(name.lower())
        if isinstance(value, bool) or not isinstance(value, int | float | str):
            return None
        try:
            number = float(value)
        except (ValueError, OverflowError):
            return None
        return number if math.isfinite(number) and abs(number) < 1e13 else None  # times are milliseconds

    def watts(self, name: str, bare: str = "") -> float | None:
        """Returns a power in W, or None. `bare`: the unit of a member that names none of its own."""
        return self._quantity(name, _POWER_UNITS, bare)

    def watt_hours(self, name: str, bare: str = "") -> float | None:
        return self._quantity(name, _ENERGY_UNITS, bare)

    def _quantity(self, name: str, units: Mapping[str, float], bare: str) -> float | None:
        """Computes value × Pec in the unit of Str; None for an unknown unit. Pec is a multiplier, not a percentage."""
        told = bare if self._members.get(f"{name}str".lower()) is None else self.text(f"{name}Str")
        value, unit = self.number(name), units.get(told or "")
        pec = self.number(f"{name}Pec") if f"{name}pec".lower() in self._members else 1.0
        return None if value is None or unit is None or pec is None or pec <= 0 else value * pec * unit


def sign(secret: str, path: str, body: bytes, date: str) -> tuple[str, str]:
    """Returns Content-MD5 and signature (document V2.0 §2.4): HMAC-SHA1 over method, MD5, type, date and path."""
    md5 = base64.b64encode(hashlib.md5(body, usedforsecurity=False).digest()).decode()
    told = f"POST\n{md5}\n{SIGNED_TYPE}\n{date}\n{path}"
    return md5, base64.b64encode(hmac.new(secret.encode(), told.encode(), hashlib.sha1).digest()).decode()


async def call(ctx: Context, grant: Grant, endpoint: str, body: Mapping[str, Any]) -> Any:
    """Sends one signed POST and returns its `data`; raises as `opened`. The bytes sent are those that were hashed."""
    content, path = msgspec.json.encode(body), PATH + endpoint
    date = format_datetime(ctx.now(), usegmt=True)  # English names, whatever the locale
    md5, signature = sign(grant.secrets["key_secret"], path, content, date)
    headers = {
        "content-type": SIGNED_TYPE,
        "content-md5": md5,
        "date": date,
        "authorization": f"API {grant.facts['key_id']}:{signature}",
    }
    url = f"https://{HOST}{path}"
    answer = await ctx.http.request("POST", url, content=content, headers=headers, deadline=CALL_DEADLINE)
    return opened(answer, ctx.now())


async def one(ctx: Context, grant: Grant, endpoint: str, **body: Any) -> Record:
    """Asks for one object. Raises NotSupported for what is foreign, UnexpectedPayload for anything but an object.

    SolisCloud answers what is foreign with an object without an id: all zeros, code "0".
    """
    data = await call(ctx, grant, endpoint, body)
    if not isinstance(data, dict):
        raise UnexpectedPayload(f"SolisCloud answered no object to {endpoint}")
    record = Record(data)
    if record.text("id") is None and record.text("sn") is None:
        raise NotSupported("SolisCloud does not show this to the API key")
    return record


async def rows(ctx: Context, grant: Grant, endpoint: str, **body: Any) -> list[Record]:
    """Asks for a bare list; null is an empty one. Raises UnexpectedPayload for anything else."""
    data = await call(ctx, grant, endpoint, body)
    if data is not None and not isinstance(data, list):
        raise UnexpectedPayload(f"SolisCloud answered no list to {endpoint}")
    return [Record(row) for row in data or () if isinstance(row, dict)]


async def pages(ctx: Context, grant: Grant, endpoint: str, **body: Any) -> list[Record]:
    """Asks for the records of all pages. Raises UnexpectedPayload for anything but pages, or too many of them.

    They stand under `data.page` or directly under `data`.
    """
    found: list[Record] = []
    for number in range(1, _MAX_PAGES + 1):
        data = await call(ctx, grant, endpoint, {"pageNo": number, "pageSize": PAGE_SIZE, **body})
        page = data.get("page", data) if isinstance(data, dict) else None
        records = page.get("records") if isinstance(page, dict) else None
        if not isinstance(page, dict) or not isinstance(records, list):
            raise UnexpectedPayload(f"SolisCloud answered no page to {endpoint}")
        found += [Record(record) for record in records if isinstance(record, dict)]
        if number >= (Record(page).number("pages") or 0):
            return found
    raise UnexpectedPayload(f"SolisCloud answered more than {_MAX_PAGES} pages to {endpoint}")


def opened(answer: Answer, now: datetime) -> Any:
    """Returns `data` of a good answer; raises what a refusal means."""
    if answer.status == 408:
        raise OperatorActionNeeded(
            "SolisCloud refuses calls whose time is off by more than 15 minutes: set this server's clock"
        )
    if answer.status in (401, 403):
        raise AuthorizationLost("SolisCloud refuses the API key; it was deactivated or replaced")
    raise_for_status(answer)
    envelope = answer.json(_Envelope)
    if str(envelope.code) != "0":
        raise _refusal(str(envelope.code), envelope.msg or "", now)
    return envelope.data


def _refusal(code: str, message: str, now: datetime) -> Exception:
    detail = f"code {code}"
    if code == "R0000" and "too many request" in message.lower():  # the same code means no permission otherwise
        tomorrow = (now + timedelta(days=1)).replace(hour=0, minute=0, second=0, microsecond=0)
        return RateLimited("SolisCloud's daily quota of this key is used up", retry_after=tomorrow - now, detail=detail)
    if code == "R0000" or code in _LOST:
        return AuthorizationLost("SolisCloud refuses this API key", detail=detail)
    if code in _FOREIGN:
        return NotSupported("SolisCloud does not show this to the API key", detail=detail)
    if code in _OUR_REQUEST:
        return UnexpectedPayload("SolisCloud took a parameter for empty", detail=detail)
    if code == "1" or not message.isascii():  # an outage that has lasted days; its text is often Chinese
        return TransientError("SolisCloud could not answer", detail=detail)
    return UnexpectedPayload("SolisCloud answered an unknown code", detail=detail)
