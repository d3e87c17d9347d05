"""What happened, who is told, and who did it."""

from __future__ import annotations

from typing import Any

from sqlalchemy import JSON, Column, Index, UniqueConstraint, text
from sqlmodel import Field, SQLModel

from joinder.store.tables.columns import big


class WebhookEndpoint(SQLModel, table=True):
    """Where an account's events go. Deliveries are signed with `secret_sealed` (Standard Webhooks 1.0)."""

    __tablename__ = "webhook_endpoint"
    __table_args__ = (Index("webhook_endpoint_by_account", "account_id", "id"),)
    id: str = Field(primary_key=True)
    account_id: str = Field(foreign_key="account.id")
    url: str
    types: list[str] = Field(sa_column=Column(JSON, nullable=False))  # empty: every type
    secret_sealed: bytes
    old_secret_sealed: bytes | None = None  # still signs for a day after a rotation
    old_secret_until: int | None = big(default=None)
    failing_since: int | None = big(default=None)  # nothing but failures since then
    disabled_at: int | None = big(default=None)
    disabled_reason: str | None = None
    created_at: int = big()


_FAILED = text("status = 'failed'")


class Delivery(SQLModel, table=True):
    """One event on its way to one endpoint."""

    __table_args__ = (
        Index("delivery_next", "status", "due_at"),
        Index("delivery_by_endpoint", "endpoint_id", "id"),
        Index("delivery_failed", "endpoint_id", "id", sqlite_where=_FAILED, postgresql_where=_FAILED),
        UniqueConstraint("endpoint_id", "event_id"),
    )
    id: str = Field(primary_key=True)
    account_id: str
    endpoint_id: str = Field(foreign_key="webhook_endpoint.id", ondelete="CASCADE")
    event_id: str = Field(foreign_key="event.id", ondelete="CASCADE")
    status: str = "pending"  # pending | delivered | failed
    attempts: int = 0
    answered: int | None = None  # HTTP status of the last attempt
    reason: str | None = None
    created_at: int = big()
    delivered_at: int | None = big(default=None)
    due_at: int = big()
    lease: str | None = None
    lease_boot: str | None = None
    lease_until: float | None = None


class Event(SQLModel, table=True):
    """The outbox: every change of an enrollment, written in the change's own transaction, fanned out afterwards."""

    __table_args__ = (
        Index("event_by_account", "account_id", "at", "id"),
        Index("event_by_enrollment", "enrollment_id", "at"),
        Index("event_by_time", "at", "id"),
        Index("event_to_fan_out", "fanned_out", "at"),
    )
    id: str = Field(primary_key=True)
    account_id: str = Field(index=True)
    enrollment_id: str  # "" where an event is about none, such as one about a webhook
    type: str
    data: dict[str, Any] = Field(sa_column=Column(JSON, nullable=False))
    at: int = big()
    fanned_out: bool = False


class Audit(SQLModel, table=True):
    """Who changed what, written in the change's own transaction, and bound to the entry before (audit_chain.py)."""

    __table_args__ = (
        Index("audit_by_account", "account_id", "at"),
        Index("audit_by_time", "at", "id"),
        Index("audit_in_chain", "account_id", "seq", unique=True),
    )
    id: str = Field(primary_key=True)
    account_id: str
    actor: str
    action: str
    target: str
    reason: str | None = None  # as the person gave it
    at: int = big()
    result: str | None = None  # ok | refused
    request_id: str | None = None  # of the API, as in its logs
    before_hash: str | None = None  # of the row that was changed; None: it was not there, or is not the target's own
    after_hash: str | None = None
    seq: int | None = big(default=None)  # None: older than the chain
    hash: bytes | None = None


class AuditHead(SQLModel, table=True):
    """Where an account's chain ends, and begins: at `base_seq`, when older entries were pruned."""

    __tablename__ = "audit_head"
    account_id: str = Field(primary_key=True)
    seq: int = big(default=0)
    hash: bytes
    base_seq: int = big(default=0)
    base_hash: bytes
    mac: bytes
    began_at: int = big()
