"""Every error is RFC 9457 problem+json: of routing, authentication, validation, vendors and bugs."""

from __future__ import annotations

import gzip
import logging
from datetime import timedelta
from typing import Any

import httpx
import pytest

from api.conftest import NewTenant
from api.fakes import (
    REDIRECT_URI,
    Vendors,
    app_credentials,
    assert_problem,
    connect,
    connect_site,
    new_credentials,
    new_flow,
    pointers,
)
from api.test_reads import Clock, clock
from joinder import errors
from joinder.api.problems import _VENDOR_TITLES
from joinder.runtime.hub import Hub
from joinder.services.readings import sites

__all__ = ["clock"]
DATABASES = ("sqlite",)  # nothing here depends on the database

UNKNOWN = {
    "credentials_id": "cred",
    "flow_id": "flow",
    "program_id": "prog",
    "session_id": "sess",
    "enrollment_id": "enrl",
    "site_id": "site",
    "device_id": "solr",
    "webhook_id": "whep",
    "delivery_id": "dlvy",
    "backfill_id": "fill",
}
PUBLIC = ("/oauth2/", "/.well-known/", "/health/", "/openapi.json")
APPLICATION = {
    "applicationTime": "2026-05-01T10:00:00Z",
    "utilityAccountNumber": "1",
    "customer": {},
    "address": {},
}
SUBMISSION = {**APPLICATION, "programID": "prog-aaaaaaaaaaaaaaaa"}
BODIES: dict[tuple[str, str], dict[str, Any]] = {
    ("post", "/vendor-credentials/{credentials_id}/actions/{name}"): {"domain": "hub.example"},
    ("post", "/vendor-credentials"): {"credentials": app_credentials()},
    ("patch", "/vendor-credentials/{credentials_id}"): {"name": "x"},
    ("post", "/join/flows"): {"vendors": [{"vendor": "boxy"}], "redirectURI": REDIRECT_URI},
    ("post", "/programs"): {"name": "x", "vendors": ["boxy"]},
    ("post", "/enrollments/submit"): SUBMISSION,
    ("post", "/enrollments/{enrollment_id}/applications"): APPLICATION,
    ("post", "/enrollments/{enrollment_id}/events"): {"type": "approved"},
    ("post", "/webhooks"): {"url": "https://integrator.example/hook"},
    ("patch", "/enrollments/{enrollment_id}"): {"reference": "customer-7"},
    ("patch", "/webhooks/{webhook_id}"): {"disabled": True},
    ("post", "/webhooks/{webhook_id}/replay"): {"since": "2020-01-01T00:00:00Z"},
}


def is_public(path: str) -> bool:
    return (
        path.startswith(PUBLIC)
        or "authorize" in path
        or "auth-granted" in path
        or "/join/sessions/" in path
        or path.startswith(("/join/reconnect", "/join/connection"))
    )


async def operations(api: httpx.AsyncClient) -> list[tuple[str, str]]:
    """(method, path template) of every operation that needs a token."""
    paths = (await api.get("/openapi.json")).json()["paths"]
    found = [(method, path) for path, item in paths.items() for method in item if method != "parameters"]
    return [(method, path) for method, path in found if not is_public(path)]


def filled(path: str, random_part: str) -> str:
    for name, tag in UNKNOWN.items():
        path = path.replace(f"{{{name}}}", f"{tag}-{random_part}")
    path = path.replace("{name}", "register")  # of an action, not an id
    assert "{" not in path, f"{path}: name the new parameter in UNKNOWN"
    return path


async def send(api: httpx.AsyncClient, method: str, template: str, path: str) -> httpx.Response:
    body = BODIES.get((method, template))
    return await api.request(method.upper(), path, **({"json": body} if body else {}))


async def test_every_operation_refuses_a_caller_without_a_token(anonymous: httpx.AsyncClient) -> None:
    known = await operations(anonymous)
    assert len(known) > 25
    for method, template in known:
        path = filled(template, "a" * 16)
        refused = assert_problem(await send(anonymous, method, template, path), 401, "unauthorized")
        garbage = await anonymous.request(method.upper(), path, headers={"authorization": "Bearer garbage"})
        assert assert_problem(garbage, 401, "unauthorized") == refused


