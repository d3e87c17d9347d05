"""Events."""

from __future__ import annotations

from typing import Any

from joinder.services.records.events import Told
from joinder.wire.base import ListPage, Wire, utc


class Event(Wire, kw_only=True):
    """`data` as webhooks carry it: `enrollmentID`, `vendor`, and what the type adds (docs/webhooks.md)."""

    id: str
    type: str
    timestamp: str
    data: dict[str, Any]

    @staticmethod
    def of(told: Told) -> Event:
        return Event(id=told.row.id, type=told.row.type, timestamp=utc(told.row.at) or "", data=told.data)


class EventPage(ListPage, kw_only=True):
    events: list[Event]
