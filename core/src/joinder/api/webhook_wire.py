"""Events, webhooks and deliveries, from what is stored to the wire format."""

from __future__ import annotations

from joinder.api import webhook_schemas as schemas
from joinder.api.wire import utc
from joinder.services.events.replays import Shown
from joinder.services.events.webhooks import WithSecret
from joinder.services.records.events import Told
from joinder.store.tables import WebhookEndpoint


def event(told: Told) -> schemas.Event:
    return schemas.Event(id=told.row.id, type=told.row.type, timestamp=utc(told.row.at) or "", data=told.data)


def webhook(row: WebhookEndpoint, secret: str | None = None) -> schemas.Webhook:
    return schemas.Webhook(
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


def with_secret(made: WithSecret) -> schemas.Webhook:
    return webhook(made.row, made.secret)


def delivery(shown: Shown) -> schemas.Delivery:
    row, event = shown
    return schemas.Delivery(
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
