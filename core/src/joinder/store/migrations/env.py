"""Alembic's entry: runs on the connection migrate.py hands over."""

from alembic import context
from sqlmodel import SQLModel

from joinder.store import tables  # noqa: F401 - declares them

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=SQLModel.metadata,
    transactional_ddl=False,  # migrate.py holds the transaction
    render_as_batch=True,
)
context.run_migrations()
