"""What happened and who changed what: looked for by a line of words, a page at a time, as rows and as JSON."""

from __future__ import annotations

import json
import re
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar

from joinder.clean import clean_json
from joinder_tui import texts

if TYPE_CHECKING:
    from joinder.runtime.hub import Hub
    from joinder.services.records.events import EventView
    from joinder.store.tables import Audit

ROWS = 200  # of a page
R = TypeVar("R")


@dataclass(frozen=True)
class EventFilter:
    """None: whatever it is."""

    account_id: str | None = None
    target: str | None = None
    kind: str | None = None


@dataclass
class Log(ABC, Generic[R]):
    """Newest first; `begins` holds the last row before each page up to the one that is shown."""

    columns: ClassVar[tuple[str, ...]]
    looked_for: str = ""
    wanted: EventFilter = EventFilter()
    begins: list[R | None] = field(default_factory=lambda: [None])
    found: dict[str, R] = field(default_factory=dict)
    names: Mapping[str, str] = field(default_factory=dict)  # id → what people call it
    more: bool = False

    @abstractmethod
    async def fetch(self, hub: Hub, limit: int) -> Sequence[R]:
        """Fetches the page, and a row more where there is another."""

    @abstractmethod
    def key(self, row: R) -> str: ...

    @abstractmethod
    def check(self, wanted: EventFilter) -> None:
        """Raises Invalid."""

    @abstractmethod
    def cells(self, row: R) -> tuple[str, ...]: ...

    @abstractmethod
    def enrollment_id(self, row: R) -> str:
        """Returns whom it is about; empty: no enrollment."""

    @abstractmethod
    def account_id(self, row: R) -> str: ...

    def ids(self, row: R) -> tuple[str, ...]:
        """Returns what is told by name."""
        return self.enrollment_id(row), self.account_id(row)

    @abstractmethod
    def told(self, row: R) -> dict[str, Any]:
        """Returns a row as the command line tells it, with the account."""

    async def load(self, hub: Hub) -> Sequence[R]:
        from joinder.services.admin import site_names

        rows = await self.fetch(hub, ROWS + 1)
        self.names = await site_names.of_any(hub, (each for row in rows for each in self.ids(row)))
        return rows

    def named(self, each: str) -> str:
        """Returns the name of what has this id; what has none, as it is."""
        return self.names.get(each, each)

    def take(self, rows: Sequence[R]) -> None:
        self.found = {self.key(row): row for row in rows[:ROWS]}
        self.more = len(rows) > ROWS

    def look_for(self, text: str) -> None:
        """Looks from the first page on. Raises Invalid, and stays as it was."""
        wanted = parsed(text)
        self.check(wanted)
        self.looked_for = text
        if wanted != self.wanted:
            self.wanted, self.begins = wanted, [None]

    def turn(self, step: int) -> None:
        if step > 0 and self.more:
            self.begins.append(list(self.found.values())[-1])
        elif step < 0 and len(self.begins) > 1:
            self.begins.pop()


class EventLog(Log["EventView"]):
    columns = ("When", "Type", "Site", "What", "Account", "Enrollment")

    async def fetch(self, hub: Hub, limit: int) -> Sequence[EventView]:
        from joinder.services.records import events

        before, wanted = self.begins[-1], self.wanted
        return await events.latest(
            hub,
            account_id=wanted.account_id,
            enrollment_id=wanted.target,
            kind=wanted.kind,
            before=before.row if before else None,
            limit=limit,
        )

    def key(self, row: EventView) -> str:
        return row.row.id

    def check(self, wanted: EventFilter) -> None:
        from joinder.ids import is_id
        from joinder.services.records.event_types import EVENT_TYPES
        from joinder.services.refusals import Invalid

        if wanted.kind is not None and wanted.kind not in EVENT_TYPES:
            raise Invalid(f"{wanted.kind} is no type of event. Known: {' '.join(EVENT_TYPES)}")
        if wanted.target is not None and not is_id(wanted.target, "enrl"):
            raise Invalid("Events are looked for by enrollment, type and account")

    def cells(self, row: EventView) -> tuple[str, ...]:
        event = row.row
        return (
            texts.moment(event.at),
            event.type,
            self.names.get(event.enrollment_id, "–"),
            texts.details(row.data),
            self.named(event.account_id),
            event.enrollment_id or "–",
        )

    def enrollment_id(self, row: EventView) -> str:
        return row.row.enrollment_id

    def account_id(self, row: EventView) -> str:
        return row.row.account_id

    def told(self, row: EventView) -> dict[str, Any]:
        event = row.row
        return {
            "id": event.id,
            "accountID": event.account_id,
            "type": event.type,
            "timestamp": texts.iso(event.at),
            "data": row.data,
        }


class AuditLog(Log["Audit"]):
    columns = ("When", "Who", "Did", "To", "Reason", "Account", "Id", "Client")

    async def fetch(self, hub: Hub, limit: int) -> Sequence[Audit]:
        from joinder.services.admin import audits

        wanted = self.wanted
        return await audits.latest(
            hub,
            account_id=wanted.account_id,
            target=wanted.target,
            action=wanted.kind,
            before=self.begins[-1],
            limit=limit,
        )

    def key(self, row: Audit) -> str:
        return row.id

    def check(self, wanted: EventFilter) -> None:
        """Actions have no list."""

    def cells(self, row: Audit) -> tuple[str, ...]:
        return (
            texts.moment(row.at),
            self.named(row.actor),
            row.action,
            self.names.get(row.target, "–"),
            row.reason or "",
            self.named(row.account_id),
            row.target,
            row.actor if row.actor in self.names else "–",
        )

    def ids(self, row: Audit) -> tuple[str, ...]:
        return row.actor, row.target, row.account_id

    def enrollment_id(self, row: Audit) -> str:
        from joinder.ids import is_id

        return row.target if is_id(row.target, "enrl") else ""

    def account_id(self, row: Audit) -> str:
        return row.account_id

    def told(self, row: Audit) -> dict[str, Any]:
        known = {
            "id": row.id,
            "accountID": row.account_id,
            "at": texts.iso(row.at),
            "actor": row.actor,
            "action": row.action,
            "target": row.target,
            "reason": row.reason,
        }
        return {name: value for name, value in known.items() if value is not None}


def parsed(text: str) -> EventFilter:
    """Words in any order: an account's id, another id, a type. Raises Invalid."""
    from joinder.ids import is_id
    from joinder.services.refusals import Invalid

    found: dict[str, str] = {}
    for word in text.split():
        if is_id(word):
            found["account_id" if is_id(word, "acct") else "target"] = word
        elif re.fullmatch(r"[a-z_]+\.[a-z_]+", word):
            found["kind"] = word
        else:
            raise Invalid(f"{word} is neither an id nor a type such as enrollment.health")
    return EventFilter(**found)


def as_json(rows: Sequence[Mapping[str, Any]]) -> str:
    return clean_json(json.dumps(rows, indent=2, ensure_ascii=False)) + "\n"
