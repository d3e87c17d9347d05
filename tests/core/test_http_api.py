"""An API as data: what a status means, what a body says first, how long a refusal lasts."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any, cast

import pytest

from joinder.errors import AuthorizationLost, NotSupported, RateLimited, TransientError, UnexpectedPayload, VendorError
from joinder.grants import Context, Grant
from joinder.http import Answer, Api, HttpFactory, path
from joinder.redact import Secrets
from misbehaving import http_answer

HOST = "api.vendor.example"
NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
GRANT = Grant(secrets=Secrets({"access_token": "token-77aa"}))


def judge(answer: Answer, now: datetime) -> None:
    if b"withdrawn" in answer.content:
        raise AuthorizationLost("The owner took it back")


API = Api(
    base=f"https://{HOST}/v1",
    refusals={
        403: (NotSupported, "Not in this plan"),
        409: (TransientError, "Busy"),
        429: (RateLimited, "Too many calls"),
    },
    judge=judge,
    unstated_wait=MINUTE,
)


@pytest.mark.parametrize(
    ("status", "body", "means", "text"),
    [
        (200, "withdrawn", AuthorizationLost, "took it back"),
        (403, "withdrawn", AuthorizationLost, "took it back"),
        (403, "", NotSupported, "Not in this plan"),
        (409, "", TransientError, "Busy"),
        (429, "", RateLimited, "Too many calls"),
        (503, "", TransientError, "answered 503"),
        (418, "", UnexpectedPayload, "answered 418"),
    ],
)
def test_a_body_speaks_first_then_the_vendors_statuses_then_everybodys(
    status: int, body: str, means: type[VendorError], text: str
) -> None:
    with pytest.raises(means, match=text) as caught:
        API.check(Answer(status, {}, body.encode(), "GET x"), NOW)
    assert type(caught.value) is means


@pytest.mark.parametrize(("headers", "wait"), [({"retry-after": "7"}, timedelta(seconds=7)), ({}, MINUTE)])
def test_a_limit_lasts_as_long_as_it_says_or_as_is_known_of_it(headers: dict[str, str], wait: timedelta) -> None:
    with pytest.raises(RateLimited) as caught:
        API.check(Answer(429, headers, b"", "GET x"), NOW)
    assert caught.value.retry_after == wait


async def test_a_get_carries_the_access_token_and_is_decoded(serve: Any) -> None:
    served = await serve(http_answer(b'{"a": 1}'))
    factory = HttpFactory(reroute={HOST: served.origin})
    try:
        ctx = cast(Context, SimpleNamespace(http=factory.vendor((HOST,)), now=lambda: NOW))
        assert await API.get(ctx, GRANT, path("sites", "a/b c"), dict[str, int], page=2) == {"a": 1}
    finally:
        await factory.close()
    head = served.requests[0].decode()
    assert head.startswith("GET /v1/sites/a%2Fb%20c?page=2 HTTP/1.1")
    assert "bearer token-77aa" in head.lower()
