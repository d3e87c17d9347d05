"""Programmes with who is in them, for the admin: of one account, or of all."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import case, func
from sqlmodel import col, select

from joinder.runtime.hub import Hub
from joinder.store.tables import Account, Enrollment, Program, SiteRow

UNDECIDED = ("applied", "pendingvendor", "resubmitrequested")
MEMBERS = 200


@dataclass(frozen=True, kw_only=True)
class ListedProgram:
    """How many enrollments are in it: `undecided`, `enrolled`, and in any status."""

    row: Program
    account_name: str
    undecided: int
    enrolled: int
    enrollments: int


@dataclass(frozen=True, kw_only=True)
class Member:
    """An enrollment in a programme, and the name of its first site."""

    row: Enrollment
    site_name: str | None


async def listed(hub: Hub, account_id: str | None = None) -> list[ListedProgram]:
    """Lists programmes, those with most to decide first, by one query. `account_id`: None for every account's."""
    program_id, status = col(Enrollment.program_id), col(Enrollment.status)
    counts = (
        select(
            program_id.label("program_id"),
            _counted(status.in_(UNDECIDED)).label("undecided"),
            _counted(status == "enrolled").label("enrolled"),
            func.count().label("enrollments"),
        )
        .where(program_id.is_not(None))
        .group_by(program_id)
        .subquery()
    )
    query = select(Program, Account.name).add_columns(counts.c.undecided, counts.c.enrolled, counts.c.enrollments)
    query = query.join(Account, col(Account.id) == col(Program.account_id))
    query = query.outerjoin(counts, counts.c.program_id == col(Program.id))
    if account_id is not None:
        query = query.where(col(Program.account_id) == account_id)
    query = query.order_by(func.coalesce(counts.c.undecided, 0).desc(), col(Program.name), col(Program.id))
    async with hub.store.read() as session:
        return [
            ListedProgram(
                row=row[0],
                account_name=row[1],
                undecided=row[2] or 0,
                enrolled=row[3] or 0,
                enrollments=row[4] or 0,
            )
            for row in await session.execute(query)
        ]


async def members(hub: Hub, program_id: str, *, limit: int = MEMBERS) -> list[Member]:
    """Lists at most `limit` of its enrollments: those nobody has decided about first, the newest of them on top."""
    name = select(func.min(SiteRow.name)).where(col(SiteRow.enrollment_id) == col(Enrollment.id)).scalar_subquery()
    is_decided = case((col(Enrollment.status).in_(UNDECIDED), 0), else_=1)
    query = select(Enrollment, name).where(col(Enrollment.program_id) == program_id)
    query = query.order_by(is_decided, col(Enrollment.created_at).desc(), col(Enrollment.id)).limit(limit)
    async with hub.store.read() as session:
        return [Member(row=row[0], site_name=row[1]) for row in await session.execute(query)]


def _counted(condition: Any) -> Any:
    return func.sum(case((condition, 1), else_=0))
