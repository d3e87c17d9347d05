"""Sites come and go with what grants list, and stay with whoever else may open them."""

from __future__ import annotations

from dataclasses import replace

import pytest
from sqlmodel import select

from joinder.clock import now
from joinder.errors import AuthorizationLost, SiteGone
from joinder.grants import Grant, GrantState
from joinder.runtime.hub import Hub
from joinder.services.admin import pausing, removal
from joinder.services.grants import site_rights
from joinder.services.grants.refresh import refresh
from joinder.services.join import enrollments, reconnect, stored_consents
from joinder.services.join.stored_consents import Origin
from joinder.services.readings import list_errors, live, sites
from joinder.services.readings.poll import poll
from joinder.services.readings.vendor_calls import with_grant
from joinder.services.records import accounts
from joinder.services.work import leases
from joinder.store.tables import Enrollment, LiveRow, SiteRow
from services.sharing import Nameless, Owners, due_at, health_of, history, readers, site_of, told, with_history


@pytest.fixture
def vendor() -> Nameless:
    made = Nameless()
    made.sites = {}
    return made


@pytest.fixture
def owners(hub: Hub, vendor: Nameless, account_id: str, credentials_id: str) -> Owners:
    return Owners(hub, vendor, account_id, credentials_id)


async def read(hub: Hub, *enrollment_ids: str) -> None:
    for enrollment_id in enrollment_ids:
        assert await poll(hub, enrollment_id)


async def listed(hub: Hub, account_id: str) -> list[str]:
    return await sites.site_ids(hub, account_id, after="", limit=50)


async def rights(hub: Hub, enrollment_id: str) -> set[str]:
    sql = "SELECT vendor_site_id FROM site_right WHERE enrollment_id = :id"
    return {row[0] for row in await hub.store.rows(sql, {"id": enrollment_id})}


async def test_a_renewal_that_lists_other_sites_attaches_and_detaches_them(
    hub: Hub, vendor: Nameless, owners: Owners, account_id: str
) -> None:
    vendor.sites["ada"] = ("a", "b")
    ada = await owners.consents("ada")
    await read(hub, ada)
    gone = await site_of(hub, "a")
    kept = await with_history(hub, gone)
    vendor.sites["ada"] = ("b", "c")
    await refresh(hub, ada)
    assert await rights(hub, ada) == {"b", "c"}
    a, c = await site_of(hub, "a"), await site_of(hub, "c")
    assert a.gone_at is not None
    assert (c.gone_at, c.enrollment_id) == (None, ada)
    assert await told(hub, "site.gone") == [
        ("site.gone", ada, {"siteID": a.id, "reason": site_rights.NOT_LISTED}),
    ]
    assert (await told(hub, "site.discovered"))[-1] == ("site.discovered", ada, {"siteID": c.id})
    assert await due_at(hub, "poll", ada) <= now()
    await read(hub, ada)
    assert await listed(hub, account_id) == sorted([(await site_of(hub, "b")).id, c.id])
    assert kept <= await history(hub)
    assert (await enrollments.get(hub, account_id, ada)).site_ids == await listed(hub, account_id)


async def test_a_site_that_comes_back_keeps_its_id(hub: Hub, vendor: Nameless, owners: Owners, account_id: str) -> None:
    vendor.sites["ada"] = ("a", "b")
    ada = await owners.consents("ada")
    await read(hub, ada)
    before = await site_of(hub, "a")
    vendor.sites["ada"] = ("b",)
    await refresh(hub, ada)
    vendor.sites["ada"] = ("a", "b")
    await refresh(hub, ada)
    after = await site_of(hub, "a")
    assert (after.id, after.gone_at) == (before.id, None)
    assert (await told(hub, "site.discovered"))[-1] == ("site.discovered", ada, {"siteID": before.id})
    assert before.id in await listed(hub, account_id)


async def test_a_renewal_that_names_no_site_says_nothing(hub: Hub, vendor: Nameless, owners: Owners) -> None:
    vendor.sites["ada"] = ("a", "b")
    ada = await owners.consents("ada")
    vendor.sites["ada"] = ()
    await refresh(hub, ada)
    await refresh(hub, ada)
    assert await rights(hub, ada) == {"a", "b"}
    assert await told(hub, "site.gone") == []
    assert await with_grant(hub, ada, lambda ctx, grant: _site_ids(grant)) == ("a", "b")


