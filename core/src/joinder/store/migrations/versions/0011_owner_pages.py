"""Pages before and after an owner's way to the vendor, their language, and how an account looks on them.

Flows that are there stay as they were: without the pages.
"""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"


def upgrade() -> None:
    op.create_table(
        "account_brand",
        sa.Column("account_id", sa.String(), nullable=False),
        sa.Column("colour", sa.String(), nullable=True),
        sa.Column("logo", sa.LargeBinary(), nullable=True),
        sa.Column("logo_type", sa.String(), nullable=True),
        sa.Column("updated_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["account_id"], ["account.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("account_id"),
    )
    for name in ("skip_intro", "skip_landing"):
        op.add_column("join_flow", sa.Column(name, sa.Boolean(), server_default=sa.false(), nullable=False))
    op.execute("UPDATE join_flow SET skip_intro = true, skip_landing = true")
    op.add_column("join_session", sa.Column("locale", sa.String(), nullable=True))
    op.add_column("join_session", sa.Column("lands", sa.Boolean(), server_default=sa.false(), nullable=False))
