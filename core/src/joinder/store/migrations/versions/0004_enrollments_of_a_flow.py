"""Indexes for the enrollments of a flow and of vendor credentials, newest first.

The version before goes on beside this one.
"""

from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    op.create_index("enrollment_by_flow", "enrollment", ["flow_id", "created_at", "id"])
    op.create_index("enrollment_by_app", "enrollment", ["credentials_id", "created_at", "id"])
    op.drop_index("enrollment_by_credentials", "enrollment")
