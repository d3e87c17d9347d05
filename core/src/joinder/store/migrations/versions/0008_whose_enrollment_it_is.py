"""Whose enrollment it is, in the caller's own words: a reference, and the `state` of the join that made it.

Adds columns that may be empty: the version before goes on beside this one.
"""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    op.add_column("join_session", sa.Column("client_reference", sa.String(), nullable=True))
    for name in ("reference", "client_state"):
        op.add_column("enrollment", sa.Column(name, sa.String(), nullable=True))
        op.create_index(f"enrollment_by_{name}", "enrollment", ["account_id", name, "id"])
