"""Programmes: what enrollments are in, by the flow they came through or by an application."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from sqlalchemy import func
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col, select

from joinder import virtual
from joinder.clock import now
from joinder.ids import new_id
from joinder.runtime.hub import Hub, audit, owned
from joinder.services.records import accounts
from joinder.services.records.told import EVERYTHING, Told, page_of
from joinder.services.refusals import Conflict, Invalid, pointer
from joinder.store.tables import Enrollment, JoinFlow, Program
from joinder.vendor import checked_values

RESOURCE_TYPES = ("batterysystem", "solarsystem")


async def create(
    hub: Hub,
    account_id: str,
    actor: str,
    *,
    name: str,
    vendors: Sequence[str],
    start: int | None = None,
    end: int | None = None,
    resource_types: Sequence[str] = RESOURCE_TYPES[:1],
    options: Mapping[str, Mapping[str, str]] | None = None,
    told: Told = EVERYTHING,
) -> Program:
    """Creates a programme, of vendors the caller is told of. `options`: by vendor, those of flows that name it.

    Raises Invalid naming each member.
    """
    start = now() if start is None else start
    end = start + accounts.PROGRAM_LIFE_S if end is None else end
    errors = {} if start < end else {"/end": "must be after start"}
    given = options or {}
    async with hub.store.write(account_id) as session:
        errors |= await _vendor_problems(hub, session, account_id, vendors, told)
        errors |= {pointer("options", one): "is no vendor of this programme" for one in given if one not in vendors}
        if not errors:
            errors = _option_problems(hub, given)
        if errors:
            raise Invalid("The programme cannot work as asked", errors=errors)
        row = Program(
            id=new_id("prog"),
            account_id=account_id,
            name=name,
            start_at=start,
            end_at=end,
            resource_types=list(resource_types),
            vendors=list(vendors),
            options={vendor: dict(values) for vendor, values in given.items()},
            created_at=now(),
        )
        session.add(row)
        audit(session, account_id, actor, "program.create", row.id)
    return row


async def list_page(hub: Hub, account_id: str, *, after: str, limit: int, told: Told = EVERYTHING) -> list[Program]:
    query = select(Program).where(col(Program.account_id) == account_id).order_by(col(Program.id))
    return await page_of(hub, told, lambda last: query.where(col(Program.id) > last), after=after, limit=limit)


async def get(hub: Hub, account_id: str, program_id: str) -> Program:
    """Returns the programme. Raises NotFound."""
    async with hub.store.read() as session:
        return await owned(session, Program, program_id, account_id)


async def delete(hub: Hub, account_id: str, program_id: str, actor: str) -> None:
    """Deletes a programme. Raises NotFound, or Conflict while a flow names it or an enrollment is in it."""
    async with hub.store.write(account_id) as session:
        row = await owned(session, Program, program_id, account_id)
        used = [await _using(session, table, row) for table in (JoinFlow, Enrollment)]
        if any(used):
            raise Conflict(f"In use by {used[0]} join flow(s) and {used[1]} enrollment(s); end those first.")
        await session.delete(row)
        audit(session, account_id, actor, "program.delete", program_id)


async def named(session: AsyncSession, account_id: str, program_id: str, told: Told = EVERYTHING) -> Program:
    """Returns the programme a request names in `programID`. Raises Invalid."""
    row = await session.get(Program, program_id)
    if row is None or row.account_id != account_id or not told.known(row.vendors):
        wanted = {"/programID": "no such programme in this account; see GET /programs"}
        raise Invalid("There is no such programme", errors=wanted)
    return row


def vendors_of(hub: Hub, *, is_virtual: bool) -> list[str]:
    """Returns the vendors that programmes of an account may be of, by name."""
    return [one.name for one in hub.registry.vendors if (one.name == virtual.NAME) == is_virtual]


async def _vendor_problems(
    hub: Hub, session: AsyncSession, account_id: str, vendors: Sequence[str], told: Told
) -> dict[str, str]:
    known = told.known(vendors_of(hub, is_virtual=await accounts.is_virtual(session, account_id)))
    errors = {} if vendors else {"/vendors": "must name at least one vendor"}
    for index, vendor in enumerate(vendors):
        if vendor not in known:
            errors[pointer("vendors", index)] = f"unknown vendor; installed: {', '.join(known)}"
        elif vendor in vendors[:index]:
            errors[pointer("vendors", index)] = "a vendor may be named once"
    return errors


def _option_problems(hub: Hub, options: Mapping[str, Mapping[str, str]]) -> dict[str, str]:
    """Judges the options that are given; those a vendor needs besides may stand in the flow."""
    errors: dict[str, str] = {}
    for vendor, values in options.items():
        fields = [field for field in hub.registry.vendor(vendor).flow_fields if field.name in values]
        _, problems = checked_values(fields, values)
        errors |= {pointer("options", vendor, name): problem for name, problem in problems.items()}
    return errors


async def _using(session: AsyncSession, table: type[JoinFlow | Enrollment], row: Program) -> int:
    query = select(func.count()).select_from(table)
    query = query.where(col(table.account_id) == row.account_id, col(table.program_id) == row.id)
    return int((await session.execute(query)).scalar_one())
