"""What is known of the life of grants, apps, sites and joins: suspicions, waits, ends.

Adds columns that may be empty or have a default: the version before goes on beside this one.
"""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    _add("vendor_credentials", suspected_at=sa.BigInteger(), suspected_by=sa.String(), test_at=sa.BigInteger())
    _add("vendor_credentials", exchanges_wait_until=sa.BigInteger())
    _add_count("vendor_credentials", version="1", tests="0")
    _add(
        "grant", denied_at=sa.BigInteger(), wait_until=sa.BigInteger(), odd_since=sa.BigInteger(), odd_code=sa.String()
    )
    _add("site", denied_at=sa.BigInteger(), gone_at=sa.BigInteger())
    _add("join_session", credentials_version=sa.BigInteger(), kept_sealed=sa.LargeBinary())
    _add("join_session", ended_at=sa.BigInteger(), end_code=sa.String(), end_text=sa.String())
    op.execute(  # what was refused before is tried once more, and by the new way from then on
        "UPDATE vendor_credentials SET suspected_at = rejected_at, suspected_by = 'token', test_at = rejected_at "
        "WHERE rejected_at IS NOT NULL"
    )


def _add(table: str, **columns: sa.types.TypeEngine[Any]) -> None:
    for name, kind in columns.items():
        op.add_column(table, sa.Column(name, kind, nullable=True))


def _add_count(table: str, **columns: str) -> None:
    for name, default in columns.items():
        op.add_column(table, sa.Column(name, sa.BigInteger(), nullable=False, server_default=default))
