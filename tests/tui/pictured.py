"""A small fleet that is the same at every run, for pictures: fixed clock, fixed ids, homes of a fixed seed.

Five homes of two vendors: one well, one degraded, one whose owner must consent again, one that waits for the operator,
one paused. A month of days and two days of quarter hours of the first two.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest
from msgspec import structs

from joinder import Callback, Consent, History, Site, Vendor, clock, hookimpl, ids
from joinder.energy import Device, DeviceKind, Live, MeterRole, Reading
from joinder.runtime.hub import Hub
from joinder.services.admin import pausing
from joinder.services.calls.activity import KINDS
from joinder.services.events import webhooks
from joinder.services.grants import standing
from joinder.services.join import join_flows, programs, stored_consents, vendor_credentials
from joinder.services.join.join_ends import ENDS
from joinder.services.join.join_flows import FlowVendor
from joinder.services.join.stored_consents import Origin
from joinder.services.readings.sites import get_site
from joinder.services.records import accounts
from joinder.simulate.home import Energy, Home
from joinder.store import readings, vault
from joinder.store.tables import Breaker, Enrollment, JoinSession, Tally
from services.strict_vendor import StrictVendor
from tui.talking_vendor import TalkingVendor

MOMENT = datetime(2026, 6, 17, 14, 20, tzinfo=UTC)
BACK = "https://app.example/joined"
ZONE = "Europe/Berlin"
HOME = Home(seed=7, timezone=ZONE)
NAMES = {
    "ada": "Müller, Hauptstraße 4",
    "bob": "Rossi, Via Roma 1",
    "cyd": "Smith, Elm Street 9",
    "dee": "Okafor, Palm Avenue 12",
    "eve": "Nakamura, 桜通り 3",
}
DEVICES = (
    Device(vendor_id="inv-1", kind=DeviceKind.INVERTER, max_power_w=6000.0),
    Device(vendor_id="bat-1", kind=DeviceKind.BATTERY, nameplate_wh=10_000.0),
    Device(vendor_id="met-1", kind=DeviceKind.METER, role=MeterRole.GRID),
)
BROKEN = {
    "bob": ("degraded", "The vendor answers 503."),
    "cyd": ("needs_consent", "The owner withdrew the consent at the vendor."),
    "dee": ("operator_action", "The vendor refuses this app's credentials; they must be corrected first."),
}
ATTEMPTS = (  # how it ended, and how often; None: under way
    ("joined", 4),
    (None, 1),
    ("session_expired", 3),
    ("user_denied", 1),
    ("consent_unusable", 1),
    ("app_refused", 2),
)


class PicturedVendor(TalkingVendor):
    @hookimpl
    def describe_vendor(self) -> Vendor:
        described = super().describe_vendor()
        month = timedelta(days=31)
        history = (History(resolution="15mins", window=month), History(resolution="day", window=month))
        return structs.replace(described, limits=structs.replace(described.limits, history=history))

    @hookimpl
    async def handle_callback(self, callback: Callback) -> Consent:
        raise AssertionError(callback)

    @hookimpl
    async def fetch_site(self, site_id: str) -> Site:
        owner = site_id.removeprefix("site-of-")
        return Site(vendor_id=site_id, name=NAMES[owner], timezone=ZONE, devices=DEVICES)


VENDORS = (PicturedVendor(name="acme"), StrictVendor(name="bare"))


@dataclass(frozen=True)
class Fleet:
    account_id: str
    first: str
    flow_id: str


@pytest.fixture
def still(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stops the clock, and deals ids out of one pack."""
    dice = random.Random(19)  # noqa: S311 - ids of a picture
    sure = SimpleNamespace(
        token_bytes=dice.randbytes, randbits=dice.getrandbits, token_urlsafe=ids.secrets.token_urlsafe
    )
    monkeypatch.setattr(clock, "civil_time", MOMENT.timestamp)
    monkeypatch.setattr(vault, "time", SimpleNamespace(time=MOMENT.timestamp))
    monkeypatch.setattr(ids, "secrets", sure)
    monkeypatch.setattr(ids, "_LAST", [0])


async def fill(hub: Hub) -> Fleet:
    """Puts the fleet into an empty store."""
    account = await accounts.create_account(hub, "Acme Energy")
    await accounts.create_client(hub, account.id, "billing")
    app_fields = {"vendor": "acme", "type": "app", "clientID": "an-id", "clientSecret": "a-secret"}
    credentials = await vendor_credentials.create(hub, account.id, "test", name="Acme's app", credentials=app_fields)
    offered = [FlowVendor(vendor="acme", credentials_id=credentials.id, options={"programID": "spring"})]
    flow = await join_flows.create(hub, account.id, "test", vendors=offered, redirect_uri=BACK)
    program = await programs.create(hub, account.id, "test", name="Summer peaks", vendors=["acme"])
    await webhooks.create(hub, account.id, "test", url="https://hooks.example/joinder", types=[])
    made = {owner: await _enrolled(hub, account.id, credentials.id, flow.id, owner) for owner in NAMES}
    for owner in ("ada", "bob"):
        await _measured(hub, made[owner])
    await _broken(hub, account.id, made)
    await _applied(hub, program.id, made)
    await tried(hub, account.id, flow.id, int(MOMENT.timestamp()))
    return Fleet(account.id, made["ada"], flow.id)


