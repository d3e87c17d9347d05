"""Enrollments as the admin looks for them, over all accounts, a page at a time, newest first."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, get_args

from joinder.errors import Actor
from joinder.runtime.hub import Hub
from joinder.services.records import health
from joinder.services.refusals import Invalid
from joinder.store.folding import folded, forms

PAGE = 500
_ACTS = " ".join(f"WHEN '{state}' THEN '{health.actor_of(state)}'" for state in health.BY_URGENCY)
_WAITS_FOR_SOMEBODY = ", ".join(f"'{state}'" for state in health.BY_URGENCY if health.actor_of(state) != "nobody")
_ENDED = f"(coalesce(e.health_actor, '') = 'nobody' AND e.health IN ({_WAITS_FOR_SOMEBODY}))"  # as health.is_ended
_COLUMNS = {
    "vendor": "e.vendor",
    "health": "e.health",
    "status": "e.status",
    "account": "e.account_id",
    "flow": "e.flow_id",
    "credentials": "e.credentials_id",
    "actor": f"coalesce(e.health_actor, CASE e.health {_ACTS} END)",
}
_CLOSED = {
    "health": health.BY_URGENCY,
    "status": (*health.AWAITING, "enrolled", *health.DECLINED),
    "actor": get_args(Actor),
}
_FAULTS = f"e.health NOT IN ('ok', 'connecting') AND NOT {_ENDED}"
_PAUSED = "e.paused_at IS NOT NULL"
_TEXT = (
    "(e.id LIKE {term} ESCAPE '!' OR e.vendor LIKE {term} ESCAPE '!' OR "
    "{{owner}} LIKE {term} ESCAPE '!' OR e.id IN "
    "(SELECT s.enrollment_id FROM site s WHERE {{site}} LIKE {term} ESCAPE '!' "
    "OR lower(s.vendor_id) LIKE {term} ESCAPE '!'))"
)
_PAGE = (
    "SELECT e.id, e.account_id, e.vendor, e.status, e.health, e.health_since, e.health_reason, e.health_actor, "
    "e.failures, e.paused_at, e.last_success_at, e.created_at, "
    "(SELECT min(s.name) FROM site s WHERE s.enrollment_id = e.id), {key} "
    "FROM enrollment e WHERE {where} ORDER BY {key} {way}, e.id {way} LIMIT :limit"
)
_RANKS = " ".join(f"WHEN '{state}' THEN {rank}" for rank, state in enumerate(health.BY_URGENCY))


@dataclass(frozen=True)
class Order:
    """One value of a row, which pages are sorted by; its id decides between equals. `head`: its column, if any."""

    key: str
    head: str
    is_falling: bool = False


ORDERS = {
    "newest": Order("e.created_at", "", is_falling=True),
    "health": Order(
        f"CASE WHEN {_ENDED} THEN 9 ELSE CASE e.health {_RANKS} ELSE 9 END END * 100000000000 + e.health_since",
        "Health",
    ),
    "site": Order(
        "coalesce((SELECT min(lower(s.name)) FROM site s WHERE s.enrollment_id = e.id), '')",
        "Site",
    ),
    "vendor": Order("e.vendor", "Vendor"),
    "since": Order("e.health_since", "Since", is_falling=True),
    "last read": Order("coalesce(e.last_success_at, 0)", "Last read"),
}
NEWEST = ORDERS["newest"]


class EnrollmentListRow(NamedTuple):
    """A row of the list; `site_name` is that of its first site. Times are epoch seconds."""

    id: str
    account_id: str
    vendor: str
    status: str
    health: str
    health_since: int
    health_reason: str | None
    health_actor: str | None
    failures: int
    paused_at: int | None
    last_success_at: int | None
    created_at: int
    site_name: str | None
    key: int | str  # by which it was sorted

    @property
    def place(self) -> Place:
        return Place(self.key, self.id)


class Place(NamedTuple):
    """Where a page begins or ends."""

    key: int | str
    id: str


@dataclass(frozen=True)
class Query:
    """What is looked for; made by `parse`."""

    conditions: tuple[str, ...] = ()
    values: dict[str, str] = field(default_factory=dict)

    def where(self, dialect: str, *more: str) -> str:
        owner = folded(dialect, "coalesce(e.vendor_account_id, '')")
        found = " AND ".join((*self.conditions, *more)) or "1 = 1"
        return found.format(owner=owner, site=folded(dialect, "s.name"))


def parse(text: str, *, faults_only: bool = False) -> Query:
    """Parses words that must all fit: `roof` anywhere in ids and names, `vendor:x health:y,z` and so on, `is:paused`.

    `!` before a word turns it round. Raises Invalid.
    """
    conditions: list[str] = [_FAULTS] if faults_only else []
    values: dict[str, str] = {}
    for index, word in enumerate(text.split()):
        inverse, word = word.startswith("!"), word.removeprefix("!")
        if not word:
            continue
        condition, found = _condition(word, f"word_{index}")
        values |= found
        conditions.append(f"NOT ({condition})" if inverse else condition)
    return Query(tuple(conditions), values)


def _condition(word: str, name: str) -> tuple[str, dict[str, str]]:
    key, colon, value = word.partition(":")
    if not colon:
        terms = {f"{name}_{index}": f"%{_escaped(text)}%" for index, text in enumerate(forms(word))}
        return "(" + " OR ".join(_TEXT.format(term=f":{term}") for term in terms) + ")", terms
    if (key, value) == ("is", "paused"):
        return _PAUSED, {}
    if key not in _COLUMNS or not value.strip(","):
        near = difflib.get_close_matches(key, (*_COLUMNS, "is"), 1)
        hint = f"Did you mean {near[0]}:…? " if near and near[0] != key else ""
        raise Invalid(f"{word} is no filter. {hint}Known are {' '.join(f'{each}:…' for each in _COLUMNS)} is:paused")
    wanted = {f"{name}_{index}": one for index, one in enumerate(filter(None, value.split(",")))}
    if key in _CLOSED and (unknown := sorted({*wanted.values()} - {*_CLOSED[key]})):  # `!` would make it everything
        raise Invalid(f"{word}: there is no {key} {', '.join(unknown)}. Known are {' '.join(_CLOSED[key])}")
    return f"{_COLUMNS[key]} IN ({', '.join(f':{each}' for each in wanted)})", wanted


def _escaped(text: str) -> str:
    return "".join(f"!{letter}" if letter in "!%_" else letter for letter in text)


async def page(
    hub: Hub,
    query: Query,
    *,
    after: Place | None = None,
    before: Place | None = None,
    limit: int = PAGE,
    order: Order = NEWEST,
) -> list[EnrollmentListRow]:
    """Lists what fits, newest first or as `order` says: those after a place, or the ones that come just before it."""
    place = after if before is None else before
    is_falling = order.is_falling == (before is None)
    beyond = f"({order.key}, e.id) {'<' if is_falling else '>'} (:at, :id)" if place is not None else ""
    where = query.where(hub.store.dialect, *([beyond] if beyond else []))
    sql = _PAGE.format(where=where, way="DESC" if is_falling else "ASC", key=order.key)
    values = {**query.values, **({"at": place.key, "id": place.id} if place else {}), "limit": min(limit, PAGE)}
    rows: Sequence[Sequence[object]] = await hub.store.scan(sql, values)
    found = [EnrollmentListRow(*row) for row in rows]  # type: ignore[arg-type]
    return found[::-1] if before is not None else found


async def count(hub: Hub, query: Query) -> int:
    sql = f"SELECT count(*) FROM enrollment e WHERE {query.where(hub.store.dialect)}"  # noqa: S608 - conditions of our own
    return int((await hub.store.scan(sql, query.values))[0][0])
