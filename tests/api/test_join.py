"""An owner's way through a join flow, and everything that can be sent instead of it."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import re
from collections.abc import Awaitable, Callable
from datetime import timedelta
from html import unescape
from typing import Any
from urllib.parse import parse_qs, urlencode, urljoin, urlsplit

import httpx
import pytest
from msgspec.structs import replace
from sqlalchemy import text

from api.conftest import NewBrowser
from api.fakes import (
    ACCESS_TOKEN,
    APP_SECRET,
    CLOUDY,
    OWNER_TOKEN,
    REDIRECT_URI,
    FakeVendor,
    Vendors,
    begin,
    come_back,
    connect,
    count,
    new_flow,
    result_of,
)
from halts import Halt
from joinder import errors
from joinder.redact import Secrets
from joinder.runtime.hub import Hub
from joinder.services.join.session_claims import MAX_ATTEMPTS

ENTRIES = {"host": "192.0.2.9", "token": OWNER_TOKEN, "note": "in the cellar"}
EVIL = '"><script>alert(1)</script>'


async def sql(hub: Hub, statement: str) -> None:
    async with hub.store.write() as session:
        await session.execute(text(statement))


def assert_page(answer: httpx.Response, status: int) -> str:
    """A page for strangers: small, without script or third parties, with its headers."""
    assert (answer.status_code, answer.headers["content-type"]) == (status, "text/html; charset=utf-8"), answer.text
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "base-uri 'none'" in policy
    assert "script-src" not in policy
    assert "unsafe" not in policy
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["referrer-policy"] == "no-referrer"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["x-frame-options"] == "DENY"
    assert answer.headers["cross-origin-opener-policy"] == "same-origin"
    assert "permissions-policy" in answer.headers
    html = answer.text
    assert len(answer.content) <= 60_000
    assert not re.search(r"<script|javascript:|\son\w+=|<iframe|<img|style=|<style", html, re.I)
    away = [link for link in re.findall(r'(?:src|href|action)="([^"]*)"', html) if "//" in link]
    assert [link for link in away if not link.startswith("https://integrator.example/")] == []
    assert '<html lang="en" dir="ltr">' in html
    return html


def token_of(html: str) -> str:
    found = re.search(r'name="form_token" value="([^"]+)"', html)
    assert found is not None
    return found.group(1)


async def form_of(browser: httpx.AsyncClient, token: str) -> str:
    return token_of(assert_page(await browser.get(f"/join/sessions/{token}"), 200))


async def send(
    browser: httpx.AsyncClient, session: str, headers: dict[str, str] | None = None, /, **fields: str
) -> httpx.Response:
    return await browser.post(f"/join/sessions/{session}", data=fields, headers=headers or {})


# Out to the vendor and back


async def test_an_owner_consents_at_the_vendor(
    api: httpx.AsyncClient, browser: httpx.AsyncClient, vendors: Vendors, hub: Hub
) -> None:
    flow_id = await new_flow(api)
    token = await begin(browser, flow_id, "their state & <more>")
    answer = await come_back(browser, token)
    result = result_of(answer)
    assert answer.headers["location"].startswith(REDIRECT_URI + "&state=")
    assert result["state"] == "their state & <more>"
    assert set(result) == {"tenant", "x", "state", "enrollmentID"}
    enrollment = (await api.get(f"/enrollments/{result['enrollmentID']}")).json()
    assert (enrollment["status"], enrollment["health"]["state"], enrollment["flowID"]) == (
        "enrolled",
        "connecting",
        flow_id,
    )
    assert enrollment["health"]["lineage"]["obtainedBy"] == "consent"
    listed = (await api.get("/sites")).json()
    assert (listed["sites"], listed["errors"]) == ([], {"sunny": "1 site(s) not read yet, so not listed"})
    assert vendors.sunny.calls == ["build_authorize_url", "handle_callback"]


async def test_the_verifier_the_plugin_gets_fits_the_challenge_the_vendor_got(
    api: httpx.AsyncClient, browser: httpx.AsyncClient, vendors: Vendors
) -> None:
    flow_id = await new_flow(api)
    for _ in range(2):
        await connect(api, browser, flow_id=flow_id)
    verifiers = [exchange.code_verifier or "" for exchange in vendors.sunny.exchanges]
    challenges = [request.code_challenge for request in vendors.sunny.requests]
    hashed = [base64.urlsafe_b64encode(hashlib.sha256(v.encode()).digest()).decode().rstrip("=") for v in verifiers]
    assert hashed == challenges
    assert len(set(verifiers)) == 2
    assert all(43 <= len(verifier) <= 128 for verifier in verifiers)  # RFC 7636 §4.1


async def test_a_vendor_without_pkce_gets_none(
    api: httpx.AsyncClient, browser: httpx.AsyncClient, vendors: Vendors
) -> None:
    token = await begin(browser, await new_flow(api, "cloudy"))
    result_of(await come_back(browser, token, "cloudy"))
    assert vendors.cloudy.requests[0].code_challenge is None
    assert vendors.cloudy.exchanges[0].code_verifier is None


@pytest.mark.parametrize(
    ("query", "comes_back"),
    [
        ({"external": "TOKEN"}, True),
        ({"state": "TOKEN"}, True),
        ({"external": "TOKEN", "state": "of-somebody-else"}, True),
        ({"external": "of-somebody-else", "state": "TOKEN"}, False),
        ({"external": "", "state": "TOKEN"}, True),
        ({"other": "TOKEN"}, False),
    ],
)
async def test_a_vendor_may_return_the_state_under_another_name(
    api: httpx.AsyncClient, browser: httpx.AsyncClient, hub: Hub, query: dict[str, str], comes_back: bool
) -> None:
    assert CLOUDY.oauth2 is not None
    windy = FakeVendor(
        replace(CLOUDY, name="windy", oauth2=replace(CLOUDY.oauth2, state_returned_as=("external", "state")))
    )
    hub.registry.add("windy", windy)
    token = await begin(browser, await new_flow(api, "windy"))
    sent = {name: token if value == "TOKEN" else value for name, value in query.items()}
    answer = await browser.get("/join/windy/auth-granted", params={"code": "code-1", "site_id": "7", **sent})
    assert (answer.status_code, len(windy.exchanges)) == ((303, 1) if comes_back else (400, 0))
    assert [dict(done.values) for done in windy.exchanges] == [{"code": "code-1", "site_id": "7"}] * comes_back


async def test_a_vendor_that_returns_no_state_is_sent_it_in_the_redirect_uri(
    api: httpx.AsyncClient, browser: httpx.AsyncClient, vendors: Vendors, hub: Hub, public_url: str
) -> None:
    silent = replace(CLOUDY.oauth2, state_in="redirect_uri")  # type: ignore[type-var]
    hub.registry.change("cloudy", lambda vendor: replace(vendor, oauth2=silent))
    started = await browser.get(f"/join/flows/{await new_flow(api, 'cloudy')}/authorize")
    (redirect_uri,) = parse_qs(urlsplit(started.headers["location"]).query)["redirect_uri"]
    own = f"{public_url}/join/cloudy/auth-granted"
    assert redirect_uri.startswith(f"{own}?state=")
    assert "enrollmentID" in result_of(await browser.get(f"{redirect_uri}&code=code-1"))
    (callback,) = vendors.cloudy.exchanges
    assert callback.redirect_uri == redirect_uri
    assert dict(callback.values) == {"code": "code-1"}
    again = await browser.get(f"{own}?code=code-1")  # without it nobody is found
    assert again.status_code == 400


async def test_the_plugin_gets_the_callback_without_our_state(
    api: httpx.AsyncClient, browser: httpx.AsyncClient, vendors: Vendors, public_url: str
) -> None:
    await come_back(browser, await begin(browser, await new_flow(api)), extra="1")
    callback = vendors.sunny.exchanges[0]
    assert dict(callback.values) == {"code": "code-1", "extra": "1"}
    assert callback.redirect_uri == f"{public_url}/join/sunny/auth-granted" == vendors.sunny.requests[0].redirect_uri


@pytest.mark.parametrize("state", [None, "", "x" * 1024, "äöü ✓", "a=b&c=d#e%2F", "\r\nset-cookie: x=y"])
async def test_the_integrators_state_comes_back_as_it_went(
    api: httpx.AsyncClient, browser: httpx.AsyncClient, state: str | None
) -> None:
    flow_id = await new_flow(api)
    query = {} if state is None else {"state": state}
    started = await browser.get(f"/join/flows/{flow_id}/authorize", params=query)
    token = parse_qs(urlsplit(started.headers["location"]).query)["state"][0]
    location = (await come_back(browser, token)).headers["location"]
    sent = parse_qs(urlsplit(location).query, keep_blank_values=True)
    assert sent.get("state") == (None if state is None else [state])
    assert "\r" not in location


async def test_without_a_query_of_its_own_the_redirect_uri_gets_one(
    api: httpx.AsyncClient, browser: httpx.AsyncClient
) -> None:
    flow_id = await new_flow(api, redirect_uri="https://integrator.example/back")
    answer = await come_back(browser, await begin(browser, flow_id))
    assert answer.headers["location"].startswith("https://integrator.example/back?state=their-state&enrollmentID=enrl-")


async def test_the_same_owner_again_keeps_enrollment_and_sites(
    api: httpx.AsyncClient, new_browser: NewBrowser, hub: Hub
) -> None:
    flow_id = await new_flow(api)
    first = await connect(api, await new_browser(), flow_id=flow_id)
    sites = (await api.get("/sites")).json()["sites"]
    versions = await hub.store.rows('SELECT version, sealed FROM "grant"', {})
    second = await connect(api, await new_browser(), flow_id=flow_id)
    assert second == first
    assert (await api.get("/sites")).json()["sites"] == sites
    (grant,) = await hub.store.rows('SELECT version, sealed FROM "grant"', {})
    assert grant[0] == versions[0][0] + 1
    assert grant[1] != versions[0][1]


async def test_another_owner_is_another_enrollment(
    api: httpx.AsyncClient, new_browser: NewBrowser, vendors: Vendors
) -> None:
    first = await connect(api, await new_browser())
    vendors.sunny.account_id, vendors.sunny.homes = "owner-2", {"site-2": next(iter(vendors.sunny.homes.values()))}
    assert await connect(api, await new_browser()) != first
    enrollments = (await api.get("/enrollments")).json()["enrollments"]
    assert len({site["id"] for enrollment in enrollments for site in enrollment["sites"]}) == 2


async def test_tokens_are_sealed_in_the_database(api: httpx.AsyncClient, browser: httpx.AsyncClient, hub: Hub) -> None:
    await connect(api, browser)
    for table in ("grant", "join_session", "enrollment", "event", "audit"):
        rows = await hub.store.rows(f'SELECT * FROM "{table}"', {})  # noqa: S608
        assert rows
        assert "canary" not in str([bytes(cell) if isinstance(cell, bytes) else cell for row in rows for cell in row])


@pytest.mark.parametrize(
    ("error", "oauth_error", "code"),
    [
        (errors.ConsentDenied("The owner did not give consent"), "access_denied", "user_denied"),
        (errors.TransientError("away"), "temporarily_unavailable", "vendor_unavailable"),
        (errors.VendorTimeout("slow"), "temporarily_unavailable", "vendor_timeout"),
        (
            errors.RateLimited("busy", retry_after=timedelta(seconds=5)),
            "temporarily_unavailable",
            "vendor_rate_limited",
        ),
        (errors.DeviceUnreachable("asleep"), "temporarily_unavailable", "device_unreachable"),
        (errors.UnexpectedPayload("html"), "server_error", "vendor_answer"),
        (errors.AppCredentialsRejected("app"), "server_error", "app_refused"),
        (errors.OperatorActionNeeded("register"), "server_error", "operator_action"),
        (errors.ConsentIncomplete("no refresh token"), "server_error", "scope_missing"),
        (errors.ApprovalRefused("no"), "server_error", "vendor_declined"),
        (errors.ConsentInvalid("code refused"), "server_error", "code_refused"),
        (RuntimeError(f"canary {ACCESS_TOKEN}"), "server_error", "plugin_bug"),
    ],
)
async def test_a_failure_at_the_vendor_goes_back_to_the_integrator(
    api: httpx.AsyncClient,
    browser: httpx.AsyncClient,
    vendors: Vendors,
    hub: Hub,
    error: Exception,
    oauth_error: str,
    code: str,
) -> None:
    token = await begin(browser, await new_flow(api))
    vendors.sunny.failures["handle_callback"] = error
    answer = await come_back(browser, token)
    result = result_of(answer)
    assert (result["error"], result["error_code"], result["state"]) == (oauth_error, code, "their-state")
    assert result["error_description"]
    assert "enrollmentID" not in result
    assert "canary" not in answer.headers["location"]
    assert await count(hub, "enrollment") == 0
    vendors.sunny.failures.clear()
    again = await come_back(browser, token)  # the session is over, and leads to the same end
    assert again.headers["location"] == answer.headers["location"]
    assert vendors.exchanges == 0


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ({"error": "access_denied"}, "access_denied"),
        ({"error": "access_denied", "code": "code-1"}, "access_denied"),
        ({"error": "server_error"}, "temporarily_unavailable"),
        ({"error": "invalid_scope", "error_description": EVIL}, "server_error"),
        ({}, "server_error"),
        ({"code": ""}, "server_error"),
    ],
)
async def test_a_callback_without_a_usable_code_is_never_exchanged(
    api: httpx.AsyncClient, browser: httpx.AsyncClient, vendors: Vendors, hub: Hub, query: dict[str, str], code: str
) -> None:
    token = await begin(browser, await new_flow(api))
    answer = await browser.get("/join/sunny/auth-granted", params={"state": token, **query})
    assert result_of(answer)["error"] == code
    assert "alert" not in answer.headers["location"]
    assert vendors.exchanges == 0
    assert await count(hub, "enrollment") == 0


async def test_a_reload_after_success_leads_to_the_same_place_without_another_call(
    api: httpx.AsyncClient, browser: httpx.AsyncClient, vendors: Vendors
) -> None:
    token = await begin(browser, await new_flow(api))
    first = await come_back(browser, token)
    again = await come_back(browser, token)
    assert again.headers["location"] == first.headers["location"]
    assert vendors.exchanges == 1


async def test_of_two_callbacks_at_once_one_is_exchanged(
    api: httpx.AsyncClient, browser: httpx.AsyncClient, vendors: Vendors, hub: Hub
) -> None:
    token = await begin(browser, await new_flow(api))
    vendors.sunny.before_consent = halt = Halt()
    first = asyncio.create_task(come_back(browser, token))
    await halt.arrived.wait()
    others = [asyncio.create_task(come_back(browser, token)) for _ in range(4)]
    await asyncio.sleep(0.3)
    assert not any(other.done() for other in others)
    halt.go.set()
    assert "enrollmentID" in result_of(await first)
    for other in await asyncio.gather(*others):
        assert other.headers["location"] == (await first).headers["location"]
    assert vendors.exchanges == 1
    assert await count(hub, "enrollment") == 1


async def test_two_tabs_do_not_disturb_each_other(
    api: httpx.AsyncClient, browser: httpx.AsyncClient, vendors: Vendors
) -> None:
    flow_id = await new_flow(api)
    tokens = [await begin(browser, flow_id), await begin(browser, flow_id)]
    for token in reversed(tokens):
        assert "enrollmentID" in result_of(await come_back(browser, token))


# Where an owner starts


async def test_several_vendors_are_offered_in_order_of_their_names(
    api: httpx.AsyncClient, browser: httpx.AsyncClient
) -> None:
    flow_id = await new_flow(api, "sunny", "cloudy", "boxy")
    html = assert_page(await browser.get(f"/join/flows/{flow_id}/authorize", params={"state": EVIL}), 200)
    labels = [unescape(label) for label in re.findall(r'class="button"[^>]*>([^<]*)</a>', html)]
    assert labels == ["Boxy & Sons", "Cloudy", "Sunny <Home>"]
    assert "alert(1)<" not in html
    link = unescape(re.findall(r'href="(/join/flows[^"]*)"', html)[2])
    assert parse_qs(urlsplit(link).query) == {"vendor": ["sunny"], "state": [EVIL]}
    assert (await browser.get(link)).headers["location"].startswith("https://sunny.example/authorize?")


STARTS: list[tuple[str, int]] = [
    ("/join/flows/flow-aaaaaaaaaaaaaaaa/authorize", 404),
    ("/join/flows/x/authorize", 404),
    ("/join/flows/%00/authorize", 404),
    (f"/join/flows/{'a' * 3000}/authorize", 404),
    ("/join/flows/FLOW/authorize?vendor=nobody", 400),
    ("/join/flows/FLOW/authorize?vendor=", 400),
    ("/join/flows/FLOW/authorize?vendor=boxy", 400),
    ("/join/flows/FLOW/authorize?vendor=sunny&vendor=sunny", 400),
    ("/join/flows/FLOW/authorize?state=a&state=b", 400),
    ("/join/flows/FLOW/authorize?state=" + "x" * 1025, 400),
    ("/join/flows/FLOW/authorize?state=" + "x" * 60_000, 400),
    ("/join/flows/FLOW/authorize?" + "&".join(f"a{n}=1" for n in range(60)), 400),
    ("/join/flows/FLOW/authorize?vendor=%3Cscript%3E", 400),
]


async def test_a_link_that_does_not_work_says_so(
    api: httpx.AsyncClient, browser: httpx.AsyncClient, vendors: Vendors, hub: Hub
) -> None:
    flow_id = await new_flow(api)
    for path, status in STARTS:
        answer = await browser.get(path.replace("FLOW", flow_id))
        html = assert_page(answer, status)
        assert "xxxx" not in html
        assert "set-cookie" not in answer.headers
    assert vendors.sunny.calls == []
    assert await count(hub, "join_session") == 0


async def test_a_redirect_uri_in_the_request_is_not_used(api: httpx.AsyncClient, browser: httpx.AsyncClient) -> None:
    flow_id = await new_flow(api)
    evil = {"redirect_uri": "https://evil.example/", "redirectURI": "https://evil.example/"}
    started = await browser.get(f"/join/flows/{flow_id}/authorize", params={"state": "s", **evil})
    assert "evil" not in started.headers["location"]
    token = parse_qs(urlsplit(started.headers["location"]).query)["state"][0]
    assert "evil" not in (await come_back(browser, token, **evil)).headers["location"]


@pytest.mark.parametrize(
    ("error", "status"), [(errors.TransientError("away"), 503), (errors.PluginBug("x"), 502), (RuntimeError("x"), 502)]
)
async def test_a_start_that_fails_is_a_page(
    api: httpx.AsyncClient, browser: httpx.AsyncClient, vendors: Vendors, error: Exception, status: int
) -> None:
    flow_id = await new_flow(api)
    vendors.sunny.failures["build_authorize_url"] = error
    answer = await browser.get(f"/join/flows/{flow_id}/authorize")
    assert_page(answer, status)
    assert ("retry-after" in answer.headers) == (status == 503)


async def test_our_own_bug_is_a_page_without_its_text(
    api: httpx.AsyncClient, browser: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    flow_id = await new_flow(api)

    async def broken(*_: Any) -> None:
        raise RuntimeError("canary")

    monkeypatch.setattr("joinder.services.join.join_sessions.start", broken)
    assert "canary" not in assert_page(await browser.get(f"/join/flows/{flow_id}/authorize"), 500)


async def test_the_cookie_belongs_to_one_session(api: httpx.AsyncClient, browser: httpx.AsyncClient) -> None:
    answer = await browser.get(f"/join/flows/{await new_flow(api)}/authorize")
    name, _, attributes = answer.headers["set-cookie"].partition("=")
    assert name.startswith("join-")
    parts = {part.strip().lower() for part in attributes.split(";")[1:]}
    assert parts >= {"httponly", "path=/", "samesite=lax", "max-age=1800"}
    assert "secure" not in parts  # http on loopback
    assert len(attributes.split(";")[0]) >= 43  # 256 bits


@pytest.mark.parametrize("public_url", ["https://hub.example"])
async def test_the_cookie_on_https_is_bound_to_the_host(api: httpx.AsyncClient, browser: httpx.AsyncClient) -> None:
    flow_id = await new_flow(api)
    answer = await browser.get(f"/join/flows/{flow_id}/authorize")
    name, _, attributes = answer.headers["set-cookie"].partition("=")
    parts = {part.strip().lower() for part in attributes.split(";")[1:]}
    assert name.startswith("__Host-join-")
    assert parts >= {"secure", "httponly", "path=/", "samesite=lax"}
    assert not any(part.startswith("domain") for part in parts)
    assert "enrollmentID" in result_of(await come_back(browser, await begin(browser, flow_id)))


# Hostile callbacks: no plugin call, no new row, a page


class Scene:
    """A session an owner began, and the means of somebody who wants to abuse it."""

    def __init__(self, hub: Hub, api: httpx.AsyncClient, new_browser: NewBrowser) -> None:
        self.hub, self.api, self.new_browser = hub, api, new_browser
        self.flow_id = self.token = ""
        self.owner = self.stranger = api

    async def prepare(self) -> Scene:
        self.flow_id = await new_flow(self.api, "sunny")
        self.owner, self.stranger = await self.new_browser(), await self.new_browser()
        self.token = await begin(self.owner, self.flow_id, "canary-state")
        return self

    async def get(self, query: str, path: str = "/join/sunny/auth-granted", **more: Any) -> httpx.Response:
        return await self.owner.get(f"{path}?{query.replace('TOKEN', self.token)}", **more)

    async def without_cookie(self) -> httpx.Response:
        return await come_back(self.stranger, self.token)

    async def with_another_sessions_cookie(self) -> httpx.Response:
        await begin(self.stranger, self.flow_id)
        return await come_back(self.stranger, self.token)

    async def with_another_sessions_cookie_renamed(self) -> httpx.Response:
        (name,) = self.owner.cookies
        await begin(self.stranger, self.flow_id)
        (other,) = list(self.stranger.cookies.values())
        return await self.stranger.get(
            "/join/sunny/auth-granted", params={"state": self.token, "code": "c"}, headers={"cookie": f"{name}={other}"}
        )

    async def with_cookie(self, value: str) -> httpx.Response:
        (name,) = self.owner.cookies
        self.owner.cookies.clear()
        headers = [(b"cookie", f"{name}={value}".encode("latin-1"))]
        return await self.owner.get(
            "/join/sunny/auth-granted", params={"state": self.token, "code": "c"}, headers=headers
        )

    async def with_the_state_as_cookie(self) -> httpx.Response:
        return await self.with_cookie(self.token)

    async def attackers_link_in_the_victims_browser(self) -> httpx.Response:
        """The attacker began a session and consented with an own code; the victim opens the callback."""
        return await self.stranger.get(f"/join/sunny/auth-granted?state={self.token}&code=attackers-code")

    async def expired(self) -> httpx.Response:
        await sql(self.hub, "UPDATE join_session SET expires_at = 1")
        return await come_back(self.owner, self.token)

    async def flow_deleted(self) -> httpx.Response:
        await self.api.delete(f"/join/flows/{self.flow_id}")
        return await come_back(self.owner, self.token)

    async def session_gone(self) -> httpx.Response:
        await sql(self.hub, "DELETE FROM join_session")
        return await come_back(self.owner, self.token)

    async def attempts_used_up(self) -> httpx.Response:
        await sql(self.hub, "UPDATE join_session SET attempts = 5")
        return await come_back(self.owner, self.token)

    async def used_without_result(self) -> httpx.Response:
        await sql(self.hub, "UPDATE join_session SET used_at = 1")
        return await come_back(self.owner, self.token)

    async def at_another_vendors_path(self) -> httpx.Response:
        return await come_back(self.owner, self.token, "cloudy")

    async def form_of_a_redirect_session(self) -> httpx.Response:
        return await self.owner.get(f"/join/sessions/{self.token}")

    async def form_sent_to_a_redirect_session(self) -> httpx.Response:
        return await send(self.owner, self.token, code="c", form_token="x")


def asked(query: str, path: str = "/join/sunny/auth-granted") -> Callable[[Scene], Awaitable[httpx.Response]]:
    return lambda scene: scene.get(query, path)


HOSTILE: dict[str, tuple[Callable[[Scene], Awaitable[httpx.Response]], int]] = {
    "no cookie": (Scene.without_cookie, 400),
    "another session's cookie": (Scene.with_another_sessions_cookie, 400),
    "another session's cookie under this one's name": (Scene.with_another_sessions_cookie_renamed, 400),
    "an empty cookie": (lambda scene: scene.with_cookie(""), 400),
    "a guessed cookie": (lambda scene: scene.with_cookie("1"), 400),
    "a cookie outside ascii": (lambda scene: scene.with_cookie("é"), 400),
    "the state as cookie": (Scene.with_the_state_as_cookie, 400),
    "session fixation": (Scene.attackers_link_in_the_victims_browser, 400),
    "expired": (Scene.expired, 400),
    "flow deleted": (Scene.flow_deleted, 404),
    "session gone": (Scene.session_gone, 400),
    "attempts used up": (Scene.attempts_used_up, 400),
    "used without a result": (Scene.used_without_result, 400),
    "another vendor's path": (Scene.at_another_vendors_path, 400),
    "a vendor nobody knows": (asked("state=TOKEN&code=c", "/join/nobody/auth-granted"), 400),
    "a form vendor's path": (asked("state=TOKEN&code=c", "/join/boxy/auth-granted"), 400),
    "vendor in capitals": (asked("state=TOKEN&code=c", "/join/SUNNY/auth-granted"), 400),
    "vendor with a nul": (asked("state=TOKEN&code=c", "/join/sunny%00/auth-granted"), 400),
    "vendor as html": (asked("state=TOKEN&code=c", "/join/%3Cscript%3E/auth-granted"), 400),
    "form of a redirect session": (Scene.form_of_a_redirect_session, 400),
    "form sent to a redirect session": (Scene.form_sent_to_a_redirect_session, 400),
    "no query": (asked(""), 400),
    "no state": (asked("code=c"), 400),
    "empty state": (asked("state=&code=c"), 400),
    "state without value": (asked("state&code=c"), 400),
    "unknown state": (asked("state=" + "A" * 43 + "&code=c"), 400),
    "the integrator's state": (asked("state=canary-state&code=c"), 400),
    "state cut": (lambda scene: scene.get(f"state={scene.token[:-1]}&code=c"), 400),
    "state longer": (asked("state=TOKENA&code=c"), 400),
    "state in other case": (lambda scene: scene.get(f"state={scene.token.swapcase()}&code=c"), 400),
    "blank after state": (asked("state=TOKEN%20&code=c"), 400),
    "line break after state": (asked("state=TOKEN%0d%0aset-cookie:x&code=c"), 400),
    "nul after state": (asked("state=TOKEN%00&code=c"), 400),
    "state of 60 kB": (asked("state=" + "x" * 60_000 + "&code=c"), 400),
    "state in unicode": (asked("state=" + "%E2%9C%93" * 20 + "&code=c"), 400),
    "state not utf-8": (asked("state=" + "%ff" * 43 + "&code=c"), 400),
    "state a wildcard": (asked("state=" + "%25" * 43 + "&code=c"), 400),
    "state as sql": (asked("state=x'%20OR%201=1--%20aaaaaaaaaaaaaaaaaaaaaa&code=c"), 400),
    "state as html": (asked("state=%3Cscript%3Ealert(1)%3C/script%3E&code=c"), 400),
    "state twice": (asked("state=TOKEN&state=TOKEN&code=c"), 400),
    "two states, ours first": (asked(f"state=TOKEN&state={'A' * 43}&code=c"), 400),
    "two states, ours last": (asked(f"state={'A' * 43}&state=TOKEN&code=c"), 400),
    "code twice": (asked("state=TOKEN&code=a&code=b"), 400),
    "an array of states": (asked("state[]=TOKEN&code=c"), 400),
    "sixty parameters": (asked("state=TOKEN&" + "&".join(f"a{n}=1" for n in range(60))), 400),
    "the path of a session": (asked("code=c", "/join/sessions/" + "A" * 43), 400),
    "a session of 60 kB": (asked("code=c", "/join/sessions/" + "A" * 60_000), 400),
}


async def test_a_hostile_callback_reaches_no_vendor(
    api: httpx.AsyncClient, new_browser: NewBrowser, vendors: Vendors, hub: Hub
) -> None:
    assert len(HOSTILE) >= 45
    for name, (hostile, status) in HOSTILE.items():
        scene = await Scene(hub, api, new_browser).prepare()
        vendors.sunny.calls.clear()
        answer = await hostile(scene)
        assert answer.status_code == status, (name, answer.text)
        html = assert_page(answer, status)
        assert vendors.sunny.calls in ([], ["build_authorize_url"]), name  # the stranger's own start
        assert (vendors.cloudy.calls, vendors.boxy.calls) == ([], []), name
        for table in ("enrollment", "site", "grant", "due"):
            assert await count(hub, table) == 0, (name, table)
        assert await count(hub, "event", "type <> 'join.failed'") == 0, name
        assert scene.token not in html, name
        assert "attackers-code" not in html, name
        assert "set-cookie" not in answer.headers, name
        restart = f"/join/flows/{scene.flow_id}/authorize?vendor=sunny&state=canary-state"
        assert "canary" not in unescape(html).replace(restart, ""), name


async def test_the_untouched_session_would_have_worked(
    api: httpx.AsyncClient, new_browser: NewBrowser, hub: Hub
) -> None:
    """Or the table above would prove nothing."""
    scene = await Scene(hub, api, new_browser).prepare()
    assert "enrollmentID" in result_of(await come_back(scene.owner, scene.token))


async def test_a_hostile_callback_does_not_end_the_owners_session(
    api: httpx.AsyncClient, new_browser: NewBrowser, hub: Hub
) -> None:
    scene = await Scene(hub, api, new_browser).prepare()
    for attack in (scene.without_cookie, scene.with_another_sessions_cookie, scene.at_another_vendors_path):
        await attack()
    await scene.get("state=TOKEN&state=TOKEN&code=c")
    assert "enrollmentID" in result_of(await come_back(scene.owner, scene.token))


async def test_what_was_cancelled_is_never_exchanged(
    api: httpx.AsyncClient, new_browser: NewBrowser, vendors: Vendors, hub: Hub
) -> None:
    scene = await Scene(hub, api, new_browser).prepare()
    await send(scene.owner, scene.token, action="cancel")
    assert result_of(await come_back(scene.owner, scene.token))["error_code"] == "user_denied"
    assert vendors.exchanges == 0


async def test_an_expired_session_offers_to_start_again(
    api: httpx.AsyncClient, new_browser: NewBrowser, hub: Hub
) -> None:
    scene = await Scene(hub, api, new_browser).prepare()
    html = assert_page(await scene.expired(), 400)
    link = unescape(re.findall(r'href="(/join/flows[^"]*)"', html)[0])
    started = await scene.owner.get(link)
    token = parse_qs(urlsplit(started.headers["location"]).query)["state"][0]
    assert result_of(await come_back(scene.owner, token))["state"] == "canary-state"


async def test_owners_of_a_refused_app_stay_and_read_whose_fault_it_is(
    api: httpx.AsyncClient, browser: httpx.AsyncClient, vendors: Vendors, hub: Hub
) -> None:
    flow_id = await new_flow(api)
    await sql(hub, "UPDATE vendor_credentials SET rejected_at = 1")
    answer = await browser.get(f"/join/flows/{flow_id}/authorize")
    html = unescape(assert_page(answer, 503))
    assert "This is not your fault" in html
    assert "test is not accepted by Sunny <Home> at the moment" in html
    assert "/join/flows/" not in html  # starting again cannot help
    assert "set-cookie" not in answer.headers
    assert vendors.sunny.calls == []
    (event,) = (await api.get("/events", params={"type": "join.failed"})).json()["events"]
    assert (event["data"]["code"], event["data"]["flowID"]) == ("app_refused", flow_id)


async def test_an_app_that_was_changed_meanwhile_sends_the_owner_to_the_start(
    api: httpx.AsyncClient, browser: httpx.AsyncClient, vendors: Vendors, hub: Hub
) -> None:
    token = await begin(browser, await new_flow(api))
    (row,) = (await api.get("/vendor-credentials")).json()["vendorCredentials"]
    await api.patch(f"/vendor-credentials/{row['id']}", json={"credentials": {"clientID": "app-2"}})
    html = assert_page(await come_back(browser, token), 409)
    assert vendors.exchanges == 0
    link = unescape(re.findall(r'href="(/join/flows[^"]*)"', html)[0])
    started = await browser.get(link)
    token = parse_qs(urlsplit(started.headers["location"]).query)["state"][0]
    assert "enrollmentID" in result_of(await come_back(browser, token))


async def test_a_form_whose_maker_is_away_is_taken(
    api: httpx.AsyncClient, browser: httpx.AsyncClient, vendors: Vendors, hub: Hub
) -> None:
    token = await begin(browser, await new_flow(api, "boxy"))
    vendors.boxy.failures["handle_callback"] = errors.TransientError("away")
    result = result_of(await send(browser, token, form_token=await form_of(browser, token), **ENTRIES))
    shown = (await api.get(f"/enrollments/{result['enrollmentID']}")).json()
    assert (shown["health"]["state"], shown["sites"]) == ("connecting", [])
    assert OWNER_TOKEN not in str(shown)


# Our own form


@pytest.fixture
async def form(api: httpx.AsyncClient, browser: httpx.AsyncClient) -> tuple[str, str]:
    """A session at boxy: its token and its form token."""
    token = await begin(browser, await new_flow(api, "boxy"), EVIL)
    return token, await form_of(browser, token)


async def test_an_owner_fills_in_the_form(
    api: httpx.AsyncClient, browser: httpx.AsyncClient, form: tuple[str, str], vendors: Vendors
) -> None:
    answer = await send(browser, form[0], form_token=form[1], action="connect", **{**ENTRIES, "host": " 192.0.2.9\n"})
    result = result_of(answer)
    assert result["state"] == EVIL
    assert "<" not in answer.headers["location"]
    (callback,) = vendors.boxy.exchanges
    assert dict(callback.values) == ENTRIES
    assert (callback.redirect_uri, callback.code_verifier) == (None, None)
    enrollment = (await api.get(f"/enrollments/{result['enrollmentID']}")).json()
    assert (enrollment["vendor"], enrollment["status"]) == ("boxy", "enrolled")


async def test_the_form_says_what_is_read_and_escapes_what_vendors_say(
    browser: httpx.AsyncClient, form: tuple[str, str]
) -> None:
    html = assert_page(await browser.get(f"/join/sessions/{form[0]}"), 200)
    assert "<title>Connect your Boxy &amp; Sons</title>" in html
    assert "Open the &lt;app&gt;." in html
    assert "What will be read" in html
    assert "What will not be read" in html
    assert 'type="password"' in html
    assert "novalidate" in html
    assert not re.search(r"<(?:input|textarea)[^>]*\srequired", html)
    for name in ("host", "token", "note"):
        assert f'<label for="{name}">' in html
        assert f'id="{name}"' in html


async def test_what_does_not_fit_is_shown_again_without_the_secret(
    browser: httpx.AsyncClient, form: tuple[str, str], vendors: Vendors, hub: Hub
) -> None:
    wrong = f"Wrong {EVIL}"
    vendors.boxy.failures["handle_callback"] = errors.ConsentInvalid("no", fields={"token": wrong})
    entries = {"host": f"box{EVIL}", "token": OWNER_TOKEN, "note": f"note{EVIL}"}
    html = assert_page(await send(browser, form[0], form_token=form[1], **entries), 422)
    assert "<title>Error: Connect your Boxy &amp; Sons</title>" in html
    assert 'role="alert"' in html
    assert '<a href="#token">' in html
    assert 'aria-invalid="true"' in html
    assert OWNER_TOKEN not in html
    assert unescape(html).count(f"box{EVIL}") == 1
    assert unescape(html).count(f"note{EVIL}") == 1
    assert unescape(html).count(wrong) == 2
    assert vendors.boxy.calls == ["handle_callback"]
    for table in ("enrollment", "site", "grant"):
        assert await count(hub, table) == 0
    vendors.boxy.failures.clear()
    result_of(await send(browser, form[0], form_token=token_of(html), **ENTRIES))


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (errors.DeviceUnreachable("m"), 503),
        (errors.AuthorizationLost("m"), 422),
        (errors.ConsentInvalid("m"), 422),
        (errors.AppCredentialsRejected("m"), 502),
        (RuntimeError("canary"), 500),
    ],
)
async def test_only_what_the_owner_can_correct_is_a_422(
    browser: httpx.AsyncClient, form: tuple[str, str], vendors: Vendors, hub: Hub, error: Exception, status: int
) -> None:
    vendors.boxy.failures["handle_callback"] = error
    answer = await send(browser, form[0], form_token=form[1], **ENTRIES)
    html = assert_page(answer, status)
    assert ("retry-after" in answer.headers) == (status == 503)
    assert ("Nothing was saved" in html) == (status == 503)
    assert "canary" not in html
    assert "<title>Error: " in html
    assert await count(hub, "enrollment") == 0


async def test_missing_and_overlong_entries_reach_no_vendor(
    browser: httpx.AsyncClient, form: tuple[str, str], vendors: Vendors
) -> None:
    for field, entry in (("host", ""), ("host", " \t"), ("token", ""), ("host", "x" * 101), ("note", "x" * 101)):
        html = assert_page(await send(browser, form[0], form_token=form[1], **{**ENTRIES, field: entry}), 422)
        assert re.findall(r'<a href="#(\w+)">', html) == [field]
    assert vendors.boxy.calls == []


async def test_fields_nobody_declared_are_not_passed_on(
    browser: httpx.AsyncClient, form: tuple[str, str], vendors: Vendors
) -> None:
    result_of(await send(browser, form[0], form_token=form[1], admin="1", site_ids="x", **ENTRIES))
    assert set(vendors.boxy.exchanges[0].values) == {"host", "token", "note"}


ELSEWHERE = [
    {"origin": "https://evil.example"},
    {"origin": "http://127.0.0.1:8080.evil.example"},
    {"origin": "http://127.0.0.1:9999"},
    {"sec-fetch-site": "cross-site"},
    {"sec-fetch-site": "same-site"},
    {"origin": "http://127.0.0.1:8080", "sec-fetch-site": "cross-site"},
]


@pytest.mark.parametrize("action", ["connect", "cancel"])
async def test_a_form_from_elsewhere_is_refused(
    browser: httpx.AsyncClient, form: tuple[str, str], vendors: Vendors, action: str
) -> None:
    for headers in ELSEWHERE:
        assert_page(await send(browser, form[0], headers, form_token=form[1], action=action, **ENTRIES), 403)
    assert vendors.boxy.calls == []
    result_of(await send(browser, form[0], form_token=form[1], **ENTRIES))


@pytest.mark.parametrize(
    "headers", [{"origin": "http://127.0.0.1:8080"}, {"origin": "null"}, {"sec-fetch-site": "same-origin"}]
)
async def test_what_browsers_send_with_our_own_form_is_accepted(
    browser: httpx.AsyncClient, form: tuple[str, str], headers: dict[str, str]
) -> None:
    """`null` too: browsers send it under Referrer-Policy no-referrer, and the form's token decides."""
    result_of(await send(browser, form[0], headers, form_token=form[1], **ENTRIES))


