"""Sentences for the operator about what vendors answer: each kept once with its enrollment, with a count and a since.

They are what core's gate refused and what plugins warned of. A sentence that was not true for a week is forgotten.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from joinder.clock import now
from joinder.energy import Refusal
from joinder.runtime.hub import Hub
from joinder.store.types import Write

FORGOTTEN_AFTER_S = 7 * 86400
MOST = 500  # of one enrollment: a partner has a hundred systems
SHOWN = 50
# What changes from poll to poll: a number with a unit or a fraction; an id is none.
_MEASURED = re.compile(r"-?\d+(?:[.,]\d+|(?:[.,]\d+)?\s?(?:%|[kMG]?Wh?\b|V\b|A\b|ms\b|s\b|min\b|h\b|rows?\b|days?\b))")
_ADD = (  # noqa: S608 - our own names, and types that PostgreSQL cannot tell by itself
    "INSERT INTO notice (enrollment_id, key, site_id, rule, text, count, since, last_at) "
    "SELECT {enrollment}, {key}, CAST(:site AS TEXT), CAST(:rule AS TEXT), CAST(:text AS TEXT), "
    "CAST(:count AS BIGINT), COALESCE({told_since}, {now}), {now} "
    "WHERE EXISTS (SELECT 1 FROM enrollment WHERE id = {enrollment}) "
    "AND ((SELECT count(*) FROM notice WHERE enrollment_id = {enrollment}) < CAST(:most AS BIGINT) "
    "OR EXISTS (SELECT 1 FROM notice WHERE enrollment_id = {enrollment} AND key = {key})) "
    "ON CONFLICT (enrollment_id, key) DO UPDATE SET count = notice.count + excluded.count, text = excluded.text, "
    "since = COALESCE({told_since}, notice.since), last_at = excluded.last_at"
).format(
    enrollment="CAST(:enrollment AS TEXT)",
    key="CAST(:key AS TEXT)",
    now="CAST(:now AS BIGINT)",
    told_since="CAST(:told_since AS BIGINT)",
)
_FORGET = "DELETE FROM notice WHERE enrollment_id = :enrollment AND last_at < :before"
_SHOW = (
    "SELECT n.text, n.rule, n.site_id, n.count, n.since, n.last_at FROM notice n "
    "JOIN enrollment e ON e.id = n.enrollment_id WHERE n.enrollment_id = :enrollment AND n.last_at >= :since "
    "ORDER BY n.last_at DESC, n.count DESC, n.key LIMIT :most"
)
_TELLING = (
    "SELECT e.vendor, n.text, count(DISTINCT n.enrollment_id), sum(n.count), min(n.enrollment_id) FROM notice n "
    "JOIN enrollment e ON e.id = n.enrollment_id WHERE n.last_at >= :since GROUP BY e.vendor, n.text"
)
_AFFECTED = (
    "SELECT e.vendor, count(DISTINCT n.enrollment_id) FROM notice n "
    "JOIN enrollment e ON e.id = n.enrollment_id WHERE n.last_at >= :since GROUP BY e.vendor ORDER BY e.vendor"
)


@dataclass(frozen=True, kw_only=True)
class Notice:
    """`rule` is the gate's, None for a plugin's own warning. Times are epoch seconds."""

    text: str
    rule: str | None
    site_id: str | None
    count: int
    since: int
    last_at: int


@dataclass(frozen=True, kw_only=True)
class Telling:
    """A vendor's notices of late: of how many enrollments, and the sentence that was true most often, with one of
    those it is about."""

    vendor: str
    enrollments: int
    text: str
    count: int
    example: str


def writes(enrollment_id: str, site_id: str | None, warnings: Iterable[str], refused: Iterable[Refusal]) -> list[Write]:
    """Makes the writes for the transaction that stores the answer they are about; none where it was clean."""
    found: list[Write] = [_one(enrollment_id, site_id, None, text, 1) for text in warnings]
    found += [_one(enrollment_id, site_id, one.rule, one.text, one.count) for one in refused]
    if found:
        found.append((_FORGET, {"enrollment": enrollment_id, "before": now() - FORGOTTEN_AFTER_S}))
    return found


def about_device(enrollment_id: str, site_id: str, device_id: str, rule: str, text: str, since: int) -> Write:
    """Writes one sentence by device, whatever it is called, that has been true since `since` (epoch seconds)."""
    return _one(enrollment_id, site_id, rule, text, 1, key=device_id, told_since=since)


def _one(
    enrollment_id: str,
    site_id: str | None,
    rule: str | None,
    text: str,
    count: int,
    *,
    key: str | None = None,
    told_since: int | None = None,
) -> Write:
    """Writes one sentence; those that differ in what they measured only are one."""
    subject = f"{site_id}\n{rule}\n{key or _MEASURED.sub('#', text)}"
    values = {
        "enrollment": enrollment_id,
        "key": hashlib.sha256(subject.encode("utf-8", "replace")).hexdigest()[:24],
        "site": site_id,
        "rule": rule,
        "text": text,
        "count": count,
        "now": now(),
        "told_since": told_since,
        "most": MOST,
    }
    return _ADD, values


async def of_enrollment(hub: Hub, enrollment_id: str, *, most: int = SHOWN) -> list[Notice]:
    """Lists at most `most` notices of the last week, the newest first."""
    values = {"enrollment": enrollment_id, "since": now() - FORGOTTEN_AFTER_S, "most": most}
    return [_notice(row) for row in await hub.store.rows(_SHOW, values)]


async def by_vendor(hub: Hub, since: int) -> list[Telling]:
    """Sums up by vendor the notices true since `since` (epoch seconds)."""
    sentences = await hub.store.scan(_TELLING, {"since": since})
    found = []
    for vendor, enrollments in await hub.store.scan(_AFFECTED, {"since": since}):
        own = [row for row in sentences if row[0] == vendor]
        if own:
            _, text, _, count, example = max(own, key=lambda row: (row[2], int(row[3]), row[1]))
            found.append(Telling(vendor=vendor, enrollments=enrollments, text=text, count=int(count), example=example))
    return found


def _notice(row: Sequence[object]) -> Notice:
    text, rule, site_id, count, since, last_at = row
    return Notice(
        text=str(text),
        rule=None if rule is None else str(rule),
        site_id=None if site_id is None else str(site_id),
        count=int(str(count)),
        since=int(str(since)),
        last_at=int(str(last_at)),
    )
