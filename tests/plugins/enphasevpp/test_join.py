"""Consent, application and approval, and the app's own token, against the simulated cloud."""

from __future__ import annotations

import base64
import json
from contextlib import nullcontext
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from joinder import AuthorizeRequest, Callback, GrantState, Secrets
from joinder.errors import (
    AppCredentialsRejected,
    ApprovalPending,
    ApprovalRefused,
    AuthorizationLost,
    ConsentDenied,
    ConsentInvalid,
    OperatorActionNeeded,
    TransientError,
    UnexpectedPayload,
    Unexplained,
    VendorError,
)
from joinder_enphase_vpp.simulator_cloud import APP, PROGRAM_ID, SITES

NOW = datetime(2026, 11, 20, 20, tzinfo=UTC)
SITE = str(SITES["grants"].system_id)
APPLICATIONS = "/api/v1/applications"
REDIRECT_URI = "https://hub.example/join/enphasevpp/auth-granted"


def moved(stand: Any, seconds: float) -> None:
    stand.cloud.clock.freeze(NOW.timestamp() + seconds)


async def test_authorize_url_is_built_from_the_credential(stand: Any) -> None:
    request = AuthorizeRequest(state="s-123456", redirect_uri=REDIRECT_URI)
    app = {**APP, "consentScope": "enrol read", "consentAudience": "programme-7"}
    url = await stand.registry.build_authorize_url("enphasevpp", stand.context(app), request)
    assert url.startswith(APP["consentAuthorizeURL"] + "?")
    assert parse_qs(urlsplit(url).query) == {
        "response_type": ["code"],
        "client_id": [APP["consentClientID"]],
        "redirect_uri": [REDIRECT_URI],
        "scope": ["enrol read"],
        "audience": ["programme-7"],
        "state": ["s-123456"],
    }


async def test_a_credential_without_consent_addresses_says_so(stand: Any) -> None:
    app = {name: value for name, value in APP.items() if not name.startswith("consent")}
    request = AuthorizeRequest(state="s-123456", redirect_uri=REDIRECT_URI)
    with pytest.raises(OperatorActionNeeded, match="consentAuthorizeURL, consentTokenURL, consentClientID"):
        await stand.registry.build_authorize_url("enphasevpp", stand.context(app), request)


async def test_an_application_passes_through_its_review(stand: Any) -> None:
    moved(stand, 0)
    grant = (await stand.consent()).grant
    assert grant.state is GrantState.PENDING_APPROVAL
    assert (grant.site_ids, dict(grant.secrets)) == ((SITE,), {})
    number = str(stand.cloud.applications[int(SITE)].application_id)
    assert grant.facts == {"site_id": SITE, "program_id": PROGRAM_ID, "application_id": number}
    for seconds, state in ((0, "pending_approval"), (1, "pending_approval"), (2, "pending_approval"), (3, "active")):
        moved(stand, seconds + 0.5)
        with pytest.raises(ApprovalPending) if seconds < 3 else nullcontext():
            await stand.site(grant)
        assert (await stand.refresh(grant)).state == state
    approved = await stand.refresh(grant)
    assert (approved.facts, approved.site_ids) == (grant.facts, grant.site_ids)
    before = await stand.state()
    assert await stand.refresh(approved) == approved
    assert await stand.state() == before
    assert (before["applications"], before["calls"]["POST applications"]) == (1, 1)


async def test_one_question_is_one_call_until_it_is_approved(stand: Any) -> None:
    moved(stand, 0)
    grant = (await stand.consent()).grant
    before = (await stand.state())["calls"]
    await stand.refresh(grant)
    assert (await stand.state())["calls"] == {**before, "GET applications/{id}": 1}


async def test_a_listed_site_is_ready_although_its_own_review_is_not_over(stand: Any) -> None:
    grant = (await stand.consent("auto-approved")).grant
    assert (grant.state, "application_id" in grant.facts) == (GrantState.ACTIVE, False)
    judged = await stand.refresh(replace(grant, state=GrantState.PENDING_APPROVAL))
    assert judged.state is GrantState.ACTIVE  # Application_Approved, and in the list
    assert "application_id" in judged.facts


