"""Trouble of our own store: how a driver's error is classed, when it is over, and how few lines tell of it."""

from __future__ import annotations

import io
import logging
import sqlite3
import ssl

import asyncpg
import pytest
from sqlalchemy.exc import IntegrityError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from core.test_logs import configure, lines, stream
from joinder import trouble
from joinder.observe import logs
from joinder.settings import ConfigError
from joinder.store.driver_errors import passing, said, trouble_from, unusable
from joinder.trouble import (
    FLAPS_S,
    QUIET_S,
    NotDurable,
    Outage,
    StoreAway,
    StoreFull,
    StoreRefused,
    StoreTrouble,
)

__all__ = ["stream"]
CANARY = "canary-7d1e"
MOST = logs.CRITICAL_LINES + 5  # and the ends
log = logging.getLogger("joinder.worker")


class Clock:
    """Stands still until it is moved."""

    def __init__(self) -> None:
        self.at = 1000.0

    def __call__(self) -> float:
        return self.at


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(trouble, "monotonic", made)
    monkeypatch.setattr(logs, "monotonic", made)
    return made


def of_sqlite(name: str, error: type[sqlite3.Error] = sqlite3.OperationalError) -> sqlite3.Error:
    made = error(CANARY)
    made.sqlite_errorname = name
    return made


@pytest.mark.parametrize(
    ("error", "kind", "text"),
    [
        (of_sqlite("SQLITE_BUSY"), StoreTrouble, "SQLITE_BUSY"),
        (of_sqlite("SQLITE_READONLY"), StoreTrouble, "SQLITE_READONLY"),
        (of_sqlite("SQLITE_FULL"), StoreFull, "SQLITE_FULL"),
        (of_sqlite("SQLITE_ERROR"), StoreRefused, "SQLITE_ERROR"),
        (of_sqlite("SQLITE_CONSTRAINT_UNIQUE", sqlite3.IntegrityError), StoreRefused, "SQLITE_CONSTRAINT_UNIQUE"),
        (OperationalError("SELECT 1", {}, of_sqlite("SQLITE_IOERR_READ")), StoreTrouble, "SQLITE_IOERR_READ"),
        (
            IntegrityError("SELECT 1", {}, of_sqlite("SQLITE_CONSTRAINT", sqlite3.IntegrityError)),
            StoreRefused,
            "SQLITE_CONSTRAINT",
        ),
        (asyncpg.DiskFullError(CANARY), StoreFull, "DiskFullError"),
        (asyncpg.ReadOnlySQLTransactionError(CANARY), StoreTrouble, "ReadOnlySQLTransactionError"),
        (asyncpg.LockNotAvailableError(CANARY), StoreTrouble, "LockNotAvailableError"),
        (asyncpg.InsufficientPrivilegeError(CANARY), StoreTrouble, "InsufficientPrivilegeError"),
        (asyncpg.CannotConnectNowError(CANARY), StoreAway, "CannotConnectNowError"),
        (asyncpg.TooManyConnectionsError(CANARY), StoreAway, "TooManyConnectionsError"),
        (asyncpg.ConnectionDoesNotExistError(CANARY), StoreAway, "ConnectionDoesNotExistError"),
        (asyncpg.AdminShutdownError(CANARY), StoreAway, "AdminShutdownError"),
        (asyncpg.InterfaceError(CANARY), StoreTrouble, "InterfaceError"),
        (asyncpg.UniqueViolationError(CANARY), StoreRefused, "UniqueViolationError"),
        (asyncpg.UndefinedTableError(CANARY), StoreRefused, "UndefinedTableError"),
        (asyncpg.ProgramLimitExceededError(CANARY), StoreRefused, "ProgramLimitExceededError"),
        (ConnectionRefusedError(CANARY), StoreAway, "ConnectionRefusedError"),
        (TimeoutError(), StoreAway, "TimeoutError"),
        (PoolTimeout(CANARY), StoreAway, "TimeoutError"),
        (ExceptionGroup(CANARY, [ValueError(), StoreTrouble("X")]), StoreTrouble, "X"),
    ],
    ids=lambda value: getattr(value, "__name__", None) or (value if isinstance(value, str) else type(value).__name__),
)
def test_a_drivers_error_is_classed_by_its_code_and_quoted_by_its_name(
    error: Exception, kind: type[StoreTrouble], text: str
) -> None:
    found = trouble_from(error)
    assert (type(found), str(found)) == (kind, text)
    raised = passing(error)
    assert raised is error if kind is StoreRefused else isinstance(raised, kind)


