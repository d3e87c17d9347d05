"""Enrollments and the consents they live on."""

from __future__ import annotations

from sqlalchemy import JSON, Column, Index
from sqlmodel import Field, SQLModel

from joinder.store.tables.columns import big


class Revocation(SQLModel, table=True):
    """A token of an ended enrollment that its vendor is still to be told of. It outlives its account, for a day."""

    __table_args__ = (Index("revocation_next", "due_at"),)
    enrollment_id: str = Field(primary_key=True)  # which is gone
    account_id: str
    vendor: str
    credentials_id: str | None = None
    sealed: bytes  # the tokens, and what the call needs once the app credentials are gone
    attempts: int = 0
    created_at: int = big()
    due_at: int = big()
    lease: str | None = None
    lease_boot: str | None = None
    lease_until: float | None = None


class Enrollment(SQLModel, table=True):
    __table_args__ = (
        Index("enrollment_by_account", "account_id", "id"),
        Index("enrollment_by_owner", "account_id", "vendor", "vendor_account_id"),
        Index("enrollment_by_app", "credentials_id", "created_at", "id"),
        Index("enrollment_by_flow", "flow_id", "created_at", "id"),
        Index("enrollment_by_health", "account_id", "health", "vendor"),
        Index("enrollment_by_state", "health", "created_at", "id"),
        Index("enrollment_by_reference", "account_id", "reference", "id"),
        Index("enrollment_by_client_state", "account_id", "client_state", "id"),
        Index("enrollment_by_time", "created_at", "id", "health", "vendor", "vendor_account_id"),
    )
    id: str = Field(primary_key=True)
    account_id: str = Field(foreign_key="account.id")
    vendor: str
    credentials_id: str | None = None
    flow_id: str | None = None
    program_id: str | None = None
    vendor_account_id: str | None = None
    reference: str | None = None  # the caller's own word for it
    client_state: str | None = None  # of the last join that had one
    options: dict[str, str] = Field(default_factory=dict, sa_column=Column(JSON, nullable=False))  # of its flow
    status: str = "enrolled"
    status_reason: str | None = None  # of whoever decided so
    health: str = "ok"
    health_since: int = big()
    health_reason: str | None = None
    health_actor: str | None = None
    failures: int = 0
    last_success_at: int | None = big(default=None)
    last_attempt_at: int | None = big(default=None)
    paused_at: int | None = big(default=None)  # by the operator: nothing is read, its token is kept alive
    created_at: int = big()

    @property
    def app(self) -> str:
        """Tells with whose due work, and on whose budget, that of this enrollment is done."""
        return self.credentials_id or self.vendor


class GrantRow(SQLModel, table=True):
    """The secrets of an enrollment. `version` grows with every token; `intent_*` is an exchange begun, not ended."""

    __tablename__ = "grant"
    __table_args__ = (Index("grant_refused", "refused_at"),)
    enrollment_id: str = Field(primary_key=True, foreign_key="enrollment.id", ondelete="CASCADE")
    sealed: bytes
    version: int = 1
    expires_at: int | None = big(default=None)
    refresh_expires_at: int | None = big(default=None)
    state: str = "active"
    obtained_by: str = "consent"
    obtained_at: int = big()
    refresh_count: int = 0
    intent_id: str | None = None
    intent_at: int | None = big(default=None)
    intent_count: int = 0  # exchanges begun on this version without a known outcome
    refused_at: int | None = big(default=None)  # first invalid_grant on this version
    denied_at: int | None = big(default=None)  # the data API refuses this grant since then, whatever its version
    wait_until: int | None = big(default=None)  # the token endpoint allows no renewal before (Retry-After)
    odd_since: int | None = big(default=None)  # the token endpoint gives the same unknown 4xx since then
    odd_code: str | None = None  # that answer
    suspected_at: int | None = big(default=None)  # refused twice, but so were too many others of its vendor
    warned_at: int | None = big(default=None)  # half of the refresh token's life went by without a renewal


class GrantVersion(SQLModel, table=True):
    """Where each token of a grant came from, without the token: the last few, for people who must explain a loss."""

    __tablename__ = "grant_version"
    __table_args__ = {"sqlite_with_rowid": False}
    enrollment_id: str = Field(primary_key=True, foreign_key="enrollment.id", ondelete="CASCADE")
    version: int = Field(primary_key=True)
    obtained_by: str
    obtained_at: int = big()
    expires_at: int | None = big(default=None)
    refresh_expires_at: int | None = big(default=None)


class SiteRight(SQLModel, table=True):
    """A site that an enrollment's grant lists. Who of several reads it is `site.enrollment_id`."""

    __tablename__ = "site_right"
    __table_args__ = (Index("site_right_by_site", "vendor_site_id", "enrollment_id"), {"sqlite_with_rowid": False})
    enrollment_id: str = Field(primary_key=True, foreign_key="enrollment.id", ondelete="CASCADE")
    vendor_site_id: str = Field(primary_key=True)
