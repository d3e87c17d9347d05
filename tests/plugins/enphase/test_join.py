"""Consent, refresh under each rotation rule, and the installer's login, against the simulated cloud."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

import joinder_enphase
from joinder import AuthorizeRequest, Callback, Flow, Grant, Secrets, oauth
from joinder.errors import (
    AppCredentialsRejected,
    AuthorizationLost,
    ConsentDenied,
    ConsentInvalid,
    OutcomeUnknown,
    RateLimited,
    TransientError,
    UnexpectedPayload,
    VendorError,
)
from joinder_enphase.simulator import DEVELOPER_APP, PARTNER_APP

PARTNER_CALLBACK = Callback(values=Secrets({}))


async def test_authorize_url_carries_state_and_redirect_and_no_secret(stand: Any) -> None:
    request = AuthorizeRequest(state="s-123456", redirect_uri="https://hub.example/join/enphase/auth-granted")
    url = await stand.registry.build_authorize_url("enphase", stand.context(), request)
    assert url.startswith("https://api.enphaseenergy.com/oauth/authorize?")
    assert parse_qs(urlsplit(url).query) == {
        "response_type": ["code"],
        "client_id": [DEVELOPER_APP["clientID"]],
        "redirect_uri": [request.redirect_uri],
        "state": ["s-123456"],
    }


@pytest.mark.parametrize(("owner", "site_ids"), [("grants", ("4100001",)), ("two-sites", ("4100001", "4100002"))])
async def test_an_owner_joins(stand: Any, owner: str, site_ids: tuple[str, ...]) -> None:
    consent = await stand.consent(owner)
    now = stand.cloud.clock.now()
    assert consent.account_id == f"sim-{owner}"
    assert consent.grant.site_ids == site_ids
    assert abs(consent.grant.expires_at - now - timedelta(seconds=86_399)) < timedelta(seconds=30)
    assert abs(consent.grant.refresh_expires_at - now - timedelta(seconds=2_629_746)) < timedelta(seconds=30)


async def test_owners_who_cannot_join(stand: Any) -> None:
    with pytest.raises(ConsentDenied):
        await stand.consent("denies")
    with pytest.raises(ConsentInvalid):
        await stand.consent("no-sites")


async def test_a_code_works_once_and_only_for_its_redirect_uri(stand: Any) -> None:
    first = await stand.callback("grants")
    with pytest.raises(ConsentInvalid):
        await stand.registry.handle_callback(
            "enphase", stand.context(), replace(first, redirect_uri="https://elsewhere.example/cb")
        )
    second = await stand.callback("grants")
    await stand.registry.handle_callback("enphase", stand.context(), second)
    with pytest.raises(ConsentInvalid):
        await stand.registry.handle_callback("enphase", stand.context(), second)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"clientSecret": "wrong-secret"}, AppCredentialsRejected),
        ({"clientID": "wrong-client"}, AppCredentialsRejected),
        ({"apiKey": "key-of-another-app"}, AppCredentialsRejected),
    ],
)
async def test_a_wrong_app_is_the_operators_business(
    stand: Any, change: dict[str, str], expected: type[VendorError]
) -> None:
    callback = await stand.callback("grants")
    with pytest.raises(expected) as caught:
        await stand.registry.handle_callback("enphase", stand.context({**DEVELOPER_APP, **change}), callback)
    _assert_silent(caught.value, *DEVELOPER_APP.values(), *change.values(), callback.values["code"])


async def test_killed_refresh_tokens_work_once(stand: Any) -> None:
    grant = (await stand.consent()).grant
    renewed = await stand.registry.refresh("enphase", stand.context(), grant)
    assert renewed.site_ids == grant.site_ids
    assert renewed.secrets["refresh_token"] != grant.secrets["refresh_token"]
    await stand.registry.fetch_site("enphase", stand.context(), renewed, "4100001")
    with pytest.raises(AuthorizationLost) as caught:
        await stand.registry.refresh("enphase", stand.context(), grant)
    _assert_silent(caught.value, *grant.secrets.values())
    with pytest.raises(AuthorizationLost):
        await stand.registry.refresh("enphase", stand.context(), renewed)
    state = await stand.state()
    assert (state["refreshes"], state["reuse_seen"], state["families_revoked"]) == (1, 1, 1)


async def test_kept_refresh_tokens_work_again(stand: Any) -> None:
    await stand.browser.post("/_rotation", json={"mode": "keep"})
    grant = (await stand.consent()).grant
    for _ in range(3):
        await stand.registry.refresh("enphase", stand.context(), grant)
    assert (await stand.state())["families_revoked"] == 0


async def test_graced_refresh_tokens_work_for_a_while(stand: Any) -> None:
    await stand.browser.post("/_rotation", json={"mode": "grace", "grace_seconds": 60})
    grant = (await stand.consent()).grant
    await stand.registry.refresh("enphase", stand.context(), grant)
    renewed = await stand.registry.refresh("enphase", stand.context(), grant)
    stand.cloud.clock.shift(120)
    with pytest.raises(AuthorizationLost):
        await stand.registry.refresh("enphase", stand.context(), grant)
    with pytest.raises(AuthorizationLost):
        await stand.registry.refresh("enphase", stand.context(), renewed)


async def test_an_unknown_rotation_is_refused(stand: Any) -> None:
    assert (await stand.browser.post("/_rotation", json={"mode": "sometimes"})).status_code == 400


async def test_a_refresh_token_dies_of_age(stand: Any) -> None:
    grant = (await stand.consent()).grant
    stand.cloud.clock.shift(2_629_800)
    with pytest.raises(AuthorizationLost):
        await stand.registry.refresh("enphase", stand.context(), grant)


def test_a_kept_refresh_token_keeps_its_age() -> None:
    now = datetime(2026, 11, 21, tzinfo=UTC)
    before = Grant(secrets=Secrets({"refresh_token": "old-refresh"}), refresh_expires_at=now, site_ids=("1",))
    after = oauth.granted(
        joinder_enphase.VENDOR.oauth2, oauth.Token("new-access", None, None, {}), now + timedelta(days=1), before
    )
    assert after.refresh_expires_at == now
    assert dict(after.secrets) == {"access_token": "new-access", "refresh_token": "old-refresh"}
    assert after.site_ids == ("1",)


async def test_consent_withdrawn_later(stand: Any) -> None:
    grant, site = await stand.home("revokes-later")
    with pytest.raises(AuthorizationLost):
        await stand.registry.refresh("enphase", stand.context(), grant)
    now = stand.cloud.clock.now()
    with pytest.raises(AuthorizationLost):
        await stand.readings(grant, site, now - timedelta(hours=1), now, live=True)


async def test_refresh_with_a_wrong_app(stand: Any) -> None:
    grant = (await stand.consent()).grant
    with pytest.raises(AppCredentialsRejected):
        await stand.registry.refresh("enphase", stand.context({**DEVELOPER_APP, "clientSecret": "rotated"}), grant)
    await stand.registry.refresh("enphase", stand.context(), grant)


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        ("lost", OutcomeUnknown),
        ("cut", OutcomeUnknown),
        ("html", UnexpectedPayload),
        ("5xx", TransientError),
        ("429", RateLimited),
    ],
)
async def test_a_refresh_that_goes_wrong_once(stand: Any, fault: str, expected: type[VendorError]) -> None:
    grant = (await stand.consent()).grant
    await stand.fault(fault, "/oauth/token", times=1)
    with pytest.raises(VendorError) as caught:
        await stand.registry.refresh("enphase", stand.context(), grant)
    assert type(caught.value) is expected
    _assert_silent(caught.value, *grant.secrets.values(), *DEVELOPER_APP.values())
    if fault not in ("lost", "cut"):
        await stand.registry.refresh("enphase", stand.context(), grant)


async def test_an_installer_sees_all_pages(stand: Any) -> None:
    consent = await stand.registry.handle_callback("enphase", stand.context(PARTNER_APP), PARTNER_CALLBACK)
    assert len(consent.grant.site_ids) == 104
    assert (await stand.state())["calls"] == {"systems": 2}
    renewed = await stand.registry.refresh("enphase", stand.context(PARTNER_APP), consent.grant)
    assert renewed.site_ids == consent.grant.site_ids
    stand.cloud.clock.shift(5_000_000)
    await stand.registry.refresh("enphase", stand.context(PARTNER_APP), renewed)
    assert (await stand.state())["reuse_seen"] == 0


async def test_a_wrong_installer_login_is_the_operators_business(stand: Any) -> None:
    wrong = {**PARTNER_APP, "password": "not-the-password"}
    with pytest.raises(AppCredentialsRejected) as caught:
        await stand.registry.handle_callback("enphase", stand.context(wrong), PARTNER_CALLBACK)
    _assert_silent(caught.value, *wrong.values())


async def test_the_developer_app_has_no_password_grant(stand: Any) -> None:
    app = {**PARTNER_APP, **{name: DEVELOPER_APP[name] for name in ("clientID", "clientSecret", "apiKey")}}
    with pytest.raises(AppCredentialsRejected):
        await stand.registry.handle_callback("enphase", stand.context(app), PARTNER_CALLBACK)


async def test_an_unknown_app_gets_no_consent_page(stand: Any) -> None:
    query = {"client_id": "nobody", "response_type": "code", "redirect_uri": "https://hub.example/cb"}
    assert (await stand.browser.get("/oauth/authorize", params=query)).status_code == 400


def test_credential_types_of_the_vendor(stand: Any) -> None:
    vendor = stand.registry.vendor("enphase")
    assert {kind.type: kind.flow for kind in vendor.app_credentials} == {
        "developerapp": Flow.REDIRECT,
        "partnerapp": Flow.OPERATOR,
    }
    for app in (DEVELOPER_APP, PARTNER_APP):
        fields = {field.name for field in vendor.app_credential(app["type"]).fields}
        assert fields == set(app) - {"vendor", "type"}


def _assert_silent(error: VendorError, *secrets: str) -> None:
    said = f"{error} {error!r} {error.detail} {error.__cause__!r} {vars(error)}"
    names = ("enphase", "developerapp", "partnerapp")
    assert not [secret for secret in secrets if secret not in names and secret in said]