async def test_a_form_without_its_own_token_is_refused(
    api: httpx.AsyncClient, browser: httpx.AsyncClient, form: tuple[str, str], vendors: Vendors
) -> None:
    other = await form_of(browser, await begin(browser, await new_flow(api, "boxy")))
    for fields in ({}, {"form_token": ""}, {"form_token": "x"}, {"form_token": other}, {"form_token": "é"}):
        assert_page(await send(browser, form[0], **fields, **ENTRIES), 403)
    twice = urlencode([("form_token", form[1]), ("form_token", form[1]), *ENTRIES.items()])
    assert_page(await browser.post(f"/join/sessions/{form[0]}", content=twice), 400)
    assert vendors.boxy.calls == []


async def test_a_stranger_sees_no_form_and_sends_none(
    new_browser: NewBrowser, form: tuple[str, str], vendors: Vendors
) -> None:
    stranger = await new_browser()
    assert_page(await stranger.get(f"/join/sessions/{form[0]}"), 400)
    assert_page(await send(stranger, form[0], form_token=form[1], **ENTRIES), 400)
    assert_page(await send(stranger, form[0], action="cancel"), 400)
    assert vendors.boxy.calls == []


async def test_guessing_ends_after_five_attempts(
    browser: httpx.AsyncClient, form: tuple[str, str], vendors: Vendors
) -> None:
    vendors.boxy.failures["handle_callback"] = errors.ConsentInvalid("no")
    for _ in range(MAX_ATTEMPTS):
        assert_page(await send(browser, form[0], form_token=form[1], **ENTRIES), 422)
    vendors.boxy.failures.clear()
    assert_page(await send(browser, form[0], form_token=form[1], **ENTRIES), 400)
    assert len(vendors.boxy.calls) == MAX_ATTEMPTS == 5
    assert vendors.exchanges == 0