async def _site_ids(grant: Grant) -> tuple[str, ...]:
    return grant.site_ids


async def test_what_a_crash_left_out_the_next_renewal_makes_up_for(
    hub: Hub, vendor: Nameless, owners: Owners, monkeypatch: pytest.MonkeyPatch
) -> None:
    vendor.sites["ada"] = ("a",)
    ada = await owners.consents("ada")
    vendor.sites["ada"] = ("a", "b")

    async def dies(*_: object) -> None:
        raise RuntimeError

    with monkeypatch.context() as patched:
        patched.setattr(site_rights, "list_now", dies)
        await refresh(hub, ada)
    assert await rights(hub, ada) == {"a"}
    await refresh(hub, ada)
    assert await rights(hub, ada) == {"a", "b"}


async def test_a_new_consent_of_the_same_owner_lists_all_there_is(
    hub: Hub, vendor: Nameless, owners: Owners, account_id: str
) -> None:
    vendor.sites["ada"] = ("a", "b")
    ada = await owners.consents("ada")
    await read(hub, ada)
    await owners.must_act(ada)
    vendor.sites["ada"] = ("b",)
    assert await owners.consents("ada") == ada
    assert (await site_of(hub, "a")).gone_at is not None
    assert await listed(hub, account_id) == [(await site_of(hub, "b")).id]


async def test_a_consent_that_waits_for_approval_takes_nothing_away(
    hub: Hub, vendor: Nameless, owners: Owners, account_id: str, credentials_id: str
) -> None:
    ada = await owners.consents("ada")
    await owners.must_act(ada)
    pending = vendor.consent("ada")
    pending = replace(pending, grant=replace(pending.grant, site_ids=(), state=GrantState.PENDING_APPROVAL))
    async with hub.store.write(account_id, ada) as session:
        row = await enrollments.locked(hub, session, ada)
        await stored_consents.store(
            hub, session, account_id, pending, Origin(vendor="strict", credentials_id=credentials_id), replaces=row
        )
    assert (await site_of(hub, "site-of-ada")).gone_at is None


async def test_a_gone_site_is_not_asked_about_and_what_is_stored_of_it_is_served_as_stale(
    hub: Hub, vendor: Nameless, owners: Owners, account_id: str
) -> None:
    vendor.sites["ada"] = ("a", "b")
    ada = await owners.consents("ada")
    await read(hub, ada)
    site = await site_of(hub, "a")
    async with hub.store.write() as session:
        session.add(LiveRow(site_id=site.id, measured_at=now() - 60, fetched_at=now() - 86_400, solar_w=5.0))
    vendor.sites["ada"] = ("b",)
    await refresh(hub, ada)
    power = await live.get_live(hub, account_id, site.id)
    assert (power.solar_w, power.stale) == (5.0, True)
    shown, _ = await sites.get_site(hub, account_id, site.id)
    assert shown.gone_at is not None
    with pytest.raises(SiteGone):
        await sites.refresh_site(hub, shown)
    assert await list_errors.of_vendors(hub, account_id) == {}


async def test_two_owners_of_one_site_both_stay(hub: Hub, vendor: Nameless, owners: Owners, account_id: str) -> None:
    vendor.sites = {"ada": ("home", "barn"), "bob": ("home",)}
    ada, bob = await owners.consents("ada"), await owners.consents("bob")
    assert ada != bob
    await read(hub, ada, bob)
    assert await readers(hub, "home", "barn") == [ada, ada]
    assert (await rights(hub, ada), await rights(hub, bob)) == ({"home", "barn"}, {"home"})
    assert [await health_of(hub, one) for one in (ada, bob)] == ["ok", "ok"]
    home = (await site_of(hub, "home")).id
    assert (await enrollments.get(hub, account_id, bob)).site_ids == [home]
    assert len(await listed(hub, account_id)) == 2
    await refresh(hub, ada)
    await refresh(hub, bob)
    assert vendor.revoked == set()


