"""Join flows."""

from __future__ import annotations

from msgspec import field

from joinder.services.join import join_flows
from joinder.services.records.told import EVERYTHING, Told
from joinder.store import tables
from joinder.wire.base import Body, Link, ListPage, Wire


class FlowVendor(Body, omit_defaults=True, kw_only=True):
    vendor: str
    credentials_id: str | None = None
    options: dict[str, str] | None = None


class NewFlow(Body, kw_only=True):
    vendors: list[FlowVendor]
    redirect_uri: Link
    program_id: str | None = None
    skip_intro: bool = False
    skip_landing: bool = False


class JoinFlow(Wire, kw_only=True):
    """`skip_intro`, `skip_landing`: without our page before the vendor's, and after it; absent where they are shown."""

    id: str
    vendors: list[FlowVendor]
    redirect_uri: Link = field(name="redirectURI")
    program_id: str | None = field(name="programID", default=None)
    skip_intro: bool = False
    skip_landing: bool = False

    @staticmethod
    def of(row: tables.JoinFlow, told: Told = EVERYTHING) -> JoinFlow:
        vendors = [
            FlowVendor(vendor=entry.vendor, credentials_id=entry.credentials_id, options=dict(entry.options) or None)
            for entry in join_flows.entries(row)
            if told.knows(entry.vendor)
        ]
        return JoinFlow(
            id=row.id,
            vendors=vendors,
            redirect_uri=row.redirect_uri,
            program_id=row.program_id,
            skip_intro=row.skip_intro,
            skip_landing=row.skip_landing,
        )


class JoinFlowPage(ListPage, kw_only=True):
    join_flows: list[JoinFlow]
