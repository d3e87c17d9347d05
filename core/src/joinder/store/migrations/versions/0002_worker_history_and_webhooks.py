"""Budgets, backfill jobs, token lineage, webhooks.

Adds, and replaces an index: the version before goes on beside this one.
"""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

LEASE = (
    ("lease", sa.String()),
    ("lease_boot", sa.String()),
    ("lease_until", sa.Float()),
)


def upgrade() -> None:
    _add_columns()
    _add_budgets_and_jobs()
    _add_webhooks()


def _add_columns() -> None:
    op.add_column("grant", sa.Column("suspected_at", sa.BigInteger(), nullable=True))
    op.add_column("grant", sa.Column("warned_at", sa.BigInteger(), nullable=True))
    op.create_index("grant_refused", "grant", ["refused_at"])
    op.add_column("due", sa.Column("app", sa.String(), nullable=False, server_default=""))
    op.add_column("due", sa.Column("strikes", sa.Integer(), nullable=False, server_default="0"))
    op.create_index("due_by_app", "due", ["kind", "app", "due_at"])
    op.drop_index("due_next", "due")
    op.add_column("join_session", sa.Column("reconnects_id", sa.String(), nullable=True))
    # What happened before there were webhooks is told to nobody.
    op.add_column("event", sa.Column("fanned_out", sa.Boolean(), nullable=False, server_default=sa.true()))
    op.create_index("event_to_fan_out", "event", ["fanned_out", "at"])
    op.create_index("event_by_account", "event", ["account_id", "at", "id"])
    op.execute(
        "UPDATE due SET app = (SELECT coalesce(credentials_id, vendor) FROM enrollment WHERE id = due.enrollment_id)"
    )
    op.execute(
        "INSERT INTO due (kind, enrollment_id, app, due_at, strikes) "
        "SELECT 'expiry', id, coalesce(credentials_id, vendor), 0, 0 FROM enrollment"
    )


def _add_budgets_and_jobs() -> None:
    op.create_table(
        "grant_version",
        sa.Column("enrollment_id", sa.String(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("obtained_by", sa.String(), nullable=False),
        sa.Column("obtained_at", sa.BigInteger(), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=True),
        sa.Column("refresh_expires_at", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(["enrollment_id"], ["enrollment.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("enrollment_id", "version"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "quota",
        sa.Column("app", sa.String(), nullable=False),
        sa.Column("span", sa.String(), nullable=False),
        sa.Column("window", sa.BigInteger(), nullable=False),
        sa.Column("used", sa.BigInteger(), nullable=False),
        sa.Column("until", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("app", "span", "window"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "store_state",
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("value", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("name"),
    )
    op.create_table(
        "backfill",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("account_id", sa.String(), nullable=False),
        sa.Column("enrollment_id", sa.String(), nullable=False),
        sa.Column("start", sa.BigInteger(), nullable=False),
        sa.Column("end", sa.BigInteger(), nullable=False),
        sa.Column("status", sa.String(), nullable=False),
        sa.Column("windows_total", sa.Integer(), nullable=False),
        sa.Column("windows_done", sa.Integer(), nullable=False),
        sa.Column("reason", sa.String(), nullable=True),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("updated_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["account_id"], ["account.id"]),
        sa.ForeignKeyConstraint(["enrollment_id"], ["enrollment.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("backfill_by_account", "backfill", ["account_id", "id"])
    op.create_index("backfill_by_enrollment", "backfill", ["enrollment_id", "status"])


def _add_webhooks() -> None:
    op.create_table(
        "webhook_endpoint",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("account_id", sa.String(), nullable=False),
        sa.Column("url", sa.String(), nullable=False),
        sa.Column("types", sa.JSON(), nullable=False),
        sa.Column("secret_sealed", sa.LargeBinary(), nullable=False),
        sa.Column("old_secret_sealed", sa.LargeBinary(), nullable=True),
        sa.Column("old_secret_until", sa.BigInteger(), nullable=True),
        sa.Column("failing_since", sa.BigInteger(), nullable=True),
        sa.Column("disabled_at", sa.BigInteger(), nullable=True),
        sa.Column("disabled_reason", sa.String(), nullable=True),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["account_id"], ["account.id"]),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("webhook_endpoint_by_account", "webhook_endpoint", ["account_id", "id"])
    op.create_table(
        "delivery",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("account_id", sa.String(), nullable=False),
        sa.Column("endpoint_id", sa.String(), nullable=False),
        sa.Column("event_id", sa.String(), nullable=False),
        sa.Column("status", sa.String(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("answered", sa.Integer(), nullable=True),
        sa.Column("reason", sa.String(), nullable=True),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("delivered_at", sa.BigInteger(), nullable=True),
        sa.Column("due_at", sa.BigInteger(), nullable=False),
        *(sa.Column(name, kind, nullable=True) for name, kind in LEASE),
        sa.ForeignKeyConstraint(["endpoint_id"], ["webhook_endpoint.id"], ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["event_id"], ["event.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("endpoint_id", "event_id"),
    )
    op.create_index("delivery_next", "delivery", ["status", "due_at"])
    op.create_index("delivery_by_endpoint", "delivery", ["endpoint_id", "id"])
