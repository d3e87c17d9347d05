"""What to tell a person whose database did not do what it was asked."""

from __future__ import annotations

from sqlalchemy.exc import SQLAlchemyError

from joinder.store.driver_errors import trouble_from
from joinder.trouble import NotDurable, StoreAway, StoreFull, StoreTrouble

_SENTENCES = {
    "SQLITE_BUSY": "another process has been writing to it for long, and nobody else can",
    "SQLITE_READONLY": "it may only be read by this user",
    "ReadOnlySQLTransaction": "it may only be read now, as a standby or one that was told so",
    "LockNotAvailable": "another program keeps what is to be written locked",
    "SQLITE_CORRUPT": "its file is damaged; put a backup back (joinder restore)",
    "SQLITE_FULL": "no room is left on its disk",
}


def trouble_of(error: BaseException) -> str | None:
    """Says in one sentence what is wrong with the database; None when the error is not the database's.

    The driver's own text, which may quote values, is left out.
    """
    trouble = _trouble(error)
    if trouble is None or isinstance(trouble, NotDurable):
        return str(trouble) if trouble is not None else None
    return f"The database cannot be used ({trouble}): {_what_is_wrong(trouble)}."


def _trouble(error: BaseException) -> StoreTrouble | None:
    found = None if isinstance(error, OSError) else trouble_from(error)  # of whatever file or socket
    return found or (StoreTrouble(type(error).__name__) if isinstance(error, SQLAlchemyError) else None)


def _what_is_wrong(trouble: StoreTrouble) -> str:
    if isinstance(trouble, StoreFull):
        return _SENTENCES["SQLITE_FULL"]
    if str(trouble).startswith("gaierror"):
        return "its host's name is not known here"
    if isinstance(trouble, StoreAway):
        return "it is away, or takes nobody in now"
    known = (text for start, text in _SENTENCES.items() if str(trouble).startswith(start))
    return next(known, "it did not carry this out")