async def test_every_operation_refuses_a_token_without_its_scope(
    anonymous: httpx.AsyncClient, new_tenant: NewTenant
) -> None:
    reader = (await new_tenant(("read:sites",))).api
    writer = (await new_tenant(("manage:flows",))).api
    paths = (await anonymous.get("/openapi.json")).json()["paths"]
    for method, template in await operations(anonymous):
        if template == "/vendors":
            continue  # shows what is installed to every client
        wanted = [scope for way in paths[template][method]["security"] for scope in way["oauth2"]]
        assert wanted, f"{method} {template} has no scope: opt={{'scope': …}}"
        api = writer if wanted == ["read:sites"] else reader
        answer = await send(api, method, template, filled(template, "a" * 16))
        assert answer.status_code == 403, f"{method} {template} is answered without {wanted}"
        assert_problem(answer, 403, "forbidden")
        assert 'error="insufficient_scope"' in answer.headers["www-authenticate"]


@pytest.mark.parametrize("random_part", ["aaaaaaaaaaaaaaaa", "x", "%00", "%27%20OR%201=1--", "é", "a" * 2000])
async def test_every_operation_answers_404_for_an_id_it_does_not_know(api: httpx.AsyncClient, random_part: str) -> None:
    for method, template in await operations(api):
        if "{" in template and not template.startswith("/join/session/"):  # refused for every id
            answer = await send(api, method, template, filled(template, random_part))
            assert_problem(answer, 404, "not-found")


async def test_a_path_nobody_serves(api: httpx.AsyncClient) -> None:
    for path in ("/nothing", "/sites/x/y/z", "/docs/api", "/join/sunny/nothing"):
        assert_problem(await api.get(path), 404, "not-found")


@pytest.mark.parametrize(("method", "path"), [("PUT", "/sites"), ("DELETE", "/vendors"), ("PATCH", "/oauth2/token")])
async def test_a_method_nobody_serves_names_those_that_are(api: httpx.AsyncClient, method: str, path: str) -> None:
    answer = await api.request(method, path)
    assert_problem(answer, 405, "method-not-allowed")
    allowed = {name.strip() for name in answer.headers["allow"].split(",")}
    assert allowed >= ({"POST"} if path == "/oauth2/token" else {"GET"})
    assert method not in allowed


async def test_a_body_over_256_kb(api: httpx.AsyncClient) -> None:
    body = {"name": "x" * 300_000, "credentials": app_credentials()}
    assert_problem(await api.post("/vendor-credentials", json=body), 413, "too-large")


async def test_a_body_of_null_says_nothing(api: httpx.AsyncClient) -> None:
    for path in ("/webhooks", "/enrollments/enrl-aaaaaaaaaaaaaaaa/backfill"):
        answer = await api.post(path, content=b"null", headers={"content-type": "application/json"})
        assert_problem(answer, 400, "validation-error")


async def test_a_body_of_another_media_type(api: httpx.AsyncClient) -> None:
    for media_type in ("text/plain", "application/x-www-form-urlencoded", "application/xml", ""):
        answer = await api.post("/vendor-credentials", content=b"{}", headers={"content-type": media_type})
        assert_problem(answer, 415, "unsupported-media-type")


async def test_a_body_that_is_packed(api: httpx.AsyncClient) -> None:
    packed = {"content-type": "application/json", "content-encoding": "gzip"}
    answer = await api.post("/webhooks", content=gzip.compress(b'{"url": "https://a.example/"}'), headers=packed)
    assert "Content-Encoding" in assert_problem(answer, 415, "unsupported-media-type")["detail"]
    plain = packed | {"content-encoding": "identity"}
    assert (await api.post("/webhooks", content=b'{"url": "https://a.example/"}', headers=plain)).status_code == 201


MALFORMED = {
    "cut": b'{"credentials":',
    "text": b"hello",
    "empty": b"",
    "not utf-8": b'{"name":"\xff"}',
    "lone surrogate": b'{"name":"\\ud800","credentials":{}}',
    "trailing comma": b'{"credentials":{},}',
    "two documents": b"{}{}",
    "NaN": b'{"credentials":{"vendor":NaN}}',
    "a list": b"[]",
    "null": b"null",
    "number too large": b'{"name":1e999}',
}


async def test_malformed_json_is_a_400(api: httpx.AsyncClient) -> None:
    for name, content in MALFORMED.items():
        for method, path in (("POST", "/vendor-credentials"), ("POST", "/join/flows")):
            answer = await api.request(method, path, content=content, headers={"content-type": "application/json"})
            assert answer.status_code == 400, (name, answer.text)
            assert_problem(answer, 400, answer.json()["type"].partition("#")[2])


