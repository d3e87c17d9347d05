"""The wire format of events and webhooks."""

from __future__ import annotations

from typing import Any

from msgspec import UNSET, UnsetType

from joinder.api.schemas import Body, Wire


class Event(Wire, kw_only=True):
    """`data` as webhooks carry it: `enrollmentID`, `vendor`, and what the type adds (docs/webhooks.md)."""

    id: str
    type: str
    timestamp: str
    data: dict[str, Any]


class EventPage(Wire, kw_only=True):
    events: list[Event]
    next_page_token: str | None = None


class NewWebhook(Body, kw_only=True):
    """`types` left out: every type."""

    url: str
    types: list[str] | None = None


class WebhookPatch(Body, kw_only=True):
    """A member left out stays; `types: null` means every type. `disabled: false` starts anew."""

    url: str | UnsetType = UNSET
    types: list[str] | UnsetType | None = UNSET
    disabled: bool | UnsetType = UNSET

    def given(self) -> dict[str, Any]:
        members = {"url": self.url, "types": self.types, "disabled": self.disabled}
        return {name: value for name, value in members.items() if value is not UNSET}


class Webhook(Wire, kw_only=True):
    """`secret` shows once, when it is made. `types` absent: every type."""

    id: str
    url: str
    types: list[str] | None = None
    disabled: bool
    disabled_at: str | None = None
    disabled_reason: str | None = None
    failing_since: str | None = None
    created_at: str
    secret: str | None = None
    old_secret_until: str | None = None


class WebhookPage(Wire, kw_only=True):
    webhooks: list[Webhook]
    next_page_token: str | None = None


class Delivery(Wire, kw_only=True):
    """`answered` is the HTTP status of the last attempt, absent when no answer came; `dueAt` the next attempt."""

    id: str
    event_id: str
    type: str
    status: str
    attempts: int
    answered: int | None = None
    reason: str | None = None
    created_at: str
    delivered_at: str | None = None
    due_at: str | None = None


class DeliveryPage(Wire, kw_only=True):
    deliveries: list[Delivery]
    next_page_token: str | None = None


class Replay(Body, kw_only=True):
    """ISO 8601 with offset."""

    since: str


class Replayed(Wire, kw_only=True):
    """How many deliveries were put in line."""

    deliveries: int
