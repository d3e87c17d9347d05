"""What a grant, a site or an app is taken for after a vendor's answers, lived through by a whole hub."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from cases.grants.conftest import DAY, HOUR, MINUTE, Stage
from cases.grants.vendor import Told, refusal
from joinder.errors import RateLimited, TransientError, VendorError
from joinder.services.grants.refresh import refresh
from joinder.services.join import credential_test, vendor_credentials
from joinder.services.readings.readings import fetch
from joinder.services.readings.sites import get_site
from joinder.services.records import health
from misbehaving import http_answer

HTML_401 = http_answer(b"<html>login</html>", "401 Unauthorized")
NO = http_answer(b"{}", "401 Unauthorized")
FORBIDDEN = http_answer(b"{}", "403 Forbidden")
AWAY = http_answer(b"", "503 Away")


async def read(stage: Stage, enrollment_id: str) -> VendorError | None:
    """As a client's read of a span nobody asked for yet."""
    (row,) = await stage.sites(enrollment_id)
    site, devices = await get_site(stage.hub, stage.account_id, row.id)
    end = int(stage.clock.at) // 900 * 900
    try:
        await fetch(stage.hub, site, devices, start=end - HOUR, end=end)
    except VendorError as error:
        return error
    return None


@pytest.mark.parametrize(
    "answer", [NO, FORBIDDEN, http_answer(b"{}", "402 Payment Required")], ids=["401", "403", "402"]
)
async def test_an_enrollment_refused_for_a_moment_is_polled_on(stage: Stage, vendor: Told, answer: bytes) -> None:
    (enrollment_id,) = await stage.fleet(1)
    vendor.data["*"] = answer
    await stage.move(enrollment_id, "poll")
    await stage.live(1)
    assert await stage.healths() != {"ok": 1}
    vendor.data.clear()
    await stage.live(HOUR + 10 * MINUTE)
    assert await stage.healths() == {"ok": 1}
    assert await stage.due_in(enrollment_id, "poll") <= HOUR
    assert await stage.told("needs_consent") == []


async def test_a_refusal_of_data_costs_one_renewal_and_readers_ask_no_more(stage: Stage, vendor: Told) -> None:
    (enrollment_id,) = await stage.fleet(1)
    vendor.data["*"] = NO
    await stage.move(enrollment_id, "poll")
    await stage.live(1)
    renewals, calls = len(vendor.token_calls), len(vendor.data_calls)
    assert renewals == 1
    for _ in range(5):
        assert isinstance(await read(stage, enrollment_id), TransientError)
    assert (len(vendor.token_calls), len(vendor.data_calls)) == (renewals, calls)


async def test_data_refused_twice_needs_the_owner(stage: Stage, vendor: Told) -> None:
    (enrollment_id,) = await stage.fleet(1)
    vendor.data["*"] = FORBIDDEN
    await stage.live(90 * MINUTE)
    assert await stage.healths() == {"needs_consent": 1}
    assert await stage.enroll("owner0") == enrollment_id
    vendor.data.clear()
    await stage.live(MINUTE)
    assert await stage.healths() == {"ok": 1}


async def test_data_refused_twice_of_a_fleet_is_the_operator_s_as_it_has_no_owner(stage: Stage, vendor: Told) -> None:
    given = {"vendor": "told", "type": "fleet", "clientID": "an-id", "clientSecret": "a-secret"}
    await vendor_credentials.create(stage.hub, stage.account_id, "test", name=None, credentials=given)
    await stage.live(MINUTE)
    assert await stage.healths() == {"ok": 1}
    vendor.data["*"] = FORBIDDEN
    await stage.live(4 * HOUR)
    ((enrollment_id,),) = await stage.hub.store.rows("SELECT id FROM enrollment", {})
    row = await stage.enrollment(enrollment_id)
    assert (row.health, row.health_actor) == ("operator_action", "operator")
    calls = len(vendor.data_calls)
    await stage.live(5 * HOUR)
    assert 4 <= len(vendor.data_calls) - calls <= 6
    vendor.data.clear()
    await stage.live(2 * HOUR)
    assert await stage.healths() == {"ok": 1}


