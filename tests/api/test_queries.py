"""A query is taken at its word: what an operation does not know is refused, by name and by value."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from api.conftest import NewTenant
from api.fakes import assert_problem
from api.test_problems import filled
from joinder.services.records import accounts

DATABASES = ("sqlite",)  # nothing here reads the database


def told(answer: httpx.Response) -> dict[str, str]:
    body = assert_problem(answer, 400, "validation-error")
    return {entry["pointer"]: entry["detail"] for entry in body["errors"]}


async def gets(api: httpx.AsyncClient) -> list[tuple[str, dict[str, Any]]]:
    """Path and operation of every GET that needs a token."""
    paths = (await api.get("/openapi.json")).json()["paths"]
    return [(path, item["get"]) for path, item in paths.items() if "get" in item and not is_public(path)]


def is_public(path: str) -> bool:
    return path.startswith(
        ("/.well-known", "/health", "/join/reconnect", "/join/sessions", "/join/connection", "/join/{vendor}")
    ) or ("authorize" in path)


async def test_every_operation_refuses_names_it_does_not_know_and_names_that_come_twice(
    api: httpx.AsyncClient, new_tenant: NewTenant
) -> None:
    known = await gets(api)
    virtual = (await new_tenant(mode=accounts.VIRTUAL)).api  # what is under /virtual answers no other
    assert len(known) > 20
    for template, operation in known:
        path = filled(template, "a" * 16)
        asker = virtual if path.startswith("/virtual/") else api
        errors = told(await asker.get(f"{path}?nonsense=1&x%2Fy=2"))
        assert errors.keys() == {"/nonsense", "/x~1y"}, path
        assert all(one.startswith("unknown parameter") for one in errors.values())
        for name in (entry["name"] for entry in operation.get("parameters", []) if entry.get("in") == "query"):
            twice = told(await asker.get(f"{path}?{name}=5&{name}=6"))
            assert "may be given once" in twice[f"/{name}"], (path, name)


@pytest.mark.parametrize(
    ("query", "at", "says"),
    [
        ("/sites?pagesize=5", "/pagesize", "did you mean pageSize?"),
        ("/solar-inverters?siteId=x", "/siteId", "did you mean siteID?"),
        ("/sites?limit=5", "/limit", "known: enrollmentID, expand, pageSize, pageToken, vendor, vendorID"),
        ("/vendors?vendor=sunny", "/vendor", "this operation has no parameters"),
        ("/sites?vendor=SUNNY", "/vendor", "must be one of boxy, cloudy, sunny (did you mean sunny?)"),
        ("/sites?vendor=", "/vendor", "must be one of"),
        ("/enrollments?vendor=nobody", "/vendor", "must be one of"),
        ("/vendor-credentials?vendor=nobody", "/vendor", "must be one of"),
        ("/meters?vendor=nobody", "/vendor", "must be one of"),
        ("/enrollments?status=enroled", "/status", "did you mean enrolled?"),
        ("/enrollments?health=fine", "/health", "must be one of connecting, degraded"),
        ("/backfills?status=ok", "/status", "must be one of cancelled, done, failed, running"),
        ("/events?type=enrollment.create", "/type", "did you mean enrollment.created?"),
        ("/webhooks/whep-aaaaaaaaaaaaaaaa/deliveries?status=late", "/status", "must be one of delivered"),
        ("/batteries?siteID=batt-aaaaaaaaaaaaaaaa", "/siteID", "must match ^site-"),
        ("/sites?enrollmentID=1", "/enrollmentID", "must match ^enrl-"),
        ("/enrollments?flowID=1", "/flowID", "must match ^flow-"),
        ("/sites/site-aaaaaaaaaaaaaaaa/solar-intervals?summaryLevel=week", "/summaryLevel", "15mins, day, hour, month"),
        ("/sites?pageSize=0", "/pageSize", "must be 1 to 200"),
        ("/sites?pageSize=201", "/pageSize", "200"),
        ("/sites?pageToken=x", "/pageToken", "as it came"),
        (
            "/sites/site-aaaaaaaaaaaaaaaa/solar-intervals?start=1970-01-01T00:00:00Z",
            "/start",
            "must be of the years 2000 to 2199",
        ),
    ],
)
async def test_a_query_that_is_wrong_is_refused_with_what_would_be_right(
    new_tenant: NewTenant, query: str, at: str, says: str
) -> None:
    api = (await new_tenant()).api  # in production: who is virtual knows one vendor alone
    errors = told(await api.get(query))
    assert list(errors) == [at]
    assert says in errors[at]


async def test_everything_that_is_wrong_is_told_at_once(api: httpx.AsyncClient) -> None:
    errors = told(await api.get("/enrollments?vendr=sunny&status=foo&flowID=x&pageSize=5"))
    assert errors.keys() == {"/vendr", "/status", "/flowID"}


async def test_a_query_of_a_thousand_names_is_refused_as_one(api: httpx.AsyncClient) -> None:
    answer = await api.get("/sites?" + "&".join(f"a{index}=1" for index in range(1000)))
    assert_problem(answer, 400, "validation-error")


@pytest.mark.parametrize(
    "accept",
    [
        "text/html",
        "application/xml",
        "application/json;q=0",
        "image/*, text/*",
        "application/json;q=1e0",
        "application/json;q=nan",
        "*/*;q=0_1",
        "*/*;q=2",
    ],
)
async def test_what_is_no_json_is_not_acceptable(api: httpx.AsyncClient, accept: str) -> None:
    assert_problem(await api.get("/sites", headers={"accept": accept}), 406, "not-acceptable")


@pytest.mark.parametrize(
    "accept",
    [
        "*/*",
        "",
        "application/*;q=0.1",
        "text/html, application/json;q=0.9",
        "APPLICATION/JSON",
        "text/html, image/gif, image/jpeg, *; q=.2, */*; q=.2",  # Java's own client
        None,
    ],
)
async def test_what_takes_json_gets_it(api: httpx.AsyncClient, accept: str | None) -> None:
    if accept is None:
        del api.headers["accept"]
    answer = await api.get("/sites", headers={} if accept is None else {"accept": accept})
    assert answer.status_code == (406 if accept == "" else 200)


@pytest.mark.parametrize("liked", ["text/html", "application/json;q=0.1"])
async def test_a_list_may_stand_on_several_lines(api: httpx.AsyncClient, liked: str) -> None:
    """RFC 9110, 5.3: as if they were one."""
    del api.headers["accept"]
    for lines in ([liked, "application/json"], ["application/json", liked]):
        assert (await api.get("/vendors", headers=[("accept", line) for line in lines])).status_code == 200
    tag = (await api.get("/vendors")).headers["etag"]
    for lines in ([tag, '"other"'], ['"other"', tag]):
        assert (await api.get("/vendors", headers=[("if-none-match", line) for line in lines])).status_code == 304
    codings = [("accept-encoding", "gzip"), ("accept-encoding", "br")]
    assert (await api.get("/openapi.json", headers=codings)).headers["content-encoding"] == "gzip"


NUMBERS = [
    "ten",
    "1e2",
    "1.0",
    "50.",
    "+5",
    "%2B5",
    " 5",
    "5%20",
    "5%0A",
    "1_0",
    "010",
    "-0",
    "-1",
    "0x10",
    "1,0",
    "True",
]
NUMBERS += ["%D9%A1%D9%A0", "%EF%BC%95", "%C2%B2", "NaN", "inf", "null", "[5]", "9" * 5000]


@pytest.mark.parametrize("number", [one.replace(" ", "+") for one in NUMBERS])
async def test_a_number_is_digits_and_nothing_else(api: httpx.AsyncClient, number: str) -> None:
    for path in ("/sites", "/batteries", "/events", "/sites/site-aaaaaaaaaaaaaaaa/solar-intervals"):
        assert "whole number" in told(await api.get(f"{path}?pageSize={number}"))["/pageSize"]


@pytest.mark.parametrize("flag", ["True", "TRUE", "False", "1", "0", "yes", "on", "", "maybe", "true%20", "%00"])
async def test_a_flag_is_true_or_false(api: httpx.AsyncClient, flag: str) -> None:
    intervals = "/sites/site-aaaaaaaaaaaaaaaa/solar-intervals?provenance"
    for path in ("/sites?expand", "/vendor-credentials?includeSecrets", intervals):
        errors = told(await api.get(f"{path}={flag}"))
        assert "must be one of false, true" in errors[f"/{path.partition('?')[2]}"]


@pytest.mark.parametrize(
    "moment",
    [
        "2023-06-01",
        "2023-06-01T00:00:00",
        "2023-06-01x00:00:00Z",
        "2023-W23-1T00:00:00Z",
        "20230601T000000Z",
        "2023-152T00:00:00Z",
        "2023-06-01T00Z",
        "2023-06-01T00:00:00,5Z",
        "2023-06-01T00:00:00%2B00:00:30",
        "2023-06-01T25:00:00Z",
        "2023-06-31T00:00:00Z",
        "2023-06-01T00:00:00Z%5BUTC%5D",
        "%D9%A2023-06-01T00:00:00Z",
        "1780272000",
        "now",
    ],
)
async def test_a_moment_has_a_date_a_time_and_an_offset(api: httpx.AsyncClient, moment: str) -> None:
    for name in ("start", "end"):
        errors = told(await api.get(f"/sites/site-aaaaaaaaaaaaaaaa/solar-intervals?{name}={moment}"))
        assert "ISO 8601" in errors[f"/{name}"]


@pytest.mark.parametrize("moment", ["2023-06-01T00:00Z", "2023-06-01T00:00:00.123Z", "2023-06-01T02:00:00%2B0200"])
async def test_moments_as_programs_write_them_are_taken(api: httpx.AsyncClient, moment: str) -> None:
    answer = await api.get(f"/sites/site-aaaaaaaaaaaaaaaa/solar-intervals?start={moment}")
    assert_problem(answer, 404, "not-found")  # understood: there is no such site


async def test_a_value_that_is_empty_is_refused_in_every_operation(
    api: httpx.AsyncClient, new_tenant: NewTenant
) -> None:
    virtual = (await new_tenant(mode=accounts.VIRTUAL)).api
    for template, operation in await gets(api):
        path = filled(template, "a" * 16)
        asker = virtual if path.startswith("/virtual/") else api
        for name in (entry["name"] for entry in operation.get("parameters", []) if entry.get("in") == "query"):
            assert "must" in told(await asker.get(f"{path}?{name}="))[f"/{name}"], (path, name)


@pytest.mark.parametrize("query", [b"vendorID=%FF", b"vendorID=%C3", b"%FF=1", b"vendorID=%ED%A0%80"])
async def test_a_query_that_is_no_utf8_is_refused(api: httpx.AsyncClient, query: bytes) -> None:
    body = assert_problem(await api.get("/sites?" + query.decode()), 400, "validation-error")
    assert "not UTF-8" in body["detail"]