@pytest.mark.parametrize("owner", ["rejected", "site-rejected", "withdraws"])
async def test_a_review_that_ends_in_a_no(stand: Any, owner: str) -> None:
    moved(stand, 0)
    grant = (await stand.consent(owner)).grant
    assert grant.state is GrantState.PENDING_APPROVAL
    moved(stand, 4)
    with pytest.raises(ApprovalRefused):
        await stand.refresh(grant)
    with pytest.raises(ApprovalRefused):
        await stand.site(replace(grant, state=GrantState.ACTIVE))
    with pytest.raises(ApprovalRefused):  # the owner comes again: the application is there, and still refused
        await stand.consent(owner)


@pytest.mark.parametrize(
    ("owner", "expected"),
    [
        ("denies", ConsentDenied),
        ("no-site", ConsentInvalid),
        ("token-expired", ConsentInvalid),
        ("already-enrolled", ApprovalRefused),
        ("other-state", ApprovalRefused),
        ("unauthorised", OperatorActionNeeded),
    ],
)
async def test_owners_who_cannot_join(stand: Any, owner: str, expected: type[VendorError]) -> None:
    with pytest.raises(expected) as caught:
        await stand.consent(owner)
    assert isinstance(caught.value, expected)
    assert (await stand.state())["applications"] == 0
    if owner in ("token-expired", "already-enrolled", "other-state", "unauthorised"):
        assert "errorRefNo" in (caught.value.detail or "")


async def test_joining_again_finds_the_first_application(stand: Any) -> None:
    moved(stand, 0)
    first = (await stand.consent()).grant
    again = (await stand.consent()).grant
    assert again == first
    moved(stand, 9)
    assert (await stand.consent()).grant == replace(first, state=GrantState.ACTIVE)
    assert (await stand.state())["applications"] == 1


async def test_a_site_that_is_in_this_programme_already_is_active(stand: Any) -> None:
    grant = await stand.approved()
    await stand.refuses(
        APPLICATIONS, 400, '{"code":"400","displayMessage":"Site is already enrolled in program x",}', times=1
    )
    assert (await stand.consent()).grant.state is GrantState.ACTIVE
    assert grant.site_ids == (SITE,)


async def test_an_application_of_another_account(stand: Any) -> None:
    callback = await stand.callback("grants")
    said = '{"code":"403","displayMessage":"There already exists an application with this Site ID"}'
    await stand.refuses(APPLICATIONS, 403, said, times=1)
    with pytest.raises(ApprovalRefused, match="cannot see"):
        await stand.registry.handle_callback("enphasevpp", stand.context(), callback)


async def test_the_site_may_be_named_in_the_callback(open_stand: Any) -> None:
    async with open_stand(site_named_in="callback") as stand:
        padded = await stand.callback("grants")
        padded = replace(padded, values=Secrets({**padded.values, "site_id": f"00{SITE}"}))
        consent = await stand.registry.handle_callback("enphasevpp", stand.context(), padded)
        assert consent.grant.site_ids == (SITE,)
        callback = await stand.callback("grants")
        other = Secrets({**callback.values, "site_id": str(SITES["auto-approved"].system_id)})
        with pytest.raises(ConsentInvalid):  # the vendor holds token and site against each other
            await stand.registry.handle_callback("enphasevpp", stand.context(), replace(callback, values=other))


@pytest.mark.parametrize("site_id", ["", "12a", "-1", "1.5", "١٢", "9" * 40])
async def test_a_site_id_that_is_no_number(open_stand: Any, site_id: str) -> None:
    async with open_stand(site_named_in="callback") as stand:
        callback = await stand.callback("grants")
        values = Secrets({**callback.values, "site_id": site_id})
        with pytest.raises(ConsentInvalid):
            await stand.registry.handle_callback("enphasevpp", stand.context(), replace(callback, values=values))


async def test_a_code_works_once_and_only_for_its_redirect_uri(stand: Any) -> None:
    callback = await stand.callback("grants")
    elsewhere = replace(callback, redirect_uri="https://elsewhere.example/cb")
    for attempt in (elsewhere, callback):
        with pytest.raises(ConsentInvalid):
            await stand.registry.handle_callback("enphasevpp", stand.context(), attempt)


async def test_the_programme_is_the_operators_business(stand: Any) -> None:
    for program_id in ("", "unheard-of"):
        with pytest.raises(OperatorActionNeeded, match="programID"):
            await stand.consent(program_id=program_id)


