"""Commands in this process, on a hub of vendors in memory where one owner has joined."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import structlog
from click.testing import CliRunner, Result

from api.fakes import ACCESS_TOKEN, APP_SECRET, REDIRECT_URI, Vendors, live
from api.test_reads import home_series
from joinder.cli import group
from joinder.clock import now
from joinder.energy import Readings, ReadingsQuery
from joinder.grants import Consent, Grant
from joinder.redact import Secrets
from joinder.runtime.hub import Hub, open_hub
from joinder.services.events import deliveries, replays, webhooks
from joinder.services.join import enrollments, join_flows, join_sessions, programs, stored_consents, vendor_credentials
from joinder.services.join.join_flows import FlowVendor
from joinder.services.join.stored_consents import Origin
from joinder.services.readings import backfill, poll
from joinder.services.records import accounts
from joinder.settings import Settings
from joinder.store.tables import Enrollment
from joinder.vendors.registry import Registry

SECRETS = (APP_SECRET, ACCESS_TOKEN, "canary-refresh", "whsec_")


def _readings(query: ReadingsQuery) -> Readings:
    found = home_series(query)
    return Readings(intervals=found.intervals, live=live(now()) if query.live else None)


@dataclass(eq=False)
class World:
    """`ids` by kind; a call replaces `{kind}` in its arguments."""

    settings: Settings
    vendors: Vendors
    ids: dict[str, str] = field(default_factory=dict)

    def __call__(self, *arguments: str, given: str | None = None, code: int = 0) -> Result:
        """Ends with `code`, and without a traceback; `given` is standard input, which is no terminal."""
        env = {"JOINDER_DATABASE_URL": self.settings.database_url, "JOINDER_KEY_FILE": self.settings.key_file}
        filled = [argument.format(**self.ids) if "{" in argument else argument for argument in arguments]
        done = CliRunner().invoke(group, filled, input=given, env=env, prog_name="joinder")
        if done.exception is not None and not isinstance(done.exception, SystemExit):
            raise done.exception
        assert done.exit_code == code, (arguments, done.stdout, done.stderr)
        return done

    def json(self, *arguments: str, **options: Any) -> Any:
        return json.loads(self(*arguments, "--json", **options).stdout)

    def open(self) -> Any:
        return open_hub(self.settings, self.vendors.registry())

    async def enroll(self, hub: Hub, owner: str, *site_ids: str) -> str:
        grant = Grant(
            secrets=Secrets({"access_token": f"{ACCESS_TOKEN}-0", "refresh_token": "canary-refresh"}),
            expires_at=datetime.now(UTC) + timedelta(days=30),
            site_ids=site_ids,
        )
        async with hub.store.write() as session:
            row: Enrollment = await stored_consents.store(
                hub,
                session,
                self.ids["account"],
                Consent(grant=grant, account_id=owner),
                Origin(vendor="sunny", credentials_id=self.ids["credentials"], flow_id=self.ids["flow"]),
            )
        return row.id

    async def prepare(self) -> None:
        async with self.open() as hub:
            account = self.ids["account"] = (await accounts.create_account(hub, "Acme")).id
            app = {"vendor": "sunny", "type": "oauthclient", "clientID": "app-1", "clientSecret": APP_SECRET}
            made = await vendor_credentials.create(hub, account, "test", name="main", credentials=app)
            spare = await vendor_credentials.create(hub, account, "test", name="spare", credentials=app)
            self.ids |= {"credentials": made.id, "spare": spare.id}
            offered = [FlowVendor(vendor="sunny", credentials_id=made.id), FlowVendor(vendor="boxy")]
            flow = await join_flows.create(hub, account, "test", vendors=offered, redirect_uri=REDIRECT_URI)
            self.ids["flow"] = flow.id
            self.ids["program"] = (await programs.create(hub, account, "test", name="North", vendors=["sunny"])).id
            await join_sessions.start(hub, flow.id, "sunny")
            enrollment = self.ids["enrollment"] = await self.enroll(hub, "owner-1", "site-1")
            await poll.poll(hub, enrollment)
            (self.ids["site"],) = (await enrollments.get(hub, account, enrollment)).site_ids
            for row in await hub.store.rows("SELECT kind, id FROM device", {}):
                self.ids[row[0]] = row[1]
            hook = await webhooks.create(hub, account, "test", url="https://hook.example/", types=[])
            delivery, _ = await replays.send_test(hub, account, hook.row.id, "test")
            self.ids |= {"webhook": hook.row.id, "delivery": delivery.id}
            await deliveries.fan_out(hub)
            job, _ = await backfill.start(hub, account, "test", enrollment)
            self.ids["backfill"] = job.id


@contextmanager
def logging_as_it_was() -> Iterator[None]:
    handlers, level, configured = list(logging.root.handlers), logging.root.level, structlog.get_config()
    disabled = logging.root.manager.disable  # some commands tell themselves what would be logged
    try:
        yield
    finally:
        logging.root.handlers[:] = handlers
        logging.root.setLevel(level)
        logging.disable(disabled)
        structlog.configure(**configured)


@pytest.fixture
def registry_of_fakes(monkeypatch: pytest.MonkeyPatch) -> Iterator[Vendors]:
    """Logging as it was is put back: a command configures it for its process."""
    vendors = Vendors()
    vendors.sunny.readings = _readings
    monkeypatch.setattr(Registry, "load", lambda **_: vendors.registry())
    with logging_as_it_was():
        yield vendors
