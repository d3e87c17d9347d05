"""Every documented way Enphase says no, and the class each becomes; nothing of the vendor's text survives."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest

from joinder.errors import (
    AppCredentialsRejected,
    AuthorizationLost,
    NotSupported,
    RateLimited,
    TransientError,
    UnexpectedPayload,
    VendorError,
)
from joinder.http import Answer
from joinder_enphase.api import NoData, check

NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
EPOCH = NOW.timestamp()


def envelope(status: int, message: str, details: str = "") -> dict[str, object]:
    return {"message": message, "details": details, "code": status}


def invalid(details: str) -> dict[str, object]:
    return envelope(422, "Unprocessable Entity", details)


def limit(**members: object) -> dict[str, object]:
    return {**envelope(429, "Too Many Requests", "Usage limit exceeded for plan Kilowatt"), **members}


ROWS: list[tuple[int, object, type[VendorError]]] = [
    (401, envelope(401, "Not Authorized", "User is not authorized"), AuthorizationLost),
    (401, {"error": "invalid_token", "error_description": "Access token expired: eyJ"}, AuthorizationLost),
    (401, b"", AuthorizationLost),
    (401, envelope(401, "API Key -Client mismatch"), AppCredentialsRejected),
    (401, b"<html>Unauthorized</html>", UnexpectedPayload),
    (403, {"message": "Forbidden", "details": "Not authorized to access this resource"}, NotSupported),
    (404, envelope(404, "Not Found", 'System not found for {:id=>"1"}'), NotSupported),
    (404, envelope(404, "Not Authorized", 'System not found for {:id=>"1"}'), NotSupported),
    (404, envelope(404, "Not Found", 'Encharge not found for {:id=>"1"}'), NotSupported),
    (405, {"reason": "405", "message": ["Method not allowed"]}, NotSupported),
    (501, {"reason": "501", "message": ["Not Implemented"]}, NotSupported),
    (422, invalid("Requested date range is invalid for this system"), NoData),
    (422, invalid("Invalid request because of 'Requested date range is invalid for this system. {:x=>1}'"), NoData),
    (422, invalid("Requested date is in the future"), NoData),
    (422, invalid("Invalid request because of 'Invalid date/time range'"), NoData),
    (422, invalid("grid_state not available as the site has not reported yet"), NoData),
    (422, invalid("System doesn't have encharges"), NotSupported),
    (422, invalid("Failed to parse date 1613543106"), UnexpectedPayload),
    (422, invalid("start_time is required"), UnexpectedPayload),
    (422, b"<html>", UnexpectedPayload),
    (429, limit(), RateLimited),
    (500, envelope(500, "Internal Server Error", "unable to fetch data"), TransientError),
    (500, {"errorCode": 7, "errorMessages": ["Data is temporarily unavailable"]}, TransientError),
    (503, b"<html>Bad gateway</html>", TransientError),
    (400, {"message": "Bad Request", "details": "no", "code": "400"}, UnexpectedPayload),
    (400, b"[1, 2]", UnexpectedPayload),
    (302, b"", UnexpectedPayload),
]


def answer(status: int, body: object, **headers: str) -> Answer:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return Answer(status, headers, content, "GET api.enphaseenergy.com/api/v4/systems/1")


@pytest.mark.parametrize(("status", "body", "expected"), ROWS)
def test_class_of_each_answer(status: int, body: object, expected: type[VendorError]) -> None:
    with pytest.raises(VendorError) as caught:
        check(answer(status, body), NOW)
    assert type(caught.value) is expected
    for word in ("Unprocessable", "Usage limit", ":id", "Access token expired", "encharges", "encharge not"):
        assert word not in str(caught.value)
        assert word not in (caught.value.detail or "")


@pytest.mark.parametrize(
    ("body", "headers", "wait"),
    [
        (limit(period="minute", period_start=EPOCH - 20, period_end=EPOCH + 40, limit=5), {}, timedelta(seconds=40)),
        (limit(period="minute", period_end=str(int(EPOCH) + 40)), {}, timedelta(seconds=40)),
        (limit(period="month", period_end=EPOCH + 9 * 86400), {}, timedelta(days=9)),
        (limit(period="month"), {}, timedelta(days=9, hours=12)),
        (limit(period="minute", period_end=EPOCH - 5), {}, timedelta(seconds=60)),
        (limit(period_end=EPOCH * 1000), {}, timedelta(days=31)),
        (limit(period_end=1e300), {}, timedelta(days=31)),
        (limit(period_end={}), {}, timedelta(seconds=60)),
        (limit(), {"retry-after": "7"}, timedelta(seconds=7)),
        (limit(), {}, timedelta(seconds=60)),
        (b"<html>slow down</html>", {}, timedelta(seconds=60)),
    ],
)
def test_how_long_a_429_asks_to_wait(body: object, headers: dict[str, str], wait: timedelta) -> None:
    with pytest.raises(RateLimited) as caught:
        check(answer(429, body, **headers), NOW)
    assert caught.value.retry_after == wait


def test_a_good_answer_passes() -> None:
    check(answer(200, {}), NOW)
