"""Sites, their devices, and what they do now."""

from __future__ import annotations

from typing import Any

from sqlalchemy import JSON, Column, Index, UniqueConstraint, text
from sqlmodel import Field, SQLModel

from joinder.store.tables.columns import big

_LISTED = text("fetched_at IS NOT NULL AND gone_at IS NULL")
_UNREAD = text("fetched_at IS NULL AND gone_at IS NULL")


class SiteRow(SQLModel, table=True):
    __tablename__ = "site"
    __table_args__ = (
        UniqueConstraint("account_id", "vendor", "vendor_id"),
        Index("site_by_account", "account_id", "id"),
        Index("site_by_enrollment", "enrollment_id"),
        Index("site_listed", "account_id", "id", sqlite_where=_LISTED, postgresql_where=_LISTED),
        Index("site_unread", "account_id", "vendor", sqlite_where=_UNREAD, postgresql_where=_UNREAD),
        # For words looked for in every name. PostgreSQL, which would refuse a long one in an index, walks the table.
        Index("site_by_name", "enrollment_id", "name", "vendor_id").ddl_if(dialect="sqlite"),
    )
    id: str = Field(primary_key=True)
    account_id: str = Field(foreign_key="account.id")
    enrollment_id: str = Field(foreign_key="enrollment.id", ondelete="CASCADE")
    vendor: str
    vendor_id: str
    name: str
    timezone: str | None = None
    timezone_by: str | None = None  # vendor | coordinates
    lat: float | None = None
    lon: float | None = None
    operational_since: int | None = big(default=None)
    fetched_at: int | None = big(default=None)  # None: known by id only
    denied_at: int | None = big(default=None)  # the vendor refuses this site since then, its enrollment's others not
    gone_at: int | None = big(default=None)  # no consent opens it any more; its history stays


class DeviceRow(SQLModel, table=True):
    """`state` is the normalised energy.Device as JSON; `gone_at` marks one its site no longer lists."""

    __tablename__ = "device"
    __table_args__ = (
        UniqueConstraint("site_id", "kind", "vendor_id"),
        Index("device_by_account", "account_id", "kind", "id"),
    )
    id: str = Field(primary_key=True)
    account_id: str = Field(foreign_key="account.id")
    site_id: str = Field(foreign_key="site.id", ondelete="CASCADE")
    vendor: str
    kind: str
    vendor_id: str
    state: dict[str, Any] = Field(sa_column=Column(JSON, nullable=False))
    fetched_at: int = big()
    gone_at: int | None = big(default=None)
    source: int | None = big(default=None)  # of the state: a reading_source
    silent_since: int | None = big(default=None)  # sums of its site lack it since then (services/readings/silence.py)


class LiveRow(SQLModel, table=True):
    __tablename__ = "live"
    site_id: str = Field(primary_key=True, foreign_key="site.id", ondelete="CASCADE")
    measured_at: int = big()
    fetched_at: int = big()
    solar_w: float | None = None
    battery_w: float | None = None
    grid_w: float | None = None
    load_w: float | None = None
    soc_percent: float | None = None
    source: int | None = big(default=None)  # a reading_source
