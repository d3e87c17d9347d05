"""S25 S23: headers on every answer, whoever made it; a Host that is none; bodies with lists of any length."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from litestar import Litestar
from litestar.exceptions import HTTPException

from api.fakes import assert_problem, new_flow
from joinder.api.asking import MEMBERS_MOST
from joinder.api.problems import ERRORS_MOST

EVERY = {
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
}
ASKED = (
    ("GET", "/health/live"),
    ("GET", "/nothing/here"),
    ("GET", "/sites"),
    ("PUT", "/sites"),
    ("POST", "/oauth2/token"),
    ("POST", "/join/flows"),
    ("GET", "/openapi.json"),
    ("GET", "/.well-known/jwks.json"),
    ("GET", "/.well-known/nothing"),
    ("GET", "/join/style.css"),
    ("GET", "/join/flows/none/authorize"),
    ("GET", "/join/sunny/auth-granted"),
    ("GET", "/join/sessions/x"),
    ("POST", "/join/sessions/x"),
    ("GET", "/docs/api"),
    ("GET", "/%ff"),
    ("BREW", "/sites"),
)


@pytest.mark.parametrize(("method", "path"), ASKED)
async def test_every_answer_carries_them(anonymous: httpx.AsyncClient, method: str, path: str) -> None:
    answer = await anonymous.request(method, path)
    assert {name: answer.headers.get(name) for name in EVERY} == EVERY, answer.status_code
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "form-action 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert all(len(answer.headers.get_list(name)) == 1 for name in (*EVERY, "content-security-policy"))
    assert "strict-transport-security" not in answer.headers


class TestHttps:
    @pytest.fixture
    def public_url(self) -> str:
        return "https://hub.example"

    @pytest.mark.parametrize(("method", "path"), ASKED)
    async def test_https_is_kept(self, anonymous: httpx.AsyncClient, method: str, path: str) -> None:
        answer = await anonymous.request(method, path)
        assert answer.headers.get_list("strict-transport-security") == ["max-age=31536000"]


async def test_an_answer_to_a_bug_carries_them_too(
    app: Litestar, anonymous: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(*_: Any) -> None:
        raise HTTPException(status_code=599)

    monkeypatch.setattr("joinder.services.grants.durability.ready", broken)
    answer = await anonymous.get("/health/ready")
    assert answer.status_code == 500
    assert answer.headers["x-content-type-options"] == "nosniff"


async def test_a_form_may_lead_to_the_integrator_and_to_no_script(
    api: httpx.AsyncClient, browser: httpx.AsyncClient
) -> None:
    for redirect_uri, allowed in (
        ("https://integrator.example/back", "form-action 'self' https:"),
        ("http://127.0.0.1:9000/back", "form-action 'self' https: http:"),
    ):
        flow_id = await new_flow(api, "boxy", redirect_uri=redirect_uri)
        begun = await browser.get(f"/join/flows/{flow_id}/authorize", params={"vendor": "boxy"})
        policy = (await browser.get(begun.headers["location"])).headers["content-security-policy"]
        assert policy.endswith(allowed)


NO_HOSTS = (
    *("", "a b", "a/b", "a@b", "a,b", "[::1", "::1", "a:b", "a:", "a:999999"),
    *("é", "a\\b", "<x>", "x" * 300, "%00", "a?b"),
)
HOSTS = ("hub.example", "hub.example:8443", "127.0.0.1", "127.0.0.1:1", "[::1]:8080", "[fd00::1]", "my_host", "LOCAL")


async def asked(app: Litestar, *hosts: str, version: str = "1.1") -> tuple[int, dict[bytes, bytes], bytes]:
    sent: list[Any] = []

    async def receive() -> Any:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Any) -> None:
        sent.append(message)

    headers = [(b"host", host.encode()) for host in hosts]
    scope: Any = {
        "type": "http", "method": "GET", "path": "/nothing", "raw_path": b"/nothing", "root_path": "",
        "query_string": b"", "headers": headers, "client": ("127.0.0.1", 1), "server": ("127.0.0.1", 80),
        "scheme": "http", "http_version": version, "asgi": {"version": "3.0"}, "extensions": {}, "state": {},
    }  # fmt: skip
    await app(scope, receive, send)
    return sent[0]["status"], dict(sent[0]["headers"]), b"".join(part.get("body", b"") for part in sent[1:])


@pytest.mark.parametrize("host", NO_HOSTS)
async def test_a_host_that_is_none_is_a_bad_request(app: Litestar, host: str) -> None:
    status, headers, body = await asked(app, host)
    assert (status, headers[b"content-type"]) == (400, b"application/problem+json")
    assert b"urn:joinder:problem#bad-request" in body
    assert headers[b"x-content-type-options"] == b"nosniff"


async def test_two_hosts_are_a_bad_request(app: Litestar) -> None:
    assert (await asked(app, "hub.example", "hub.example"))[0] == 400


@pytest.mark.parametrize("host", HOSTS)
async def test_a_host_of_any_right_kind_is_answered(app: Litestar, host: str) -> None:
    assert (await asked(app, host))[0] == 404


MANY = dict.fromkeys(map(str, range(999)), "")


@pytest.mark.parametrize(
    ("path", "body", "place"),
    [
        ("/join/flows", {"vendors": [{"vendor": f"v{n}"} for n in range(MEMBERS_MOST + 1)]}, "/vendors"),
        (
            "/join/flows",
            {"vendors": [{"vendor": "x", "options": MANY}]},
            "/vendors/0/options",
        ),
        ("/webhooks", {"url": "https://a.example/", "types": [str(n) for n in range(5000)]}, "/types"),
        ("/vendor-credentials", {"credentials": {f"k{n}": "v" for n in range(5000)}}, "/credentials"),
        ("/webhooks", {f"k{n}": 1 for n in range(5000)}, ""),
    ],
)
async def test_a_list_or_object_of_any_length_is_refused_before_it_is_looked_into(
    api: httpx.AsyncClient, path: str, body: dict[str, Any], place: str
) -> None:
    """Finding 10"""
    answer = await api.post(path, json=body)
    problem = assert_problem(answer, 400, "validation-error")
    assert [entry["pointer"] for entry in problem["errors"]] == [place]
    assert len(answer.content) < 1000


async def test_as_many_as_are_allowed_are_looked_into(api: httpx.AsyncClient) -> None:
    body = {"vendors": [{"vendor": f"v{n}"} for n in range(MEMBERS_MOST)], "redirectURI": "https://a.example/"}
    problem = assert_problem(await api.post("/join/flows", json=body), 400, "validation-error")
    assert len(problem["errors"]) == ERRORS_MOST
    assert "unknown vendor" in problem["errors"][0]["detail"]


@pytest.mark.parametrize("version", ["1", "1.0"])
async def test_http_1_0_names_no_host_and_is_answered(app: Litestar, version: str) -> None:
    """As health checks of load balancers ask; the web server tells of no host as of an empty one."""
    for hosts in ((), ("",)):
        assert (await asked(app, *hosts, version=version))[0] == 404
    assert (await asked(app, "a b", version=version))[0] == 400
    assert (await asked(app, version="1.1"))[0] == 400
