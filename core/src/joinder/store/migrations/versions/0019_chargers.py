"""What chargers of cars drew. Of rows that are there it is unknown; the version before leaves it so."""

import sqlalchemy as sa
from alembic import op

revision = "0019"
down_revision = "0018"


def upgrade() -> None:
    op.add_column("interval", sa.Column("charger_wh", sa.Float(), nullable=True))
    op.add_column("counter", sa.Column("charger_wh", sa.Float(), nullable=True))
