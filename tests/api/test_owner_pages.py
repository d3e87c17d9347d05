"""What an owner reads before leaving for a vendor, after coming back, and about a connection later on."""

from __future__ import annotations

import re
from html import unescape
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from sqlalchemy import text

from api.conftest import NewBrowser
from api.fakes import OWNER_TOKEN, Tenant, Vendors, come_back, count, new_flow
from api.test_join import ENTRIES, EVIL, assert_page, send, token_of
from joinder import errors
from joinder.clock import now
from joinder.runtime.hub import Hub
from joinder.services.join import join_ends
from joinder.services.records import accounts, brands
from joinder.services.refusals import NotFound, Unprocessable

PNG = b"\x89PNG\r\n\x1a\n" + b"0" * 20
HTML = {"accept": "text/html,application/xhtml+xml,*/*;q=0.8"}


def link_in(html: str, words: str) -> str:
    """The address behind a link or button with these words."""
    found = re.search(rf'<a [^>]*href="([^"]*)"[^>]*>{re.escape(words)}</a>', html)
    assert found is not None, (words, html)
    return unescape(found.group(1))


async def leave(browser: httpx.AsyncClient, flow_id: str, **query: str) -> str:
    """Reads the page before, goes on to the vendor, and answers the session's token."""
    html = assert_page(await browser.get(f"/join/flows/{flow_id}/authorize", params=query), 200)
    onward = re.search(r'rel="next noreferrer" href="([^"]*)"', html)
    assert onward is not None
    answer = await browser.get(unescape(onward.group(1)))
    assert answer.status_code == 303
    return parse_qs(urlsplit(answer.headers["location"]).query)["state"][0]


async def land(browser: httpx.AsyncClient, token: str, status: int = 200, **query: str) -> str:
    answer = await come_back(browser, token, **query)
    assert (answer.status_code, answer.headers["location"]) == (303, f"/join/sessions/{token}")
    return assert_page(await browser.get(answer.headers["location"]), status)


async def connected(api: httpx.AsyncClient, browser: httpx.AsyncClient, **query: str) -> str:
    """Joins with all pages, and answers the address of the owner's own page."""
    token = await leave(browser, await new_flow(api, with_pages=True), **query)
    html = await land(browser, token)
    return link_in(html, "Ihre Verbindung" if query.get("ui_locales") == "de" else "Your connection")


async def test_the_page_before_says_who_asks_for_what_and_begins_nothing(
    api: httpx.AsyncClient, browser: httpx.AsyncClient, vendors: Vendors, hub: Hub
) -> None:
    flow_id = await new_flow(api, with_pages=True)
    answer = await browser.get(f"/join/flows/{flow_id}/authorize", params={"state": EVIL})
    html = assert_page(answer, 200)
    assert "test asks to read your system" in html
    assert "<li>solar production</li>" in html
    assert "What will not be read or done" in html
    assert "set-cookie" not in answer.headers
    assert await count(hub, "join_session") == 0
    assert vendors.sunny.calls == []
    back = parse_qs(urlsplit(link_in(html, "Cancel")).query)
    assert (back["error"], back["error_code"], back["state"]) == (["access_denied"], ["user_denied"], [EVIL])


async def test_the_same_redirect_comes_at_the_end_with_pages_as_without(
    api: httpx.AsyncClient, browser: httpx.AsyncClient, vendors: Vendors
) -> None:
    html = await land(browser, await leave(browser, await new_flow(api, with_pages=True), state="s &<"))
    assert "Sunny &lt;Home&gt; is connected" in html
    back = link_in(html, "Go back to test")
    assert back.startswith("https://integrator.example/back?tenant=7&x=%2F&state=s+%26%3C&enrollmentID=enrl-")
    assert vendors.sunny.calls == ["build_authorize_url", "handle_callback"]


@pytest.mark.parametrize("skipped", ["skipIntro", "skipLanding"])
async def test_a_flow_may_leave_out_either_page(
    api: httpx.AsyncClient, browser: httpx.AsyncClient, skipped: str
) -> None:
    body = {"vendors": [{"vendor": "cloudy"}], "redirectURI": "https://integrator.example/back", skipped: True}
    flow = (await api.post("/join/flows", json=body)).json()
    assert flow[skipped] is True
    assert set(flow) == {"id", "vendors", "redirectURI", skipped}
    if skipped == "skipLanding":
        token = await leave(browser, flow["id"])
    else:
        started = await browser.get(f"/join/flows/{flow['id']}/authorize")
        token = parse_qs(urlsplit(started.headers["location"]).query)["state"][0]
    location = (await come_back(browser, token, "cloudy")).headers["location"]
    assert location.startswith("/join/sessions/" if skipped == "skipIntro" else "https://integrator.example/back?")


