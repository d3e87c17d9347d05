"""What processes share: what is due, what was called, counts, what the store is."""

from __future__ import annotations

from typing import Any

from sqlalchemy import JSON, Column, Index
from sqlmodel import Field, SQLModel

from joinder.store.tables.columns import big


class Due(SQLModel, table=True):
    """Narrow on purpose: what is due, when, for whose app, and who holds it (services/work/leases.py)."""

    __table_args__ = (Index("due_by_app", "kind", "app", "due_at"),)
    kind: str = Field(primary_key=True)  # refresh | poll | approval | consent | expiry | backfill | sites
    enrollment_id: str = Field(primary_key=True, foreign_key="enrollment.id", ondelete="CASCADE")
    app: str = ""  # whose budget the work is on: the vendor credentials' id, or the vendor's name
    due_at: int = big()
    lease: str | None = None
    lease_boot: str | None = None
    lease_until: float | None = None
    strikes: int = 0  # times in a row it broke in a way no error class explains


class Quota(SQLModel, table=True):
    """Calls of one vendor app in one window of time, taken in blocks before they are made."""

    __table_args__ = {"sqlite_with_rowid": False}
    app: str = Field(primary_key=True)
    span: str = Field(primary_key=True)  # minute | day | month | blocked
    window: int = big(primary_key=True)  # when the window began; of `blocked`, 0
    used: int = big(default=0)
    until: int | None = big(default=None)  # the vendor's own word: no calls before this


class Tally(SQLModel, table=True):
    """How often something ended in an hour, over all processes (services/records/activity.py)."""

    __table_args__ = {"sqlite_with_rowid": False}
    hour: int = big(primary_key=True)  # when it began
    vendor: str = Field(primary_key=True)
    what: str = Field(primary_key=True)
    count: int = big(default=0)


class Breaker(SQLModel, table=True):
    """Where a breaker of one process stands (services/calls/breaker_states.py)."""

    process: str = Field(primary_key=True)
    vendor: str = Field(primary_key=True)
    hook: str = Field(primary_key=True)
    state: str
    since: int = big()
    told_at: int = big()  # nobody's word any more once this is minutes ago: the process is gone


class StoreState(SQLModel, table=True):
    """Facts about this very database, such as that it was restored from a copy."""

    __tablename__ = "store_state"
    name: str = Field(primary_key=True)
    value: dict[str, Any] = Field(sa_column=Column(JSON, nullable=False))
