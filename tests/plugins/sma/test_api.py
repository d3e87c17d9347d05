"""SMA's refusals by status: no error body of SMA's is public, so none may decide anything."""

from __future__ import annotations

from datetime import timedelta

import pytest

from joinder.errors import (
    AppCredentialsRejected,
    AuthorizationLost,
    NotSupported,
    RateLimited,
    TransientError,
    UnexpectedPayload,
    Unexplained,
    VendorError,
)
from joinder.simulate.oauth import Rotation
from joinder.testing.subject import Stand, Subject, standing
from joinder.vendor import Refresh
from joinder_sma.simulator import Cloud, simulator

READS: list[tuple[int, str, type[VendorError]]] = [
    (401, "", AuthorizationLost),  # core renews the token once before it believes this
    (403, '{"error": "whatever"}', AuthorizationLost),
    (404, "", NotSupported),
    (400, "", UnexpectedPayload),
    (429, "", RateLimited),
    (500, "", TransientError),
    (503, "<html>", TransientError),
]
TOKENS: list[tuple[int, str, type[VendorError]]] = [
    (400, '{"error": "invalid_grant", "error_description": "Session not active"}', AuthorizationLost),
    (401, '{"error": "invalid_client"}', AppCredentialsRejected),
    (400, '{"error": "unauthorized_client"}', AppCredentialsRejected),
    (429, "", RateLimited),
    (500, "", TransientError),
    (400, "<html>", Unexplained),
]


def subject(cloud: Cloud | None = None) -> Subject:
    found = Subject.installed("sma")
    found.make_simulator = lambda: simulator(cloud or Cloud())
    return found


async def refused(stand: Stand, status: int, body: str) -> VendorError:
    grant = (await stand.consent()).grant
    await stand.fault("answer", status=status, body=body)
    with pytest.raises(VendorError) as caught:
        await stand.registry.fetch_site("sma", stand.context(), grant, grant.site_ids[0])
    return caught.value


@pytest.mark.parametrize(("status", "body", "expected"), READS)
async def test_class_of_each_refused_read(status: int, body: str, expected: type[VendorError]) -> None:
    async with standing(subject()) as stand:
        error = await refused(stand, status, body)
        assert type(error) is expected
        assert "whatever" not in str(error)


@pytest.mark.parametrize(("status", "body", "expected"), TOKENS)
async def test_class_of_each_refused_refresh(status: int, body: str, expected: type[VendorError]) -> None:
    async with standing(subject()) as stand:
        grant = (await stand.consent()).grant
        await stand.fault("answer", status=status, body=body, headers={"content-type": "application/json"})
        with pytest.raises(VendorError) as caught:
            await stand.registry.refresh("sma", stand.context(), grant)
        assert type(caught.value) is expected


async def test_a_429_without_retry_after_waits_a_minute() -> None:
    async with standing(subject(Cloud(per_five_minutes=3))) as stand:
        grant = (await stand.consent()).grant
        with pytest.raises(RateLimited) as caught:
            await stand.registry.fetch_site("sma", stand.context(), grant, grant.site_ids[0])
        assert caught.value.retry_after == timedelta(seconds=60)


async def test_a_used_refresh_token_is_never_needed_again() -> None:
    """Whether SMA kills it is not documented; with a vendor that does, nothing is lost."""
    async with standing(subject(Cloud(rotation=Rotation(mode="kill")))) as stand:
        assert stand.vendor.refresh is Refresh.ROTATING
        grant = (await stand.consent()).grant
        for _ in range(4):
            grant = await stand.registry.refresh("sma", stand.context(), grant)
        assert (await stand.state())["reuse_seen"] == 0


async def test_an_account_without_a_plant_is_no_consent() -> None:
    async with standing(subject()) as stand:
        callback = await stand.callback(owner="no-sites")
        with pytest.raises(VendorError, match="opens no plant"):
            await stand.registry.handle_callback("sma", stand.context(), callback)
