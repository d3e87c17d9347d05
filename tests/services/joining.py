"""An owner who joins on a hub, in tests: out to the vendor and back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import parse_qs, urlsplit

from sqlmodel import col, select

from joinder.runtime.hub import Hub
from joinder.services.join import form_answers, join_flows, join_sessions, vendor_credentials
from joinder.services.join.join_flows import FlowVendor
from joinder.services.join.join_sessions import Started
from joinder.services.join.labels import Labels
from joinder.store.tables import Due, Enrollment, Event, GrantRow, JoinFlow, JoinSession
from joinder.store.vault import token_hash

BACK = "https://integrator.example/back"
APP = {"type": "oauthclient", "clientID": "an-id", "clientSecret": "canary-app-secret"}


@dataclass(frozen=True)
class Way:
    """One owner's session."""

    vendor: str
    token: str
    cookies: Mapping[str, str]

    @property
    def row_id(self) -> bytes:
        return token_hash(self.token)


async def flow_with(hub: Hub, account_id: str, vendor: str, app: Mapping[str, str] | None = None) -> JoinFlow:
    entry = FlowVendor(vendor=vendor)
    if app is not None:
        given = {"vendor": vendor, **app}
        made = await vendor_credentials.create(hub, account_id, "test", name=None, credentials=given)
        entry = FlowVendor(vendor=vendor, credentials_id=made.id)
    return await join_flows.create(hub, account_id, "test", vendors=[entry], redirect_uri=BACK)


def way(started: Started, vendor: str) -> Way:
    url = urlsplit(started.url)
    token = url.path.rsplit("/", 1)[-1] if url.path.startswith("/join/") else parse_qs(url.query)["state"][0]
    return Way(vendor, token, {started.cookie_name: started.cookie})


async def leave(hub: Hub, flow: JoinFlow, state: str | None = None) -> Way:
    """The owner opens the link."""
    vendor = join_flows.entries(flow)[0].vendor
    started = await join_sessions.start(hub, flow.id, vendor, Labels(state=state))
    assert isinstance(started, Started)
    return way(started, vendor)


async def leave_by(hub: Hub, url: str, vendor: str) -> Way:
    """The owner opens a reconnect link."""
    return way(await join_sessions.start_reconnect(hub, parse_qs(urlsplit(url).query)["link"][0]), vendor)


async def come_back(hub: Hub, way: Way, **query: str) -> dict[str, str]:
    """What the redirect to the integrator carries."""
    target = await join_sessions.finish_redirect(hub, way.vendor, {"state": way.token, **query}, way.cookies)
    assert target.startswith(BACK)
    return {name: values[0] for name, values in parse_qs(urlsplit(target).query).items()}


async def send_form(hub: Hub, way: Way, **values: str) -> dict[str, str]:
    form = await form_answers.show_form(hub, way.token, way.cookies)
    target = await form_answers.submit_form(hub, way.token, way.cookies, values, form.form_token)
    return {name: values[0] for name, values in parse_qs(urlsplit(target).query).items()}


async def session_of(hub: Hub, way: Way) -> JoinSession:
    async with hub.store.read() as session:
        row = await session.get(JoinSession, way.row_id)
    assert row is not None
    return row


async def enrollment_of(hub: Hub, enrollment_id: str) -> tuple[Enrollment | None, GrantRow | None]:
    async with hub.store.read() as session:
        return await session.get(Enrollment, enrollment_id), await session.get(GrantRow, enrollment_id)


async def due_of(hub: Hub, kind: str, enrollment_id: str) -> Due | None:
    async with hub.store.read() as session:
        return await session.get(Due, (kind, enrollment_id))


async def events_of(hub: Hub, *types: str) -> list[Event]:
    async with hub.store.read() as session:
        query = select(Event).where(col(Event.type).in_(types)).order_by(col(Event.id))
        return list((await session.execute(query)).scalars())


async def change_session(hub: Hub, way: Way, **columns: object) -> None:
    async with hub.store.write() as session:
        row = await session.get(JoinSession, way.row_id)
        assert row is not None
        for name, value in columns.items():
            setattr(row, name, value)