async def test_an_owner_who_cancels_goes_back_with_access_denied(
    browser: httpx.AsyncClient, form: tuple[str, str], vendors: Vendors, hub: Hub
) -> None:
    result = result_of(await send(browser, form[0], form_token=form[1], action="cancel", host="", token=""))
    assert (result["error"], result["error_code"], result["state"]) == ("access_denied", "user_denied", EVIL)
    assert result_of(await send(browser, form[0], form_token=form[1], **ENTRIES)) == result
    assert vendors.boxy.calls == []
    assert await count(hub, "enrollment") == 0


async def test_sent_twice_is_enrolled_once(
    browser: httpx.AsyncClient, form: tuple[str, str], vendors: Vendors, hub: Hub
) -> None:
    vendors.boxy.before_consent = halt = Halt()
    first = asyncio.create_task(send(browser, form[0], form_token=form[1], **ENTRIES))
    await halt.arrived.wait()
    second = asyncio.create_task(send(browser, form[0], form_token=form[1], **ENTRIES))
    await asyncio.sleep(0.3)
    assert not second.done()
    halt.go.set()
    location = (await first).headers["location"]
    assert (await second).headers["location"] == location
    reload = await send(browser, form[0], form_token=form[1], **ENTRIES)
    assert (reload.status_code, reload.headers["location"]) == (303, location)
    assert "Boxy &amp; Sons is connected" in assert_page(await browser.get(f"/join/sessions/{form[0]}"), 200)
    assert vendors.exchanges == 1
    assert await count(hub, "enrollment") == 1


