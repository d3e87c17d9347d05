"""Answers that arrive while something else happens to their enrollment: nothing is lost, nothing old is believed."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress

import pytest

from cases.grants.conftest import HOUR, MINUTE, Stage
from cases.grants.vendor import Said, Told, refusal
from joinder.errors import VendorError
from joinder.services.admin import keys, pausing
from joinder.services.grants import invariant
from joinder.services.grants.refresh import refresh
from joinder.services.join import enrollments, vendor_credentials
from joinder.services.refusals import NotFound, Refusal
from misbehaving import http_answer

ANSWERS: dict[str, Said] = {
    "well": None,
    "invalid_grant": refusal("invalid_grant"),
    "invalid_client": refusal("invalid_client", "401 Unauthorized"),
    "unauthorized_client": refusal("unauthorized_client"),
    "invalid_request": refusal("invalid_request"),
    "HTML 401": http_answer(b"<html></html>", "401 Unauthorized"),
    "503": http_answer(b"", "503 Away"),
    "429": http_answer(b"", "429 Slower", retry_after="600"),
    "cut off": b"",
    "HTML 200": http_answer(b"<html></html>"),
}


async def consents_again(stage: Stage, enrollment_id: str) -> None:
    assert await stage.enroll("owner0") == enrollment_id


async def is_ended(stage: Stage, enrollment_id: str) -> None:
    await enrollments.delete(stage.hub, stage.account_id, enrollment_id, "test")


async def is_paused(stage: Stage, enrollment_id: str) -> None:
    await pausing.pause(stage.hub, stage.account_id, enrollment_id, "test")


async def secret_changes(stage: Stage, _: str) -> None:
    patch = {"credentials": {"clientSecret": "another-secret"}}
    await vendor_credentials.change(stage.hub, stage.account_id, stage.credentials_id, "test", patch=patch)


async def keys_rotate(stage: Stage, enrollment_id: str) -> None:
    async for _ in keys.rotate(stage.hub, "test"):
        pass


MEANWHILE: dict[str, Callable[[Stage, str], Awaitable[None]]] = {
    "the owner consents again": consents_again,
    "it is ended": is_ended,
    "it is paused": is_paused,
    "the secret changes": secret_changes,
    "keys rotate": keys_rotate,
}


@pytest.mark.parametrize("answer", ANSWERS)
@pytest.mark.parametrize("event", MEANWHILE)
async def test_an_answer_that_comes_late_is_believed_of_what_it_was_about(
    stage: Stage, vendor: Told, event: str, answer: str
) -> None:
    (enrollment_id,) = await stage.fleet(1)
    vendor.tokens["*"] = ANSWERS[answer]

    async def meanwhile(_: str) -> None:
        vendor.before_token = None
        await MEANWHILE[event](stage, enrollment_id)

    vendor.before_token = meanwhile
    with suppress(VendorError, Refusal):
        await refresh(stage.hub, enrollment_id)
    assert [broken async for broken in invariant.broken(stage.hub)] == []
    vendor.tokens.clear()
    if event == "it is ended":
        with pytest.raises(NotFound):
            await enrollments.get(stage.hub, stage.account_id, enrollment_id)
        return
    if event == "the owner consents again":
        row = await stage.enrollment(enrollment_id)
        assert (row.health, (await stage.grant(enrollment_id)).version) == ("ok", 2)
    elif event == "it is paused":
        await pausing.resume(stage.hub, stage.account_id, enrollment_id, "test")
    await stage.live(HOUR + 15 * MINUTE)
    assert await stage.healths() == {"ok": 1}
    assert (await stage.app()).suspected_at is None


@pytest.mark.parametrize("answer", ANSWERS)
async def test_an_answer_that_is_told_to_many_at_once_is_one_answer(stage: Stage, vendor: Told, answer: str) -> None:
    (enrollment_id,) = await stage.fleet(1)
    vendor.tokens["*"] = ANSWERS[answer]
    await asyncio.gather(*(refresh(stage.hub, enrollment_id) for _ in range(10)), return_exceptions=True)
    assert len(vendor.token_calls) == 1
    row = await stage.enrollment(enrollment_id)
    assert row.failures <= 1
    assert [broken async for broken in invariant.broken(stage.hub)] == []
