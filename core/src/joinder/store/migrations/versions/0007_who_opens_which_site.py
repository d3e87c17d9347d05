"""Which enrollment opens which site, and tokens of ended enrollments that are still to be revoked at their vendors.

Adds tables and what fills them: the version before goes on beside this one. App credentials that open sites without an
owner are those whose enrollments came from no join flow.
"""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    op.create_table(
        "site_right",
        sa.Column("enrollment_id", sa.String(), nullable=False),
        sa.Column("vendor_site_id", sa.String(), nullable=False),
        sa.ForeignKeyConstraint(["enrollment_id"], ["enrollment.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("enrollment_id", "vendor_site_id"),
        sqlite_with_rowid=False,
    )
    op.create_index("site_right_by_site", "site_right", ["vendor_site_id", "enrollment_id"])
    op.execute("INSERT INTO site_right (enrollment_id, vendor_site_id) SELECT enrollment_id, vendor_id FROM site")
    op.execute(
        "INSERT INTO due (kind, enrollment_id, app, due_at, strikes) SELECT 'sites', id, credentials_id, 0, 0 "
        "FROM enrollment WHERE flow_id IS NULL AND credentials_id IS NOT NULL"
    )
    op.create_table(
        "revocation",
        sa.Column("enrollment_id", sa.String(), nullable=False),
        sa.Column("account_id", sa.String(), nullable=False),
        sa.Column("vendor", sa.String(), nullable=False),
        sa.Column("credentials_id", sa.String(), nullable=True),
        sa.Column("sealed", sa.LargeBinary(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("due_at", sa.BigInteger(), nullable=False),
        sa.Column("lease", sa.String(), nullable=True),
        sa.Column("lease_boot", sa.String(), nullable=True),
        sa.Column("lease_until", sa.Float(), nullable=True),
        sa.PrimaryKeyConstraint("enrollment_id"),
    )
    op.create_index("revocation_next", "revocation", ["due_at"])