async def test_an_owner_who_closes_the_page_meanwhile_is_enrolled(
    browser: httpx.AsyncClient, form: tuple[str, str], vendors: Vendors, hub: Hub
) -> None:
    """The vendor has spent the token by then; dropping its answer would lose it."""
    arrived, go, stored = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def wait() -> None:
        arrived.set()
        await go.wait()
        stored.set()

    vendors.boxy.before_consent = wait
    request = asyncio.create_task(send(browser, form[0], form_token=form[1], **ENTRIES))
    await arrived.wait()
    request.cancel()
    go.set()
    await stored.wait()
    for _ in range(200):
        if await count(hub, "enrollment"):
            break
        await asyncio.sleep(0.02)
    assert await count(hub, "enrollment") == 1


async def test_a_body_too_large_is_refused(browser: httpx.AsyncClient, form: tuple[str, str]) -> None:
    answer = await send(browser, form[0], form_token=form[1], host="x" * 300_000, token="t")
    assert answer.status_code == 413


async def test_no_page_holds_a_secret(
    api: httpx.AsyncClient, browser: httpx.AsyncClient, form: tuple[str, str], vendors: Vendors
) -> None:
    held = Secrets({"token": OWNER_TOKEN})  # as the plugin holds it when it raises
    vendors.boxy.failures["handle_callback"] = errors.ConsentInvalid(f"text {held['token']}")
    pages = [
        await send(browser, form[0], form_token=form[1], **ENTRIES),
        await browser.get(f"/join/sessions/{form[0]}"),
        await browser.get(f"/join/flows/{await new_flow(api, 'sunny', 'boxy')}/authorize"),
    ]
    for page in pages:
        assert OWNER_TOKEN not in page.text
        assert APP_SECRET not in page.text