async def test_json_nested_ten_thousand_deep_is_a_400(api: httpx.AsyncClient) -> None:
    content = b'{"credentials":' + b'{"a":' * 10_000 + b"1" + b"}" * 10_000 + b"}"
    answer = await api.post("/vendor-credentials", content=content, headers={"content-type": "application/json"})
    assert answer.status_code == 400, answer.text
    assert_problem(answer, 400, answer.json()["type"].partition("#")[2])


def flow_body(**members: Any) -> dict[str, Any]:
    return {"vendors": [{"vendor": "boxy"}], "redirectURI": REDIRECT_URI, **members}


WRONG_MEMBERS: list[tuple[str, str, dict[str, Any], str]] = [
    ("POST", "/join/flows", flow_body(extra=1), "/extra"),
    ("POST", "/join/flows", flow_body(id="flow-x"), "/id"),
    ("POST", "/join/flows", flow_body(vendors=[{"vendor": "boxy", "color": "red"}]), "/vendors/0/color"),
    ("POST", "/join/flows", flow_body(vendors="boxy"), "/vendors"),
    ("POST", "/join/flows", flow_body(vendors=[7]), "/vendors/0"),
    ("POST", "/join/flows", flow_body(redirectURI=None), "/redirectURI"),
    ("POST", "/join/flows", flow_body(redirectURI=5), "/redirectURI"),
    ("POST", "/join/flows", {"vendors": []}, "/redirectURI"),
    ("POST", "/join/flows", {"redirectURI": REDIRECT_URI}, "/vendors"),
    ("POST", "/join/flows", flow_body(vendors=[{}]), "/vendors/0/vendor"),
    ("POST", "/join/flows", flow_body(vendors=[]), "/vendors"),
    ("POST", "/join/flows", flow_body(vendors=[{"vendor": "cloudy", "options": {"a/b~c": "x"}}]),
     "/vendors/0/options/a~1b~0c"),
    ("POST", "/vendor-credentials", {"credentials": app_credentials(), "extra": 1}, "/extra"),
    ("POST", "/vendor-credentials", {"credentials": app_credentials(), "accountID": "x"}, "/accountID"),
    ("POST", "/vendor-credentials", {"name": "x"}, "/credentials"),
    ("POST", "/vendor-credentials", {"credentials": []}, "/credentials"),
    ("POST", "/vendor-credentials", {"credentials": app_credentials(), "name": 5}, "/name"),
    ("POST", "/vendor-credentials", {"credentials": app_credentials(), "name": "x" * 201}, "/name"),
    ("POST", "/vendor-credentials", {"credentials": app_credentials(apiKey="x")}, "/credentials/apiKey"),
    ("POST", "/vendor-credentials", {"credentials": app_credentials(**{"a/b~c": "x"})}, "/credentials/a~1b~0c"),
    ("POST", "/vendor-credentials", {"credentials": app_credentials(clientID=7)}, "/credentials/clientID"),
    ("POST", "/vendor-credentials", {"credentials": app_credentials(clientID=" ")}, "/credentials/clientID"),
    ("POST", "/vendor-credentials", {"credentials": app_credentials(vendor="nobody")}, "/credentials/vendor"),
    ("POST", "/vendor-credentials", {"credentials": app_credentials(vendor=["sunny"])}, "/credentials/vendor"),
    ("POST", "/vendor-credentials", {"credentials": app_credentials("other")}, "/credentials/type"),
    ("POST", "/vendor-credentials", {"credentials": app_credentials(vendor="boxy")}, "/credentials/type"),
    ("POST", "/webhooks", {}, "/url"),
    ("POST", "/webhooks", {"url": "https://a.example/", "secret": "x"}, "/secret"),
    ("POST", "/webhooks", {"url": "https://a.example/", "types": ["enrollment.created", "nothing"]}, "/types/1"),
    ("POST", "/webhooks", {"url": "http://a.example/"}, "/url"),
]  # fmt: skip


async def test_a_wrong_member_is_named_by_its_json_pointer(hub: Hub, api: httpx.AsyncClient) -> None:
    for method, path, body, pointer in WRONG_MEMBERS:
        answer = await api.request(method, path, json=body)
        assert_problem(answer, 400, "validation-error")
        assert pointers(answer) == [pointer], (body, answer.text)
    assert (await api.get("/vendor-credentials")).json() == {"vendorCredentials": [], "totalSize": 0}


async def test_an_unknown_api_version(api: httpx.AsyncClient) -> None:
    for version in ("v2024-09-02", "1", "V2024-09-01", "latest", ""):
        assert_problem(await api.get("/sites", headers={"api-version": version}), 400, "bad-request")


