"""Endpoints, and deliveries as if they had been sent to them."""

from __future__ import annotations

from joinder.ids import next_id
from joinder.runtime.hub import Hub
from joinder.services.events import webhooks
from joinder.store.tables import Delivery, Event


async def endpoint(hub: Hub, account_id: str, name: str) -> str:
    made = await webhooks.create(hub, account_id, "test", url=f"https://{name}.example/hook?key=canary", types=[])
    return made.row.id


async def deliver(hub: Hub, account_id: str, endpoint_id: str, *statuses: str, kind: str = "webhook.test") -> list[str]:
    """One event a second, each with a delivery. Answers the deliveries' ids."""
    ids = [next_id("dlvy") for _ in statuses]
    async with hub.store.write() as session:
        for at, (row_id, status) in enumerate(zip(ids, statuses, strict=True), start=1_700_000_000):
            event = Event(
                id=next_id("evnt"),
                account_id=account_id,
                enrollment_id="",
                type=kind,
                data={},
                at=at,
                fanned_out=True,
            )
            session.add(event)
            await session.flush()
            session.add(
                Delivery(
                    id=row_id,
                    account_id=account_id,
                    endpoint_id=endpoint_id,
                    event_id=event.id,
                    status=status,
                    created_at=at,
                    due_at=at,
                )
            )
    return ids
