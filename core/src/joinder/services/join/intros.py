"""What an owner reads first: the choice of a vendor, or who asks for what. Nothing is written for it."""

from __future__ import annotations

from dataclasses import dataclass

from joinder.clock import now
from joinder.runtime.hub import Hub
from joinder.services.join import consents, landings, reconnect
from joinder.services.join.browser_sessions import authorize_path, refused
from joinder.services.join.join_flows import FlowVendor, entries
from joinder.services.join.labels import Labels, problem_with
from joinder.services.join.redirects import with_result
from joinder.services.join.signed_links import BadLink
from joinder.store.tables import Enrollment, JoinFlow
from joinder.vendor import Flow, Vendor

MAX_STATE = 1024


@dataclass(frozen=True, kw_only=True)
class Choice:
    """Several vendors, none named: the owner picks one."""

    flow_id: str
    account_id: str
    vendors: list[Vendor]
    labels: Labels


@dataclass(frozen=True, kw_only=True)
class Intro:
    """What the owner reads before leaving for the vendor; `way_back` leads to the integrator with a no."""

    vendor: Vendor
    account_id: str
    way_back: str
    lands: bool  # on a page of ours, at the end


async def introduce(hub: Hub, flow_id: str, vendor_name: str | None, labels: Labels) -> Choice | Intro | None:
    """Returns what the owner reads first: the choice of a vendor, or who asks for what; None where nothing does.

    Nothing is written: programs that look at links begin no session. Raises JoinRefused.
    """
    flow, entry = await entry_of(hub, flow_id, vendor_name, labels)
    if entry is None:
        return choice_of(hub, flow, labels)
    vendor = landings.vendor_of(hub, entry.vendor)
    if flow.skip_intro or vendor is None or vendor.flow is not Flow.REDIRECT:
        return None
    no = _refusal(flow, labels.state, "user_denied")
    return Intro(vendor=vendor, account_id=flow.account_id, way_back=no, lands=not flow.skip_landing)


async def introduce_again(hub: Hub, text: str) -> Intro | None:
    """Returns what the owner of a reconnect link reads first; None where the flow leaves it out. Raises JoinRefused."""
    link, row = await reconnected(hub, text)
    vendor = landings.vendor_of(hub, row.vendor)
    async with hub.store.read() as session:
        flow = await session.get(JoinFlow, row.flow_id or "")
    if vendor is None or vendor.flow is not Flow.REDIRECT or (flow is not None and flow.skip_intro):
        return None
    denied = with_result(link.redirect_uri, error="access_denied", error_code="user_denied")
    lands = flow is not None and not flow.skip_landing
    return Intro(vendor=vendor, account_id=row.account_id, way_back=denied, lands=lands)


async def entry_of(
    hub: Hub, flow_id: str, vendor_name: str | None, labels: Labels
) -> tuple[JoinFlow, FlowVendor | None]:
    """Returns the flow, and which of its vendors is meant; None where the owner is to choose. Raises JoinRefused."""
    flow = await consents.flow_of(hub, flow_id)
    if len(labels.state or "") > MAX_STATE or (labels.reference and problem_with(labels.reference)):
        refusal = refused(hub, None, "state_too_long")
        raise refusal.asked_by(flow.account_id, way_back=_refusal(flow, None, "state_too_long"))
    offered = {entry.vendor: entry for entry in entries(flow)}
    if vendor_name is None:
        return flow, next(iter(offered.values())) if len(offered) == 1 else None
    entry = offered.get(vendor_name) or offered.get(vendor_name.lower())
    if entry is None:
        refusal = refused(hub, None, "vendor_not_offered").asked_by(flow.account_id)
        refusal.restart_url = authorize_path(flow.id, None, labels)
        raise refusal
    return flow, entry


def choice_of(hub: Hub, flow: JoinFlow, labels: Labels) -> Choice:
    found = [landings.vendor_of(hub, entry.vendor) for entry in entries(flow)]
    vendors = sorted((vendor for vendor in found if vendor is not None), key=lambda vendor: vendor.label)
    return Choice(flow_id=flow.id, account_id=flow.account_id, vendors=vendors, labels=labels)


def _refusal(flow: JoinFlow, state: str | None, code: str) -> str:
    """Returns the integrator's address where no session was begun."""
    error = "access_denied" if code == "user_denied" else "invalid_request"
    return with_result(flow.redirect_uri, state=state, error=error, error_code=code)


async def reconnected(hub: Hub, text: str) -> tuple[reconnect.Link, Enrollment]:
    """Returns what a reconnect link says, and the enrollment it is for. Raises JoinRefused."""
    try:
        link = reconnect.read(hub, text)
    except BadLink:
        raise refused(hub, None, "link_invalid") from None
    if link.expires_at <= now():
        raise refused(hub, None, "link_expired")
    async with hub.store.read() as session:
        row = await session.get(Enrollment, link.enrollment_id)
    if row is None:
        raise refused(hub, None, "connection_ended")
    return link, row