async def test_a_form_is_sent_without_the_field_that_a_link_of_the_page_named(
    browser: httpx.AsyncClient, form: tuple[str, str]
) -> None:
    """A form without an address takes the page's, `#host` too, and then the browser goes there, not to the problem."""
    shown = await send(browser, form[0], form_token=form[1], token="t")
    assert 'href="#host"' in shown.text
    (action,) = re.findall(r'<form [^>]*action="([^"]+)"', shown.text)
    page = f"{browser.base_url}join/sessions/{form[0]}"
    assert urljoin(f"{page}#host", unescape(action)) == page


async def test_the_icon_of_pages_is_there_and_ours(browser: httpx.AsyncClient, form: tuple[str, str]) -> None:
    """A browser that is told of none asks for one all the same, at /favicon.ico."""
    shown = await browser.get(f"/join/sessions/{form[0]}")
    (named,) = re.findall(r'<link rel="icon" href="([^"]+)"', shown.text)
    answer = await browser.get(named)
    assert (answer.status_code, answer.headers["content-type"]) == (200, "image/svg+xml")
    assert "script" not in answer.text


async def test_the_stylesheet_is_ours_and_small(browser: httpx.AsyncClient) -> None:
    answer = await browser.get("/join/style.css")
    assert answer.headers["content-type"].startswith("text/css")
    assert len(answer.content) < 10_000
    assert "url(" not in answer.text
    assert "@import" not in answer.text
