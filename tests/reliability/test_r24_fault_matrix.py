"""Toxiproxy's eight faults between Joinder and a vendor, at each thing Joinder does there (R24).

The vendor is the simulated Enphase with single-use refresh tokens: one used twice ends its family. The three faults
that cut a connection also cut it before the request has reached the vendor. `pytest -s` prints the matrix.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from urllib.parse import parse_qs, urljoin, urlsplit

import httpx
import pytest
from msgspec import structs
from sqlalchemy import func
from sqlmodel import select

from api.fakes import result_of
from joinder.api.app import create_app
from joinder.demo.owner import Page
from joinder.errors import VendorError
from joinder.grants import Callback
from joinder.observe.logs import formatter
from joinder.redact import Secrets
from joinder.runtime.hub import Hub, open_hub
from joinder.services.calls.vendor_context import open_app, vendor_context
from joinder.services.events import deliveries, webhooks
from joinder.services.grants import refresh
from joinder.services.join import stored_consents, vendor_credentials
from joinder.services.join.stored_consents import Origin
from joinder.services.readings import poll
from joinder.services.records import accounts
from joinder.services.records.accounts import NewClient
from joinder.services.refusals import Refusal
from joinder.services.work import leases
from joinder.settings import Settings
from joinder.simulate import Simulator
from joinder.simulate.oauth import Rotation
from joinder.simulate.run import running
from joinder.store.tables import Delivery, Due, Enrollment, GrantRow, Interval, VendorCredentials
from joinder_enphase.simulator import Cloud, simulator
from reliability.faults import NAMES, Fault, FaultProxy, faulty
from services.receiver import receiving, status

FAULTS = [
    *(Fault(name) for name in NAMES),
    *(Fault(name, "request") for name in ("timeout", "reset_peer", "limit_data")),
]
LASTS_S = 60  # of simulated time: what comes due within is done
MOST_CALLS = 3  # of the token endpoint that a fault may cause in that time
MOST_SENDS = 2  # of one delivery in that time, which the advised schedule allows
MOST_POLLS = 3  # likewise, each giving up after two calls without an answer
CALLBACK = "https://here.example/cb"
BACK_AT = "https://integrator.example/back"


@pytest.fixture(scope="module")
def matrix() -> Iterator[dict[str, dict[str, str]]]:
    cells: dict[str, dict[str, str]] = {}
    yield cells
    columns = sorted({operation for row in cells.values() for operation in row})
    print("\n" + "".join(f"{head:<33}" for head in ("fault", *columns)))
    for fault, row in cells.items():
        print("".join(f"{text:<33}" for text in (fault, *(row.get(column, "") for column in columns))))


@dataclass
class World:
    """A hub whose only way to the vendor leads through the proxy."""

    hub: Hub
    cloud: Cloud
    stand_in: Simulator
    proxy: FaultProxy
    account_id: str
    credentials_id: str
    client: NewClient
    tries: int = 0
    codes: list[str] = field(default_factory=list)
    said: list[str] = field(default_factory=list)  # every text an error or a page showed

    def later(self, seconds: float) -> None:
        self.cloud.clock.freeze(self.cloud.clock.time() + seconds)

    @property
    def calls(self) -> int:
        """That reached the vendor."""
        return self.cloud.tokens.counts()["token_calls"] + sum(self.cloud.calls.values())

    async def enroll(self) -> str:
        async with self.hub.store.read() as session:
            await self.hub.vault.unlock(session, self.account_id)
            row = await session.get(VendorCredentials, self.credentials_id)
        ctx = vendor_context(self.hub, "enphase", open_app(self.hub, row))
        code = self.cloud.tokens.new_code(ctx.require_app()["clientID"], "grants", CALLBACK)
        callback = Callback(values=Secrets({"code": code}), redirect_uri=CALLBACK)
        consent = await self.hub.registry.handle_callback("enphase", ctx, callback)
        async with self.hub.store.write() as session:
            made = await stored_consents.store(
                self.hub,
                session,
                self.account_id,
                consent,
                Origin(vendor="enphase", credentials_id=self.credentials_id),
            )
            return made.id

    async def rows(self, enrollment_id: str) -> tuple[Enrollment, GrantRow]:
        async with self.hub.store.read() as session:
            enrollment = await session.get(Enrollment, enrollment_id)
            grant = await session.get(GrantRow, enrollment_id)
        assert enrollment is not None
        assert grant is not None
        return enrollment, grant

    async def due(self, kind: str, enrollment_id: str) -> Due:
        async with self.hub.store.read() as session:
            row = await session.get(Due, (kind, enrollment_id))
        assert row is not None
        return row

    async def count(self, table: type[Enrollment] | type[Interval]) -> int:
        async with self.hub.store.read() as session:
            return int((await session.execute(select(func.count()).select_from(table))).scalar_one())

    async def do(self, kind: str, enrollment_id: str) -> bool:
        """As the worker does it: an error is said, and what planned nothing waits. False: it failed."""
        self.tries += 1
        work = {refresh.KIND: refresh.refresh, poll.KIND: poll.poll}[kind]
        try:
            await work(self.hub, enrollment_id)
        except (VendorError, Refusal) as error:
            self.said += [str(error), repr(error), str(getattr(error, "detail", ""))]
            return False
        return True

    async def while_it_lasts(self, kind: str, enrollment_id: str) -> bool:
        """Everything of `kind` that comes due in the fault's time. Whether the last of it worked."""
        ends, worked = self.cloud.clock.time() + LASTS_S, await self.do(kind, enrollment_id)
        while not worked and (due_at := (await self.due(kind, enrollment_id)).due_at) < ends:
            self.later(max(0, due_at - self.cloud.clock.time()))
            worked = await self.do(kind, enrollment_id)
        return worked

    async def when_due(self, kind: str, enrollment_id: str) -> bool:
        due_at = (await self.due(kind, enrollment_id)).due_at
        assert due_at != leases.NEVER
        self.later(max(0, due_at - self.cloud.clock.time()))
        return await self.do(kind, enrollment_id)


