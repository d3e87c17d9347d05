"""What happened, as it is told: listed in order of time, and as the payload of webhooks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, func, or_
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import aliased
from sqlmodel import col, select
from sqlmodel.sql.expression import SelectOfScalar

from joinder.clock import now
from joinder.ids import next_id
from joinder.runtime.hub import Hub
from joinder.services.records import health
from joinder.services.records.event_types import OPT_IN
from joinder.services.records.told import EVERYTHING, Told
from joinder.services.refusals import Invalid
from joinder.store.tables import Enrollment, Event

DELETED = "enrollment.deleted"  # the last one of an enrollment but for enrollment.revoked; it says of which vendor


@dataclass(frozen=True, kw_only=True)
class EventView:
    """An event and its `data` in wire names: `enrollmentID`, `vendor`, the caller's words, and what its type adds."""

    row: Event
    data: dict[str, Any]


def write(
    session: AsyncSession,
    account_id: str,
    kind: str,
    data: dict[str, Any],
    *,
    enrollment_id: str = "",
    fanned_out: bool = False,
) -> str:
    """Writes an event about no enrollment, or one that is gone, and returns the event's id."""
    row = Event(
        id=next_id("evnt"),
        account_id=account_id,
        enrollment_id=enrollment_id,
        type=kind,
        data=data,
        at=now(),
        fanned_out=fanned_out,
    )
    session.add(row)
    return row.id


async def latest(
    hub: Hub,
    *,
    account_id: str | None = None,
    enrollment_id: str | None = None,
    kind: str | None = None,
    before: Event | None = None,
    limit: int,
) -> list[EventView]:
    """Lists events of all accounts, newest first, for the admin."""
    query = _wanted(select(Event), account_id, enrollment_id, kind)
    if before is not None:
        earlier = (col(Event.at) == before.at) & (col(Event.id) < before.id)
        query = query.where(or_(col(Event.at) < before.at, earlier))
    async with hub.store.read() as session:
        return await _told(session, query.order_by(col(Event.at).desc(), col(Event.id).desc()).limit(limit))


async def since(
    hub: Hub, at: int, *, account_id: str | None = None, enrollment_id: str | None = None, kind: str | None = None
) -> list[EventView]:
    """Lists events of all accounts at or after `at` (epoch seconds), the newest last, for who watches."""
    query = _wanted(select(Event).where(col(Event.at) >= at), account_id, enrollment_id, kind)
    async with hub.store.read() as session:
        return await _told(session, query.order_by(col(Event.at), col(Event.id)))


async def list_page(
    hub: Hub,
    account_id: str,
    *,
    enrollment_id: str | None,
    kind: str | None,
    after: str,
    limit: int,
    told: Told = EVERYTHING,
) -> list[EventView]:
    """Reads a keyset page by time, the newest last. Raises Invalid when `after` is no event of this account."""
    query = _wanted(select(Event), account_id, enrollment_id, kind).where(*_known(told))
    async with hub.store.read() as session:
        if after:
            last = await session.get(Event, after)
            if last is None or last.account_id != account_id:
                raise Invalid("pageToken is not one of ours", errors={"/pageToken": "use a nextPageToken as it came"})
            later = (col(Event.at) == last.at) & (col(Event.id) > last.id)
            query = query.where(or_(col(Event.at) > last.at, later))
        return await _told(session, query.order_by(col(Event.at), col(Event.id)).limit(limit))


def _wanted(
    query: SelectOfScalar[Event], account_id: str | None, enrollment_id: str | None, kind: str | None
) -> SelectOfScalar[Event]:
    wanted = {Event.account_id: account_id, Event.enrollment_id: enrollment_id, Event.type: kind}
    if kind is None:
        query = query.where(col(Event.type).not_in(OPT_IN))
    return query.where(*(col(column) == value for column, value in wanted.items() if value is not None))


def _known(told: Told) -> Sequence[ColumnElement[bool]]:
    """Returns the conditions of events of vendors it knows, also of enrollments that are gone, and of no enrollment."""
    if told.vendors is None:
        return ()
    end = aliased(Event)
    enrollment = select(Enrollment.vendor).where(col(Enrollment.id) == Event.enrollment_id).scalar_subquery()
    ended = select(_vendor_in(end)).where(end.enrollment_id == Event.enrollment_id, end.type == DELETED).limit(1)
    vendor = func.coalesce(_vendor_in(Event), enrollment, ended.scalar_subquery())
    is_nobodys = (col(Event.enrollment_id) == "") & _vendor_in(Event).is_(None)
    return (or_(vendor.in_(told.vendors), is_nobodys),)


def _vendor_in(event: Any) -> Any:
    return event.data["vendor"].as_string()


async def _told(session: AsyncSession, query: SelectOfScalar[Event]) -> list[EventView]:
    rows = list((await session.execute(query)).scalars())
    ids = {row.enrollment_id for row in rows}
    found = (await session.execute(select(Enrollment).where(col(Enrollment.id).in_(ids)))).scalars()
    enrollments = {enrollment.id: enrollment for enrollment in found}
    return [told(row, enrollments.get(row.enrollment_id)) for row in rows]


def told(row: Event, enrollment: Enrollment | None) -> EventView:
    """Returns what an event tells; the unknown is left out, never null."""
    subject: dict[str, object] = {"enrollmentID": row.enrollment_id or None}
    if enrollment is not None:
        subject |= {"vendor": enrollment.vendor, **health.labels_of(enrollment)}
    return EventView(
        row=row, data={name: value for name, value in {**subject, **row.data}.items() if value is not None}
    )


async def last_labels(session: AsyncSession, enrollment_id: str) -> dict[str, Any]:
    """Returns the caller's own words for an enrollment that is gone, as its last event had them."""
    query = select(Event).where(col(Event.enrollment_id) == enrollment_id)
    last = (await session.execute(query.order_by(col(Event.at).desc(), col(Event.id).desc()).limit(1))).scalar()
    return {name: last.data[name] for name in ("reference", "state") if name in last.data} if last else {}