@pytest.mark.parametrize(
    "change",
    [
        {"clientSecret": "another-secret"},
        {"clientID": "another-client"},
        {"apiKey": "another-account's-key"},
        {"consentClientSecret": "another-consent-secret"},
    ],
)
async def test_a_wrong_app_is_the_operators_business(stand: Any, change: dict[str, str]) -> None:
    callback = await stand.callback("grants")
    app = {**APP, **change}
    with pytest.raises(AppCredentialsRejected) as caught:
        await stand.registry.handle_callback("enphasevpp", stand.context(app), callback)
    said = f"{caught.value!r} {vars(caught.value)} {caught.value.__cause__!r}"
    secrets = [value for name, value in app.items() if "Secret" in name or name == "apiKey"]
    assert not [secret for secret in [*secrets, callback.values["code"]] if secret in said]


async def test_the_apps_token_is_shared_and_fetched_again_when_refused(stand: Any) -> None:
    moved(stand, 0)
    grant = await stand.approved()
    for _ in range(3):
        await stand.site(grant)
    assert (await stand.state())["machine_tokens"] == 1
    stand.cloud.machine.revoke("machine")
    await stand.site(grant)
    assert (await stand.state())["machine_tokens"] == 2
    moved(stand, 3700)
    await stand.site(grant)
    assert (await stand.state())["machine_tokens"] == 3


async def test_a_token_that_stays_refused_is_asked_for_once_more_only(stand: Any) -> None:
    grant = await stand.approved()
    said = '{"code":"401","displayMessage":"Authorization is not provided or invalid",}'
    await stand.refuses("/api/v1/systems", 401, said)
    with pytest.raises(AppCredentialsRejected):
        await stand.site(grant)
    assert (await stand.state())["machine_tokens"] == 2


async def test_the_machine_token_call_is_as_documented(stand: Any) -> None:
    """Each part the vendor's own 400 and 401 texts name is needed by the simulator, and sent by the plugin."""
    client = base64.b64encode(f"{APP['clientID']}:{APP['clientSecret']}".encode()).decode()
    headers = {"authorization": client, "content-type": "application/x-www-form-urlencoded"}
    url, query = "/auth/oauth2/token", {"grant_type": "client_credentials"}
    accept = {"accept": "application/json"}
    for sent, params, status in (
        ({**headers, **accept}, query, 200),
        ({**headers, **accept, "authorization": f"Basic {client}"}, query, 200),
        ({**headers, **accept}, {}, 401),
        ({**headers, **accept, "authorization": "nobody"}, query, 401),
        ({**headers, "accept": "text/html"}, query, 400),
        ({"authorization": client, **accept}, query, 400),
    ):
        assert (await stand.browser.post(url, headers=sent, params=params)).status_code == status
    await stand.approved()


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        (400, '{"code":"400","displayMessage":"Invalid parameter or headers",}', Unexplained),
        (401, '{"code":"401","displayMessage":"grant_type is not provided or invalid",}', AppCredentialsRejected),
        (503, "", TransientError),
        (200, "{}", UnexpectedPayload),
    ],
)
async def test_a_machine_token_that_is_not_given(
    stand: Any, status: int, body: str, expected: type[VendorError]
) -> None:
    await stand.refuses("/auth/oauth2/token", status, body)
    with pytest.raises(expected):
        await stand.consent()


@pytest.mark.parametrize("fault", ["lost", "cut", "5xx"])
async def test_a_submission_cut_off_is_harmless(stand: Any, fault: str) -> None:
    await stand.fault(fault, APPLICATIONS, times=1)
    with pytest.raises(TransientError):
        await stand.consent()
    assert (await stand.consent()).grant.site_ids == (SITE,)
    assert (await stand.state())["applications"] == 1


