"""Webhook endpoints: where an account's events go, how they are signed (Standard Webhooks 1.0), and sending again."""

from __future__ import annotations

import base64
import hmac
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any
from urllib.parse import urlsplit

from sqlalchemy import func, update
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col, select

from joinder.clock import now
from joinder.egress import is_public
from joinder.http import LOOPBACK
from joinder.ids import new_id
from joinder.redact import Secrets
from joinder.runtime.hub import Hub, audit, owned
from joinder.services.join.redirects import NOT_HTTPS, problem_with
from joinder.services.records.event_types import EVENT_TYPES
from joinder.services.refusals import Conflict, Invalid, pointer
from joinder.store.tables import Delivery, WebhookEndpoint

MAX_ENDPOINTS = 50
BOTH_SIGN_S = 86400  # after a rotation
PREFIX = "whsec_"
FAN_OUT_LOCK = "fan_out"  # what decides which endpoints an event goes to runs one after the other


@dataclass(frozen=True, kw_only=True)
class WithSecret:
    """The one moment a signing secret is shown."""

    row: WebhookEndpoint
    secret: str

    def __repr__(self) -> str:
        return f"WithSecret({self.row.id})"  # the URL, too, may hold a secret


async def create(hub: Hub, account_id: str, actor: str, *, url: str, types: Sequence[str]) -> WithSecret:
    """Creates an endpoint; `types` empty: every type.

    Raises Invalid naming the member, Conflict when there are too many.
    """
    _check(hub, {"url": url, "types": list(types)})
    secret = _new_secret()
    row = WebhookEndpoint(
        id=new_id("whep"),
        account_id=account_id,
        url=url,
        types=list(types),
        secret_sealed=b"",
        created_at=now(),
    )
    async with hub.store.write(account_id, FAN_OUT_LOCK) as session:
        mine = select(func.count()).select_from(WebhookEndpoint).where(col(WebhookEndpoint.account_id) == account_id)
        if (await session.execute(mine)).scalar_one() >= MAX_ENDPOINTS:
            raise Conflict(f"An account has at most {MAX_ENDPOINTS} webhooks; delete one first.")
        await hub.vault.unlock(session, account_id)
        row.secret_sealed = _seal(hub, row, "secret_sealed", secret)
        session.add(row)
        audit(session, account_id, actor, "webhook.create", row.id)
    return WithSecret(row=row, secret=secret)


async def list_page(hub: Hub, account_id: str, *, after: str, limit: int) -> list[WebhookEndpoint]:
    query = select(WebhookEndpoint).where(
        col(WebhookEndpoint.account_id) == account_id, col(WebhookEndpoint.id) > after
    )
    async with hub.store.read() as session:
        return list((await session.execute(query.order_by(col(WebhookEndpoint.id)).limit(limit))).scalars())


async def get(hub: Hub, account_id: str, endpoint_id: str) -> WebhookEndpoint:
    """Returns the endpoint. Raises NotFound."""
    async with hub.store.read() as session:
        return await owned(session, WebhookEndpoint, endpoint_id, account_id)


async def change(hub: Hub, account_id: str, endpoint_id: str, actor: str, *, patch: dict[str, Any]) -> WebhookEndpoint:
    """Changes any of url, types (None: every type), disabled. Raises NotFound, or Invalid naming the member."""
    await get(hub, account_id, endpoint_id)
    patch = {**patch, **({"types": patch["types"] or []} if "types" in patch else {})}
    _check(hub, patch)
    async with hub.store.write(endpoint_id, FAN_OUT_LOCK) as session:
        row = await owned(session, WebhookEndpoint, endpoint_id, account_id)
        if patch.get("url", row.url) != row.url:
            row.url, row.failing_since = patch["url"], None
        row.types = patch.get("types", row.types)
        if patch.get("disabled") is True and row.disabled_at is None:
            await disable(session, row, "It was switched off.")
        elif patch.get("disabled") is False:
            row.disabled_at = row.disabled_reason = row.failing_since = None
        audit(session, account_id, actor, "webhook.change", endpoint_id)
    return row


async def delete(hub: Hub, account_id: str, endpoint_id: str, actor: str) -> None:
    """Deletes the endpoint and its deliveries. Raises NotFound."""
    async with hub.store.write(endpoint_id, FAN_OUT_LOCK) as session:
        await session.delete(await owned(session, WebhookEndpoint, endpoint_id, account_id))
        audit(session, account_id, actor, "webhook.delete", endpoint_id)


