"""What controllers get handed: the hub, pages, filters and time ranges out of the query.

Each names one before it, used or not: Litestar runs independent dependencies in a task group, and that costs more than
all of them together.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Sequence
from typing import Annotated, Any, TypeVar
from urllib.parse import urlencode

from litestar import Litestar, Request, Response
from litestar.datastructures import CacheControlHeader
from litestar.di import NamedDependency
from litestar.params import QueryParameter
from litestar.types import Scope
from msgspec import Struct

from joinder import moments
from joinder.api.formats import JSON, WHOLE, written
from joinder.api.settled import Settled
from joinder.clock import now, utc_text
from joinder.ids import Tag, id_pattern, is_id
from joinder.runtime.hub import Hub
from joinder.services.calls.fair_shares import name_reader
from joinder.services.readings.intervals import Page, Window
from joinder.services.readings.periods import SummaryLevel
from joinder.services.readings.provenance import Source, sources
from joinder.services.records.access_tokens import Tokens
from joinder.services.records.accounts import Caller
from joinder.services.refusals import Invalid
from joinder.store.types import Stamp
from joinder.wire.base import Rest, page_token
from joinder.wire.interval_bytes import encoded
from joinder.wire.intervals import BatteryIntervals, ChargerIntervals, MeterIntervals, SolarIntervals


class AskedWindow(Window, frozen=True):
    """A window, the format its answer is wanted in, and whether it is another one in a second."""

    media_type: str = JSON
    is_moving: bool = False


T = TypeVar("T")
Intervals = TypeVar("Intervals", SolarIntervals, BatteryIntervals, MeterIntervals, ChargerIntervals)
Level = Annotated[SummaryLevel, QueryParameter(name="summaryLevel", description="15mins, hour, day or month.")]
When = Annotated[str | None, QueryParameter(description="ISO 8601 with offset, e.g. 2026-06-01T00:00:00+02:00.")]
PageSize = Annotated[int, QueryParameter(name="pageSize", ge=1, le=200, description="Entries a page, 1 to 200.")]
PageToken = Annotated[str | None, QueryParameter(name="pageToken", description="`nextPageToken` of the page before.")]
VendorName = Annotated[str | None, QueryParameter(name="vendor", description="Name of an installed vendor.")]
VendorID = Annotated[str | None, QueryParameter(name="vendorID", description="The vendor's own id.")]
OfEnrollment = Annotated[
    str | None,
    QueryParameter(name="enrollmentID", pattern=id_pattern("enrl"), description="Of this enrollment."),
]
AboutEnrollment = Annotated[
    str | None, QueryParameter(name="enrollmentID", pattern=id_pattern("enrl"), description="About this enrollment.")
]
VendorSiteID = Annotated[
    str | None, QueryParameter(name="vendorSiteID", description="The vendor's own id of the device's site.")
]
OfSite = Annotated[str | None, QueryParameter(name="siteID", pattern=id_pattern("site"), description="Of this site.")]
OfFlow = Annotated[
    str | None, QueryParameter(name="flowID", pattern=id_pattern("flow"), description="Made through this join flow.")
]
OfProgram = Annotated[
    str | None, QueryParameter(name="programID", pattern=id_pattern("prog"), description="Of this programme.")
]
NOBODY = ""  # no id
NO_STORE = CacheControlHeader(no_store=True)  # of answers that hold a secret
_DAY = len("2026-06-01 ")
HubDep = NamedDependency[Hub]
CallerDep = NamedDependency[Caller]
StampDep = NamedDependency[Stamp | None]  # of the request, for what is read while nobody commits
WindowDep = NamedDependency[AskedWindow]
FromWhere = Annotated[bool, QueryParameter(name="provenance", description="Says where each value came from.")]


def provide_hub(request: Request[Any, Any, Any]) -> Hub:
    hub: Hub = request.app.state.hub
    return hub


def tokens_of(app: Litestar) -> Tokens:
    tokens: Tokens = app.state.tokens
    return tokens


def bearer_of(scope: Scope) -> str | None:
    """Returns the access token of a request; None where there is none."""
    given = dict(scope["headers"]).get(b"authorization", b"").decode("latin-1")
    scheme, _, token = given.partition(" ")
    return token.strip() or None if scheme.lower() == "bearer" else None


class Paging(Struct, frozen=True):
    """A keyset page: `size` entries behind the key that the token holds; "" on the first page."""

    key: str
    size: int

    def after(self, tag: Tag) -> str:
        """Returns the id the page begins behind. Raises Invalid for a token of another list."""
        if self.key and not is_id(self.key, tag):
            raise _bad_token()
        return self.key

    @property
    def limit(self) -> int:
        """Returns one more than the page: it tells whether another follows."""
        return self.size + 1

    def cut(self, rows: Sequence[T], key: Callable[[T], str]) -> tuple[Sequence[T], Rest]:
        """Cuts the page; returns it with the token of the next one, and the size of a list that fits into one page."""
        page = rows[: self.size]
        if len(rows) > self.size:
            return page, {"next_page_token": page_token(key(page[-1])), "total_size": None}
        return page, {"next_page_token": None, "total_size": None if self.key else len(page)}


class DeviceFilter(Struct, frozen=True):
    vendor: str | None
    vendor_id: str | None
    vendor_site_id: str | None
    site_id: str | None
    enrollment_id: str | None


def provide_paging(caller: NamedDependency[Caller], page_size: PageSize = 50, token: PageToken = None) -> Paging:
    if token is None:
        return Paging("", page_size)
    key = _key(token)
    if not is_id(key):
        raise _bad_token()
    return Paging(key, page_size)


def provide_stamp(request: Request[Any, Any, Any], paging: NamedDependency[Paging]) -> Stamp | None:
    stamp: Stamp | None = request.scope["state"]["stamp"]
    return stamp


def provide_device_filter(
    stamp: NamedDependency[Stamp | None],
    vendor: VendorName = None,
    vendor_id: VendorID = None,
    vendor_site_id: VendorSiteID = None,
    site_id: OfSite = None,
    enrollment_id: OfEnrollment = None,
) -> DeviceFilter:
    return DeviceFilter(vendor, vendor_id, vendor_site_id, site_id, enrollment_id)


def provide_window(
    request: Request[Any, Any, Any],
    caller: NamedDependency[Caller],
    start: When = None,
    end: When = None,
    summary_level: Level = "hour",
    page_size: PageSize = 50,
    token: PageToken = None,
    provenance: FromWhere = False,
) -> AskedWindow:
    """Reads the range asked for; a page token moves its start. The last day where none is given. Raises Invalid.

    What the vendor is asked for by this read is counted as the caller's.
    """
    name_reader(caller.client_id)
    media_type = request.scope["state"].get("media_type", JSON)
    if media_type != JSON and "pageSize" not in request.query_params:
        page_size = WHOLE
    asked = window_of(summary_level, start, end, page_size, token)
    return AskedWindow(asked.level, asked.start, asked.end, asked.limit, provenance, media_type, end is None)


def window_of(level: SummaryLevel, start: str | None, end: str | None, limit: int, token: str | None) -> Window:
    """Returns the range asked for, as `provide_window` does. Raises Invalid.

    A start that nobody gave moves on while pages are turned, so a token may lie before it.
    """
    until = moment_of("end", end) if end is not None else now()
    since = moment_of("start", start) if start is not None else None
    if token is None:
        return Window(level, until - 86400 if since is None else since, until, limit)
    key = _key(token)
    if not key.isdigit() or len(key) > 12 or not (since or 0) <= int(key) < until:
        raise _bad_token()
    return Window(level, int(key), until, limit)


def _key(token: str) -> str:
    try:
        key = base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)).decode("ascii")
    except ValueError:
        raise _bad_token() from None
    if page_token(key) != token:  # the decoder drops what it does not know
        raise _bad_token()
    return key


def _bad_token() -> Invalid:
    return Invalid("pageToken is not one of ours", errors={"/pageToken": "use a nextPageToken as it came"})


def moment_of(name: str, text: str) -> int:
    """Returns epoch seconds. Raises Invalid naming the member or parameter."""
    told = text[:_DAY] + text[_DAY:].replace(" ", "+")  # an offset's `+` left bare in a query arrives as a blank
    try:
        return moments.read(told).epoch
    except ValueError as error:
        raise Invalid(f"{name} cannot be taken", errors={f"/{name}": str(error)}) from None


def answered(
    request: Request[Any, Any, Any], window: AskedWindow, answer: type[Intervals], owner_id: str, page: Page
) -> Response[Intervals]:
    """Answers a page of intervals in the format asked for, with Retry-After where more can be had then.

    What JSON says around the intervals is in headers of the others.
    """
    headers = {"vary": "accept, accept-encoding"}
    if page.retry_after_s is not None:
        headers["retry-after"] = str(page.retry_after_s)
    if window.media_type == JSON:
        written_out = encoded(answer, owner_id, window.level, page)
        settled: Settled = request.app.state.settled
        tag = settled.keep(request, written_out, headers) if page.is_settled and not window.is_moving else None
        headers |= {"etag": tag} if tag is not None else {}
    else:
        headers["joinder-complete"] = "true" if page.is_complete else "false"
        if page.as_of is not None:
            headers["joinder-as-of"] = utc_text(page.as_of)
        if page.next_start is not None:
            query = {**dict(request.query_params.items()), "pageToken": page_token(str(page.next_start))}
            headers["link"] = f'<{request.url.path}?{urlencode(query)}>; rel="next"'
        written_out = written(answer.of(owner_id, window.level, page).intervals, answer.row_type, window.media_type)
    return Response(written_out, media_type=window.media_type, headers=headers)  # type: ignore[arg-type]


def known_errors(caller: Caller, errors: dict[str, str]) -> dict[str, str]:
    """Returns the `errors` of a list as far as the caller knows the vendors; a browser hears of none."""
    if caller.enrollment_id is not None:
        return {}
    return {vendor: text for vendor, text in errors.items() if caller.told.knows(vendor)}


def opened_by(caller: Caller, enrollment_id: str | None) -> str | None:
    """Returns the enrollment a list is of: of a browser key its own, and nobody's where another was asked for."""
    if caller.enrollment_id is None:
        return enrollment_id
    return caller.enrollment_id if enrollment_id in (None, caller.enrollment_id) else NOBODY


async def source_of(hub: Hub, source_id: int | None, is_asked: bool) -> Source | None:
    """Read where a value came from. None where that was not asked for, or nothing is known."""
    if not is_asked or source_id is None:
        return None
    return (await sources(hub, [source_id])).get(source_id)
