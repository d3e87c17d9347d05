"""Events."""

from __future__ import annotations

from typing import Annotated, Any

from msgspec import field

from joinder.services.records.event_types import EVENT_TYPES
from joinder.services.records.events import EventView
from joinder.wire.base import Link, ListPage, Moment, Wire, one_of, utc


class EventData(Wire, kw_only=True):
    """What an event is about; each has what its type adds, and may get more. Never a secret, never a reading."""

    enrollment_id: str | None = None
    vendor: str | None = None
    reference: str | None = None
    state: str | None = None
    flow_id: str | None = None
    site_id: str | None = None
    device_id: str | None = None
    kind: str | None = None
    changed: list[str] | None = None
    resolution: str | None = None
    start: Moment | None = None
    end: Moment | None = None
    from_: str | None = field(name="from", default=None)
    to: str | None = None
    reason: str | None = None
    code: str | None = None
    actor: str | None = None
    how: str | None = None
    revocation: str | None = None
    continues_as: str | None = None
    expires_at: Moment | None = None
    reconnect_url: Link | None = field(name="reconnectURL", default=None)
    backfill_id: str | None = None
    windows: int | None = None
    webhook_id: str | None = None


class WebhookPayload(Wire, kw_only=True):
    """What is sent to a webhook; the event's id is the header `webhook-id`."""

    type: Annotated[str, one_of(EVENT_TYPES)]
    timestamp: Moment
    data: EventData


class Event(Wire, kw_only=True):
    """`data` as webhooks carry it: `enrollmentID`, `vendor`, and what the type adds (docs/webhooks.md)."""

    id: str
    type: Annotated[str, one_of(EVENT_TYPES)]
    timestamp: Moment
    data: dict[str, Any]

    @staticmethod
    def of(told: EventView) -> Event:
        return Event(id=told.row.id, type=told.row.type, timestamp=utc(told.row.at) or "", data=told.data)


class EventPage(ListPage, kw_only=True):
    events: list[Event]
