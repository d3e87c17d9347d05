"""Trouble of one door while the other one is well, and refusals that look like somebody else's."""

from __future__ import annotations

from dataclasses import replace

import pytest
from sqlmodel import col, select

from cases.grants.conftest import DAY, HOUR, MINUTE, Stage
from cases.grants.vendor import Told, refusal
from joinder import Context, Grant
from joinder.errors import AppCredentialsRejected
from joinder.services.grants import apps
from joinder.services.join import vendor_credentials
from joinder.services.readings.sites import refresh_site
from joinder.store.sites import read_sites_of
from joinder.store.tables import Enrollment, Event
from misbehaving import http_answer

FORBIDDEN = http_answer(b"", "403 Forbidden")


async def changes(stage: Stage) -> list[str]:
    """The states webhooks were told of, in order."""
    async with stage.hub.store.read() as session:
        query = select(Event).where(col(Event.type) == "enrollment.health").order_by(col(Event.id))
        return [str(event.data["to"]) for event in (await session.execute(query)).scalars()]


@pytest.mark.parametrize("life_s", [3600, 600, 50])
@pytest.mark.parametrize(("status", "state"), [("503 Away", "degraded"), ("402 Pay", "operator_action")])
async def test_a_renewed_token_does_not_hide_that_no_read_succeeds(
    stage: Stage, vendor: Told, life_s: int, status: str, state: str
) -> None:
    vendor.life_s = life_s
    await stage.fleet(1)
    vendor.data["*"] = http_answer(b"", status)
    await stage.live(6 * HOUR)
    assert await changes(stage) == ["ok", state]
    assert len(vendor.data_calls) <= 50
    vendor.data.clear()
    await stage.live(HOUR + 20 * MINUTE)
    assert await stage.healths() == {"ok": 1}


def data_refuse_the_app(monkeypatch: pytest.MonkeyPatch) -> None:
    ask = Told._ask

    async def asked(self: Told, ctx: Context, grant: Grant, site_id: str) -> None:
        if self.data:
            self.data_calls.append(site_id)
            raise AppCredentialsRejected("The vendor refuses the app's key")
        await ask(self, ctx, grant, site_id)

    monkeypatch.setattr(Told, "_ask", asked)


async def test_a_renewed_token_does_not_hide_that_the_data_refuse_the_app(
    stage: Stage, vendor: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    data_refuse_the_app(monkeypatch)
    ids = await stage.fleet(3)
    vendor.data["*"] = FORBIDDEN
    await stage.live(2 * HOUR)
    assert await stage.healths() == {"operator_action": 3}
    for one in ids:
        await stage.move(one, "refresh")
    await stage.live(HOUR)
    assert await stage.healths() == {"operator_action": 3}
    vendor.data.clear()
    await stage.live(2 * HOUR)
    assert await stage.healths() == {"ok": 3}


async def test_what_one_door_refuses_the_app_proves_nothing_of_the_other(
    stage: Stage, vendor: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    data_refuse_the_app(monkeypatch)
    ids = await stage.fleet(2)
    version = (await stage.app()).version
    await apps.refused(stage.hub, stage.credentials_id, version, "data", is_proved=False)
    test_at = (await stage.app()).test_at
    stage.clock.at += 10 * MINUTE
    vendor.tokens["*"] = refusal("invalid_client", "401 Unauthorized")
    await stage.move(ids[0], "refresh")
    await stage.move(ids[0], "poll", DAY)
    await stage.move(ids[1], "poll", DAY)
    await stage.live(1)
    app = await stage.app()
    assert (app.suspected_by, app.rejected_at, app.test_at) == ("data", None, test_at)
    vendor.tokens.clear()
    await stage.live(2 * DAY)
    assert await stage.healths() == {"ok": 2}
    assert (await stage.app()).suspected_at is None


async def test_a_refused_app_that_is_the_plugin_s_own_is_told_and_asked_seldom(
    stage: Stage, vendor: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = await stage.enroll("ada")
    await stage.live(MINUTE)
    async with stage.hub.store.write(one) as session:
        row = await session.get(Enrollment, one)
        assert row is not None
        row.credentials_id = None
    calls = []

    async def refuse(*_: object) -> Grant:
        calls.append(stage.clock.at)
        raise AppCredentialsRejected("The vendor refuses the app")

    monkeypatch.setattr(stage.hub.registry, "refresh", refuse)
    await stage.move(one, "refresh")
    await stage.live(6 * HOUR)
    row = await stage.enrollment(one)
    assert (row.health, row.health_actor) == ("operator_action", "operator")
    assert len(calls) <= 20


@pytest.mark.parametrize("is_read_before", [False, True])
async def test_two_of_three_sites_refused_ask_no_owner(stage: Stage, vendor: Told, is_read_before: bool) -> None:
    vendor.sites["ada"] = ("a", "b", "c")
    one = await stage.enroll("ada")
    await stage.live(MINUTE)
    first, second, third = await read_sites_of(stage.hub.store, one)
    vendor.data[first.vendor_id] = vendor.data[second.vendor_id] = FORBIDDEN
    if is_read_before:  # a success so short before the poll is not noted again within it
        stage.clock.at += 30 * MINUTE
        await refresh_site(stage.hub, third)
        stage.clock.at += 30
        await stage.move(one, "poll")
    await stage.live(20 * HOUR)
    assert await changes(stage) == ["ok"]
    await stage.live(6 * HOUR)
    gone = {site.vendor_id: site.gone_at is not None for site in await stage.sites(one)}
    assert gone == {first.vendor_id: True, second.vendor_id: True, third.vendor_id: False}
    assert await changes(stage) == ["ok"]


async def test_a_new_name_of_the_app_is_no_new_secret(stage: Stage, vendor: Told) -> None:
    ids = await stage.fleet(6)
    vendor.tokens["owner0"] = refusal("unauthorized_client")
    await stage.move(ids[0], "refresh")
    await stage.live(DAY)
    assert (await stage.enrollment(ids[0])).health == "needs_consent"
    vendor.tokens.clear()
    for patch in ({"name": "renamed"}, {"credentials": {"clientSecret": "another"}}):
        stage.clock.at += 5
        await vendor_credentials.change(stage.hub, stage.account_id, stage.credentials_id, "test", patch=patch)
    await stage.live(HOUR)
    assert await stage.healths() == {"ok": 6}


async def test_a_refusal_of_a_site_that_is_read_no_more_is_forgotten(
    stage: Stage, vendor: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next renewal lists a site that another owner's grant reads already, and nothing else."""
    await stage.enroll("ben")
    ada = await stage.enroll("ada")
    await stage.live(MINUTE)
    vendor.data["site-of-ada"] = FORBIDDEN
    renew = stage.hub.registry.refresh

    async def renewed(name: str, ctx: Context, grant: Grant) -> Grant:
        return replace(await renew(name, ctx, grant), site_ids=("site-of-ben",))

    monkeypatch.setattr(stage.hub.registry, "refresh", renewed)
    await stage.move(ada, "poll")
    await stage.live(2 * DAY)
    assert await stage.healths() == {"ok": 2}
    assert await stage.told("needs_consent") == []