async def test_data_refused_for_everybody_right_after_renewals_is_nobody_s_death(stage: Stage, vendor: Told) -> None:
    ids = await stage.fleet(6)
    vendor.data["*"] = NO
    await stage.live(3 * HOUR)
    assert await stage.healths() == {"suspected": 6}
    assert await stage.told("needs_consent", "lost_in_flight") == []
    calls = len(vendor.data_calls)
    await stage.live(3 * HOUR)
    assert len(vendor.data_calls) - calls <= 6 * 8
    vendor.data.clear()
    await stage.live(HOUR)
    assert await stage.healths() == {"ok": 6}
    assert {(await stage.due_in(one, "poll")) <= HOUR for one in ids} == {True}


async def test_one_grant_the_app_may_not_use_is_not_the_app_s_end(stage: Stage, vendor: Told) -> None:
    """The client id was switched; one old grant is refused for ever, the others renew."""
    ids = await stage.fleet(6)
    vendor.tokens["owner0"] = refusal("unauthorized_client")
    await stage.move(ids[0], "refresh")
    await stage.live(DAY)
    assert await stage.healths() == {"ok": 5, "needs_consent": 1}
    assert (await stage.enrollment(ids[0])).health == "needs_consent"
    assert (await stage.app()).rejected_at is None
    assert await stage.told("operator_action") == []
    assert set(vendor.token_calls) == {f"owner{number}" for number in range(6)}


async def test_one_page_of_a_gateway_proves_nothing(stage: Stage, vendor: Told) -> None:
    ids = await stage.fleet(8)
    vendor.tokens["*"] = HTML_401
    for enrollment_id in ids:
        await stage.move(enrollment_id, "refresh")
    await stage.live(1)
    vendor.tokens.clear()
    await stage.live(20 * MINUTE)
    assert await stage.healths() == {"ok": 8}
    assert {(await stage.grant(one)).version for one in ids} == {2}
    assert await stage.told("operator_action", "needs_consent", "suspected", "lost_in_flight") == []


async def test_a_suspected_app_is_tried_again_by_one_grant_at_a_time(stage: Stage, vendor: Told) -> None:
    ids = await stage.fleet(8)
    vendor.tokens["*"] = refusal("invalid_client", "401 Unauthorized")
    for enrollment_id in ids:
        await stage.move(enrollment_id, "refresh")
    await stage.live(4 * MINUTE)
    assert len(vendor.token_calls) == 2
    assert await stage.healths() == {"ok": 8}  # their access tokens live
    assert (await stage.app()).suspected_at is not None
    await stage.live(6 * MINUTE)
    assert (await stage.app()).rejected_at is not None
    assert await stage.healths() == {"operator_action": 8}
    calls = len(vendor.token_calls)
    await stage.live(6 * HOUR)
    assert 5 <= len(vendor.token_calls) - calls <= 8
    assert await stage.healths() == {"operator_action": 8}
    vendor.tokens.clear()
    await stage.live(2 * HOUR)
    assert await stage.healths() == {"ok": 8}
    assert await stage.told("needs_consent", "lost_in_flight") == []


@pytest.mark.parametrize("by", ["a test", "a changed secret"])
async def test_a_refused_app_is_healed_by_the_operator(stage: Stage, vendor: Told, by: str) -> None:
    await stage.fleet(2)
    vendor.tokens["*"] = refusal("invalid_client", "401 Unauthorized")
    await stage.live(3 * HOUR)  # by its second poll at the latest a token is over
    assert await stage.healths() == {"operator_action": 2}
    vendor.tokens.clear()
    if by == "a test":
        vendor.tokens["code"] = None
        assert "accepts" in await tested(stage, vendor)
    else:
        patch = {"credentials": {"clientSecret": "the-right-one"}}
        await vendor_credentials.change(stage.hub, stage.account_id, stage.credentials_id, "test", patch=patch)
    assert (await stage.app()).rejected_at is None
    await stage.live(2 * MINUTE)
    assert await stage.healths() == {"ok": 2}


async def tested(stage: Stage, vendor: Told) -> str:
    """A code nobody was given is refused by a vendor that knows the app."""
    vendor._token = lambda owner: refusal("invalid_grant")  # type: ignore[method-assign]
    told = await credential_test.test(stage.hub, stage.account_id, stage.credentials_id, "test")
    del vendor._token  # type: ignore[misc]
    return told