@asynccontextmanager
async def world(database: Settings, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[World]:
    cloud = Cloud(rotation=Rotation(mode="kill"))
    stand_in = simulator(cloud)
    cloud.clock.freeze(int(cloud.clock.time()))
    monkeypatch.setattr("joinder.clock.civil_time", cloud.clock.time)
    async with running([stand_in]) as origins, faulty(urlsplit(origins["enphase"]).port or 0) as proxy:
        reroute = dict.fromkeys(stand_in.stands_in_for, f"http://127.0.0.1:{proxy.port}")
        async with open_hub(structs.replace(database, reroute=reroute, refresh_deadline_s=2.0)) as hub:
            account_id = (await accounts.create_account(hub, "test")).id
            given = dict(stand_in.app_credentials or {})
            made = await vendor_credentials.create(hub, account_id, "test", name=None, credentials=given)
            client = await accounts.create_client(hub, account_id, "test", accounts.SCOPES)
            yield World(hub, cloud, stand_in, proxy, account_id, made.id, client)


def assert_nothing_told(here: World, caplog: pytest.LogCaptureFixture) -> None:
    """No token, code or app secret the simulator ever saw, in a log line as production writes it or in an error."""
    written = formatter("json")
    lines = [written.format(record) for record in caplog.records if record.name.startswith("joinder")]
    tokens = here.cloud.tokens
    canaries = [*here.codes, *tokens._access, *tokens._refresh, (here.stand_in.app_credentials or {})["clientSecret"]]
    told = "\n".join([*lines, *here.said])
    assert [canary for canary in canaries if canary in told] == []


@pytest.mark.parametrize("fault", FAULTS, ids=str)
@pytest.mark.parametrize("grace", [False, True], ids=["strict", "grace"])
async def test_refresh(
    fault: Fault,
    grace: bool,
    fresh_database: Settings,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    matrix: dict[str, dict[str, str]],
) -> None:
    caplog.set_level(logging.DEBUG)
    async with world(fresh_database, monkeypatch) as here:
        enrollment_id = await here.enroll()
        if grace:
            here.cloud.tokens.rotation = Rotation(mode="grace", grace_seconds=3600)
        before = here.cloud.tokens.counts()
        await here.proxy.inject(fault)
        worked = await here.while_it_lasts(refresh.KIND, enrollment_id)
        counts, (_, grant) = here.cloud.tokens.counts(), await here.rows(enrollment_id)
        calls = counts["token_calls"] - before["token_calls"]
        rotated = counts["refreshes"] - before["refreshes"]
        assert calls <= MOST_CALLS
        assert worked == (not fault.cuts)
        assert grant.version == 1 + worked
        answer_lost = rotated > worked
        await here.proxy.heal()
        recovered = worked or await here.when_due(refresh.KIND, enrollment_id)
        enrollment, grant = await here.rows(enrollment_id)
        due = await here.due(refresh.KIND, enrollment_id)
        matrix.setdefault(str(fault), {})["refresh, " + ("grace" if grace else "strict")] = (
            f"{enrollment.health}, {calls} calls"
        )
        assert due.lease is None
        assert grant.intent_id is None
        if answer_lost and not grace:
            assert (recovered, enrollment.health) == (False, "degraded")  # refused once
            assert not await here.when_due(refresh.KIND, enrollment_id)
            enrollment, grant = await here.rows(enrollment_id)
            due = await here.due(refresh.KIND, enrollment_id)
            assert (recovered, enrollment.health, grant.version) == (False, "lost_in_flight", 1)
            assert due.due_at == leases.NEVER
        else:
            assert (recovered, enrollment.health, grant.version) == (True, "connecting", 2)
            assert here.cloud.tokens.counts()["families_revoked"] == 0
            assert due.due_at > here.cloud.clock.time()
            assert await here.do(poll.KIND, enrollment_id)
        assert_nothing_told(here, caplog)


@pytest.mark.parametrize("fault", FAULTS, ids=str)
async def test_read(
    fault: Fault,
    fresh_database: Settings,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    matrix: dict[str, dict[str, str]],
) -> None:
    caplog.set_level(logging.DEBUG)
    async with world(fresh_database, monkeypatch) as here:
        enrollment_id = await here.enroll()
        assert await here.do(poll.KIND, enrollment_id)
        here.later(3600)
        before = here.calls
        assert await here.do(poll.KIND, enrollment_id)
        usual = here.calls - before
        here.later(3600)
        before, rows, here.tries = here.calls, await here.count(Interval), 0
        await here.proxy.inject(fault)
        worked = await here.while_it_lasts(poll.KIND, enrollment_id)
        calls = here.calls - before
        matrix.setdefault(str(fault), {})["read"] = (
            f"{'read' if worked else 'failed'}, {calls} calls, {here.tries} polls"
        )
        assert worked == (not fault.cuts)
        assert here.tries <= (1 if worked else MOST_POLLS)
        assert calls <= (usual if worked else 2 * here.tries)
        assert await here.count(Interval) == rows or worked
        assert (await here.due(poll.KIND, enrollment_id)).lease is None
        await here.proxy.heal()
        here.later(900)
        assert await here.do(poll.KIND, enrollment_id)
        assert await here.count(Interval) > rows
        enrollment, grant = await here.rows(enrollment_id)
        assert (enrollment.health, enrollment.failures, grant.version) == ("ok", 0, 1)
        assert here.cloud.tokens.counts()["families_revoked"] == 0
        assert_nothing_told(here, caplog)


@asynccontextmanager
async def owners_browser(here: World) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(create_app(here.hub), raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:8080") as browser:
        yield browser


async def new_flow(here: World, browser: httpx.AsyncClient) -> str:
    login = (here.client.client_id, here.client.client_secret)
    token = await browser.post("/oauth2/token", data={"grant_type": "client_credentials"}, auth=login)
    answer = await browser.post(
        "/join/flows",
        json={
            "vendors": [{"vendor": "enphase", "credentialsID": here.credentials_id}],
            "redirectURI": BACK_AT,
            "skipIntro": True,
            "skipLanding": True,
        },
        headers={"authorization": f"Bearer {token.json()['access_token']}"},
    )
    assert answer.status_code == 201, answer.text
    return str(answer.json()["id"])


async def consents(browser: httpx.AsyncClient, flow_id: str) -> str:
    """From the operator's link over the vendor's page to the callback, which is not opened yet."""
    begun = await browser.get(f"/join/flows/{flow_id}/authorize", params={"state": "theirs"})
    assert begun.status_code == 303, begun.text
    async with httpx.AsyncClient(trust_env=False) as outside:
        url = begun.headers["location"]
        page = Page((await outside.get(url)).text)
        form = {**page.values, "owner": "grants"}
        back = await outside.post(urljoin(url, page.action or ""), data=form)
    assert back.status_code == 302
    target = urlsplit(back.headers["location"])
    return f"{target.path}?{target.query}"


@pytest.mark.parametrize("fault", FAULTS, ids=str)
async def test_join(
    fault: Fault,
    fresh_database: Settings,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    matrix: dict[str, dict[str, str]],
) -> None:
    caplog.set_level(logging.DEBUG)
    async with world(fresh_database, monkeypatch) as here, owners_browser(here) as browser:
        flow_id = await new_flow(here, browser)
        callback = await consents(browser, flow_id)
        here.codes += parse_qs(urlsplit(callback).query)["code"]
        before = here.calls
        await here.proxy.inject(fault)
        result = result_of(await browser.get(callback))
        calls, joined = here.calls - before, "enrollmentID" in result
        here.said += list(result.values())
        matrix.setdefault(str(fault), {})["join"] = f"{'joined' if joined else result['error']}, {calls} calls"
        assert calls <= MOST_CALLS
        assert joined == (not fault.cuts)
        assert await here.count(Enrollment) == joined
        assert result["state"] == "theirs"
        again = await browser.get(callback)
        here.said.append(again.text)
        assert here.calls - before == calls  # a reload makes no call: the code is not replayed
        if not joined:
            assert result["error"] == "temporarily_unavailable"
            assert result["error_description"]
            assert result_of(again) == result
        await here.proxy.heal()
        done = result_of(await browser.get(await consents(browser, flow_id)))
        assert done.get("enrollmentID"), done
        assert await here.count(Enrollment) == 1
        assert (await here.rows(done["enrollmentID"]))[0].health == "connecting"
        assert_nothing_told(here, caplog)


async def sent(here: World) -> Delivery:
    """What a worker does with the events that are due now; the one delivery after it."""
    for job in (deliveries.FAN_OUT, deliveries.DELIVERY):
        for key in await job.due(here.hub):
            await job.work(here.hub, key)
    async with here.hub.store.read() as session:
        return (await session.execute(select(Delivery))).scalar_one()


@pytest.mark.parametrize("fault", FAULTS, ids=str)
async def test_webhook(
    fault: Fault,
    fresh_database: Settings,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    matrix: dict[str, dict[str, str]],
) -> None:
    caplog.set_level(logging.DEBUG)
    async with world(fresh_database, monkeypatch) as here, receiving() as receiver:
        target = urlsplit(receiver.url)
        async with faulty(target.port or 0) as proxy:
            url = f"http://127.0.0.1:{proxy.port}{target.path}?{target.query}"
            made = await webhooks.create(here.hub, here.account_id, "test", url=url, types=())
            receiver.answer = status(200, "server: one whose status line and first header are longer than limit_data")
            await here.enroll()
            await proxy.inject(fault)
            ends, row = here.cloud.clock.time() + LASTS_S, await sent(here)
            while row.status == "pending" and row.due_at < ends:
                assert row.lease is None
                here.later(max(0, row.due_at - here.cloud.clock.time()))
                row = await sent(here)
            arrived, attempts = len(receiver.got), row.attempts
            matrix.setdefault(str(fault), {})["webhook"] = f"{row.status}, {attempts} attempts, {arrived} arrived"
            assert (row.status == "delivered") == (not fault.cuts)
            assert arrived <= attempts <= (MOST_SENDS if fault.cuts else 1)
            await proxy.heal()
            if row.status == "pending":
                here.later(max(0, row.due_at - here.cloud.clock.time()))
                row = await sent(here)
            endpoint = await webhooks.get(here.hub, here.account_id, made.row.id)
            assert (row.status, row.lease, row.answered) == ("delivered", None, 200)
            assert (endpoint.failing_since, endpoint.disabled_at) == (None, None)
            assert row.attempts == attempts + fault.cuts
            assert {got.event_id for got in receiver.got} == {row.event_id}
            assert len({got.body for got in receiver.got}) == 1
            assert len(receiver.got) == arrived + fault.cuts
            here.codes += [made.secret, "canary-in-url-31c4"]
            assert_nothing_told(here, caplog)
