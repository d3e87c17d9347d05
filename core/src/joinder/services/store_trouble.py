"""What to tell a person whose database did not do what it was asked."""

from __future__ import annotations

import sqlite3

from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from joinder.store.engine import StoreFull, StoreOrphaned, StoreTrouble

_SENTENCES = {
    "SQLITE_BUSY": "another process has been writing to it for long, and nobody else can",
    "SQLITE_READONLY": "it may only be read by this user",
    "SQLITE_CORRUPT": "its file is damaged; put a backup back (joinder restore)",
    "SQLITE_FULL": "no room is left on its disk",
}


def trouble_of(error: BaseException) -> str | None:
    """One sentence without the driver's own text, which may quote values; None when it is not the database's."""
    if not _is_of_the_store(error):
        return None
    if isinstance(error, StoreOrphaned):
        return str(error)
    cause = (error.orig if isinstance(error, DBAPIError) else None) or error
    name = str(getattr(cause, "sqlite_errorname", None) or type(cause).__name__)
    if isinstance(error, StoreTrouble):
        name = "SQLITE_FULL" if isinstance(error, StoreFull) else str(error)
    known = next((text for start, text in _SENTENCES.items() if name.startswith(start)), "it did not carry this out")
    return f"The database cannot be used ({name}): {known}."


def _is_of_the_store(error: BaseException) -> bool:
    if isinstance(error, StoreTrouble | SQLAlchemyError | sqlite3.Error):
        return True
    return type(error).__module__.split(".")[0] == "asyncpg"