async def test_an_answer_about_the_old_secret_says_nothing_of_the_new_one(stage: Stage, vendor: Told) -> None:
    (enrollment_id,) = await stage.fleet(1)
    vendor.tokens["*"] = refusal("invalid_client", "401 Unauthorized")

    async def changes_meanwhile(_: str) -> None:
        vendor.before_token = None
        patch = {"credentials": {"clientSecret": "another-secret"}}
        await vendor_credentials.change(stage.hub, stage.account_id, stage.credentials_id, "test", patch=patch)

    vendor.before_token = changes_meanwhile
    with pytest.raises(VendorError):
        await refresh(stage.hub, enrollment_id)
    app = await stage.app()
    assert (app.suspected_at, app.rejected_at, app.version) == (None, None, 2)
    vendor.tokens.clear()
    await stage.live(MINUTE)
    assert await stage.healths() == {"ok": 1}
    assert (await stage.grant(enrollment_id)).version == 2
    assert len(set(vendor.secrets_seen)) == 2


@pytest.mark.parametrize("kind", ["strict", "reusable", "grace"])
async def test_many_cut_off_and_then_refused_once_are_no_losses(stage: Stage, vendor: Told) -> None:
    ids = await stage.fleet(10)
    vendor.tokens["*"] = b""
    for enrollment_id in ids:
        await stage.move(enrollment_id, "refresh")
    await stage.live(1)
    vendor.tokens["*"] = refusal("invalid_grant")
    await stage.live(8 * MINUTE)
    vendor.tokens.clear()
    await stage.live(HOUR)
    assert await stage.healths() == {"ok": 10}
    assert await stage.told("needs_consent", "lost_in_flight") == []


@pytest.mark.parametrize(
    ("kind", "ends"), [("strict", "lost_in_flight"), ("reusable", "needs_consent"), ("grace", "needs_consent")]
)
async def test_one_cut_off_and_refused_twice_has_ended(stage: Stage, vendor: Told, ends: str) -> None:
    (enrollment_id,) = await stage.fleet(1)
    vendor.tokens["*"] = b""
    await stage.move(enrollment_id, "refresh")
    await stage.live(1)
    vendor.tokens["*"] = refusal("invalid_grant")
    await stage.live(20 * MINUTE)
    assert await stage.healths() == {ends: 1}


async def test_one_withdrawn_site_leaves_the_others_alone_and_is_told(stage: Stage, vendor: Told) -> None:
    vendor.sites["ada"] = ("east", "west")
    enrollment_id = await stage.enroll("ada")
    await stage.live(MINUTE)
    vendor.data["west"] = FORBIDDEN
    await stage.live(20 * HOUR)
    assert await stage.healths() == {"ok": 1}
    assert await stage.due_in(enrollment_id, "poll") <= HOUR
    assert len(vendor.token_calls) <= 24  # no renewal a poll for a site that is refused
    east, west = await stage.sites(enrollment_id)
    assert (east.denied_at, west.denied_at is None, west.gone_at) == (None, False, None)
    await stage.live(6 * HOUR)
    east, west = await stage.sites(enrollment_id)
    assert (east.gone_at, west.gone_at is None) == (None, False)
    calls = vendor.data_calls.count("west")
    await stage.live(2 * HOUR)
    assert vendor.data_calls.count("west") == calls
    assert await stage.told("needs_consent") == []


async def test_a_site_refused_for_a_while_is_kept(stage: Stage, vendor: Told) -> None:
    vendor.sites["ada"] = ("east", "west")
    enrollment_id = await stage.enroll("ada")
    await stage.live(MINUTE)
    vendor.data["west"] = FORBIDDEN
    await stage.live(5 * HOUR)
    vendor.data.clear()
    await stage.live(HOUR)
    assert [(site.denied_at, site.gone_at) for site in await stage.sites(enrollment_id)] == [(None, None)] * 2


@pytest.mark.parametrize("count", [2, 3, 30])
async def test_all_sites_refused_is_the_grant_s(stage: Stage, vendor: Told, count: int) -> None:
    vendor.sites["ada"] = tuple(f"site-{number:02}" for number in range(count))
    await stage.enroll("ada")
    await stage.live(MINUTE)
    vendor.data["*"] = FORBIDDEN
    calls = len(vendor.data_calls)
    await stage.live(90 * MINUTE)
    assert await stage.healths() == {"needs_consent": 1}
    assert len(vendor.data_calls) - calls <= 14


