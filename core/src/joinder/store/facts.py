"""What tells one database of Joinder's from another, read without opening it as a store: nothing is migrated."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

from joinder.settings import ConfigError

COUNTED = ("account", "vendor_credentials", "enrollment", "grant", "site")
_REVISION = "SELECT version_num FROM alembic_version"
_KEYS = "SELECT DISTINCT kek_id FROM data_key ORDER BY kek_id"
_NEWEST = 'SELECT coalesce(max(obtained_at), 0) FROM "grant"'
_COUNT = {table: f'SELECT count(*) FROM "{table}"' for table in COUNTED}  # noqa: S608 - our own names
STATEMENTS = (_REVISION, _KEYS, _NEWEST, *_COUNT.values())


@dataclass(frozen=True, kw_only=True)
class Facts:
    revision: str
    key_ids: tuple[str, ...]
    newest_grant_at: int  # epoch seconds
    counts: dict[str, int]


def facts_of(ask: Callable[[str], Sequence[Any]], place: str) -> Facts:
    return _facts({sql: ask(sql) for sql in STATEMENTS}, place)


async def facts_from(ask: Callable[[str], Awaitable[Sequence[Any]]], place: str) -> Facts:
    return _facts({sql: await ask(sql) for sql in STATEMENTS}, place)


def _facts(answers: dict[str, Sequence[Any]], place: str) -> Facts:
    if not answers[_REVISION]:
        raise ConfigError(f"{place} has no schema of Joinder's")
    return Facts(
        revision=answers[_REVISION][0][0],
        key_ids=tuple(row[0] for row in answers[_KEYS]),
        newest_grant_at=answers[_NEWEST][0][0],
        counts={table: answers[sql][0][0] for table, sql in _COUNT.items()},
    )
