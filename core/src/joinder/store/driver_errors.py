"""What drivers raise, as trouble of the store: by SQLSTATE and SQLite's result codes, never by their words."""

from __future__ import annotations

import sqlite3
import ssl
from collections.abc import Callable, Coroutine
from functools import wraps
from typing import Any, TypeVar, cast

from sqlalchemy.exc import DBAPIError, PendingRollbackError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from joinder.settings import ConfigError
from joinder.trouble import Outage, StoreAway, StoreFull, StoreRefused, StoreTrouble

_OWN_FAULT = ("0A", "21", "22", "23", "26", "34", "42", "54")  # classes of SQLSTATE that blame the statement
_NO_PRIVILEGE = "42501"
_FULL = "53100"
_AWAY = ("08", "53", "57P01", "57P02", "57P03")
_SQLITE_OWN_FAULT = (sqlite3.IntegrityError, sqlite3.ProgrammingError, sqlite3.InterfaceError, sqlite3.DataError)
_SQLITE_LOGIC = "SQLITE_ERROR"  # no such table, and the like
_SQLITE_PASSES = ("SQLITE_BUSY", "SQLITE_LOCKED", "SQLITE_FULL", "SQLITE_IOERR")


def trouble_from(error: BaseException) -> StoreTrouble | None:
    """Returns the trouble that a driver's error means; None for what is not the database's."""
    if isinstance(error, StoreTrouble):
        return error
    if isinstance(error, BaseExceptionGroup):
        return next(filter(None, map(trouble_from, error.exceptions)), None)
    if isinstance(error, DBAPIError):
        cause = error.orig if error.orig is not None else error
        return trouble_from(cause.__cause__ or cause) or StoreTrouble(type(cause).__name__)
    if isinstance(error, sqlite3.Error):
        return _of_sqlite(error)
    if isinstance(error, OSError | PoolTimeout | PendingRollbackError):  # OSError: TimeoutError too
        return StoreAway(type(error).__name__)
    if type(error).__module__.split(".")[0] == "asyncpg":  # an extra
        return _of_postgres(error)
    return None


def said(error: BaseException) -> object:
    """Describes the error for a log line, without a driver's words: the trouble itself, or what kind of error it is."""
    return trouble_from(error) or type(error).__name__


def _of_sqlite(error: sqlite3.Error) -> StoreTrouble:
    name = getattr(error, "sqlite_errorname", None) or type(error).__name__
    if isinstance(error, _SQLITE_OWN_FAULT) or name == _SQLITE_LOGIC:
        return StoreRefused(name)
    return (StoreFull if name == "SQLITE_FULL" else StoreTrouble)(name)


def _of_postgres(error: BaseException) -> StoreTrouble:
    state, name = str(getattr(error, "sqlstate", None) or ""), type(error).__name__
    if state == _FULL:
        return StoreFull(name)
    if state.startswith(_AWAY):
        return StoreAway(name)
    return (StoreRefused if state.startswith(_OWN_FAULT) and state != _NO_PRIVILEGE else StoreTrouble)(name)


def unusable(error: BaseException, place: str, forbidden: str = "") -> StoreTrouble | ConfigError:
    """Returns the error to raise for an opening that failed: what passes by itself, or what somebody must correct.

    `forbidden`: what is known to stand against it. It never holds the URL.
    """
    trouble, name = trouble_from(error), type(error).__name__
    if isinstance(trouble, StoreAway) and not isinstance(error, ssl.SSLError):
        return StoreAway(f"{name} at {place}")
    if trouble is not None and str(trouble).startswith(_SQLITE_PASSES):
        return trouble
    if forbidden:
        return ConfigError(f"JOINDER_DATABASE_URL: {place} {forbidden}")
    if isinstance(error, sqlite3.Error):
        return ConfigError(f"{place} cannot be used as Joinder's SQLite database: {error}")
    words = f"{name}: {error}" if str(error) else name
    return ConfigError(f"JOINDER_DATABASE_URL: {place} cannot be used: {words}")


Operation = TypeVar("Operation", bound=Callable[..., Coroutine[Any, Any, Any]])


def telling(operation: Operation) -> Operation:
    """Makes a store's own operation raise StoreTrouble for whatever the driver raises, and tells the store's outage."""

    @wraps(operation)
    async def told(store: Any, *args: Any, **options: Any) -> Any:
        try:
            return await operation(store, *args, **options)
        except Exception as error:  # noqa: BLE001 - what is not the database's goes on as it is
            raise noted(store.outage, error) from None

    return cast(Operation, told)


def noted(outage: Outage, error: Exception) -> Exception:
    """Returns what `passing` returns, and tells the outage of it."""
    raised = passing(error)
    if isinstance(raised, StoreTrouble):
        outage.begin(raised)
    return raised


def passing(error: Exception) -> Exception:
    """Returns what is to be raised in the error's place; a statement's own fault is left as it is."""
    trouble = trouble_from(error)
    return error if trouble is None or isinstance(trouble, StoreRefused) else trouble