LANDINGS: list[tuple[Exception, str, str, bool]] = [
    (errors.ConsentDenied("no"), "user_denied", "You said no", True),
    (errors.TransientError("away"), "vendor_unavailable", "cannot be reached right now", True),
    (errors.VendorTimeout("slow"), "vendor_timeout", "did not answer in time", True),
    (errors.RateLimited("busy"), "vendor_rate_limited", "is busy right now", True),
    (errors.UnexpectedPayload("html"), "vendor_answer", "answered something unexpected", True),
    (errors.AppCredentialsRejected("app"), "app_refused", "its own access there does not work", False),
    (errors.OperatorActionNeeded("register"), "operator_action", "has to settle something", False),
    (errors.ConsentIncomplete("no refresh token"), "scope_missing", "gave less than is needed", True),
    (errors.ApprovalRefused("Only in California"), "vendor_declined", "Only in California", False),
    (errors.ConsentInvalid("code refused"), "code_refused", "did not confirm", True),
    (RuntimeError("canary"), "plugin_bug", "has a fault", False),
]


async def test_every_refusal_has_its_own_sentence_a_way_on_and_the_code_for_the_integrator(
    api: httpx.AsyncClient, new_browser: NewBrowser, vendors: Vendors
) -> None:
    flow_id, seen = await new_flow(api, with_pages=True), set[str]()
    for error, code, words, can_restart in LANDINGS:
        browser = await new_browser()
        token = await leave(browser, flow_id, state="theirs")
        vendors.sunny.failures["handle_callback"] = error
        html = await land(browser, token, join_ends.ENDS[code].status)
        vendors.sunny.failures.clear()
        assert words in html, (code, html)
        assert "canary" not in html
        back = parse_qs(urlsplit(link_in(html, "Go back to test")).query)
        assert (back["error_code"], back["state"]) == ([code], ["theirs"])
        assert ("Start again</a>" in html) == can_restart, code
        seen.add(re.sub(r"(?s).*<h1>|</main>.*", "", html))
    assert len(seen) == len(LANDINGS)


async def test_a_pending_approval_is_no_success_to_the_owner(
    api: httpx.AsyncClient, browser: httpx.AsyncClient, vendors: Vendors, hub: Hub
) -> None:
    token = await leave(browser, await new_flow(api, with_pages=True))
    html = await land(browser, token)
    async with hub.store.write() as session:
        await session.execute(text("UPDATE join_session SET end_code = 'pending_approval'"))
        await session.execute(text("UPDATE enrollment SET status = 'rejected', health_reason = 'Not in this country'"))
    assert "Waiting for Sunny" in assert_page(await browser.get(f"/join/sessions/{token}"), 200)
    page = assert_page(await browser.get(link_in(html, "Your connection")), 200)
    assert "decided against it" in page
    assert "Not in this country" in page


async def test_the_owner_s_page_says_in_their_language_why_they_must_consent_again_and_whose_words_these_are(
    api: httpx.AsyncClient, browser: httpx.AsyncClient, hub: Hub
) -> None:
    page = f"{await connected(api, browser)}&ui_locales=de"
    told = {
        "The vendor no longer accepts this consent": "<blockquote>Der Hersteller nimmt diese Zustimmung nicht mehr an<",
        "Nobody translated this": '<blockquote><span lang="en" dir="ltr">Nobody translated this</span></',
    }
    for reason, shown in told.items():
        async with hub.store.write() as session:
            said = {"reason": reason}
            await session.execute(text("UPDATE enrollment SET health = 'needs_consent', health_reason = :reason"), said)
        html = (await browser.get(page)).text
        assert "Im Wortlaut der Verbindung zu Sunny &lt;Home&gt;:" in html
        assert shown in html


