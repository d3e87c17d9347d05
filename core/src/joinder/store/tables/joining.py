"""How owners come: the operator's apps, flows, programmes, sessions."""

from __future__ import annotations

from typing import Any

from sqlalchemy import JSON, Column, Index, UniqueConstraint
from sqlmodel import Field, SQLModel

from joinder.store.tables.columns import big, no


class VendorCredentials(SQLModel, table=True):
    __tablename__ = "vendor_credentials"
    __table_args__ = (Index("vendor_credentials_by_account", "account_id", "id"),)
    id: str = Field(primary_key=True)
    account_id: str = Field(foreign_key="account.id")
    vendor: str
    type: str
    name: str | None = None
    secrets_sealed: bytes
    version: int = big(default=1, sa_column_kwargs={"server_default": "1"})  # grows with every change of the secrets
    suspected_at: int | None = big(default=None)  # the vendor refused this version first then, and proved it not yet
    suspected_by: str | None = None  # token | data: which of the vendor's two doors
    rejected_at: int | None = big(default=None)  # the refusal was proved; its grants wait
    tests: int = big(default=0, sa_column_kwargs={"server_default": "0"})  # refusals since suspected_at
    test_at: int | None = big(default=None)  # one grant tries it again then
    exchanges_wait_until: int | None = big(default=None)  # the token endpoint's own word (429)
    created_at: int = big()
    updated_at: int = big()  # the secrets


class JoinFlow(SQLModel, table=True):
    __tablename__ = "join_flow"
    __table_args__ = (Index("join_flow_by_account", "account_id", "id"),)
    id: str = Field(primary_key=True)
    account_id: str = Field(foreign_key="account.id")
    redirect_uri: str
    vendors: list[dict[str, Any]] = Field(sa_column=Column(JSON, nullable=False))
    program_id: str | None = None
    skip_intro: bool = no()  # owners leave for the vendor without a page before
    skip_landing: bool = no()  # and come back to redirect_uri without one after
    created_at: int = big()


class Program(SQLModel, table=True):
    """What enrollments may be in: by a flow that names it, or by an application."""

    __table_args__ = (Index("program_by_account", "account_id", "id"),)
    id: str = Field(primary_key=True)
    account_id: str = Field(foreign_key="account.id")
    name: str
    start_at: int = big()
    end_at: int = big()
    resource_types: list[str] = Field(sa_column=Column(JSON, nullable=False))
    vendors: list[str] = Field(sa_column=Column(JSON, nullable=False))
    options: dict[str, dict[str, str]] = Field(sa_column=Column(JSON, nullable=False))  # of flows, by vendor
    created_at: int = big()


class Application(SQLModel, table=True):
    """The newest application of an enrollment to its programme; who the customer is stays sealed."""

    __tablename__ = "enrollment_application"
    __table_args__ = (UniqueConstraint("account_id", "key_hash"),)
    enrollment_id: str = Field(primary_key=True, foreign_key="enrollment.id", ondelete="CASCADE")
    account_id: str
    applied_at: int = big()
    sealed: bytes
    key_hash: bytes | None = None  # of the Idempotency-Key it was submitted with
    body_hash: bytes | None = None


class JoinSession(SQLModel, table=True):
    """One owner at one flow. Found by the hash of its token (the OAuth `state`, or the form page's path)."""

    __tablename__ = "join_session"
    __table_args__ = (Index("join_session_by_account", "account_id", "created_at"),)
    token_hash: bytes = Field(primary_key=True)
    account_id: str
    flow_id: str
    vendor: str
    credentials_id: str | None = None
    cookie_hash: bytes
    secrets_sealed: bytes  # PKCE verifier, form token
    client_redirect_uri: str
    client_state: str | None = None
    client_reference: str | None = None
    attempts: int = 0
    used_at: int | None = big(default=None)
    enrollment_id: str | None = None
    reconnects_id: str | None = None  # the enrollment whose grant this consent replaces
    credentials_version: int | None = big(default=None)  # of the app credentials it began with
    kept_sealed: bytes | None = None  # what the vendor gave for the code, until the enrollment holds it
    ended_at: int | None = big(default=None)
    end_code: str | None = None  # why it ended (docs/errors.md), "joined" where it went well
    end_text: str | None = None  # the sentence for the person who must act
    locale: str | None = None  # as the link asked for (`ui_locales`); None: as the browser does
    lands: bool = no()  # on a page of ours, before it goes on to client_redirect_uri
    created_at: int = big()
    expires_at: int = big(index=True)