async def rotate(hub: Hub, account_id: str, endpoint_id: str, actor: str) -> WithSecret:
    """Makes a new secret; the one before it signs too for a day. Raises NotFound."""
    secret = _new_secret()
    async with hub.store.write(endpoint_id) as session:
        row = await owned(session, WebhookEndpoint, endpoint_id, account_id)
        await hub.vault.unlock(session, account_id)
        before = hub.vault.open(row.secret_sealed, **_place(row, "secret_sealed"))
        row.old_secret_sealed, row.old_secret_until = _seal(hub, row, "old_secret_sealed", before), now() + BOTH_SIGN_S
        row.secret_sealed = _seal(hub, row, "secret_sealed", secret)
        audit(session, account_id, actor, "webhook.rotate", endpoint_id)
    return WithSecret(row=row, secret=secret)


async def disable(session: AsyncSession, row: WebhookEndpoint, reason: str) -> None:
    """Stops sending. What was waiting counts as failed; a replay brings it back."""
    row.disabled_at, row.disabled_reason = now(), reason
    await drop_waiting(session, row)


async def drop_waiting(session: AsyncSession, row: WebhookEndpoint) -> None:
    await session.execute(
        update(Delivery)
        .where(col(Delivery.endpoint_id) == row.id, col(Delivery.status) == "pending")
        .values(status="failed", reason="The webhook was disabled.")
    )


def signing_secrets(hub: Hub, row: WebhookEndpoint) -> Secrets:
    """Opens the secrets that sign now; the account's key must be unlocked. Raises SealBroken."""
    found = {"secret": hub.vault.open(row.secret_sealed, **_place(row, "secret_sealed"))}
    if row.old_secret_sealed is not None and (row.old_secret_until or 0) > now():
        found["old_secret"] = hub.vault.open(row.old_secret_sealed, **_place(row, "old_secret_sealed"))
    return Secrets(found)


def signed_headers(known: Secrets, event_id: str, body: bytes) -> dict[str, str]:
    """Returns the headers of one attempt: `webhook-id` stays the same over retries; time and signature are its own."""
    timestamp = str(now())
    content = f"{event_id}.{timestamp}.".encode() + body
    signatures = [
        base64.b64encode(hmac.digest(base64.b64decode(secret.removeprefix(PREFIX)), content, "sha256")).decode()
        for secret in known.values()
    ]
    return {
        "content-type": "application/json",
        "webhook-id": event_id,
        "webhook-timestamp": timestamp,
        "webhook-signature": " ".join(f"v1,{signature}" for signature in signatures),
    }


def _check(hub: Hub, given: dict[str, Any]) -> None:
    errors = {}
    if "url" in given and (problem := _url_problem(hub, given["url"])):
        errors["/url"] = problem
    for index, kind in enumerate(given.get("types", ())):
        if kind not in EVENT_TYPES:
            errors[pointer("types", index)] = f"unknown type; known: {', '.join(EVENT_TYPES)}"
    if errors:
        raise Invalid("The webhook cannot work as asked", errors=errors)


def _url_problem(hub: Hub, url: str) -> str | None:
    """Says what is wrong with a URL, as far as that can be said before a call; None when nothing is.

    Where a name leads is checked at every call (egress.py).
    """
    wanted = f"must be https, or http://{LOOPBACK}" if hub.settings.is_loopback else "must be https"
    if problem := problem_with(url):
        return wanted if problem == NOT_HTTPS else problem
    parts = urlsplit(url)
    if parts.scheme == "http":
        return None if hub.settings.is_loopback and parts.hostname == LOOPBACK else wanted
    try:
        address = ip_address(parts.hostname or "")
    except ValueError:
        return "must be a public address" if parts.hostname == "localhost" else None
    return None if is_public(address) else "must be a public address"


def _new_secret() -> str:
    return PREFIX + base64.b64encode(secrets.token_bytes(32)).decode()


def _seal(hub: Hub, row: WebhookEndpoint, column: str, secret: str) -> bytes:
    return hub.vault.seal(secret, **_place(row, column))


def _place(row: WebhookEndpoint, column: str) -> dict[str, str]:
    return {"table": "webhook_endpoint", "row": row.id, "column": column, "owner": row.account_id}
