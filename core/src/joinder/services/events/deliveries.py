"""Events on their way: fanned out to the endpoints that want them, then sent until each has answered 2xx.

At least once, never exactly once: a crash after the answer sends again, with the same `webhook-id`.
"""

from __future__ import annotations

import asyncio
import logging
import random
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from http import HTTPStatus

import msgspec
from sqlalchemy import ColumnElement, func, or_, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col, select

from joinder.clock import now, utc_text
from joinder.errors import TransientError, VendorTimeout
from joinder.ids import next_id
from joinder.redact import Secrets
from joinder.runtime.hub import Hub, audit
from joinder.services.events import webhooks
from joinder.services.join import reconnect
from joinder.services.records import events, health
from joinder.services.records.event_types import DISABLED, OPT_IN
from joinder.services.work import leases
from joinder.services.work.jobs import Job
from joinder.store.tables import Delivery, Enrollment, Event, WebhookEndpoint

FAN_OUT_AT_ONCE = 200
SEND_AT_ONCE = 4  # of one endpoint, in one process
SENDS_A_TURN = 50  # of one lane, before other endpoints get theirs
DEADLINE_S = 15.0
LEASE_S = 2 * DEADLINE_S
RETRY_AFTER_S = (5, 300, 1800, 7200, 18_000, 36_000, 50_400, 72_000, 86_400)  # as Standard Webhooks advises
GIVE_UP_AFTER_S = 5 * 86400
log = logging.getLogger("joinder.webhooks")


@dataclass(frozen=True, kw_only=True)
class DeliveryAttempt:
    """One delivery about to be sent, under its lease."""

    delivery_id: str
    endpoint_id: str
    event_id: str
    lease: str
    url: str
    body: bytes
    signing: Secrets

    def __repr__(self) -> str:
        return f"Attempt({self.delivery_id} to {self.endpoint_id})"


@dataclass(frozen=True, kw_only=True)
class DeliveryOutcome:
    """`status` is None when no answer came; `reason` tells the endpoint's owner why it did not count."""

    status: int | None
    reason: str | None = None
    retry_after: timedelta | None = None


async def _unfanned(hub: Hub) -> list[str]:
    found = await hub.store.rows("SELECT 1 FROM event WHERE fanned_out = :told LIMIT 1", {"told": False})
    return ["events"] if found else []


async def fan_out(hub: Hub, _: str = "events") -> None:
    """Makes a delivery for every endpoint that wants an event, and marks the event, in one transaction a batch."""
    while await _fan_out_batch(hub):
        pass


async def _fan_out_batch(hub: Hub) -> bool:
    async with hub.store.write(webhooks.FAN_OUT_LOCK) as session:
        query = select(Event).where(col(Event.fanned_out).is_(False)).order_by(col(Event.at), col(Event.id))
        waiting = list((await session.execute(query.limit(FAN_OUT_AT_ONCE))).scalars())
        accounts = {event.account_id for event in waiting}
        live = select(WebhookEndpoint).where(
            col(WebhookEndpoint.account_id).in_(accounts), col(WebhookEndpoint.disabled_at).is_(None)
        )
        endpoints = list((await session.execute(live)).scalars())
        await enqueue(session, [(event, row) for event in waiting for row in endpoints if wants(row, event)])
        ids = [event.id for event in waiting]
        await session.execute(update(Event).where(col(Event.id).in_(ids)).values(fanned_out=True))
    return len(waiting) == FAN_OUT_AT_ONCE


def wants(row: WebhookEndpoint, event: Event) -> bool:
    is_wanted = event.type in row.types if row.types else event.type not in OPT_IN
    return row.account_id == event.account_id and is_wanted


async def enqueue(session: AsyncSession, pairs: Sequence[tuple[Event, WebhookEndpoint]]) -> None:
    """Puts deliveries in line, due in the order of the events. A pair that is known already stays as it is."""
    rows = [
        {
            "id": next_id("dlvy"),
            "account_id": event.account_id,
            "endpoint_id": row.id,
            "event_id": event.id,
            "status": "pending",
            "attempts": 0,
            "created_at": now(),
            "due_at": event.at,
        }
        for event, row in pairs
    ]
    if not rows:
        return
    if session.get_bind().dialect.name == "postgresql":
        await session.execute(postgresql.insert(Delivery).on_conflict_do_nothing(), rows)
    else:
        await session.execute(sqlite.insert(Delivery).on_conflict_do_nothing(), rows)


async def _due(hub: Hub) -> list[str]:
    """Lists the endpoints with something to send now, the longest waiting first."""
    async with hub.store.read() as session:
        query = select(Delivery.endpoint_id).where(_sendable(session)).group_by(col(Delivery.endpoint_id))
        return list((await session.execute(query.order_by(func.min(Delivery.due_at)).limit(200))).scalars())


def _sendable(session: AsyncSession) -> ColumnElement[bool]:
    name, time = leases.clock(session)
    free = or_(col(Delivery.lease).is_(None), col(Delivery.lease_boot) != name, col(Delivery.lease_until) < time)
    return (col(Delivery.status) == "pending") & (col(Delivery.due_at) <= now()) & free


async def deliver(hub: Hub, endpoint_id: str) -> None:
    """Sends what is due to one endpoint, a few at once."""
    async with asyncio.TaskGroup() as lanes:
        for _ in range(SEND_AT_ONCE):
            lanes.create_task(_lane(hub, endpoint_id))


async def _lane(hub: Hub, endpoint_id: str) -> None:
    """Sends one after the other; the first failure ends it, so that a dead endpoint holds nobody up."""
    for _ in range(SENDS_A_TURN):
        attempt = await _take(hub, endpoint_id)
        if attempt is None:
            return
        outcome = await _send(hub, attempt)
        await _finish(hub, attempt, outcome)
        if outcome.reason is not None:
            return


