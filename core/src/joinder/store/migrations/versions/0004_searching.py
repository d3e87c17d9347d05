"""Indexes that answer what an admin looks for among a hundred thousand enrollments, and deliveries that failed.

They change no row and no column: the version before goes on beside this one.
"""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    op.create_index("enrollment_by_state", "enrollment", ["health", "created_at", "id"])
    op.drop_index("enrollment_by_time", "enrollment")
    op.create_index("enrollment_by_time", "enrollment", ["created_at", "id", "health", "vendor", "vendor_account_id"])
    failed = sa.text("status = 'failed'")
    op.create_index("delivery_failed", "delivery", ["endpoint_id", "id"], sqlite_where=failed, postgresql_where=failed)
    if op.get_bind().dialect.name == "sqlite":
        op.create_index("site_by_name", "site", ["enrollment_id", "name", "vendor_id"])
