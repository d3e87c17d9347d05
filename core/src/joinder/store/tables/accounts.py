"""Accounts and who speaks for them: clients, keys, tokens ended early, requests that may come again."""

from __future__ import annotations

from typing import Any

from sqlalchemy import JSON, Column, Index, UniqueConstraint, false
from sqlmodel import Field, SQLModel

from joinder.store.tables.columns import big


class Account(SQLModel, table=True):
    """A tenant. `mode` is virtual or production; both see only their own rows."""

    id: str = Field(primary_key=True)
    name: str
    mode: str = "production"
    created_at: int = big()


class AccountBrand(SQLModel, table=True):
    """How the account looks on the pages of its owners (services/records/brands.py)."""

    __tablename__ = "account_brand"
    account_id: str = Field(primary_key=True, foreign_key="account.id", ondelete="CASCADE")
    colour: str | None = None
    logo: bytes | None = None
    logo_type: str | None = None
    updated_at: int = big()


class ApiClient(SQLModel, table=True):
    __tablename__ = "api_client"
    id: str = Field(primary_key=True)
    account_id: str = Field(foreign_key="account.id", index=True)
    name: str
    secret_hash: bytes
    scopes: str
    compatible: bool = Field(default=False, sa_column_kwargs={"server_default": false()})  # a client of Derapi
    old_secret_hash: bytes | None = None  # still works for a day after a rotation
    old_secret_until: int | None = big(default=None)
    created_at: int = big()
    revoked_at: int | None = big(default=None)


class RevokedToken(SQLModel, table=True):
    """An access token that ended before its time (RFC 7009), until it would have ended anyway."""

    __tablename__ = "revoked_token"
    __table_args__ = (Index("revoked_token_by_end", "expires_at"),)
    jti: str = Field(primary_key=True)
    expires_at: int = big()


class Idempotency(SQLModel, table=True):
    """A POST with an Idempotency-Key: in flight, or with its answer, for a day (services/records/idempotency.py)."""

    __table_args__ = (Index("idempotency_by_end", "expires_at"),)
    client_id: str = Field(primary_key=True)
    key_hash: str = Field(primary_key=True)
    account_id: str
    fingerprint: str  # of the request: method, path, query, body
    request_id: str  # of the first attempt; its entry in the audit tells whether it took effect
    status: int | None = None  # None: in flight, or cut
    answer_sealed: bytes | None = None
    created_at: int = big()
    expires_at: int = big()


class DataKey(SQLModel, table=True):
    """Keys wrapped by the key-encryption key: one data key per account, the pepper of client secrets."""

    __tablename__ = "data_key"
    __table_args__ = (UniqueConstraint("owner", "purpose"),)
    id: str = Field(primary_key=True)
    owner: str  # account id, or "system"
    purpose: str
    kek_id: str
    wrapped: bytes
    created_at: int = big()


class SigningKey(SQLModel, table=True):
    __tablename__ = "signing_key"
    id: str = Field(primary_key=True)  # the JWT's kid
    private_sealed: bytes
    public_jwk: dict[str, Any] = Field(sa_column=Column(JSON, nullable=False))
    created_at: int = big()