async def test_the_known_api_version(api: httpx.AsyncClient) -> None:
    assert (await api.get("/sites", headers={"api-version": "v2024-09-01"})).status_code == 200


async def test_who_somebody_is_comes_before_what_they_ask(anonymous: httpx.AsyncClient) -> None:
    wrong = {"api-version": "v1", "content-type": "text/plain"}
    answer = await anonymous.post("/join/flows?pageSize=x", content=b"{", headers=wrong)
    assert_problem(answer, 401, "unauthorized")


LISTS = (
    "/vendor-credentials",
    "/join/flows",
    "/enrollments",
    "/sites",
    "/solar-inverters",
    "/batteries",
    "/meters",
    "/chargers",
    "/events",
    "/webhooks",
)


@pytest.mark.parametrize("path", LISTS)
async def test_pages_have_1_to_200_entries(api: httpx.AsyncClient, path: str) -> None:
    for size in ("0", "201", "-1", "x", "", "1.5", "99999999999999999999"):
        answer = await api.get(path, params={"pageSize": size})
        assert_problem(answer, 400, "validation-error")
        assert pointers(answer) == ["/pageSize"], answer.text
    for size in ("1", "200"):
        assert (await api.get(path, params={"pageSize": size})).status_code == 200


@pytest.mark.parametrize("path", LISTS)
async def test_a_page_token_that_is_not_ours(api: httpx.AsyncClient, path: str) -> None:
    for token in ("x", "!!!!", "", "AAAA", "////", "c2l0ZS0", "é", "a" * 5000, "MTIz", "%00"):
        answer = await api.get(path, params={"pageToken": token})
        assert_problem(answer, 400, "validation-error")
        assert pointers(answer) == ["/pageToken"], answer.text


NO_TIMES = ("x", "", "1e9", "1780000000", "2026-06-01", "2026-06-01T00:00:00", "2026-02-30T00:00:00Z",
            "0001-01-01T00:00:00Z", "9999-12-31T23:59Z", "2026-06-01T00:00:00[Europe/Berlin]")  # fmt: skip


@pytest.mark.parametrize("name", ["start", "end"])
async def test_a_time_that_is_none(api: httpx.AsyncClient, clock: Clock, name: str) -> None:
    for moment in NO_TIMES:
        answer = await api.get("/sites/site-aaaaaaaaaaaaaaaa/solar-intervals", params={name: moment})
        assert_problem(answer, 400, "validation-error")
        assert pointers(answer) == [f"/{name}"]


async def test_intervals_refuse_what_cannot_be(
    api: httpx.AsyncClient, browser: httpx.AsyncClient, clock: Clock
) -> None:
    path = f"/sites/{await connect_site(api, browser)}/solar-intervals"
    day = {"start": "2026-06-01T00:00:00Z", "end": "2026-06-02T00:00:00Z"}
    answer = await api.get(path, params={**day, "summaryLevel": "week"})
    assert_problem(answer, 400, "validation-error")
    assert pointers(answer) == ["/summaryLevel"]
    assert_problem(await api.get(path, params={"start": day["end"], "end": day["start"]}), 422, "unprocessable")
    assert_problem(await api.get(path, params={**day, "end": day["start"]}), 422, "unprocessable")
    assert_problem(await api.get(path, params={**day, "end": "2027-06-02T00:00:00Z"}), 422, "unprocessable")
    for token in ("x", "MTIz", "OTk5OTk5OTk5OTk5OTk5", "a" * 4000, "MTIzNDU" * 2000):
        answer = await api.get(path, params={**day, "pageToken": token})
        assert_problem(answer, 400, "validation-error")
        assert pointers(answer) == ["/pageToken"]


async def test_a_boolean_that_is_none(api: httpx.AsyncClient) -> None:
    for value in ("maybe", "2", ""):
        answer = await api.get("/sites", params={"expand": value})
        assert_problem(answer, 400, "validation-error")
        assert pointers(answer) == ["/expand"]


