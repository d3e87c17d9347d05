"""Every documented or reported way Tesla says no, and the class each becomes; nothing of its text survives."""

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
from joinder_tesla import VENDOR
from joinder_tesla.api import API

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
NA = "https://fleet-api.prd.na.vn.cloud.tesla.com"


def said(error: str) -> bytes:
    return json.dumps({"response": None, "error": error, "error_description": ""}).encode()


READS: list[tuple[int, bytes, type[VendorError]]] = [
    (400, said("invalid_request"), UnexpectedPayload),
    (400, said("/api/v3/energy_site/savings_forecast => Tariff not found by tariffID: "), UnexpectedPayload),
    (401, said("token expired (401)"), AuthorizationLost),  # core renews the token once before it believes this
    (401, said("invalid bearer token"), AuthorizationLost),
    (401, said("unknown user"), AuthorizationLost),
    (401, b"", AuthorizationLost),
    (402, b"", OperatorActionNeeded),
    (403, said("Unauthorized missing scopes"), AuthorizationLost),
    (403, said("forbidden, see https://developer.tesla.com/docs/fleet-api"), AuthorizationLost),
    (404, said("not_found"), NotSupported),
    (405, b"", UnexpectedPayload),
    (406, b"", UnexpectedPayload),
    (408, said("device unavailable"), TransientError),
    (
        412,
        json.dumps({"error": "Account 2fc1d3f9 must be registered in the current region"}).encode(),
        OperatorActionNeeded,
    ),
    (412, said("Endpoint is only available on fleetapi. Visit https://developer.tesla.com/docs"), OperatorActionNeeded),
    (421, said(f"user out of region, use base URL: {NA}, see https://developer.tesla.com"), UnexpectedPayload),
    (422, said("invalid_field"), UnexpectedPayload),
    (423, b"", OperatorActionNeeded),
    (424, b"", TransientError),
    (429, b"Retry in 37829 seconds", RateLimited),
    (451, b"", NotSupported),
    (499, b"", TransientError),
    (500, b"", TransientError),
    (503, b"<html>", TransientError),
    (504, b"", TransientError),
    (540, b"", TransientError),
]
TOKENS: list[tuple[int, str, type[VendorError]]] = [
    (401, "login_required", AuthorizationLost),
    (401, "invalid_grant", AuthorizationLost),
    (400, "invalid_auth_code", AuthorizationLost),  # of an exchange: joinder.oauth makes it ConsentInvalid
    (400, "server_error", TransientError),
    (400, "unauthorized_client", AppCredentialsRejected),
    (400, "invalid_redirect_url", Unexplained),
    (400, "unsupported_grant_type", Unexplained),
    (400, "invalid_request", Unexplained),
    (429, "", RateLimited),
    (503, "", TransientError),
]


@pytest.mark.parametrize(("status", "body", "expected"), READS)
def test_class_of_each_refused_read(status: int, body: bytes, expected: type[VendorError]) -> None:
    with pytest.raises(VendorError) as caught:
        API.check(Answer(status, {}, body, "GET fleet-api/api/1/products"), NOW)
    assert type(caught.value) is expected
    for word in ("2fc1d3f9", "missing scopes", "use base URL", "Tariff", "Retry in"):
        assert word not in f"{caught.value}{caught.value.detail}"


@pytest.mark.parametrize(("status", "code", "expected"), TOKENS)
def test_class_of_each_refused_token_call(status: int, code: str, expected: type[VendorError]) -> None:
    assert VENDOR.oauth2 is not None
    body = json.dumps({"error": code, "error_description": "text of Tesla's"}).encode()
    error = token_error(Answer(status, {}, body, "POST x"), invalid_grant_codes=VENDOR.oauth2.invalid_grant_codes)
    assert type(error) is expected
    assert "text of Tesla" not in f"{error}{error.detail}"


def test_412_names_what_the_operator_does() -> None:
    with pytest.raises(OperatorActionNeeded, match="`register`"):
        API.check(Answer(412, {}, said("Account x must be registered in the current region"), "GET x"), NOW)


@pytest.mark.parametrize(
    ("headers", "body", "seconds"),
    [
        ({"retry-after": "7"}, b"", 7),
        ({"ratelimit-reset": "45"}, b"", 45),
        ({"ratelimit-realtime_data-reset": "90", "ratelimit-limit": "60"}, b"", 90),
        ({}, b"Retry in 37829 seconds", 37829),
        ({"ratelimit-reset": "soon"}, b"Retry in 5 seconds", 5),
    ],
)
def test_how_long_a_429_asks_to_wait(headers: dict[str, str], body: bytes, seconds: int) -> None:
    with pytest.raises(RateLimited) as caught:
        API.check(Answer(429, headers, body, "GET x"), NOW)
    assert caught.value.retry_after == timedelta(seconds=seconds)