async def test_a_reconnect_by_another_account_is_told_as_that(
    api: httpx.AsyncClient, new_browser: NewBrowser, vendors: Vendors
) -> None:
    await connected(api, await new_browser())
    (enrollment,) = (await api.get("/enrollments")).json()["enrollments"]
    url = (await api.post(f"/enrollments/{enrollment['id']}/reconnect")).json()["url"]
    browser, parts = await new_browser(), urlsplit(url)
    html = assert_page(await browser.get(f"{parts.path}?{parts.query}"), 200)
    started = await browser.get(link_in(html, "Go on to Sunny &lt;Home&gt;"))
    vendors.sunny.account_id, vendors.sunny.homes = "owner-2", {"site-2": next(iter(vendors.sunny.homes.values()))}
    token = parse_qs(urlsplit(started.headers["location"]).query)["state"][0]
    html = await land(browser, token, 403)
    assert "That was another account" in html
    assert link_in(html, "Start again").startswith("/join/reconnect?link=")


async def test_back_after_the_end_shows_how_it_went(api: httpx.AsyncClient, browser: httpx.AsyncClient) -> None:
    token = await leave(browser, await new_flow(api, with_pages=True))
    await land(browser, token)
    again = await come_back(browser, token)
    assert again.headers["location"] == f"/join/sessions/{token}"
    html = assert_page(await browser.get(f"/join/sessions/{token}"), 200)
    assert "Start again" not in html


async def test_another_browser_never_sees_how_it_went(
    api: httpx.AsyncClient, browser: httpx.AsyncClient, anonymous: httpx.AsyncClient
) -> None:
    token = await leave(browser, await new_flow(api, with_pages=True))
    await land(browser, token)
    html = assert_page(await anonymous.get(f"/join/sessions/{token}"), 400)
    assert "another browser" in html
    assert "/join/connection" not in html


async def test_a_form_also_lands_and_five_wrong_keys_are_told_as_that(
    api: httpx.AsyncClient, browser: httpx.AsyncClient, vendors: Vendors
) -> None:
    flow_id = await new_flow(api, "boxy", with_pages=True)
    started = await browser.get(f"/join/flows/{flow_id}/authorize")
    session = started.headers["location"].rsplit("/", 1)[-1]
    vendors.boxy.failures["handle_callback"] = errors.ConsentInvalid("no")
    html = (await browser.get(started.headers["location"])).text
    for _ in range(5):
        html = assert_page(await send(browser, session, form_token=token_of(html), **ENTRIES), 422)
    last = await send(browser, session, form_token=token_of(html), **ENTRIES)
    assert "tried too often" in assert_page(last, 400)
    after = assert_page(await browser.get(f"/join/sessions/{session}"), 400)
    assert "tried too often" in after
    assert "error_code=too_many_tries" in link_in(after, "Go back to test")


async def test_links_that_do_not_work_lead_on_where_the_flow_is_known(
    api: httpx.AsyncClient, browser: httpx.AsyncClient
) -> None:
    flow_id = await new_flow(api, "sunny", "boxy", with_pages=True)
    path = f"/join/flows/{flow_id}/authorize"
    unknown = assert_page(await browser.get(path, params={"vendor": "windy", "state": "s"}), 400)
    assert "This brand is not offered here" in unknown
    assert link_in(unknown, "Choose your brand") == f"{path}?state=s"
    long = assert_page(await browser.get(path, params={"state": "x" * 1025}), 400)
    assert "error_code=state_too_long" in link_in(long, "Go back to test")
    assert "Connect your Sunny" in assert_page(await browser.get(path, params={"vendor": "Sunny"}), 200)


# Languages


async def test_the_language_of_the_link_holds_to_the_end(
    api: httpx.AsyncClient, browser: httpx.AsyncClient, vendors: Vendors
) -> None:
    flow_id = await new_flow(api, with_pages=True)
    answer = await browser.get(f"/join/flows/{flow_id}/authorize", params={"ui_locales": "de"})
    assert '<html lang="de" dir="ltr">' in answer.text
    assert "<li>Solarerzeugung</li>" in answer.text
    started = await browser.get(link_in(answer.text, "Weiter zu Sunny &lt;Home&gt;"))
    token = parse_qs(urlsplit(started.headers["location"]).query)["state"][0]
    landed = await browser.get((await come_back(browser, token)).headers["location"])
    assert "ist verbunden" in landed.text
    own = await browser.get(link_in(landed.text, "Ihre Verbindung"))
    assert "Diese Verbindung beenden" in own.text


