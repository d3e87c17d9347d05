"""Join flows: what the operator configures once and sends owners to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from msgspec import Struct, field, structs
from sqlalchemy import func
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col, select

from joinder import virtual
from joinder.clock import now
from joinder.ids import new_id
from joinder.runtime.hub import Hub, audit, owned
from joinder.services.calls.breakers import password_refusal
from joinder.services.join import programs
from joinder.services.join.redirects import problem_with
from joinder.services.records import accounts
from joinder.services.records.told import EVERYTHING, Told, page_of
from joinder.services.refusals import Invalid, pointer
from joinder.store.tables import Enrollment, JoinFlow, JoinSession, Program, VendorCredentials
from joinder.vendor import Flow, Vendor, checked_values


class FlowVendor(Struct, frozen=True, kw_only=True):
    """One vendor an owner may choose in a flow."""

    vendor: str
    credentials_id: str | None = None
    options: Mapping[str, str] = field(default_factory=dict)


async def create(
    hub: Hub,
    account_id: str,
    actor: str,
    *,
    vendors: Sequence[FlowVendor],
    redirect_uri: str,
    program_id: str | None = None,
    skip_intro: bool = False,
    skip_landing: bool = False,
    told: Told = EVERYTHING,
) -> JoinFlow:
    """Creates a flow, with our pages before and after the vendor's or without; of vendors the caller is told of.

    Raises Invalid with a JSON Pointer per member that cannot work.
    """
    errors = {}
    if problem := problem_with(redirect_uri):
        errors["/redirectURI"] = problem
    if not vendors:
        errors["/vendors"] = "must name at least one vendor"
    async with hub.store.write(account_id) as session:
        if program_id is not None:
            vendors, problems = _in_program(await programs.named(session, account_id, program_id, told), vendors, told)
            errors |= problems
        for index, entry in enumerate(vendors):
            if any(other.vendor == entry.vendor for other in vendors[:index]):
                errors[f"/vendors/{index}/vendor"] = "a vendor may be named once"
            errors |= await _problems(hub, session, account_id, entry, f"/vendors/{index}", told)
        if errors:
            raise Invalid("The join flow cannot work as asked", errors=errors)
        flow = JoinFlow(
            id=new_id("flow"),
            account_id=account_id,
            redirect_uri=redirect_uri,
            vendors=[_stored(entry) for entry in vendors],
            program_id=program_id,
            skip_intro=skip_intro,
            skip_landing=skip_landing,
            created_at=now(),
        )
        session.add(flow)
        audit(session, account_id, actor, "flow.create", flow.id)
    return flow


def _in_program(program: Program, vendors: Sequence[FlowVendor], told: Told) -> tuple[list[FlowVendor], dict[str, str]]:
    """Returns the entries with the programme's options below their own, and a problem for each vendor it lacks."""
    known = ", ".join(told.known(program.vendors))
    problems = {
        pointer("vendors", index, "vendor"): f"is not in the programme; its vendors: {known}"
        for index, entry in enumerate(vendors)
        if entry.vendor not in program.vendors
    }
    return [
        structs.replace(entry, options={**program.options.get(entry.vendor, {}), **entry.options}) for entry in vendors
    ], problems


async def list_page(hub: Hub, account_id: str, *, after: str, limit: int, told: Told = EVERYTHING) -> list[JoinFlow]:
    query = select(JoinFlow).where(col(JoinFlow.account_id) == account_id).order_by(col(JoinFlow.id))
    return await page_of(hub, told, lambda last: query.where(col(JoinFlow.id) > last), after=after, limit=limit)


async def get(hub: Hub, account_id: str, flow_id: str) -> JoinFlow:
    """Returns the flow. Raises NotFound."""
    async with hub.store.read() as session:
        return await owned(session, JoinFlow, flow_id, account_id)


class Dependents(Struct, frozen=True, kw_only=True):
    """`under_way`: owners whose session the flow's deletion ends. Enrollments stay."""

    under_way: int
    enrollments: int


