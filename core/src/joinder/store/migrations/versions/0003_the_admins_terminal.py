"""Pausing, old client secrets, reasons in the audit, hourly tallies, and indexes for the admin's lists.

Adds, and replaces an index: the version before goes on beside this one.
"""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    op.add_column("enrollment", sa.Column("paused_at", sa.BigInteger(), nullable=True))
    op.add_column("api_client", sa.Column("old_secret_hash", sa.LargeBinary(), nullable=True))
    op.add_column("api_client", sa.Column("old_secret_until", sa.BigInteger(), nullable=True))
    op.add_column("audit", sa.Column("reason", sa.String(), nullable=True))
    op.create_table(
        "tally",
        sa.Column("hour", sa.BigInteger(), nullable=False),
        sa.Column("vendor", sa.String(), nullable=False),
        sa.Column("what", sa.String(), nullable=False),
        sa.Column("count", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("hour", "vendor", "what"),
        sqlite_with_rowid=False,
    )
    op.create_index("enrollment_by_time", "enrollment", ["created_at", "id"])
    op.create_index("event_by_time", "event", ["at", "id"])
    op.create_index("audit_by_time", "audit", ["at", "id"])
    op.create_index("join_session_by_account", "join_session", ["account_id", "created_at"])
    op.create_index("enrollment_by_flow", "enrollment", ["flow_id", "created_at", "id"])
    op.create_index("enrollment_by_app", "enrollment", ["credentials_id", "created_at", "id"])
    op.drop_index("enrollment_by_credentials", "enrollment")
