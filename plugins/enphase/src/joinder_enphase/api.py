"""Enphase Monitoring API v4 on the wire: its answers as structs, one authenticated GET, its failures by class.

Shapes follow the vendor's Swagger document (developer-v4.enphase.com, captured 2026-07-27) and recorded answers; only
members the mapping reads are named. Energies are Wh, powers W, times epoch seconds; an interval row carries its END.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TypeVar
from urllib.parse import quote

import msgspec
from msgspec import Struct

from joinder.errors import (
    AppCredentialsRejected,
    AuthorizationLost,
    NotSupported,
    RateLimited,
    UnexpectedPayload,
)
from joinder.grants import Context, Grant
from joinder.http import Answer, raise_for_status
from joinder_enphase import shapes

T = TypeVar("T")
BASE = "https://api.enphaseenergy.com/api/v4"
CALL_DEADLINE = 12.0  # seven calls, the most of one fetch_readings, stay inside the registry's 90 s
PAGE_SIZE = 100  # the documented maximum
_MAX_PAGES = 1000
_UNSTATED_WAIT = timedelta(seconds=60)
_LONGEST_WAIT = timedelta(days=31)
_NO_DATA_YET = ("range is invalid", "in the future", "invalid date/time range", "has not reported yet")


class NoData(NotSupported):
    """422: the span lies outside what the system has reported. Nothing is wrong."""


async def get(ctx: Context, grant: Grant, path: str, into: type[T], **params: str | int) -> T:
    """Sends `GET BASE + path` and returns its body as `into`.

    Raises as `check` says, UnexpectedPayload when the body does not decode. The API key travels in the query: all of
    the vendor's samples do so, and a header was once refused.
    """
    answer = await ctx.http.request(
        "GET",
        BASE + path,
        params={**params, "key": ctx.require_app()["apiKey"]},
        headers={"authorization": f"Bearer {grant.secrets['access_token']}"},
        deadline=CALL_DEADLINE,
    )
    check(answer, ctx.now())
    return answer.json(into)


def system_path(site_id: str, rest: str = "") -> str:
    return f"/systems/{quote(site_id, safe='')}{rest}"


async def all_system_ids(ctx: Context, grant: Grant) -> tuple[str, ...]:
    """Asks for every system the grant opens, ascending by id."""
    found: list[str] = []
    for page in range(1, _MAX_PAGES + 1):
        answer = await get(ctx, grant, "/systems", shapes.SystemPage, page=page, size=PAGE_SIZE)
        found += [str(system.system_id) for system in answer.systems]
        if not answer.systems or page * PAGE_SIZE >= answer.total:
            break
    return tuple(dict.fromkeys(found))


def check(answer: Answer, now: datetime) -> None:
    """Raises the class of a failed answer; texts are matched to choose it and never repeated.

    403 and 404 are NotSupported, not AuthorizationLost: the token works, one system is no longer shared, and the
    other systems of the same grant must live on.
    """
    if answer.ok:
        return
    said = _said(answer.content)
    if answer.status == 401:
        _raise_unauthorized(said)
    if answer.status in (403, 404):
        raise NotSupported("Enphase no longer shares this system or device with this app")
    if answer.status in (405, 501):
        raise NotSupported("Enphase does not offer this call")
    if answer.status == 422:
        _raise_unprocessable(said or "")
    if answer.status == 429:
        raise RateLimited("This app's Enphase plan allows no more calls for now", retry_after=_wait(answer, now))
    raise_for_status(answer)


def _raise_unauthorized(said: str | None) -> None:
    if said is None:
        raise UnexpectedPayload("Enphase's gateway answered 401 with a page instead of the documented JSON")
    if "api key" in said:
        raise AppCredentialsRejected("Enphase refuses the API key; it must be of the same app as the client ID")
    raise AuthorizationLost("Enphase no longer accepts this consent")


def _raise_unprocessable(said: str) -> None:
    if any(words in said for words in _NO_DATA_YET):
        raise NoData("Enphase has no data of this system for that time")
    if "doesn't have" in said:
        raise NotSupported("This system has no such device")
    raise UnexpectedPayload("Enphase refused the parameters of the call")


class _Complaint(Struct):
    """Three of the four documented envelopes; `message` and `code` change type between them."""

    message: object = None
    details: object = None
    error: object = None


def _said(content: bytes) -> str | None:
    """Returns the complaint's words in lower case, "" when there are none, None when the body is not JSON."""
    try:
        complaint = msgspec.json.decode(content or b"{}", type=_Complaint)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    return f"{complaint.message} {complaint.details} {complaint.error}".lower()


class _Limit(Struct):
    period: str | None = None
    period_end: float | None = None


def _wait(answer: Answer, now: datetime) -> timedelta:
    """Returns the time until the counting period ends.

    It is as stated, else Retry-After, else the month's end or a minute.
    """
    try:
        limit = msgspec.json.decode(answer.content, type=_Limit, strict=False)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        limit = _Limit()
    if limit.period_end is not None and limit.period_end > now.timestamp():
        return min(timedelta(seconds=min(limit.period_end - now.timestamp(), 1e9)), _LONGEST_WAIT)
    if limit.period == "month":
        first = now.astimezone(UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
        return (first + timedelta(days=32)).replace(day=1) - now
    return answer.retry_after(now) or _UNSTATED_WAIT