@pytest.mark.parametrize("body", ["", "null", "<html>Hello</html>", '"Application received"'])
async def test_an_unknown_sentence_is_no_enrolment(stand: Any, body: str) -> None:
    callback = await stand.callback("grants")
    await stand.refuses(APPLICATIONS, 200, body)
    with pytest.raises(UnexpectedPayload):
        await stand.registry.handle_callback("enphasevpp", stand.context(), callback)


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ({"application_status": "Application_Drafted"}, "pending_approval"),
        ({"application_status": "Site_Submitted", "program_id": PROGRAM_ID}, "pending_approval"),
        ({"application_status": "Application_Approved"}, "pending_approval"),  # not listed yet
        ({"application_status": "Site_Approved"}, "active"),
        ({"application_status": "Application_Rejected", "application_type": "unenrollment"}, "pending_approval"),
        ({"application_status": "Site_Approved", "application_type": "unenrollment"}, ApprovalRefused),
        ({"application_status": "Site_Approved", "program_id": "another"}, ApprovalRefused),
        ({"application_status": "Site_Rejected"}, ApprovalRefused),
        ({"application_status": "Application_Pondered"}, UnexpectedPayload),
        ({"application_status": None}, UnexpectedPayload),
        ({}, UnexpectedPayload),
        ([], UnexpectedPayload),
    ],
)
async def test_what_each_status_means(stand: Any, answer: object, expected: Any) -> None:
    stand.cloud.step_s = 1000.0
    grant = (await stand.consent()).grant
    await stand.refuses(f"{APPLICATIONS}/", 200, json.dumps(answer))
    if isinstance(expected, str):
        assert (await stand.refresh(grant)).state == expected
    else:
        with pytest.raises(expected):
            await stand.refresh(grant)


async def test_an_application_that_is_gone_needs_the_owner(stand: Any) -> None:
    grant = (await stand.consent()).grant
    stand.cloud.applications.clear()
    with pytest.raises(AuthorizationLost):
        await stand.refresh(grant)


async def test_a_site_that_leaves_the_programme(stand: Any) -> None:
    moved(stand, 0)
    grant, site = await stand.home()
    headers = {"x-api-key": APP["apiKey"], "authorization": f"Bearer {await _machine_token(stand)}"}
    form = json.dumps({"site_id": int(SITE), "program_id": PROGRAM_ID})
    files = {"application_form": (None, form), "application_type": (None, '{"application_type":"unenrollment"}')}
    answer = await stand.browser.post(APPLICATIONS, headers=headers, files=files)
    assert "3 business days" in answer.text
    assert await stand.site(grant) == site
    moved(stand, 3 * 86400 + 1)
    with pytest.raises(ApprovalRefused, match="leaves the programme"):
        await stand.site(grant)
    with pytest.raises(ApprovalRefused, match="leaves the programme"):
        await stand.readings(grant, site, NOW, NOW, live=True)


async def test_an_application_withdrawn_at_enphase(stand: Any) -> None:
    grant = (await stand.consent()).grant
    headers = {"x-api-key": APP["apiKey"], "authorization": f"Bearer {await _machine_token(stand)}"}
    assert (await stand.browser.put(f"{APPLICATIONS}/{SITE}/withdraw", headers=headers)).status_code == 200
    with pytest.raises(ApprovalRefused, match="withdrawn"):
        await stand.refresh(grant)


async def test_an_unknown_client_gets_no_consent_page(stand: Any) -> None:
    query = {"client_id": "nobody", "redirect_uri": "https://hub.example/cb"}
    assert (await stand.browser.get("/consent/authorize", params=query)).status_code == 400


async def test_a_callback_without_a_code(stand: Any) -> None:
    with pytest.raises(ConsentInvalid):
        await stand.registry.handle_callback("enphasevpp", stand.context(), Callback(values=Secrets({"site_id": SITE})))


def test_the_credential_type_has_every_field_of_the_simulators_app(stand: Any) -> None:
    kind = stand.registry.vendor("enphasevpp").app_credential("vpp")
    fields = {field.name: field for field in kind.fields}
    assert fields.keys() >= set(APP) - {"vendor", "type"}
    assert [name for name, field in fields.items() if field.endpoint] == ["consentAuthorizeURL", "consentTokenURL"]
    assert [name for name, field in fields.items() if field.secret] == ["clientSecret", "apiKey", "consentClientSecret"]
    assert [name for name, field in fields.items() if field.required] == ["clientID", "clientSecret", "apiKey"]


async def _machine_token(stand: Any) -> str:
    headers = {"content-type": "application/x-www-form-urlencoded", "accept": "application/json"}
    answer = await stand.browser.post(
        "/auth/oauth2/token",
        params={"grant_type": "client_credentials"},
        headers=headers,
        auth=(APP["clientID"], APP["clientSecret"]),
    )
    return str(answer.json()["access_token"])
