"""Sites that were never read, few of many: each list says how many there are."""

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0013"


def upgrade() -> None:
    unread = sa.text("fetched_at IS NULL AND gone_at IS NULL")
    op.create_index("site_unread", "site", ["account_id", "vendor"], sqlite_where=unread, postgresql_where=unread)
