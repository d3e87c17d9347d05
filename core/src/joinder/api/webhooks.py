"""What happened, and where it is told: events and webhooks."""

from __future__ import annotations

from typing import Annotated

from litestar import Controller, delete, get, patch, post
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery, JSONBody, QueryParameter

from joinder.api.auth import require_caller
from joinder.api.deps import NO_STORE, AboutEnrollment, CallerDep, HubDep, Paging
from joinder.services.events import replays, webhooks
from joinder.services.records import events
from joinder.services.records.event_types import EVENT_TYPES
from joinder.wire.events import Event, EventPage
from joinder.wire.webhooks import (
    Delivery,
    DeliveryPage,
    DeliveryStatus,
    NewWebhook,
    Replay,
    Replayed,
    Webhook,
    WebhookPage,
    WebhookPatch,
)


class EventController(Controller):
    """Every change of an enrollment, in order of time."""

    path = "/events"
    tags = ["Events"]  # noqa: RUF012
    guards = [require_caller]  # noqa: RUF012

    @get("/", operation_id="listEvents", opt={"scope": "read:enrollments"}, summary="List events")
    async def list_all(
        self,
        hub: HubDep,
        caller: CallerDep,
        enrollment_id: AboutEnrollment = None,
        kind: Annotated[str | None, QueryParameter(name="type", schema_extra={"enum": list(EVENT_TYPES)})] = None,
        *,
        paging: NamedDependency[Paging],
    ) -> EventPage:
        """Lists events, the newest last."""
        rows = await events.list_page(
            hub,
            caller.account_id,
            enrollment_id=enrollment_id,
            kind=kind,
            after=paging.after("evnt"),
            limit=paging.limit,
            told=caller.told,
        )
        page, rest = paging.cut(rows, lambda told: told.row.id)
        return EventPage(events=[Event.of(told) for told in page], **rest)


class WebhookController(Controller):
    """Endpoints events are sent to, signed as Standard Webhooks 1.0 says."""

    path = "/webhooks"
    tags = ["Webhooks"]  # noqa: RUF012
    guards = [require_caller]  # noqa: RUF012

    @post(
        "/",
        operation_id="createWebhook",
        cache_control=NO_STORE,
        opt={"scope": "manage:webhooks"},
        summary="Create a webhook",
    )
    async def create(self, hub: HubDep, caller: CallerDep, data: JSONBody[NewWebhook]) -> Webhook:
        """Returns it with the `secret` that verifies signatures, which is shown this once."""
        made = await webhooks.create(hub, caller.account_id, caller.client_id, url=data.url, types=data.types or [])
        return Webhook.of_secret(made)

    @get("/", operation_id="listWebhooks", opt={"scope": "read:webhooks"}, summary="List webhooks")
    async def list_all(self, hub: HubDep, caller: CallerDep, *, paging: NamedDependency[Paging]) -> WebhookPage:
        rows = await webhooks.list_page(hub, caller.account_id, after=paging.after("whep"), limit=paging.limit)
        page, rest = paging.cut(rows, lambda row: row.id)
        return WebhookPage(webhooks=[Webhook.of(row) for row in page], **rest)

    @get("/{webhook_id:str}", operation_id="getWebhook", opt={"scope": "read:webhooks"}, summary="Show a webhook")
    async def show(self, hub: HubDep, caller: CallerDep, webhook_id: FromPath[str]) -> Webhook:
        return Webhook.of(await webhooks.get(hub, caller.account_id, webhook_id))

    @patch(
        "/{webhook_id:str}", operation_id="updateWebhook", opt={"scope": "manage:webhooks"}, summary="Change a webhook"
    )
    async def change(
        self, hub: HubDep, caller: CallerDep, webhook_id: FromPath[str], data: JSONBody[WebhookPatch]
    ) -> Webhook:
        """Applies a JSON Merge Patch. While it is disabled nothing is put in line for it; a replay brings that."""
        changed = await webhooks.change(hub, caller.account_id, webhook_id, caller.client_id, patch=data.given())
        return Webhook.of(changed)

    @delete(
        "/{webhook_id:str}", operation_id="deleteWebhook", opt={"scope": "manage:webhooks"}, summary="Delete a webhook"
    )
    async def remove(self, hub: HubDep, caller: CallerDep, webhook_id: FromPath[str]) -> None:
        """Deletes it with its deliveries."""
        await webhooks.delete(hub, caller.account_id, webhook_id, caller.client_id)

    @post(
        "/{webhook_id:str}/rotate",
        operation_id="rotateWebhookSecret",
        cache_control=NO_STORE,
        opt={"scope": "manage:webhooks"},
        status_code=200,
        summary="Rotate the secret",
    )
    async def rotate(self, hub: HubDep, caller: CallerDep, webhook_id: FromPath[str]) -> Webhook:
        """Returns the new secret, which is shown this once; for a day the old one signs beside it."""
        return Webhook.of_secret(await webhooks.rotate(hub, caller.account_id, webhook_id, caller.client_id))

    @post(
        "/{webhook_id:str}/test",
        operation_id="sendTestEvent",
        opt={"scope": "manage:webhooks"},
        status_code=200,
        summary="Send a test event",
    )
    async def send_test(self, hub: HubDep, caller: CallerDep, webhook_id: FromPath[str]) -> Delivery:
        return Delivery.of(await replays.send_test(hub, caller.account_id, webhook_id, caller.client_id))

    @get(
        "/{webhook_id:str}/deliveries",
        operation_id="listDeliveries",
        opt={"scope": "read:webhooks"},
        summary="List deliveries",
    )
    async def deliveries(
        self,
        hub: HubDep,
        caller: CallerDep,
        webhook_id: FromPath[str],
        status: FromQuery[DeliveryStatus | None] = None,
        *,
        paging: NamedDependency[Paging],
    ) -> DeliveryPage:
        rows = await replays.list_page(
            hub, caller.account_id, webhook_id, status=status, after=paging.after("dlvy"), limit=paging.limit
        )
        page, rest = paging.cut(rows, lambda shown: shown[0].id)
        return DeliveryPage(deliveries=[Delivery.of(shown) for shown in page], **rest)

    @post(
        "/{webhook_id:str}/deliveries/{delivery_id:str}/replay",
        operation_id="replayDelivery",
        opt={"scope": "manage:webhooks"},
        status_code=200,
        summary="Send an event once more",
    )
    async def replay(
        self, hub: HubDep, caller: CallerDep, webhook_id: FromPath[str], delivery_id: FromPath[str]
    ) -> Delivery:
        """Sends it again, delivered or not; its `webhook-id` stays."""
        shown = await replays.replay(hub, caller.account_id, webhook_id, delivery_id, caller.client_id)
        return Delivery.of(shown)

    @post(
        "/{webhook_id:str}/replay",
        operation_id="replayDeliveries",
        opt={"scope": "manage:webhooks"},
        status_code=200,
        summary="Send what was not delivered",
    )
    async def replay_since(
        self, hub: HubDep, caller: CallerDep, webhook_id: FromPath[str], data: JSONBody[Replay]
    ) -> Replayed:
        """Sends the events since then again whose delivery failed, or that were never put in line."""
        count = await replays.replay_since(hub, caller.account_id, webhook_id, caller.client_id, since=data.since.epoch)
        return Replayed(deliveries=count)