async def _enrolled(hub: Hub, account_id: str, credentials_id: str, flow_id: str, owner: str) -> str:
    consent = VENDORS[0].consent(owner)
    async with hub.store.write() as session:
        row = await stored_consents.store(
            hub, session, account_id, consent, Origin(vendor="acme", credentials_id=credentials_id)
        )
        row.flow_id = flow_id
        row.created_at -= 86400 * (40 - list(NAMES).index(owner))
    ((site_id,),) = await hub.store.rows("SELECT id FROM site WHERE enrollment_id = :id", {"id": row.id})
    await get_site(hub, account_id, site_id)
    return row.id


async def _measured(hub: Hub, enrollment_id: str) -> None:
    ((site_id,),) = await hub.store.rows("SELECT id FROM site WHERE enrollment_id = :id", {"id": enrollment_id})
    end = MOMENT.replace(minute=15)
    midnight = MOMENT.replace(hour=22, minute=0) - timedelta(days=1)  # in Berlin
    quarters = _readings(midnight - timedelta(days=1), end, timedelta(minutes=15))
    days = _readings(midnight - timedelta(days=30), midnight, timedelta(days=1))
    at = int(MOMENT.timestamp())
    power = HOME.power(MOMENT.timestamp())
    live = Live(
        measured_at=MOMENT - timedelta(seconds=40),
        solar_w=power.solar_w,
        battery_w=power.battery_w,
        grid_w=power.grid_w,
        load_w=power.load_w,
        soc_percent=power.soc_percent,
    )
    await hub.store.apply(
        readings.intervals("15mins", [(site_id, row) for row in quarters], at),
        readings.intervals("day", [(site_id, row) for row in days], at),
        readings.live(site_id, live, at),
    )


def _readings(start: datetime, end: datetime, step: timedelta) -> list[Reading]:
    starts = [start + index * step for index in range((end - start) // step)]
    return [_reading(at, at + step, HOME.energy(at.timestamp(), (at + step).timestamp())) for at in starts]


def _reading(start: datetime, end: datetime, of: Energy) -> Reading:
    return Reading(
        start=start,
        end=end,
        solar_wh=of.solar_wh,
        charge_wh=of.charge_wh,
        discharge_wh=of.discharge_wh,
        import_wh=of.import_wh,
        export_wh=of.export_wh,
        load_wh=of.load_wh,
        soc_percent=of.soc_percent,
    )


async def _broken(hub: Hub, account_id: str, made: dict[str, str]) -> None:
    hour = int(MOMENT.timestamp()) // 3600 * 3600
    async with hub.store.write() as session:
        for owner, enrollment_id in made.items():
            row = await session.get(Enrollment, enrollment_id)
            assert row is not None
            state, reason = BROKEN.get(owner, ("ok", None))
            await standing.settle(hub, session, row, state, reason=reason)  # type: ignore[arg-type]
            row.last_success_at = row.last_attempt_at = int(MOMENT.timestamp()) - 60
        for back in range(1, 24):
            for what, count in zip(KINDS, (back % 5 + 1, 20 + back, back % 7 // 5), strict=True):
                session.add(Tally(hour=hour - back * 3600, vendor="acme", what=what, count=count))
        at = int(MOMENT.timestamp())
        for hook, stands, minutes in (("fetch_site", "closed", 90), ("fetch_readings", "half-opened", 4)):
            since = at - 60 * minutes
            session.add(Breaker(process="a", vendor="acme", hook=hook, state=stands, since=since, told_at=at))
    await pausing.pause(hub, account_id, made["eve"], "test")


async def _applied(hub: Hub, program_id: str, made: dict[str, str]) -> None:
    async with hub.store.write() as session:
        for owner, status in {"ada": "enrolled", "bob": "pendingvendor", "cyd": "rejected"}.items():
            row = await session.get(Enrollment, made[owner])
            assert row is not None
            row.program_id, row.status = program_id, status


async def tried(hub: Hub, account_id: str, flow_id: str, at: int) -> None:
    async with hub.store.write() as session:
        for code, count in ATTEMPTS:
            for number in range(count):
                row = JoinSession(
                    token_hash=f"{code}-{number}".encode(),
                    account_id=account_id,
                    flow_id=flow_id,
                    vendor="acme",
                    cookie_hash=b"c",
                    secrets_sealed=b"s",
                    client_redirect_uri=BACK,
                    created_at=at - 600 - 60 * number,
                    expires_at=at + 1200,
                    attempts=1,
                )
                if code is not None:
                    row.ended_at, row.end_code, row.end_text = at - 300, code, ENDS[code].text
                session.add(row)
