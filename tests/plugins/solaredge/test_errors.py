"""SolarEdge's refusals: by token, by key, of V1, and of the token endpoint."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest

from joinder.errors import (
    AppCredentialsRejected,
    AuthorizationLost,
    NotSupported,
    OperatorActionNeeded,
    RateLimited,
    TransientError,
    UnexpectedPayload,
    Unexplained,
    VendorError,
)
from joinder.http import Answer
from joinder.oauth import token_error
from joinder_solaredge import v1
from joinder_solaredge.api import check

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
PROBLEM = json.dumps({"title": "Vendor title", "detail": "Invalid API key", "traceId": "6a8c"}).encode()
READS: list[tuple[int, bool, type[VendorError]]] = [
    (400, False, UnexpectedPayload),
    (401, False, AuthorizationLost),
    (401, True, AppCredentialsRejected),
    (403, False, NotSupported),  # of /sites/{id} at the callback: ConsentInvalid
    (403, True, NotSupported),
    (404, False, NotSupported),
    (410, False, OperatorActionNeeded),
    (429, False, RateLimited),
    (500, False, TransientError),
    (503, True, TransientError),
]
LEGACY: list[tuple[int, type[VendorError]]] = [
    (401, AppCredentialsRejected),
    (403, NotSupported),
    (404, NotSupported),
    (410, OperatorActionNeeded),
    (429, RateLimited),
    (500, TransientError),
    (400, UnexpectedPayload),
]
TOKENS: list[tuple[int, object, type[VendorError]]] = [
    (400, {"error": "invalid_grant"}, AuthorizationLost),
    (400, {"error": "Error", "error_description": "Invalid code"}, Unexplained),  # of a code: ConsentInvalid
    (401, {"error": "invalid_client"}, AppCredentialsRejected),
    (429, {}, RateLimited),
    (502, {}, TransientError),
]


def answer(status: int, body: bytes = PROBLEM, **headers: str) -> Answer:
    return Answer(status, {name.replace("_", "-"): value for name, value in headers.items()}, body, "GET x/v2/sites/1")


@pytest.mark.parametrize(("status", "by_key", "expected"), READS)
def test_class_of_each_refused_read(status: int, by_key: bool, expected: type[VendorError]) -> None:
    with pytest.raises(VendorError) as caught:
        check(answer(status), by_key=by_key, now=NOW)
    assert type(caught.value) is expected
    assert "Vendor title" not in str(caught.value)
    assert "6a8c" not in str(caught.value)


@pytest.mark.parametrize(("status", "expected"), LEGACY)
def test_class_of_each_refused_read_of_v1(status: int, expected: type[VendorError]) -> None:
    with pytest.raises(VendorError) as caught:
        v1.check(answer(status))
    assert type(caught.value) is expected


def test_a_retired_api_says_plainly_what_to_do() -> None:
    with pytest.raises(OperatorActionNeeded, match="ended on 2026-11-03") as caught:
        v1.check(answer(410))
    assert "oauthclient" in str(caught.value)
    assert caught.value.health == "operator_action"


@pytest.mark.parametrize(("status", "body", "expected"), TOKENS)
def test_class_of_each_refused_token_call(status: int, body: object, expected: type[VendorError]) -> None:
    assert type(token_error(answer(status, json.dumps(body).encode()))) is expected


@pytest.mark.parametrize(
    ("headers", "wait", "text"),
    [
        ({"retry_after": "30", "x_ratelimit_remaining_minute": "0"}, timedelta(seconds=30), "no more calls"),
        ({"x_ratelimit_remaining_minute": "0"}, timedelta(minutes=1), "no more calls"),
        ({}, timedelta(minutes=1), "no more calls"),
        ({"x_ratelimit_remaining_minute": "7"}, timedelta(days=1), "monthly credits"),
        ({"x_ratelimit_remaining_minute": "many"}, timedelta(minutes=1), "no more calls"),
    ],
)
def test_the_two_forms_of_429(headers: dict[str, str], wait: timedelta, text: str) -> None:
    with pytest.raises(RateLimited, match=text) as caught:
        check(answer(429, **headers), by_key=False, now=NOW)
    assert caught.value.retry_after == wait
