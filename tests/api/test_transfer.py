"""How answers travel: HEAD, OPTIONS, ETag, compression, what may be kept, a connection that is told to end."""

from __future__ import annotations

import gzip
from typing import Any

import httpx
import pytest
from backports import zstd
from litestar import Litestar

from api.fakes import Tenant, assert_problem, connect_site, new_credentials, new_flow
from api.test_problems import filled, operations
from joinder.api.transfer import coding_of

DATABASES = ("sqlite",)  # nothing here depends on the database


async def test_head_is_get_without_a_body_wherever_get_is(api: httpx.AsyncClient) -> None:
    for method, template in await operations(api):
        path = filled(template, "a" * 16)
        if method == "get":
            whole, head = await api.get(path), await api.head(path)
            assert (head.status_code, head.content) == (whole.status_code, b""), path
            for name in ("content-type", "content-length", "etag", "cache-control"):
                assert head.headers.get(name) == whole.headers.get(name), (path, name)
    for path in ("/health/live", "/openapi.json", "/.well-known/jwks.json"):
        assert (await api.head(path)).status_code == 200


async def test_head_begins_no_owners_consent(api: httpx.AsyncClient, browser: httpx.AsyncClient) -> None:
    flow_id = await new_flow(api, "boxy")
    assert (await api.head(f"/join/flows/{flow_id}")).status_code == 200
    answer = await browser.head(f"/join/flows/{flow_id}/authorize")
    assert (answer.status_code, dict(browser.cookies)) == (405, {})


@pytest.mark.parametrize(
    ("path", "methods"),
    [
        ("/webhooks", "GET, HEAD, OPTIONS, POST"),
        ("/vendor-credentials", "GET, HEAD, OPTIONS, POST"),
        ("/join/flows", "GET, HEAD, OPTIONS, POST"),
        ("/enrollments/x", "DELETE, GET, HEAD, OPTIONS, PATCH"),
        ("/enrollments/x/pause", "OPTIONS, POST"),
        ("/oauth2/token", "OPTIONS, POST"),
        ("/join/reconnect", "GET, OPTIONS"),
        ("/join/sessions/x", "GET, OPTIONS, POST"),
    ],
)
async def test_options_and_405_name_every_method(anonymous: httpx.AsyncClient, path: str, methods: str) -> None:
    asked = await anonymous.options(path)
    assert (asked.status_code, asked.content, asked.headers["allow"]) == (204, b"", methods)
    refused = await anonymous.request("PUT", path)
    assert_problem(refused, 405, "method-not-allowed")
    assert refused.headers["allow"] == methods
    assert_problem(await anonymous.options("/nothing"), 404, "not-found")


async def test_what_has_not_changed_is_not_sent_again(api: httpx.AsyncClient, browser: httpx.AsyncClient) -> None:
    await connect_site(api, browser)
    whole = await api.get("/sites")
    tag = whole.headers["etag"]
    assert whole.headers["cache-control"] == "private, no-cache"
    for known in (tag, tag.removeprefix("W/"), f'"other", {tag}', "*"):
        same = await api.get("/sites", headers={"if-none-match": known})
        assert (same.status_code, same.content, same.headers["etag"]) == (304, b"", tag)
        assert "content-type" not in same.headers
        assert same.headers["x-request-id"]
    assert (await api.get("/sites", headers={"if-none-match": '"other"'})).status_code == 200
    await new_flow(api, "boxy")
    flows = await api.get("/join/flows")
    await new_flow(api, "boxy")
    changed = await api.get("/join/flows", headers={"if-none-match": flows.headers["etag"]})
    assert changed.status_code == 200
    assert changed.headers["etag"] != flows.headers["etag"]