async def test_the_browser_s_language_counts_without_one_in_the_link(
    api: httpx.AsyncClient, browser: httpx.AsyncClient, vendors: Vendors
) -> None:
    browser.headers["accept-language"] = "de-CH, en;q=0.5"
    started = await browser.get(f"/join/flows/{await new_flow(api, 'boxy')}/authorize")
    session = started.headers["location"].rsplit("/", 1)[-1]
    html = (await browser.get(started.headers["location"])).text
    assert "Was gelesen wird" in html
    assert '<span lang="en" dir="ltr">Open the &lt;app&gt;.</span>' in html  # nobody translated it
    wrong = await send(browser, session, form_token=token_of(html), host="", token=OWNER_TOKEN)
    assert (wrong.status_code, "<title>Fehler: Boxy" in wrong.text) == (422, True)
    assert "Bitte ausfüllen: Address" in wrong.text
    assert "funktioniert nicht" in (await browser.get("/join/sunny/auth-granted")).text


# The owner's own page


async def test_the_own_page_says_who_reads_what_since_when(api: httpx.AsyncClient, browser: httpx.AsyncClient) -> None:
    own = await connected(api, browser)
    html = assert_page(await browser.get(own), 200)
    assert "Your connection: Sunny &lt;Home&gt;" in html
    for words in ("Who reads it", "<dd>test</dd>", "Since", "Last read", "not yet", "<li>battery state</li>"):
        assert words in html
    receipt = assert_page(await browser.get(link_in(html, "Receipt to print or keep")), 200)
    assert "Receipt: consent" in receipt
    assert "enrl-" in receipt


async def test_an_owner_ends_the_connection_and_keeps_a_receipt(
    api: httpx.AsyncClient, browser: httpx.AsyncClient, new_browser: NewBrowser, hub: Hub
) -> None:
    own = await connected(api, browser)
    asked = assert_page(await browser.get(link_in((await browser.get(own)).text, "End this connection")), 200)
    assert await count(hub, "enrollment") == 1
    link = re.search(r'name="link" value="([^"]+)"', asked)
    assert link is not None
    done = await (await new_browser()).post("/join/connection/end", data={"link": link.group(1)})
    assert done.status_code == 303
    for table in ("enrollment", "grant", "site"):
        assert await count(hub, table) == 0
    receipt = assert_page(await browser.get(done.headers["location"]), 200)
    assert "Receipt: consent withdrawn" in receipt
    assert "End the access there as well" in receipt  # Sunny takes no token back
    (event,) = (await api.get("/events", params={"type": "enrollment.deleted"})).json()["events"]
    assert event["data"]["by"] == "owner"
    assert await count(hub, "audit", "action = 'enrollment.delete' AND actor = 'owner'") == 1
    gone = assert_page(await browser.get(own), 404)
    assert "This connection has ended" in gone
    again = await browser.post("/join/connection/end", data={"link": link.group(1)})
    assert "This connection has ended" in assert_page(again, 404)