async def test_a_bug_shows_nothing_of_itself(
    api: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def broken(*_: Any, **__: Any) -> None:
        raise RuntimeError("canary-of-the-bug /etc/passwd")

    monkeypatch.setattr(sites, "site_ids", broken)
    with caplog.at_level(logging.DEBUG):
        answer = await api.get("/sites")
    assert_problem(answer, 500, "internal-error")
    assert "canary" not in answer.text
    assert "canary" not in caplog.text
    assert "RuntimeError at test_problems.py" in caplog.text


VENDOR_ERRORS: list[tuple[errors.VendorError, int, str, str]] = [
    (errors.TransientError("m"), 502, "vendor-unavailable", "vendor"),
    (errors.RateLimited("m"), 503, "vendor-rate-limited", "vendor"),
    (errors.VendorTimeout("m"), 504, "vendor-timeout", "vendor"),
    (errors.DeviceUnreachable("m"), 504, "device-unreachable", "owner"),
    (errors.OutcomeUnknown("m"), 503, "vendor-outcome-unknown", "vendor"),
    (errors.Unexplained("m"), 502, "vendor-refusal-unexplained", "vendor"),
    (errors.UnexpectedPayload("m"), 502, "vendor-unexpected-answer", "operator"),
    (errors.ConsentInvalid("m"), 422, "consent-invalid", "owner"),
    (errors.ApprovalPending("m"), 409, "approval-pending", "vendor"),
    (errors.Paused("m"), 409, "paused", "operator"),
    (errors.AppCredentialsRejected("m"), 502, "app-credentials-rejected", "operator"),
    (errors.DeviceIdentityChanged("m"), 502, "device-identity-changed", "operator"),
    (errors.NotSupported("m"), 422, "not-supported", "nobody"),
    (errors.PluginBug("m"), 500, "plugin-bug", "operator"),
]


@pytest.mark.parametrize(("error", "status", "name", "actor"), VENDOR_ERRORS, ids=lambda value: str(value)[:30])
async def test_a_vendors_failure_says_whose_turn_it_is(
    api: httpx.AsyncClient, browser: httpx.AsyncClient, vendors: Vendors, error: errors.VendorError, status: int,
    name: str, actor: str
) -> None:  # fmt: skip
    enrollment_id = await connect(api, browser)
    site_id = (await api.get(f"/enrollments/{enrollment_id}")).json()["sites"][0]["id"]
    vendors.sunny.failures["fetch_site"] = error
    answer = await api.get(f"/sites/{site_id}")
    assert assert_problem(answer, status, name)["actor"] == actor
    assert ("retry-after" in answer.headers) == isinstance(error, errors.TransientError)


async def test_a_withdrawn_consent_is_a_409_for_the_owner(
    api: httpx.AsyncClient, browser: httpx.AsyncClient, vendors: Vendors
) -> None:
    enrollment_id = await connect(api, browser)
    site_id = (await api.get(f"/enrollments/{enrollment_id}")).json()["sites"][0]["id"]
    vendors.sunny.failures["fetch_site"] = errors.AuthorizationLost("m")
    assert assert_problem(await api.get(f"/sites/{site_id}"), 409, "authorization-lost")["actor"] == "owner"


async def test_the_vendors_own_wait_is_passed_on(
    api: httpx.AsyncClient, browser: httpx.AsyncClient, vendors: Vendors
) -> None:
    enrollment_id = await connect(api, browser)
    site_id = (await api.get(f"/enrollments/{enrollment_id}")).json()["sites"][0]["id"]
    vendors.sunny.failures["fetch_site"] = errors.RateLimited("m", retry_after=timedelta(seconds=17))
    answer = await api.get(f"/sites/{site_id}")
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "17")


async def test_a_plugin_that_breaks_shows_nothing_of_it(
    api: httpx.AsyncClient, browser: httpx.AsyncClient, vendors: Vendors
) -> None:
    enrollment_id = await connect(api, browser)
    site_id = (await api.get(f"/enrollments/{enrollment_id}")).json()["sites"][0]["id"]
    vendors.sunny.failures["fetch_site"] = RuntimeError("secret canary-in-exception")
    answer = await api.get(f"/sites/{site_id}")
    assert_problem(answer, 500, "plugin-bug")
    assert "canary" not in answer.text


def test_every_vendor_error_has_a_title() -> None:
    classes = [cls for cls in vars(errors).values() if isinstance(cls, type) and issubclass(cls, errors.VendorError)]
    assert {cls.problem for cls in classes} <= set(_VENDOR_TITLES)


async def test_errors_are_not_cached(api: httpx.AsyncClient) -> None:
    for answer in (await api.get("/nothing"), await api.get("/sites/x"), await api.put("/sites")):
        assert answer.headers["cache-control"] == "no-store"


async def test_what_in_use_means_is_said(api: httpx.AsyncClient) -> None:
    flow = (await api.get(f"/join/flows/{await new_flow(api)}")).json()
    used = flow["vendors"][0]["credentialsID"]
    assert_problem(await api.delete(f"/vendor-credentials/{used}"), 409, "conflict")
    assert (await api.delete(f"/vendor-credentials/{await new_credentials(api)}")).status_code == 204