async def test_a_long_answer_is_compressed_as_asked(anonymous: httpx.AsyncClient) -> None:
    plain = await anonymous.get("/openapi.json", headers={"accept-encoding": "identity"})
    assert "content-encoding" not in plain.headers
    assert plain.headers["vary"] == "accept-encoding"
    for accepted, coding, opened in (("gzip", "gzip", gzip.decompress), ("zstd, gzip", "zstd", zstd.decompress)):
        async with anonymous.stream("GET", "/openapi.json", headers={"accept-encoding": accepted}) as answer:
            raw = b"".join([part async for part in answer.aiter_raw()])
        assert answer.headers["content-encoding"] == coding
        assert int(answer.headers["content-length"]) == len(raw) < len(plain.content) / 4
        assert opened(raw) == plain.content
        assert answer.headers["etag"] == plain.headers["etag"]
    short = await anonymous.get("/health/live", headers={"accept-encoding": "gzip"})
    assert "content-encoding" not in short.headers


@pytest.mark.parametrize(
    ("accepted", "coding"),
    [
        ("", None), ("identity", None), ("br", None), ("gzip", "gzip"), ("gzip, zstd", "zstd"), ("*", "zstd"),
        ("zstd;q=0, *", "gzip"), ("gzip;q=1.0, zstd;q=0.5", "gzip"), ("gzip;q=0", None), ("GZIP;Q=0.1", "gzip"),
        ("gzip;q=x", None), (";;,,q=1", None),
    ],
)  # fmt: skip
def test_the_coding_is_the_best_that_is_taken(accepted: str, coding: str | None) -> None:
    assert coding_of(accepted.encode()) == coding


async def test_secrets_are_kept_by_nobody(api: httpx.AsyncClient, browser: httpx.AsyncClient, tenant: Tenant) -> None:
    credentials_id = await new_credentials(api)
    await connect_site(api, browser)
    (enrollment,) = (await api.get("/enrollments")).json()["enrollments"]
    made = await api.post("/webhooks", json={"url": "https://hook.example/"})
    for answer in (
        made,
        await api.post(f"/webhooks/{made.json()['id']}/rotate"),
        await api.get(f"/vendor-credentials/{credentials_id}"),
        await api.patch(f"/vendor-credentials/{credentials_id}", json={"name": "x"}),
        await api.post(f"/enrollments/{enrollment['id']}/reconnect"),
        await api.post("/oauth2/token", data={"grant_type": "client_credentials"}),
    ):
        assert answer.headers["cache-control"] == "no-store", answer.request.url
        assert "etag" not in answer.headers


async def raw_request(app: Litestar, *, headers: list[tuple[bytes, bytes]], body: bytes = b"") -> dict[str, Any]:
    """Sends what httpx would not; answers status and headers."""
    scope = {
        "type": "http", "method": "POST", "path": "/join/flows", "raw_path": b"/join/flows", "query_string": b"",
        "http_version": "1.1", "headers": headers, "scheme": "http", "root_path": "", "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 8080), "asgi": {"version": "3.0"}, "extensions": {}, "state": {},
    }  # fmt: skip
    found: dict[str, Any] = {}

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": body, "more_body": True}

    async def send(message: dict[str, Any]) -> None:
        if message["type"] == "http.response.start":
            found.update(status=message["status"], headers=dict(message["headers"]))

    await app(scope, receive, send)  # type: ignore[arg-type]
    return found


async def test_a_connection_whose_body_is_left_unread_is_said_to_end(app: Litestar, tenant: Tenant) -> None:
    host, json = (b"host", b"127.0.0.1"), (b"content-type", b"application/json")
    token = (b"authorization", tenant.api.headers["authorization"].encode())
    long = (b"content-length", b"300000")
    refused = await raw_request(app, headers=[host, json, token, long], body=b"x" * 300_000)
    assert (refused["status"], refused["headers"].get(b"connection")) == (413, b"close")
    anonymous = await raw_request(app, headers=[host, json, long], body=b"x" * 300_000)
    assert (anonymous["status"], anonymous["headers"].get(b"connection")) == (401, b"close")
    short = await raw_request(app, headers=[host, json, (b"content-length", b"9")], body=b"x")
    assert (short["status"], short["headers"].get(b"connection")) == (401, None)


async def test_http_1_1_without_a_host_is_refused(app: Litestar) -> None:
    assert (await raw_request(app, headers=[]))["status"] == 400