def test_other_errors_stay_as_they_are() -> None:
    for error in (ValueError(CANARY), KeyError(CANARY), ExceptionGroup("", [ValueError()])):
        assert trouble_from(error) is None
        assert passing(error) is error
        assert said(error) == type(error).__name__


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (ConnectionRefusedError("no"), StoreAway),
        (OSError("no such name"), StoreAway),
        (TimeoutError(), StoreAway),
        (asyncpg.CannotConnectNowError("starting up"), StoreAway),
        (asyncpg.TooManyConnectionsError("no"), StoreAway),
        (of_sqlite("SQLITE_BUSY"), StoreTrouble),
        (of_sqlite("SQLITE_NOTADB", sqlite3.DatabaseError), ConfigError),
        (of_sqlite("SQLITE_CANTOPEN"), ConfigError),
        (asyncpg.InvalidPasswordError("no"), ConfigError),
        (asyncpg.InvalidCatalogNameError("no"), ConfigError),
        (asyncpg.InvalidAuthorizationSpecificationError("no"), ConfigError),
        (asyncpg.ClientConfigurationError("no"), ConfigError),
        (ssl.SSLCertVerificationError("no"), ConfigError),
    ],
    ids=lambda value: getattr(value, "__name__", None) or type(value).__name__,
)
def test_what_is_away_is_told_from_what_is_wrong(error: Exception, kind: type[Exception]) -> None:
    assert isinstance(unusable(error, "host/hub"), kind)
    assert kind is not ConfigError or "host/hub" in str(unusable(error, "host/hub"))


def test_a_trouble_is_told_at_its_begin_and_its_end_and_the_lines_between_are_few(
    stream: io.StringIO, clock: Clock
) -> None:
    configure(stream, "INFO", "json")
    outage = Outage(is_told=True)
    for second in range(300):
        clock.at += 1
        outage.begin(StoreAway("ConnectionRefusedError"))
        for _ in range(20):
            log.error("looking for due work failed: %s", StoreAway("ConnectionRefusedError"))
            logging.getLogger("pgqueuer.core").warning("poll failed, again")
        log.info("a line about something else in second %d", second)
    clock.at += 1
    outage.end(clock.at)
    told = [line["event"] for line in lines(stream) if "something else" not in line["event"]]
    assert told[0] == "the database is in trouble: ConnectionRefusedError"
    assert told[-1] == f"the database answers again after 300 s, {300 * 40 + 1 - (len(told) - 1)} lines left out"
    assert len(told) <= 5 * logs.CRITICAL_LINES + 1
    assert len(lines(stream)) == 300 + len(told)
    assert outage.trouble is None


def test_what_is_critical_has_room_that_nothing_else_takes(stream: io.StringIO, clock: Clock) -> None:
    configure(stream, "INFO", "json")
    for _ in range(50):
        logging.getLogger("asyncpg.pool").warning("retrying", exc_info=ConnectionRefusedError())
    Outage(is_told=True).begin(StoreAway("X"))
    for _ in range(50):
        log.error("a batch failed: %s", StoreAway("X"))
    log.critical("new token not saved yet: %s", StoreAway("X"))
    told = [line["event"] for line in lines(stream)]
    assert "the database is in trouble: X" in told
    assert told[-1] == "new token not saved yet: X"
    assert len(told) == logs.CRITICAL_LINES


def test_trouble_that_comes_and_goes_stays_within_the_lines_of_one(stream: io.StringIO, clock: Clock) -> None:
    configure(stream, "INFO", "json")
    outage, moments = Outage(is_told=True), list[float]()
    for step in range(2000):
        clock.at += 0.5
        before = len(lines(stream))
        if step % 3:
            outage.begin(StoreTrouble("LockNotAvailableError"))
            log.error("a batch failed: %s", StoreTrouble("LockNotAvailableError"))
        else:
            outage.end(clock.at)
        moments += [clock.at] * (len(lines(stream)) - before)
    assert max(sum(start <= at < start + 60 for at in moments) for start in moments) <= 10
    clock.at += FLAPS_S
    outage.end(clock.at)
    assert "answers again" in lines(stream)[-1]["event"]


def test_flapping_ends_are_few_whatever_their_rhythm(stream: io.StringIO, clock: Clock) -> None:
    for pause in (1.0, 5.0, QUIET_S, QUIET_S + 1, 30.0):
        configure(stream, "INFO", "json")
        outage, moments = Outage(is_told=True), list[float]()
        for _ in range(100):
            before = len(lines(stream))
            outage.begin(StoreTrouble("X"))
            clock.at += pause
            outage.end(clock.at)
            clock.at += 0.1
            moments += [clock.at] * (len(lines(stream)) - before)
        assert max(sum(start <= at < start + 60 for at in moments) for start in moments) <= 10


def test_an_old_success_ends_nothing_and_a_statements_own_fault_begins_nothing(clock: Clock) -> None:
    outage = Outage()
    outage.begin(StoreRefused("UniqueViolationError"))
    assert outage.trouble is None
    outage.begin(NotDurable("The disk is full."))
    outage.end(clock.at - 1)
    assert outage.trouble is not None
    outage.end(clock.at)
    assert outage.trouble is None


def test_without_trouble_nothing_of_a_library_is_left_out(stream: io.StringIO, clock: Clock) -> None:
    configure(stream, "INFO", "json")
    for number in range(100):
        logging.getLogger("asyncio").error("Task exception was never retrieved: %d", number)
    assert len(lines(stream)) == 100
