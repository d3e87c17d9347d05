"""Forms of several steps, of choices, and of passwords: what a vendor may ask of an owner."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from html import unescape
from typing import Any

import httpx
import pytest
from msgspec.structs import replace

from api.fakes import FakeVendor, Vendors, assert_problem, begin, come_back, count, new_credentials, new_flow, result_of
from api.test_join import ENTRIES, assert_page, form_of, send, sql
from joinder import errors
from joinder.errors import ConsentContinues
from joinder.runtime.hub import Hub
from joinder.services.join import form_answers
from joinder.services.join.browser_sessions import session_of
from joinder.services.join.session_claims import claim
from joinder.store.tables import JoinSession
from joinder.vendor import Field, Vendor

CARRIED = "canary-carried-2f61"
CODE = Field(name="code", label="Code", secret=True, max_length=8)
TOKEN = Field(name="token", label="Token", secret=True)  # named as a field of the first form is
SITE = Field(name="site", label="Site", choices=(("a", "The <roof>"), ("b", "The barn")))


def asks(fake: FakeVendor, *questions: ConsentContinues) -> Callable[[], Awaitable[None]]:
    """Asks these after each other, whatever is answered."""
    left = list(questions)

    async def before_consent() -> None:
        if left:
            raise left.pop(0)

    fake.before_consent = before_consent
    return before_consent


def question(text: str = "Enter the code Boxy sent you", field: Field = CODE) -> ConsentContinues:
    return ConsentContinues(text, fields=(field,), carry={"session": CARRIED})


@pytest.fixture
async def form(api: httpx.AsyncClient, browser: httpx.AsyncClient) -> tuple[str, str]:
    token = await begin(browser, await new_flow(api, "boxy"))
    return token, await form_of(browser, token)


async def further(browser: httpx.AsyncClient, token: str, answer: httpx.Response) -> str:
    """Follows to the next form; answers its page."""
    assert (answer.status_code, answer.headers["location"]) == (303, f"/join/sessions/{token}"), answer.text
    return assert_page(await browser.get(answer.headers["location"]), 200)


async def reply(browser: httpx.AsyncClient, token: str, **entries: str) -> httpx.Response:
    """Answers the question that is open."""
    return await send(browser, token, form_token=await form_of(browser, token), **entries)


async def test_an_owner_answers_what_the_vendor_asks_after_the_form(
    browser: httpx.AsyncClient, form: tuple[str, str], vendors: Vendors, hub: Hub
) -> None:
    asks(vendors.boxy, question(), question("Which site?", SITE))
    html = await further(browser, form[0], await send(browser, form[0], form_token=form[1], **ENTRIES))
    assert "Enter the code Boxy sent you" in html
    assert 'id="code"' in html
    assert 'id="token"' not in html
    html = await further(browser, form[0], await reply(browser, form[0], code="123456"))
    assert '<option value="a">The &lt;roof&gt;</option>' in html
    assert CARRIED not in html
    result_of(await reply(browser, form[0], site="b"))
    seen = [(dict(one.values), one.carried and dict(one.carried)) for one in vendors.boxy.exchanges]
    carried = {"session": CARRIED}
    assert seen == [(ENTRIES, None), ({"code": "123456"}, carried), ({"site": "b"}, carried)]
    assert await count(hub, "enrollment") == 1


async def test_what_is_carried_is_sealed_and_gone_at_the_end(
    browser: httpx.AsyncClient, form: tuple[str, str], vendors: Vendors, hub: Hub
) -> None:
    asks(vendors.boxy, question())
    await send(browser, form[0], form_token=form[1], **ENTRIES)
    rows = await hub.store.rows("SELECT secrets_sealed, kept_sealed FROM join_session", {})
    assert CARRIED.encode() not in bytes(rows[0][0])
    assert rows[0][1] is None
    result_of(await reply(browser, form[0], code="1"))
    assert [bytes(row[0]) for row in await hub.store.rows("SELECT secrets_sealed FROM join_session", {})] == [b""]


@pytest.mark.parametrize("error", [errors.ConsentInvalid("Wrong code", fields={"code": "Wrong code"}), None])
async def test_a_wrong_answer_is_asked_for_again_with_what_was_carried(
    browser: httpx.AsyncClient, form: tuple[str, str], vendors: Vendors, error: Exception | None
) -> None:
    asks(vendors.boxy, question())
    await send(browser, form[0], form_token=form[1], **ENTRIES)
    vendors.boxy.failures["handle_callback"] = error or errors.TransientError("away")
    html = assert_page(await reply(browser, form[0], code="9"), 422 if error else 503)
    assert 'id="code"' in html
    vendors.boxy.failures.clear()
    result_of(await reply(browser, form[0], code="1"))
    assert dict(vendors.boxy.exchanges[-1].carried or {}) == {"session": CARRIED}


async def test_a_vendor_that_asks_without_end_ends_the_session(
    browser: httpx.AsyncClient, form: tuple[str, str], vendors: Vendors
) -> None:
    asks(vendors.boxy, *(question() for _ in range(9)))
    answer = await send(browser, form[0], form_token=form[1], **ENTRIES)
    for _ in range(5):
        await further(browser, form[0], answer)
        answer = await reply(browser, form[0], code="1")
    assert result_of(answer)["error_code"] == "plugin_bug"


@pytest.mark.parametrize(
    "asked",
    [
        ConsentContinues("?", fields=()),
        ConsentContinues("?", fields=(CODE, CODE)),
        ConsentContinues("?", fields=(Field(name="action", label="Action"),)),
        ConsentContinues("?", fields=(Field(name="pin", label="PIN", password=True),)),
        ConsentContinues("?", fields=(replace(SITE, choices=tuple((str(n), "x") for n in range(10_000))),)),
        ConsentContinues("?", fields=(CODE,), carry={str(n): "x" for n in range(99)}),
        ConsentContinues("?", fields=["code"]),  # type: ignore[arg-type]
    ],
)
async def test_a_question_no_owner_could_answer_is_the_plugins_bug(
    browser: httpx.AsyncClient, form: tuple[str, str], vendors: Vendors, asked: ConsentContinues
) -> None:
    asks(vendors.boxy, asked)
    assert_page(await send(browser, form[0], form_token=form[1], **ENTRIES), 500)


async def test_a_question_after_the_vendors_own_page_is_asked_on_ours(
    api: httpx.AsyncClient, browser: httpx.AsyncClient, vendors: Vendors
) -> None:
    asks(vendors.sunny, question("Which site?", SITE))
    token = await begin(browser, await new_flow(api))
    html = await further(browser, token, await come_back(browser, token))
    assert "Which site?" in html
    await further(browser, token, await come_back(browser, token))  # the code is not tried again
    answer = await send(browser, token, form_token=(await form_of(browser, token)), site="a")
    assert "enrollmentID" in result_of(answer)
    assert [dict(one.values) for one in vendors.sunny.exchanges] == [{"code": "code-1"}, {"site": "a"}]


async def test_two_who_send_at_once_are_shown_the_same_question(
    browser: httpx.AsyncClient, form: tuple[str, str], vendors: Vendors
) -> None:
    asks(vendors.boxy, question())
    sent = [send(browser, form[0], form_token=form[1], **ENTRIES) for _ in range(2)]
    for answer in await asyncio.gather(*sent):
        await further(browser, form[0], answer)
    assert len(vendors.boxy.exchanges) == 1


async def test_a_form_of_a_step_that_is_past_answers_no_later_question(
    browser: httpx.AsyncClient, form: tuple[str, str], vendors: Vendors
) -> None:
    asks(vendors.boxy, question(field=TOKEN), question("Which site?", SITE))
    await send(browser, form[0], form_token=form[1], **ENTRIES)
    again = await send(browser, form[0], form_token=form[1], **ENTRIES)  # a second click, or the button back
    assert "Enter the code" in await further(browser, form[0], again)
    assert len(vendors.boxy.exchanges) == 1
    second = await form_of(browser, form[0])
    for _ in range(2):
        answer = await send(browser, form[0], form_token=second, token="123456")
        assert "Which site?" in await further(browser, form[0], answer)
    assert [dict(one.values) for one in vendors.boxy.exchanges] == [ENTRIES, {"token": "123456"}]


@pytest.mark.parametrize("form_token", ["", ".1", "guessed", "guessed.1"])
async def test_a_token_of_no_form_of_this_session_is_refused(
    browser: httpx.AsyncClient, form: tuple[str, str], vendors: Vendors, form_token: str
) -> None:
    asks(vendors.boxy, question())
    await send(browser, form[0], form_token=form[1], **ENTRIES)
    assert_page(await send(browser, form[0], form_token=form_token, code="1"), 403)
    assert len(vendors.boxy.exchanges) == 1


async def test_of_two_who_read_the_first_form_the_later_claims_no_further_step(
    browser: httpx.AsyncClient, form: tuple[str, str], vendors: Vendors, hub: Hub
) -> None:
    asks(vendors.boxy, question())
    read_before = await session_of(hub, form[0], dict(browser.cookies))
    await send(browser, form[0], form_token=form[1], **ENTRIES)
    assert not await claim(hub, read_before, ENTRIES)
    assert await claim(hub, await session_of(hub, form[0], dict(browser.cookies)), {"code": "1"}, keeps=False)


async def test_a_no_holds_for_what_another_request_was_asked_meanwhile(
    browser: httpx.AsyncClient, form: tuple[str, str], vendors: Vendors, monkeypatch: pytest.MonkeyPatch
) -> None:
    asks(vendors.boxy, question())
    claims: list[bool] = []

    async def late(hub: Hub, row: JoinSession) -> bool:
        if not claims:  # between reading the session and claiming it
            await send(browser, form[0], form_token=form[1], **ENTRIES)
        claims.append(await claim(hub, row))
        return claims[-1]

    def claims_late(hub: Hub, row: JoinSession, *entered: Any, **how: Any) -> Awaitable[bool]:
        return claim(hub, row, *entered, **how) if entered else late(hub, row)

    monkeypatch.setattr(form_answers, "claim", claims_late)
    answer = await send(browser, form[0], form_token=form[1], action="cancel")
    assert result_of(answer)["error_code"] == "user_denied"
    assert claims == [False, True]


async def test_a_question_that_nobody_answers_expires(
    browser: httpx.AsyncClient, form: tuple[str, str], vendors: Vendors, hub: Hub
) -> None:
    asks(vendors.boxy, question())
    await send(browser, form[0], form_token=form[1], **ENTRIES)
    await sql(hub, "UPDATE join_session SET expires_at = 1")
    assert "That took too long" in assert_page(await browser.get(f"/join/sessions/{form[0]}"), 400)
    assert [row[0] for row in await hub.store.rows("SELECT end_code FROM join_session", {})] == ["session_expired"]


async def test_a_stranger_sees_no_question(
    new_browser: Any, browser: httpx.AsyncClient, form: tuple[str, str], vendors: Vendors
) -> None:
    asks(vendors.boxy, question())
    await send(browser, form[0], form_token=form[1], **ENTRIES)
    stranger = await new_browser()
    assert "Enter the code" not in (await stranger.get(f"/join/sessions/{form[0]}")).text


# Choices and passwords


def with_consent(*fields: Field) -> Callable[[Vendor], Vendor]:
    return lambda vendor: replace(vendor, consent_fields=fields)


async def test_only_one_of_the_choices_reaches_the_vendor(
    api: httpx.AsyncClient, browser: httpx.AsyncClient, vendors: Vendors, hub: Hub
) -> None:
    hub.registry.change("boxy", with_consent(SITE))
    token = await begin(browser, await new_flow(api, "boxy"))
    form_token = await form_of(browser, token)
    for wrong in ("c", ""):
        html = unescape(assert_page(await send(browser, token, form_token=form_token, site=wrong), 422))
        assert "Choose: Site" in html
    assert vendors.boxy.calls == []
    result_of(await send(browser, token, form_token=form_token, site=" b "))
    assert dict(vendors.boxy.exchanges[0].values) == {"site": "b"}


async def test_an_operator_reads_and_keeps_to_the_choices(api: httpx.AsyncClient, hub: Hub) -> None:
    hub.registry.change("sunny", lambda vendor: replace(vendor, flow_fields=(SITE,)))
    (shown,) = [one for one in (await api.get("/vendors")).json()["vendors"] if one["name"] == "sunny"]
    assert shown["flowFields"][0]["choices"] == [
        {"value": "a", "label": "The <roof>"},
        {"value": "b", "label": "The barn"},
    ]
    entry = {"vendor": "sunny", "credentialsID": await new_credentials(api), "options": {"site": "c"}}
    answer = await api.post("/join/flows", json={"vendors": [entry], "redirectURI": "https://integrator.example/back"})
    (error,) = assert_problem(answer, 400, "validation-error")["errors"]
    assert (error["pointer"], error["detail"]) == ("/vendors/0/options/site", "must be one of: a, b (Site)")


async def test_a_form_for_a_password_is_off_until_the_operator_allows_it(
    api: httpx.AsyncClient, browser: httpx.AsyncClient, vendors: Vendors, hub: Hub
) -> None:
    hub.registry.change("boxy", with_consent(Field(name="pin", label="Password", password=True, secret=True)))
    flow = {"vendors": [{"vendor": "boxy"}], "redirectURI": "https://integrator.example/back"}
    refused = assert_problem(await api.post("/join/flows", json=flow), 400, "validation-error")
    assert "JOINDER_PASSWORD_GRANTS=boxy" in refused["errors"][0]["detail"]
    hub.settings = replace(hub.settings, password_grants=("boxy",))
    flow_id = await new_flow(api, "boxy")
    html = assert_page(await browser.get(f"/join/sessions/{await begin(browser, flow_id)}"), 200)
    assert "no password is asked for" not in html
    assert "your own login" in html
    hub.settings = replace(hub.settings, password_grants=())
    assert_page(await browser.get(f"/join/flows/{flow_id}/authorize"), 502)
    assert vendors.boxy.calls == []