async def _take(hub: Hub, endpoint_id: str) -> DeliveryAttempt | None:
    async with hub.store.write(endpoint_id) as session:
        query = select(Delivery).where(_sendable(session), col(Delivery.endpoint_id) == endpoint_id)
        query = query.order_by(col(Delivery.due_at), col(Delivery.id)).limit(1)
        row = (await session.execute(query)).scalar_one_or_none()
        endpoint = await session.get(WebhookEndpoint, endpoint_id)
        event = await session.get(Event, row.event_id) if row is not None else None
        if row is None or endpoint is None or event is None:
            return None
        if endpoint.disabled_at is not None:  # while the fan-out took it for live
            await webhooks.drop_waiting(session, endpoint)
            return None
        lease = secrets.token_hex(8)
        name, time = leases.clock(session)
        held = {"lease": lease, "lease_boot": name, "lease_until": time + LEASE_S}
        await session.execute(update(Delivery).where(col(Delivery.id) == row.id).values(**held))
        await hub.vault.unlock(session, endpoint.account_id)
        return DeliveryAttempt(
            delivery_id=row.id,
            endpoint_id=endpoint_id,
            event_id=event.id,
            lease=lease,
            url=endpoint.url,
            body=await _payload(hub, session, event),
            signing=webhooks.signing_secrets(hub, endpoint),
        )


async def _payload(hub: Hub, session: AsyncSession, event: Event) -> bytes:
    enrollment = await session.get(Enrollment, event.enrollment_id)
    data = events.told(event, enrollment).data
    if enrollment is not None and data.get("to") in health.OWNER_MUST_ACT:
        url = (await reconnect.links(hub, session, [enrollment])).get(enrollment.id)
        data |= {"reconnectURL": url} if url else {}
    return msgspec.json.encode({"type": event.type, "timestamp": utc_text(event.at), "data": data})


async def _send(hub: Hub, attempt: DeliveryAttempt) -> DeliveryOutcome:
    headers = webhooks.signed_headers(attempt.signing, attempt.event_id, attempt.body)
    try:
        answer = await hub.http.webhooks().post(attempt.url, attempt.body, headers, deadline=DEADLINE_S)
    except VendorTimeout:
        return DeliveryOutcome(status=None, reason=f"No answer within {DEADLINE_S:.0f} seconds.")
    except TransientError as error:
        if error.detail is None:
            return DeliveryOutcome(status=None, reason="It cut the connection before it answered.")
        is_local = attempt.url.startswith("http:")  # as only one of this machine may
        only_public = "" if is_local else " Only public https addresses are called."
        return DeliveryOutcome(status=None, reason=f"It could not be reached.{only_public}")
    if answer.ok:
        return DeliveryOutcome(status=answer.status)
    redirected = "; redirects are not followed" if 300 <= answer.status < 400 else ""
    return DeliveryOutcome(
        status=answer.status, reason=f"It answered {answer.status}{redirected}.", retry_after=answer.retry_after()
    )


async def _finish(hub: Hub, attempt: DeliveryAttempt, outcome: DeliveryOutcome) -> None:
    async with hub.store.write(attempt.endpoint_id) as session:
        row = await session.get(Delivery, attempt.delivery_id)
        endpoint = await session.get(WebhookEndpoint, attempt.endpoint_id)
        if row is None or endpoint is None or row.lease != attempt.lease:
            return
        row.lease = row.lease_until = None
        row.attempts += 1
        row.answered, row.reason = outcome.status, outcome.reason
        if outcome.reason is None:
            row.status, row.delivered_at = "delivered", now()
            endpoint.failing_since = None
            hub.metrics.delivered("delivered")
            return
        _plan(row, outcome)
        await _note_failure(session, endpoint, outcome)
        hub.metrics.delivered("failed" if row.status == "pending" else "given_up")
    log.info("webhook %s: delivery %s: %s", attempt.endpoint_id, attempt.delivery_id, outcome.reason)


def _plan(row: Delivery, outcome: DeliveryOutcome) -> None:
    """Plans the next try, never before the endpoint asked for; after the last try it has failed."""
    if row.status != "pending":  # the endpoint was disabled meanwhile
        return
    if row.attempts > len(RETRY_AFTER_S) or outcome.status == HTTPStatus.GONE:
        row.status = "failed"
        return
    wait_s = RETRY_AFTER_S[row.attempts - 1] * random.uniform(1.0, 1.2)  # noqa: S311 - spreading load
    asked_s = outcome.retry_after.total_seconds() if outcome.retry_after else 0.0
    row.due_at = now() + int(max(wait_s, asked_s)) + 1


async def _note_failure(session: AsyncSession, endpoint: WebhookEndpoint, outcome: DeliveryOutcome) -> None:
    """Notes a failure. 410 ends the endpoint at once, days of nothing but failures end it too.

    The account's other endpoints are told.
    """
    endpoint.failing_since = endpoint.failing_since or now()
    if endpoint.disabled_at is not None:
        return
    if outcome.status == HTTPStatus.GONE:
        reason = "It answered 410 (gone)."
    elif now() - endpoint.failing_since >= GIVE_UP_AFTER_S:
        reason = f"Nothing but failures for {GIVE_UP_AFTER_S // 86400} days; the last one: {outcome.reason}"
    else:
        return
    await webhooks.disable(session, endpoint, reason)
    events.write(session, endpoint.account_id, DISABLED, {"webhookID": endpoint.id, "reason": reason})
    audit(session, endpoint.account_id, "worker", "webhook.disable", endpoint.id)


FAN_OUT = Job("fan_out", _unfanned, fan_out)
DELIVERY = Job("delivery", _due, deliver)