async def dependents(hub: Hub, account_id: str, flow_id: str) -> Dependents:
    """Counts the sessions under way by the flow, and the enrollments it made. Raises NotFound."""
    open_sessions = select(func.count()).where(
        col(JoinSession.flow_id) == flow_id,
        col(JoinSession.used_at).is_(None),
        col(JoinSession.ended_at).is_(None),
        col(JoinSession.expires_at) > now(),
    )
    made = select(func.count()).where(col(Enrollment.account_id) == account_id, col(Enrollment.flow_id) == flow_id)
    async with hub.store.read() as session:
        await owned(session, JoinFlow, flow_id, account_id)
        return Dependents(
            under_way=(await session.execute(open_sessions)).scalar_one(),
            enrollments=(await session.execute(made)).scalar_one(),
        )


async def delete(hub: Hub, account_id: str, flow_id: str, actor: str) -> None:
    """Deletes a flow. Owners who are under way with it are sent away; enrollments it made stay. Raises NotFound."""
    async with hub.store.write(account_id) as session:
        await session.delete(await owned(session, JoinFlow, flow_id, account_id))
        audit(session, account_id, actor, "flow.delete", flow_id)


def entries(flow: JoinFlow) -> list[FlowVendor]:
    return [
        FlowVendor(vendor=entry["vendor"], credentials_id=entry.get("credentialsID"), options=entry.get("options", {}))
        for entry in flow.vendors
    ]


def options_in(flow: JoinFlow, vendor: str) -> Mapping[str, str]:
    """Returns the options a flow was given for a vendor."""
    return next((entry.options for entry in entries(flow) if entry.vendor == vendor), {})


def offered_to(hub: Hub, *, is_virtual: bool) -> list[Vendor]:
    """Lists the vendors that flows of such an account may name: a virtual one has the virtual vendor alone."""
    return [vendor for vendor in hub.registry.vendors if (vendor.name == virtual.NAME) == is_virtual]


async def _problems(
    hub: Hub, session: AsyncSession, account_id: str, entry: FlowVendor, place: str, told: Told
) -> dict[str, str]:
    is_virtual = await accounts.is_virtual(session, account_id)
    offered = told.known(vendor.name for vendor in offered_to(hub, is_virtual=is_virtual))
    if entry.vendor not in offered:
        return {f"{place}/vendor": f"unknown vendor; installed: {', '.join(offered)}"}
    vendor = hub.registry.vendor(entry.vendor)
    if vendor.asks_password and vendor.name not in hub.settings.password_grants:
        return {f"{place}/vendor": password_refusal(vendor.name, f"{vendor.label}'s form")}
    _, problems = checked_values(vendor.flow_fields, entry.options)
    errors = {place + pointer("options", name): problem for name, problem in problems.items()}
    problem = await _credentials_problem(session, account_id, entry, vendor, told)
    return {**errors, f"{place}/credentialsID": problem} if problem else errors


async def _credentials_problem(
    session: AsyncSession, account_id: str, entry: FlowVendor, vendor: Vendor, told: Told
) -> str | None:
    if entry.credentials_id is None:
        return f"{vendor.name} needs vendor credentials" if vendor.needs_app else None
    row = await session.get(VendorCredentials, entry.credentials_id)
    if row is None or row.account_id != account_id or not told.knows_type(row.vendor, row.type):
        return "no such vendor credentials in this account"
    if row.vendor != vendor.name:
        return f"these are credentials of {row.vendor}, not of {vendor.name}"
    kind = vendor.app_credential(row.type)
    if kind is not None and kind.flow is Flow.OPERATOR:
        return f"{row.type} credentials open their sites by themselves; no owner joins with them"
    return None


def _stored(entry: FlowVendor) -> dict[str, Any]:
    credentials = {"credentialsID": entry.credentials_id} if entry.credentials_id else {}
    options = {"options": dict(entry.options)} if entry.options else {}
    return {"vendor": entry.vendor, **credentials, **options}
