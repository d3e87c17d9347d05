"""What only looks like what is asked for: values that a conversion would make right, tokens of another list, ranges."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from api.conftest import NewTenant
from api.fakes import assert_problem, connect_site, pointers
from api.test_queries import told
from api.test_reads import clock
from joinder import ids
from joinder.services.records import accounts
from joinder.wire.base import page_token

__all__ = ["clock"]
pytestmark = pytest.mark.usefixtures("clock")
DATABASES = ("sqlite",)  # nothing here depends on the database
LISTS = {
    "/sites": "site",
    "/enrollments": "enrl",
    "/solar-inverters": "solr",
    "/batteries": "batt",
    "/meters": "metr",
    "/chargers": "chrg",
    "/events": "evnt",
    "/webhooks": "whep",
    "/webhooks/whep-aaaaaaaaaaaaaaaa/deliveries": "dlvy",
    "/vendor-credentials": "cred",
    "/join/flows": "flow",
    "/programs": "prog",
    "/backfills": "fill",
}
VIRTUAL_LISTS = {"/virtual/sites": "site", "/virtual/solar-inverters": "solr", "/virtual/batteries": "batt"}
SUBMISSION: dict[str, Any] = {
    "programID": "prog-aaaaaaaaaaaaaaaa",
    "applicationTime": "2026-05-01T10:00:00Z",
    "utilityAccountNumber": "1",
    "customer": {},
    "address": {},
}
PROGRAM: dict[str, Any] = {"name": "North", "vendors": ["sunny"]}
FLOW: dict[str, Any] = {"vendors": [{"vendor": "sunny"}], "redirectURI": "https://app.example/back"}
HOOK: dict[str, Any] = {"url": "https://app.example/hook"}
KEYS = "/enrollments/enrl-aaaaaaaaaaaaaaaa/browser-keys"


@pytest.fixture
async def virtual(new_tenant: NewTenant) -> httpx.AsyncClient:
    return (await new_tenant(mode=accounts.VIRTUAL)).api


async def test_a_page_token_is_of_its_own_list(api: httpx.AsyncClient, virtual: httpx.AsyncClient) -> None:
    """A token of another kind would cut off what lies before it without a word."""
    for asker, lists in ((api, LISTS), (virtual, VIRTUAL_LISTS)):
        for path in lists:
            for tag in {*LISTS.values()} - {lists[path]}:
                foreign = page_token(ids.new_id(tag))  # type: ignore[arg-type]
                answer = await asker.get(path, params={"pageToken": foreign})
                assert "as it came" in told(answer)["/pageToken"], (path, tag)


@pytest.mark.parametrize(
    ("method", "path", "body", "at"),
    [
        ("POST", KEYS, {"minutes": "5"}, "/minutes"),
        ("POST", KEYS, {"minutes": True}, "/minutes"),
        ("POST", KEYS, {"minutes": 5.5}, "/minutes"),
        ("PATCH", "/webhooks/whep-aaaaaaaaaaaaaaaa", {"disabled": "true"}, "/disabled"),
        ("PATCH", "/webhooks/whep-aaaaaaaaaaaaaaaa", {"disabled": 1}, "/disabled"),
        ("POST", "/webhooks", {**HOOK, "types": "site.ready"}, "/types"),
        ("POST", "/webhooks", {**HOOK, "types": [1]}, "/types/0"),
        ("POST", "/join/flows", {**FLOW, "skipIntro": "true"}, "/skipIntro"),
        (
            "POST",
            "/join/flows",
            {**FLOW, "vendors": [{"vendor": "sunny", "options": {"b": "x", "a": 1}}]},
            "/vendors/0/options/a",
        ),
        ("POST", "/join/flows", {**FLOW, "vendors": [{"vendor": "sunny", "what": 1}]}, "/vendors/0/what"),
        ("POST", "/join/flows", {"redirectURI": FLOW["redirectURI"]}, "/vendors"),
        ("POST", "/programs", {**PROGRAM, "start": 0}, "/start"),
        ("POST", "/programs", {**PROGRAM, "start": "0"}, "/start"),
        ("POST", "/programs", {**PROGRAM, "start": "2026-01-01T00:00:00"}, "/start"),
        ("POST", "/programs", {**PROGRAM, "start": "1970-01-01T00:00:00Z"}, "/start"),
        ("POST", "/programs", {**PROGRAM, "start": "9999-12-31T23:59:59Z"}, "/start"),
        ("POST", "/programs", {**PROGRAM, "end": "9999-12-31T23:59:59-23:59"}, "/end"),
        ("POST", "/programs", {**PROGRAM, "name": None}, "/name"),
        ("POST", "/programs", {**PROGRAM, "options": {"a": {}, "b": {"c": "d", "e": 1}}}, "/options/b/e"),
        ("POST", "/programs", {**PROGRAM, "options": {"a": {}, "b": None}}, "/options/b"),
        ("POST", "/enrollments/submit", {**SUBMISSION, "termsAccepted": "true"}, "/termsAccepted"),
        ("POST", "/enrollments/submit", {**SUBMISSION, "applicationTime": 1_700_000_000}, "/applicationTime"),
        (
            "POST",
            "/enrollments/submit",
            {**SUBMISSION, "applicationTime": "0001-01-01T00:00:00+14:00"},
            "/applicationTime",
        ),
        ("POST", "/enrollments/submit", {**SUBMISSION, "applicationTime": "9999-12-31T23:59:59Z"}, "/applicationTime"),
        (
            "POST",
            "/enrollments/submit",
            {**SUBMISSION, "additionalInfo": {"b": "c", "a/~": 1}},
            "/additionalInfo/a~1~0",
        ),
        ("POST", "/enrollments/submit", [SUBMISSION], ""),
        ("POST", "/webhooks", None, ""),
        ("POST", "/enrollments/enrl-aaaaaaaaaaaaaaaa/backfill", {"start": 1_700_000_000}, "/start"),
        ("POST", "/enrollments/enrl-aaaaaaaaaaaaaaaa/backfill", {"start": "1970-01-01T00:00:00Z"}, "/start"),
    ],
)
async def test_a_member_of_another_type_is_refused_where_it_stands(
    api: httpx.AsyncClient, method: str, path: str, body: object, at: str
) -> None:
    """Also one that would be right after a conversion, which no generated client expects."""
    answer = await api.request(method, path, json=body)
    assert _at(answer, 400, "validation-error") == [at]
    assert (await api.get("/sites")).status_code == 200


@pytest.mark.parametrize(
    ("path", "body", "at"),
    [
        ("/webhooks", b'{"url": "https://a.example/", "url": "https://b.example/"}', "/url"),
        ("/webhooks", b'{"url": "https://a.example/", "\\u0075rl": "https://b.example/"}', "/url"),
        ("/programs", b'{"name": "a", "vendors": [], "options": {"x": {"a/b": "1", "a/b": "1"}}}', "/options/x/a~1b"),
        ("/join/flows", b'{"vendors": [{"vendor": "sunny"}, {"vendor": "a", "vendor": "b"}]}', "/vendors/1/vendor"),
    ],
)
async def test_a_member_stands_once(api: httpx.AsyncClient, path: str, body: bytes, at: str) -> None:
    """As a parameter does: which of two was meant, nobody knows."""
    answer = await api.post(path, content=body, headers={"content-type": "application/json"})
    assert told(answer) == {at: "may be given once"}


@pytest.mark.parametrize(
    ("method", "path", "body", "at"),
    [
        ("POST", "/programs", {**PROGRAM, "name": "a\0b"}, "/name"),
        ("POST", "/programs", {**PROGRAM, "options": {"a\0": {}}}, "/options/a\N{REPLACEMENT CHARACTER}"),
        ("PATCH", "/enrollments/enrl-aaaaaaaaaaaaaaaa", {"reference": "\0"}, "/reference"),
        (
            "POST",
            "/vendor-credentials",
            {"credentials": {"vendor": "sunny", "clientID": "a\0"}},
            "/credentials/clientID",
        ),
        ("POST", "/enrollments/submit", {**SUBMISSION, "customer": {"names": ["a", "\0"]}}, "/customer/names/1"),
        ("GET", "/sites?vendorID=%00", None, "/vendorID"),
        ("GET", "/enrollments?reference=a%00", None, "/reference"),
    ],
)
async def test_no_text_holds_a_nul_whatever_the_database_takes(
    api: httpx.AsyncClient, method: str, path: str, body: object, at: str
) -> None:
    answer = await api.request(method, path, json=body)
    assert told(answer) == {at: "must not hold a NUL character"}


@pytest.mark.parametrize(
    ("method", "path", "body", "at", "wanted"),
    [
        ("POST", "/programs", {**PROGRAM, "resourceTypes": ["solarsystem", "solar-system-77"]}, "/resourceTypes/1",
         "must be one of batterysystem, solarsystem (did you mean solarsystem?)"),
        ("POST", "/enrollments/enrl-aaaaaaaaaaaaaaaa/events", {"type": "approve"}, "/type",
         "must be one of approved, rejected, resubmitrequested, unenrolled (did you mean approved?)"),
        ("POST", "/programs", {**PROGRAM, "start": "2026-01-01T00:00:00"}, "/start",
         "must be ISO 8601 with an offset, e.g. 2026-06-01T00:00:00Z"),
        ("POST", "/enrollments/submit", {**SUBMISSION, "applicationTime": "77 o'clock"}, "/applicationTime",
         "must be ISO 8601 with an offset, e.g. 2026-06-01T00:00:00Z"),
    ],
)  # fmt: skip
async def test_a_value_that_cannot_be_is_told_what_can(
    api: httpx.AsyncClient, method: str, path: str, body: object, at: str, wanted: str
) -> None:
    """As a query is; and nothing of what was sent comes back."""
    answer = await api.request(method, path, json=body)
    assert told(answer) == {at: wanted}
    assert "77" not in answer.text


@pytest.mark.parametrize(
    ("path", "body", "at"),
    [
        ("/virtual/sites", {"location": {"lat": "55"}}, "/location/lat"),
        ("/virtual/sites", {"locationUTCOffset": "1"}, "/locationUTCOffset"),
        ("/virtual/batteries", {"nameplateKwh": "13.5"}, "/nameplateKwh"),
        ("/virtual/batteries", {"reportedAt": 0}, "/reportedAt"),
        ("/virtual/batteries", {"mode": "Off"}, "/mode"),
        ("/virtual/solar-inverters", {"lifetimeProduction": {"kwh": 1}}, "/lifetimeProduction/start"),
    ],
)
async def test_so_is_one_of_a_virtual_home(
    virtual: httpx.AsyncClient, path: str, body: dict[str, Any], at: str
) -> None:
    assert _at(await virtual.post(path, json=body), 400, "validation-error") == [at]


async def test_no_body_where_one_is_needed_is_said_of_the_whole(api: httpx.AsyncClient) -> None:
    for method, path in (("POST", "/webhooks"), ("PATCH", "/webhooks/whep-aaaaaaaaaaaaaaaa")):
        answer = await api.request(method, path)
        assert _at(answer, 400, "validation-error") == [""]
        assert told(answer) == {"": "is required: an object"}
    assert_problem(await api.post("/enrollments/enrl-aaaaaaaaaaaaaaaa/backfill"), 404, "not-found")


@pytest.mark.parametrize(
    ("start", "end"),
    [
        ("2026-06-02T00:00:00Z", "2026-06-01T00:00:00Z"),
        ("2026-06-02T00:00:00Z", "2026-06-02T00:00:00Z"),
        ("2016-06-02T00:00:00Z", "2026-06-02T00:00:00Z"),
    ],
)
async def test_a_range_that_cannot_be_names_the_end_of_it(
    api: httpx.AsyncClient, browser: httpx.AsyncClient, start: str, end: str
) -> None:
    site_id = await connect_site(api, browser)
    for path in (f"/sites/{site_id}/solar-intervals", "/aggregates/intervals"):
        answer = await api.get(path, params={"start": start, "end": end})
        assert _at(answer, 422, "unprocessable") == ["/end"]


async def test_a_backfill_that_cannot_be_names_its_start(api: httpx.AsyncClient, browser: httpx.AsyncClient) -> None:
    await connect_site(api, browser)
    (enrollment,) = (await api.get("/enrollments")).json()["enrollments"]
    answer = await api.post(f"/enrollments/{enrollment['id']}/backfill", json={"start": "2100-01-01T00:00:00Z"})
    assert _at(answer, 422, "unprocessable") == ["/start"]


@pytest.mark.parametrize(
    "condition", [{"if-match": '"x"'}, {"if-match": "*, *"}, {"if-unmodified-since": "Thu, 01 Jan 2099 00:00:00 GMT"}]
)
async def test_a_change_on_a_condition_nobody_looks_after_is_not_made(
    api: httpx.AsyncClient, condition: dict[str, str]
) -> None:
    path = f"/webhooks/{(await api.post('/webhooks', json={'url': 'https://hook.example/'})).json()['id']}"
    before = (await api.get(path)).json()
    for method, body in (("PATCH", {"disabled": True}), ("DELETE", None)):
        answer = await api.request(method, path, json=body, headers=condition)
        assert_problem(answer, 412, "precondition-failed")
    assert (await api.get(path, headers=condition)).json() == before
    assert (await api.patch(path, json={"disabled": True}, headers={"if-match": "*"})).json()["disabled"]


async def test_a_query_that_is_too_long_says_so_of_the_whole(api: httpx.AsyncClient) -> None:
    answer = await api.get("/sites?" + "&".join(f"a{number}=1" for number in range(51)))
    assert told(answer) == {"": "has more than 50 parameters"}


def _at(answer: httpx.Response, status: int, name: str) -> list[str]:
    assert_problem(answer, status, name)
    return pointers(answer)
