"""What was sent to an endpoint, and sending it again."""

from __future__ import annotations

from typing import Any

from sqlalchemy import or_, update
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col, select
from sqlmodel.sql.expression import Select

from joinder.clock import now
from joinder.runtime.hub import Hub, audit, owned
from joinder.services.events import deliveries
from joinder.services.events.webhooks import FAN_OUT_LOCK
from joinder.services.records import events
from joinder.services.records.event_types import TEST
from joinder.services.refusals import Conflict, Invalid, NotFound
from joinder.store.tables import Delivery, Event, WebhookEndpoint

BATCH = 500
STATUSES = ("pending", "delivered", "failed")
Shown = tuple[Delivery, Event]
_AGAIN: dict[str, Any] = {"status": "pending", "attempts": 0, "reason": None, "answered": None, "lease": None}


async def list_page(
    hub: Hub, account_id: str, endpoint_id: str, *, status: str | None, after: str, limit: int
) -> list[Shown]:
    """Reads a keyset page by id. Raises NotFound, or Invalid for an unknown status."""
    query = _of_endpoint(endpoint_id, status).where(col(Delivery.id) > after)
    async with hub.store.read() as session:
        await owned(session, WebhookEndpoint, endpoint_id, account_id)
        found = await session.execute(query.order_by(col(Delivery.id)).limit(limit))
        return [(row[0], row[1]) for row in found]


async def latest(hub: Hub, account_id: str, endpoint_id: str, *, status: str | None, limit: int) -> list[Shown]:
    """Lists those put in line last, the newest first. Raises NotFound, or Invalid for an unknown status."""
    query = _of_endpoint(endpoint_id, status).order_by(col(Delivery.id).desc())
    async with hub.store.read() as session:
        await owned(session, WebhookEndpoint, endpoint_id, account_id)
        return [(row[0], row[1]) for row in await session.execute(query.limit(limit))]


def _of_endpoint(endpoint_id: str, status: str | None) -> Select[Delivery, Event]:
    if status is not None and status not in STATUSES:
        raise Invalid("Unknown status", errors={"/status": f"must be one of {', '.join(STATUSES)}"})
    query = select(Delivery, Event).join(Event, col(Event.id) == col(Delivery.event_id))
    query = query.where(col(Delivery.endpoint_id) == endpoint_id)
    return query if status is None else query.where(col(Delivery.status) == status)


async def send_test(hub: Hub, account_id: str, endpoint_id: str, actor: str) -> Shown:
    """Sends an event to this endpoint alone, whatever types it wants.

    Raises NotFound, or Conflict when it is disabled.
    """
    async with hub.store.write(endpoint_id) as session:
        endpoint = await _live(session, account_id, endpoint_id)
        data = {"webhookID": endpoint_id}
        event_id = events.write(session, account_id, TEST, data, fanned_out=True)
        await session.flush()
        event = await owned(session, Event, event_id, account_id)
        await deliveries.enqueue(session, [(event, endpoint)])
        audit(session, account_id, actor, "webhook.test", endpoint_id)
        made = select(Delivery).where(col(Delivery.endpoint_id) == endpoint_id, col(Delivery.event_id) == event_id)
        return (await session.execute(made)).scalar_one(), event


async def replay(hub: Hub, account_id: str, endpoint_id: str, delivery_id: str, actor: str) -> Shown:
    """Sends it once more, delivered or not. Raises NotFound, or Conflict when the endpoint is disabled."""
    async with hub.store.write(endpoint_id) as session:
        endpoint = await owned(session, WebhookEndpoint, endpoint_id, account_id)
        row = await owned(session, Delivery, delivery_id, account_id)
        if row.endpoint_id != endpoint_id:
            raise NotFound
        _refuse_disabled(endpoint)
        if row.status != "pending":
            for name, value in _AGAIN.items():
                setattr(row, name, value)
        row.due_at = now()
        audit(session, account_id, actor, "webhook.replay", endpoint_id)
        return row, await owned(session, Event, row.event_id, account_id)


async def replay_since(hub: Hub, account_id: str, endpoint_id: str, actor: str, *, since: int) -> int:
    """Sends what happened at or after `since` (epoch seconds) and was not delivered. Answers how many deliveries.

    Raises NotFound, or Conflict when the endpoint is disabled.
    """
    async with hub.store.write(endpoint_id) as session:
        await _live(session, account_id, endpoint_id)
        audit(session, account_id, actor, "webhook.replay", endpoint_id)
    count, at, event_id = 0, since, ""
    while True:
        async with hub.store.write(endpoint_id, FAN_OUT_LOCK) as session:
            batch = await _batch(session, account_id, at, event_id)
            endpoint = await _live(session, account_id, endpoint_id)
            count += await _replay(session, endpoint, [row for row in batch if deliveries.wants(endpoint, row)])
        if len(batch) < BATCH:
            return count
        at, event_id = batch[-1].at, batch[-1].id


async def _batch(session: AsyncSession, account_id: str, at: int, event_id: str) -> list[Event]:
    behind = or_(col(Event.at) > at, (col(Event.at) == at) & (col(Event.id) > event_id))
    query = select(Event).where(col(Event.account_id) == account_id, behind, col(Event.type) != TEST)
    return list((await session.execute(query.order_by(col(Event.at), col(Event.id)).limit(BATCH))).scalars())


async def _replay(session: AsyncSession, endpoint: WebhookEndpoint, batch: list[Event]) -> int:
    mine = select(Delivery).where(
        col(Delivery.endpoint_id) == endpoint.id, col(Delivery.event_id).in_([event.id for event in batch])
    )
    known = {row.event_id: row for row in (await session.execute(mine)).scalars()}
    missing = [event for event in batch if event.id not in known]
    await deliveries.enqueue(session, [(event, endpoint) for event in missing])
    failed = {row.event_id for row in known.values() if row.status == "failed"}
    for event in batch:
        if event.id in failed:
            again = {**_AGAIN, "due_at": event.at}
            await session.execute(update(Delivery).where(col(Delivery.id) == known[event.id].id).values(**again))
    return len(missing) + len(failed)


async def _live(session: AsyncSession, account_id: str, endpoint_id: str) -> WebhookEndpoint:
    endpoint = await owned(session, WebhookEndpoint, endpoint_id, account_id)
    _refuse_disabled(endpoint)
    return endpoint


def _refuse_disabled(endpoint: WebhookEndpoint) -> None:
    if endpoint.disabled_at is not None:
        raise Conflict("This webhook is disabled; switch it on first (PATCH with disabled: false).")
