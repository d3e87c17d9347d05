"""What sites told over time, where it came from, and what was asked."""

from __future__ import annotations

from sqlalchemy import Index
from sqlmodel import Field, SQLModel

from joinder.store.tables.columns import big


class Interval(SQLModel, table=True):
    """Energy of one subject (a site as a whole, or one device) in [start, start + resolution)."""

    __table_args__ = {"sqlite_with_rowid": False}
    subject_id: str = Field(primary_key=True)
    resolution: str = Field(primary_key=True)
    start: int = big(primary_key=True)
    end: int = big()
    solar_wh: float | None = None
    charge_wh: float | None = None
    discharge_wh: float | None = None
    import_wh: float | None = None
    export_wh: float | None = None
    load_wh: float | None = None
    charger_wh: float | None = None
    soc_percent: float | None = None
    quality: str = "measured"
    fetched_at: int = big()
    rule: str | None = None  # why a value is unknown, or not measured (vendors/gate/rules.py, energy.py)
    source: int | None = big(default=None)  # a reading_source


class CounterRow(SQLModel, table=True):
    """Lifetime registers as polled, kept for two days; intervals are derived from them (docs/decisions/0002)."""

    __tablename__ = "counter"
    __table_args__ = {"sqlite_with_rowid": False}
    subject_id: str = Field(primary_key=True)
    at: int = big(primary_key=True)
    solar_wh: float | None = None
    charge_wh: float | None = None
    discharge_wh: float | None = None
    import_wh: float | None = None
    export_wh: float | None = None
    load_wh: float | None = None
    charger_wh: float | None = None
    soc_percent: float | None = None
    source: str | None = None  # which register of the device: another one never continues it


class ReadingSource(SQLModel, table=True):
    """Where readings came from: the endpoints that were called and the plugin that read them. `id` hashes it."""

    __tablename__ = "reading_source"
    __table_args__ = {"sqlite_with_rowid": False}
    id: int = big(primary_key=True)
    endpoints: str  # a line each
    plugin: str
    version: str


class Notice(SQLModel, table=True):
    """One sentence for the operator about an enrollment's answers, however often it was true."""

    __table_args__ = {"sqlite_with_rowid": False}
    enrollment_id: str = Field(primary_key=True, foreign_key="enrollment.id", ondelete="CASCADE")
    key: str = Field(primary_key=True)
    site_id: str | None = None
    rule: str | None = None  # of the gate; None: the plugin's own warning
    text: str
    count: int = big(default=1)
    since: int = big()
    last_at: int = big()


class Coverage(SQLModel, table=True):
    """Spans that were asked of the vendor, so that an absent row means no data rather than not asked.

    `tries`: how often a span was asked that told nothing at all; 0 for one that told something.
    """

    __table_args__ = {"sqlite_with_rowid": False}
    subject_id: str = Field(primary_key=True)
    resolution: str = Field(primary_key=True)
    start: int = big(primary_key=True)
    end: int = big()
    fetched_at: int = big()
    tries: int = Field(default=0, sa_column_kwargs={"server_default": "0"})


class Backfill(SQLModel, table=True):
    """A job that fetches the history of an enrollment's sites, newest first. When it goes on is in `due`."""

    __table_args__ = (
        Index("backfill_by_account", "account_id", "id"),
        Index("backfill_by_enrollment", "enrollment_id", "status"),
    )
    id: str = Field(primary_key=True)
    account_id: str = Field(foreign_key="account.id")
    enrollment_id: str = Field(foreign_key="enrollment.id", ondelete="CASCADE")
    start: int = big()
    end: int = big()
    status: str = "running"  # running | done | cancelled | failed
    windows_total: int = 0
    windows_done: int = 0
    reason: str | None = None  # why it waits, or failed
    created_at: int = big()
    updated_at: int = big()
