"""The wire format: camelCase with upper-case ID and URI; kWh, kW, percent; the unknown is left out, never null."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Annotated, Any, TypedDict

import msgspec
from msgspec import Meta, Struct

from joinder.clock import FIRST, LAST
from joinder.clock import utc_text as utc_text
from joinder.moments import Instant

_UPPER = {"id": "ID", "uri": "URI", "utc": "UTC"}


def wire_name(name: str) -> str:
    """Converts `site_id` to `siteID`, `location_utc_offset` to `locationUTCOffset`, `charge_kwh` to `chargeKwh`."""
    head, *tail = name.split("_")
    return head + "".join(_UPPER.get(part, part.capitalize()) for part in tail)


Moment = Annotated[str, Meta(extra_json_schema={"format": "date-time"})]
Given = Annotated[Instant, Meta(extra_json_schema={"type": "string", "format": "date-time"})]  # in bodies
Day = Annotated[str, Meta(extra_json_schema={"format": "date"})]
Link = Annotated[str, Meta(extra_json_schema={"format": "uri"})]


def one_of(values: Iterable[str]) -> Meta:
    """Says in the OpenAPI document which values a member has; rows of earlier versions may hold others."""
    return Meta(extra_json_schema={"enum": list(values)})


class Wire(Struct, rename=wire_name, omit_defaults=True, kw_only=True):
    """Base of answers."""


class Body(Struct, rename=wire_name, forbid_unknown_fields=True, kw_only=True):
    """Base of request bodies: an unknown member is refused."""


class Rest(TypedDict):
    """What a page of a list says about the others."""

    next_page_token: str | None
    total_size: int | None


class ListPage(Wire, kw_only=True):
    """A page. `nextPageToken` is absent on the last one, `totalSize` unless the first page is the whole list."""

    next_page_token: str | None = None
    total_size: int | None = None


class Reference(Wire, kw_only=True):
    id: str


def references(ids: Sequence[str]) -> list[Reference]:
    return [Reference(id=row_id) for row_id in ids]


def listed(ids: Sequence[str]) -> list[Reference]:
    """Returns what encodes as `references(ids)` does, for less: written out at once."""
    texts = msgspec.json.encode(ids)[1:-1].replace(b'","', b'"},{"id":"')  # a quotation mark within an id is escaped
    written: Any = msgspec.Raw(b'[{"id":%b}]' % texts if ids else b"[]")
    return written  # type: ignore[no-any-return]


def page_token(key: str) -> str:
    """Makes a page's token, opaque to callers; deps.py reads it."""
    return base64.urlsafe_b64encode(key.encode()).decode().rstrip("=")


def utc(at: int | None) -> str | None:
    """Formats epoch seconds in ISO 8601; None where unknown, or where no calendar has such a time."""
    return None if at is None or not FIRST <= at <= LAST else utc_text(at)


def kilo(value: float | None) -> float | None:
    return None if value is None else round(value / 1000, 6)


def moment_text(moment: datetime | None) -> str | None:
    return utc(int(moment.timestamp())) if moment else None
