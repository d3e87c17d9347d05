"""Checks that health and due work agree, for every enrollment, and mends those that do not."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from dataclasses import dataclass

from joinder.runtime.hub import Hub
from joinder.services.grants.standing import KINDS, Subject, Want, is_renewable, plan_of, settle
from joinder.services.work.leases import NEVER
from joinder.store.tables import Enrollment

PAGE = 5000
log = logging.getLogger("joinder.grants")
_ROWS = (
    "SELECT e.id, e.health, e.status, e.vendor, e.paused_at, g.obtained_by, r.due_at, p.due_at, a.due_at "
    'FROM enrollment e LEFT JOIN "grant" g ON g.enrollment_id = e.id '
    "LEFT JOIN due r ON r.enrollment_id = e.id AND r.kind = 'refresh' "
    "LEFT JOIN due p ON p.enrollment_id = e.id AND p.kind = 'poll' "
    "LEFT JOIN due a ON a.enrollment_id = e.id AND a.kind = 'approval' "
    "WHERE e.id > :after ORDER BY e.id LIMIT :page"
)


@dataclass(frozen=True, kw_only=True)
class Broken:
    """An enrollment whose state promises what is not due, or the other way round."""

    enrollment_id: str
    text: str


async def broken(hub: Hub) -> AsyncIterator[Broken]:
    """Yields the enrollments whose health does not fit their due work, walking all of them a page at a time."""
    renewable: dict[str, bool | None] = {}
    after = ""
    while rows := await hub.store.rows(_ROWS, {"after": after, "page": PAGE}):
        for enrollment_id, state, status, vendor, paused_at, obtained_by, *due in rows:
            if vendor not in renewable:
                renewable[vendor] = is_renewable(hub, vendor)
            subject = Subject(
                health=state,
                status=status,
                is_paused=paused_at is not None,
                is_renewable=renewable[vendor],
                obtained_by=obtained_by,
            )
            problems = _problems(subject, dict(zip(KINDS, due, strict=True)))
            if problems:
                told = f"{state}{' and paused' if subject.is_paused else ''}, yet {' and '.join(problems)}"
                yield Broken(enrollment_id=enrollment_id, text=told)
        after = rows[-1][0]


def _problems(subject: Subject, due: dict[str, int | None]) -> list[str]:
    plan = plan_of(subject)
    problems = []
    for kind, at in due.items():
        is_due = at is not None and at < NEVER
        if plan.of(kind) is Want.DUE and not is_due:
            problems.append(f"its {kind} is never due")
        if plan.of(kind) is Want.NEVER and is_due:
            problems.append(f"its {kind} is due")
    return problems


async def repair(hub: Hub) -> int:
    """Mends every broken enrollment, and returns how many there were. Harmless beside running workers, and twice."""
    found = [each async for each in broken(hub)]
    for each in found:
        async with hub.store.write(each.enrollment_id) as session:
            enrollment = await session.get(Enrollment, each.enrollment_id)
            if enrollment is not None:
                await settle(hub, session, enrollment)
    if found:
        log.warning("%d enrollments had a health that did not fit their due work; mended", len(found))
    return len(found)