async def test_a_consent_without_a_refresh_token_ends_with_its_access_token(stage: Stage, vendor: Told) -> None:
    """The grant of an earlier version: a new one like it is refused."""
    enrollment_id = await stage.enroll("ada", refresh_token=False)
    await stage.live(2 * HOUR + 10 * MINUTE)  # the second poll, and the proof
    row = await stage.enrollment(enrollment_id)
    assert (row.health, row.health_actor) == ("needs_consent", "owner")
    assert "refresh token" in (row.health_reason or "")


@pytest.mark.parametrize(
    "answer",
    [
        refusal("invalid_grant", "200 OK"),
        http_answer(b"error=invalid_grant&error_description=gone", "400 Bad Request"),
        http_answer(b'\xef\xbb\xbf{"Error": {"code": "INVALID_GRANT"}}', "400 Bad Request"),
    ],
    ids=["in a 200", "in a form", "an object in capitals"],
)
async def test_a_refusal_in_any_form_asks_the_owner(stage: Stage, vendor: Told, answer: bytes) -> None:
    (enrollment_id,) = await stage.fleet(1)
    vendor.tokens["*"] = answer
    await stage.move(enrollment_id, "refresh")
    await stage.live(10 * MINUTE)
    row = await stage.enrollment(enrollment_id)
    assert (row.health, row.health_actor) == ("needs_consent", "owner")
    assert health.NEXT_STEP[row.health].startswith("Send the owner")
    assert len(vendor.token_calls) == 2


async def test_the_same_unknown_refusal_for_a_day_asks_the_owner(stage: Stage, vendor: Told) -> None:
    ids = await stage.fleet(3)
    vendor.tokens["owner0"] = refusal("invalid_request")
    await stage.move(ids[0], "refresh")
    await stage.live(20 * HOUR)
    assert (await stage.enrollment(ids[0])).health == "degraded"
    assert (await stage.grant(ids[0])).intent_count == 0
    await stage.live(8 * HOUR)
    row = await stage.enrollment(ids[0])
    assert (row.health, row.health_actor) == ("needs_consent", "owner")
    assert "400 invalid_request" in (row.health_reason or "")
    assert await stage.healths() == {"ok": 2, "needs_consent": 1}


async def test_an_unknown_refusal_of_everybody_asks_nobody(stage: Stage, vendor: Told) -> None:
    ids = await stage.fleet(3)
    vendor.tokens["*"] = refusal("invalid_request")
    for enrollment_id in ids:
        await stage.move(enrollment_id, "refresh")
    await stage.live(27 * HOUR)
    assert await stage.healths() == {"degraded": 3}


async def test_a_pause_of_the_token_endpoint_holds_for_readers(stage: Stage, vendor: Told) -> None:
    (enrollment_id,) = await stage.fleet(1)
    await stage.move(enrollment_id, "refresh", DAY)
    await stage.move(enrollment_id, "poll", DAY)
    stage.clock.at += 2 * HOUR  # its access token is over
    vendor.tokens["*"] = http_answer(b"{}", "429 Too Many", retry_after="3600")
    errors = await asyncio.gather(*(read(stage, enrollment_id) for _ in range(25)))
    assert len(vendor.token_calls) == 1
    assert all(isinstance(error, RateLimited) and error.status == 503 for error in errors)
    stage.clock.at += 30 * MINUTE
    again = await read(stage, enrollment_id)
    assert isinstance(again, RateLimited)
    assert timedelta(minutes=25) < (again.retry_after or timedelta()) <= timedelta(minutes=31)
    assert len(vendor.token_calls) == 1
    vendor.tokens.clear()
    stage.clock.at += 31 * MINUTE
    assert await read(stage, enrollment_id) is None


async def test_a_pause_asked_of_a_second_grant_holds_for_the_app(stage: Stage, vendor: Told) -> None:
    ids = await stage.fleet(30)
    vendor.tokens["*"] = http_answer(b"{}", "429 Too Many", retry_after="3600")
    for enrollment_id in ids:
        await stage.move(enrollment_id, "refresh")
    await stage.live(40 * MINUTE)
    assert len(vendor.token_calls) <= 3
    vendor.tokens.clear()
    await stage.live(2 * HOUR)
    assert {(await stage.grant(one)).version >= 2 for one in ids} == {True}
    assert await stage.healths() == {"ok": 30}