async def test_a_link_that_is_changed_old_or_made_for_something_else_opens_nothing(
    api: httpx.AsyncClient, browser: httpx.AsyncClient, hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = await connected(api, browser)
    link = parse_qs(urlsplit(own).query)["link"][0]
    (enrollment,) = (await api.get("/enrollments")).json()["enrollments"]
    reconnect = (await api.post(f"/enrollments/{enrollment['id']}/reconnect")).json()["url"]
    others = ["", "x", link[:-2], f"A{link}", link.split(".")[0], parse_qs(urlsplit(reconnect).query)["link"][0]]
    for other in others:
        assert_page(await browser.get("/join/connection", params={"link": other}), 400)
        assert_page(await browser.get("/join/connection/receipt", params={"link": other}), 400)
        assert_page(await browser.post("/join/connection/end", data={"link": other}), 400)
    elsewhere = {"origin": "https://evil.example"}
    assert_page(await browser.post("/join/connection/end", data={"link": link}, headers=elsewhere), 403)
    assert_page(
        await browser.post("/join/connection/end", data={"link": link}, headers={"sec-fetch-site": "cross-site"}), 403
    )
    assert await count(hub, "enrollment") == 1
    monkeypatch.setattr("joinder.services.join.owner_links.now", lambda: now() + 400 * 86400)
    assert "too old" in assert_page(await browser.get(own), 400)


async def test_the_integrator_can_make_the_link_for_its_own_owners_only(
    api: httpx.AsyncClient, browser: httpx.AsyncClient
) -> None:
    await connected(api, browser)
    (enrollment,) = (await api.get("/enrollments")).json()["enrollments"]
    url = urlsplit((await api.post(f"/enrollments/{enrollment['id']}/owner-link")).json()["url"])
    assert "Your connection" in assert_page(await browser.get(f"{url.path}?{url.query}"), 200)
    assert (await api.post("/enrollments/enrl-aaaaaaaaaaaaaaaa/owner-link")).status_code == 404


# How an account looks


async def test_pages_carry_the_account_s_name_colour_and_logo(
    api: httpx.AsyncClient, browser: httpx.AsyncClient, tenant: Tenant, hub: Hub
) -> None:
    flow_id = await new_flow(api, with_pages=True)
    await accounts.rename_account(hub, tenant.account_id, "test", "Sonne & Söhne")
    await brands.change(hub, tenant.account_id, "test", colour="#FFCC00", logo=PNG)
    answer = await browser.get(f"/join/flows/{flow_id}/authorize")
    assert "Sonne &amp; Söhne" in answer.text
    assert "img-src 'self'" in answer.headers["content-security-policy"]
    style, logo = re.findall(r'(?:href|src)="(/join/brands/[^"]*)"', answer.text)
    shown = await browser.get(style)
    assert shown.headers["content-type"].startswith("text/css")
    assert "#ffcc00" in shown.text  # on the dark page; the light one needs a darker one
    picture = await browser.get(logo)
    assert (picture.headers["content-type"], picture.content) == ("image/png", PNG)
    assert picture.headers["x-content-type-options"] == "nosniff"
    await brands.change(hub, tenant.account_id, "test", colour="", logo=b"")
    assert "/join/brands/" not in (await browser.get(f"/join/flows/{flow_id}/authorize")).text
    assert (await browser.get(logo)).status_code == 404


@pytest.mark.parametrize(
    "wrong",
    [{"colour": "red"}, {"colour": "#12345"}, {"logo": b"<svg onload=alert(1)>"}, {"logo": PNG + b"0" * 50_000}],
)
async def test_a_look_that_cannot_be_is_refused_with_the_reason(
    tenant: Tenant, hub: Hub, wrong: dict[str, object]
) -> None:
    with pytest.raises(Unprocessable):
        await brands.change(hub, tenant.account_id, "test", **wrong)  # type: ignore[arg-type]
    assert await brands.of_account(hub, tenant.account_id) == brands.Brand(account_id=tenant.account_id, name="test")
    with pytest.raises(NotFound):
        await brands.change(hub, "acct-aaaaaaaaaaaaaaaa", "test", colour="#000000")


# What a browser sees elsewhere


async def test_a_browser_at_no_page_sees_one_and_a_program_sees_json(
    api: httpx.AsyncClient, browser: httpx.AsyncClient
) -> None:
    assert "connects solar systems" in assert_page(await browser.get("/", headers=HTML), 200)
    for path in ("/join", "/join/", "/join/nothing/here"):
        assert "connects solar systems" in assert_page(await browser.get(path, headers=HTML), 404)
        assert (await browser.get(path)).headers["content-type"] == "application/problem+json"
    assert (await browser.get("/")).status_code == 404
    assert (await browser.get("/nothing", headers=HTML)).headers["content-type"] == "application/problem+json"


async def test_a_flow_s_address_without_its_end_leads_an_owner_on(
    api: httpx.AsyncClient, browser: httpx.AsyncClient
) -> None:
    flow_id = await new_flow(api)
    answer = await browser.get(f"/join/flows/{flow_id}?state=s", headers=HTML)
    assert (answer.status_code, answer.headers["location"]) == (303, f"/join/flows/{flow_id}/authorize?state=s")
    assert (await browser.get(f"/join/flows/{flow_id}")).status_code == 401
    assert (await api.get(f"/join/flows/{flow_id}", headers=HTML)).json()["id"] == flow_id
