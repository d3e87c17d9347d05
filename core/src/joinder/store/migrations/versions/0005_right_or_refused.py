"""Why a value is unknown and where it came from; notices for the operator; how often nothing was told.

Adds columns and tables: the version before goes on beside this one. A database without a site has nothing that
`joinder readings recheck` must look at.
"""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    op.add_column("interval", sa.Column("rule", sa.String(), nullable=True))
    op.add_column("interval", sa.Column("source", sa.BigInteger(), nullable=True))
    op.add_column("counter", sa.Column("source", sa.String(), nullable=True))
    op.add_column("live", sa.Column("source", sa.BigInteger(), nullable=True))
    op.add_column("device", sa.Column("source", sa.BigInteger(), nullable=True))
    op.add_column("device", sa.Column("silent_since", sa.BigInteger(), nullable=True))
    op.add_column("site", sa.Column("timezone_by", sa.String(), nullable=True))
    op.add_column("coverage", sa.Column("tries", sa.Integer(), nullable=False, server_default="0"))
    op.create_table(
        "reading_source",
        sa.Column("id", sa.BigInteger(), nullable=False),
        sa.Column("endpoints", sa.String(), nullable=False),
        sa.Column("plugin", sa.String(), nullable=False),
        sa.Column("version", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "notice",
        sa.Column("enrollment_id", sa.String(), nullable=False),
        sa.Column("key", sa.String(), nullable=False),
        sa.Column("site_id", sa.String(), nullable=True),
        sa.Column("rule", sa.String(), nullable=True),
        sa.Column("text", sa.String(), nullable=False),
        sa.Column("count", sa.BigInteger(), nullable=False),
        sa.Column("since", sa.BigInteger(), nullable=False),
        sa.Column("last_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["enrollment_id"], ["enrollment.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("enrollment_id", "key"),
        sqlite_with_rowid=False,
    )
    state = "json" if op.get_bind().dialect.name == "postgresql" else "text"
    op.execute(
        f"INSERT INTO store_state (name, value) SELECT 'rechecked', CAST('{{\"at\": 0}}' AS {state}) "  # noqa: S608
        "WHERE NOT EXISTS (SELECT 1 FROM site)"
    )
