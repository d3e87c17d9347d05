"""Which API clients are those of Derapi, and are told of no vendor they would not know.

Adds a column: the version before goes on beside this one.
"""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    op.add_column("api_client", sa.Column("compatible", sa.Boolean(), nullable=False, server_default=sa.false()))
