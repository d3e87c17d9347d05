"""One more try for a reader who waits, out of a bucket that a dead vendor empties."""

from __future__ import annotations

from datetime import timedelta

import pytest

from joinder import errors
from joinder.errors import TransientError, VendorTimeout
from joinder.services.calls import retries
from joinder.services.calls.breakers import BreakerOpen, Breakers
from joinder.services.calls.budgets import BudgetSpent, Purpose, spending
from joinder.services.calls.retries import CAPACITY, COST, TIMEOUT_COST, Retries
from services.test_breakers import SUNNY


class Vendor:
    """Answers the script, the last entry for ever."""

    def __init__(self, *script: Exception | None) -> None:
        self.script = script
        self.calls = 0

    async def __call__(self) -> str:
        self.calls += 1
        says = self.script[min(self.calls, len(self.script)) - 1]
        if says is not None:
            raise says
        return "answer"


@pytest.fixture
def bucket() -> Retries:
    return Retries(wait_most_s=0)


async def test_a_passing_failure_is_tried_once_more(bucket: Retries) -> None:
    vendor = Vendor(TransientError("503"), None)
    assert await bucket.run("app", vendor) == "answer"
    assert vendor.calls == 2


async def test_only_once(bucket: Retries) -> None:
    vendor = Vendor(TransientError("first"), TransientError("second"), None)
    with pytest.raises(TransientError, match="second"):
        await bucket.run("app", vendor)
    assert vendor.calls == 2


@pytest.mark.parametrize(
    "error",
    [
        TransientError("503", retry_after=timedelta(seconds=5)),
        errors.RateLimited("429"),
        BudgetSpent("ours"),
        BreakerOpen("open"),
        errors.DeviceUnreachable("asleep"),
        errors.OutcomeUnknown("cut off"),
        errors.AuthorizationLost("gone"),
        errors.UnexpectedPayload("html"),
    ],
)
async def test_what_would_not_help_is_not_tried(bucket: Retries, error: Exception) -> None:
    vendor = Vendor(error, None)
    with pytest.raises(type(error)):
        await bucket.run("app", vendor)
    assert vendor.calls == 1


@pytest.mark.parametrize("purpose", ["poll", "backfill"])
async def test_background_work_is_due_again_instead(bucket: Retries, purpose: Purpose) -> None:
    vendor = Vendor(TransientError("503"), None)
    with spending(purpose), pytest.raises(TransientError):
        await bucket.run("app", vendor)
    assert vendor.calls == 1


async def test_who_has_waited_long_is_not_made_to_wait_again(bucket: Retries, monkeypatch: pytest.MonkeyPatch) -> None:
    ticks = iter((0.0, 30.0))
    monkeypatch.setattr(retries, "monotonic", lambda: next(ticks))
    vendor = Vendor(VendorTimeout("slow"), None)
    with pytest.raises(VendorTimeout):
        await bucket.run("app", vendor)
    assert vendor.calls == 1


@pytest.mark.parametrize(("error", "cost"), [(TransientError("503"), COST), (VendorTimeout("slow"), TIMEOUT_COST)])
async def test_a_dead_vendor_empties_its_bucket_and_no_other(bucket: Retries, error: Exception, cost: int) -> None:
    dead, asked = Vendor(error), 2000
    for _ in range(asked):
        with pytest.raises(TransientError):
            await bucket.run("dead", dead)
    tries = dead.calls - asked
    assert tries == CAPACITY // cost
    assert tries <= asked / 10
    other = Vendor(error, None)
    assert await bucket.run("other", other) == "answer"


async def test_what_works_gives_back(bucket: Retries) -> None:
    for _ in range(CAPACITY // COST):
        with pytest.raises(TransientError):
            await bucket.run("app", Vendor(TransientError("503")))
    again = Vendor(TransientError("503"), None)
    with pytest.raises(TransientError):
        await bucket.run("app", again)
    for _ in range(COST):
        await bucket.run("app", Vendor(None))
    again = Vendor(TransientError("503"), None)
    assert await bucket.run("app", again) == "answer"
    assert await bucket.run("app", Vendor(TransientError("503"), None)) == "answer"  # the first gave its cost back


async def test_behind_an_open_breaker_the_first_error_is_told(bucket: Retries) -> None:
    breakers, dead = Breakers(), Vendor(TransientError("503"))

    async def call() -> str:
        async with breakers.calling(SUNNY, "fetch_site"):
            return await dead()

    for _ in range(100):
        with pytest.raises(TransientError):
            await bucket.run("app", call)
    assert dead.calls == 5