@pytest.mark.parametrize("first_goes", [True, False])
async def test_neither_of_two_owners_loses_data_when_the_other_goes(
    hub: Hub, vendor: Nameless, owners: Owners, account_id: str, first_goes: bool
) -> None:
    vendor.sites = {"ada": ("home",), "bob": ("home",)}
    ada, bob = await owners.consents("ada"), await owners.consents("bob")
    await read(hub, ada, bob)
    home = await site_of(hub, "home")
    kept = await with_history(hub, home)
    gone, left = (ada, bob) if first_goes else (bob, ada)
    await enrollments.delete(hub, account_id, gone, "test")
    after = await site_of(hub, "home")
    assert (after.id, after.enrollment_id, after.gone_at) == (home.id, left, None)
    assert await history(hub) == kept
    assert await listed(hub, account_id) == [home.id]
    moves = await told(hub, "enrollment.site_moved")
    expected = [(ada, {"siteID": home.id, "to": bob}), (bob, {"siteID": home.id, "from": ada})]
    assert [move[1:] for move in moves] == (expected if first_goes else [])
    await read(hub, left)


async def test_what_is_said_to_go_is_what_goes(hub: Hub, vendor: Nameless, owners: Owners) -> None:
    vendor.sites = {"ada": ("home", "barn"), "bob": ("home",)}
    ada, bob = await owners.consents("ada"), await owners.consents("bob")
    await with_history(hub, await site_of(hub, "home"))
    alone, both = await removal.belongings(hub, [ada]), await removal.belongings(hub, [ada, bob])
    assert (alone.site_names, alone.devices, alone.intervals) == (["barn"], 0, 0)
    assert (sorted(both.site_names), both.devices, both.intervals) == (["barn", "home"], 1, 2)


async def test_the_last_owner_takes_the_site_along(hub: Hub, vendor: Nameless, owners: Owners, account_id: str) -> None:
    vendor.sites = {"ada": ("home",), "bob": ("home",)}
    ada, bob = await owners.consents("ada"), await owners.consents("bob")
    await with_history(hub, await site_of(hub, "home"))
    await enrollments.delete(hub, account_id, ada, "test")
    await enrollments.delete(hub, account_id, bob, "test")
    for table in ("site", "device", "interval", "site_right"):
        assert await hub.store.rows(f"SELECT 1 FROM {table}", {}) == [], table  # noqa: S608


async def test_history_waits_for_an_owner_who_must_act_where_nobody_else_is_left(
    hub: Hub, vendor: Nameless, owners: Owners, account_id: str
) -> None:
    vendor.sites = {"ada": ("home",), "bob": ("home",)}
    ada, bob = await owners.consents("ada"), await owners.consents("bob")
    kept = await with_history(hub, await site_of(hub, "home"))
    await owners.must_act(bob)
    await enrollments.delete(hub, account_id, ada, "test")
    assert await readers(hub, "home") == [bob]
    assert await history(hub) == kept


async def test_who_reads_takes_over_before_who_is_paused_and_before_who_must_act(
    hub: Hub, vendor: Nameless, owners: Owners, account_id: str
) -> None:
    vendor.sites = dict.fromkeys(("ada", "bob", "cyd", "dan"), ("home",))
    ada, bob, cyd, dan = [await owners.consents(owner) for owner in vendor.sites]
    await owners.must_act(bob)
    await pausing.pause(hub, account_id, cyd, "test")
    for ends, follows in ((ada, dan), (dan, cyd), (cyd, bob)):
        await enrollments.delete(hub, account_id, ends, "test")
        assert await readers(hub, "home") == [follows]


async def test_a_site_is_handed_over_when_its_owner_must_act(hub: Hub, vendor: Nameless, owners: Owners) -> None:
    vendor.sites = {"ada": ("home",), "bob": ("home",)}
    ada, bob = await owners.consents("ada"), await owners.consents("bob")
    await read(hub, ada, bob)
    async with hub.store.write() as session:
        await leases.schedule(session, "poll", bob, leases.NEVER)
    await owners.must_act(ada)
    await site_rights.hand_over(hub, ada)
    home = await site_of(hub, "home")
    assert home.enrollment_id == bob
    assert await due_at(hub, "poll", bob) <= now()
    assert [event[1:] for event in await told(hub, "enrollment.site_moved")] == [
        (ada, {"siteID": home.id, "to": bob}),
        (bob, {"siteID": home.id, "from": ada}),
    ]
    await site_rights.hand_over(hub, bob)  # who lives keeps what it reads
    assert await readers(hub, "home") == [bob]


