"""What a store is: readers beside writers, over one set of models, on SQLite and on PostgreSQL."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession

from joinder.store import audit_chain
from joinder.store.ballast import Ballast
from joinder.store.driver_errors import noted
from joinder.store.pulse import Pulse
from joinder.trouble import Outage, StoreTrouble
from joinder.turns import Turns

if TYPE_CHECKING:
    from joinder.store.file_watch import FileWatch

Row = Sequence[Any]
Statement = tuple[str, Mapping[str, Any]]  # SQL with `:name` parameters


@dataclass(frozen=True)
class Upsert:
    """Rows to insert, or to replace those `columns` of where the key exists. `records`: key and columns, in order.

    Not `is_replacing`: a row whose key exists stays as it is.
    """

    table: str
    key: tuple[str, ...]
    columns: tuple[str, ...]
    records: Sequence[tuple[Any, ...]]
    is_replacing: bool = True


Write = Statement | Upsert
Stamp = tuple[object, ...]  # of a moment: equal ones have no commit of anybody between them
KEPT_MOST = 1024  # answers of `rows_while`
NOT_IN_REPERTOIRE = "22021"  # SQLSTATE of PostgreSQL for a NUL in a text


class NotText(ValueError):
    """A NUL character, which PostgreSQL stores in no text."""


class Store(ABC):
    """`read()` sees a consistent snapshot; `write()` is one durable transaction. All of it raises StoreTrouble.

    Guests (`turns.on_behalf_of`) have some of its connections, in turns: the others are never behind them.
    """

    dialect: ClassVar[str]
    ballast: Ballast | None = None  # on PostgreSQL the disk is not ours to watch
    file: FileWatch | None = None  # nor are its files
    can_fail_over: ClassVar[bool] = False  # to another server, which may lack the last commits
    server: str | None = None  # which one answers: its cluster and timeline; None: it cannot be told
    sealing: audit_chain.Sealing | None = None  # the vault's, once it is open
    place: str  # for people: the file, or the host and database; never a password

    def __init__(self, reader: AsyncEngine, writer: AsyncEngine, *, guests_read: int, guests_write: int) -> None:
        self._reader = reader
        self._writer = writer
        self._guests_read, self._guests_write = Turns(guests_read), Turns(guests_write)
        self.pulse = Pulse()
        self.outage = Outage()
        self._kept: dict[tuple[object, ...], tuple[Stamp, list[Row]]] = {}

    @asynccontextmanager
    async def read(self) -> AsyncIterator[AsyncSession]:
        with self._telling():
            async with (
                self._guests_read.place(),
                AsyncSession(self._reader, expire_on_commit=False, autoflush=False) as session,
            ):
                yield session

    @asynccontextmanager
    async def write(self, *serialize_on: str) -> AsyncIterator[AsyncSession]:
        """Commits when the block ends, rolls back when it raises.

        `serialize_on` names what the block reads to decide (an enrollment's id, say): blocks that name the same thing
        run one after the other, over all processes.
        """
        with self._telling():
            async with (
                self._guests_write.place(),
                AsyncSession(self._writer, expire_on_commit=False) as session,
                session.begin(),
            ):
                audit_chain.watch(session)
                await self.serialise(session, *serialize_on)
                yield session
                await audit_chain.close(session, self.sealing, self.serialise)

    @abstractmethod
    async def serialise(self, session: AsyncSession, *serialize_on: str) -> None:
        """Does what `write` does with its names, for what turns out inside the block."""

    @abstractmethod
    async def rows(self, sql: str, parameters: Mapping[str, Any]) -> list[Row]:
        """Reads for the hottest reads: one indexed SELECT on the driver itself (docs/decisions/0004).

        Raises StoreTrouble.
        """

    @abstractmethod
    async def ids(self, sql: str, parameters: Mapping[str, Any]) -> list[str]:
        """Reads what `rows` would of a SELECT of ids in their order, as one value: a row for each costs more."""

    async def scan(self, sql: str, parameters: Mapping[str, Any]) -> list[Row]:
        """Reads as `rows` does, by a SELECT that may walk a whole table: nothing else waits for it."""
        return await self.rows(sql, parameters)

    @abstractmethod
    async def finds(
        self, sql: str, parameters: Mapping[str, Any], since: Stamp | None = None
    ) -> tuple[bool, Stamp | None]:
        """Tells whether a SELECT finds a row, as `rows` would, and the stamp of now; None where that cannot be told.

        `since`: of when it did. It is not asked again where nobody committed since, and that is told for less.
        """

    async def rows_while(self, stamp: Stamp | None, sql: str, parameters: Mapping[str, Any]) -> list[Row]:
        """Reads few rows as `rows` does; those that were read at the same stamp are not read again."""
        key = (sql, *parameters.values())
        if stamp is not None and (kept := self._kept.get(key)) is not None and kept[0] == stamp:
            return kept[1]
        found = await self.rows(sql, parameters)
        if stamp is not None:
            if len(self._kept) >= KEPT_MOST:
                self._kept.clear()
            self._kept[key] = stamp, found
        return found

    @abstractmethod
    async def apply(self, *writes: Write, serialize_on: str = "") -> list[int]:
        """Writes for the hottest writes: statements of one durable transaction on the driver itself.

        Returns the count of rows each changed. Conditions stand in the statements, as nothing can be decided between
        them. `serialize_on` is as in `write`. Raises StoreTrouble.
        """

    def failing(self) -> StoreTrouble | None:
        """Says what stood against the last commit, or keeps one waiting now.

        None while commits succeed, or nobody knows.
        """
        return None

    async def close(self) -> None:
        await self._reader.dispose()
        await self._writer.dispose()

    @contextmanager
    def _telling(self) -> Iterator[None]:
        """Does what driver_errors.telling does, around a block."""
        try:
            yield
        except Exception as error:  # noqa: BLE001 - what is not the database's goes on as it is
            if isinstance(error, DBAPIError) and getattr(error.orig, "sqlstate", None) == NOT_IN_REPERTOIRE:
                raise NotText from None
            raise noted(self.outage, error) from None
