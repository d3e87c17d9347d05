"""Webhooks and their deliveries."""

from __future__ import annotations

from typing import Annotated, Any, Literal, get_args

from msgspec import UNSET, UnsetType

from joinder.services.events.replays import Shown
from joinder.services.events.webhooks import WithSecret
from joinder.services.records.event_types import EVENT_TYPES
from joinder.store.tables import WebhookEndpoint
from joinder.wire.base import Body, Given, ListPage, Moment, Wire, one_of, utc

DeliveryStatus = Literal["pending", "delivered", "failed"]


class NewWebhook(Body, kw_only=True):
    """`types` left out: every type but `readings.updated`, which must be named."""

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
    disabled_at: Moment | None = None
    disabled_reason: str | None = None
    failing_since: Moment | None = None
    created_at: Moment
    secret: str | None = None
    old_secret_until: Moment | None = None

    @staticmethod
    def of(row: WebhookEndpoint, secret: str | None = None) -> Webhook:
        return Webhook(
            id=row.id,
            url=row.url,
            types=row.types or None,
            disabled=row.disabled_at is not None,
            disabled_at=utc(row.disabled_at),
            disabled_reason=row.disabled_reason,
            failing_since=utc(row.failing_since),
            created_at=utc(row.created_at) or "",
            secret=secret,
            old_secret_until=utc(row.old_secret_until),
        )

    @staticmethod
    def of_secret(made: WithSecret) -> Webhook:
        return Webhook.of(made.row, made.secret)


class WebhookPage(ListPage, kw_only=True):
    webhooks: list[Webhook]


class Delivery(Wire, kw_only=True):
    """`answered` is the HTTP status of the last attempt, absent when no answer came; `dueAt` the next attempt."""

    id: str
    event_id: str
    type: Annotated[str, one_of(EVENT_TYPES)]
    status: Annotated[str, one_of(get_args(DeliveryStatus))]
    attempts: int
    answered: int | None = None
    reason: str | None = None
    created_at: Moment
    delivered_at: Moment | None = None
    due_at: Moment | None = None

    @staticmethod
    def of(shown: Shown) -> Delivery:
        row, event = shown
        return Delivery(
            id=row.id,
            event_id=row.event_id,
            type=event.type,
            status=row.status,
            attempts=row.attempts,
            answered=row.answered,
            reason=row.reason,
            created_at=utc(row.created_at) or "",
            delivered_at=utc(row.delivered_at),
            due_at=utc(row.due_at) if row.status == "pending" else None,
        )


class DeliveryPage(ListPage, kw_only=True):
    deliveries: list[Delivery]


class Replay(Body, kw_only=True):
    since: Given


class Replayed(Wire, kw_only=True):
    """How many deliveries were put in line."""

    deliveries: int