async def test_a_grant_that_the_vendor_calls_dead_hands_its_sites_over(
    hub: Hub, vendor: Nameless, owners: Owners, monkeypatch: pytest.MonkeyPatch
) -> None:
    vendor.sites = {"ada": ("home",), "bob": ("home",)}
    ada, bob = await owners.consents("ada"), await owners.consents("bob")
    vendor.refuses.add("ada")
    with pytest.raises(AuthorizationLost):
        await refresh(hub, ada)
    assert await readers(hub, "home") == [ada]
    later = float(now() + 3600)
    monkeypatch.setattr("joinder.clock.civil_time", lambda: later)
    with pytest.raises(AuthorizationLost):
        await refresh(hub, ada)
    assert await health_of(hub, ada) == "needs_consent"
    assert await readers(hub, "home") == [bob]


async def test_a_poll_takes_over_what_nobody_handed_over(hub: Hub, vendor: Nameless, owners: Owners) -> None:
    vendor.sites = {"ada": ("home",), "bob": ("home", "barn")}
    ada, bob = await owners.consents("ada"), await owners.consents("bob")
    await owners.must_act(ada, "lost_in_flight")
    await read(hub, bob)
    assert await readers(hub, "home", "barn") == [bob, bob]
    assert (await site_of(hub, "home")).fetched_at is not None


async def test_a_detached_site_goes_to_another_that_lives(hub: Hub, vendor: Nameless, owners: Owners) -> None:
    vendor.sites = {"ada": ("home", "barn"), "bob": ("home",)}
    ada, bob = await owners.consents("ada"), await owners.consents("bob")
    vendor.sites["ada"] = ("barn",)
    await refresh(hub, ada)
    assert await readers(hub, "home", "barn") == [bob, ada]
    assert await told(hub, "site.gone") == []


async def test_the_owner_of_a_handed_over_site_may_reconnect_and_finds_it_read(
    hub: Hub, vendor: Nameless, owners: Owners
) -> None:
    vendor.sites = {"ada": ("home",), "bob": ("home",)}
    ada, bob = await owners.consents("ada"), await owners.consents("bob")
    await owners.must_act(ada)
    await site_rights.hand_over(hub, ada)
    async with hub.store.read() as session:
        row = await session.get(Enrollment, ada)
        assert row is not None
        assert await reconnect.is_same_owner(session, row, vendor.consent("ada"))
    assert await owners.consents("ada") == ada
    assert await readers(hub, "home") == [bob]
    await read(hub, bob)
    assert [await health_of(hub, one) for one in (ada, bob)] == ["ok", "ok"]


async def test_sites_of_other_accounts_are_nobodys_business(
    hub: Hub, vendor: Nameless, owners: Owners, account_id: str
) -> None:
    other = (await accounts.create_account(hub, "other")).id
    vendor.sites = {"ada": ("home",), "eve": ("home",)}
    ada = await owners.consents("ada")
    async with hub.store.write(other) as session:
        eve = await stored_consents.store(hub, session, other, vendor.consent("eve"), Origin(vendor="strict"))
    await owners.must_act(ada)
    await site_rights.hand_over(hub, ada)
    await site_rights.take_over(hub, eve.id)
    await enrollments.delete(hub, account_id, ada, "test")
    async with hub.store.read() as session:
        left = (await session.execute(select(SiteRow))).scalars().all()
    assert [(site.account_id, site.enrollment_id) for site in left] == [(other, eve.id)]
    assert await told(hub, "enrollment.site_moved") == []


async def test_the_same_key_again_is_the_same_owner(
    hub: Hub, vendor: Nameless, owners: Owners, account_id: str, credentials_id: str
) -> None:
    ada = await owners.consents("ada")
    again = vendor.consent("ada")  # the first token anew: the same secrets
    other = replace(again, grant=replace(again.grant, secrets=vendor.consent("bob").grant.secrets))
    made = []
    for consent in (again, other):
        async with hub.store.write(account_id) as session:
            row = await stored_consents.store(
                hub, session, account_id, consent, Origin(vendor="strict", credentials_id=credentials_id)
            )
            made.append(row.id)
    assert made[0] == ada
    assert made[1] != ada
