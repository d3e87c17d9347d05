"""Sites as lists name them: a page of their ids comes from this index alone."""

import sqlalchemy as sa
from alembic import op

revision = "0017"
down_revision = "0016"


def upgrade() -> None:
    listed = sa.text("fetched_at IS NOT NULL AND gone_at IS NULL")
    op.create_index("site_listed", "site", ["account_id", "id"], sqlite_where=listed, postgresql_where=listed)
